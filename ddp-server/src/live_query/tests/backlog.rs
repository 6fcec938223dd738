//! What is kept while queries are read, and in which order they are.

use super::*;

fn task(rank: u8) -> Task {
    Task { key: 1, list: 1, rank }
}

fn in_list(list: u8) -> Predicate {
    field("list").eq(list)
}

/// Subscribers to as many lists, whose queries wait to be read.
fn subscribers(multiplexer: &Arc<Multiplexer<Task>>, lists: u8) -> Vec<Subscriber> {
    let query = |list| Query { predicate: in_list(list), ..Query::all("tasks") };
    (0..lists).map(|list| join(multiplexer, query(list)).0).collect()
}

/// Changes the only row so often. Returns its rank.
fn change(multiplexer: &Multiplexer<Task>, times: u64) -> u8 {
    for transaction in 0..times {
        let rank = (transaction % 200) as u8;
        let _ = multiplexer.apply(batch(transaction, &[(1, Some(task(rank)))]));
    }
    ((times - 1) % 200) as u8
}

#[test]
fn a_batch_is_kept_once_however_many_queries_are_read() {
    let mut kept = Vec::new();
    for lists in [1, 200] {
        let multiplexer = Multiplexer::new("tasks");
        let subscribers = subscribers(&multiplexer, lists);
        change(&multiplexer, 100);
        assert_eq!(multiplexer.backlog_bytes(), 0, "nothing is being read yet");
        let reads = begin_all(&multiplexer);
        assert_eq!(reads.len(), subscribers.len());
        change(&multiplexer, 100);
        kept.push(multiplexer.backlog_bytes());
        drop(subscribers);
        assert_eq!(multiplexer.backlog_bytes(), 0, "nobody needs it any more");
    }
    assert!(kept[0] > 0);
    assert_eq!(kept[0], kept[1]);
}

#[test]
fn what_is_kept_is_bounded_in_bytes() {
    let multiplexer = Multiplexer::new("tasks");
    let mut subscribers = subscribers(&multiplexer, 2);
    let mut reads = begin_all(&multiplexer);
    for transaction in 0..10_000 {
        let _ = multiplexer.apply(batch(transaction, &[(1, Some(task(1)))]));
        assert!(multiplexer.backlog_bytes() <= 100_000);
    }
    let rows = BTreeMap::from([(1, task(9))]);
    let repeat = finish(&multiplexer, reads.remove(1), &BTreeMap::new(), |_| false).unwrap();
    assert!(finish(&multiplexer, repeat, &rows, |_| true).is_none());
    subscribers[1].receive();
    assert_eq!(subscribers[1].documents, select(&rows, &in_list(1)));
}

#[test]
fn what_has_been_read_and_waits_is_brought_up_to_date_rather_than_read_again() {
    let multiplexer = Multiplexer::new("tasks");
    let mut subscribers = subscribers(&multiplexer, 2);
    for read in begin_all(&multiplexer) {
        assert!(finish(&multiplexer, read, &BTreeMap::new(), |_| true).is_none());
    }
    let mut reads = reload_all(&multiplexer);
    let rows = BTreeMap::from([(1, task(250))]);
    let waiting = begin_finish(&multiplexer, reads.remove(1), &rows, |_| true);
    assert!(waiting.waits(&multiplexer));
    let rank = change(&multiplexer, 10_000);
    assert!(waiting.waits(&multiplexer) && multiplexer.backlog_bytes() <= 100_000);
    let repeat = finish(&multiplexer, reads.remove(0), &rows, |_| false);
    let rows = BTreeMap::from([(1, task(rank))]);
    assert!(finish(&multiplexer, repeat.unwrap(), &rows, |_| true).is_none());
    for (subscriber, list) in subscribers.iter_mut().zip(0..) {
        subscriber.receive();
        assert_eq!(subscriber.documents, select(&rows, &in_list(list)));
    }
}

#[test]
fn who_is_waited_for_is_read_first_and_shapes_take_turns() {
    let multiplexer = Multiplexer::new("tasks");
    let _lists = subscribers(&multiplexer, 20);
    let above = |rank: u8| Query { predicate: field("rank").gt(rank), ..Query::all("tasks") };
    let _ranks: Vec<_> = (0..20).map(|rank| join(&multiplexer, above(rank))).collect();
    for read in begin_all(&multiplexer) {
        assert!(finish(&multiplexer, read, &BTreeMap::new(), |_| true).is_none());
    }
    let _ = multiplexer.reload_all();
    let groups: Vec<_> = (0..4).map(|_| multiplexer.begin_reads(10)).collect();
    for group in &groups {
        let predicate = |read: &PendingRead| std::mem::discriminant(&conditions(read)[0].is);
        assert_eq!(group.len(), 10);
        assert!(group.iter().all(|read| predicate(read) == predicate(&group[0])), "of one shape");
    }
    let field = |group: &[PendingRead]| conditions(&group[0])[0].field.clone();
    assert_ne!(field(&groups[0]), field(&groups[1]), "they take turns");
    groups.into_iter().for_each(|group| multiplexer.put_back(group));

    let _new = join(&multiplexer, Query { predicate: in_list(77), ..Query::all("tasks") });
    let _late = join(&multiplexer, Query { predicate: in_list(3), ..Query::all("tasks") });
    let first = multiplexer.begin_reads(10);
    let lists: Vec<_> = first.iter().map(|read| read.query.predicate.clone()).collect();
    assert_eq!(lists.len(), 2);
    assert!(lists.contains(&in_list(77)) && lists.contains(&in_list(3)), "{lists:?}");
}

#[test]
fn what_a_task_had_begun_waits_again_if_the_task_is_dropped() {
    let multiplexer = Multiplexer::new("tasks");
    let _subscribers = subscribers(&multiplexer, 3);
    let mut turn = ReadTurn::take(&multiplexer).unwrap();
    assert_eq!(turn.begin(2).len(), 2);
    assert_eq!(turn.begin(usize::MAX).len(), 3, "those that have not ended are begun again");
    let mut reads = turn.begin(usize::MAX);
    let last = reads.pop().unwrap();
    assert!(finish(&multiplexer, last, &BTreeMap::new(), |_| true).is_none());
    assert!(multiplexer.begin_reads(usize::MAX).is_empty());
    drop(turn);
    assert_eq!(multiplexer.begin_reads(usize::MAX).len(), 2, "one is live");
}

fn conditions(read: &PendingRead) -> Vec<Condition> {
    let mut conditions = Vec::new();
    read.query.predicate.all_conditions(&mut |test| {
        conditions.push(test.clone());
        true
    });
    conditions
}

#[test]
fn those_that_are_read_again_get_their_turn_however_many_come() {
    let multiplexer = Multiplexer::new("tasks");
    let _old = subscribers(&multiplexer, 1);
    let load = begin_all(&multiplexer).pop().unwrap();
    assert!(finish(&multiplexer, load, &BTreeMap::new(), |_| true).is_none());
    let _ = multiplexer.reload_all();
    let _new = subscribers(&multiplexer, 100);
    let groups = (0..5).map(|_| multiplexer.begin_reads(10));
    assert!(groups.flatten().any(|read| read.query.predicate == in_list(0)));
}
