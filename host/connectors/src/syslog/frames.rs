//! Messages on a connection, by RFC 6587: behind their length in figures, or each to the end of a line.

use bytes::{Buf as _, BytesMut};
use memchr::memchr2;

/// Figures of a length.
const FIGURES_MAX: usize = 10;

/// Takes messages out of the bytes of a connection.
pub struct Frames {
    held: BytesMut,
    /// Bytes of what was taken last, which still stand before the rest.
    taken: usize,
    /// Bytes that are passed over, of a message that was too long.
    passed_over: usize,
    /// So is what comes until the end of a line that was.
    passes_line: bool,
    bytes_max: usize,
}

/// What was taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A message.
    Message(&'a [u8]),
    /// The beginning of one that has so many bytes, or more where it has no end yet.
    TooLong(Vec<u8>, usize),
}

impl Frames {
    /// Of messages of at most so many bytes.
    pub fn new(bytes_max: usize) -> Frames {
        Frames { held: BytesMut::new(), taken: 0, passed_over: 0, passes_line: false, bytes_max }
    }

    /// More has come.
    pub fn add(&mut self, bytes: &[u8]) {
        let over = match self.passes_line {
            true => {
                let end = memchr2(b'\n', b'\0', bytes);
                self.passes_line = end.is_none();
                end.unwrap_or(bytes.len())
            }
            false => self.passed_over.min(bytes.len()),
        };
        self.passed_over = self.passed_over.saturating_sub(over);
        self.held.extend_from_slice(bytes.get(over..).unwrap_or_default());
    }

    /// The next message that is whole.
    pub fn next(&mut self) -> Option<Frame<'_>> {
        self.pass_taken();
        loop {
            // What ends a message may be two signs.
            let begin = self.held.iter().take_while(|byte| matches!(byte, b'\n' | b'\r' | b'\0')).count();
            self.held.advance(begin);
            let (start, end) = match self.length() {
                Length::Unknown => return None,
                Length::Of(figures, length) => {
                    let whole = figures.saturating_add(length);
                    if length > self.bytes_max {
                        let kept = self.held.get(figures..).unwrap_or_default();
                        let kept = kept.get(..length.min(kept.len())).unwrap_or_default().to_vec();
                        self.passed_over = whole.saturating_sub(self.held.len());
                        self.held.advance(whole.min(self.held.len()));
                        return Some(Frame::TooLong(kept, length));
                    }
                    if self.held.len() < whole {
                        return None;
                    }
                    (figures, whole)
                }
                Length::ToEndOfLine => match memchr2(b'\n', b'\0', &self.held) {
                    Some(end) if end > self.bytes_max => {
                        let line = self.held.split_to(end).to_vec();
                        return Some(Frame::TooLong(line, end));
                    }
                    Some(end) => (0, end),
                    None if self.held.len() > self.bytes_max => {
                        let held = std::mem::take(&mut self.held).to_vec();
                        let length = held.len();
                        self.passes_line = true;
                        return Some(Frame::TooLong(held, length));
                    }
                    None => return None,
                },
            };
            if start < end {
                self.taken = end;
                return Some(Frame::Message(self.held.get(start..end).unwrap_or_default()));
            }
            self.held.advance(end);
        }
    }

    fn pass_taken(&mut self) {
        self.held.advance(std::mem::take(&mut self.taken).min(self.held.len()));
    }

    /// What is left of a connection that ended: a last line needs no end, and half a message is one as far as it came.
    pub fn rest(&mut self) -> Option<Vec<u8>> {
        self.pass_taken();
        let held = std::mem::take(&mut self.held).to_vec();
        (!held.is_empty()).then_some(held)
    }

    /// Whether a message has begun that is not whole, when all that are have been taken.
    pub fn is_unfinished(&self) -> bool {
        self.held.len() > self.taken || self.passed_over > 0 || self.passes_line
    }

    fn length(&self) -> Length {
        let figures = self.held.iter().take_while(|byte| byte.is_ascii_digit()).count();
        match (self.held.first(), self.held.get(figures)) {
            (None, _) => Length::Unknown,
            (Some(b'1'..=b'9'), None) if figures <= FIGURES_MAX => Length::Unknown,
            (Some(b'1'..=b'9'), Some(b' ')) if figures <= FIGURES_MAX => {
                let text = self.held.get(..figures).and_then(|figures| std::str::from_utf8(figures).ok());
                match text.and_then(|text| text.parse().ok()) {
                    Some(length) => Length::Of(figures + 1, length),
                    None => Length::ToEndOfLine,
                }
            }
            _ => Length::ToEndOfLine,
        }
    }
}

enum Length {
    Unknown,
    /// Bytes of the figures with the blank behind them, and of the message.
    Of(usize, usize),
    ToEndOfLine,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of these bytes, so many at a time.
    fn taken(bytes: &[u8], at_once: usize, most: usize) -> (Vec<Taken>, Option<Vec<u8>>) {
        let (mut frames, mut found) = (Frames::new(most), Vec::new());
        for some in bytes.chunks(at_once) {
            frames.add(some);
            while let Some(frame) = frames.next() {
                found.push(match frame {
                    Frame::Message(message) => Taken::Message(message.to_vec()),
                    Frame::TooLong(beginning, length) => Taken::TooLong(beginning, length),
                });
            }
        }
        let unfinished = frames.is_unfinished();
        let rest = frames.rest();
        assert!(unfinished || rest.is_none());
        (found, rest)
    }

    #[derive(Debug, PartialEq)]
    enum Taken {
        Message(Vec<u8>),
        TooLong(Vec<u8>, usize),
    }

    fn message(text: &str) -> Taken {
        Taken::Message(text.as_bytes().to_vec())
    }

    #[test]
    fn both_ways_to_end_a_message_may_stand_on_one_connection() {
        let bytes = b"5 <1>abcd\r\n<2>two\n\n7 <3>a\nbc<4>x\0<5>rest";
        for at_once in 1..bytes.len() {
            let (found, rest) = taken(bytes, at_once, 100);
            assert_eq!(
                found,
                [message("<1>ab"), message("cd\r"), message("<2>two"), message("<3>a\nbc"), message("<4>x")],
                "{at_once}"
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
        for at_once in [1, 3, 100] {
            let (found, _) = taken(b"12 abcdefghijkl3 <1>", at_once, 5);
            assert!(matches!(&found[0], Taken::TooLong(_, 12)), "{found:?}");
            assert_eq!(found[1..], [message("<1>")]);
        }
        for at_once in [1, 3, 100] {
            let (found, rest) = taken(b"abcdefgh\nxy\nabc", at_once, 5);
            assert!(
                matches!(&found[0], Taken::TooLong(beginning, 6..=8) if beginning.starts_with(b"abcdef")),
                "{found:?}"
            );
            assert_eq!((&found[1..], rest.as_deref()), (&[message("xy")][..], Some(&b"abc"[..])));
        }
        let (found, rest) = taken(b"abcdefgh", 8, 5);
        assert_eq!((found, rest), (vec![Taken::TooLong(b"abcdefgh".to_vec(), 8)], None));
        let (found, rest) = taken(b"99999999999 x\n5", 2, 100);
        assert_eq!((found, rest.as_deref()), (vec![message("99999999999 x")], Some(&b"5"[..])));
        let (found, _) = taken(b"9999999999 x", 100, 100);
        assert_eq!(found, [Taken::TooLong(b"x".to_vec(), 9_999_999_999)]);
    }
}
