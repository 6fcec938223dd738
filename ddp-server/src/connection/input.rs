//! What mail means to the session and to the handlers.

use ddp_core::Session;
use ddp_core::merge_box::Source;
use ddp_core::session::Input;

use super::handlers::Running;
use super::mail::Mail;

/// The session's input for a piece of mail, if there is one.
pub(super) fn of(mail: Mail, session: &Session, running: &mut Running) -> Option<Input<'static>> {
    Some(match mail {
        Mail::Delta(subscription, source, delta) => Input::Delta(subscription, source, delta),
        Mail::Step(query, delta) => Input::Step(query, delta),
        Mail::Exact(subscription, delta) => Input::Delta(subscription, Source::ByHand, delta),
        Mail::Placed(subscription, delta, place) => Input::Placed(subscription, delta, *place),
        Mail::Direct(subscription, direct) => Input::Direct(subscription, *direct),
        Mail::Ready(subscription) => Input::Ready(subscription),
        Mail::Stop(subscription, error) => {
            // One that is about to run again is stopped by that, and its run of before has
            // nothing more to say.
            if !session.has_subscription(subscription) {
                return None;
            }
            running.unsubscribe(subscription);
            Input::Stop(subscription, error.map(|error| *error))
        }
        Mail::SubscriptionUnblocked(subscription) => Input::SubscriptionUnblocked(subscription),
        Mail::SubscriptionReturned(subscription) => {
            running.returned(subscription);
            Input::SubscriptionReturned(subscription)
        }
        Mail::MethodUnblocked(call) => Input::MethodUnblocked(call),
        Mail::Result(call, result) => Input::Result(call, result.map_err(|error| *error)),
        Mail::Updated(call) => Input::Updated(call),
        Mail::Finished(call, result) => Input::Finished(call, result.map_err(|error| *error)),
        Mail::Observing(subscription, observations) => {
            running.observing(subscription, observations);
            return None;
        }
        Mail::SetUser(user_id, done) => {
            running.set_user(user_id, done);
            Input::Rerun
        }
        Mail::Room(share) => {
            running.keep(*share);
            return None;
        }
        // Handled where the rest of the mail is at hand.
        Mail::Universal => return None,
    })
}
