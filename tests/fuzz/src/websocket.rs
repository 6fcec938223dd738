//! Frames of RFC 6455, read and written without regard for speed or memory.

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The final bit, the reserved bits and the opcode.
    pub first: u8,
    /// Whether it was masked.
    pub is_masked: bool,
    /// The payload without its mask; possibly incomplete in the last frame.
    pub payload: Vec<u8>,
    /// The length given in its header.
    pub length: u64,
}

/// How to write a payload's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As short as possible.
    Short,
    /// In 16 bits at least.
    Word,
    /// In 64 bits.
    Long,
}

/// Appends a client's frame, masked if there is a mask.
pub fn put_frame(
    out: &mut Vec<u8>,
    first: u8,
    mask: Option<[u8; 4]>,
    form: Form,
    length: usize,
    payload: &[u8],
) {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    out.push(first);
    match (form, length) {
        (Form::Short, length @ ..=125) => out.push(masked | length as u8),
        (Form::Short | Form::Word, length @ ..=0xffff) => {
            out.push(masked | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        (_, length) => {
            out.push(masked | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask.unwrap_or_default()[..if mask.is_some() { 4 } else { 0 }]);
    let mask = mask.unwrap_or_default().into_iter().cycle();
    out.extend(payload.iter().zip(mask).map(|(byte, key)| byte ^ key));
}

/// Removes frames from the front of `bytes`. The last may be cut off within its payload; what then
/// remains is the start of a header.
pub fn take_frames(bytes: &mut &[u8]) -> Vec<Frame> {
    std::iter::from_fn(|| take_frame(bytes)).collect()
}

fn take_frame(bytes: &mut &[u8]) -> Option<Frame> {
    let [first, second, rest @ ..] = *bytes else { return None };
    let (length, rest) = match second & 0x7f {
        126 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (u64::from(u16::from_be_bytes(*length)), rest)
        }
        127 => {
            let (length, rest) = rest.split_first_chunk::<8>()?;
            (u64::from_be_bytes(*length), rest)
        }
        length => (u64::from(length), rest),
    };
    let is_masked = second & 0x80 != 0;
    let (mask, rest) = if is_masked { rest.split_first_chunk::<4>()? } else { (&[0; 4], rest) };
    let taken = usize::try_from(length).unwrap_or(usize::MAX).min(rest.len());
    let payload = rest[..taken].iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key);
    *bytes = &rest[taken..];
    Some(Frame { first: *first, is_masked, payload: payload.collect(), length })
}
