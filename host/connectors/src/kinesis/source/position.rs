//! How far a shard was read, as the plan keeps it.

use std::fmt::Write as _;

/// Where a shard goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KinesisPosition {
    /// When the stream was made, in seconds since 1970: another stream may have its name.
    pub made_s: i64,
    /// From which time on the job reads the stream, in milliseconds since 1970; `None`: from the oldest records on.
    pub from_ms: Option<i64>,
    /// All records that came up to this time are read, in milliseconds since 1970.
    pub until_ms: i64,
    /// The last of them.
    pub read: LastRead,
}

/// The last record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastRead {
    /// There was none yet.
    Nothing,
    /// Of the record with this sequence number so many of those that are packed in it.
    Part(String, u32),
    /// The record with this sequence number.
    Whole(String),
    /// The last one that the shard will ever have.
    All,
}

impl KinesisPosition {
    /// Of the bytes of a position; `None`: they are none.
    pub fn parse(position: &[u8]) -> Option<KinesisPosition> {
        let words: Vec<&str> = std::str::from_utf8(position).ok()?.split(' ').collect();
        let [made, from, until, read @ ..] = words.as_slice() else { return None };
        let read = match read {
            ["nothing"] => LastRead::Nothing,
            ["all"] => LastRead::All,
            [sequence] if is_sequence(sequence) => LastRead::Whole((*sequence).to_owned()),
            [sequence, taken] if is_sequence(sequence) => LastRead::Part((*sequence).to_owned(), taken.parse().ok()?),
            _ => return None,
        };
        let from_ms = if *from == "-" { None } else { Some(from.parse().ok()?) };
        Some(KinesisPosition { made_s: made.parse().ok()?, from_ms, until_ms: until.parse().ok()?, read })
    }

    /// The bytes of a position.
    pub fn written(&self) -> Vec<u8> {
        let from = self.from_ms.map_or("-".to_owned(), |from| from.to_string());
        let mut text = format!("{} {from} {} ", self.made_s, self.until_ms);
        // Nothing can go wrong where text is written into memory.
        let _ = match &self.read {
            LastRead::Nothing => write!(text, "nothing"),
            LastRead::All => write!(text, "all"),
            LastRead::Whole(sequence) => write!(text, "{sequence}"),
            LastRead::Part(sequence, taken) => write!(text, "{sequence} {taken}"),
        };
        text.into_bytes()
    }
}

/// Whether it is a sequence number.
pub fn is_sequence(text: &str) -> bool {
    (1..=129).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_were_written() {
        let sequence = "49680468292701229855230588377612303000583128053184462850".to_owned();
        for read in [LastRead::Nothing, LastRead::All, LastRead::Whole(sequence.clone()), LastRead::Part(sequence, 7)] {
            for from_ms in [None, Some(-5)] {
                let place = KinesisPosition { made_s: 1_795_374_379, from_ms, until_ms: 9, read: read.clone() };
                assert_eq!(KinesisPosition::parse(&place.written()), Some(place));
            }
        }
        for other in [&b""[..], b"1 - 2", b"1 - 2 x", b"1 - 2 3 x", b"1 2 3 4 5 6", b"x - 2 all", b"\xff"] {
            assert_eq!(KinesisPosition::parse(other), None, "{other:?}");
        }
    }
}
