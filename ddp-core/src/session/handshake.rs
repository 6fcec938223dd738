//! `connect`, `connected` and `failed`.

use std::time::Instant;

use super::Session;
use super::io::{CloseReason, Event, Output};
use super::state::State;
use crate::error::ProtocolError;
use crate::message::client::Malformed;
use crate::message::{ClientMessage, ServerMessage};
use crate::version::Version;

impl Session {
    /// Handles messages before the session is connected. Only `connect` is allowed.
    pub(super) fn handle_first_message(
        &mut self,
        now: Instant,
        text: &str,
        message: Result<ClientMessage, Malformed>,
    ) {
        match message {
            Ok(ClientMessage::Connect { version, support, session }) => {
                self.is_reconnect = session.is_some();
                match Version::negotiate(version.as_deref(), support.as_deref()) {
                    Ok(version) => self.connect(now, version),
                    Err(version) => {
                        self.send(ServerMessage::Failed { version });
                        self.close(CloseReason::VersionMismatch);
                    }
                }
            }
            Err(Malformed {
                error: error @ (ProtocolError::BadRequest | ProtocolError::ParseError),
                echo,
            }) => {
                self.send_error(error, echo.then_some(text));
            }
            Ok(_) | Err(_) => self.send_error(ProtocolError::MustConnectFirst, Some(text)),
        }
    }

    fn connect(&mut self, now: Instant, version: Version) {
        self.state = State::Connected(version);
        let message = ServerMessage::Connected { session: &self.id };
        let ends_frame = self.ends_frame(&message);
        self.push_message(message.to_text(), ends_frame);
        self.outputs.push_back(Output::Event(Event::Connected(version)));
        if version.has_heartbeats() {
            self.heartbeat.start(now, &self.config);
        } else {
            self.heartbeat.stop();
        }
    }
}
