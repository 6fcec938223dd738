//! The client's end of the connection, and the task that reads and writes it.

use std::panic::Location;
use std::sync::Arc;

use bytes::BytesMut;
use ddp_core::ejson::Ejson;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, watch};

use super::closed::Closed;
use super::frame::{self, Frame};
use super::state::{Shared, Side};

/// When this many bytes wait for the server, nothing more is taken from the client.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// What the client wants sent.
#[derive(Debug)]
pub(super) enum Outgoing {
    Text(String),
    /// The closing handshake.
    Close,
}

/// Sends a message, after those before it have been taken.
pub(super) async fn send(
    shared: &Shared,
    outgoing: &mpsc::Sender<Outgoing>,
    message: &Ejson,
    what: &str,
    caller: &Location<'_>,
) {
    let text = message.to_text();
    tokio::select! {
        biased;
        permit = outgoing.reserve() => {
            // Without one the socket is gone, as the wait for the answer will say.
            if let Ok(permit) = permit {
                permit.send(Outgoing::Text(text));
            }
        }
        () = shared.wait(format!("the server to read, before {what}"), caller, || None) => {}
    }
}

/// The client's end of the connection.
pub(super) struct Socket {
    pub(super) io: DuplexStream,
    pub(super) shared: Arc<Shared>,
    pub(super) outgoing: mpsc::Receiver<Outgoing>,
    /// Whether the client does not read.
    pub(super) paused: watch::Receiver<bool>,
}

impl Socket {
    /// Reads and writes until either side ends the connection. A client that is dropped is simply
    /// gone.
    pub(super) async fn run(mut self) {
        let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
        let (mut reader, mut writer) = tokio::io::split(self.io);
        let mut is_closing = false;
        loop {
            let is_paused = *self.paused.borrow_and_update();
            tokio::select! {
                written = writer.write_buf(&mut output), if !output.is_empty() => {
                    // A server that takes no more has ended the connection; what it said of that is
                    // still to be read.
                    if written.is_err() {
                        output.clear();
                    }
                }
                read = reader.read_buf(&mut input), if !is_paused => {
                    if !matches!(read, Ok(1..)) {
                        break;
                    }
                    take_frames(&self.shared, &mut input, &mut output, &mut is_closing);
                }
                outgoing = self.outgoing.recv(), if output.len() < OUTPUT_BYTES_MAX => {
                    match outgoing {
                        Some(Outgoing::Text(text)) if !is_closing => {
                            self.shared.note(|state| state.remember(Side::Client, &text));
                            frame::put_text(&mut output, &text);
                        }
                        Some(Outgoing::Close) if !is_closing => {
                            is_closing = true;
                            frame::put_close(&mut output, 1000);
                        }
                        Some(_) => {}
                        None => break,
                    }
                }
                changed = self.paused.changed() => {
                    if changed.is_err() {
                        break;
                    }
                }
            }
        }
        self.shared.note(|state| state.closed.get_or_insert_with(Closed::lost).clone());
    }
}

/// Handles all whole frames that have been read.
fn take_frames(
    shared: &Shared,
    input: &mut BytesMut,
    output: &mut BytesMut,
    is_closing: &mut bool,
) {
    loop {
        match frame::take(input) {
            Ok(Some(Frame::Text(text))) => {
                if shared.note(|state| state.handle(&text)) {
                    frame::put_text(output, r#"{"msg":"pong"}"#);
                }
            }
            Ok(Some(Frame::Close(closed))) => {
                if !*is_closing {
                    *is_closing = true;
                    frame::put_close(output, closed.code);
                }
                shared.note(|state| state.closed.get_or_insert(closed).clone());
            }
            Ok(None) => return,
            Err(error) => {
                shared.note(|state| state.fail(&format!("the server broke WebSocket: {error}")));
                return input.clear();
            }
        }
    }
}
