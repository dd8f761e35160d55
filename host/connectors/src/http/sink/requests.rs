//! Splits a batch into requests with its rows as JSON lines. The same rows always make the same requests.

use super::documents::{Document, Documents};
use super::settings::HttpBody;
use arrow::array::RecordBatch;
use bytes::Bytes;
use millstream_base::digest::checksum;
use millstream_rows::batch::json::JsonRows;
use serde_json::json;
use std::io;

/// Rows of one request.
#[derive(Default)]
pub struct RequestRows {
    /// Number of the request in the batch, from 0.
    pub number: u64,
    /// Rows as JSON, concatenated.
    json: Vec<u8>,
    rows: Vec<RequestRow>,
}

struct RequestRow {
    /// Number of the row in the batch, from 0.
    number: u64,
    /// Where its JSON ends.
    end: usize,
    /// Its document, if rows share documents.
    document: Option<Document>,
}

impl RequestRows {
    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Returns a digest of the contents of these rows.
    pub fn digest(&self, rows: &[usize]) -> String {
        if rows.len() == self.rows() {
            return checksum(&self.json);
        }
        checksum(&rows.iter().flat_map(|row| self.row(*row)).copied().collect::<Vec<u8>>())
    }

    /// Returns how many rows of the batch there are up to the last one of this request.
    pub fn end(&self) -> u64 {
        self.rows.last().map_or(0, |row| row.number + 1)
    }

    /// Returns the number of a row in the batch, from 0.
    pub fn number_of(&self, row: usize) -> u64 {
        self.rows.get(row).map_or(0, |row| row.number)
    }

    /// Returns a row as JSON.
    pub fn row(&self, row: usize) -> &[u8] {
        let end = |row: usize| self.rows.get(row).map(|row| row.end);
        let start = row.checked_sub(1).and_then(end).unwrap_or(0);
        self.json.get(start..end(row).unwrap_or(start)).unwrap_or_default()
    }

    /// Returns the body of a request with these rows. `id` returns the ID of a row of the batch.
    pub fn body(&self, rows: &[usize], form: &HttpBody, id: impl Fn(u64) -> String) -> Bytes {
        let mut body = Vec::with_capacity(
            self.json.len() + 128 * if matches!(form, HttpBody::Bulk { .. }) { rows.len() } else { 1 },
        );
        for (position, row) in rows.iter().enumerate() {
            match form {
                HttpBody::Lines => {}
                HttpBody::Array => body.push(if position == 0 { b'[' } else { b',' }),
                HttpBody::Bulk { index, .. } => {
                    let document = self.rows.get(*row).and_then(|row| row.document.as_ref());
                    let id = document.map_or_else(|| id(self.number_of(*row)), |document| document.id.clone());
                    let mut action = json!({ "_id": id });
                    if let Some(index) = index {
                        action["_index"] = json!(index);
                    }
                    let deleted = document.is_some_and(|document| document.deleted);
                    let action_line = if deleted { json!({ "delete": action }) } else { json!({ "index": action }) };
                    body.extend_from_slice(action_line.to_string().as_bytes());
                    body.push(b'\n');
                    if deleted {
                        continue;
                    }
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

/// Passes the rows of a batch to `send`, at most `rows_max` and about `bytes_max` at a time, but at least one. If rows share documents, `documents`
/// holds them, and rows without a document are omitted.
pub fn each<E>(
    parts: &[RecordBatch],
    documents: Option<Documents>,
    (rows_max, bytes_max): (usize, usize),
    mut send: impl FnMut(RequestRows) -> Result<(), E>,
) -> Result<(), E>
where
    E: From<io::Error>,
{
    let mut next = RequestRows::default();
    let mut number = 0;
    let keyed = documents.is_some();
    let mut documents = documents.into_iter().flatten();
    for part in parts {
        let mut encoder = JsonRows::new(part)?;
        for row in 0..part.num_rows() {
            let document = documents.next().flatten();
            number += 1;
            if keyed && document.is_none() {
                continue;
            }
            let row_start = next.json.len();
            encoder.write(row, &mut next.json)?;
            if !next.rows.is_empty() && (next.rows.len() >= rows_max || next.json.len() + next.rows.len() >= bytes_max)
            {
                let json = next.json.split_off(row_start);
                let rest = RequestRows { number: next.number + 1, json, rows: Vec::new() };
                send(std::mem::replace(&mut next, rest))?;
            }
            next.rows.push(RequestRow { number: number - 1, end: next.json.len(), document });
        }
    }
    if next.rows.is_empty() { Ok(()) } else { send(next) }
}

/// Returns the indices of all rows of a request.
pub fn all(request: &RequestRows) -> Vec<usize> {
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
        each(&parts, None, (rows_max, bytes_max), |request| {
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
        let form = HttpBody::Bulk { index: Some("i\"".into()), documents: None };
        let found = bodies(&[&[7, 8], &[9]], 2, 1000, &form);
        assert_eq!(
            found,
            [
                "{\"index\":{\"_id\":\"r0\",\"_index\":\"i\\\"\"}}\n{\"a\":7}\n{\"index\":{\"_id\":\"r1\",\"_index\":\"i\\\"\"}}\n{\"a\":8}\n",
                "{\"index\":{\"_id\":\"r2\",\"_index\":\"i\\\"\"}}\n{\"a\":9}\n",
            ]
        );
    }

    #[test]
    fn rows_of_a_key_are_one_document() {
        let document = |id: &str, deleted| Some(Document { id: id.into(), deleted });
        let column: arrow::array::ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4]));
        let part = RecordBatch::try_from_iter([("a", column)]).unwrap();
        let form = HttpBody::Bulk { index: None, documents: None };
        let documents = vec![None, document("x", true), None, document("y", false)];
        let mut found = Vec::new();
        each(&[part], Some(documents), (100, 1000), |request| {
            found.push(String::from_utf8(request.body(&all(&request), &form, |_| String::new()).to_vec()).unwrap());
            assert_eq!((request.number_of(0), request.number_of(1)), (1, 3));
            Ok::<(), io::Error>(())
        })
        .unwrap();
        assert_eq!(found, ["{\"delete\":{\"_id\":\"x\"}}\n{\"index\":{\"_id\":\"y\"}}\n{\"a\":4}\n"]);
    }
}
