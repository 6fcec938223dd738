//! Messages that came compressed.

use super::*;

/// Decodes with permessage-deflate, in portions whose sizes repeat.
fn decode_deflate(sizes: &[usize], bytes: &[u8]) -> String {
    let mut decoder = Decoder::new(LIMIT);
    decoder.set_deflate(true);
    let mut seen = String::new();
    let mut rest = bytes;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (mut portion, after) = rest.split_at((*size).clamp(1, rest.len()));
        rest = after;
        while let Some(event) = decoder.decode(&mut portion).transpose() {
            seen.push_str(&format!("{event:?}"));
            if event.is_err() {
                return seen;
            }
        }
    }
    seen
}

proptest! {
    #[test]
    fn any_split_of_compressed_messages_decodes_the_same(
        messages in prop::collection::vec((any_message(), any::<prop::sample::Index>()), 1..5),
        sizes in prop::collection::vec(1..30_usize, 1..8),
        damage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut bytes = Vec::new();
        let mut expected = String::new();
        for (text, cut) in &messages {
            let mut compressor = flate2::Compress::new(flate2::Compression::new(6), false);
            let mut payload = Vec::with_capacity(text.len() * 2 + 100);
            let sync = flate2::FlushCompress::Sync;
            compressor.compress_vec(text.as_bytes(), &mut payload, sync).expect("room");
            payload.truncate(payload.len() - 4);
            let (start, end) = payload.split_at(cut.index(payload.len()));
            bytes.extend(frame(0x40 | TEXT, start));
            bytes.extend(frame(PING, b""));
            bytes.extend(frame(FINAL, end));
            let decoded: Result<_, TransportError> = Ok(Event::Ping(Vec::new()));
            expected.push_str(&format!("{decoded:?}"));
            let decoded: Result<_, TransportError> = Ok(message(text));
            expected.push_str(&format!("{decoded:?}"));
        }
        if let Some((place, byte)) = damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
            prop_assert_eq!(decode_deflate(&sizes, &bytes), decode_deflate(&[usize::MAX], &bytes));
        } else {
            prop_assert_eq!(decode_deflate(&sizes, &bytes), expected);
        }
    }
}
