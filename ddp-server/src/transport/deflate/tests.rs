//! Compression against the examples of RFC 7692, against itself and against noise.

use proptest::prelude::*;

use super::*;

const LIMIT: usize = 100_000;
const DEFLATE: Deflate = Deflate { level: 2, message_bytes_min: 0 };

/// A payload even for data that does not shrink.
fn compress_with(level: u32, message: &[u8], last: bool) -> Vec<u8> {
    let mut compressor = Compress::new(flate2::Compression::new(level), false);
    let mut output = Vec::with_capacity(message.len() * 2 + 100);
    let flush = if last { FlushCompress::Finish } else { FlushCompress::Sync };
    compressor.compress_vec(message, &mut output, flush).expect("room");
    if last {
        output.push(0);
    } else {
        assert!(output.ends_with(&TAIL));
        output.truncate(output.len() - TAIL.len());
    }
    output
}

/// Bytes that do not compress, the same each time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let byte = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(byte).collect()
}

#[test]
fn the_examples_of_the_rfc() {
    // RFC 7692 sections 7.2.3.1, 7.2.3.3, 7.2.3.4, 7.2.3.5 and 7.2.3.6.
    let table: [(&[u8], &[u8]); 6] = [
        (b"\xf2\x48\xcd\xc9\xc9\x07\x00", b"Hello"),
        (b"\x00\x05\x00\xfa\xffHello\x00", b"Hello"),
        (b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", b"Hello"),
        (b"\xf3\x48\xcd\xc9\xc9\x07\x00", b"Hello"),
        (b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", b"Hello"),
        (b"\x00", b""),
    ];
    for (payload, message) in table {
        assert_eq!(inflate(payload, LIMIT).as_deref(), Ok(message), "{payload:x?}");
    }
}

#[test]
fn what_does_not_shrink_stays() {
    assert_eq!(DEFLATE.compress(b""), None);
    assert_eq!(DEFLATE.compress(b"Hello"), None);
    assert_eq!(DEFLATE.compress(&noise(70_000)), None);
    let large = Deflate { message_bytes_min: 1000, ..DEFLATE };
    assert_eq!(large.compress(&[b'x'; 999]), None);
    assert!(large.compress(&[b'x'; 1000]).is_some_and(|payload| payload.len() < 30));
}

#[test]
fn what_it_might_have_become_is_not_kept() {
    for size in [10, 10_000, 17_000, 70_000, 1_000_000] {
        let payload = compress_with(9, &vec![b'x'; size], false);
        let message = inflate(&payload, 4 << 20).expect("a sound payload");
        assert_eq!(message.len(), size);
        assert!(message.capacity() <= (2 * size).max(16 * 1024), "{}", message.capacity());
    }
}

#[test]
fn sizes_around_every_buffer_come_back() {
    for level in [0, 1, 9] {
        for size in (0..300).chain([1023, 16_384, 32_767, 32_768, 65_536, LIMIT]) {
            let text: Vec<u8> = (0..size).map(|i| b"ab{}\":, 0"[i * i % 9]).collect();
            for message in [text, noise(size)] {
                let payload = compress_with(level, &message, false);
                assert!(payload.len() <= compressed_bytes_max(size));
                assert_eq!(inflate(&payload, size), Ok(message.clone()), "{size} at {level}");
                if let Some(payload) = DEFLATE.compress(&message) {
                    assert!(payload.len() < size);
                    assert_eq!(inflate(&payload, LIMIT), Ok(message), "{size}");
                }
            }
        }
    }
}

#[test]
fn levels_alternate_on_a_thread() {
    let text = b"one and one and one and one and two".repeat(20);
    for level in [1, 9, 1, 2, 2, 200] {
        let deflate = Deflate::from(Compression { level, message_bytes_min: 0 });
        let payload = deflate.compress(&text).expect("it shrinks");
        assert_eq!(inflate(&payload, LIMIT), Ok(text.clone()));
    }
}

#[test]
fn bombs_are_refused_within_the_limit() {
    let bomb = compress_with(9, &vec![0; 50_000_000], false);
    assert!(bomb.len() < LIMIT);
    for limit in [0, 1, 1000, LIMIT, 1 << 20] {
        assert_eq!(inflate(&bomb, limit), Err(InflateError::TooBig));
        let mut inflater = Inflater {
            decompressor: Decompress::new(false),
            output: Vec::new(),
            message_bytes_max: limit,
        };
        assert_eq!(inflater.message(&bomb), Err(InflateError::TooBig));
        assert!(inflater.output.capacity() <= limit.max(OUTPUT_BYTES_MIN) + 1);
    }
    for size in [1, 255, 256, 257, 4096, LIMIT] {
        let payload = compress_with(6, &vec![7; size], false);
        assert_eq!(inflate(&payload, size).map(|message| message.len()), Ok(size));
        assert_eq!(inflate(&payload, size - 1), Err(InflateError::TooBig));
    }
}

#[test]
fn truncated_and_broken_data_are_refused() {
    let payload = compress_with(6, b"one and one and one and one and two", false);
    for length in 0..payload.len() {
        assert_eq!(inflate(&payload[..length], LIMIT), Err(InflateError::Invalid), "{length}");
    }
    // The reserved block type, a stored length that is wrong, and a distance before the start.
    for broken in [&b"\x06\x00"[..], b"\x00\x05\x00\x00\x00Hello\x00", b"\x02\x06\x00"] {
        assert_eq!(inflate(broken, LIMIT), Err(InflateError::Invalid), "{broken:x?}");
    }
}

#[test]
fn a_fault_leaves_nothing_to_the_next_message() {
    let payload = compress_with(6, b"sound", false);
    for _ in 0..3 {
        assert_eq!(inflate(b"\x06", LIMIT), Err(InflateError::Invalid));
        assert_eq!(inflate(&payload, 4), Err(InflateError::TooBig));
        assert_eq!(inflate(&payload, 5).as_deref(), Ok(&b"sound"[..]));
    }
}

proptest! {
    #[test]
    fn whatever_is_compressed_comes_back(
        words in prop::collection::vec("(?s).{0,30}", 0..40), level in 0..10_u32, last: bool,
    ) {
        let message = [&words[..], &words[..]].concat().concat().into_bytes();
        let payload = compress_with(level, &message, last);
        prop_assert_eq!(inflate(&payload, LIMIT), Ok(message.clone()));
        if let Some(payload) = DEFLATE.compress(&message) {
            prop_assert_eq!(inflate(&payload, LIMIT), Ok(message));
        }
    }

    #[test]
    fn streams_that_end_within_a_message_are_joined(
        parts in prop::collection::vec("(?s).{0,30}", 1..6),
    ) {
        // Each part ends its stream; the zero behind the last one is the empty block's.
        let mut payload = Vec::new();
        for part in &parts {
            payload.extend(compress_with(6, part.as_bytes(), true));
            payload.pop();
        }
        payload.push(0);
        prop_assert_eq!(inflate(&payload, LIMIT), Ok(parts.concat().into_bytes()));
    }

    #[test]
    fn noise_never_panics_nor_exceeds_the_limit(
        payload in prop::collection::vec(any::<u8>(), 0..400), limit in 0..2000_usize,
    ) {
        if let Ok(message) = inflate(&payload, limit) {
            prop_assert!(message.len() <= limit);
            prop_assert!(message.capacity() <= limit.max(OUTPUT_BYTES_MIN) + 1);
        }
    }
}
