//! Steps of live queries on their way from the mailbox to the socket.

use std::collections::VecDeque;

use ddp_core::Session;

use super::mail::Mail;
use super::outbound::{Messages, Outbound};

/// Queues what steps mean to the client: of the one that came alone, or of those in `mail` for as long as
/// there is room. Further ones stay there, and what there is more of the last one in the session.
pub(super) fn deliver(
    session: &mut Session,
    outbound: &mut Outbound,
    alone: Option<Mail>,
    mail: &mut VecDeque<Mail>,
) {
    let mut messages = Messages::new(outbound.framing());
    let mut next = alone.or_else(|| mail.pop_front());
    while let Some(step) = next {
        let mut send = |outgoing| outbound.send(outgoing, &mut messages);
        match step {
            Mail::Step(query, delta) => session.deliver_step(query, &delta, &mut send),
            Mail::Delta(subscription, source, delta) => {
                session.deliver(subscription, source, delta, &mut send);
            }
            _ => debug_assert!(false, "what else could be there was left in the mailbox"),
        }
        let goes_on =
            !mail.is_empty() && !session.has_more() && outbound.has_room_beside(&messages);
        next = if goes_on { mail.pop_front() } else { None };
    }
    outbound.queue(messages);
}
