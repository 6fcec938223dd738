//! The client's end of a WebSocket, with only what a load needs.

use super::Error;

/// A server's frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) opcode: u8,
    pub(super) is_compressed: bool,
    pub(super) payload: &'a [u8],
}

pub(super) const TEXT: u8 = 1;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// Takes the next whole frame from the front of `input`.
pub(super) fn next_frame<'a>(input: &mut &'a [u8]) -> Result<Option<Frame<'a>>, Error> {
    let &[first, second, ref rest @ ..] = *input else { return Ok(None) };
    if first & 0x80 == 0 || second & 0x80 != 0 {
        return Err(Error::Client("a frame is masked, or a fragment".to_owned()));
    }
    let (length, rest) = match (second, rest) {
        (126, [a, b, rest @ ..]) => (u64::from(u16::from_be_bytes([*a, *b])), rest),
        (127, [a, b, c, d, e, f, g, h, rest @ ..]) => {
            (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), rest)
        }
        (126 | 127, _) => return Ok(None),
        (length, rest) => (u64::from(length), rest),
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let Some((payload, rest)) = rest.split_at_checked(length) else { return Ok(None) };
    *input = rest;
    Ok(Some(Frame { opcode: first & 0x0f, is_compressed: first & 0x40 != 0, payload }))
}

/// Appends a client's frame. Its mask is zero, which leaves the payload unchanged.
pub(super) fn push_frame(output: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    output.push(0x80 | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..126), _) => output.push(0x80 | length),
        (_, Ok(length)) => {
            output.push(0x80 | 126);
            output.extend(length.to_be_bytes());
        }
        _ => {
            output.push(0x80 | 127);
            output.extend((payload.len() as u64).to_be_bytes());
        }
    }
    output.extend([0; 4]);
    output.extend(payload);
}

/// The request that opens a WebSocket.
pub(super) fn upgrade(host: &str, path: &str, deflate: bool) -> String {
    let offer = if deflate { "Sec-WebSocket-Extensions: permessage-deflate\r\n" } else { "" };
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{offer}\r\n"
    )
}

/// Takes the answer to [`upgrade`] from the front of `input`, if it is complete. Returns whether
/// the server compresses, and whether it compresses each message on its own.
pub(super) fn upgraded(input: &mut &[u8]) -> Result<Option<Option<Deflate>>, Error> {
    let Some(end) = memchr::memmem::find(input, b"\r\n\r\n") else {
        let too_long = Error::Client("an endless answer to the handshake".to_owned());
        return if input.len() > 16 * 1024 { Err(too_long) } else { Ok(None) };
    };
    let head = String::from_utf8_lossy(&input[..end]).to_ascii_lowercase();
    *input = &input[end + 4..];
    if !head.starts_with("http/1.1 101") {
        let status = head.lines().next().unwrap_or_default();
        return Err(Error::Client(format!("no WebSocket: {status}")));
    }
    let extensions = head.lines().find_map(|line| line.strip_prefix("sec-websocket-extensions:"));
    Ok(Some(
        extensions
            .filter(|text| text.contains("permessage-deflate"))
            .map(|text| Deflate { each_by_itself: text.contains("server_no_context_takeover") }),
    ))
}

/// How a server compresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deflate {
    /// No message refers to an earlier one.
    pub(super) each_by_itself: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_whole_or_not_at_all() {
        for length in [0_usize, 1, 125, 126, 65_535, 65_536] {
            let payload = vec![b'x'; length];
            let mut bytes = Vec::new();
            push_frame(&mut bytes, TEXT, &payload);
            // As a server would send it.
            let mask = bytes.len() - length - 4;
            bytes.drain(mask..mask + 4);
            bytes[1] &= 0x7f;
            for end in [0, 1, 2, 9, bytes.len() - 1].into_iter().filter(|end| *end < bytes.len()) {
                assert_eq!(next_frame(&mut &bytes[..end]).unwrap(), None, "{end} of {length}");
            }
            bytes.push(7);
            let mut rest = &bytes[..];
            let frame = next_frame(&mut rest).unwrap().unwrap();
            let expected = Frame { opcode: TEXT, is_compressed: false, payload: &payload };
            assert_eq!((frame, rest), (expected, &[7][..]));
        }
        assert!(next_frame(&mut &[0x01, 0x00][..]).is_err(), "a fragment");
    }

    #[test]
    fn answers_to_the_handshake() {
        let head = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Extensions: \
                    permessage-deflate; server_no_context_takeover\r\n\r\nrest";
        let mut input = head.as_bytes();
        let deflate = Deflate { each_by_itself: true };
        assert_eq!(upgraded(&mut input).unwrap(), Some(Some(deflate)));
        assert_eq!(input, b"rest");
        assert_eq!(upgraded(&mut &b"HTTP/1.1 101 X\r\n\r\n"[..]).unwrap(), Some(None));
        assert_eq!(upgraded(&mut &b"HTTP/1.1 101 X\r\n"[..]).unwrap(), None);
        assert!(upgraded(&mut &b"HTTP/1.1 404 Not Found\r\n\r\n"[..]).is_err());
    }
}
