//! Rows that are bytes already. The worker that has a row encodes it for the sink; the committing worker copies the bytes. Encoded rows travel as
//! other rows do, one for each, so that they are ordered, counted and exchanged like them.

use arrow::array::{ArrayRef, AsArray, LargeBinaryArray, LargeBinaryBuilder, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;

/// Key in the schema's metadata: the form of the bytes. Rows of stages have no metadata there.
const FORM: &str = "millstream.encoded";

/// The form of a row's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodedForm {
    /// A JSON object.
    Json,
    /// A line of CSV without its line end.
    Csv,
    /// Key and value of a record; both may be null.
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

/// Creates encoded rows from their columns.
pub fn encoded(form: EncodedForm, columns: Vec<LargeBinaryArray>) -> io::Result<RecordBatch> {
    let fields = (0..columns.len()).map(|at| Field::new(at.to_string(), DataType::LargeBinary, true));
    let metadata = HashMap::from([(FORM.to_owned(), form.name().to_owned())]);
    let schema = Schema::new_with_metadata(fields.collect::<Vec<_>>(), metadata);
    let rows = columns.first().map(arrow::array::Array::len);
    let columns = columns.into_iter().map(|column| Arc::new(column) as ArrayRef).collect();
    let options = RecordBatchOptions::new().with_row_count(rows);
    RecordBatch::try_new_with_options(Arc::new(schema), columns, &options).map_err(io::Error::other)
}

/// Creates encoded rows of one column; `write` appends the bytes of a row.
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

/// Returns the columns of rows in this form; `None` for other rows.
pub fn columns(rows: &RecordBatch, form: EncodedForm) -> Option<Vec<&LargeBinaryArray>> {
    let found = rows.schema_ref().metadata().get(FORM);
    if found.is_none_or(|found| found != form.name()) {
        return None;
    }
    rows.columns().iter().map(|column| column.as_binary_opt::<i64>()).collect()
}

/// Returns the only column of rows in this form; `None` for other rows.
pub fn column(rows: &RecordBatch, form: EncodedForm) -> Option<&LargeBinaryArray> {
    columns(rows, form)?.first().copied()
}
