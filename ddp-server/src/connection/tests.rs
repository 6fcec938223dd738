//! Connections that are polled by hand.

use std::any::Any;
use std::task::{Context, Poll, Waker};

use axum::http::Request;
use futures::{FutureExt, SinkExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, protocol::Role};

use super::*;
use crate::config::ServerConfig;
use crate::server::Server;
use crate::transport::{LargeMessages, TransportConfig, in_process};

/// Takes all memory of large messages, or one of their turns; `None` if it is not free.
type Take = fn(&LargeMessages) -> Option<Box<dyn Any>>;

fn memory(large: &LargeMessages) -> Option<Box<dyn Any>> {
    Some(Box::new(large.memory().ask(None, usize::MAX).now_or_never()?))
}

fn turn(large: &LargeMessages) -> Option<Box<dyn Any>> {
    Some(Box::new(large.turn(None).now_or_never()?))
}

/// It is given to whoever has waited longest, whether or not that one is in the line of those who have
/// just come.
#[tokio::test]
async fn a_newcomer_takes_at_once_what_its_large_message_waited_for() {
    let cases = [
        ("memory", memory as Take, true),
        ("a turn to be read", turn, true),
        ("a turn to be handled", turn, false),
    ];
    for (name, take, is_asked_for_by_transport) in cases {
        let mut config = ServerConfig::default();
        config.serve.arrivals_at_once = Some(1);
        let registry = Arc::clone(Server::builder().config(config).build().registry());
        let (large, arrivals) = (Arc::clone(&registry.large), Arc::clone(&registry.arrivals));
        let (io, peer) = tokio::io::duplex(1 << 20);
        let (request, ()) = Request::new(()).into_parts();
        // Without those of the registry, the transport has all that it asks for.
        let own = TransportConfig::default();
        let shared = registry.config.transport(Arc::clone(&large));
        let transport_config = if is_asked_for_by_transport { &shared } else { &own };
        let (transport, info) = in_process::open(peer, &request, transport_config);
        let mut newcomer = run(registry, transport, info).boxed();
        let mut cx = Context::from_waker(Waker::noop());
        let mut is_pending = || (0..20).all(|_| newcomer.poll_unpin(&mut cx).is_pending());

        let mut held: Vec<_> = std::iter::from_fn(|| take(&large)).collect();
        let mut client = WebSocketStream::from_raw_socket(io, Role::Client, None).await;
        let params = "x".repeat(100_000);
        for text in [
            r#"{"msg":"connect","version":"1","support":["1"]}"#.to_owned(),
            format!(r#"{{"msg":"method","id":"1","method":"none","params":["{params}"]}}"#),
        ] {
            client.send(Message::text(text)).await.expect("room for it");
        }
        assert!(is_pending(), "it waits for {name}");
        drop(held.pop());
        assert!(take(&large).is_none(), "it has {name}");
        // Somebody else who has just come is in the middle of a turn.
        let mut went_on = false;
        let other = std::future::poll_fn(|_| {
            went_on = is_pending() && take(&large).is_some();
            Poll::Ready(())
        });
        arrivals.arrive(Stage::Session).run(other, || true).await;
        assert!(went_on, "it keeps {name} to itself");
    }
}
