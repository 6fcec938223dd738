//! Missed changes, and how queries catch up.

use super::*;

/// A subscription's first read and those after a gap.
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

    let mut loads = multiplexer.reload_all();
    rows.insert(1, task(1, 9));
    let mut early = begin_finish(&multiplexer, loads.remove(0), &rows, |_| true);
    let (mut third, load) = subscribe(&multiplexer, &field("rank").gte(5));
    let mut joined = begin_finish(&multiplexer, load.unwrap(), &rows, |_| true);
    // New changes reach both the queries that wait and those still shown.
    rows.insert(2, task(2, 7));
    assert!(multiplexer.apply(batch(5, &[(2, Some(task(2, 7)))])).is_empty());
    for subscriber in [&mut first, &mut second, &mut third] {
        subscriber.receive();
    }
    assert_eq!(first.documents[&id(1)], old[&id(1)], "the other query is still behind");
    assert_eq!(second.documents, BTreeMap::from([(id(1), old[&id(1)].clone())]));
    assert!(third.documents.is_empty() && (&mut third.ready).now_or_never().is_none());
    assert!((&mut early).now_or_never().is_none() && (&mut joined).now_or_never().is_none());

    let last = begin_finish(&multiplexer, loads.remove(0), &rows, |xid| xid != 5);
    for done in [early, joined, last] {
        assert!(matches!(done.now_or_never(), Some(Ok(None))));
    }
    for (subscriber, predicate) in
        [(&mut first, all), (&mut second, low), (&mut third, field("rank").gte(5))]
    {
        subscriber.receive();
        assert_eq!(subscriber.documents, select(&rows, &predicate));
    }
}

#[test]
fn nobody_waits_for_a_query_that_has_ended() {
    let multiplexer = Multiplexer::new("tasks");
    let rows = BTreeMap::new();
    let (_first, load) = subscribe(&multiplexer, &Predicate::All);
    assert!(finish(&multiplexer, load.unwrap(), &rows, |_| true).is_none());
    let (second, load) = subscribe(&multiplexer, &field("rank").lt(5));
    assert!(finish(&multiplexer, load.unwrap(), &rows, |_| true).is_none());
    let (_third, load) = subscribe(&multiplexer, &field("rank").lt(6));
    assert!(finish(&multiplexer, load.unwrap(), &rows, |_| true).is_none());
    let mut loads = multiplexer.reload_all();
    let mut waiting = begin_finish(&multiplexer, loads.remove(0), &rows, |_| true);
    multiplexer.fail_read(&loads.pop().unwrap(), &ddp_core::DdpError::internal());
    assert!((&mut waiting).now_or_never().is_none());
    drop(second);
    assert!(matches!(waiting.now_or_never(), Some(Ok(None))));
    let void = begin_finish(&multiplexer, loads.pop().unwrap(), &rows, |_| true);
    assert!(matches!(void.now_or_never(), Some(Err(_))));
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
    let first = multiplexer.reload_all();
    let second = multiplexer.reload_all();
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
    let void = multiplexer.reload_all().pop().unwrap();
    let write = Arc::new(WriteFence::detached().begin_write());
    multiplexer.hold(&write);
    let load = multiplexer.reload_all().pop().unwrap();
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
    let mut load = multiplexer.reload_all().pop().unwrap();
    let mut transaction = 0;
    let mut overflow = |changes: u32| {
        for _ in 0..changes / 2 {
            transaction += 1;
            let rank = (transaction % 200) as u8;
            let batch = batch(transaction, &[(1, Some(Task { key: 1, list: 1, rank }))]);
            assert!(multiplexer.apply(batch).is_empty());
        }
        rows((transaction % 200) as u8)
    };
    for changes in [1_002, 4_002, 16_002] {
        let newest = overflow(changes);
        load = finish(&multiplexer, load, &rows(0), |_| false).expect("another read");
        subscriber.receive();
        assert_eq!(subscriber.documents, select(&newest, &Predicate::All));
    }
    // It remembers more each time.
    let newest = overflow(16_002);
    assert!(finish(&multiplexer, load, &rows(0), |_| false).is_none());
    subscriber.receive();
    assert_eq!(subscriber.documents, select(&newest, &Predicate::All));
}

#[test]
fn a_feed_that_breaks_all_the_time_keeps_nobody_waiting() {
    let multiplexer = Multiplexer::new("tasks");
    let (mut first, load) = subscribe(&multiplexer, &Predicate::All);
    let mut rows = BTreeMap::new();
    assert!(finish(&multiplexer, load.unwrap(), &rows, |_| true).is_none());
    let (_second, load) = subscribe(&multiplexer, &field("rank").lt(9));
    assert!(finish(&multiplexer, load.unwrap(), &rows, |_| true).is_none());
    rows.insert(1, Task { key: 1, list: 1, rank: 1 });
    for _ in 0..3 {
        let mut loads = multiplexer.reload_all();
        let mut waiting = begin_finish(&multiplexer, loads.remove(0), &rows, |_| true);
        assert!((&mut waiting).now_or_never().is_none(), "the second has yet to read");
        first.receive();
        assert!(first.documents.is_empty());
    }
    let mut loads = multiplexer.reload_all();
    assert!(finish(&multiplexer, loads.remove(0), &rows, |_| true).is_none());
    first.receive();
    assert_eq!(first.documents, select(&rows, &Predicate::All));
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
    let mut loads = multiplexer.reload_all();
    let parked = begin_finish(&multiplexer, loads.remove(0), &task(2), |_| true);
    let again = multiplexer.apply(requery(7));
    assert!(matches!(parked.now_or_never(), Some(Err(_))), "void");
    // The second one's read has not seen it either.
    let repeat = finish(&multiplexer, loads.remove(0), &task(2), |xid| xid < 7).unwrap();
    let last = begin_finish(&multiplexer, repeat, &task(3), |_| true);
    for subscriber in [&mut first, &mut second] {
        subscriber.receive();
        assert_eq!(subscriber.documents, select(&task(1), &all), "not yet");
    }
    let [again] = <[PendingRead; 1]>::try_from(again).unwrap();
    assert!(finish(&multiplexer, again, &task(3), |_| true).is_none());
    assert!(matches!(last.now_or_never(), Some(Ok(None))));
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
    drop(multiplexer.reload_all());
    for transaction in [7, 8] {
        assert!(multiplexer.apply(requery(transaction)).is_empty(), "both are reading");
    }
    let mut loads = multiplexer.reload_all();
    let mut waiting = begin_finish(&multiplexer, loads.remove(0), &task(2), |_| true);
    first.receive();
    assert_eq!(first.documents, select(&task(1), &Predicate::All), "the second has yet to read");
    assert!((&mut waiting).now_or_never().is_none());
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
    let mut again = multiplexer.apply(requery(7));
    let _parked = begin_finish(&multiplexer, again.remove(0), &task(2), |_| true);
    let repeat = begin_finish(&multiplexer, load.unwrap(), &task(1), |xid| xid < 7);
    assert!((&mut second.ready).now_or_never().is_none());
    let repeat = repeat.now_or_never().unwrap().unwrap().unwrap();
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
        assert!(multiplexer.apply(batch(transaction, &[(1, Some(task(2)))])).is_empty());
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
