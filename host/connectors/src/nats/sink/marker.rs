//! The marker of a sink in a stream: which batch is there as a whole, and how much of the next.

use crate::nats::{ApiError, Connection, Fault};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millstream_base::ids::BatchId;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

/// A marker, and where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// Its sequence in the stream; zero: there is none.
    #[serde(skip)]
    pub sequence: u64,
    /// The start that wrote it.
    pub generation: u64,
    /// The last batch that is there as a whole; zero: none.
    pub batch: u64,
    /// What is there of the next one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub part: Option<Part>,
}

/// The first rows of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub batch: u64,
    pub rows: usize,
    /// Of all rows of the batch, also those that are not there.
    pub digest: String,
}

impl Part {
    /// Whether it is the beginning of this batch, of so many rows with this digest. Earlier versions wrote some parts without a digest.
    pub fn is_of(&self, batch: BatchId, rows: usize, digest: &str) -> bool {
        self.batch == batch.0 && self.rows < rows && (self.digest.is_empty() || self.digest == digest)
    }
}

impl Marker {
    /// The one that a stream has.
    pub fn read(connection: &mut Connection, stream: &str, subject: &str) -> Result<Marker, Fault> {
        let asked = connection.ask(&format!("$JS.API.STREAM.MSG.GET.{stream}"), &json!({ "last_by_subj": subject }))?;
        let told = match asked {
            Ok(told) => told,
            Err(error) if matches!(error.err_code, ApiError::NO_MESSAGE | ApiError::NO_STREAM) => {
                return Ok(Marker::default());
            }
            Err(error) => return Err(error.fault()),
        };
        let wrong =
            || Fault::Lasting(format!("the last message of `{subject}` is not a marker of a job; delete it there"));
        let sequence = told.pointer("/message/seq").and_then(Json::as_u64).ok_or_else(wrong)?;
        let data = told.pointer("/message/data").and_then(Json::as_str).unwrap_or_default();
        let marker: Option<Marker> = STANDARD.decode(data).ok().and_then(|data| serde_json::from_slice(&data).ok());
        Ok(Marker { sequence, ..marker.ok_or_else(wrong)? })
    }

    /// The last batch that is there as a whole.
    pub fn batch(&self) -> Option<BatchId> {
        Some(BatchId(self.batch)).filter(|batch| batch.0 > 0)
    }

    /// What is written.
    pub fn written(&self) -> Vec<u8> {
        json!(self).to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_read_as_they_were_written() {
        for part in [None, Some(Part { batch: 8, rows: 999, digest: "00".into() })] {
            let marker = Marker { sequence: 0, generation: 3, batch: 7, part };
            assert_eq!(serde_json::from_slice::<Marker>(&marker.written()).unwrap(), marker);
        }
    }

    #[test]
    fn a_part_is_the_beginning_of_one_batch() {
        let part = |digest: &str| Part { batch: 8, rows: 999, digest: digest.into() };
        assert!(part("0a").is_of(BatchId(8), 1000, "0a"));
        assert!(part("").is_of(BatchId(8), 1000, "0a"));
        assert!(!part("0b").is_of(BatchId(8), 1000, "0a"));
        assert!(!part("0a").is_of(BatchId(9), 1000, "0a"));
        assert!(!part("0a").is_of(BatchId(8), 999, "0a"));
    }
}
