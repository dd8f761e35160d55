//! Documents that rows share by a key. Only the last row of each key in a batch is sent. So the order in which the server accepts rows does not
//! matter, even if some are sent again.

use super::settings::KeyedDocuments;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Schema;
use millstream_connect::sink::encode::plain;
use millstream_rows::batch::cell::Cells;
use millstream_rows::batch::op::Op;
use millstream_rows::batch::types::{ColumnType, describe};
use std::collections::HashMap;

/// The document of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its `_id`.
    pub id: String,
    /// Whether it is deleted instead of written.
    pub deleted: bool,
}

/// The documents of the rows of a batch; `None` for a row whose document a later row has.
pub type Documents = Vec<Option<Document>>;

/// Checks that the configured columns exist and have suitable types. An error is the key and the reason.
pub fn check(documents: &KeyedDocuments, schema: &Schema) -> Result<(), (&'static str, String)> {
    let column = |key: &'static str, name: &str| {
        let missing =
            || (key, format!("`{key}` names `{name}`, and the rows have {}; write one of these", describe(schema)));
        let index = schema.index_of(name).map_err(|_| missing())?;
        Ok(ColumnType::from_arrow(schema.field(index).data_type()))
    };
    match column("key", &documents.key)? {
        ColumnType::Binary => {
            return Err(("key", "`key` names a column of bytes, and an `_id` is text; write another column".into()));
        }
        kind if !kind.is_scalar() => {
            return Err(("key", format!("`key` names a column of type {kind}, and an `_id` is text or a plain value")));
        }
        _ => {}
    }
    match documents.op.as_ref().map(|op| column("op", op)).transpose()? {
        None | Some(ColumnType::Text) => Ok(()),
        Some(kind) => Err((
            "op",
            format!(
                "`op` names a column of type {kind}, and it must be text, for example \"insert\" or \
                \"delete\""
            ),
        )),
    }
}

/// Returns the documents of the rows of a batch. An error names the row, counted from 1.
pub fn of_rows(parts: &[RecordBatch], documents: &KeyedDocuments) -> Result<Documents, String> {
    let mut found: Documents = Vec::new();
    let mut last: HashMap<String, usize> = HashMap::new();
    for part in parts {
        let column = |name: &str| part.column_by_name(name).ok_or_else(|| format!("column `{name}` not found"));
        let keys = column(&documents.key)?;
        let cells = Cells::new(keys);
        let ops = documents.op.as_ref().map(|op| column(op)).transpose()?;
        let ops = ops.and_then(|ops| ops.as_string_opt::<i32>());
        let mut scratch = String::new();
        for row in 0..part.num_rows() {
            let number = found.len();
            let wrong = |why: String| format!("row {}: {why}", number + 1);
            let op = Op::of_row(ops, row).map_err(wrong)?;
            if op == Op::Truncate {
                return Err(wrong(
                    "its `op` is `truncate`, but a row cannot empty an index; drop such rows with a `filter`, and \
                    empty the index manually"
                        .into(),
                ));
            }
            if keys.is_null(row) {
                return Err(wrong(format!("its `{}` is null, but it names the document", documents.key)));
            }
            let mut id = Vec::new();
            plain::write(&cells, row, &mut scratch, &mut id).map_err(|error| wrong(error.to_string()))?;
            let id = String::from_utf8_lossy(&id).into_owned();
            if let Some(before) = last.insert(id.clone(), number).and_then(|before| found.get_mut(before)) {
                *before = None;
            }
            found.push(Some(Document { id, deleted: op == Op::Delete }));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use std::sync::Arc;

    fn rows(keys: &[Option<i64>], does: &[Option<&str>]) -> RecordBatch {
        let (keys, does): (ArrayRef, ArrayRef) =
            (Arc::new(Int64Array::from(keys.to_vec())), Arc::new(StringArray::from(does.to_vec())));
        RecordBatch::try_from_iter_with_nullable([("k", keys, true), ("op", does, true)]).unwrap()
    }

    #[test]
    fn of_a_key_the_last_row_of_a_batch_is_the_document() {
        let documents = KeyedDocuments { key: "k".into(), op: Some("op".into()) };
        let first = rows(&[Some(1), Some(2), Some(1)], &[Some("insert"), Some("insert"), Some("update")]);
        let found = of_rows(&[first, rows(&[Some(2)], &[Some("delete")])], &documents).unwrap();
        let document = |id: &str, deleted| Some(Document { id: id.into(), deleted });
        assert_eq!(found, [None, None, document("1", false), document("2", true)]);
        for (key, op, expected) in [
            (None, Some("insert"), "row 2: its `k` is null"),
            (Some(1), Some("truncate"), "row 2: its `op` is `truncate`"),
            (Some(1), Some("drop"), "row 2: its `op` is `drop`"),
            (Some(1), None, "row 2: its `op` is null"),
        ] {
            let rows = rows(&[Some(7), key], &[Some("upsert"), op]);
            assert!(of_rows(&[rows], &documents).unwrap_err().starts_with(expected), "{expected}");
        }
    }

    #[test]
    fn columns_that_cannot_be_a_key_are_refused() {
        let schema = rows(&[], &[]).schema();
        let wrong = |key: &str, op: Option<&str>| {
            check(&KeyedDocuments { key: key.into(), op: op.map(Into::into) }, &schema).map_err(|(key, _)| key)
        };
        assert_eq!(wrong("k", Some("op")), Ok(()));
        assert_eq!((wrong("no", None), wrong("k", Some("k"))), (Err("key"), Err("op")));
    }
}
