//! The read position of a shard, as the plan keeps it.

use std::fmt::Write as _;

/// The position at which a shard resumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KinesisPosition {
    /// When the stream was created, in seconds since 1970: another stream may have the same name.
    pub created_s: i64,
    /// The time from which on the job reads the stream, in milliseconds since 1970; `None`: from the oldest records on.
    pub from_ms: Option<i64>,
    /// All records up to this time are read, in milliseconds since 1970.
    pub until_ms: i64,
    /// The last of them.
    pub read: LastRead,
}

/// The last record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastRead {
    /// None yet.
    Nothing,
    /// This many of the records aggregated in the record with this sequence number.
    Part(String, u32),
    /// The record with this sequence number.
    Complete(String),
    /// The last one that the shard will ever have.
    All,
}

impl KinesisPosition {
    /// Decodes a position; `None` if it is invalid.
    pub fn parse(position: &[u8]) -> Option<KinesisPosition> {
        let fields: Vec<&str> = std::str::from_utf8(position).ok()?.split(' ').collect();
        let [created, from, until, read @ ..] = fields.as_slice() else { return None };
        let read = match read {
            ["nothing"] => LastRead::Nothing,
            ["all"] => LastRead::All,
            [sequence] if is_sequence(sequence) => LastRead::Complete((*sequence).to_owned()),
            [sequence, taken] if is_sequence(sequence) => LastRead::Part((*sequence).to_owned(), taken.parse().ok()?),
            _ => return None,
        };
        let from_ms = if *from == "-" { None } else { Some(from.parse().ok()?) };
        Some(KinesisPosition { created_s: created.parse().ok()?, from_ms, until_ms: until.parse().ok()?, read })
    }

    /// Encodes the position.
    pub fn encode(&self) -> Vec<u8> {
        let from = self.from_ms.map_or("-".to_owned(), |from| from.to_string());
        let mut text = format!("{} {from} {} ", self.created_s, self.until_ms);
        // Writing to memory cannot fail.
        let _ = match &self.read {
            LastRead::Nothing => write!(text, "nothing"),
            LastRead::All => write!(text, "all"),
            LastRead::Complete(sequence) => write!(text, "{sequence}"),
            LastRead::Part(sequence, taken) => write!(text, "{sequence} {taken}"),
        };
        text.into_bytes()
    }
}

/// Whether a string is a sequence number.
pub fn is_sequence(text: &str) -> bool {
    (1..=129).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_were_written() {
        let sequence = "49680468292701229855230588377612303000583128053184462850".to_owned();
        for read in
            [LastRead::Nothing, LastRead::All, LastRead::Complete(sequence.clone()), LastRead::Part(sequence, 7)]
        {
            for from_ms in [None, Some(-5)] {
                let expected = KinesisPosition { created_s: 1_795_374_379, from_ms, until_ms: 9, read: read.clone() };
                assert_eq!(KinesisPosition::parse(&expected.encode()), Some(expected));
            }
        }
        for other in [&b""[..], b"1 - 2", b"1 - 2 x", b"1 - 2 3 x", b"1 2 3 4 5 6", b"x - 2 all", b"\xff"] {
            assert_eq!(KinesisPosition::parse(other), None, "{other:?}");
        }
    }
}
