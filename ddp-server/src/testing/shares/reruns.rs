//! What takes a session long: publications that run again, because the user changes, and dear messages.

use super::*;

/// A turn, and a user.
type Run = (usize, Option<String>);

/// When publications began: in which turn of somebody else, and for whom.
#[derive(Clone, Default)]
struct Begun {
    turns: Arc<AtomicUsize>,
    all: Arc<Mutex<Vec<Run>>>,
}

impl Begun {
    /// From now on, by a task that stands in line behind whatever is ready, and what is ready next behind it.
    fn count_turns(&self) {
        let turns = Arc::clone(&self.turns);
        tokio::spawn(poll_fn(move |cx| {
            turns.fetch_add(1, Ordering::Relaxed);
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        }));
    }
}

#[tokio::test]
async fn others_have_turns_while_publications_run_again() {
    const COUNT: usize = 20;
    let begun = Begun::default();
    let slow = async |State(begun): State<Begun>, subscription: Subscription| {
        let turn = begun.turns.load(Ordering::Relaxed);
        begun.all.lock().push((turn, subscription.user_id().map(ToString::to_string)));
        // Longer than a session's task runs in one go.
        std::thread::sleep(Duration::from_millis(2));
        subscription.ready();
    };
    let server = Server::builder()
        .publish("slow", slow)
        .method("login", async |invocation: Invocation| invocation.set_user_id(Some("ada")).await)
        .method("twice", async |invocation: Invocation| {
            let (bob, cay) =
                (invocation.set_user_id(Some("bob")), invocation.set_user_id(Some("cay")));
            let (bob, cay) = futures::join!(bob, cay);
            bob.and(cay)
        })
        .with_state(begun.clone());
    let client = Client::connect(&server).await;
    let mut subscriptions = Vec::new();
    for number in 0..COUNT {
        subscriptions.push(client.subscribe("slow", (number,)).await.expect("it is ready"));
    }
    begun.count_turns();
    begun.all.lock().clear();
    client.call::<()>("login", ()).await.expect("a user");
    let ran = std::mem::take(&mut *begun.all.lock());
    assert_eq!(ran.len(), COUNT);
    assert!(ran.windows(2).all(|two| two[0].0 < two[1].0), "one in each turn: {ran:?}");

    // The user changes again before all have run.
    client.call::<()>("twice", ()).await.expect("a user");
    let ran = std::mem::take(&mut *begun.all.lock());
    assert!((COUNT + 1..2 * COUNT).contains(&ran.len()), "{ran:?}");
    let of_cay = ran.iter().filter(|(_, user)| user.as_deref() == Some("cay"));
    assert_eq!(of_cay.count(), COUNT);
}

#[tokio::test]
async fn others_have_turns_between_messages_that_take_long() {
    const COUNT: usize = 20;
    let begun = Begun::default();
    let slow = async |State(begun): State<Begun>| {
        begun.all.lock().push((begun.turns.load(Ordering::Relaxed), None));
        // Longer than a session's task runs in one go.
        std::thread::sleep(Duration::from_millis(2));
        Ok::<_, Error>(())
    };
    let server = Server::builder().method("slow", slow).with_state(begun.clone());
    let client = Client::connect(&server).await;
    begun.count_turns();
    let calls = (0..COUNT).map(|_| client.call::<()>("slow", ()));
    futures::future::try_join_all(calls).await.expect("it returns");
    let ran = std::mem::take(&mut *begun.all.lock());
    assert_eq!(ran.len(), COUNT);
    assert!(ran.windows(2).all(|two| two[0].0 < two[1].0), "one in each turn: {ran:?}");
}
