//! Initial states of a stage: a CSV file with a header, or JSON lines, with the key and state columns.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, SchemaRef};
use arrow::util::display::array_value_to_string;
use millstream_base::error::{Error, Result};
use millstream_job::connector::InMemory;
use millstream_job::spec::SourceSpec;
use millstream_rows::batch::chunk::Chunk;
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::batch::keys::Keys;
use millstream_rows::batch::types::ColumnType;
use millstream_rows::decode::Decoder;
use millstream_rows::formats::Format;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

/// Reads all rows, with the columns in the order of `schema`. Errors are rows that do not decode, two rows with one key (the first `keys` columns),
/// and states without a value that the plugin needs. Initial states are written by hand and must be correct.
pub fn load(path: &Path, schema: &SchemaRef, keys: usize) -> Result<RecordBatch> {
    let shown = path.display();
    if path.is_dir() {
        return Err(Error::job(format!("{shown} is a directory; write the path of a csv or JSON lines file")));
    }
    let json = path.extension().is_some_and(|extension| extension == "json" || extension == "jsonl");
    let format = if json { Format::Json } else { Format::Csv { header: true, separator: b',' } };
    let column = |field: &Arc<Field>| ColumnSpec::new(field.name().clone(), ColumnType::from_arrow(field.data_type()));
    let columns = schema.fields().iter().map(column);
    let source =
        SourceSpec { schema: columns.collect(), ..SourceSpec::from_config(shown.to_string(), InMemory).format(format) };
    millstream_base::regular::open(path).map_err(|e| Error::job(format!("cannot read {shown}: {e}")))?;
    let mut decoder = Decoder::new(source.decoder_spec());
    let mut batches = Vec::new();
    for chunk in millstream_connect::receiver::read_file(&source, path)? {
        batches.push(decode(&mut decoder, &chunk).map_err(|e| e.within(&shown))?);
    }
    let rows = concat_batches(&decoder.schema(), &batches).map_err(|e| Error::job(format!("{shown}: {e}")))?;
    check(&rows, schema, keys).map_err(|message| Error::job(format!("{shown}: {message}")))?;
    RecordBatch::try_new(schema.clone(), rows.columns().to_vec()).map_err(|e| Error::job(format!("{shown}: {e}")))
}

/// Checks for missing values and duplicate keys.
fn check(rows: &RecordBatch, schema: &SchemaRef, keys: usize) -> Result<(), String> {
    let describe = |row: usize| {
        let cell = |column: &ArrayRef| array_value_to_string(column, row).unwrap_or_default();
        rows.columns().iter().take(keys).map(cell).collect::<Vec<_>>().join(", ")
    };
    for (field, column) in schema.fields().iter().zip(rows.columns()) {
        if let Some(row) = (0..rows.num_rows()).find(|row| !field.is_nullable() && column.is_null(*row)) {
            return Err(format!(
                "the state of the key `{}` has no value in column `{}`, which must not be null",
                describe(row),
                field.name()
            ));
        }
    }
    let columns: Vec<ArrayRef> = rows.columns().iter().take(keys).cloned().collect();
    let encoded = Keys::encode(&columns, rows.num_rows()).map_err(|e| e.to_string())?;
    let mut seen = HashSet::new();
    match (0..rows.num_rows()).find(|row| !seen.insert(encoded.view().get(*row))) {
        Some(row) => Err(format!("two rows have the key `{}`; a key has one state: remove one of them", describe(row))),
        None => Ok(()),
    }
}

fn decode(decoder: &mut Decoder, chunk: &Chunk) -> Result<RecordBatch> {
    let decoded = decoder.decode(chunk);
    if let Some(rejected) = decoded.rejected {
        let text = |column: usize| rejected.column(column).as_string_opt::<i32>().filter(|c| !c.is_empty());
        let (value, reason) = (text(0).map_or("", |c| c.value(0)), text(1).map_or("", |c| c.value(0)));
        return Err(Error::job(format!("initial state: {reason}, in `{}`", value.trim_end())));
    }
    Ok(decoded.rows)
}
