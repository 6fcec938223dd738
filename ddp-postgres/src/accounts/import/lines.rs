//! The lines of an export, one at a time, in bounded memory.

use std::io::{self, BufRead, Read};

/// The longest line that is read. MongoDB's documents have at most 16 MiB, and are longer as text.
pub(super) const LINE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Reads lines.
#[derive(Debug)]
pub(super) struct Lines<R> {
    source: R,
    buffer: Vec<u8>,
    /// The number of the last line, from 1.
    pub(super) number: u64,
    /// How many bytes were read.
    pub(super) bytes: u64,
}

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Bytes(&'a [u8]),
    /// It has more than [`LINE_BYTES_MAX`], and was skipped.
    TooLong,
}

impl Line<'_> {
    /// How many bytes of it were read.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::TooLong => 0,
        }
    }
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, buffer: Vec::new(), number: 0, bytes: 0 }
    }

    /// The next line; `None` if there are no more.
    pub(super) fn read(&mut self) -> io::Result<Option<Line<'_>>> {
        if self.fill()? == 0 {
            return Ok(None);
        }
        self.number += 1;
        let ends = self.buffer.ends_with(b"\n");
        if ends || self.buffer.len() <= LINE_BYTES_MAX {
            return Ok(Some(Line::Bytes(self.buffer.trim_ascii_end())));
        }
        while self.fill()? > 0 && !self.buffer.ends_with(b"\n") {}
        Ok(Some(Line::TooLong))
    }

    /// Reads to the end of a line, or as much of it as a line may have with its end.
    fn fill(&mut self) -> io::Result<usize> {
        self.buffer.clear();
        let mut part = self.source.by_ref().take(LINE_BYTES_MAX as u64 + 1);
        let read = part.read_until(b'\n', &mut self.buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_counted() {
        let longest = vec![b'x'; LINE_BYTES_MAX];
        for (too_long, is_so) in [
            (longest.clone(), false),
            ([&longest[..], b"x"].concat(), true),
            (longest.repeat(3), true),
        ] {
            let text = [b"{}\r\n", &too_long[..], b"\n\nlast"].concat();
            let mut lines = Lines::new(&text[..]);
            assert_eq!(lines.read().unwrap(), Some(Line::Bytes(b"{}")));
            let long = lines.read().unwrap();
            assert_eq!(long == Some(Line::TooLong), is_so, "{}", too_long.len());
            assert_eq!(lines.read().unwrap(), Some(Line::Bytes(b"")));
            assert_eq!(lines.read().unwrap(), Some(Line::Bytes(b"last")));
            assert_eq!(lines.read().unwrap(), None);
            assert_eq!((lines.number, lines.bytes), (4, text.len() as u64));
        }
    }
}
