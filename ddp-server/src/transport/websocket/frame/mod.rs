//! From client-to-server frames to messages, without IO (RFC 6455 section 5, RFC 7692 section 6).

use std::io::Cursor;

use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

use crate::transport::{
    TransportError, Violation, deflate,
    framing::CONTROL_BYTES_MAX,
    large::{LARGE_MESSAGE_BYTES, TURN_BYTES},
};

/// The longest header of a masked frame: two bytes, a 64-bit length and a 32-bit mask.
const HEADER_BYTES_MAX: usize = 14;

/// The most that is reserved on a peer's word; beyond it, memory grows with the bytes received.
const RESERVE_BYTES_MAX: usize = 16 * 1024;

/// The meaning of a peer's frames.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A whole message. A binary one counts as text: Meteor parses a Buffer as JSON just as well.
    Message(String),
    /// A large message, which may have up to so many bytes. As many as a small one may have have been
    /// taken, and no more are before [`Decoder::allow_large`].
    Large(usize),
    /// A large message has arrived. It is given after [`Decoder::allow_whole`].
    Whole,
    /// A ping to be answered with the same payload.
    Ping(Vec<u8>),
    /// An answer to a ping, or an unsolicited one.
    Pong,
    /// The closing handshake with the peer's code, even a forbidden one (section 7.4.1):
    /// python-meteor sends 1005.
    Close(Option<u16>),
}

/// An incremental decoder for input in arbitrary pieces.
///
/// It holds only what an unfinished frame or message needs; between messages, no heap memory. It
/// must not be used after an error.
#[derive(Debug)]
pub(super) struct Decoder {
    message_bytes_max: usize,
    header: [u8; HEADER_BYTES_MAX],
    /// How many bytes of an unfinished header are in `header`.
    header_length: usize,
    payload: Option<Payload>,
    /// Whether a fragmented message has started and not ended.
    fragmented: bool,
    /// Whether permessage-deflate was negotiated.
    has_deflate: bool,
    /// Whether the message being read is compressed.
    compressed: bool,
    message: Vec<u8>,
    /// Whether all of it has arrived.
    is_whole: bool,
    allowed: Allowed,
    /// How many bytes of an unfinished, uncompressed `message` are known to be UTF-8.
    text_length: usize,
    control: Vec<u8>,
}

/// What may be done with a large message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Allowed {
    Nothing,
    /// Its payload may be read.
    Payload,
    /// It may be made of its payload.
    Whole,
    /// Nobody has to be asked.
    Always,
}

/// The frame whose payload is being read.
#[derive(Debug)]
struct Payload {
    kind: Kind,
    mask: [u8; 4],
    length: usize,
    remaining: usize,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Data { is_final: bool },
    Close,
    Ping,
    Pong,
}

impl Decoder {
    /// A decoder that refuses larger messages.
    pub(super) fn new(message_bytes_max: usize) -> Self {
        Self {
            message_bytes_max,
            header: [0; HEADER_BYTES_MAX],
            header_length: 0,
            payload: None,
            fragmented: false,
            has_deflate: false,
            compressed: false,
            message: Vec::new(),
            is_whole: false,
            allowed: Allowed::Always,
            text_length: 0,
            control: Vec::new(),
        }
    }

    /// Whether permessage-deflate defines the first reserved bit.
    pub(super) fn set_deflate(&mut self, has_deflate: bool) {
        self.has_deflate = has_deflate;
    }

    /// Asks from now on before a large message is read, by [`Event::Large`], and before one that has
    /// arrived is given, by [`Event::Whole`].
    pub(super) fn ask_for_large(&mut self) {
        self.allowed = Allowed::Nothing;
    }

    /// The answer to [`Event::Large`].
    pub(super) fn allow_large(&mut self) {
        self.allowed = self.allowed.max(Allowed::Payload);
        if let Some(payload) = &self.payload {
            // It has been paid for, and growing step by step would need twice as much.
            self.message.reserve_exact(payload.remaining);
        }
    }

    /// The answer to [`Event::Whole`].
    pub(super) fn allow_whole(&mut self) {
        self.allowed = self.allowed.max(Allowed::Whole);
    }

    /// Whether there may be an event without further input.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// The next event. Consumes the front of `input` as needed; `None` means all of it.
    ///
    /// # Errors
    ///
    /// As soon as the peer breaks the protocol or a limit; never [`TransportError::Io`].
    pub(super) fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Event>, TransportError> {
        if self.is_whole {
            return self.finish_message().map(Some);
        }
        loop {
            if self.payload.is_none() {
                self.payload = self.take_header(input)?;
            }
            let Some(payload) = &mut self.payload else { return Ok(None) };
            let mut most = payload.remaining.min(input.len());
            if let Kind::Data { is_final } = payload.kind
                && self.allowed == Allowed::Nothing
                && self.message.len() + most > LARGE_MESSAGE_BYTES
            {
                // Up to here it may still be a small one: nobody gets memory for a mere header.
                most = LARGE_MESSAGE_BYTES - self.message.len();
                if most == 0 {
                    let known = self.message.len() + payload.remaining;
                    let is_all = is_final && known == payload.length && !self.compressed;
                    let bytes = if is_all { known } else { self.message_bytes_max };
                    return Ok(Some(Event::Large(bytes)));
                }
            }
            let target = match payload.kind {
                Kind::Data { .. } => &mut self.message,
                Kind::Close | Kind::Ping | Kind::Pong => &mut self.control,
            };
            let (taken, rest) = input.split_at(most);
            let start = target.len();
            target.extend_from_slice(taken);
            unmask(&mut target[start..], payload.mask);
            payload.mask.rotate_left(taken.len() % 4);
            payload.remaining -= taken.len();
            *input = rest;
            let kind = payload.kind;
            if payload.remaining > 0 {
                if matches!(kind, Kind::Data { .. }) {
                    self.check_text()?;
                }
                if input.is_empty() {
                    return Ok(None);
                }
                continue;
            }
            self.payload = None;
            if let Some(event) = self.finish(kind)? {
                return Ok(Some(event));
            }
        }
    }

    /// Completes the header in `self.header` from `input`.
    fn take_header(&mut self, input: &mut &[u8]) -> Result<Option<Payload>, TransportError> {
        let stashed = self.header_length;
        let offered = input.len().min(HEADER_BYTES_MAX - stashed);
        let filled = stashed + offered;
        self.header[stashed..filled].copy_from_slice(&input[..offered]);

        let mut cursor = Cursor::new(&self.header[..filled]);
        // Reading from memory cannot fail, so the parser can object only to the opcode.
        let parsed = FrameHeader::parse(&mut cursor)
            .map_err(|_| Violation::ReservedOpcode(self.header[0] & 0x0f))?;
        let Some((header, length)) = parsed else {
            self.header_length = filled;
            *input = &input[offered..];
            return Ok(None);
        };
        // A stashed header is incomplete, so the whole one is longer than the stash.
        let taken = cursor.position() as usize - stashed;
        self.header_length = 0;
        *input = &input[taken..];
        self.begin(&header, length).map(Some)
    }

    /// Checks a frame by its header, before any of its payload is kept.
    fn begin(&mut self, header: &FrameHeader, length: u64) -> Result<Payload, TransportError> {
        // RFC 7692 section 6: only a message's first frame says that it is compressed.
        let is_first = matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary));
        let rsv1_means_nothing = !self.has_deflate || !is_first;
        if header.rsv1 && rsv1_means_nothing || header.rsv2 || header.rsv3 {
            return Err(Violation::ReservedBit.into());
        }
        let mask = header.mask.ok_or(Violation::Unmasked)?;
        let kind = match header.opcode {
            OpCode::Data(data) => {
                let continues = data == Data::Continue;
                if continues && !self.fragmented {
                    return Err(Violation::UnexpectedContinuation.into());
                }
                if !continues && self.fragmented {
                    return Err(Violation::ExpectedContinuation.into());
                }
                if !continues {
                    self.compressed = header.rsv1;
                }
                self.reserve(length)?;
                self.fragmented = !header.is_final;
                Kind::Data { is_final: header.is_final }
            }
            OpCode::Control(control) => {
                if length > CONTROL_BYTES_MAX as u64 {
                    return Err(Violation::ControlTooLong(length).into());
                }
                if !header.is_final {
                    return Err(Violation::ControlFragmented.into());
                }
                match control {
                    Control::Close => Kind::Close,
                    Control::Ping => Kind::Ping,
                    Control::Pong => Kind::Pong,
                    Control::Reserved(opcode) => {
                        return Err(Violation::ReservedOpcode(opcode).into());
                    }
                }
            }
        };
        Ok(Payload {
            kind,
            mask,
            // `reserve` and the limit on control frames keep the length far below `usize::MAX`.
            length: length as usize,
            remaining: length as usize,
        })
    }

    /// Checks that a data frame is within the limit, and makes room for it.
    fn reserve(&mut self, length: u64) -> Result<(), TransportError> {
        let limit = if self.compressed {
            deflate::compressed_bytes_max(self.message_bytes_max)
        } else {
            self.message_bytes_max
        };
        let room = limit - self.message.len();
        if length > room as u64 {
            return Err(TransportError::MessageTooBig {
                bytes: length.saturating_add(self.message.len() as u64),
                limit: self.message_bytes_max,
            });
        }
        let expected = (length as usize).min(RESERVE_BYTES_MAX);
        if self.message.is_empty() {
            self.message.reserve_exact(expected);
        } else {
            // Reserving exactly for each of many tiny fragments would copy the message each time.
            self.message.reserve(expected);
        }
        Ok(())
    }

    /// Refuses an unfinished message as soon as nothing could make it UTF-8.
    fn check_text(&mut self) -> Result<(), TransportError> {
        if self.compressed {
            return Ok(());
        }
        let text = std::str::from_utf8(&self.message[self.text_length..]);
        self.text_length = match text {
            Ok(_) => self.message.len(),
            // A character is incomplete.
            Err(error) if error.error_len().is_none() => self.text_length + error.valid_up_to(),
            Err(_) => return Err(TransportError::InvalidUtf8),
        };
        Ok(())
    }

    /// The event of a complete frame, if any.
    fn finish(&mut self, kind: Kind) -> Result<Option<Event>, TransportError> {
        let event = match kind {
            Kind::Data { is_final: false } => {
                self.check_text()?;
                return Ok(None);
            }
            Kind::Data { is_final: true } => {
                self.is_whole = true;
                self.finish_message()?
            }
            Kind::Close => Event::Close(close_code(&std::mem::take(&mut self.control))?),
            Kind::Ping => Event::Ping(std::mem::take(&mut self.control)),
            Kind::Pong => {
                self.control = Vec::new();
                Event::Pong
            }
        };
        Ok(Some(event))
    }
}

impl Decoder {
    /// The message that has arrived as a whole, or what is still needed for it.
    fn finish_message(&mut self) -> Result<Event, TransportError> {
        let is_large = self.message.len() > LARGE_MESSAGE_BYTES;
        let takes_long = self.compressed || self.message.len() > TURN_BYTES;
        let needs_turn = self.allowed == Allowed::Payload || is_large;
        if takes_long && needs_turn && self.allowed < Allowed::Whole {
            return Ok(Event::Whole);
        }
        let message = if self.compressed {
            // How large it is, only its inflated form tells.
            let may_be_large = self.allowed >= Allowed::Whole;
            let most = if may_be_large { usize::MAX } else { LARGE_MESSAGE_BYTES };
            let inflated = deflate::decompress(&self.message, self.message_bytes_max.min(most));
            match inflated {
                Err(TransportError::MessageTooBig { .. }) if self.message_bytes_max > most => {
                    return Ok(Event::Large(self.message_bytes_max));
                }
                inflated => {
                    self.message = Vec::new();
                    inflated?
                }
            }
        } else {
            std::mem::take(&mut self.message)
        };
        // Checked from the start, since only that makes it a String. Only messages that arrive in
        // several reads are checked twice.
        self.text_length = 0;
        self.is_whole = false;
        if self.allowed < Allowed::Always {
            self.allowed = Allowed::Nothing;
        }
        let text = String::from_utf8(message);
        Ok(Event::Message(text.map_err(|_| TransportError::InvalidUtf8)?))
    }
}

/// A close frame's code (section 5.5.1); its reason is only validated.
fn close_code(body: &[u8]) -> Result<Option<u16>, TransportError> {
    match body {
        [] => Ok(None),
        [_] => Err(Violation::CloseCodeTruncated.into()),
        [high, low, reason @ ..] => match std::str::from_utf8(reason) {
            Ok(_) => Ok(Some(u16::from_be_bytes([*high, *low]))),
            Err(_) => Err(TransportError::InvalidUtf8),
        },
    }
}

/// Removes (or applies) a mask (section 5.3), sixteen bytes at a time.
fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let pattern: [u8; 16] = std::array::from_fn(|index| mask[index % 4]);
    let mut blocks = bytes.chunks_exact_mut(pattern.len());
    for block in &mut blocks {
        for (byte, key) in block.iter_mut().zip(pattern) {
            *byte ^= key;
        }
    }
    for (byte, key) in blocks.into_remainder().iter_mut().zip(pattern) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests;
