//! The payloads of permessage-deflate (RFC 7692 section 7.2), without IO.
//!
//! Every message is compressed on its own (`no_context_takeover`), so no connection keeps a window:
//! the state is one compressor and one decompressor per thread.

use std::cell::Cell;

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};

use super::{TransportError, compression::Compression, large::LARGE_MESSAGE_BYTES};

/// The end of every flushed DEFLATE stream, which the payload omits (section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// An empty last block (RFC 1951 section 3.2.4). After a payload that stops within a block it is
/// invalid, which tells truncated data from complete data.
const LAST_BLOCK: [u8; 5] = [1, 0, 0, 0xff, 0xff];

/// How much output to reserve at first, as a multiple of the payload; DDP shrinks to a quarter.
const EXPECTED_RATIO: usize = 4;

/// The least to reserve for output.
const OUTPUT_BYTES_MIN: usize = 256;

thread_local! {
    static COMPRESSOR: Cell<Option<(Deflate, Compress)>> = const { Cell::new(None) };
    static DECOMPRESSOR: Cell<Option<Decompress>> = const { Cell::new(None) };
}

/// How messages to a client are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deflate {
    level: u8,
    message_bytes_min: usize,
}

impl From<Compression> for Deflate {
    fn from(compression: Compression) -> Self {
        Self {
            level: compression.level.clamp(1, 9),
            message_bytes_min: compression.message_bytes_min,
        }
    }
}

impl Deflate {
    /// The default of servers.
    pub(super) fn by_default() -> Option<Self> {
        Some(Compression::default().into())
    }

    /// The compressed payload; `None` if that would not be smaller.
    pub(super) fn compress(self, message: &[u8]) -> Option<Vec<u8>> {
        if message.len() < self.message_bytes_min {
            return None;
        }
        let (_, mut compressor) = COMPRESSOR
            .take()
            .filter(|(deflate, _)| deflate.level == self.level)
            .unwrap_or_else(|| {
                let level = flate2::Compression::new(self.level.into());
                (self, Compress::new(level, false))
            });
        compressor.reset();
        let compressed = flush(&mut compressor, message);
        COMPRESSOR.set(Some((self, compressor)));
        compressed
    }
}

/// Compresses, but gives up if the output would not be smaller.
fn flush(compressor: &mut Compress, message: &[u8]) -> Option<Vec<u8>> {
    // A first guess: most messages shrink to less than half.
    let mut output = Vec::with_capacity(message.len() / 2 + TAIL.len());
    loop {
        let consumed = usize::try_from(compressor.total_in()).ok()?;
        let sync = FlushCompress::Sync;
        compressor.compress_vec(message.get(consumed..)?, &mut output, sync).ok()?;
        if output.len() < output.capacity() {
            // If a flush leaves room, it is complete.
            break;
        }
        if output.len() >= message.len() + TAIL.len() {
            return None;
        }
        output.reserve_exact(message.len() + TAIL.len() + 1 - output.len());
    }
    let payload = output.strip_suffix(&TAIL)?.len();
    output.truncate(payload);
    (payload < message.len()).then_some(output)
}

/// Why a payload is not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InflateError {
    /// It is not DEFLATE data, or is incomplete.
    Invalid,
    /// It inflates to more than the limit.
    TooBig,
}

/// The most bytes a compressed message may have. Incompressible data grows a little, by five bytes
/// for each stored block.
pub(super) fn compressed_bytes_max(message_bytes_max: usize) -> usize {
    message_bytes_max.saturating_add(message_bytes_max / 8).saturating_add(64)
}

/// The message that a payload inflates to (section 7.2.2), up to the limit.
pub(super) fn decompress(payload: &[u8], limit: usize) -> Result<Vec<u8>, TransportError> {
    inflate(payload, limit).map_err(|error| match error {
        InflateError::Invalid => TransportError::InvalidDeflate,
        InflateError::TooBig => {
            TransportError::MessageTooBig { bytes: (limit as u64).saturating_add(1), limit }
        }
    })
}

/// Never reserves more memory than the limit and one byte, whatever the payload says.
fn inflate(payload: &[u8], message_bytes_max: usize) -> Result<Vec<u8>, InflateError> {
    let decompressor = DECOMPRESSOR.take().unwrap_or_else(|| Decompress::new(false));
    let guess = payload.len().saturating_mul(EXPECTED_RATIO).max(OUTPUT_BYTES_MIN);
    let mut inflater = Inflater {
        decompressor,
        output: Vec::with_capacity(guess.min(message_bytes_max.saturating_add(1))),
        message_bytes_max,
    };
    let inflated = inflater.message(payload);
    DECOMPRESSOR.set(Some(inflater.decompressor));
    let mut output = inflater.output;
    if output.capacity() > LARGE_MESSAGE_BYTES && output.capacity() / 2 > output.len() {
        // It may wait for its turn, and counts as what it is, not as what it might have become.
        output.shrink_to_fit();
    }
    inflated.map(|()| output)
}

/// Where the decompressor is after some input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Inside a stream.
    Within,
    /// After the last block of one.
    End,
}

struct Inflater {
    decompressor: Decompress,
    output: Vec<u8>,
    message_bytes_max: usize,
}

impl Inflater {
    fn message(&mut self, payload: &[u8]) -> Result<(), InflateError> {
        self.decompressor.reset(false);
        // A sender that ends the stream must add an empty block (section 7.2.3.4); one that forgets
        // to is accepted as well.
        if self.feed(payload)? == Place::End {
            return Ok(());
        }
        self.feed(&TAIL)?;
        match self.feed(&LAST_BLOCK)? {
            Place::End => Ok(()),
            Place::Within => Err(InflateError::Invalid),
        }
    }

    /// Inflates all of `input`, which may contain the ends of several streams (section 7.2.3.4).
    fn feed(&mut self, mut input: &[u8]) -> Result<Place, InflateError> {
        loop {
            self.make_room();
            let (consumed, made) = (self.decompressor.total_in(), self.output.len());
            let status = self
                .decompressor
                .decompress_vec(input, &mut self.output, FlushDecompress::None)
                .map_err(|_| InflateError::Invalid)?;
            if self.output.len() > self.message_bytes_max {
                return Err(InflateError::TooBig);
            }
            let consumed = (self.decompressor.total_in() - consumed) as usize;
            input = &input[consumed..];
            if status == Status::StreamEnd {
                if input.is_empty() {
                    return Ok(Place::End);
                }
                self.decompressor.reset(false);
            } else if self.output.len() < self.output.capacity() {
                // There was room left, so the input is at its end.
                if input.is_empty() {
                    return Ok(Place::Within);
                }
                if consumed == 0 && self.output.len() == made {
                    return Err(InflateError::Invalid);
                }
            }
        }
    }

    /// Doubles the output when it is full, up to one byte beyond the limit. A large message gets all
    /// of that at once: its memory is its own by then, and copying it would take twice as much.
    fn make_room(&mut self) {
        let full = self.output.len();
        if full == self.output.capacity() {
            let is_large = full >= LARGE_MESSAGE_BYTES;
            let factor = if is_large { usize::MAX } else { 2 };
            let capacity = full.saturating_mul(factor).max(OUTPUT_BYTES_MIN);
            let capacity = capacity.min(self.message_bytes_max.saturating_add(1));
            self.output.reserve_exact(capacity.saturating_sub(full).max(1));
        }
    }
}

#[cfg(test)]
mod tests;
