//! Logging in and out: subscriptions run again, and the client is sent the difference.

use std::sync::Arc;

use ddp_server::extract::{Invocation, Params, Subscription, UserId};
use ddp_server::live_query::{DataSource, Documents, Observation, Observer};
use ddp_server::query::Query;
use ddp_server::{Collection, Cursor, Error, MemoryCollection, Server, State, field};
use ddp_tests::Peer;
use ddp_tests::peer::serve;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Clone, Serialize, Deserialize)]
struct Note {
    owner: String,
    text: String,
    shared: bool,
}

#[derive(Clone, Serialize, Deserialize)]
struct User {
    name: String,
}

const NOTES: Collection<Note> = Collection::new("notes");
const USERS: Collection<User> = Collection::new("users");

#[derive(Clone)]
struct App {
    notes: MemoryCollection<Note>,
    users: MemoryCollection<User>,
    /// What stopped subscriptions were told.
    stopped: Arc<Mutex<Vec<String>>>,
}

async fn notes(user: Option<UserId>, State(app): State<App>) -> Cursor<Note> {
    let shared = field("shared").eq(true);
    app.notes.find().fields(["text"]).filter(match user {
        Some(user) => shared.or(field("owner").eq(user.as_str())),
        None => shared,
    })
}

async fn private(_: UserId, State(app): State<App>) -> Cursor<Note> {
    app.notes.find().filter(field("owner").eq("nobody"))
}

/// The logged-in user's own document, as Meteor's accounts publish it.
async fn me(user: Option<UserId>, State(app): State<App>) -> Option<Cursor<User>> {
    user.map(|user| app.users.find().filter(field("_id").eq(user.as_str())))
}

async fn on_stop(State(app): State<App>, subscription: Subscription) {
    let user = subscription.user_id().cloned();
    subscription.on_stop(move || app.stopped.lock().push(format!("{user:?}")));
    subscription.ready();
}

async fn set_user(
    invocation: Invocation,
    Params((user,)): Params<(Option<String>,)>,
) -> Result<Option<String>, Error> {
    invocation.set_user_id(user.as_deref()).await?;
    Ok(invocation.user_id().map(Into::into))
}

async fn set_user_after_unblock(invocation: Invocation) -> Result<(), Error> {
    invocation.unblock();
    invocation.set_user_id(Some("a")).await
}

async fn set_user_by_another(
    invocation: Invocation,
    Params(params): Params<(Option<String>,)>,
) -> Result<Value, Error> {
    let inner: Value = invocation.call("setUser", params.0.map(|user| (user,))).await?;
    Ok(json!([inner, invocation.user_id().map(String::from)]))
}

async fn who(user: Option<UserId>) -> Result<Option<String>, Error> {
    Ok(user.map(Into::into))
}

async fn members_only(user: UserId) -> Result<String, Error> {
    Ok(user.into())
}

impl App {
    fn new() -> Self {
        let app = Self {
            notes: MemoryCollection::new(&NOTES),
            users: MemoryCollection::new(&USERS),
            stopped: Arc::default(),
        };
        for (id, owner, shared) in [("1", "a", false), ("2", "b", false), ("3", "a", true)] {
            let note = Note { owner: owner.to_owned(), text: format!("note {id}"), shared };
            app.notes.insert_with_id(id, &note).unwrap();
        }
        for id in ["a", "b"] {
            app.users.insert_with_id(id, &User { name: id.to_uppercase() }).unwrap();
        }
        app
    }

    fn server(&self) -> Server {
        Server::builder()
            .publish("notes", notes)
            .publish("private", private)
            .publish("onStop", on_stop)
            .publish_universal(me)
            .method("setUser", set_user)
            .method("setUserAfterUnblock", set_user_after_unblock)
            .method("setUserByAnother", set_user_by_another)
            .method("who", who)
            .method("membersOnly", members_only)
            .with_state(self.clone())
    }
}

fn added(collection: &str, id: &str, fields: Value) -> Value {
    json!({"msg": "added", "collection": collection, "id": id, "fields": fields})
}

fn removed(collection: &str, id: &str) -> Value {
    json!({"msg": "removed", "collection": collection, "id": id})
}

#[tokio::test]
async fn logging_in_sends_the_difference_then_ready_then_the_result() {
    let mut peer = Peer::connect(serve(&App::new().server()).await).await;
    peer.sub("s1", "notes", json!([])).await;
    peer.expect([
        added("notes", "3", json!({"text": "note 3"})),
        json!({"msg": "ready", "subs": ["s1"]}),
    ])
    .await;
    peer.sub("s2", "onStop", json!([])).await;
    peer.expect([json!({"msg": "ready", "subs": ["s2"]})]).await;

    peer.method("m1", "setUser", json!(["a"])).await;
    peer.expect([
        added("notes", "1", json!({"text": "note 1"})),
        added("users", "a", json!({"name": "A"})),
        json!({"msg": "ready", "subs": ["s1", "s2"]}),
        json!({"msg": "updated", "methods": ["m1"]}),
        json!({"msg": "result", "id": "m1", "result": "a"}),
    ])
    .await;
    assert_eq!(peer.call("who", json!([])).await["result"], "a");

    peer.method("m2", "setUser", json!(["b"])).await;
    peer.expect([
        removed("notes", "1"),
        added("notes", "2", json!({"text": "note 2"})),
        removed("users", "a"),
        added("users", "b", json!({"name": "B"})),
        json!({"msg": "ready", "subs": ["s1", "s2"]}),
        json!({"msg": "updated", "methods": ["m2"]}),
        json!({"msg": "result", "id": "m2", "result": "b"}),
    ])
    .await;

    peer.method("m3", "setUser", json!([null])).await;
    peer.expect([
        removed("notes", "2"),
        removed("users", "b"),
        json!({"msg": "ready", "subs": ["s1", "s2"]}),
        json!({"msg": "updated", "methods": ["m3"]}),
        json!({"msg": "result", "id": "m3", "result": null}),
    ])
    .await;
    peer.expect_nothing().await;
}

#[tokio::test]
async fn documents_stay_live_for_the_new_user_only() {
    let app = App::new();
    let mut peer = Peer::connect(serve(&app.server()).await).await;
    peer.sub("s1", "notes", json!([])).await;
    peer.call("setUser", json!(["a"])).await;
    peer.call("setUser", json!(["b"])).await;
    app.notes.update("1", |note| note.text = "not for b".to_owned()).unwrap();
    app.notes.update("2", |note| note.text = "for b".to_owned()).unwrap();
    peer.expect([json!(
        {"msg": "changed", "collection": "notes", "id": "2", "fields": {"text": "for b"}}
    )])
    .await;
    app.users.update("b", |user| user.name = "Bea".to_owned()).unwrap();
    peer.expect([json!(
        {"msg": "changed", "collection": "users", "id": "b", "fields": {"name": "Bea"}}
    )])
    .await;
    peer.expect_nothing().await;
}

#[tokio::test]
async fn a_publication_that_demands_a_user_refuses_those_without() {
    let mut peer = Peer::connect(serve(&App::new().server()).await).await;
    peer.sub("s1", "private", json!([])).await;
    let refused = peer.recv().await;
    assert_eq!(
        (&refused["msg"], &refused["error"]["error"]),
        (&json!("nosub"), &json!("not-authorized"))
    );
    peer.call("setUser", json!(["a"])).await;
    peer.sub("s1", "private", json!([])).await;
    peer.expect([json!({"msg": "ready", "subs": ["s1"]})]).await;
    // Logging out ends it.
    peer.method("m", "setUser", json!([null])).await;
    let refused = peer.recv().await;
    assert_eq!((&refused["msg"], &refused["id"]), (&json!("nosub"), &json!("s1")));
    peer.expect([
        removed("users", "a"),
        json!({"msg": "updated", "methods": ["m"]}),
        json!({"msg": "result", "id": "m", "result": null}),
    ])
    .await;
    assert_eq!(peer.call("membersOnly", json!([])).await["error"]["error"], "not-authorized");
    peer.call("setUser", json!(["b"])).await;
    assert_eq!(peer.call("membersOnly", json!([])).await["result"], "b");
}

#[tokio::test]
async fn set_user_id_after_unblock_and_by_the_server_is_an_error() {
    let server = App::new().server();
    let mut peer = Peer::connect(serve(&server).await).await;
    let result = peer.call("setUserAfterUnblock", json!([])).await;
    assert_eq!(result["error"]["error"], 500);
    assert_eq!(peer.call("who", json!([])).await["result"], Value::Null);
    let refused = server.call::<Value>("setUser", ("a",)).await.unwrap_err();
    assert!(refused.to_string().contains("server initiated method call"), "{refused}");
    let unknown = server.call::<Value>("unknown", ()).await.unwrap_err();
    assert_eq!(unknown.to_string(), "Method 'unknown' not found [404]");
}

#[tokio::test]
async fn a_method_may_log_in_by_calling_another() {
    let mut peer = Peer::connect(serve(&App::new().server()).await).await;
    let result = peer.call("setUserByAnother", json!(["b"])).await;
    assert_eq!(result["result"], json!(["b", "b"]));
    assert_eq!(peer.call("who", json!([])).await["result"], "b");
}

#[tokio::test]
async fn on_stop_is_called_with_the_user_of_before_and_at_the_end() {
    let app = App::new();
    let server = app.server();
    let mut peer = Peer::connect(serve(&server).await).await;
    peer.sub("s1", "onStop", json!([])).await;
    peer.expect([json!({"msg": "ready", "subs": ["s1"]})]).await;
    peer.call("setUser", json!(["a"])).await;
    assert_eq!(*app.stopped.lock(), ["None"]);
    peer.send(json!({"msg": "unsub", "id": "s1"})).await;
    peer.expect([json!({"msg": "nosub", "id": "s1"})]).await;
    assert_eq!(*app.stopped.lock(), ["None", r#"Some("a")"#]);
    peer.sub("s2", "onStop", json!([])).await;
    peer.expect([json!({"msg": "ready", "subs": ["s2"]})]).await;
    peer.leave();
    server.close().await;
    assert_eq!(app.stopped.lock().len(), 3);
}

#[tokio::test]
async fn a_connection_that_ends_while_its_user_changes_leaves_no_method_behind() {
    let (sender, mut returned) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::builder()
        // Neither becomes ready nor ends, so that a change of user never completes.
        .publish("stuck", async |subscription: Subscription| {
            subscription.unblock();
            std::future::pending::<()>().await;
        })
        .method("setUser", move |invocation: Invocation| {
            let sender = sender.clone();
            async move {
                sender.send("begun").unwrap();
                invocation.set_user_id(Some("a")).await?;
                sender.send("returned").unwrap();
                Ok::<_, Error>(())
            }
        })
        .build();
    let mut peer = Peer::connect(serve(&server).await).await;
    peer.sub("s1", "stuck", json!([])).await;
    peer.method("m", "setUser", json!([])).await;
    assert_eq!(returned.recv().await, Some("begun"));
    peer.leave();
    assert_eq!(returned.recv().await, Some("returned"));
}

#[tokio::test]
async fn a_refusal_is_not_lost_when_a_method_changes_the_user_after_it_has_returned() {
    let proceed = Arc::new(tokio::sync::Notify::new());
    let may_proceed = Arc::clone(&proceed);
    let server = Server::builder()
        .method("setUserLate", move |invocation: Invocation| {
            let may_proceed = Arc::clone(&may_proceed);
            let (sender, has_returned) = tokio::sync::oneshot::channel::<()>();
            async move {
                tokio::spawn(async move {
                    has_returned.await.unwrap();
                    invocation.set_user_id(Some("a")).await.unwrap();
                });
                may_proceed.notified().await;
                // On the test's single thread the other task runs before the connection's, which
                // then finds the result and the new user in its mailbox at once.
                sender.send(()).unwrap();
                Ok::<_, Error>(())
            }
        })
        .build();
    let mut peer = Peer::connect(serve(&server).await).await;
    peer.method("m", "setUserLate", json!([])).await;
    peer.sub("s1", "unknown", json!([])).await;
    peer.expect_nothing().await;
    proceed.notify_one();
    peer.expect([json!({"msg": "updated", "methods": ["m"]}), json!({"msg": "result", "id": "m"})])
        .await;
    peer.send(json!({"msg": "ping", "id": "end"})).await;
    let refused = peer.recv().await;
    assert_eq!((&refused["msg"], &refused["id"]), (&json!("nosub"), &json!("s1")), "{refused}");
    assert_eq!(refused["error"]["error"], 404);
}

#[tokio::test]
async fn a_login_that_fails_changes_the_user_of_no_invocation() {
    let server = Server::builder()
        .method("tryToLogIn", async |invocation: Invocation| {
            assert!(invocation.set_user_id(Some("a")).await.is_err());
            Ok::<_, Error>(invocation.user_id().map(String::from))
        })
        .method("outer", async |invocation: Invocation| {
            invocation.unblock();
            invocation.call::<Option<String>>("tryToLogIn", ()).await
        })
        .build();
    let mut peer = Peer::connect(serve(&server).await).await;
    assert_eq!(peer.call("outer", json!([])).await["result"], Value::Null);
}

#[tokio::test]
async fn what_the_run_of_before_observed_is_given_up_when_all_have_run_anew() {
    /// Counts its observers.
    struct Source(Arc<()>);

    impl DataSource for Source {
        fn observe<'a>(
            &'a self,
            _: &'a Query,
            _: Observer,
        ) -> BoxFuture<'a, Result<Observation, Error>> {
            let observation = Observation::new(Arc::clone(&self.0));
            async move { Ok(observation) }.boxed()
        }

        fn fetch<'a>(&'a self, _: &'a Query) -> BoxFuture<'a, Result<Documents, Error>> {
            async { Ok(Documents::new()) }.boxed()
        }
    }

    let observed = Arc::new(());
    let source = Arc::new(Source(Arc::clone(&observed)));
    let alone = Arc::strong_count(&observed);
    let server = Server::builder()
        .publish("public", move |user: Option<UserId>| {
            let cursor = user.is_none().then(|| Cursor::new(source.clone(), &NOTES));
            async move { cursor }
        })
        .method("setUser", set_user)
        .build();
    let mut peer = Peer::connect(serve(&server).await).await;
    peer.sub("s1", "public", json!([])).await;
    peer.expect([json!({"msg": "ready", "subs": ["s1"]})]).await;
    for (user, observers) in [(json!(null), 1), (json!("a"), 0), (json!(null), 1)] {
        peer.call("setUser", json!([user])).await;
        assert_eq!(Arc::strong_count(&observed), alone + observers, "{user}");
    }
}

#[tokio::test]
async fn a_run_that_stops_when_it_is_to_run_anew_anyway_runs_anew() {
    let runs = Arc::new(Mutex::new(Vec::<Subscription>::new()));
    let seen = Arc::clone(&runs);
    let server = Server::builder()
        .publish("notes", move |subscription: Subscription| {
            runs.lock().push(subscription.clone());
            async move { subscription.ready() }
        })
        .method("setUserAndStop", move |invocation: Invocation| {
            let (runs, run) = (Arc::clone(&seen), seen.lock()[0].clone());
            async move {
                let mut change = std::pin::pin!(invocation.set_user_id(Some("a")));
                assert!(futures::poll!(change.as_mut()).is_pending());
                // The connection's task has not seen either of them.
                run.stop();
                change.await?;
                let note = Note { owner: String::new(), text: String::new(), shared: true };
                let run = runs.lock().last().cloned();
                run.expect("it ran").added(&NOTES, "1", &note)
            }
        })
        .build();
    let mut peer = Peer::connect(serve(&server).await).await;
    peer.sub("s1", "notes", json!([])).await;
    peer.expect([json!({"msg": "ready", "subs": ["s1"]})]).await;
    peer.method("m", "setUserAndStop", json!([])).await;
    peer.expect([
        json!({"msg": "ready", "subs": ["s1"]}),
        added("notes", "1", json!({"owner": "", "text": "", "shared": true})),
        json!({"msg": "updated", "methods": ["m"]}),
        json!({"msg": "result", "id": "m"}),
    ])
    .await;
}
