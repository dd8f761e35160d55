//! What delimits a record in a chunk.

use crate::batch::chunk::FRAME_PREFIX_BYTES;
use crate::batch::envelope;

/// What delimits a record in a chunk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delimiter {
    /// `
    /// ` or `\r
    /// ` after it.
    Line,
    /// The same, or `\r` alone.
    CsvLine,
    /// Four bytes of length before it.
    Prefix,
    /// The envelope of a topic's record before it.
    Envelope,
    /// Its length before it, as a varint.
    Varint,
    None,
}

impl Delimiter {
    #[inline]
    pub fn strip(self, record: &[u8]) -> &[u8] {
        match (self, record) {
            (Delimiter::Line | Delimiter::CsvLine, [text @ .., b'\r', b'\n'] | [text @ .., b'\n'])
            | (Delimiter::CsvLine, [text @ .., b'\r']) => text,
            (Delimiter::Prefix, record) => record.get(FRAME_PREFIX_BYTES..).unwrap_or_default(),
            (Delimiter::Envelope, record) => record.get(envelope::value_start(record)..).unwrap_or_default(),
            (Delimiter::Varint, record) => {
                let prefix = record.iter().position(|byte| byte & 0x80 == 0).map_or(record.len(), |last| last + 1);
                record.get(prefix..).unwrap_or_default()
            }
            (_, record) => record,
        }
    }

    /// Returns whether records are lines; otherwise each is a string of its own.
    pub fn is_line(self) -> bool {
        matches!(self, Delimiter::Line | Delimiter::CsvLine)
    }
}
