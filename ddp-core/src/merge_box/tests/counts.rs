//! How often documents are compared when many subscriptions overlap: never more than a few times
//! for each document of each, however many there are.

use super::*;
use crate::id::LiveQueryKey;
use crate::merge_box::effect::asked;
use crate::merge_box::telling::looked_at;

const VIEWS: usize = 300;
const ROWS: usize = 20;

/// One session, and live queries that show some of the same rows.
struct Overlap {
    merge_box: MergeBox,
    queries: Vec<Snapshot>,
    shows: fn(usize, usize) -> bool,
    rows: usize,
    fields: fn(usize) -> &'static [&'static str],
    sent: Vec<String>,
    client: Client,
}

impl Overlap {
    fn new(rows: usize, shows: fn(usize, usize) -> bool) -> Self {
        let (merge_box, sent, client) = Default::default();
        let queries = vec![Snapshot::default(); VIEWS];
        Self { merge_box, queries, shows, rows, fields: |_| &["a", "b"], sent, client }
    }

    /// A row as all queries of the same fields share it.
    fn rows(&self, value: Option<&str>, fields: &[&str]) -> Vec<Option<Arc<Document>>> {
        let row = |number: usize| {
            let text = format!("\"{} {number}\"", value?);
            let fields = fields.iter().map(|name| ((*name).into(), text.as_str()));
            Some(Arc::new(Document::from_fields(fields).unwrap()))
        };
        (0..self.rows).map(row).collect()
    }

    /// Every row gets this value, or goes, and each query hears of it in the order of `turns`.
    /// Returns how many documents were compared.
    fn change(&mut self, value: Option<&str>, turns: impl Iterator<Item = usize>) -> usize {
        let mut made: BTreeMap<&[&str], _> = BTreeMap::new();
        let before = asked();
        for query in turns {
            let fields = (self.fields)(query);
            if !made.contains_key(fields) {
                made.insert(fields, self.rows(value, fields));
            }
            let id = |row: usize| DocumentId::from_string(&format!("row{row:04}"));
            let rows = made[fields].iter().cloned().enumerate();
            let rows = rows.filter(|(row, _)| (self.shows)(query, *row));
            let documents = rows.map(|(row, document)| (id(row), document)).collect();
            let Some(delta) = self.queries[query].advance(&"c".into(), documents) else { continue };
            let key = LiveQueryKey::from(query as u64);
            let sent = &mut self.sent;
            let mut send = |outgoing: Outgoing| match outgoing {
                Outgoing::Text(text) => sent.push(text),
                Outgoing::Shared(delta) => {
                    delta.for_each_message(|text| sent.push(text.to_owned()))
                }
            };
            if delta.from() == 0 {
                let key = SubscriptionKey::from(query as u64);
                let source = Source::LiveQuery(LiveQueryKey::from(query as u64));
                self.merge_box.apply(key, source, delta, &mut send);
            } else {
                self.merge_box.step(key, &delta, &mut send);
            }
        }
        asked() - before
    }

    /// The same as one step, which all queries take that hold the same.
    fn change_together(&mut self, value: &str, turns: impl Iterator<Item = usize>) {
        let id = |row: usize| DocumentId::from_string(&format!("row{row:04}"));
        let rows = self.rows(Some(value), &["a", "b"]).into_iter().enumerate();
        let rows: BTreeMap<_, _> = rows.map(|(row, document)| (id(row), document)).collect();
        let before = self.queries[0].clone();
        let step = before.clone().advance(&"c".into(), rows).expect("the value is new");
        for query in turns {
            let step = self.queries[query].follow(&before, &step).expect("it holds the same");
            let sent = &mut self.sent;
            self.merge_box.step(LiveQueryKey::from(query as u64), &step, &mut |outgoing| {
                let Outgoing::Text(text) = outgoing else { panic!("{outgoing:?}") };
                sent.push(text);
            });
        }
    }

    fn unsubscribe(&mut self, turns: impl Iterator<Item = usize>) -> usize {
        let before = asked();
        for query in turns {
            let sent = &mut self.sent;
            self.merge_box.remove(SubscriptionKey::from(query as u64), &mut |outgoing| {
                let Outgoing::Text(text) = outgoing else { panic!("{outgoing:?}") };
                sent.push(text);
            });
        }
        asked() - before
    }

    /// How many messages were sent since the last time; the client sees this many rows.
    fn sent(&mut self, rows: usize) -> usize {
        let sent = std::mem::take(&mut self.sent);
        // A client refuses what it has, and what changes nothing.
        sent.iter().for_each(|text| self.client.apply(text));
        assert_eq!(self.client.0.get("c").map_or(0, BTreeMap::len), rows);
        sent.len()
    }

    /// The whole life of the subscriptions.
    fn live(mut self) {
        let shown: usize = (0..VIEWS)
            .map(|query| (0..self.rows).filter(|row| (self.shows)(query, *row)).count())
            .sum();
        let bound = 6 * shown;
        let shuffled = || (0..VIEWS).map(|turn| turn * 7 % VIEWS);
        let asked = self.change(Some("new"), 0..VIEWS);
        assert!(asked <= bound, "to be ready: {asked} for {shown}");
        self.sent(self.rows);
        for turn in 0..3 {
            let value = format!("value {turn}");
            let asked = match turn {
                0 => self.change(Some(&value), 0..VIEWS),
                1 => self.change(Some(&value), (0..VIEWS).rev()),
                _ => self.change(Some(&value), shuffled()),
            };
            assert!(asked <= bound, "an update, {turn}: {asked} for {shown}");
            self.sent(self.rows);
        }
        let asked = self.change(None, shuffled());
        assert!(asked <= bound, "a deletion: {asked} for {shown}");
        self.sent(0);
        self.change(Some("again"), shuffled());
        self.sent(self.rows);
        let asked = self.unsubscribe(shuffled());
        assert!(asked <= bound, "the end: {asked} for {shown}");
        self.sent(0);
    }
}

#[test]
fn the_same_rows_are_compared_for_the_first_subscriptions_only() {
    let mut overlap = Overlap::new(ROWS, |_, _| true);
    let asked = overlap.change(Some("new"), 0..VIEWS);
    assert!(asked <= 6 * ROWS, "{asked}");
    assert_eq!(overlap.sent(ROWS), ROWS);
    let asked = overlap.change(Some("other"), 0..VIEWS);
    assert!(asked <= 2 * ROWS, "{asked}");
    assert_eq!(overlap.sent(ROWS), ROWS, "once each");
    // Queries need not hear of it in the order in which they were subscribed to.
    let asked = overlap.change(Some("third"), (0..VIEWS).map(|turn| turn * 77 % VIEWS));
    assert!(asked <= 20 * ROWS, "{asked}");
    assert_eq!(overlap.sent(ROWS), ROWS, "once each");
    overlap.live();
}

#[test]
fn a_step_that_many_subscriptions_share_is_looked_at_once() {
    let mut overlap = Overlap::new(ROWS, |_, _| true);
    overlap.change(Some("new"), 0..VIEWS);
    overlap.sent(ROWS);
    let first = overlap.queries[0].clone();
    overlap.queries.iter_mut().for_each(|query| assert!(query.share(&first)));
    let mut update = |value: &str, turns: &mut dyn Iterator<Item = usize>| {
        let before = looked_at();
        overlap.change_together(value, turns);
        assert_eq!(overlap.sent(ROWS), ROWS, "once each");
        looked_at() - before
    };
    // A few views take it in the last round, before the first that has changed in it already.
    for value in ["other", "third"] {
        let looked_at = update(value, &mut (0..VIEWS));
        assert!(looked_at <= 2 * ROWS, "{looked_at}");
    }
    // Out of order it is looked at for each that comes before all that have taken it.
    let shuffled = update("fourth", &mut (0..VIEWS).map(|turn| turn * 77 % VIEWS));
    assert!(shuffled <= 20 * ROWS, "{shuffled}");
    // Those that are left show what all did.
    overlap.unsubscribe(0..VIEWS - 1);
    assert_eq!(overlap.sent(ROWS), 0);
    overlap.unsubscribe(VIEWS - 1..VIEWS);
    assert_eq!(overlap.sent(0), ROWS);
}

#[test]
fn rows_that_a_few_subscriptions_share_cost_only_these() {
    Overlap::new(VIEWS + ROWS - 1, |query, row| (query..query + ROWS).contains(&row)).live();
    // No two share one.
    Overlap::new(VIEWS * 4, |query, row| row / 4 == query).live();
}

#[test]
fn other_fields_of_the_same_rows_cost_no_more() {
    // Many subscriptions without a field come before many that have it.
    let halves = |query| if query < VIEWS / 2 { &["a"][..] } else { &["a", "b"] };
    let mut overlap = Overlap::new(ROWS, |_, _| true);
    overlap.fields = halves;
    overlap.live();
    let mut overlap = Overlap::new(ROWS, |_, _| true);
    overlap.fields = |query| [&["a"][..], &["b", "c"], &["c", "a"]][query % 3];
    overlap.live();
}

#[test]
fn equal_subscriptions_are_one_view() {
    let mut merge_box = MergeBox::default();
    let mut overlap = Overlap::new(ROWS, |_, _| true);
    overlap.change(Some("new"), 0..1);
    let source = Source::LiveQuery(LiveQueryKey::from(0));
    let initial = overlap.queries[0].initial(&"c".into());
    let mut sent = 0;
    for key in 0..VIEWS as u64 {
        merge_box.apply(key.into(), source, Arc::clone(&initial), &mut |outgoing| {
            assert!(matches!(outgoing, Outgoing::Shared(_)), "{outgoing:?}");
            sent += 1;
        });
    }
    assert_eq!(sent, 1);
    let before = asked();
    // Its steps are sent as they are, and the end of any but the last subscription sends nothing.
    for key in 0..VIEWS as u64 - 1 {
        let documents = BTreeMap::from([(DocumentId::from_string(&format!("x{key}")), None)]);
        assert!(overlap.queries[0].advance(&"c".into(), documents).is_none());
        let id = DocumentId::from_string("row0000");
        let document = overlap.rows(Some(&key.to_string()), &["a"])[0].take();
        let delta = overlap.queries[0].advance(&"c".into(), BTreeMap::from([(id, document)]));
        let mut shared = 0;
        merge_box.step(LiveQueryKey::from(0), &delta.unwrap(), &mut |outgoing| {
            shared += usize::from(matches!(outgoing, Outgoing::Shared(_)));
        });
        assert_eq!(shared, 1);
        merge_box.remove(key.into(), &mut |outgoing| panic!("{outgoing:?}"));
    }
    assert_eq!(asked(), before, "nothing was compared");
    let mut removed = 0;
    merge_box.remove((VIEWS as u64 - 1).into(), &mut |_| removed += 1);
    assert_eq!(removed, ROWS);
}
