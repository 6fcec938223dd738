//! UTF-8 (6).

use crate::peer::Step::{Closed, Recv, Send};
use crate::peer::{BINARY, CONTINUATION, FIN, PING, PONG, Peer, TEXT, play};
use crate::{DDP, ECHO, serve};

/// Text with characters of each length, and those at the limits of Unicode.
const SOUND: [&str; 8] = [
    "κόσμε",
    "Hello-µ@ßöäüàá-UTF-8!!",
    "\0\u{7f}\u{80}\u{7ff}\u{800}\u{fff}\u{1000}",
    "\u{cfff}\u{d000}\u{d7ff}\u{e000}\u{fffd}\u{fffe}\u{ffff}",
    "\u{10000}\u{3ffff}\u{40000}\u{fffff}\u{100000}\u{10fffe}\u{10ffff}",
    "\u{feff}the mark of the order of bytes",
    "\u{fdd0}\u{fdef}\u{1fffe}\u{1ffff}",
    "😀",
];

/// Invalid UTF-8, and after how many bytes that is certain, whatever follows.
const BROKEN: [(&str, &[u8], usize); 24] = [
    ("a continuation of nothing", b"\x80", 1),
    ("the last of them", b"\xbf", 1),
    ("one too many", b"\xce\xba\xb1", 3),
    ("a byte that never occurs", b"\xc0", 1),
    ("another", b"\xc1", 1),
    ("beyond all lengths", b"\xf5", 1),
    ("the mark of the order of bytes in UTF-16", b"\xfe\xff", 1),
    ("the other one", b"\xff\xfe", 1),
    ("a slash in two bytes", b"\xc0\xaf", 1),
    ("a slash in three bytes", b"\xe0\x80\xaf", 2),
    ("a slash in four bytes", b"\xf0\x80\x80\xaf", 2),
    ("the last in three bytes that fits in two", b"\xe0\x9f\xbf", 2),
    ("the last in four bytes that fits in three", b"\xf0\x8f\xbf\xbf", 2),
    ("a zero in two bytes, as Java writes it", b"\xc0\x80", 1),
    ("five bytes", b"\xf8\x88\x80\x80\x80", 1),
    ("six bytes", b"\xfc\x84\x80\x80\x80\x80", 1),
    ("beyond the last character", b"\xf4\x90\x80\x80", 2),
    ("the first surrogate", b"\xed\xa0\x80", 2),
    ("the last surrogate", b"\xed\xbf\xbf", 2),
    ("a pair of surrogates", b"\xed\xa0\xbd\xed\xb8\x80", 2),
    ("two bytes interrupted", b"\xc3A", 2),
    ("three bytes interrupted", b"\xe2\x82A", 3),
    ("four bytes interrupted", b"\xf0\x9f\x98A", 4),
    ("a character within another", b"\xe2\xc3\xa9", 2),
];

#[tokio::test]
async fn characters_may_be_cut_anywhere() {
    let address = serve().await;
    for text in SOUND {
        let bytes = text.as_bytes();
        play(text, address, ECHO, &[Send(FIN | TEXT, bytes), Recv(FIN | TEXT, bytes)]).await;
        let mut steps: Vec<_> = bytes.chunks(1).map(|byte| Send(CONTINUATION, byte)).collect();
        steps[0] = Send(TEXT, &bytes[..1]);
        steps.extend([Send(FIN, b""), Recv(FIN | TEXT, bytes)]);
        play(text, address, ECHO, &steps).await;
        for cut in 0..=bytes.len() {
            let (start, end) = bytes.split_at(cut);
            let steps = [
                Send(TEXT, start),
                Send(FIN | PING, b"between"),
                Recv(FIN | PONG, b"between"),
                Send(FIN, end),
                Recv(FIN | TEXT, bytes),
            ];
            play(&format!("{text} at {cut}"), address, ECHO, &steps).await;
        }
    }
}

#[tokio::test]
async fn what_is_not_utf8_is_refused() {
    let address = serve().await;
    for (what, broken, _) in BROKEN {
        for opcode in [TEXT, BINARY] {
            let text = ["sound κόσμε ".as_bytes(), broken, b" and more"].concat();
            for text in [&text[..], broken] {
                play(what, address, ECHO, &[Send(FIN | opcode, text), Closed(Some(1007))]).await;
            }
        }
    }
    for (what, cut) in [
        ("one byte of two", &b"\xc3"[..]),
        ("one byte of three", b"\xe2"),
        ("two bytes of three", b"\xe2\x82"),
        ("one byte of four", b"\xf0"),
        ("two bytes of four", b"\xf0\x9f"),
        ("three bytes of four", b"\xf0\x9f\x98"),
    ] {
        let text = ["κόσμε".as_bytes(), cut].concat();
        for text in [&text[..], cut] {
            play(what, address, ECHO, &[Send(FIN | TEXT, text), Closed(Some(1007))]).await;
            let steps = [Send(TEXT, text), Send(FIN, b""), Closed(Some(1007))];
            play(what, address, ECHO, &steps).await;
        }
    }
    // Nor does a character start in one message and end in the next.
    let steps = [Send(FIN | TEXT, b"\xc3"), Send(FIN | TEXT, b"\xa9"), Closed(Some(1007))];
    play("two halves", address, ECHO, &steps).await;
}

/// Autobahn's cases 6.4: the server does not wait for the rest of a message that is already
/// invalid.
#[tokio::test]
async fn broken_text_is_refused_as_soon_as_it_can_be_told() {
    let address = serve().await;
    let sound = "sound κόσμε ".as_bytes();
    for path in [ECHO, DDP[0], DDP[1]] {
        for (what, broken, shown) in BROKEN {
            let what = format!("{what} at {path}");
            let (hidden, telling) = broken[..shown].split_at(shown - 1);

            // A fragment that more must follow.
            let mut peer = Peer::connect(address, path).await;
            peer.send(TEXT, &[sound, &broken[..shown]].concat()).await;
            assert_eq!(peer.close_code().await, Some(1007), "{what}, in one fragment");

            // Up to the last byte but one it may still be text.
            let mut peer = Peer::connect(address, path).await;
            peer.send(TEXT, &[sound, hidden].concat()).await;
            peer.pong().await;
            peer.send(CONTINUATION, telling).await;
            assert_eq!(peer.close_code().await, Some(1007), "{what}, in two fragments");

            // An incomplete frame, in one read and in two.
            let mut peer = Peer::connect(address, path).await;
            peer.begin(FIN | TEXT, 999, &[sound, &broken[..shown]].concat()).await;
            assert_eq!(peer.close_code().await, Some(1007), "{what}, in one read");

            let mut peer = Peer::connect(address, path).await;
            peer.send(TEXT, sound).await;
            peer.pong().await;
            peer.begin(FIN, 900, hidden).await;
            tokio::task::yield_now().await;
            peer.write(telling).await;
            assert_eq!(peer.close_code().await, Some(1007), "{what}, in two reads");
        }
    }
}
