use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::task::{Wake, Waker};

use ddp_core::merge_box::Direct;
use ddp_core::{Delta, Document, DocumentId, LiveQueryKey, Snapshot};

use super::*;

/// Keys of subscriptions and of a call.
fn keys() -> (Vec<SubscriptionKey>, CallKey) {
    (vec![1.into(), 2.into()], 3.into())
}

fn take(mailbox: &Mailbox) -> Vec<Mail> {
    let mut mail = VecDeque::new();
    mailbox.take(&mut mail);
    mail.into()
}

/// The first so many steps of a snapshot of `collection`.
fn steps(collection: &str, count: usize) -> Vec<Arc<Delta>> {
    let mut snapshot = Snapshot::default();
    let step = |number: usize| {
        let text = number.to_string();
        let document = Document::from_fields([("n".into(), text.as_str())]).unwrap();
        let id = DocumentId::from_string("a");
        let documents = BTreeMap::from([(id, Some(Arc::new(document)))]);
        snapshot.advance(&collection.into(), documents).unwrap()
    };
    (0..count).map(step).collect()
}

#[test]
fn with_too_many_deltas_each_subscription_keeps_its_newest_in_the_place_of_the_oldest() {
    let (subscriptions, call) = keys();
    let mailbox = Mailbox::new(4, 8, Arc::default());
    let (tasks, lists) = (steps("tasks", 9), steps("lists", 2));
    mailbox.push(Mail::MethodUnblocked(call));
    mailbox.push(Mail::Delta(subscriptions[0], Source::Cursor, Arc::clone(&tasks[0])));
    mailbox.push(Mail::Updated(call));
    mailbox.push(Mail::Delta(subscriptions[1], Source::Cursor, Arc::clone(&tasks[0])));
    mailbox.push(Mail::Delta(subscriptions[0], Source::Cursor, Arc::clone(&lists[0])));
    mailbox.push(Mail::Delta(subscriptions[0], Source::Cursor, Arc::clone(&lists[1])));
    for delta in &tasks[1..] {
        mailbox.push(Mail::Delta(subscriptions[0], Source::Cursor, Arc::clone(delta)));
    }
    let mut seen = Vec::new();
    for mail in take(&mailbox) {
        seen.push(match mail {
            Mail::Delta(key, _, delta) => {
                let index = subscriptions.iter().position(|other| *other == key).unwrap();
                format!("{index} {} {}", delta.collection(), delta.to())
            }
            Mail::Updated(_) => "updated".to_owned(),
            Mail::MethodUnblocked(_) => "unblocked".to_owned(),
            other => panic!("unexpected {other:?}"),
        });
    }
    // Whatever came before `updated` is there before it, at least as new.
    let wanted = ["unblocked", "0 tasks 6", "1 tasks 1", "0 lists 2", "updated"];
    assert_eq!(seen[..5], wanted, "{seen:?}");
    assert!(seen.len() <= 8, "{seen:?}");
    assert!(take(&mailbox).is_empty());
}

#[test]
fn what_subscriptions_share_is_of_one_point_however_much_is_left_out() {
    let (subscriptions, call) = keys();
    for deltas_max in 1..12 {
        let mailbox = Mailbox::new(deltas_max, 8, Arc::default());
        for step in &steps("tasks", 20) {
            let delta = |key: &SubscriptionKey| Mail::Delta(*key, Source::Cursor, Arc::clone(step));
            mailbox.push_all(subscriptions.iter().map(delta));
            mailbox.push(Mail::Updated(call));
        }
        let mail = take(&mailbox);
        let is_delta = |mail: &&[Mail]| matches!(mail[0], Mail::Delta(..));
        let runs = mail.chunk_by(|a, b| matches!((a, b), (Mail::Delta(..), Mail::Delta(..))));
        for run in runs.filter(is_delta) {
            let [Mail::Delta(a, _, first), Mail::Delta(b, _, second)] = run else {
                panic!("with {deltas_max}: {run:?}")
            };
            assert!(a != b && first.to() == second.to(), "with {deltas_max}: {run:?}");
        }
    }
}

#[test]
fn the_newest_step_of_a_live_query_follows_what_begins_to_show_it() {
    let (subscriptions, call) = keys();
    let query = LiveQueryKey::from(9);
    let mailbox = Mailbox::new(3, 8, Arc::default());
    let steps = steps("tasks", 6);
    let step = |number: usize| Mail::Step(query, Arc::clone(&steps[number]));
    let shows = |key: SubscriptionKey, number: usize| {
        Mail::Delta(key, Source::LiveQuery(query), Arc::clone(&steps[number]))
    };
    mailbox.push(shows(subscriptions[0], 0));
    mailbox.push(step(1));
    mailbox.push(Mail::Updated(call));
    mailbox.push(step(2));
    mailbox.push(shows(subscriptions[1], 2));
    mailbox.push(step(3));
    mailbox.push(step(4));
    let mail = take(&mailbox);
    let [Mail::Delta(a, _, first), Mail::Delta(b, _, second), Mail::Step(_, last), rest @ ..] =
        &mail[..]
    else {
        panic!("{mail:?}")
    };
    assert_eq!([*a, *b], subscriptions[..]);
    assert_eq!((first.to(), second.to()), (1, 3));
    let mut newest = rest.iter().filter_map(|mail| match mail {
        Mail::Step(_, delta) => Some(delta.to()),
        _ => None,
    });
    assert_eq!(newest.next_back().unwrap_or(last.to()), 5);
    assert!(rest.iter().any(|mail| matches!(mail, Mail::Updated(_))));
}

#[test]
fn many_deltas_take_no_room() {
    let (subscriptions, _) = keys();
    let mailbox = Mailbox::new(64, 8, Arc::default());
    let mut snapshot = Snapshot::default();
    for number in 0..100_000 {
        let text = number.to_string();
        let document = Document::from_fields([("n".into(), text.as_str())]).unwrap();
        let documents = BTreeMap::from([(DocumentId::from_string("a"), Some(Arc::new(document)))]);
        let delta = snapshot.advance(&"tasks".into(), documents).unwrap();
        mailbox.push(Mail::Delta(subscriptions[0], Source::Cursor, delta));
        assert!(mailbox.state.lock().mail.len() <= 65);
    }
    let mail = take(&mailbox);
    let Some(Mail::Delta(_, _, last)) = mail.last() else { panic!("deltas") };
    let Some(Mail::Delta(_, _, first)) = mail.first() else { panic!("deltas") };
    assert!(last.to() == 100_000 || first.to() == 100_000);
}

#[test]
fn what_was_mailed_before_the_end_is_handed_over_with_it() {
    let (_, call) = keys();
    let mailbox = Mailbox::new(4, 8, Arc::default());
    let mut mail = VecDeque::new();
    assert_eq!(mailbox.take_end(&mut mail), None);
    mailbox.push(Mail::Updated(call));
    mailbox.request_end();
    mailbox.push(Mail::MethodUnblocked(call));
    assert_eq!(mailbox.take_end(&mut mail), Some(EndReason::Requested));
    assert!(matches!(mail.make_contiguous(), [Mail::Updated(_)]), "{mail:?}");
}

#[test]
fn steps_that_cannot_be_left_out_are_bounded_by_the_end_of_the_connection() {
    let (subscriptions, call) = keys();
    let mailbox = Mailbox::new(2, 4, Arc::default());
    let steps = steps("tasks", 9);
    for delta in &steps[..4] {
        mailbox.push(Mail::Exact(subscriptions[0], Arc::clone(delta)));
    }
    assert_eq!(take(&mailbox).len(), 4);
    for delta in &steps[4..8] {
        mailbox.push(Mail::Exact(subscriptions[0], Arc::clone(delta)));
    }
    let mut mail = VecDeque::new();
    assert_eq!(mailbox.take_end(&mut mail), None);
    let id = DocumentId::from_string("a");
    let (before, after, place) = (None, None, None);
    let direct = Direct { collection: "tasks".into(), id, before, after, place };
    mailbox.push(Mail::Direct(subscriptions[1], Box::new(direct)));
    mailbox.push(Mail::Updated(call));
    assert_eq!(mailbox.take_end(&mut mail), Some(EndReason::Behind));
    assert!(mail.is_empty());
}

#[test]
fn mail_of_some_subscriptions_can_be_taken_before_what_came_earlier() {
    let (subscriptions, call) = keys();
    let mailbox = Mailbox::new(4, 1, Arc::default());
    let steps = steps("tasks", 3);
    mailbox.push(Mail::Updated(call));
    mailbox.push(Mail::Exact(subscriptions[1], Arc::clone(&steps[0])));
    mailbox.push(Mail::Delta(subscriptions[0], Source::Cursor, Arc::clone(&steps[1])));
    mailbox.push(Mail::Ready(subscriptions[1]));
    let mut mail = VecDeque::from([Mail::MethodUnblocked(call)]);
    mailbox.take_of(&subscriptions[1..], &mut mail);
    let mail = mail.make_contiguous();
    assert!(
        matches!(mail, [Mail::Exact(..), Mail::Ready(_), Mail::MethodUnblocked(_)]),
        "{mail:?}"
    );
    // There is room for another one that must not be left out.
    mailbox.push(Mail::Exact(subscriptions[1], Arc::clone(&steps[2])));
    let mail = take(&mailbox);
    assert!(matches!(&mail[..], [Mail::Updated(_), Mail::Delta(..), Mail::Exact(..)]), "{mail:?}");
}

#[test]
fn only_steps_alone_are_delivered_and_the_first_mail_asks_for_it() {
    let (subscriptions, call) = keys();
    let mailbox = Mailbox::new(4, 8, Arc::default());
    let steps = steps("tasks", 2);
    let delta =
        |step: usize| Mail::Delta(subscriptions[0], Source::Cursor, Arc::clone(&steps[step]));
    assert!(mailbox.take_alone().is_none());
    assert!(mailbox.leave_all([delta(0)]));
    assert!(matches!(mailbox.take_alone(), Some(Mail::Delta(..))));
    assert!(take(&mailbox).is_empty() && mailbox.take_alone().is_none());
    assert!(mailbox.leave_all([delta(0)]) && !mailbox.leave_all([delta(1)]));
    assert!(mailbox.take_alone().is_none());
    let mut mail = VecDeque::new();
    assert!(mailbox.take_steps(&mut mail) && mail.len() == 2);
    let versions = mail.iter().map(|mail| match mail {
        Mail::Delta(_, _, delta) => delta.to(),
        other => panic!("unexpected {other:?}"),
    });
    assert_eq!(versions.collect::<Vec<_>>(), [steps[0].to(), steps[1].to()]);
    mail.clear();
    assert!(mailbox.take_steps(&mut mail) && mail.is_empty());
    assert!(mailbox.leave_all([delta(0)]));
    mailbox.push(Mail::Updated(call));
    assert!(!mailbox.take_steps(&mut mail) && mail.is_empty());
    assert_eq!(take(&mailbox).len(), 2);
    // The end is the task's business, and whatever precedes it.
    assert!(mailbox.leave_all([delta(0)]));
    mailbox.request_end();
    assert!(mailbox.take_alone().is_none());
    assert!(!mailbox.take_steps(&mut mail) && mail.is_empty());
    assert_eq!(mailbox.take_end(&mut mail), Some(EndReason::Requested));
    assert_eq!(mail.len(), 1);
}

#[test]
fn a_step_that_came_alone_is_mail_like_any_other() {
    let (subscriptions, call) = keys();
    let mailbox = Mailbox::new(4, 8, Arc::default());
    let steps = steps("tasks", 1);
    let leave = || {
        let delta = Mail::Delta(subscriptions[0], Source::Cursor, Arc::clone(&steps[0]));
        assert!(mailbox.leave_all([delta]));
    };
    let mut mail = VecDeque::new();
    leave();
    assert_eq!(take(&mailbox).len(), 1);
    leave();
    assert!(mailbox.take_steps(&mut mail) && mail.len() == 1);
    leave();
    mailbox.take_of(&subscriptions[1..], &mut mail);
    assert_eq!(mail.len(), 1, "it is of another subscription");
    mailbox.take_of(&subscriptions[..1], &mut mail);
    assert_eq!(mail.len(), 2);
    mail.clear();
    // What comes after it was taken is no step.
    leave();
    assert!(mailbox.take_alone().is_some());
    mailbox.push(Mail::Updated(call));
    assert!(!mailbox.take_steps(&mut mail) && mail.is_empty());
    assert_eq!(take(&mailbox).len(), 1);
    leave();
    assert_eq!(Arc::strong_count(&steps[0]), 2);
    mailbox.close();
    assert_eq!(Arc::strong_count(&steps[0]), 1, "nobody keeps it");
}

#[test]
fn a_closed_mailbox_takes_nothing() {
    let (_, call) = keys();
    let mailbox = Mailbox::new(4, 8, Arc::default());
    mailbox.push(Mail::Updated(call));
    mailbox.close();
    mailbox.push(Mail::Updated(call));
    assert!(take(&mailbox).is_empty());
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn the_task_is_woken_while_it_rests_and_misses_nothing_that_comes_before() {
    let (_, call) = keys();
    let mailbox = Mailbox::new(4, 8, Arc::default());
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let count = || wakes.0.load(Ordering::SeqCst);
    assert!(mailbox.rest(&waker, true));
    mailbox.push(Mail::Updated(call));
    assert_eq!(count(), 1);
    mailbox.attend();
    assert_eq!(take(&mailbox).len(), 1);
    mailbox.push(Mail::Updated(call));
    assert_eq!(count(), 1, "it is at it");
    assert!(!mailbox.rest(&waker, true), "there is mail");
    assert!(mailbox.rest(&waker, false), "but it takes none");
    mailbox.attend();
    mailbox.request_end();
    assert_eq!(count(), 1);
    assert!(!mailbox.rest(&waker, false), "the end is seen even so");
    mailbox.attend();
    assert_eq!(mailbox.take_end(&mut VecDeque::new()), Some(EndReason::Requested));
}
