//! Splits text, sixteen bytes at a time. In a component, this is several times faster than the standard library's loops over
//! single bytes.

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use simd as piece;
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod swar;
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
use swar as piece;

use piece::{BITS, Piece, WIDTH};

/// Returns the words of a text: its parts between white space, like [`str::split_whitespace`].
pub fn words(text: &str) -> Parts<'_, WhiteSpace> {
    Parts::new(text, WhiteSpace)
}

/// Returns the parts of a text between single ASCII bytes, without empty ones.
///
/// # Panics
/// If `separator` is not ASCII.
pub fn parts(text: &str, separator: u8) -> Parts<'_, Byte> {
    assert!(separator.is_ascii(), "a separator of one byte is ASCII");
    Parts::new(text, Byte(separator))
}

/// Defines which bytes of a text separate its parts. Only this crate implements it.
pub trait Separator: sealed::Sealed + Copy {
    /// Marks the separators in a piece of the text. Returns `None` if characters that are not ASCII may be separators.
    fn find(self, piece: &[u8; WIDTH]) -> Option<u64>;
    /// Returns the position and the length of the first separator at or after `from`.
    fn find_slowly(self, text: &str, from: usize) -> Option<(usize, usize)>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::WhiteSpace {}
    impl Sealed for super::Byte {}
}

/// Separates at white space, including that of Unicode.
#[derive(Clone, Copy)]
pub struct WhiteSpace;

/// Separates at an ASCII byte.
#[derive(Clone, Copy)]
pub struct Byte(u8);

impl Separator for WhiteSpace {
    #[inline]
    fn find(self, piece: &[u8; WIDTH]) -> Option<u64> {
        let piece = Piece::new(piece);
        // Tab, line feed, vertical tab, form feed and carriage return are consecutive.
        piece.is_ascii().then(|| piece.equal(b' ') | piece.between(b'\t', b'\r'))
    }

    fn find_slowly(self, text: &str, from: usize) -> Option<(usize, usize)> {
        let mut characters = text.get(from..)?.char_indices();
        let (at, character) = characters.find(|(_, character)| character.is_whitespace())?;
        Some((from + at, character.len_utf8()))
    }
}

impl Separator for Byte {
    #[inline]
    fn find(self, piece: &[u8; WIDTH]) -> Option<u64> {
        Some(Piece::new(piece).equal(self.0))
    }

    fn find_slowly(self, text: &str, from: usize) -> Option<(usize, usize)> {
        let at = text.as_bytes().get(from..)?.iter().position(|byte| *byte == self.0)?;
        Some((from + at, 1))
    }
}

/// The parts of a text between separators, without empty ones.
pub struct Parts<'x, S> {
    text: &'x str,
    separator: S,
    /// The start of the next part.
    start: usize,
    /// Separators that were found and not yet used, relative to `base`: one of every `BITS` bits.
    found: u64,
    base: usize,
    /// Length of each found separator in bytes.
    length: usize,
    /// Index where the search continues.
    next: usize,
}

impl<'x, S: Separator> Parts<'x, S> {
    #[inline]
    fn new(text: &'x str, separator: S) -> Parts<'x, S> {
        Parts { text, separator, start: 0, found: 0, base: 0, length: 1, next: 0 }
    }

    /// Returns the text from `start` to `end`, both next to an ASCII byte or at an end of the text.
    #[inline]
    fn part(&self, start: usize, end: usize) -> &'x str {
        // SAFETY: `start <= end <= text.len()`: separators are found in the text from left to right. Both are character
        // boundaries: `start` is 0 or follows a complete separator, `end` is the start of one or the end.
        unsafe { self.text.get_unchecked(start..end) }
    }

    /// Searches the next bytes for separators. Returns false at the end of the text.
    #[inline]
    fn search(&mut self) -> bool {
        let rest = self.text.as_bytes().get(self.next..).unwrap_or_default();
        let (found, length) = match rest.first_chunk() {
            Some(piece) => (self.separator.find(piece), WIDTH),
            None if rest.is_empty() => return false,
            None => (self.find_last(rest), rest.len()),
        };
        match found {
            Some(found) => {
                self.found = found;
                self.base = self.next;
                self.length = 1;
                self.next += length;
            }
            None => self.search_slowly(),
        }
        true
    }

    /// Marks the separators in the last bytes, which are fewer than `WIDTH`.
    #[inline]
    fn find_last(&self, rest: &[u8]) -> Option<u64> {
        // Usually there are enough bytes before them, so some are searched again.
        if let Some(piece) = self.text.as_bytes().last_chunk() {
            return self.separator.find(piece).map(|found| found >> ((WIDTH - rest.len()) * BITS));
        }
        let mut piece = [0; WIDTH];
        piece.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        let mask = (1 << (rest.len() * BITS)) - 1;
        self.separator.find(&piece).map(|found| found & mask)
    }

    /// Returns the part before the first of these separators, relative to `base`, unless it is empty. This uses the separator.
    #[inline]
    fn cut(&mut self, found: &mut u64, base: usize, length: usize) -> Option<&'x str> {
        let end = base + found.trailing_zeros() as usize / BITS;
        *found &= *found - 1;
        let start = std::mem::replace(&mut self.start, end + length);
        (start < end).then(|| self.part(start, end))
    }

    /// Finds one separator character by character. Sets where the search continues, or ends it.
    #[cold]
    fn search_slowly(&mut self) {
        match self.separator.find_slowly(self.text, self.next) {
            Some((at, length)) => {
                self.found = 1;
                self.base = at;
                self.length = length;
                self.next = at + length;
            }
            None => self.next = self.text.len(),
        }
    }
}

impl<'x, S: Separator> Iterator for Parts<'x, S> {
    type Item = &'x str;

    #[inline]
    fn next(&mut self) -> Option<&'x str> {
        loop {
            while self.found == 0 {
                if !self.search() {
                    let start = std::mem::replace(&mut self.start, self.text.len());
                    return (start < self.text.len()).then(|| self.part(start, self.text.len()));
                }
            }
            let mut found = self.found;
            let part = self.cut(&mut found, self.base, self.length);
            self.found = found;
            if part.is_some() {
                return part;
            }
        }
    }

    /// In a component, every iteration of a loop checks the time limit of the call. So there are few iterations: one per piece of
    /// the text, and one per two separators in it.
    #[inline]
    fn fold<B, F: FnMut(B, &'x str) -> B>(mut self, init: B, mut f: F) -> B {
        let mut folded = init;
        loop {
            let (mut found, base, length) = (self.found, self.base, self.length);
            while found != 0 {
                if let Some(part) = self.cut(&mut found, base, length) {
                    folded = f(folded, part);
                }
                if found != 0
                    && let Some(part) = self.cut(&mut found, base, length)
                {
                    folded = f(folded, part);
                }
            }
            self.found = 0;
            if !self.search() {
                break;
            }
        }
        match self.start < self.text.len() {
            true => f(folded, self.part(self.start, self.text.len())),
            false => folded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All strings of up to seven of these characters, and some long ones.
    fn texts() -> Vec<String> {
        let alphabet = ["a", " ", "\t", "ü", "\u{2003}", "\0"];
        let mut texts = vec![String::new()];
        let mut longest = texts.clone();
        for _ in 0..5 {
            longest = longest.iter().flat_map(|text| alphabet.map(|next| format!("{text}{next}"))).collect();
            texts.extend(longest.iter().cloned());
        }
        let long = |text: &String| {
            ["", "1234567", "12345678 ", " 12345678 123 \u{0b} ü"].map(|before| format!("{before}{text}{text}"))
        };
        texts.iter().flat_map(long).collect()
    }

    #[test]
    fn words_are_those_of_the_standard_library() {
        for text in texts() {
            assert!(words(&text).eq(text.split_whitespace()), "{text:?}: {:?}", words(&text).collect::<Vec<_>>());
        }
    }

    #[test]
    fn words_are_the_same_in_one_loop_also_behind_some() {
        for text in texts() {
            for skipped in 0..3 {
                let (mut rest, mut looped) = (words(&text), Vec::new());
                let before = rest.by_ref().take(skipped).count();
                rest.for_each(|word| looped.push(word));
                assert!(text.split_whitespace().skip(before).eq(looped.iter().copied()), "{text:?}: {looped:?}");
            }
        }
    }

    #[test]
    fn parts_are_those_of_the_standard_library() {
        for text in texts() {
            for separator in [b' ', b'a', b'\0', b'\x7f'] {
                let expected = text.split(separator as char).filter(|part| !part.is_empty());
                assert!(parts(&text, separator).eq(expected), "{text:?} at {separator}");
            }
        }
    }
}
