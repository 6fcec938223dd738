//! Sizes, pings, reserved bits and opcodes, fragments and masks (1 to 5 and 10).

use crate::peer::Step;
use crate::peer::Step::{Bytes, Closed, Recv, Send};
use crate::peer::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, Peer, RSV1, RSV2, RSV3, TEXT, Writes, play,
};
use crate::{DDP, ECHO, SOCKJS_ECHO, serve};

#[tokio::test]
async fn messages_of_each_size_come_back() {
    let address = serve().await;
    for size in [0, 1, 125, 126, 127, 128, 65_535, 65_536, 1 << 20] {
        let text: Vec<u8> = (b'a'..=b'z').cycle().take(size).collect();
        let steps = [Send(FIN | TEXT, &text), Recv(FIN | TEXT, &text)];
        play(&format!("{size} bytes"), address, ECHO, &steps).await;
        // SockJS frames need five more bytes on the way in, and an `a` on the way back.
        let sent = [b"[\"", &text[..], b"\"]"].concat();
        let received = [b"a", &sent[..]].concat();
        let steps = [Recv(FIN | TEXT, b"o"), Send(FIN | TEXT, &sent), Recv(FIN | TEXT, &received)];
        play(&format!("{size} bytes by SockJS"), address, SOCKJS_ECHO, &steps).await;
    }
}

/// Autobahn expects binary messages to come back as binary (1.2). A DDP server treats them as text,
/// like Meteor's, and answers with text.
#[tokio::test]
async fn binary_messages_are_taken_for_text() {
    let address = serve().await;
    for size in [0, 1, 125, 126, 65_536] {
        let text = "x".repeat(size);
        let text = text.as_bytes();
        let steps = [Send(FIN | BINARY, text), Recv(FIN | TEXT, text)];
        play("one frame", address, ECHO, &steps).await;
        let (start, end) = text.split_at(size / 2);
        let steps = [Send(BINARY, start), Send(FIN | CONTINUATION, end), Recv(FIN | TEXT, text)];
        play("two frames", address, ECHO, &steps).await;
    }
    let steps = [Send(FIN | BINARY, b"\xfe\xff"), Closed(Some(1007))];
    play("not UTF-8", address, ECHO, &steps).await;
}

#[tokio::test]
async fn pings_are_answered_with_their_payload() {
    let address = serve().await;
    for payload in [&b""[..], b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", b"Hello", &[0xfe; 125]] {
        let steps = [Send(FIN | PING, payload), Recv(FIN | PONG, payload)];
        play("a ping", address, ECHO, &steps).await;
    }
    // Answers each of several in order, though answering the last would do (RFC 6455 section
    // 5.5.3).
    let payloads: Vec<String> = (0..10).map(|number| format!("payload {number}")).collect();
    let payloads = || payloads.iter().map(String::as_bytes);
    let mut steps: Vec<_> = payloads().map(|payload| Send(FIN | PING, payload)).collect();
    steps.extend(payloads().map(|payload| Recv(FIN | PONG, payload)));
    play("ten pings", address, ECHO, &steps).await;

    for path in DDP {
        let mut peer = Peer::connect(address, path).await;
        peer.send(FIN | PING, &[0; 126]).await;
        assert_eq!(peer.close_code().await, Some(1002), "a ping of 126 bytes");
    }
}

#[tokio::test]
async fn pongs_that_answer_nothing_are_ignored() {
    let address = serve().await;
    for payload in [&b""[..], b"unsolicited", &[0xff; 125]] {
        let steps = [
            Send(FIN | PONG, payload),
            Send(FIN | PING, b"ping"),
            Recv(FIN | PONG, b"ping"),
            Send(FIN | PONG, payload),
            Send(FIN | TEXT, b"Hello"),
            Recv(FIN | TEXT, b"Hello"),
        ];
        play("a pong", address, ECHO, &steps).await;
    }
}

/// What is sent in fragments, with what may come in between.
const FRAGMENTS: [(&str, &[Step]); 9] = [
    ("two", &[Send(TEXT, b"one"), Send(FIN, b"two"), Recv(FIN | TEXT, b"onetwo")]),
    (
        "many",
        &[
            Send(TEXT, b"a"),
            Send(CONTINUATION, b"b"),
            Send(CONTINUATION, b"c"),
            Send(CONTINUATION, b"d"),
            Send(FIN, b"e"),
            Recv(FIN | TEXT, b"abcde"),
        ],
    ),
    ("empty", &[Send(TEXT, b""), Send(0, b""), Send(FIN, b""), Recv(FIN | TEXT, b"")]),
    ("empty but one", &[Send(TEXT, b""), Send(0, b"x"), Send(FIN, b""), Recv(FIN | TEXT, b"x")]),
    (
        "a ping between",
        &[
            Send(TEXT, b"one"),
            Send(FIN | PING, b"within"),
            Recv(FIN | PONG, b"within"),
            Send(FIN, b"two"),
            Recv(FIN | TEXT, b"onetwo"),
        ],
    ),
    (
        "a pong between",
        &[
            Send(TEXT, b"one"),
            Send(FIN | PONG, b"within"),
            Send(FIN, b"two"),
            Recv(FIN | TEXT, b"onetwo"),
        ],
    ),
    (
        "pings between",
        &[
            Send(TEXT, b"a"),
            Send(0, b"b"),
            Send(FIN | PING, b"1"),
            Recv(FIN | PONG, b"1"),
            Send(0, b"c"),
            Send(0, b"d"),
            Send(FIN | PING, b"2"),
            Recv(FIN | PONG, b"2"),
            Send(FIN, b"e"),
            Recv(FIN | TEXT, b"abcde"),
        ],
    ),
    (
        "two messages",
        &[
            Send(TEXT, b"a"),
            Send(FIN, b"b"),
            Send(TEXT, b"c"),
            Send(FIN, b"d"),
            Recv(FIN | TEXT, b"ab"),
            Recv(FIN | TEXT, b"cd"),
        ],
    ),
    (
        "and then a whole one",
        &[
            Send(TEXT, b"a"),
            Send(FIN, b"b"),
            Send(FIN | TEXT, b"c"),
            Recv(FIN | TEXT, b"ab"),
            Recv(FIN | TEXT, b"c"),
        ],
    ),
];

#[tokio::test]
async fn fragments_make_one_message() {
    let address = serve().await;
    for (what, steps) in FRAGMENTS {
        play(what, address, ECHO, steps).await;
    }
}

#[tokio::test]
async fn a_message_in_thousands_of_fragments() {
    let address = serve().await;
    let text: Vec<u8> = (b'a'..=b'z').cycle().take(64 * 1024).collect();
    for size in [16, 256, 4096] {
        let chunks: Vec<&[u8]> = text.chunks(size).collect();
        let mut steps: Vec<_> = chunks.iter().map(|chunk| Send(CONTINUATION, chunk)).collect();
        steps[0] = Send(TEXT, chunks[0]);
        steps.extend([Send(FIN, b""), Recv(FIN | TEXT, &text)]);
        play(&format!("fragments of {size}"), address, ECHO, &steps).await;
    }
}

#[tokio::test]
async fn fragments_out_of_order_are_violations() {
    let address = serve().await;
    let table: [(&str, &[_]); 10] = [
        ("a last continuation of nothing", &[Send(FIN, b"x")]),
        ("a continuation of nothing", &[Send(0, b"x")]),
        ("an empty one", &[Send(0, b"")]),
        ("a whole message within", &[Send(TEXT, b"a"), Send(FIN | TEXT, b"b")]),
        ("a whole binary one within", &[Send(TEXT, b"a"), Send(FIN | BINARY, b"b")]),
        ("another begins", &[Send(TEXT, b"a"), Send(0, b"b"), Send(TEXT, b"c")]),
        ("another kind begins", &[Send(BINARY, b"a"), Send(TEXT, b"b")]),
        ("a ping in fragments", &[Send(PING, b"a"), Send(FIN, b"b")]),
        ("a pong in fragments", &[Send(PONG, b"a"), Send(FIN, b"b")]),
        ("a close frame in fragments", &[Send(CLOSE, b"\x03"), Send(FIN, b"\xe8")]),
    ];
    for (what, steps) in table {
        // Nothing after the violation is read.
        let steps = [steps, &[Send(FIN | TEXT, b"unheard"), Closed(Some(1002))]].concat();
        play(what, address, ECHO, &steps).await;
    }
    let steps = [
        Send(TEXT, b"a"),
        Send(FIN, b"b"),
        Send(FIN, b"c"),
        Recv(FIN | TEXT, b"ab"),
        Closed(Some(1002)),
    ];
    play("a continuation after the last", address, ECHO, &steps).await;
}

#[tokio::test]
async fn reserved_bits_and_opcodes_are_violations() {
    let address = serve().await;
    for bits in [RSV1, RSV2, RSV3, RSV1 | RSV2, RSV1 | RSV3, RSV2 | RSV3, RSV1 | RSV2 | RSV3] {
        for opcode in [TEXT, BINARY, CLOSE, PING, PONG] {
            for payload in [&b""[..], b"payload"] {
                let steps = [
                    Send(FIN | TEXT, b"Hello"),
                    Send(FIN | bits | opcode, payload),
                    Send(FIN | PING, b"unheard"),
                    Recv(FIN | TEXT, b"Hello"),
                    Closed(Some(1002)),
                ];
                play(&format!("{bits:x} and {opcode}"), address, ECHO, &steps).await;
            }
        }
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        for first in [opcode, FIN | opcode] {
            let steps = [
                Send(FIN | TEXT, b"Hello"),
                Send(first, b"payload"),
                Send(FIN | PING, b"unheard"),
                Recv(FIN | TEXT, b"Hello"),
                Closed(Some(1002)),
            ];
            play(&format!("{first:x}"), address, ECHO, &steps).await;
        }
    }
}

#[tokio::test]
async fn violations_end_ddp_as_well() {
    let address = serve().await;
    let table: [&[u8]; 6] = [
        b"\x81\x00",
        b"\x81\x05Hello",
        b"\x89\x00",
        b"\x88\x02\x03\xe8",
        b"\x83\x80\0\0\0\0",
        b"\xc1\x80\0\0\0\0",
    ];
    for path in DDP {
        for bytes in table {
            let mut peer = Peer::connect(address, path).await;
            peer.write(bytes).await;
            assert_eq!(peer.close_code().await, Some(1002), "{bytes:x?}");
        }
    }
}

#[tokio::test]
async fn unmasked_frames_are_violations_wherever_they_come() {
    let address = serve().await;
    let table: [(&str, &[_]); 3] = [
        ("the first", &[Bytes(b"\x81\x05Hello"), Closed(Some(1002))]),
        (
            "after a message",
            &[Send(FIN | TEXT, b"a"), Bytes(b"\x81\0"), Recv(FIN | TEXT, b"a"), Closed(Some(1002))],
        ),
        ("within a message", &[Send(TEXT, b"a"), Bytes(b"\x80\x01b"), Closed(Some(1002))]),
    ];
    for (what, steps) in table {
        play(what, address, ECHO, steps).await;
    }
}

#[tokio::test]
async fn frames_of_many_clients_do_not_mix() {
    let address = serve().await;
    let clients = (0..20_u32).map(|number| async move {
        let mut peer = Peer::connect(address, ECHO).await;
        for message in 0..50 {
            let text = format!("{message} of {number}").repeat(1 + message as usize);
            let steps = [Send(FIN | TEXT, text.as_bytes()), Recv(FIN | TEXT, text.as_bytes())];
            peer.play("an echo", Writes::Chopped(7), &steps).await;
        }
    });
    futures::future::join_all(clients).await;
}
