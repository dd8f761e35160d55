//! Scans JSON without building anything: finds keys and values, strictly by RFC 8259.
//!
//! Why not a crate: a column of text keeps the literal of a number (`12.50`) and the text of an object. A column of int64 must distinguish 2^63 from
//! a float, and rows go directly into columns. A scanner that returns slices of its input does all of these together. Its agreement with
//! `serde_json` is tested.

use crate::decode::written_value::WrittenValue;

/// Maximum nesting of objects and arrays.
const DEPTH_MAX: u32 = 128;

/// A position in a JSON text.
pub struct Scanner<'a> {
    text: &'a str,
    offset: usize,
}

impl<'a> Scanner<'a> {
    /// Creates a scanner at the beginning of `text`.
    pub fn new(text: &'a str) -> Scanner<'a> {
        Scanner { text, offset: 0 }
    }

    /// Returns the bytes from the current position on.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.offset..).unwrap_or_default()
    }

    /// Returns the number of bytes read.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Returns the text from `start` to the current position.
    #[inline]
    pub fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.offset).unwrap_or_default()
    }

    /// Skips `bytes` bytes.
    #[inline]
    pub fn advance(&mut self, bytes: usize) {
        self.offset += bytes;
    }

    /// Returns the next byte that is not white space.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.offset) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.offset += 1,
                other => return other.copied(),
            }
        }
    }

    /// Reads this byte if it comes next.
    #[inline]
    pub fn eat(&mut self, byte: u8) -> bool {
        let eaten = self.peek() == Some(byte);
        self.offset += usize::from(eaten);
        eaten
    }

    /// Returns an error about the current position.
    #[cold]
    pub fn expected(&self, what: &str) -> String {
        match self.text.get(self.offset..).and_then(|rest| rest.chars().next()) {
            Some(found) => {
                format!("not JSON: expected {what} at byte {}, found `{}`", self.offset, found.escape_debug())
            }
            None => format!("not JSON: expected {what}, but the text ends at byte {}", self.offset),
        }
    }

    /// Fails if anything follows.
    pub fn end(&mut self) -> Result<(), String> {
        if self.peek().is_none() { Ok(()) } else { Err(self.expected("nothing more")) }
    }

    /// Reads a value of any kind. Strings with escapes are unescaped into `scratch`.
    #[inline]
    pub fn value<'b>(&mut self, scratch: &'b mut String) -> Result<WrittenValue<'b>, String>
    where
        'a: 'b,
    {
        match self.peek() {
            Some(b'"') => Ok(WrittenValue::Text(self.string()?.unescaped(scratch)?)),
            Some(b'-' | b'0'..=b'9') => Ok(WrittenValue::Number(self.number()?)),
            Some(b't') => self.literal("true").map(|()| WrittenValue::Bool(true)),
            Some(b'f') => self.literal("false").map(|()| WrittenValue::Bool(false)),
            Some(b'n') => self.literal("null").map(|()| WrittenValue::Null),
            Some(b'{' | b'[') => {
                let start = self.offset;
                self.skip(0)?;
                Ok(WrittenValue::Nested(self.since(start)))
            }
            _ => Err(self.expected("a value")),
        }
    }

    /// Skips a value; `depth` objects and arrays are around it.
    pub fn skip(&mut self, depth: u32) -> Result<(), String> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number().map(drop),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            Some(b'{' | b'[') if depth >= DEPTH_MAX => {
                Err(format!("JSON nested deeper than {DEPTH_MAX} levels at byte {}", self.offset))
            }
            Some(open @ (b'{' | b'[')) => {
                self.offset += 1;
                let close = if open == b'{' { b'}' } else { b']' };
                if self.eat(close) {
                    return Ok(());
                }
                loop {
                    if open == b'{' {
                        self.key()?;
                    }
                    self.skip(depth + 1)?;
                    if !self.eat(b',') {
                        return self.close(close);
                    }
                }
            }
            _ => Err(self.expected("a value")),
        }
    }

    /// Reads the end of an object or array.
    #[inline]
    pub fn close(&mut self, close: u8) -> Result<(), String> {
        if self.eat(close) {
            Ok(())
        } else {
            Err(self.expected(if close == b'}' { "`,` or `}`" } else { "`,` or `]`" }))
        }
    }

    /// Reads a key with its colon.
    pub fn key(&mut self) -> Result<Text<'a>, String> {
        if self.peek() != Some(b'"') {
            return Err(self.expected("a key in double quotes"));
        }
        let key = self.string()?;
        if self.eat(b':') { Ok(key) } else { Err(self.expected("`:`")) }
    }

    fn literal(&mut self, word: &str) -> Result<(), String> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(self.expected("a value"));
        }
        self.offset += word.len();
        Ok(())
    }

    /// Reads an integer of at most 18 digits, as nearly all are; `None`, and nothing is read, if something else comes next.
    #[inline]
    pub fn short_int64(&mut self) -> Option<i64> {
        let rest = self.rest();
        let negative = rest.first() == Some(&b'-');
        let digits = rest.get(usize::from(negative)..)?;
        let mut value = 0_i64;
        let mut count = 0;
        while let Some(digit) = digits.get(count).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit <= 9) {
            value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
            count += 1;
        }
        let ended = matches!(digits.get(count), None | Some(b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r'));
        let leading_zero = count > 1 && digits.first() == Some(&b'0');
        if !ended || leading_zero || !(1..=18).contains(&count) {
            return None;
        }
        self.offset += usize::from(negative) + count;
        Some(if negative { -value } else { value })
    }

    /// Reads the literal of a number.
    #[inline]
    fn number(&mut self) -> Result<&'a str, String> {
        let start = self.offset;
        let bytes = self.text.as_bytes();
        self.offset += usize::from(bytes.get(self.offset) == Some(&b'-'));
        if bytes.get(self.offset) == Some(&b'0') {
            self.offset += 1;
        } else {
            self.digits()?;
        }
        if bytes.get(self.offset) == Some(&b'.') {
            self.offset += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = bytes.get(self.offset) {
            self.offset += 1;
            self.offset += usize::from(matches!(bytes.get(self.offset), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(self.since(start))
    }

    #[inline]
    fn digits(&mut self) -> Result<(), String> {
        let start = self.offset;
        let bytes = self.text.as_bytes();
        while bytes.get(self.offset).is_some_and(u8::is_ascii_digit) {
            self.offset += 1;
        }
        if self.offset > start { Ok(()) } else { Err(self.expected("a digit")) }
    }

    /// Reads a string without escapes, as nearly all are; `None`, and nothing is read, if something else comes next.
    #[inline]
    pub fn plain_text(&mut self) -> Option<&'a str> {
        let bytes = self.text.as_bytes();
        let start = self.offset + 1;
        if bytes.get(self.offset) != Some(&b'"') {
            return None;
        }
        let end = string_part_end(bytes, start);
        if bytes.get(end) != Some(&b'"') {
            return None;
        }
        self.offset = end + 1;
        self.text.get(start..end)
    }

    /// Reads a string; the opening quote comes next.
    #[inline]
    fn string(&mut self) -> Result<Text<'a>, String> {
        let start = self.offset + 1;
        let bytes = self.text.as_bytes();
        self.offset = start;
        let mut escaped = false;
        loop {
            self.offset = string_part_end(bytes, self.offset);
            match bytes.get(self.offset) {
                Some(b'"') => {
                    let raw = self.since(start);
                    self.offset += 1;
                    return Ok(Text { raw, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.expected("no control character in a string")),
                None => return Err(self.expected("the closing quote of a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        let rest = self.rest();
        match rest.get(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.offset += 2,
            Some(b'u') if rest.get(2..6).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) => self.offset += 6,
            _ => return Err(self.expected("a valid escape")),
        }
        Ok(())
    }
}

/// Returns the first quote, backslash or control character from `offset` on. It reads sixteen bytes at a time if the machine can, then eight. That
/// is Mycroft's test for a byte below a bound, which is exact for the first hit; only that matters.
#[inline]
fn string_part_end(bytes: &[u8], mut offset: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    while let Some(chunk) = bytes.get(offset..).and_then(|rest| rest.first_chunk::<16>()) {
        // SAFETY: every such machine has SSE2.
        let found = unsafe { ends_in(chunk) };
        if found != 0 {
            return offset + found.trailing_zeros() as usize;
        }
        offset += 16;
    }
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    while let Some(word) = bytes.get(offset..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*word);
        let quote = word ^ (ONES * b'"' as u64);
        let backslash = word ^ (ONES * b'\\' as u64);
        let found = (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        let found = found & HIGHS;
        if found != 0 {
            return offset + found.trailing_zeros() as usize / 8;
        }
        offset += 8;
    }
    while let Some(byte) = bytes.get(offset) {
        if matches!(byte, b'"' | b'\\' | 0..0x20) {
            break;
        }
        offset += 1;
    }
    offset
}

/// Returns which of these bytes are quotes, backslashes or control characters, one bit each.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse2")]
#[inline]
fn ends_in(chunk: &[u8; 16]) -> u32 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_max_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    };
    const CONTROL_MAX: i8 = 0x1f;
    let both = u128::from_le_bytes(*chunk);
    let bytes: __m128i = _mm_set_epi64x((both >> 64) as i64, both as i64);
    let control = _mm_cmpeq_epi8(_mm_max_epu8(bytes, _mm_set1_epi8(CONTROL_MAX)), _mm_set1_epi8(CONTROL_MAX));
    let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
    let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
    _mm_movemask_epi8(_mm_or_si128(control, _mm_or_si128(quote, backslash))) as u32
}

/// A string between its quotes, as written.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    raw: &'a str,
    escaped: bool,
}

impl<'a> Text<'a> {
    /// Returns the unescaped string, in `scratch` if there are escapes.
    #[inline]
    pub fn unescaped<'b>(self, scratch: &'b mut String) -> Result<&'b str, String>
    where
        'a: 'b,
    {
        if self.escaped { unescape(self.raw, scratch) } else { Ok(self.raw) }
    }
}

fn unescape<'b>(raw: &str, scratch: &'b mut String) -> Result<&'b str, String> {
    scratch.clear();
    let mut parts = raw.split('\\');
    scratch.push_str(parts.next().unwrap_or_default());
    let mut pending: Option<u32> = None; // the first half of a pair of surrogates
    while let Some(part) = parts.next() {
        let lone = || "not JSON: half of a surrogate pair in a string".to_string();
        let mut chars = part.chars();
        let short = chars.next();
        if pending.is_some() && short != Some('u') {
            return Err(lone());
        }
        let literal = match short {
            // Between two backslashes: an escaped backslash; what follows is plain.
            None => {
                scratch.push('\\');
                scratch.push_str(parts.next().unwrap_or_default());
                continue;
            }
            Some('u') => {
                let unit = part.get(1..5).and_then(|hex| u32::from_str_radix(hex, 16).ok()).ok_or_else(lone)?;
                let rest = part.get(5..).unwrap_or_default();
                let code = match (pending.take(), unit) {
                    (None, 0xD800..=0xDBFF) if rest.is_empty() => {
                        pending = Some(unit);
                        continue;
                    }
                    (Some(high), 0xDC00..=0xDFFF) => 0x10000 + ((high - 0xD800) << 10) + (unit - 0xDC00),
                    (None, unit) => unit,
                    (Some(_), _) => return Err(lone()),
                };
                scratch.push(char::from_u32(code).ok_or_else(lone)?);
                rest
            }
            Some(escape_char) => {
                scratch.push(match escape_char {
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    other => other,
                });
                chars.as_str()
            }
        };
        scratch.push_str(literal);
    }
    if pending.is_some() { Err("not JSON: half of a surrogate pair in a string".into()) } else { Ok(scratch) }
}
