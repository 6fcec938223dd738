//! From JSON text to plain values, just as JavaScript's `JSON.parse` does it.
//!
//! A parser of our own, because clients' text must be read as JavaScript reads it. serde_json
//! differs: it refuses lone surrogates, which a client sends after cutting a string inside an
//! emoji, and numbers beyond a double's range, and by default it may be off by a bit for long
//! fractions.

use std::borrow::Cow;

use super::{DecodeError, Ejson, Object};

/// How deeply arrays and objects in text may be nested.
///
/// Objects for escaping and tagging count as well. Deeper text is an error, so that no text can
/// exhaust the stack.
pub const NESTING_MAX: usize = 128;

/// Parses a whole text. Also returns whether some key starts with `$`, so that it may contain
/// EJSON.
pub(super) fn parse(text: &str) -> Result<(Ejson, bool), DecodeError> {
    let mut tree = Tree::default();
    let value = read_whole(text, &mut tree)?;
    Ok((value, tree.has_dollar_key))
}

/// Reads a text that is one value.
pub(super) fn read_whole<B: Build>(text: &str, build: &mut B) -> Result<B::Value, DecodeError> {
    let mut cursor = Cursor::new(text);
    cursor.skip_whitespace();
    let value = cursor.read(build)?;
    cursor.skip_whitespace();
    if cursor.at < text.len() {
        return Err(cursor.error("expected the end"));
    }
    Ok(value)
}

/// What is made of a text.
pub(super) trait Build {
    /// Made of each value.
    type Value;
    /// What is known of an unfinished array.
    type Array;
    /// What is known of an unfinished object.
    type Object;

    fn scalar(&mut self, scalar: Scalar<'_>) -> Self::Value;
    fn begin_array(&mut self) -> Self::Array;
    fn item(&mut self, array: &mut Self::Array, item: Self::Value);
    fn end_array(&mut self, array: Self::Array) -> Self::Value;
    fn begin_object(&mut self) -> Self::Object;
    /// The key of a member whose value comes next.
    fn key(&mut self, key: &str);
    /// As in JavaScript, a repeated key keeps its first position and its last value.
    fn member(&mut self, object: &mut Self::Object, key: Cow<'_, str>, value: Self::Value);
    fn end_object(&mut self, object: Self::Object) -> Self::Value;
}

/// A value that contains no others.
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    Number(f64),
    String(Cow<'a, str>),
}

impl From<Scalar<'_>> for Ejson {
    fn from(scalar: Scalar<'_>) -> Self {
        match scalar {
            Scalar::Null => Self::Null,
            Scalar::Bool(value) => Self::Bool(value),
            Scalar::Number(number) => Self::Number(number),
            Scalar::String(string) => Self::String(string.into_owned()),
        }
    }
}

/// Builds the value itself.
#[derive(Default)]
pub(super) struct Tree {
    has_dollar_key: bool,
    /// The items of all unfinished arrays, so that each array is allocated at its final size.
    items: Vec<Ejson>,
    /// The members of all unfinished objects.
    members: Vec<(String, Ejson)>,
}

impl Build for Tree {
    type Value = Ejson;
    /// Where the items begin.
    type Array = usize;
    /// Where the members begin.
    type Object = usize;

    fn scalar(&mut self, scalar: Scalar<'_>) -> Ejson {
        scalar.into()
    }

    fn begin_array(&mut self) -> usize {
        self.items.len()
    }

    fn item(&mut self, _: &mut usize, item: Ejson) {
        self.items.push(item);
    }

    fn end_array(&mut self, first: usize) -> Ejson {
        Ejson::Array(self.items.drain(first..).collect())
    }

    fn begin_object(&mut self) -> usize {
        self.members.len()
    }

    fn key(&mut self, key: &str) {
        self.has_dollar_key |= key.starts_with('$');
    }

    fn member(&mut self, _: &mut usize, key: Cow<'_, str>, value: Ejson) {
        self.members.push((key.into_owned(), value));
    }

    fn end_object(&mut self, first: usize) -> Ejson {
        let count = self.members.len() - first;
        let mut object: Object = self.members.drain(first..).collect();
        if object.len() < count {
            object.shrink_to_fit();
        }
        Ejson::Object(object)
    }
}

/// Builds nothing.
pub(super) struct Skip;

impl Build for Skip {
    type Value = ();
    type Array = ();
    type Object = ();

    fn scalar(&mut self, _: Scalar<'_>) {}
    fn begin_array(&mut self) {}
    fn item(&mut self, (): &mut (), (): ()) {}
    fn end_array(&mut self, (): ()) {}
    fn begin_object(&mut self) {}
    fn key(&mut self, _: &str) {}
    fn member(&mut self, (): &mut (), _: Cow<'_, str>, (): ()) {}
    fn end_object(&mut self, (): ()) {}
}

/// How many of the first bytes of a JSON string represent themselves: all before the first quote,
/// backslash or control character.
pub(super) fn unescaped_len(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let (chunks, rest) = bytes.as_chunks::<8>();
    for (index, chunk) in chunks.iter().enumerate() {
        // The subtraction borrows beyond a smaller byte; the lowest such byte is always right.
        let word = u64::from_le_bytes(*chunk);
        let quote = word ^ (ONES * u64::from(b'"'));
        let backslash = word ^ (ONES * u64::from(b'\\'));
        let special = (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        if special & HIGH != 0 {
            return index * 8 + (special & HIGH).trailing_zeros() as usize / 8;
        }
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    chunks.len() * 8 + rest.iter().position(special).unwrap_or(rest.len())
}

/// A place in a text.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    /// The next byte to read. Always at a character boundary.
    at: usize,
    depth: usize,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    fn error(&self, message: &str) -> DecodeError {
        DecodeError::new(format!("{message} at byte {}", self.at))
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Reads the value that begins here.
    pub(super) fn read<B: Build>(&mut self, build: &mut B) -> Result<B::Value, DecodeError> {
        let scalar = match self.peek() {
            Some(b'{') => return self.object(build),
            Some(b'[') => return self.array(build),
            Some(b'"') => Scalar::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => Scalar::Number(self.number()?),
            Some(b't') => self.word("true", Scalar::Bool(true))?,
            Some(b'f') => self.word("false", Scalar::Bool(false))?,
            Some(b'n') => self.word("null", Scalar::Null)?,
            _ => return Err(self.error("expected a value")),
        };
        Ok(build.scalar(scalar))
    }

    fn word(&mut self, word: &str, value: Scalar<'static>) -> Result<Scalar<'static>, DecodeError> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.error("expected a value"));
        }
        self.at += word.len();
        Ok(value)
    }

    /// Takes the `[` or `{` that is next. Returns whether something is in it; if not, it is taken as
    /// a whole.
    pub(super) fn enter(&mut self, end: u8) -> Result<bool, DecodeError> {
        if self.depth == NESTING_MAX {
            return Err(self.error("nested too deep"));
        }
        self.at += 1;
        self.skip_whitespace();
        if self.peek() == Some(end) {
            self.at += 1;
            return Ok(false);
        }
        self.depth += 1;
        Ok(true)
    }

    fn array<B: Build>(&mut self, build: &mut B) -> Result<B::Value, DecodeError> {
        let mut array = build.begin_array();
        let mut more = self.enter(b']')?;
        while more {
            let item = self.read(build)?;
            build.item(&mut array, item);
            more = self.more(b']')?;
        }
        Ok(build.end_array(array))
    }

    fn object<B: Build>(&mut self, build: &mut B) -> Result<B::Value, DecodeError> {
        let mut object = build.begin_object();
        let mut more = self.enter(b'}')?;
        while more {
            let key = self.key()?;
            build.key(&key);
            let value = self.read(build)?;
            build.member(&mut object, key, value);
            more = self.more(b'}')?;
        }
        Ok(build.end_object(object))
    }

    /// A key and the colon after it.
    pub(super) fn key(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        if self.peek() != Some(b'"') {
            return Err(self.error("expected a key"));
        }
        let key = self.string()?;
        self.skip_whitespace();
        if self.peek() != Some(b':') {
            return Err(self.error("expected `:`"));
        }
        self.at += 1;
        self.skip_whitespace();
        Ok(key)
    }

    /// Whether a comma follows, rather than the end.
    pub(super) fn more(&mut self, end: u8) -> Result<bool, DecodeError> {
        self.skip_whitespace();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.skip_whitespace();
                Ok(true)
            }
            Some(byte) if byte == end => {
                self.at += 1;
                self.depth -= 1;
                Ok(false)
            }
            _ => Err(self.error(&format!("expected `,` or `{}`", char::from(end)))),
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        let mut string = String::new();
        self.at += 1;
        loop {
            let start = self.at;
            self.at += unescaped_len(&self.text.as_bytes()[start..]);
            // Only ASCII ends the run, so both ends are at character boundaries.
            let run = &self.text[start..self.at];
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    if string.is_empty() {
                        return Ok(Cow::Borrowed(run));
                    }
                    string.push_str(run);
                    return Ok(Cow::Owned(string));
                }
                Some(b'\\') => {
                    string.push_str(run);
                    self.at += 1;
                    string.push(self.escape()?);
                }
                Some(_) => return Err(self.error("control character in a string")),
                None => return Err(self.error("unterminated string")),
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<char, DecodeError> {
        let character = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte.into(),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                let unit = self.unit()?;
                return Ok(self.character(unit));
            }
            _ => return Err(self.error("unknown escape")),
        };
        self.at += 1;
        Ok(character)
    }

    /// The character that starts with this UTF-16 code unit. A lone surrogate, which a Rust string
    /// cannot hold, becomes U+FFFD.
    fn character(&mut self, unit: u16) -> char {
        if let Some(character) = char::from_u32(unit.into()) {
            return character;
        }
        let start = self.at;
        if (0xD800..0xDC00).contains(&unit) && self.text.as_bytes()[start..].starts_with(b"\\u") {
            self.at += 2;
            if let Ok(low @ 0xDC00..=0xDFFF) = self.unit() {
                let code = 0x10000 + ((u32::from(unit) - 0xD800) << 10) + u32::from(low) - 0xDC00;
                return char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
            }
            // What follows is a character of its own, or an error that is found when it is read.
            self.at = start;
        }
        char::REPLACEMENT_CHARACTER
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Result<u16, DecodeError> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let digit = digit.ok_or_else(|| self.error("expected a hexadecimal digit"))?;
            unit = unit << 4 | digit as u16;
            self.at += 1;
        }
        Ok(unit)
    }

    fn number(&mut self) -> Result<f64, DecodeError> {
        let start = self.at;
        let negative = self.peek() == Some(b'-');
        self.at += usize::from(negative);
        let first = self.at;
        let mut integer = 0_u64;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            integer = integer.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        let count = self.at - first;
        if count == 0 || (count > 1 && self.text.as_bytes()[first] == b'0') {
            return Err(self.error("malformed number"));
        }
        if count <= 15 && !matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            let number = integer as f64;
            return Ok(if negative { -number } else { number });
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        // Rust's parser rounds correctly, and gives infinity out of range, as in JavaScript.
        let number = self.text[start..self.at].parse();
        number.map_err(|_| self.error("malformed number"))
    }

    /// At least one digit.
    fn digits(&mut self) -> Result<(), DecodeError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { Err(self.error("malformed number")) } else { Ok(()) }
    }
}
