//! The records of a batch, and the requests that send them in order: each with the maximum number of records.

use arrow::array::{Array, RecordBatch};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millstream_base::ids::BatchId;
use millstream_connect::sink::encode::plain;
use millstream_rows::batch::cell::Cells;
use millstream_rows::batch::json::JsonRows;
use serde::Deserialize;
use serde_json::{Value, json};
use std::ops::Range;

/// Maximum records per request, and bytes of all of them with their keys.
const RECORDS_MAX: usize = 500;
const REQUEST_BYTES_MAX: usize = 5 << 20;
/// Maximum bytes of a record with its key.
const RECORD_BYTES_MAX: usize = 1 << 20;
/// Maximum characters of a partition key.
const KEY_CHARS_MAX: usize = 256;

/// The records of a batch.
#[derive(Default)]
pub struct Records {
    data: Vec<u8>,
    ranges: Vec<RecordRange>,
}

struct RecordRange {
    key: String,
    data: Range<usize>,
}

impl RecordRange {
    fn bytes(&self) -> usize {
        self.key.len() + self.data.len()
    }
}

impl Records {
    /// Creates the records of these rows. The error has the row that cannot be a record, if it concerns one, and why. `key`: the index of
    /// the column with partition keys.
    pub fn new(rows: &[RecordBatch], key: Option<usize>, batch: BatchId) -> Result<Records, (Option<usize>, String)> {
        let mut records = Records::default();
        for part in rows.iter().filter(|part| part.num_rows() > 0) {
            let mut objects = JsonRows::new(part).map_err(|error| (None, error.to_string()))?;
            let keys = key.and_then(|at| part.columns().get(at)).map(|array| (array, Cells::new(array)));
            let mut scratch = String::new();
            for row in 0..part.num_rows() {
                let number = records.ranges.len();
                let failed = |error: std::io::Error| (Some(number), error.to_string());
                let start = records.data.len();
                objects.write(row, &mut records.data).map_err(failed)?;
                let key = match &keys {
                    Some((array, cells)) if array.is_valid(row) => {
                        let mut bytes = Vec::new();
                        plain::write(cells, row, &mut scratch, &mut bytes).map_err(failed)?;
                        String::from_utf8_lossy(&bytes).into_owned()
                    }
                    // A unique key, so that such rows are distributed; the same when the batch is replayed.
                    _ => format!("{batch}/{number}"),
                };
                let range = RecordRange { key, data: start..records.data.len() };
                match range.key.chars().count() {
                    0 => {
                        return Err((
                            Some(number),
                            "its partition key is empty; compute one in a stage before the sink".into(),
                        ));
                    }
                    chars if chars > KEY_CHARS_MAX => {
                        let why = format!(
                            "its partition key has {chars} characters; the maximum is {KEY_CHARS_MAX}; shorten it in a stage before the sink"
                        );
                        return Err((Some(number), why));
                    }
                    _ => {}
                }
                if range.bytes() > RECORD_BYTES_MAX {
                    let why = format!(
                        "it has {} bytes with its key, but a Kinesis record has at most {RECORD_BYTES_MAX}; select \
                        fewer columns",
                        range.bytes()
                    );
                    return Err((Some(number), why));
                }
                records.ranges.push(range);
            }
        }
        Ok(records)
    }

    /// Splits the records into requests.
    pub fn requests(&self) -> Vec<Range<usize>> {
        let (mut requests, mut start, mut bytes) = (Vec::new(), 0, 0);
        for (at, range) in self.ranges.iter().enumerate() {
            if at > start && (at - start >= RECORDS_MAX || bytes + range.bytes() > REQUEST_BYTES_MAX) {
                requests.push(start..at);
                (start, bytes) = (at, 0);
            }
            bytes += range.bytes();
        }
        if start < self.ranges.len() {
            requests.push(start..self.ranges.len());
        }
        requests
    }

    /// Returns the request with some of the records.
    pub fn request_body(&self, stream: &str, which: &[usize]) -> Value {
        let record = |at: &usize| {
            let range = self.ranges.get(*at)?;
            let data = self.data.get(range.data.clone())?;
            Some(json!({ "Data": STANDARD.encode(data), "PartitionKey": range.key }))
        };
        let records: Vec<Value> = which.iter().filter_map(record).collect();
        json!({ "StreamName": stream, "Records": records })
    }
}

/// The outcome of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RecordsOutcome {
    /// The rejected records, in order.
    pub rejected: Vec<usize>,
    /// Why the first of them was rejected.
    pub why: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutRecordsResponse {
    records: Vec<RecordResult>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RecordResult {
    error_code: Option<String>,
    error_message: Option<String>,
}

/// Interprets the response to a request with these records; an error if it does not match.
pub fn outcome(response: PutRecordsResponse, records: &[usize]) -> Result<RecordsOutcome, String> {
    let (request_count, response_count) = (records.len(), response.records.len());
    if request_count != response_count {
        return Err(format!("it received {request_count} records and reported {response_count}; check the endpoint"));
    }
    let mut outcome = RecordsOutcome::default();
    for (at, record) in records.iter().zip(response.records) {
        let Some(code) = record.error_code.filter(|code| !code.is_empty()) else { continue };
        if outcome.rejected.is_empty() {
            outcome.why = format!("{code}: {}", record.error_message.unwrap_or_default());
        }
        outcome.rejected.push(*at);
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, StringArray};
    use std::sync::Arc;

    fn rows(strings: &[Option<&str>]) -> Vec<RecordBatch> {
        let column: ArrayRef = Arc::new(StringArray::from(strings.to_vec()));
        vec![RecordBatch::try_from_iter_with_nullable([("a", column, true)]).unwrap()]
    }

    #[test]
    fn rows_become_records_with_keys() {
        let rows = [rows(&[Some("x"), None]), rows(&[Some("y")])].concat();
        let records = Records::new(&rows, Some(0), BatchId(7)).ok().unwrap();
        let request_body = records.request_body("s", &[0, 1, 2]);
        let data = |text: &str| STANDARD.encode(text);
        assert_eq!(
            request_body,
            json!({ "StreamName": "s", "Records": [
                { "Data": data(r#"{"a":"x"}"#), "PartitionKey": "x" },
                { "Data": data(r#"{"a":null}"#), "PartitionKey": "7/1" },
                { "Data": data(r#"{"a":"y"}"#), "PartitionKey": "y" },
            ] })
        );
        assert_eq!(records.request_body("s", &[2])["Records"].as_array().unwrap().len(), 1);
        assert_eq!((records.requests().len(), records.requests()[0].clone()), (1, 0..3));
        assert!(Records::new(&[], None, BatchId(1)).ok().unwrap().requests().is_empty());
    }

    #[test]
    fn requests_have_bounds_and_so_have_records() {
        let many = rows(&vec![Some("x"); 1001]);
        let records = Records::new(&many, Some(0), BatchId(1)).ok().unwrap();
        assert_eq!(records.requests(), [0..500, 500..1000, 1000..1001]);
        let long = "x".repeat(RECORD_BYTES_MAX - 100);
        let records = Records::new(&rows(&[Some(&*long); 12]), None, BatchId(1)).ok().unwrap();
        assert_eq!(records.requests(), [0..5, 5..10, 10..12]);
        let longer = "x".repeat(RECORD_BYTES_MAX);
        for (text, key, expected) in [
            (&*longer, None, "select fewer columns"),
            (&longer[..257], Some(0), "257 characters"),
            ("", Some(0), "is empty"),
        ] {
            let (row, why) = Records::new(&rows(&[Some("a"), Some(text)]), key, BatchId(1)).err().unwrap();
            assert_eq!(row, Some(1));
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn records_that_are_not_taken_are_known_in_their_order() {
        let response = |text: &str| serde_json::from_str::<PutRecordsResponse>(text).unwrap();
        let taken = r#"{"SequenceNumber":"1","ShardId":"s"}"#;
        let full = r#"{"ErrorCode":"ProvisionedThroughputExceededException","ErrorMessage":"slow"}"#;
        let text = format!("{{\"FailedRecordCount\":2,\"Records\":[{full},{taken},{full}]}}");
        let found = outcome(response(&text), &[4, 5, 9]).unwrap();
        assert_eq!(
            found,
            RecordsOutcome { rejected: vec![4, 9], why: "ProvisionedThroughputExceededException: slow".into() }
        );
        assert!(outcome(response(&text), &[4]).is_err());
        assert_eq!(outcome(response(&format!("{{\"Records\":[{taken}]}}")), &[0]), Ok(RecordsOutcome::default()));
    }
}
