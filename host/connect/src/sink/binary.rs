//! Encodes binary columns as the text that a sink's `encoding` names. Writers then see text columns.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, BatchTime};
use millstream_job::spec::SinkSpec;
use millstream_rows::batch::binary_text::BinaryEncoding;
use millstream_rows::batch::sink::Sink;
use std::sync::Arc;

/// Returns the columns as they are written.
pub fn written_schema(spec: &SinkSpec, schema: &SchemaRef) -> SchemaRef {
    let field = |field: &Arc<Field>| match is_encoded(spec, field) {
        true => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8)),
        false => field.clone(),
    };
    match spec.encoding {
        None => schema.clone(),
        Some(_) => {
            let fields: Vec<Arc<Field>> = schema.fields().iter().map(field).collect();
            Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
        }
    }
}

/// Encodes rows as they are written.
///
/// # Errors
///
/// A value has no such text.
pub fn encode_rows(spec: &SinkSpec, rows: &RecordBatch) -> Result<RecordBatch> {
    let Some(encoding) = spec.encoding else { return Ok(rows.clone()) };
    let schema = rows.schema();
    let column = |(field, column): (&Arc<Field>, &ArrayRef)| match is_encoded(spec, field) {
        true => strings(spec, field, column, encoding),
        false => Ok(column.clone()),
    };
    let columns: Vec<ArrayRef> = schema.fields().iter().zip(rows.columns()).map(column).collect::<Result<_>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(written_schema(spec, &schema), columns, &options).map_err(Error::arrow)
}

/// Whether a column is binary and written as text.
fn is_encoded(spec: &SinkSpec, field: &Field) -> bool {
    *field.data_type() == DataType::Binary && !spec.kind.keeps_bytes(field.name())
}

fn strings(spec: &SinkSpec, field: &Field, column: &ArrayRef, encoding: BinaryEncoding) -> Result<ArrayRef> {
    let values = column.as_binary_opt::<i32>().ok_or_else(|| Error::bug("a column of bytes is missing"))?;
    let mut strings = StringBuilder::with_capacity(values.len(), values.value_data().len());
    let mut text = String::new();
    for row in 0..values.len() {
        if values.is_null(row) {
            strings.append_null();
            continue;
        }
        text.clear();
        encoding.write(values.value(row), &mut text).map_err(|why| {
            Error::plugin(format!(
                "sink `{}`: column `{}`: a value is {why}, and `encoding` is \"{}\"; write encoding = \"base64\" or \"hex\"",
                spec.name,
                field.name(),
                encoding.keyword()
            ))
        })?;
        strings.append_value(&text);
    }
    Ok(Arc::new(strings.finish()))
}

/// Wraps a sink so that rows with these columns are encoded as its `encoding` says.
pub fn encoding(spec: &SinkSpec, schema: SchemaRef, sink: Box<dyn Sink>) -> Box<dyn Sink> {
    match spec.encoding {
        None => sink,
        Some(_) => Box::new(EncodingSink { spec: spec.clone(), schema, sink }),
    }
}

struct EncodingSink {
    spec: SinkSpec,
    /// Rows with other columns are already encoded.
    schema: SchemaRef,
    sink: Box<dyn Sink>,
}

impl Sink for EncodingSink {
    fn commit(&mut self, batch: BatchId, time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        let encode = |part: RecordBatch| match part.schema_ref().fields() == self.schema.fields() {
            true => encode_rows(&self.spec, &part),
            false => Ok(part),
        };
        let rows = rows.into_iter().map(encode).collect::<Result<Vec<_>>>()?;
        self.sink.commit(batch, time, rows)
    }

    fn committed(&self) -> Option<BatchId> {
        self.sink.committed()
    }

    fn idle(&mut self) -> Result<()> {
        self.sink.idle()
    }

    fn finish(&mut self) -> Result<()> {
        self.sink.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::BinaryArray;
    use millstream_job::connector::Nothing;

    #[test]
    fn bytes_are_written_as_the_encoding_says() {
        let spec = |encoding| {
            let spec = SinkSpec::new("out", ["in"], Nothing);
            SinkSpec { encoding, ..spec }
        };
        let column: ArrayRef = Arc::new(BinaryArray::from_opt_vec(vec![Some(&b"a\xff"[..]), None, Some(b"")]));
        let rows = RecordBatch::try_from_iter([("b", column)]).unwrap();
        let json = |encoding| -> Result<String> {
            let rows = encode_rows(&spec(encoding), &rows)?;
            let mut lines = Vec::new();
            millstream_rows::batch::json::write(&[rows], &mut lines).unwrap();
            Ok(String::from_utf8(lines).unwrap())
        };
        let lines = |first| format!("{{\"b\":\"{first}\"}}\n{{\"b\":null}}\n{{\"b\":\"\"}}\n");
        assert_eq!(json(None).unwrap(), lines("61ff"));
        assert_eq!(json(Some(BinaryEncoding::Hex)).unwrap(), lines("61ff"));
        assert_eq!(json(Some(BinaryEncoding::Base64)).unwrap(), lines("Yf8="));
        let error = json(Some(BinaryEncoding::Utf8)).unwrap_err();
        assert!(error.message.contains("column `b`: a value is not UTF-8 at byte 1"), "{error}");
    }
}
