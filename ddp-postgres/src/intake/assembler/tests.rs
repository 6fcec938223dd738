use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::intake::batch::{Batch, Effect};
use crate::schema::fixture::{keys_only, layout};
use crate::schema::notification::OperationKind;
use crate::value::ValueKind;

const BYTES_MAX: usize = 100_000;

const COLUMNS: [(&str, ValueKind); 2] = [("id", ValueKind::Integer), ("title", ValueKind::Text)];

fn tasks() -> Arc<Layout> {
    Arc::new(layout(&COLUMNS, false))
}

fn assembler() -> (Assembler, String) {
    let mut assembler = Assembler::new(BYTES_MAX);
    let layout = tasks();
    assembler.listen(layout.clone());
    (assembler, layout.channel().to_owned())
}

fn row(id: u32, title: &str) -> String {
    format!(r#"{{"id":{id},"title":"{title}"}}"#)
}

fn drain(assembler: &mut Assembler) -> Vec<Assembled> {
    std::iter::from_fn(|| assembler.poll()).collect()
}

fn batches(assembled: Vec<Assembled>) -> Vec<Batch> {
    let batch = |assembled| match assembled {
        Assembled::Batch(batch) => batch,
        Assembled::Gap(gap) => panic!("{gap:?}"),
    };
    assembled.into_iter().map(batch).collect()
}

fn net(batch: &Batch) -> Vec<(&str, Option<&str>)> {
    batch
        .changes()
        .iter()
        .map(|c| (c.id.as_str(), c.row.as_ref().and_then(|r| r.value(1))))
        .collect()
}

fn is_truncation(batch: &Batch) -> bool {
    matches!(batch.effect, Effect::Truncation { .. })
}

fn is_requery(batch: &Batch) -> bool {
    batch.effect == Effect::Requery
}

fn only_gap(assembled: &[Assembled], reason: GapReason) {
    let [Assembled::Gap(gap)] = assembled else { panic!("{assembled:?}") };
    assert_eq!((&*gap.collection, gap.reason), ("tasks", reason));
}

/// The keys of the rows still to be read.
fn unread(batch: &Batch) -> Vec<&str> {
    batch.unread().iter().map(|(_, key)| &**key).collect()
}

#[test]
fn a_transaction_becomes_its_net_effect() {
    let (mut assembler, channel) = assembler();
    assembler.feed(&channel, &format!("7 1 1 1 u {},{}", row(1, "a"), row(2, "b")));
    assembler.feed(&channel, "7 2 1 1 d 2,3");
    assembler.feed(&channel, &format!("7 3 1 1 u {},{}", row(3, "c"), row(1, "d")));
    assert_eq!(assembler.poll(), None);
    assembler.feed(&channel, &format!("8 1 1 1 u {}", row(1, "e")));
    let done = batches(drain(&mut assembler));
    assert_eq!(done.len(), 1);
    assert_eq!(done[0].xid, 7);
    assert_eq!(net(&done[0]), [("~1", Some("\"d\"")), ("~2", None), ("~3", Some("\"c\""))]);
    assert_eq!(assembler.poll(), None);
    assembler.end_open_transaction();
    assert_eq!(batches(drain(&mut assembler))[0].xid, 8);
}

#[test]
fn if_any_row_is_to_be_read_all_of_the_transaction_are() {
    let mut assembler = Assembler::new(BYTES_MAX);
    let layout = Arc::new(keys_only(&COLUMNS));
    assembler.listen(layout.clone());
    let mut told = |payloads: &[&str]| {
        for payload in payloads {
            assembler.feed(layout.channel(), payload);
        }
        assembler.end_of_burst();
        let [batch] = <[Batch; 1]>::try_from(batches(drain(&mut assembler))).unwrap();
        let changes = batch.changes().len();
        (is_truncation(&batch), is_requery(&batch), unread(&batch).join(" "), changes)
    };
    let gone_at_first = told(&["7 1 1 1 k 1,2,3", "7 2 1 1 d 2,5", "7 3 1 1 k 5"]);
    assert_eq!(gone_at_first, (false, false, "1 2 3 5".to_owned(), 4));
    assert_eq!(told(&["8 1 1 1 d 1,2"]), (false, false, String::new(), 2), "nothing to read");
    // Nobody can tell what else is in the table when the row is read.
    assert_eq!(told(&["9 1 1 1 t ", "9 2 1 1 k 2"]), (false, true, String::new(), 0));
    assert_eq!(told(&["10 1 1 1 k 1", "10 2 1 1 t "]), (true, false, String::new(), 0));
    let in_full = format!("11 1 1 1 u {}", row(3, "c"));
    assert_eq!(told(&[&in_full, "11 2 1 1 k 1"]), (false, false, "3 1".to_owned(), 2));
    assert_eq!(told(&["12 1 1 1 k 3", "12 2 1 1 r "]), (false, true, String::new(), 0));
}

#[test]
fn rows_told_by_keys_are_read_whoever_installed_the_triggers() {
    let (mut assembler, channel) = assembler();
    assembler.feed(&channel, "7 1 1 1 k 1,2");
    assembler.feed(&channel, "8 1 1 1 k 1");
    assembler.feed(&channel, "8 2 1 1 d 2");
    assembler.end_of_burst();
    let done = batches(drain(&mut assembler));
    assert_eq!((unread(&done[0]), is_requery(&done[0])), (vec!["1", "2"], false));
    assert_eq!((unread(&done[1]), is_requery(&done[1])), (vec!["1", "2"], false));
}

#[test]
fn rows_are_read_if_the_order_of_their_changes_is_not_known() {
    let unread_of = |payloads: &[&str]| {
        let (mut assembler, channel) = assembler();
        payloads.iter().for_each(|payload| assembler.feed(&channel, payload));
        assembler.end_of_burst();
        unread(&batches(drain(&mut assembler))[0]).join(" ")
    };
    let (one, two) = (row(1, "a"), row(2, "b"));
    let both = format!("7 1 1 1 u {one},{two}");
    // One statement, and the same row in two of its messages, or twice in one.
    assert_eq!(unread_of(&[&both, "7 -2 1 1 d 2,3"]), "1 2 3");
    assert_eq!(unread_of(&["7 1 1 1 d 2,3", &format!("7 -2 1 1 u {two}")]), "2 3");
    assert_eq!(unread_of(&[&format!("7 1 1 1 u {one},{one}")]), "1");
    assert_eq!(unread_of(&[&both, "7 -2 1 1 d 3", "7 -3 1 1 d 1"]), "1 2 3");
    // Different rows, or one statement after the other.
    assert_eq!(unread_of(&[&both, "7 -2 1 1 d 3"]), "");
    assert_eq!(unread_of(&[&both, "7 2 1 1 d 2,3"]), "");
    assert_eq!(unread_of(&[&both, "7 -2 1 1 d 3", "7 3 1 1 d 3"]), "");
    assert_eq!(unread_of(&[&both, "7 2 1 1 d 3", &format!("7 -3 1 1 u {one}")]), "");
}

#[test]
fn if_a_statement_is_split_what_comes_later_is_read() {
    let (mut assembler, channel) = assembler();
    for payload in [&format!("7 1 1 1 u {}", row(1, "a")), "7 -2 1 1 d 1", "7 3 1 1 d 1"] {
        assembler.feed(&channel, payload);
        assembler.end_of_burst();
    }
    let done = batches(drain(&mut assembler));
    assert_eq!(done.iter().map(unread).collect::<Vec<_>>(), [vec![], vec!["1"], vec![]]);
}

#[test]
fn truncation_forgets_what_was_before() {
    let (mut assembler, channel) = assembler();
    for payload in [&format!("7 1 1 1 u {}", row(1, "a")), "7 2 1 1 t ", "7 3 1 1 d 5"] {
        assembler.feed(&channel, payload);
    }
    assembler.end_of_burst();
    let done = batches(drain(&mut assembler));
    assert!(is_truncation(&done[0]));
    assert_eq!(net(&done[0]), [("~5", None)]);
}

#[test]
fn a_truncation_does_not_hide_what_its_own_statement_put_in() {
    let after = |payloads: &[&str]| {
        let (mut assembler, channel) = assembler();
        payloads.iter().for_each(|payload| assembler.feed(&channel, payload));
        assembler.end_of_burst();
        let batch = &batches(drain(&mut assembler))[0];
        (is_truncation(batch), is_requery(batch))
    };
    let put = format!("7 1 1 1 u {}", row(1, "a"));
    assert_eq!(after(&[&put, "7 -2 1 1 t "]), (false, true));
    assert_eq!(after(&[&put, "7 2 1 1 t "]), (true, false));
    assert_eq!(after(&[&put, "7 2 1 1 d 5", "7 -3 1 1 t "]), (false, true));
    let (mut assembler, channel) = assembler();
    assembler.feed(&channel, &put);
    assembler.end_of_burst();
    assembler.feed(&channel, "7 -2 1 1 t ");
    assembler.end_of_burst();
    assert!(is_requery(&batches(drain(&mut assembler))[1]), "the row went out before");
}

#[test]
fn parts_are_joined_and_wait_for_the_rest() {
    let (mut assembler, channel) = assembler();
    let body = row(1, "é€𝄞");
    let (first, second) = body.split_at(19);
    assembler.feed(&channel, &format!("7 1 1 2 u {first}"));
    assembler.end_of_burst();
    assert_eq!(assembler.poll(), None);
    assembler.feed(&channel, &format!("7 1 2 2 u {second}"));
    assembler.end_of_burst();
    assert_eq!(net(&batches(drain(&mut assembler))[0]), [("~1", Some("\"é€𝄞\""))]);

    assembler.feed(&channel, &format!("8 1 1 2 u {first}"));
    assembler.feed(&channel, &format!("9 1 1 1 u {body}"));
    only_gap(&drain(&mut assembler), GapReason::Part);
    assembler.end_of_burst();
    assert_eq!(batches(drain(&mut assembler))[0].xid, 9);
}

#[test]
fn a_burst_that_ends_early_makes_two_batches() {
    let (mut assembler, channel) = assembler();
    assembler.feed(&channel, &format!("7 1 1 1 u {}", row(1, "a")));
    assembler.end_of_burst();
    assembler.feed(&channel, &format!("7 2 1 1 u {}", row(1, "b")));
    assembler.end_of_burst();
    let done = batches(drain(&mut assembler));
    assert_eq!(done.iter().map(|batch| batch.xid).collect::<Vec<_>>(), [7, 7]);
}

#[test]
fn what_is_missing_is_a_gap_once_per_transaction() {
    for (payloads, reason) in [
        (&["7 1 1 1 d 1", "7 3 1 1 d 2", "7 4 1 1 d 3"][..], GapReason::Sequence),
        (&["7 2 1 1 d 1", "7 3 1 1 d 2"], GapReason::Sequence),
        (&["7 1 1 1 d 1", "7 1 1 1 d 1"], GapReason::Sequence),
        (&["7 1 2 2 d 1", "7 2 1 1 d 1"], GapReason::Part),
        (&["7 1 1 3 d 1", "7 1 3 3 d 1"], GapReason::Part),
        (&["7 1 1 2 d 1", "7 1 2 3 d 1"], GapReason::Part),
        (&["7 1 1 2 d 1", "7 1 2 2 u 1"], GapReason::Part),
        (&["7 1 1 1 d 1,", "7 2 1 1 d 2"], GapReason::Malformed),
    ] {
        let (mut assembler, channel) = assembler();
        for payload in payloads {
            assembler.feed(&channel, payload);
        }
        assembler.end_of_burst();
        only_gap(&drain(&mut assembler), reason);
        assembler.feed(&channel, "8 1 1 1 d 1");
        assembler.end_of_burst();
        assert_eq!(batches(drain(&mut assembler))[0].xid, 8, "{payloads:?}");
    }
    let (mut assembler, channel) = assembler();
    assembler.feed(&channel, "nonsense");
    only_gap(&drain(&mut assembler), GapReason::Malformed);
}

#[test]
fn too_much_becomes_a_requery() {
    let (mut assembler, channel) = assembler();
    let long = row(1, &"x".repeat(40_000));
    for part in 1..=3 {
        assembler.feed(&channel, &format!("7 1 {part} 3 u {long},"));
    }
    assembler.feed(&channel, &format!("7 2 1 1 u {}", row(2, "a")));
    for id in 1..=3 {
        let payload = format!("8 {id} 1 1 u {}", row(id, &"x".repeat(40_000)));
        assembler.feed(&channel, &payload);
    }
    // The same row again takes no more memory.
    for sequence in 1..=9 {
        assembler.feed(&channel, &format!("9 {sequence} 1 1 u {long}"));
    }
    assembler.feed(&channel, "10 1 1 1 r ");
    assembler.feed(&channel, "11 1 1 1 u {\"id\":1}");
    assembler.end_of_burst();
    let done = batches(drain(&mut assembler));
    let outcome: Vec<_> = done.iter().map(|b| (b.xid, is_requery(b), b.changes().len())).collect();
    assert_eq!(outcome, [(7, true, 0), (8, true, 0), (9, false, 1), (10, true, 0), (11, true, 0)]);
}

#[test]
fn other_channels_are_ignored_and_what_was_pending_at_a_reset() {
    let (mut assembler, channel) = assembler();
    assembler.feed("other", "nonsense");
    assembler.end_of_burst();
    assert_eq!(assembler.poll(), None);
    assembler.feed(&channel, "9 1 1 1 d 1");
    assembler.reset();
    assembler.end_of_burst();
    assert_eq!(assembler.poll(), None);
}

/// Operations, how their bodies are split, and whether they are of the statement before.
fn operations() -> impl Strategy<Value = Vec<(bool, Vec<u32>, u8, bool)>> {
    let ids = prop::collection::vec(0..6u32, 1..4);
    prop::collection::vec((any::<bool>(), ids, 1..4u8, any::<bool>()), 1..5)
}

/// Whether a statement touches a row twice.
fn is_uncertain(operations: &[(bool, Vec<u32>, u8, bool)]) -> bool {
    let mut touched = std::collections::HashSet::new();
    operations.iter().any(|(_, ids, _, is_same_statement)| {
        if !is_same_statement {
            touched.clear();
        }
        !ids.iter().all(|id| touched.insert(*id))
    })
}

/// The payloads of a transaction, and their net effect.
fn transaction(
    xid: u64,
    operations: &[(bool, Vec<u32>, u8, bool)],
) -> (Vec<String>, BTreeMap<String, Option<String>>) {
    let (mut payloads, mut net) = (Vec::new(), BTreeMap::new());
    for (sequence, (upsert, ids, parts, is_same_statement)) in (1..).zip(operations) {
        let title = format!("t{xid}.{sequence}");
        let texts: Vec<String> =
            ids.iter().map(|id| if *upsert { row(*id, &title) } else { id.to_string() }).collect();
        for id in ids {
            net.insert(format!("~{id}"), upsert.then(|| format!("{title:?}")));
        }
        let kind = if *upsert { OperationKind::Upsert } else { OperationKind::Delete };
        let body = texts.join(",");
        let length = body.len().div_ceil(usize::from(*parts));
        let pieces: Vec<&[u8]> = body.as_bytes().chunks(length).collect();
        for (part, piece) in (1..).zip(&pieces) {
            let parts = u32::try_from(pieces.len()).unwrap();
            let body = std::str::from_utf8(piece).unwrap();
            let is_same_statement = *is_same_statement;
            let family = None;
            let notification =
                Notification { xid, sequence, is_same_statement, part, parts, kind, family, body };
            payloads.push(notification.payload());
        }
    }
    (payloads, net)
}

fn net_map(batch: &Batch) -> BTreeMap<String, Option<String>> {
    let owned = |(id, value): (&str, Option<&str>)| (id.to_owned(), value.map(str::to_owned));
    net(batch).into_iter().map(owned).collect()
}

proptest! {
    #[test]
    fn whole_transactions_arrive_as_they_were(
        transactions in prop::collection::vec(operations(), 1..6),
    ) {
        let (mut assembler, channel) = assembler();
        let mut expected = Vec::new();
        for (xid, operations) in (1..).zip(&transactions) {
            let (payloads, net) = transaction(xid, operations);
            payloads.iter().for_each(|payload| assembler.feed(&channel, payload));
            expected.push((xid, net, is_uncertain(operations)));
        }
        assembler.end_of_burst();
        let done = batches(drain(&mut assembler));
        for batch in &done {
            let ids: Vec<_> = batch.changes().iter().map(|change| &change.id).collect();
            let unread: Vec<_> = batch.unread().iter().map(|(id, _)| id).collect();
            prop_assert!(unread.is_empty() || unread == ids, "all rows or none are read");
        }
        let done: Vec<_> =
            done.iter().map(|b| (b.xid, net_map(b), !b.unread().is_empty())).collect();
        prop_assert_eq!(done, expected);
    }

    /// Whatever a broken feed does, a transaction's batches add up to the truth, or a gap follows.
    #[test]
    fn broken_feeds_never_pass_unnoticed(
        transactions in prop::collection::vec(operations(), 2..5),
        picks in prop::collection::vec((any::<prop::sample::Index>(), 0..12u8), 0..60),
    ) {
        let (mut assembler, channel) = assembler();
        let made: Vec<_> = (1..).zip(&transactions).map(|(x, o)| transaction(x, o)).collect();
        let mut queues: Vec<_> = made.iter().map(|(payloads, _)| payloads.as_slice()).collect();
        let mut whole = vec![true; made.len()];
        for (index, fate) in picks {
            let chosen = index.index(queues.len());
            let Some((payload, rest)) = queues[chosen].split_first() else { continue };
            queues[chosen] = rest;
            if fate == 0 {
                whole[chosen] = false;
            } else {
                assembler.feed(&channel, payload);
            }
            if fate == 1 {
                assembler.end_of_burst();
            }
        }
        for (chosen, rest) in queues.iter().enumerate() {
            // A lost end of a transaction goes unnoticed: nothing follows that could be out of
            // order.
            whole[chosen] &= rest.is_empty();
        }
        assembler.end_open_transaction();
        let assembled = drain(&mut assembler);
        let gaps = assembled.iter().any(|a| matches!(a, Assembled::Gap(_)));
        for (index, (_, truth)) in made.iter().enumerate().filter(|(index, _)| whole[*index]) {
            let xid = index as u64 + 1;
            let mut sum = BTreeMap::new();
            for one in &assembled {
                if let Assembled::Batch(batch) = one && batch.xid == xid {
                    sum.extend(net_map(batch));
                }
            }
            prop_assert!(gaps || sum == *truth, "{sum:?} {truth:?}");
        }
    }

    #[test]
    fn no_payload_panics(payloads in prop::collection::vec(".{0,40}", 0..20), seed: u32) {
        let (mut assembler, channel) = assembler();
        for (index, payload) in payloads.iter().enumerate() {
            let sequence = seed as usize % 3 + index;
            assembler.feed(&channel, payload);
            assembler.feed(&channel, &format!("1 {sequence} 1 1 u {payload}"));
            assembler.feed(&channel, &format!("1 1 {sequence} {} d {payload}", seed % 4));
        }
        assembler.end_of_burst();
        drain(&mut assembler);
    }
}
