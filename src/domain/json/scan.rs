//! The scanner: walks over values without building anything (RFC 8259, with
//! lone surrogates refused and nesting bounded).
//!
//! Works on bytes that are known to be UTF-8.

use std::borrow::Cow;

use super::JsonError;
use super::outline::value_length;
use crate::limits::MAX_DEPTH;

/// A place in a text.
pub struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A string as it stands in the text, without its quotes.
#[derive(Debug, Clone, Copy)]
pub struct RawString<'a> {
    /// The bytes between the quotes.
    pub bytes: &'a [u8],
    /// Whether there are escapes in it.
    pub escaped: bool,
    /// Where it begins.
    pub offset: usize,
}

impl<'a> RawString<'a> {
    /// The text that it stands for.
    pub fn decode(&self) -> Cow<'a, str> {
        // The scanner's input is UTF-8 as a whole and a string is cut out at
        // ASCII quotes, so this does not replace anything.
        let text = std::str::from_utf8(self.bytes).unwrap_or_default();
        if self.escaped { Cow::Owned(unescape(text)) } else { Cow::Borrowed(text) }
    }
}

/// Resolves escapes that the scanner has checked.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest.as_bytes().get(at + 1).copied().unwrap_or_default();
        rest = &rest[(at + 2).min(rest.len())..];
        match code {
            b'b' => out.push('\u{8}'),
            b'f' => out.push('\u{c}'),
            b'n' => out.push('\n'),
            b'r' => out.push('\r'),
            b't' => out.push('\t'),
            b'u' => {
                let unit = |text: &str| text.get(..4).and_then(|hex| u32::from_str_radix(hex, 16).ok());
                let high = unit(rest).unwrap_or_default();
                rest = rest.get(4..).unwrap_or_default();
                let mut code = high;
                if (0xD800..0xDC00).contains(&high)
                    && let Some(low) = rest.strip_prefix("\\u").and_then(unit)
                {
                    rest = rest.get(6..).unwrap_or_default();
                    code = 0x10000 + ((high - 0xD800) << 10) + (low.wrapping_sub(0xDC00) & 0x3FF);
                }
                out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            other => out.push(char::from(other)),
        }
    }
    out.push_str(rest);
    out
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Non-zero if one of the eight bytes is a quote, a backslash or below 0x20.
/// (Bit tricks of zero-byte detection; a false hit only ends the fast loop.)
#[inline]
fn special(word: u64) -> u64 {
    let zero = |w: u64| w.wrapping_sub(ONES) & !w;
    (zero(word ^ (ONES * u64::from(b'"')))
        | zero(word ^ (ONES * u64::from(b'\\')))
        | word.wrapping_sub(ONES * 0x20) & !word)
        & HIGHS
}

impl<'a> Scanner<'a> {
    /// A scanner at the start of `bytes`, which must be UTF-8.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Where the scanner is.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// An error at the present place.
    pub fn error(&self, problem: &'static str) -> JsonError {
        JsonError { offset: self.at, problem }
    }

    /// Goes behind the value that begins at `start`, whatever is wrong within
    /// it, if its outline tells where it ends.
    pub fn resume_behind(&mut self, start: usize) -> bool {
        let length = self.bytes.get(start..).and_then(value_length);
        if let Some(length) = length {
            self.at = start + length;
        }
        length.is_some()
    }

    /// The next byte; 0 at the end.
    #[inline]
    pub fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    /// Goes over white space.
    #[inline]
    pub fn white_space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    /// Goes over `byte`, if it is next.
    #[inline]
    pub fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte && self.at < self.bytes.len();
        self.at += usize::from(found);
        found
    }

    /// Goes over white space and tells whether that was all.
    pub fn at_end(&mut self) -> bool {
        self.white_space();
        self.at >= self.bytes.len()
    }

    /// The bytes from `start` to here.
    pub fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.at]
    }

    /// Goes over a string.
    #[inline]
    pub fn string(&mut self) -> Result<RawString<'a>, JsonError> {
        if !self.take(b'"') {
            return Err(self.error("a string is expected"));
        }
        let start = self.at;
        let mut escaped = false;
        loop {
            while let Some(chunk) = self.bytes.get(self.at..self.at + 8) {
                let mut word = [0; 8];
                word.copy_from_slice(chunk);
                let hit = special(u64::from_le_bytes(word));
                if hit != 0 {
                    self.at += hit.trailing_zeros() as usize / 8;
                    break;
                }
                self.at += 8;
            }
            match self.bytes.get(self.at) {
                None => return Err(self.error("the text ends within a string")),
                Some(b'"') => {
                    let bytes = &self.bytes[start..self.at];
                    self.at += 1;
                    return Ok(RawString { bytes, escaped, offset: start });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(0..0x20) => return Err(self.error("a control character stands in a string")),
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => match self.unit(self.at) {
                None => Err(self.error("\\u needs four hex digits")),
                Some(0xD800..0xDC00) => match self.unit(self.at + 6) {
                    Some(0xDC00..0xE000) => {
                        self.at += 12;
                        Ok(())
                    }
                    Some(_) | None => Err(self.error("a surrogate stands alone")),
                },
                Some(0xDC00..0xE000) => Err(self.error("a surrogate stands alone")),
                Some(_) => {
                    self.at += 6;
                    Ok(())
                }
            },
            Some(_) | None => Err(self.error("this escape is not known")),
        }
    }

    /// The code unit of a `\uXXXX` at `at`.
    fn unit(&self, at: usize) -> Option<u32> {
        let text = self.bytes.get(at..at + 6)?;
        if !text.starts_with(b"\\u") {
            return None;
        }
        text[2..].iter().try_fold(0, |value, byte| Some(value << 4 | char::from(*byte).to_digit(16)?))
    }

    /// Goes over a number.
    pub fn number(&mut self) -> Result<&'a [u8], JsonError> {
        let start = self.at;
        self.take(b'-');
        match self.peek() {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits(),
            _ => return Err(self.error("a value is expected")),
        }
        if self.take(b'.') && self.some_digits().is_none() {
            return Err(self.error("digits are expected behind the point"));
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if !self.take(b'+') {
                self.take(b'-');
            }
            if self.some_digits().is_none() {
                return Err(self.error("digits are expected in the exponent"));
            }
        }
        Ok(self.since(start))
    }

    fn digits(&mut self) {
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Option<()> {
        let start = self.at;
        self.digits();
        (self.at > start).then_some(())
    }

    /// Goes over `true`, `false` or `null`.
    pub fn word(&mut self) -> Result<&'static [u8], JsonError> {
        for word in [&b"true"[..], b"false", b"null"] {
            if self.bytes[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(word);
            }
        }
        Err(self.error("a value is expected"))
    }

    /// Goes over a value that lies within `depth` others.
    pub fn skip(&mut self, depth: usize) -> Result<(), JsonError> {
        match self.peek() {
            b'"' => self.string().map(|_| ()),
            b'{' | b'[' if depth >= MAX_DEPTH => Err(self.error("values are nested more than 128 deep")),
            b'{' => {
                self.at += 1;
                self.white_space();
                if self.take(b'}') {
                    return Ok(());
                }
                loop {
                    self.string()?;
                    self.colon()?;
                    self.skip(depth + 1)?;
                    if self.separator(b'}')? {
                        return Ok(());
                    }
                }
            }
            b'[' => {
                self.at += 1;
                self.white_space();
                if self.take(b']') {
                    return Ok(());
                }
                loop {
                    self.skip(depth + 1)?;
                    if self.separator(b']')? {
                        return Ok(());
                    }
                }
            }
            b't' | b'f' | b'n' => self.word().map(|_| ()),
            _ => self.number().map(|_| ()),
        }
    }

    /// Goes over the colon behind a name, and white space around it.
    #[inline]
    pub fn colon(&mut self) -> Result<(), JsonError> {
        self.white_space();
        if !self.take(b':') {
            return Err(self.error("a colon is expected"));
        }
        self.white_space();
        Ok(())
    }

    /// Goes over a comma and white space around it, or over `end`, and tells
    /// whether it was `end`.
    #[inline]
    pub fn separator(&mut self, end: u8) -> Result<bool, JsonError> {
        self.white_space();
        if self.take(b',') {
            self.white_space();
            return Ok(false);
        }
        if self.take(end) {
            return Ok(true);
        }
        Err(self.error(if self.at >= self.bytes.len() {
            "the text ends within a value"
        } else {
            "a comma or the end of the object or array is expected"
        }))
    }
}
