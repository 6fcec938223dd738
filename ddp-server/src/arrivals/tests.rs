use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::{BoxFuture, join_all};

use super::*;

/// Someone whose work is counted, and who leaves when it is done.
fn comes(arrivals: &Arrivals, stage: Stage, done: &Arc<Mutex<Vec<u32>>>, name: u32) -> Coming {
    let done = Arc::clone(done);
    let work = poll_fn(move |_| {
        done.lock().push(name);
        Poll::Ready(())
    });
    arrivals.arrive(stage).run(work.boxed(), || false).boxed()
}

type Coming = BoxFuture<'static, ()>;

/// Someone who is in the middle of a turn for as long as this is kept.
fn keeps_a_turn(arrivals: &Arrivals) -> Box<Arrival> {
    let mut arrival = arrivals.arrive(Stage::Session);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(arrival.poll_turn(&mut cx).is_pending());
    assert!(arrival.poll_turn(&mut cx).is_ready());
    arrival
}

fn poll(coming: &mut Coming) -> Poll<()> {
    coming.poll_unpin(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn who_is_further_along_goes_first_and_then_who_came_first() {
    let (arrivals, done) = (Arrivals::new(Some(1)), Arc::default());
    let turn = keeps_a_turn(&arrivals);
    let stages = [Stage::Http, Stage::Session, Stage::Http, Stage::Session];
    let all = (0..).zip(stages).map(|(name, stage)| comes(&arrivals, stage, &done, name));
    let mut all: Vec<_> = all.collect();
    // The order in which they ask does not matter.
    for coming in all.iter_mut().rev() {
        assert!(poll(coming).is_pending());
    }
    drop(turn);
    join_all(all).await;
    assert_eq!(*done.lock(), [1, 3, 0, 2]);
}

#[tokio::test]
async fn everything_that_is_ready_goes_before_whoever_was_called() {
    let (arrivals, done) = (Arrivals::new(Some(1)), Arc::default());
    let turn = keeps_a_turn(&arrivals);
    let all: Vec<_> =
        (0..50).map(|name| tokio::spawn(comes(&arrivals, Stage::Session, &done, name))).collect();
    yield_now().await;
    drop(turn);
    let begun = Arc::clone(&done);
    let others = (0..50).map(|_| {
        let begun = Arc::clone(&begun);
        tokio::spawn(async move { begun.lock().len() })
    });
    let others: Vec<_> = others.collect();
    for before in join_all(others).await {
        assert_eq!(before.expect("no panic"), 0);
    }
    join_all(all).await;
    assert_eq!(done.lock().len(), 50);
}

#[tokio::test]
async fn whoever_leaves_gives_the_turn_back() {
    let (arrivals, done) = (Arrivals::new(Some(1)), Arc::default());
    let turn = keeps_a_turn(&arrivals);
    let mut leaving: Vec<_> =
        (0..3).map(|name| comes(&arrivals, Stage::Session, &done, name)).collect();
    let mut last = comes(&arrivals, Stage::Http, &done, 3);
    for coming in leaving.iter_mut().chain([&mut last]) {
        assert!(poll(coming).is_pending());
    }
    // One leaves while it is in the line, one when it was called, and one that lets others go first.
    drop(leaving.remove(2));
    drop(turn);
    drop(leaving.remove(0));
    assert!(poll(&mut leaving[0]).is_pending());
    leaving.clear();
    last.await;
    assert_eq!(*done.lock(), [3]);
    let panics = poll_fn(|_| -> Poll<()> { panic!("for a test") });
    let mut panics = arrivals.arrive(Stage::Session).run(panics.boxed(), || false);
    let mut cx = Context::from_waker(Waker::noop());
    // It lets others go first, and then panics.
    assert!(panics.poll_unpin(&mut cx).is_pending());
    assert!(catch_unwind(AssertUnwindSafe(|| panics.poll_unpin(&mut cx))).is_err());
    drop(panics);
    comes(&arrivals, Stage::Http, &done, 4).await;
    assert_eq!(*done.lock(), [3, 4]);
}

#[tokio::test]
async fn whoever_waits_for_something_else_has_no_turn() {
    let (arrivals, done) = (Arrivals::new(Some(1)), Arc::default());
    let polls = AtomicUsize::new(0);
    let stalls = poll_fn(|_| {
        polls.fetch_add(1, Ordering::Relaxed);
        Poll::<()>::Pending
    });
    let mut stalled = arrivals.arrive(Stage::Session).run(stalls, || false);
    while polls.load(Ordering::Relaxed) == 0 {
        assert!((&mut stalled).now_or_never().is_none());
    }
    comes(&arrivals, Stage::Http, &done, 0).await;
    assert_eq!(*done.lock(), [0]);
}

#[tokio::test]
async fn an_end_comes_to_turns() {
    let arrivals = Arrivals::new(Some(1));
    let polls = AtomicUsize::new(0);
    let endless = || {
        poll_fn(|cx| {
            polls.fetch_add(1, Ordering::Relaxed);
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        })
    };
    let mut cx = Context::from_waker(Waker::noop());
    let mut endless_one = arrivals.arrive(Stage::Session).run(endless(), || false);
    let mut settled = arrivals.arrive(Stage::Session).run(endless(), || true);
    while polls.load(Ordering::Relaxed) < TURNS_MAX as usize {
        assert!(endless_one.poll_unpin(&mut cx).is_pending());
    }
    assert!(settled.poll_unpin(&mut cx).is_pending());
    assert!(settled.poll_unpin(&mut cx).is_pending());
    // Nobody gets a turn any more, and those who need none do not ask.
    let turn = keeps_a_turn(&arrivals);
    let before = polls.load(Ordering::Relaxed);
    assert!(endless_one.poll_unpin(&mut cx).is_pending());
    assert!(settled.poll_unpin(&mut cx).is_pending());
    assert_eq!(polls.load(Ordering::Relaxed), before + 2);
    drop(turn);
}

#[tokio::test]
async fn whoever_has_worked_enough_is_no_arrival_any_more() {
    let arrivals = Arrivals::new(Some(1));
    let polls = AtomicUsize::new(0);
    let works = poll_fn(|_| {
        polls.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        while began.elapsed() < WORK_MAX {
            std::hint::spin_loop();
        }
        Poll::<()>::Pending
    });
    let mut worker = arrivals.arrive(Stage::Session).run(works, || false);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(worker.poll_unpin(&mut cx).is_pending() && worker.poll_unpin(&mut cx).is_pending());
    let turn = keeps_a_turn(&arrivals);
    assert!(worker.poll_unpin(&mut cx).is_pending());
    assert_eq!(polls.load(Ordering::Relaxed), 2, "it needs no turn");
    drop(turn);
}

#[tokio::test(start_paused = true)]
async fn whoever_is_late_is_called_beside_those_who_are_further_along() {
    let (arrivals, done) = (Arrivals::new(Some(1)), Arc::default());
    let first = keeps_a_turn(&arrivals);
    let [mut http, mut next] = [0, 1].map(|name| comes(&arrivals, Stage::Http, &done, name));
    assert!(poll(&mut http).is_pending() && poll(&mut next).is_pending());
    tokio::time::advance(WAIT_MAX / 2).await;
    // There is always a session that goes first.
    let mut session = arrivals.arrive(Stage::Session);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(session.poll_turn(&mut cx).is_pending());
    drop(first);
    assert!(session.poll_turn(&mut cx).is_pending() && session.poll_turn(&mut cx).is_ready());
    assert!(poll(&mut http).is_pending() && poll(&mut http).is_pending(), "it is not called");
    let mut another = arrivals.arrive(Stage::Session);
    assert!(another.poll_turn(&mut cx).is_pending());
    tokio::time::advance(WAIT_MAX / 2).await;
    drop(session);
    assert!(another.poll_turn(&mut cx).is_pending() && another.poll_turn(&mut cx).is_ready());
    assert!(poll(&mut http).is_pending(), "it lets others go first");
    assert!(poll(&mut http).is_ready(), "it is called as well");
    assert!(poll(&mut next).is_pending() && poll(&mut next).is_ready());
    drop(another);
    assert_eq!(arrivals.turns().line.lock().under_way, 0);
}

#[test]
fn a_runtime_that_nobody_runs_holds_up_no_other() {
    let (arrivals, done) = (Arrivals::new(Some(1)), Arc::default());
    let runtime = || tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (stopped, running) = (runtime(), runtime());
    let turn = stopped.block_on(async { keeps_a_turn(&arrivals) });
    running.block_on(async { comes(&arrivals, Stage::Session, &done, 0).await });
    assert_eq!(*done.lock(), [0]);
    drop((turn, stopped));
}

#[test]
fn half_of_the_threads_are_left_to_others() {
    let threads = |count| {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(count).build().expect("a runtime")
    };
    for (count, set, expected) in [(1, None, 1), (2, None, 1), (6, None, 3), (6, Some(0), 1)] {
        let arrivals = Arrivals::new(set);
        let turns = threads(count).block_on(async { arrivals.turns().at_once });
        assert_eq!(turns, expected, "{count} threads, {set:?}");
    }
}
