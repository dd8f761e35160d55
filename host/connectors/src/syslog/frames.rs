//! Splits a connection into messages by RFC 6587: after their length in digits, or each up to the end of its line.

use bytes::{Buf as _, BytesMut};
use memchr::memchr2;

/// Maximum digits of a length.
const DIGITS_MAX: usize = 10;

/// Extracts messages from the bytes of a connection.
pub struct Frames {
    buffer: BytesMut,
    /// Bytes of the last message, which still precede the rest.
    read_frames: usize,
    /// Bytes to skip, of a message that was too long.
    skip_bytes: usize,
    /// Whether to skip the rest of a line that was too long.
    skip_line: bool,
    bytes_max: usize,
}

/// An extracted message.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A complete message.
    Message(&'a [u8]),
    /// The beginning of a message that is too long, and its length as far as it is known.
    TooLong(Vec<u8>, usize),
}

impl Frames {
    /// Creates an extractor of messages of at most `bytes_max`.
    pub fn new(bytes_max: usize) -> Frames {
        Frames { buffer: BytesMut::new(), read_frames: 0, skip_bytes: 0, skip_line: false, bytes_max }
    }

    /// Adds received bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        let skipped = match self.skip_line {
            true => {
                let end = memchr2(b'\n', b'\0', bytes);
                self.skip_line = end.is_none();
                end.unwrap_or(bytes.len())
            }
            false => self.skip_bytes.min(bytes.len()),
        };
        self.skip_bytes = self.skip_bytes.saturating_sub(skipped);
        self.buffer.extend_from_slice(bytes.get(skipped..).unwrap_or_default());
    }

    /// Returns the next complete message.
    pub fn next(&mut self) -> Option<Frame<'_>> {
        self.drop_taken();
        loop {
            // A message may end with two characters.
            let begin = self.buffer.iter().take_while(|byte| matches!(byte, b'\n' | b'\r' | b'\0')).count();
            self.buffer.advance(begin);
            let (start, end) = match self.length() {
                Length::Unknown => return None,
                Length::Of(digits, length) => {
                    let total = digits.saturating_add(length);
                    if length > self.bytes_max {
                        let kept = self.buffer.get(digits..).unwrap_or_default();
                        let kept = kept.get(..length.min(kept.len())).unwrap_or_default().to_vec();
                        self.skip_bytes = total.saturating_sub(self.buffer.len());
                        self.buffer.advance(total.min(self.buffer.len()));
                        return Some(Frame::TooLong(kept, length));
                    }
                    if self.buffer.len() < total {
                        return None;
                    }
                    (digits, total)
                }
                Length::ToEndOfLine => match memchr2(b'\n', b'\0', &self.buffer) {
                    Some(end) if end > self.bytes_max => {
                        let line = self.buffer.split_to(end).to_vec();
                        return Some(Frame::TooLong(line, end));
                    }
                    Some(end) => (0, end),
                    None if self.buffer.len() > self.bytes_max => {
                        let buffer = std::mem::take(&mut self.buffer).to_vec();
                        let length = buffer.len();
                        self.skip_line = true;
                        return Some(Frame::TooLong(buffer, length));
                    }
                    None => return None,
                },
            };
            if start < end {
                self.read_frames = end;
                return Some(Frame::Message(self.buffer.get(start..end).unwrap_or_default()));
            }
            self.buffer.advance(end);
        }
    }

    fn drop_taken(&mut self) {
        self.buffer.advance(std::mem::take(&mut self.read_frames).min(self.buffer.len()));
    }

    /// Returns the rest after the connection ended: a last line needs no end, and an incomplete message counts.
    pub fn rest(&mut self) -> Option<Vec<u8>> {
        self.drop_taken();
        let buffer = std::mem::take(&mut self.buffer).to_vec();
        (!buffer.is_empty()).then_some(buffer)
    }

    /// Returns whether an incomplete message remains after all complete ones have been taken.
    pub fn is_unfinished(&self) -> bool {
        self.buffer.len() > self.read_frames || self.skip_bytes > 0 || self.skip_line
    }

    fn length(&self) -> Length {
        let digits = self.buffer.iter().take_while(|byte| byte.is_ascii_digit()).count();
        match (self.buffer.first(), self.buffer.get(digits)) {
            (None, _) => Length::Unknown,
            (Some(b'1'..=b'9'), None) if digits <= DIGITS_MAX => Length::Unknown,
            (Some(b'1'..=b'9'), Some(b' ')) if digits <= DIGITS_MAX => {
                let text = self.buffer.get(..digits).and_then(|digits| std::str::from_utf8(digits).ok());
                match text.and_then(|text| text.parse().ok()) {
                    Some(length) => Length::Of(digits + 1, length),
                    None => Length::ToEndOfLine,
                }
            }
            _ => Length::ToEndOfLine,
        }
    }
}

enum Length {
    Unknown,
    /// Bytes of the digits with the space after them, and of the message.
    Of(usize, usize),
    ToEndOfLine,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Splits these bytes, added in pieces of `piece_bytes`.
    fn read_frames(bytes: &[u8], piece_bytes: usize, bytes_max: usize) -> (Vec<FrameResult>, Option<Vec<u8>>) {
        let (mut frames, mut found) = (Frames::new(bytes_max), Vec::new());
        for some in bytes.chunks(piece_bytes) {
            frames.add(some);
            while let Some(frame) = frames.next() {
                found.push(match frame {
                    Frame::Message(message) => FrameResult::Message(message.to_vec()),
                    Frame::TooLong(beginning, length) => FrameResult::TooLong(beginning, length),
                });
            }
        }
        let unfinished = frames.is_unfinished();
        let rest = frames.rest();
        assert!(unfinished || rest.is_none());
        (found, rest)
    }

    #[derive(Debug, PartialEq)]
    enum FrameResult {
        Message(Vec<u8>),
        TooLong(Vec<u8>, usize),
    }

    fn message(text: &str) -> FrameResult {
        FrameResult::Message(text.as_bytes().to_vec())
    }

    #[test]
    fn both_ways_to_end_a_message_may_stand_on_one_connection() {
        let bytes = b"5 <1>abcd\r\n<2>two\n\n7 <3>a\nbc<4>x\0<5>rest";
        for piece_bytes in 1..bytes.len() {
            let (found, rest) = read_frames(bytes, piece_bytes, 100);
            assert_eq!(
                found,
                [message("<1>ab"), message("cd\r"), message("<2>two"), message("<3>a\nbc"), message("<4>x")],
                "{piece_bytes}"
            );
            assert_eq!(rest.as_deref(), Some(&b"<5>rest"[..]));
        }
    }

    #[test]
    fn what_has_no_end_is_unfinished() {
        let mut frames = Frames::new(5);
        for (bytes, unfinished) in [
            (&b""[..], false),
            (b"<1>", true),
            (b"a\n", false),
            (b"\r\n\0", false),
            (b"3", true),
            (b" <1", true),
            (b">", false),
            (b"<1>abcdef", true),
            (b"ghi", true),
            (b"\n", false),
            (b"9 <1>", true),
            (b"abcdef", false),
        ] {
            frames.add(bytes);
            while frames.next().is_some() {}
            assert_eq!(frames.is_unfinished(), unfinished, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn what_is_too_long_is_told_and_passed_over() {
        for piece_bytes in [1, 3, 100] {
            let (found, _) = read_frames(b"12 abcdefghijkl3 <1>", piece_bytes, 5);
            assert!(matches!(&found[0], FrameResult::TooLong(_, 12)), "{found:?}");
            assert_eq!(found[1..], [message("<1>")]);
        }
        for piece_bytes in [1, 3, 100] {
            let (found, rest) = read_frames(b"abcdefgh\nxy\nabc", piece_bytes, 5);
            assert!(
                matches!(&found[0], FrameResult::TooLong(beginning, 6..=8) if beginning.starts_with(b"abcdef")),
                "{found:?}"
            );
            assert_eq!((&found[1..], rest.as_deref()), (&[message("xy")][..], Some(&b"abc"[..])));
        }
        let (found, rest) = read_frames(b"abcdefgh", 8, 5);
        assert_eq!((found, rest), (vec![FrameResult::TooLong(b"abcdefgh".to_vec(), 8)], None));
        let (found, rest) = read_frames(b"99999999999 x\n5", 2, 100);
        assert_eq!((found, rest.as_deref()), (vec![message("99999999999 x")], Some(&b"5"[..])));
        let (found, _) = read_frames(b"9999999999 x", 100, 100);
        assert_eq!(found, [FrameResult::TooLong(b"x".to_vec(), 9_999_999_999)]);
    }
}
