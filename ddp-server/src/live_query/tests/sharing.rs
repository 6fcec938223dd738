//! Sinks that observe a query more than once.

use ddp_core::DdpError;
use parking_lot::Mutex;

use super::*;
use crate::live_query::sink::{Sink, Step};

/// Each bundle of steps that was left here: the key of an observer that is welcomed, or none.
#[derive(Default)]
struct Counting(Mutex<Vec<Vec<Option<u64>>>>);

impl Sink for Counting {
    fn leave(&self, steps: &[Step<'_>]) -> bool {
        self.0.lock().push(steps.iter().map(|step| step.welcomes).collect());
        false
    }

    fn fail(&self, _: u64, _: DdpError) {}
}

impl Counting {
    fn take(&self) -> Vec<Vec<Option<u64>>> {
        std::mem::take(&mut self.0.lock())
    }
}

#[test]
fn a_sink_gets_each_step_of_a_query_once_however_often_it_observes_it() {
    let multiplexer = Multiplexer::new("tasks");
    let (often, once) = (Arc::new(Counting::default()), Arc::new(Counting::default()));
    let observe = |sink: &Arc<Counting>, key: u64, predicate: Predicate| {
        let query = Query { predicate: predicate.clone(), ..Query::all("tasks") };
        let plan = Plan { predicate, keys: None, order: None };
        let joined = multiplexer.observe(&query, plan, Observer::new(Arc::clone(sink) as _, key));
        if joined.must_read {
            let reads = multiplexer.begin_reads(1).into_iter().map(|read| (read, Vec::new()));
            assert!(!multiplexer.finish_reads(reads.collect(), |_| true));
        }
        joined.observation
    };
    let all = || Predicate::All;
    let mut observations: Vec<_> = (1..=100).map(|key| observe(&often, key, all())).collect();
    let _other = observe(&once, 1, all());
    let _ranked = observe(&often, 101, field("rank").gt(0));
    let welcomed: Vec<_> = (1..=101).map(|key| vec![Some(key)]).collect();
    assert_eq!(often.take(), welcomed, "each is welcomed");
    assert_eq!(once.take(), [[Some(1)]]);

    let mut transaction = 0;
    let mut change = |rank: u8| {
        transaction += 1;
        let row = Task { key: 1, list: 1, rank };
        let changes = vec![Change { id: id(1), row: Some(row) }];
        let origin = Origin::Transaction(transaction);
        let must_read = multiplexer.apply(Batch { origin, content: Content::Changes(changes) });
        assert!(!must_read);
    };
    change(1);
    assert_eq!(often.take(), [[None, None]], "one step of each of its two queries, together");
    assert_eq!(once.take(), [[None]]);
    // Whichever observation ends, the sink goes on observing the query until the last one does.
    while let Some(observation) = observations.pop() {
        drop(observation);
        change(u8::try_from(observations.len() % 2).unwrap() + 2);
        let steps = if observations.is_empty() { 1 } else { 2 };
        assert_eq!(often.take(), [vec![None; steps]], "{} are left", observations.len());
    }
}
