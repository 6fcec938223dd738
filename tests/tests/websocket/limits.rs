//! Messages that are too large.

use crate::peer::{BINARY, CONTINUATION, FIN, PING, Peer, TEXT};
use crate::{DDP, MESSAGE_BYTES_MAX, serve};

const LIMIT: u64 = MESSAGE_BYTES_MAX as u64;

#[tokio::test]
async fn a_message_as_large_as_the_limit_is_taken() {
    let address = serve().await;
    // An empty array is valid in SockJS, too.
    let text = [b"[", &vec![b' '; MESSAGE_BYTES_MAX - 2][..], b"]"].concat();
    for path in DDP {
        let mut peer = Peer::connect(address, path).await;
        for _ in 0..3 {
            peer.send(FIN | TEXT, &text).await;
            peer.send(FIN | BINARY, &text).await;
            peer.send(TEXT, &text[..600]).await;
            peer.send(FIN | PING, &[0; 125]).await;
            peer.pong().await;
            peer.send(FIN | CONTINUATION, &text[600..]).await;
        }
        peer.send(TEXT, &text).await;
        peer.send(FIN | CONTINUATION, b"").await;
        peer.pong().await;
    }
}

#[tokio::test]
async fn a_larger_one_is_refused_before_its_payload_comes() {
    let address = serve().await;
    for path in DDP {
        for length in [LIMIT + 1, 65_535, 65_536, 1 << 31, 1 << 32, (1 << 63) - 1, u64::MAX] {
            for first in [TEXT, FIN | TEXT, FIN | BINARY] {
                let mut peer = Peer::connect(address, path).await;
                peer.begin(first, length, b"").await;
                assert_eq!(peer.close_code().await, Some(1009), "{length} at {path}");
            }
        }
    }
}

#[tokio::test]
async fn fragments_add_up() {
    let address = serve().await;
    for path in DDP {
        for size in [1, 10, 250, 999, 1000] {
            let mut peer = Peer::connect(address, path).await;
            let mut left = MESSAGE_BYTES_MAX;
            peer.send(TEXT, b"").await;
            while left > 0 {
                let payload = vec![b' '; size.min(left)];
                peer.send(CONTINUATION, &payload).await;
                left -= payload.len();
            }
            // A control frame is not part of it.
            peer.pong().await;
            peer.begin(FIN | CONTINUATION, 1, b"").await;
            assert_eq!(peer.close_code().await, Some(1009), "{size} at {path}");
        }
    }
}

#[tokio::test]
async fn a_client_that_goes_on_hears_why_it_is_refused() {
    let address = serve().await;
    for path in DDP {
        let mut peer = Peer::connect(address, path).await;
        // More than the sockets hold: the server reads and discards it.
        let text = vec![b'x'; 16 << 20];
        peer.send(FIN | TEXT, &text).await;
        assert_eq!(peer.close_code().await, Some(1009), "{path}");
    }
}
