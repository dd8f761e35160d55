//! Byte order marks at the beginning of a stream of text.

/// That of UTF-8, which is no part of the first record.
pub const UTF_8: &[u8] = b"\xEF\xBB\xBF";
/// Those of encodings that are not read.
const OTHERS: [&[u8]; 3] = [b"\xFF\xFE", b"\xFE\xFF", b"\0\0\xFE\xFF"];

/// Why text that begins with one of these is not read.
pub const OTHER_ENCODING: &str = "the text is UTF-16 or UTF-32, as its first bytes show, and only UTF-8 is read; convert it, for example \
                                  with `iconv -f UTF-16 -t UTF-8`";

/// How a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Without a mark.
    None,
    /// With the one of UTF-8.
    Utf8,
    /// With one of UTF-16 or UTF-32.
    Other(&'static [u8]),
}

impl Mark {
    /// By the first bytes; `None`: too few are here. `last`: no more come.
    pub fn of(begin: &[u8], last: bool) -> Option<Mark> {
        if begin.starts_with(UTF_8) {
            return Some(Mark::Utf8);
        }
        if let Some(mark) = OTHERS.into_iter().find(|mark| begin.starts_with(mark)) {
            return Some(Mark::Other(mark));
        }
        let may_become = |mark: &[u8]| mark.starts_with(begin);
        let open = !last && (may_become(UTF_8) || OTHERS.into_iter().any(may_become));
        (!open).then_some(Mark::None)
    }

    /// How many bytes of the stream it takes before the first record.
    pub fn bytes(self) -> usize {
        match self {
            Mark::None => 0,
            Mark::Utf8 => UTF_8.len(),
            Mark::Other(mark) => mark.len(),
        }
    }
}

/// Whether text begins with the mark of an encoding that is not read.
pub fn is_other(begin: &[u8]) -> bool {
    OTHERS.into_iter().any(|mark| begin.starts_with(mark))
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
            assert_eq!(Mark::of(begin, last), mark, "{begin:?}");
        }
    }
}
