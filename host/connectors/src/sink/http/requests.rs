//! The requests of a batch: its rows as JSON lines, cut so that the same rows make the same requests each time.

use crate::batch::json::JsonRows;
use crate::job::spec::HttpBody;
use arrow::array::RecordBatch;
use bytes::Bytes;
use serde_json::json;
use std::io;

/// Some rows of a batch.
pub struct RowsOfRequest {
    /// Which request of the batch, from 0.
    pub number: u64,
    /// Which row of the batch is the first, from 0.
    pub first_row: u64,
    /// Rows as JSON, without anything between them.
    json: Vec<u8>,
    ends: Vec<usize>,
}

impl RowsOfRequest {
    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.ends.len()
    }

    /// A row as JSON.
    pub fn row(&self, row: usize) -> &[u8] {
        let start = row.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = self.ends.get(row).copied().unwrap_or(start);
        self.json.get(start..end).unwrap_or_default()
    }

    /// The body of a request with these of the rows. `id`: what names a row of the batch.
    pub fn body(&self, rows: &[usize], form: &HttpBody, id: impl Fn(u64) -> String) -> Bytes {
        let mut body = Vec::with_capacity(
            self.json.len() + 128 * if matches!(form, HttpBody::Bulk { .. }) { rows.len() } else { 1 },
        );
        for (place, row) in rows.iter().enumerate() {
            match form {
                HttpBody::Lines => {}
                HttpBody::Array => body.push(if place == 0 { b'[' } else { b',' }),
                HttpBody::Bulk { index } => {
                    let mut action = json!({ "_id": id(self.first_row + *row as u64) });
                    if let Some(index) = index {
                        action["_index"] = json!(index);
                    }
                    body.extend_from_slice(json!({ "index": action }).to_string().as_bytes());
                    body.push(b'\n');
                }
            }
            body.extend_from_slice(self.row(*row));
            if !matches!(form, HttpBody::Array) {
                body.push(b'\n');
            }
        }
        if matches!(form, HttpBody::Array) {
            body.push(b']');
        }
        body.into()
    }
}

/// Hands the rows of a batch to `send`, at most so many rows and bytes at a time, but at least one.
pub fn each<E>(
    parts: &[RecordBatch],
    rows_max: usize,
    bytes_max: usize,
    mut send: impl FnMut(RowsOfRequest) -> Result<(), E>,
) -> Result<(), E>
where
    E: From<io::Error>,
{
    let mut next = RowsOfRequest { number: 0, first_row: 0, json: Vec::new(), ends: Vec::new() };
    for part in parts {
        let mut encoder = JsonRows::new(part)?;
        for row in 0..part.num_rows() {
            let begin = next.json.len();
            encoder.write(row, &mut next.json)?;
            if !next.ends.is_empty() && (next.ends.len() >= rows_max || next.json.len() + next.ends.len() >= bytes_max)
            {
                let json = next.json.split_off(begin);
                let behind = behind(&next, json);
                send(std::mem::replace(&mut next, behind))?;
            }
            next.ends.push(next.json.len());
        }
    }
    if next.ends.is_empty() { Ok(()) } else { send(next) }
}

fn behind(before: &RowsOfRequest, json: Vec<u8>) -> RowsOfRequest {
    let rows = before.ends.len() as u64;
    RowsOfRequest { number: before.number + 1, first_row: before.first_row + rows, json, ends: Vec::new() }
}

/// All rows of a request.
pub fn all(request: &RowsOfRequest) -> Vec<usize> {
    (0..request.rows()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;
    use std::sync::Arc;

    fn bodies(numbers: &[&[i64]], rows_max: usize, bytes_max: usize, form: &HttpBody) -> Vec<String> {
        let part = |numbers: &&[i64]| {
            let column: arrow::array::ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
            RecordBatch::try_from_iter([("a", column)]).unwrap()
        };
        let parts: Vec<_> = numbers.iter().map(part).collect();
        let mut bodies = Vec::new();
        each(&parts, rows_max, bytes_max, |request| {
            assert_eq!(request.number as usize, bodies.len());
            let body = request.body(&all(&request), form, |row| format!("r{row}"));
            bodies.push(String::from_utf8(body.to_vec()).unwrap());
            Ok::<(), io::Error>(())
        })
        .unwrap();
        bodies
    }

    #[test]
    fn rows_are_cut_into_requests_by_their_number_and_their_bytes() {
        let all = [&[1, 2, 3][..], &[], &[4, 5]];
        assert_eq!(bodies(&all, 100, 1000, &HttpBody::Array), ["[{\"a\":1},{\"a\":2},{\"a\":3},{\"a\":4},{\"a\":5}]"]);
        assert_eq!(
            bodies(&all, 2, 1000, &HttpBody::Array),
            ["[{\"a\":1},{\"a\":2}]", "[{\"a\":3},{\"a\":4}]", "[{\"a\":5}]"]
        );
        assert_eq!(bodies(&all, 100, 1, &HttpBody::Lines).len(), 5, "one row at least");
        assert_eq!(
            bodies(&all, 100, 16, &HttpBody::Lines),
            ["{\"a\":1}\n{\"a\":2}\n", "{\"a\":3}\n{\"a\":4}\n", "{\"a\":5}\n"]
        );
        assert_eq!(bodies(&[&[]], 1, 1, &HttpBody::Array), [""; 0]);
    }

    #[test]
    fn each_row_of_a_bulk_has_an_id_of_its_own() {
        let form = HttpBody::Bulk { index: Some("i\"".into()) };
        let found = bodies(&[&[7, 8], &[9]], 2, 1000, &form);
        assert_eq!(
            found,
            [
                "{\"index\":{\"_id\":\"r0\",\"_index\":\"i\\\"\"}}\n{\"a\":7}\n{\"index\":{\"_id\":\"r1\",\"_index\":\"i\\\"\"}}\n{\"a\":8}\n",
                "{\"index\":{\"_id\":\"r2\",\"_index\":\"i\\\"\"}}\n{\"a\":9}\n",
            ]
        );
    }
}
