//! The closing handshake (7).

use std::io;
use std::sync::{Arc, Mutex};

use crate::peer::Step::{Bytes, Closed, Recv, Send};
use crate::peer::{CLOSE, FIN, PING, Peer, TEXT, play};
use crate::{DDP, ECHO, SOCKJS_ECHO, serve};

/// A close frame's payload.
fn body(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason].concat()
}

#[tokio::test]
async fn close_frames_are_answered_in_kind() {
    let address = serve().await;
    let (long, too_long) = ("x".repeat(123), "x".repeat(124));
    let table = [
        ("no payload", vec![], None),
        ("half a code", vec![3], Some(1002)),
        ("a code", body(1000, b""), Some(1000)),
        ("a code and a reason", body(1000, "Grüße".as_bytes()), Some(1000)),
        ("the longest reason", body(3000, long.as_bytes()), Some(3000)),
        ("a longer one", body(3000, too_long.as_bytes()), Some(1002)),
        ("a reason that is not UTF-8", body(1000, b"\xce\xba\xed\xa0\x80edited"), Some(1007)),
        ("a reason cut within a character", body(1000, b"\xe2\x82"), Some(1007)),
    ];
    for (what, payload, code) in table {
        play(what, address, ECHO, &[Send(FIN | CLOSE, &payload), Closed(code)]).await;
        let steps = [Recv(FIN | TEXT, b"o"), Send(FIN | CLOSE, &payload), Closed(code)];
        play(what, address, SOCKJS_ECHO, &steps).await;
        for path in DDP {
            let mut peer = Peer::connect(address, path).await;
            peer.send(FIN | CLOSE, &payload).await;
            assert_eq!(peer.close_code().await, code, "{what} at {path}");
        }
    }
}

#[tokio::test]
async fn codes_that_may_be_sent_come_back() {
    let address = serve().await;
    let codes = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];
    for code in codes.into_iter().chain([3000, 3999, 4000, 4999]) {
        for reason in [&b""[..], b"reason"] {
            let payload = body(code, reason);
            let steps = [Send(FIN | CLOSE, &payload), Closed(Some(code))];
            play(&code.to_string(), address, ECHO, &steps).await;
        }
    }
}

/// What is written to the log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// python-meteor ends each connection with 1005, so a forbidden code is no reason for alarm.
/// However, it is not repeated.
#[tokio::test]
async fn codes_that_may_not_be_sent_are_tolerated() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(move || writer.clone())
        .finish();
    // The server runs on the thread of the test.
    let _guard = tracing::subscriber::set_default(subscriber);
    let address = serve().await;
    let codes = [0, 999, 1004, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535];
    let answers = codes.map(|code| (code, Some(1002)));
    for (code, answer) in answers.into_iter().chain([(1005, None)]) {
        for reason in [&b""[..], b"reason"] {
            let payload = body(code, reason);
            let steps = [Send(FIN | CLOSE, &payload), Closed(answer)];
            play(&code.to_string(), address, ECHO, &steps).await;
            for path in DDP {
                let mut peer = Peer::connect(address, path).await;
                peer.send(FIN | CLOSE, &payload).await;
                assert_eq!(peer.close_code().await, answer, "{code} at {path}");
            }
        }
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("closed by the client"), "{log}");
    for word in ["ERROR", " WARN", "lost", "violation"] {
        assert!(!log.contains(word), "{word} in {log}");
    }
}

#[tokio::test]
async fn what_follows_a_close_frame_is_ignored() {
    let address = serve().await;
    let normal = body(1000, b"");
    let table: [(&str, &[_]); 5] = [
        ("a message", &[Send(FIN | TEXT, b"late")]),
        ("a ping", &[Send(FIN | PING, b"late")]),
        ("another close frame", &[Send(FIN | CLOSE, b"\x03\xe9")]),
        ("a violation", &[Send(0x83, b"late")]),
        ("noise", &[Bytes(&[0xff; 300])]),
    ];
    for (what, late) in table {
        let steps = [&[Send(FIN | CLOSE, &normal)], late, &[Closed(Some(1000))]].concat();
        // In one write, because the server might be gone before a second.
        let mut peer = Peer::connect(address, ECHO).await;
        peer.play(what, crate::peer::Writes::Whole, &steps).await;
    }
}

#[tokio::test]
async fn what_precedes_a_close_frame_is_answered() {
    let address = serve().await;
    let text = "x".repeat(256 * 1024);
    let normal = body(1000, b"");
    let steps =
        [Send(FIN | TEXT, text.as_bytes()), Send(FIN | PING, b"ping"), Send(FIN | CLOSE, &normal)];
    let mut peer = Peer::connect(address, ECHO).await;
    for step in steps {
        let Send(first, payload) = step else { continue };
        peer.send(first, payload).await;
    }
    let (frames, close) = peer.end().await;
    assert_eq!(close, normal);
    assert!(frames.contains(&(FIN | TEXT, text.into_bytes())));

    let steps = [Send(TEXT, b"half a"), Send(FIN | CLOSE, &normal), Closed(Some(1000))];
    play("within a message", address, ECHO, &steps).await;
}

#[tokio::test]
async fn a_client_may_hang_up_without_a_word() {
    let address = serve().await;
    for bytes in [&b""[..], b"\x81", b"\x81\x85\0\0\0\0Hel", b"\x01\x81\0\0\0\0a"] {
        for path in DDP {
            let mut peer = Peer::connect(address, path).await;
            peer.write(bytes).await;
            peer.hang_up().await;
            while let Some((first, _)) = peer.recv().await {
                assert_eq!(first, FIN | TEXT, "nobody is there to be told of an end");
            }
        }
    }
}
