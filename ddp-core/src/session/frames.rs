//! Where a frame of several messages must end.
//!
//! Meteor's client (3.0 to 3.5) begins with each message of a SockJS frame before it is done with
//! those before. How long each takes, in turns of its queue of microtasks:
//!
//! | message | what it does, and when |
//! |---|---|
//! | `added`, `changed`, `removed` | are put aside at once, in order |
//! | `ready`, `updated` | one turn later, apply the documents put aside, and call back |
//! | `nosub` | calls back three turns later |
//! | `result` | calls back at once, or one turn later if documents were put aside |
//! | `connected` after a reconnect | empties each collection, one after the other, two turns for each |
//!
//! So a frame ends after
//!
//! - `nosub`: any other message would call back before it;
//! - `result`: with documents before them in the frame, a second `result` or a `ready` would call
//!   back before it;
//! - `updated`: that of a method that others wait for, such as a login, lets go of the documents kept
//!   back meanwhile, one a turn; those that follow would be applied among them. Only the same
//!   method's `result` may follow, since the callback waits for both: a client that polls gets them
//!   with one request;
//! - `connected` and `ready`, if the client had a session before: documents that follow would be
//!   thrown away with the old ones, or applied among those kept back until all subscriptions are
//!   ready again.
//!
//! Documents share frames with whatever follows them, pings and errors with everything.

use super::Session;
use super::io::Output;
use crate::merge_box::Outgoing;
use crate::message::ServerMessage;

impl Session {
    pub(super) fn send(&mut self, message: ServerMessage<'_>) {
        let ends_frame = self.ends_frame(&message);
        self.push_message(message.to_text(), ends_frame);
    }

    pub(super) fn ends_frame(&self, message: &ServerMessage<'_>) -> bool {
        match message {
            ServerMessage::Nosub { .. }
            | ServerMessage::Result { .. }
            | ServerMessage::Updated { .. } => true,
            ServerMessage::Connected { .. } | ServerMessage::Ready { .. } => self.is_reconnect,
            ServerMessage::ServerId
            | ServerMessage::Failed { .. }
            | ServerMessage::Ping
            | ServerMessage::Pong { .. }
            | ServerMessage::Error { .. } => false,
        }
    }

    pub(super) fn push_message(&mut self, text: String, ends_frame: bool) {
        self.outputs.push_back(Output::Send(Outgoing::Text(text)));
        if ends_frame {
            self.outputs.push_back(Output::EndFrame);
        }
    }
}
