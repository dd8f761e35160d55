//! Rows that are bytes already: what a sink writes of each was made on the worker that had it, and whoever commits copies it.
//! They travel as other rows do, a row for each, so that they are ordered, counted and exchanged like them.

use arrow::array::{ArrayRef, AsArray, LargeBinaryArray, LargeBinaryBuilder, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;

/// In the metadata of their schema: what the bytes are. Rows of stages have no metadata there.
const FORM: &str = "millstream.encoded";

/// What the bytes of a row are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodedForm {
    /// A JSON object.
    Json,
    /// A line of CSV without its end.
    Csv,
    /// Key and value of a record, each of which may be null.
    Record,
}

impl EncodedForm {
    fn name(self) -> &'static str {
        match self {
            EncodedForm::Json => "json",
            EncodedForm::Csv => "csv",
            EncodedForm::Record => "record",
        }
    }
}

/// Makes rows of what was made of each.
pub fn encoded(form: EncodedForm, columns: Vec<LargeBinaryArray>) -> io::Result<RecordBatch> {
    let fields = (0..columns.len()).map(|at| Field::new(at.to_string(), DataType::LargeBinary, true));
    let metadata = HashMap::from([(FORM.to_owned(), form.name().to_owned())]);
    let schema = Schema::new_with_metadata(fields.collect::<Vec<_>>(), metadata);
    let rows = columns.first().map(arrow::array::Array::len);
    let columns = columns.into_iter().map(|column| Arc::new(column) as ArrayRef).collect();
    let options = RecordBatchOptions::new().with_row_count(rows);
    RecordBatch::try_new_with_options(Arc::new(schema), columns, &options).map_err(io::Error::other)
}

/// Makes rows of one column: `write` adds the bytes of a row.
pub fn each_row(
    form: EncodedForm,
    rows: usize,
    mut write: impl FnMut(usize, &mut Vec<u8>) -> io::Result<()>,
) -> io::Result<RecordBatch> {
    let mut column = LargeBinaryBuilder::with_capacity(rows, 0);
    let mut bytes = Vec::new();
    for row in 0..rows {
        bytes.clear();
        write(row, &mut bytes)?;
        column.append_value(&bytes);
    }
    encoded(form, vec![column.finish()])
}

/// The columns of rows in this form; nothing where the rows are others.
pub fn columns(rows: &RecordBatch, form: EncodedForm) -> Option<Vec<&LargeBinaryArray>> {
    let found = rows.schema_ref().metadata().get(FORM);
    if found.is_none_or(|found| found != form.name()) {
        return None;
    }
    rows.columns().iter().map(|column| column.as_binary_opt::<i64>()).collect()
}

/// The one column of rows in this form; nothing where the rows are others.
pub fn column(rows: &RecordBatch, form: EncodedForm) -> Option<&LargeBinaryArray> {
    columns(rows, form)?.first().copied()
}
