//! The marker of a sink in a stream: the last complete batch, and how much of the next one is stored.

use crate::nats::{ApiError, Connection, Fault};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millstream_base::ids::BatchId;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

/// A marker and its sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// Sequence of the marker in the stream; 0 if there is no marker.
    #[serde(skip)]
    pub sequence: u64,
    /// Generation of the start that wrote the marker.
    pub generation: u64,
    /// The last complete batch; 0 if there is none.
    pub batch: u64,
    /// The stored part of the next batch.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub part: Option<Part>,
}

/// The first rows of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub batch: u64,
    pub rows: usize,
    /// Digest of all rows of the batch, including those not yet stored.
    pub digest: String,
}

impl Part {
    /// Whether these are the first rows of `batch`. Earlier versions wrote some parts without a digest.
    pub fn is_start_of(&self, batch: BatchId, rows: usize, digest: &str) -> bool {
        self.batch == batch.0 && self.rows < rows && (self.digest.is_empty() || self.digest == digest)
    }
}

impl Marker {
    /// Reads the marker from a stream.
    pub fn read(connection: &mut Connection, stream: &str, subject: &str) -> Result<Marker, Fault> {
        let response =
            connection.request(&format!("$JS.API.STREAM.MSG.GET.{stream}"), &json!({ "last_by_subj": subject }))?;
        let found = match response {
            Ok(found) => found,
            Err(error) if matches!(error.err_code, ApiError::NO_MESSAGE | ApiError::NO_STREAM) => {
                return Ok(Marker::default());
            }
            Err(error) => return Err(error.to_fault()),
        };
        let invalid =
            || Fault::Permanent(format!("the last message of `{subject}` is not a marker of a job; delete it there"));
        let sequence = found.pointer("/message/seq").and_then(Json::as_u64).ok_or_else(invalid)?;
        let data = found.pointer("/message/data").and_then(Json::as_str).unwrap_or_default();
        let marker: Option<Marker> = STANDARD.decode(data).ok().and_then(|data| serde_json::from_slice(&data).ok());
        Ok(Marker { sequence, ..marker.ok_or_else(invalid)? })
    }

    /// The last complete batch.
    pub fn committed_batch(&self) -> Option<BatchId> {
        Some(BatchId(self.batch)).filter(|batch| batch.0 > 0)
    }

    /// Payload of the marker's message.
    pub fn to_json(&self) -> Vec<u8> {
        json!(self).to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_round_trip() {
        for part in [None, Some(Part { batch: 8, rows: 999, digest: "00".into() })] {
            let marker = Marker { sequence: 0, generation: 3, batch: 7, part };
            assert_eq!(serde_json::from_slice::<Marker>(&marker.to_json()).unwrap(), marker);
        }
    }

    #[test]
    fn a_part_is_the_start_of_one_batch() {
        let part = |digest: &str| Part { batch: 8, rows: 999, digest: digest.into() };
        assert!(part("0a").is_start_of(BatchId(8), 1000, "0a"));
        assert!(part("").is_start_of(BatchId(8), 1000, "0a"));
        assert!(!part("0b").is_start_of(BatchId(8), 1000, "0a"));
        assert!(!part("0a").is_start_of(BatchId(9), 1000, "0a"));
        assert!(!part("0a").is_start_of(BatchId(8), 999, "0a"));
    }
}
