//! Byte order marks at the beginning of a stream of text.

/// The mark of UTF-8, which is not part of the first record.
pub const UTF_8: &[u8] = b"\xEF\xBB\xBF";
/// The marks of unsupported encodings.
const UNSUPPORTED: [&[u8]; 3] = [b"\xFF\xFE", b"\xFE\xFF", b"\0\0\xFE\xFF"];

/// Why text with one of these marks is rejected.
pub const OTHER_ENCODING: &str = "the text is UTF-16 or UTF-32, as its first bytes show, and only UTF-8 is read; convert it, for example \
                                  with `iconv -f UTF-16 -t UTF-8`";

/// The mark at the beginning of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// No mark.
    None,
    /// The mark of UTF-8.
    Utf8,
    /// A mark of UTF-16 or UTF-32.
    Other(&'static [u8]),
}

impl Mark {
    /// Reads the mark from the first bytes; `None` if there are too few. `last`: no more bytes come.
    pub fn read(begin: &[u8], last: bool) -> Option<Mark> {
        if begin.starts_with(UTF_8) {
            return Some(Mark::Utf8);
        }
        if let Some(mark) = UNSUPPORTED.into_iter().find(|mark| begin.starts_with(mark)) {
            return Some(Mark::Other(mark));
        }
        let may_become = |mark: &[u8]| mark.starts_with(begin);
        let open = !last && (may_become(UTF_8) || UNSUPPORTED.into_iter().any(may_become));
        (!open).then_some(Mark::None)
    }

    /// Returns the size of the mark, which precedes the first record.
    pub fn bytes(self) -> usize {
        match self {
            Mark::None => 0,
            Mark::Utf8 => UTF_8.len(),
            Mark::Other(mark) => mark.len(),
        }
    }
}

/// Returns whether text begins with the mark of an unsupported encoding.
pub fn is_other(begin: &[u8]) -> bool {
    UNSUPPORTED.into_iter().any(|mark| begin.starts_with(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_known_once_its_bytes_are_here() {
        for (begin, last, mark) in [
            (&b""[..], false, None),
            (b"", true, Some(Mark::None)),
            (b"\xEF\xBB", false, None),
            (b"\xEF\xBB", true, Some(Mark::None)),
            (b"\xEF\xBBx", false, Some(Mark::None)),
            (b"\xEF\xBB\xBF", false, Some(Mark::Utf8)),
            (b"\xFF", false, None),
            (b"\xFF\xFEa\0", false, Some(Mark::Other(b"\xFF\xFE"))),
            (b"\xFE\xFF\0a", false, Some(Mark::Other(b"\xFE\xFF"))),
            (b"\0\0\xFE", false, None),
            (b"\0\0\xFE\xFF", false, Some(Mark::Other(b"\0\0\xFE\xFF"))),
            (b"{", false, Some(Mark::None)),
        ] {
            assert_eq!(Mark::read(begin, last), mark, "{begin:?}");
        }
    }
}
