//! Missed changes, and how queries catch up.

use super::*;
use crate::live_query::loading::INTERRUPTIONS_MAX;

#[test]
fn after_a_gap_all_queries_are_published_together() {
    let multiplexer = Multiplexer::new("tasks");
    let task = |key, rank| Task { key, list: 1, rank };
    let mut rows = BTreeMap::from([(1, task(1, 1)), (2, task(2, 1))]);
    let (all, low) = (Predicate::All, field("rank").lt(5));
    let (mut first, load) = subscribe(&multiplexer, &all);
    assert!(finish(&multiplexer, load.unwrap(), &rows, |_| true).is_none());
    let (mut second, load) = subscribe(&multiplexer, &low);
    assert!(finish(&multiplexer, load.unwrap(), &rows, |_| true).is_none());
    let old = select(&rows, &all);

    let mut loads = reload_all(&multiplexer);
    rows.insert(1, task(1, 9));
    let early = begin_finish(&multiplexer, loads.remove(0), &rows, |_| true);
    // New changes reach both the query that waits and the one still shown.
    rows.insert(2, task(2, 7));
    assert!(apply(&multiplexer, batch(5, &[(2, Some(task(2, 7)))])).is_empty());
    for subscriber in [&mut first, &mut second] {
        subscriber.receive();
    }
    assert_eq!(first.documents[&id(1)], old[&id(1)], "the other query is still behind");
    assert_eq!(second.documents, BTreeMap::from([(id(1), old[&id(1)].clone())]));
    assert!(early.waits(&multiplexer));

    assert!(finish(&multiplexer, loads.remove(0), &rows, |xid| xid != 5).is_none());
    for (subscriber, predicate) in [(&mut first, all), (&mut second, low)] {
        subscriber.receive();
        assert_eq!(subscriber.documents, select(&rows, &predicate));
    }
}

/// What it shows is newer than what the others do, so they show it as well.
#[test]
fn a_new_query_waits_for_none_that_catch_up() {
    let multiplexer = Multiplexer::new("tasks");
    let task = |key, rank| Task { key, list: 1, rank };
    let mut rows = BTreeMap::from([(1, task(1, 1)), (2, task(2, 1)), (3, task(3, 1))]);
    let (all, low) = (Predicate::All, field("rank").lt(5));
    let (mut first, load) = subscribe(&multiplexer, &all);
    assert!(finish(&multiplexer, load.unwrap(), &rows, |_| true).is_none());
    let (mut second, load) = subscribe(&multiplexer, &low);
    assert!(finish(&multiplexer, load.unwrap(), &rows, |_| true).is_none());

    let mut loads = reload_all(&multiplexer);
    rows.insert(1, task(1, 9));
    rows.remove(&3);
    let early = begin_finish(&multiplexer, loads.remove(0), &rows, |_| true);
    let (mut third, load) = subscribe(&multiplexer, &field("rank").gte(5));
    assert!(finish(&multiplexer, load.unwrap(), &rows, |_| true).is_none());
    assert!(matches!((&mut third.ready).now_or_never(), Some(Ok(Ok(())))));
    for subscriber in [&mut first, &mut second, &mut third] {
        subscriber.receive();
    }
    assert_eq!(third.documents, select(&rows, &third.query.predicate));
    assert_eq!(first.documents[&id(1)], third.documents[&id(1)]);
    assert!(first.documents.contains_key(&id(3)), "it is still behind");
    assert!(!second.documents.contains_key(&id(1)) && second.documents.contains_key(&id(3)));
    assert!(early.waits(&multiplexer));

    assert!(finish(&multiplexer, loads.remove(0), &rows, |_| true).is_none());
    for (subscriber, predicate) in [(&mut first, all), (&mut second, low)] {
        subscriber.receive();
        assert_eq!(subscriber.documents, select(&rows, &predicate));
    }
}

/// A read may be older than a change that came since, and others show that already.
#[test]
fn a_new_query_shows_others_nothing_older_than_they_have() {
    let multiplexer = Multiplexer::new("tasks");
    let task = |rank| Task { key: 1, list: 1, rank };
    let (mut first, load) = subscribe(&multiplexer, &Predicate::All);
    let rows = BTreeMap::from([(1, task(1))]);
    assert!(finish(&multiplexer, load.unwrap(), &rows, |_| true).is_none());
    let behind = reload_all(&multiplexer);
    let (mut second, load) = subscribe(&multiplexer, &field("rank").gte(1));
    assert!(apply(&multiplexer, batch(7, &[(1, Some(task(3)))])).is_empty());
    let rows = BTreeMap::from([(1, task(2))]);
    assert!(finish(&multiplexer, load.unwrap(), &rows, |xid| xid < 7).is_none());
    for subscriber in [&mut first, &mut second] {
        subscriber.receive();
        assert_eq!(subscriber.documents[&id(1)], task(3).document(None));
    }
    drop(behind);
}

#[test]
fn a_read_that_shows_no_difference_is_over_at_once() {
    let multiplexer = Multiplexer::new("tasks");
    let rows = BTreeMap::from([(1, Task { key: 1, list: 1, rank: 1 })]);
    let (mut first, load) = subscribe(&multiplexer, &Predicate::All);
    assert!(finish(&multiplexer, load.unwrap(), &rows, |_| true).is_none());
    let (_second, load) = subscribe(&multiplexer, &field("rank").lt(5));
    assert!(finish(&multiplexer, load.unwrap(), &rows, |_| true).is_none());
    first.receive();
    let mut loads = reload_all(&multiplexer);
    let early = begin_finish(&multiplexer, loads.remove(0), &rows, |_| true);
    assert!(!early.waits(&multiplexer));
    let (mut third, load) = subscribe(&multiplexer, &Predicate::All);
    assert!(load.is_none() && (&mut third.ready).now_or_never().is_some(), "it is live");
    let version = first.version;
    first.receive();
    assert_eq!(first.version, version, "nothing was sent");
}

#[test]
fn nobody_waits_for_a_query_that_has_ended() {
    let multiplexer = Multiplexer::new("tasks");
    let mut rows = BTreeMap::new();
    let (mut first, load) = subscribe(&multiplexer, &Predicate::All);
    assert!(finish(&multiplexer, load.unwrap(), &rows, |_| true).is_none());
    let (second, load) = subscribe(&multiplexer, &field("rank").lt(5));
    assert!(finish(&multiplexer, load.unwrap(), &rows, |_| true).is_none());
    let (_third, load) = subscribe(&multiplexer, &field("rank").lt(6));
    assert!(finish(&multiplexer, load.unwrap(), &rows, |_| true).is_none());
    let mut loads = reload_all(&multiplexer);
    rows.insert(1, Task { key: 1, list: 1, rank: 1 });
    let waiting = begin_finish(&multiplexer, loads.remove(0), &rows, |_| true);
    multiplexer.fail_read(&loads.pop().unwrap(), &ddp_core::DdpError::internal());
    assert!(waiting.waits(&multiplexer));
    drop(second);
    assert!(!waiting.waits(&multiplexer));
    first.receive();
    assert_eq!(first.documents, select(&rows, &Predicate::All));
    assert!(finish(&multiplexer, loads.pop().unwrap(), &rows, |_| true).is_none(), "void");
}

#[test]
fn a_gap_reads_again_and_sends_the_difference_only() {
    let multiplexer = Multiplexer::new("tasks");
    let all = Predicate::All;
    let (mut subscriber, load) = subscribe(&multiplexer, &all);
    let mut rows = BTreeMap::from([
        (1, Task { key: 1, list: 1, rank: 1 }),
        (2, Task { key: 1, list: 1, rank: 2 }),
    ]);
    let load = load.unwrap();
    assert!(finish(&multiplexer, load, &rows, |_| true).is_none());
    subscriber.receive();
    let first = reload_all(&multiplexer);
    let second = reload_all(&multiplexer);
    let (first, second) = (first.into_iter().next().unwrap(), second.into_iter().next().unwrap());
    assert!(!multiplexer.wants(&first) && multiplexer.wants(&second));
    assert!(finish(&multiplexer, first, &BTreeMap::new(), |_| true).is_none(), "void");
    subscriber.receive();
    assert_eq!(subscriber.documents.len(), 2);
    rows.remove(&1);
    rows.insert(3, Task { key: 1, list: 2, rank: 3 });
    assert!(finish(&multiplexer, second, &rows, |_| true).is_none());
    subscriber.receive();
    assert_eq!(subscriber.documents, select(&rows, &all));
    assert_eq!(subscriber.version, 2);
}

#[test]
fn a_gap_keeps_the_writes_that_wait_for_a_read() {
    let multiplexer = Multiplexer::new("tasks");
    let (_subscriber, load) = subscribe(&multiplexer, &Predicate::All);
    assert!(finish(&multiplexer, load.unwrap(), &BTreeMap::new(), |_| true).is_none());
    let void = reload_all(&multiplexer).pop().unwrap();
    let write = Arc::new(WriteFence::detached().begin_write());
    multiplexer.hold(&write);
    let load = reload_all(&multiplexer).pop().unwrap();
    assert_eq!(Arc::strong_count(&write), 2, "the load that it waited for is void");
    assert!(finish(&multiplexer, void, &BTreeMap::new(), |_| true).is_none());
    assert_eq!(Arc::strong_count(&write), 2);
    assert!(finish(&multiplexer, load, &BTreeMap::new(), |_| true).is_none());
    assert_eq!(Arc::strong_count(&write), 1);
}

#[test]
fn what_was_read_too_long_ago_is_not_shown_to_those_who_know_better() {
    let multiplexer = Multiplexer::new("tasks");
    let (mut subscriber, load) = subscribe(&multiplexer, &Predicate::All);
    let rows = |rank| BTreeMap::from([(1, Task { key: 1, list: 1, rank })]);
    assert!(finish(&multiplexer, load.unwrap(), &rows(0), |_| true).is_none());
    let mut load = reload_all(&multiplexer).pop().unwrap();
    let mut transaction = 0;
    let mut overflow = |changes: u32| {
        for _ in 0..changes / 2 {
            transaction += 1;
            let rank = (transaction % 200) as u8;
            let batch = batch(transaction, &[(1, Some(Task { key: 1, list: 1, rank }))]);
            assert!(apply(&multiplexer, batch).is_empty());
        }
        rows((transaction % 200) as u8)
    };
    for changes in [1_002, 4_002, 16_002] {
        let newest = overflow(changes);
        load = finish(&multiplexer, load, &rows(0), |_| false).expect("another read");
        subscriber.receive();
        assert_eq!(subscriber.documents, select(&newest, &Predicate::All));
    }
    // It remembered more each time; that ends, and so do the repetitions.
    let newest = overflow(12_002);
    assert!(finish(&multiplexer, load, &rows(0), |_| false).is_none());
    subscriber.receive();
    assert_eq!(subscriber.documents, select(&newest, &Predicate::All));
}

#[test]
fn a_feed_that_breaks_all_the_time_keeps_nobody_waiting() {
    let multiplexer = Multiplexer::new("tasks");
    let rows = |rank| BTreeMap::from([(1, Task { key: 1, list: 1, rank })]);
    let (mut first, load) = subscribe(&multiplexer, &Predicate::All);
    assert!(finish(&multiplexer, load.unwrap(), &rows(1), |_| true).is_none());
    let (mut second, load) = subscribe(&multiplexer, &field("rank").lt(9));
    assert!(finish(&multiplexer, load.unwrap(), &rows(1), |_| true).is_none());
    for _ in 0..INTERRUPTIONS_MAX {
        let mut loads = reload_all(&multiplexer);
        let waiting = begin_finish(&multiplexer, loads.remove(0), &rows(2), |_| true);
        assert!(waiting.waits(&multiplexer), "the second has yet to read");
        first.receive();
        assert_eq!(first.documents, select(&rows(1), &Predicate::All));
    }
    let mut loads = reload_all(&multiplexer);
    assert!(finish(&multiplexer, loads.remove(0), &rows(2), |_| true).is_none());
    for subscriber in [&mut first, &mut second] {
        subscriber.receive();
        let shown = "what one has read, all who have it show";
        assert_eq!(subscriber.documents, select(&rows(2), &Predicate::All), "{shown}");
    }
}

/// The contents of the transaction are unknown: a query that has read it must not be published next
/// to one that has not.
#[test]
fn queries_that_missed_a_requery_read_once_more_before_all_are_published() {
    let multiplexer = Multiplexer::new("tasks");
    let task = |rank| BTreeMap::from([(1, Task { key: 1, list: 1, rank })]);
    let (all, low) = (Predicate::All, field("rank").lt(9));
    let (mut first, load) = subscribe(&multiplexer, &all);
    assert!(finish(&multiplexer, load.unwrap(), &task(1), |_| true).is_none());
    let (mut second, load) = subscribe(&multiplexer, &low);
    assert!(finish(&multiplexer, load.unwrap(), &task(1), |_| true).is_none());
    let mut loads = reload_all(&multiplexer);
    let parked = begin_finish(&multiplexer, loads.remove(0), &task(2), |_| true);
    let again = apply(&multiplexer, requery(7));
    assert!(!parked.waits(&multiplexer), "void");
    // The second one's read has not seen it either.
    let repeat = finish(&multiplexer, loads.remove(0), &task(2), |xid| xid < 7).unwrap();
    let last = begin_finish(&multiplexer, repeat, &task(3), |_| true);
    for subscriber in [&mut first, &mut second] {
        subscriber.receive();
        assert_eq!(subscriber.documents, select(&task(1), &all), "not yet");
    }
    let [again] = <[PendingRead; 1]>::try_from(again).unwrap();
    assert!(finish(&multiplexer, again, &task(3), |_| true).is_none());
    assert!(!last.waits(&multiplexer));
    for subscriber in [&mut first, &mut second] {
        subscriber.receive();
        assert_eq!(subscriber.documents, select(&task(3), &all));
    }
}

#[test]
fn a_gap_after_many_requeries_is_made_up_for_together_all_the_same() {
    let multiplexer = Multiplexer::new("tasks");
    let task = |rank| BTreeMap::from([(1, Task { key: 1, list: 1, rank })]);
    let (mut first, load) = subscribe(&multiplexer, &Predicate::All);
    assert!(finish(&multiplexer, load.unwrap(), &task(1), |_| true).is_none());
    let (_second, load) = subscribe(&multiplexer, &field("rank").lt(9));
    assert!(finish(&multiplexer, load.unwrap(), &task(1), |_| true).is_none());
    drop(reload_all(&multiplexer));
    for transaction in [7, 8] {
        assert!(apply(&multiplexer, requery(transaction)).is_empty(), "both are reading");
    }
    let mut loads = reload_all(&multiplexer);
    let waiting = begin_finish(&multiplexer, loads.remove(0), &task(2), |_| true);
    first.receive();
    assert_eq!(first.documents, select(&task(1), &Predicate::All), "the second has yet to read");
    assert!(waiting.waits(&multiplexer));
    assert!(finish(&multiplexer, loads.remove(0), &task(2), |_| true).is_none());
    first.receive();
    assert_eq!(first.documents, select(&task(2), &Predicate::All));
}

#[test]
fn a_first_read_that_missed_a_requery_is_not_shown_beside_those_that_have_it() {
    let multiplexer = Multiplexer::new("tasks");
    let task = |rank| BTreeMap::from([(1, Task { key: 1, list: 1, rank })]);
    let (mut first, load) = subscribe(&multiplexer, &Predicate::All);
    assert!(finish(&multiplexer, load.unwrap(), &task(1), |_| true).is_none());
    let (mut second, load) = subscribe(&multiplexer, &field("rank").lt(9));
    let mut again = apply(&multiplexer, requery(7));
    let _parked = begin_finish(&multiplexer, again.remove(0), &task(2), |_| true);
    let repeat = finish(&multiplexer, load.unwrap(), &task(1), |xid| xid < 7).unwrap();
    assert!((&mut second.ready).now_or_never().is_none());
    assert!(finish(&multiplexer, repeat, &task(2), |_| true).is_none());
    for subscriber in [&mut first, &mut second] {
        subscriber.receive();
        assert_eq!(subscriber.documents, select(&task(2), &Predicate::All));
    }
}

#[test]
fn a_first_read_during_more_changes_than_are_remembered_is_not_older_than_others() {
    let multiplexer = Multiplexer::new("tasks");
    let task = |rank| Task { key: 1, list: 1, rank };
    let rows = |rank| BTreeMap::from([(1, task(rank))]);
    let (mut first, load) = subscribe(&multiplexer, &Predicate::All);
    assert!(finish(&multiplexer, load.unwrap(), &rows(1), |_| true).is_none());
    let (mut second, load) = subscribe(&multiplexer, &field("rank").lt(9));
    for transaction in 0..600 {
        assert!(apply(&multiplexer, batch(transaction, &[(1, Some(task(2)))])).is_empty());
    }
    let repeat = finish(&multiplexer, load.unwrap(), &rows(1), |_| false).unwrap();
    second.receive();
    assert!(second.documents.is_empty());
    assert!(finish(&multiplexer, repeat, &rows(2), |_| true).is_none());
    for subscriber in [&mut first, &mut second] {
        subscriber.receive();
        assert_eq!(subscriber.documents, select(&rows(2), &Predicate::All));
    }
}

/// One is in the middle of its last try when another shows what is newer, and nothing tells of the change.
#[test]
fn a_last_try_shows_nothing_older_than_another_read_has_shown_meanwhile() {
    let multiplexer = Multiplexer::new("tasks");
    let rows = |rank| BTreeMap::from([(1, Task { key: 1, list: 1, rank })]);
    let (mut first, load) = subscribe(&multiplexer, &Predicate::All);
    assert!(finish(&multiplexer, load.unwrap(), &rows(1), |_| true).is_none());
    let mut load = reload_all(&multiplexer).pop().unwrap();
    for transaction in 0..INTERRUPTIONS_MAX.into() {
        assert!(apply(&multiplexer, requery(transaction)).is_empty());
        load = finish(&multiplexer, load, &rows(1), |xid| xid < transaction).expect("another try");
    }
    assert!(apply(&multiplexer, requery(100)).is_empty());
    let (mut second, newer) = subscribe(&multiplexer, &field("rank").lt(9));
    assert!(finish(&multiplexer, newer.unwrap(), &rows(2), |_| true).is_none());
    for subscriber in [&mut first, &mut second] {
        subscriber.receive();
        assert_eq!(subscriber.documents, select(&rows(2), &Predicate::All));
    }
    let again = finish(&multiplexer, load, &rows(1), |xid| xid < 100).expect("it missed something");
    assert_eq!(first.receive().len(), 0, "it shows the newer one already");
    assert!(finish(&multiplexer, again, &rows(3), |_| true).is_none());
    first.receive();
    assert_eq!(first.documents, select(&rows(3), &Predicate::All));
}
