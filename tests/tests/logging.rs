//! What developers find in the log when clients are told less.

use std::io::Write;
use std::sync::Arc;

use ddp_server::extract::{Params, Subscription};
use ddp_server::{Error, Server};
use ddp_tests::Peer;
use ddp_tests::peer::serve;
use parking_lot::Mutex;
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

/// Collects what is logged on this thread, on which the server of a test runs too.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Log {
    /// What has been logged since the last look.
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock())).unwrap()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot save the task")]
struct CannotSave(#[source] std::io::Error);

fn fail() -> Result<(), Error> {
    Err(CannotSave(std::io::Error::other("the disk is full")).into())
}

#[tokio::test]
async fn internal_errors_are_logged_in_full_and_clients_get_500() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = Server::builder()
        .method("fail", async || fail())
        .method("panic", async || -> Result<(), Error> { panic!("a bug") })
        .method("typed", async |Params((_,)): Params<(Vec<u32>,)>| Ok::<_, Error>(()))
        .method("refuse", async || Err::<(), _>(Error::client("no", "Not now")))
        .publish("fail", async || fail())
        .publish("typed", async |Params((_,)): Params<(Vec<u32>,)>| ())
        .publish("later", async |subscription: Subscription| {
            subscription.error(Error::internal("it went away"));
        })
        .build();
    let mut peer = Peer::connect(serve(&server).await).await;
    log.take();
    let internal = json!({
        "isClientSafe": true, "error": 500, "reason": "Internal server error",
        "message": "Internal server error [500]", "errorType": "Meteor.Error",
    });
    let session = peer.session.clone();
    for (method, logged) in
        [("fail", "cannot save the task: the disk is full"), ("panic", "handler panicked: a bug")]
    {
        assert_eq!(peer.call(method, json!([])).await["error"], internal);
        let text = log.take();
        let context = format!("while invoking method '{method}' for session {session}: {logged}");
        assert!(text.contains("ERROR") && text.contains(&context), "{text}");
    }
    assert_eq!(peer.call("typed", json!([[1, "x"]])).await["error"]["error"], 400);
    let text = log.take();
    assert!(
        text.contains("match failed in method 'typed': [0][1]: expected u32, got string"),
        "{text}"
    );
    assert_eq!(peer.call("refuse", json!([])).await["error"]["error"], "no");
    assert_eq!(log.take(), "", "what the client was told");

    peer.sub("1", "fail", json!([])).await;
    assert_eq!(peer.recv().await, json!({"msg": "nosub", "id": "1", "error": internal}));
    let context = format!(
        "from publication 'fail' of session {session}: cannot save the task: the disk is full"
    );
    let text = log.take();
    assert!(text.contains(&context), "{text}");
    peer.sub("2", "typed", json!(["x"])).await;
    assert_eq!(peer.recv().await["error"]["error"], 400);
    let text = log.take();
    assert!(text.contains("match failed in publication 'typed': [0]: "), "{text}");
    peer.sub("3", "later", json!([])).await;
    assert_eq!(peer.recv().await["error"], internal);
    let text = log.take();
    assert!(text.contains("it went away") && text.contains(&session), "{text}");
}
