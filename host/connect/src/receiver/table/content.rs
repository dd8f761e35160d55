//! The rows of a table, from the bytes that a file or a query gave.

use super::guess;
use crate::limits::ENRICH_DECODED_BYTES_MAX;
use crate::receiver::framer;
use crate::receiver::parquet::columns::to_wanted;
use crate::receiver::parquet::open::FileRows;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use bytes::Bytes;
use millstream_base::limits::ENRICH_BYTES_MAX;
use millstream_job::connector::InMemory;
use millstream_job::spec::{EnrichFormat, EnrichSpec, EnrichTable, SourceSpec};
use millstream_rows::batch::chunk::Chunk;
use millstream_rows::batch::column::{ColumnSpec, TimeForm, TimeUnit};
use millstream_rows::batch::types::{self, ColumnType, columns_of_specs};
use millstream_rows::decode::{Decoder, csv};
use millstream_rows::formats::Format;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::sync::Arc;

/// Returns the columns that a content defines.
pub fn columns_of(table: &EnrichTable, content: &Bytes) -> Result<Vec<ColumnSpec>, String> {
    let guessed = |columns: Vec<(String, ColumnType)>| {
        columns.into_iter().map(|(name, kind)| ColumnSpec::new(name, kind)).collect::<Vec<_>>()
    };
    let schema = match table {
        EnrichTable::File { format: EnrichFormat::Csv, .. } => {
            return guess::of_csv(without_mark(content)).map(guessed);
        }
        EnrichTable::File { format: EnrichFormat::Json, .. } => {
            return guess::of_json(without_mark(content)).map(guessed);
        }
        EnrichTable::File { format: EnrichFormat::Parquet, .. } => parquet(content, None)?.schema(),
        EnrichTable::Query { .. } => ipc(content)?.schema(),
    };
    let column = |field: &Arc<Field>| ColumnSpec::new(field.name().clone(), ColumnType::from_arrow(field.data_type()));
    Ok(schema.fields().iter().map(column).collect())
}

/// The rows, with the columns that `enrich` says.
pub fn rows(enrich: &EnrichSpec, content: &Bytes) -> Result<RecordBatch, String> {
    let csv = Format::Csv { header: true, separator: b',' };
    let rows = match &enrich.table {
        EnrichTable::File { format: EnrichFormat::Csv, .. } => decode(&csv, &enrich.schema, without_mark(content))?,
        EnrichTable::File { format: EnrichFormat::Json, .. } => {
            decode(&Format::Json, &enrich.schema, without_mark(content))?
        }
        EnrichTable::File { format: EnrichFormat::Parquet, .. } => parquet(content, Some(&enrich.schema))?,
        EnrichTable::Query { .. } => ipc(content)?,
    };
    let wanted = columns_of_specs(&enrich.schema);
    let mut columns = Vec::new();
    for (spec, field) in enrich.schema.iter().zip(wanted.fields()) {
        let schema = rows.schema();
        let index = types::column(&schema, field.name()).map_err(|error| error.message)?;
        let (has, needs) = (schema.field(index).data_type(), field.data_type());
        if let (TimeForm::Number(unit), DataType::Int64) = (&spec.form, has) {
            columns.push(times_of(rows.column(index), *unit, field.name())?);
            continue;
        }
        if has != needs {
            return Err(format!(
                "column `{}` is {}, but {} in the job",
                field.name(),
                ColumnType::from_arrow(has),
                ColumnType::from_arrow(needs)
            ));
        }
        columns.push(rows.column(index).clone());
    }
    RecordBatch::try_new(wanted, columns).map_err(|error| error.to_string())
}

/// The times that numbers of a unit are.
fn times_of(numbers: &ArrayRef, unit: TimeUnit, name: &str) -> Result<ArrayRef, String> {
    let numbers = numbers.as_primitive_opt::<Int64Type>().ok_or("numbers that are not numbers")?;
    let by = 10_i64.pow(unit.power().unsigned_abs());
    let time = |number: i64| if unit.power() < 0 { Some(number.div_euclid(by)) } else { number.checked_mul(by) };
    let far = |number: i64| format!("column `{name}`: {number} is out of range of timestamp");
    let times: TimestampMicrosecondArray = numbers
        .iter()
        .map(|number| number.map(|number| time(number).ok_or_else(|| far(number))).transpose())
        .collect::<Result<_, _>>()?;
    Ok(Arc::new(times.with_timezone("UTC")))
}

/// Text without the mark of its byte order, which some programs put in front.
fn without_mark(content: &[u8]) -> &[u8] {
    content.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(content)
}

/// Splits a content of this format into its header, if it has one, and the records.
pub fn records(format: &Format, schema: Vec<ColumnSpec>, content: &[u8]) -> (Option<Bytes>, Vec<Chunk>) {
    let mut framer = framer(&source(format, schema));
    framer.buffer(content.len()).extend_from_slice(content);
    framer.end();
    let chunks = std::iter::from_fn(|| framer.next(true)).collect();
    (framer.header().cloned(), chunks)
}

/// The names in the header of a csv file.
pub fn header(header: Option<Bytes>) -> Result<Vec<String>, String> {
    let header = header.filter(|header| !header.is_empty()).ok_or("it has no header")?;
    let header = std::str::from_utf8(&header).map_err(|_| "its header is not UTF-8")?;
    let names = csv::cells(header, b',').map_err(|reason| format!("its header: {reason}"))?;
    Ok(names.iter().map(|name| name.trim().to_owned()).collect())
}

/// A source that decodes as the table wants it.
fn source(format: &Format, schema: Vec<ColumnSpec>) -> SourceSpec {
    SourceSpec {
        record_bytes_max: ENRICH_BYTES_MAX,
        ..SourceSpec::from_config("table", InMemory).format(format.clone()).schema(schema)
    }
}

/// Decodes text. A row that does not decode is an error: a table is right or not there.
fn decode(format: &Format, schema: &[ColumnSpec], content: &[u8]) -> Result<RecordBatch, String> {
    let columns = schema.to_vec();
    let mut decoder = Decoder::new(source(format, columns.clone()).decoder_spec());
    let (names, chunks) = records(format, columns, content);
    if matches!(format, Format::Csv { .. }) {
        let names = header(names)?;
        if let Some(ColumnSpec { name: missing, .. }) = schema.iter().find(|column| !names.contains(&column.name)) {
            return Err(format!("its header has no column `{missing}`; it has: {}", names.join(", ")));
        }
    }
    fits(chunks.iter().map(Chunk::rows).sum(), schema)?;
    let mut batches = Vec::new();
    for chunk in chunks {
        let decoded = decoder.decode(&chunk);
        if let Some(rejected) = decoded.rejected {
            let cell = |column: usize| {
                let strings = rejected.column(column).as_string_opt::<i32>().filter(|strings| !strings.is_empty());
                strings.map_or("", |strings| strings.value(0)).trim_end().to_owned()
            };
            return Err(format!("{}, in `{}`", cell(1), cell(0)));
        }
        batches.push(decoded.rows);
    }
    concat_batches(&decoder.schema(), &batches).map_err(|error| error.to_string())
}

/// Checks whether this number of rows of these columns may be held in memory.
fn fits(rows: usize, schema: &[ColumnSpec]) -> Result<(), String> {
    let bytes = (rows as u64).saturating_mul(SourceSpec::decoded_row_bytes(schema));
    if bytes <= ENRICH_DECODED_BYTES_MAX {
        return Ok(());
    }
    Err(format!(
        "its {rows} rows of {} columns take more than {} MiB once they are decoded, and each worker holds all of them in \
         memory; select only what you need",
        schema.len(),
        ENRICH_DECODED_BYTES_MAX >> 20
    ))
}

/// The columns of a file that the table wants, all by default. A value that a column cannot hold is an error.
fn parquet(content: &Bytes, wanted: Option<&[ColumnSpec]>) -> Result<RecordBatch, String> {
    let broken = |error: &dyn std::fmt::Display| format!("it cannot be read as parquet: {error}");
    let builder = ParquetRecordBatchReaderBuilder::try_new(content.clone()).map_err(|error| broken(&error))?;
    let schema = builder.schema().clone();
    let rows = usize::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(usize::MAX);
    let column = |field: &Arc<Field>| ColumnSpec::new(field.name().clone(), ColumnType::from_arrow(field.data_type()));
    fits(rows, &schema.fields().iter().map(column).collect::<Vec<_>>())?;
    // Each with the type that it has, so that nothing becomes another one but times, widths and layouts.
    let column = |field: &Arc<Field>| {
        let spec = ColumnSpec::new(field.name().clone(), ColumnType::from_arrow(&type_of_jobs(field.data_type())));
        let own = wanted.map(|wanted| wanted.iter().find(|column| column.name == *field.name()));
        match own {
            Some(own) => own.map(|own| ColumnSpec { zone: own.zone, ..spec }),
            None => Some(spec),
        }
    };
    let columns: Vec<ColumnSpec> = schema.fields().iter().filter_map(column).collect();
    let mut reader = FileRows::open(content, &columns).map_err(|error| broken(&error))?;
    let wanted_fields =
        schema.fields().iter().filter(|field| columns.iter().any(|column| column.name == *field.name()));
    let none = RecordBatch::new_empty(Arc::new(Schema::new(wanted_fields.cloned().collect::<Vec<_>>())));
    let mut batches = vec![to_wanted(&none, &columns).map_err(|error| broken(&error))?.rows];
    while let Some(found) = reader.next(&columns).map_err(|error| broken(&error))? {
        if let Some(reason) = found.rejected.into_values().next().filter(|_| wanted.is_some()) {
            return Err(reason);
        }
        batches.push(found.rows);
    }
    let schema = batches.last().map_or_else(|| none.schema(), RecordBatch::schema);
    let rows = batches.iter().filter(|batch| batch.num_rows() > 0);
    let rows = concat_batches(&schema, rows).map_err(|error| broken(&error))?;
    with_types_of_jobs(&rows).map_err(|error| broken(&error))
}

fn ipc(content: &Bytes) -> Result<RecordBatch, String> {
    let read = || {
        let reader = StreamReader::try_new(content.as_ref(), None)?;
        let schema: SchemaRef = reader.schema();
        concat_batches(&schema, &reader.collect::<Result<Vec<_>, _>>()?)
    };
    read().map_err(|error: ArrowError| format!("the rows of the query cannot be read: {error}"))
}

/// Other widths and encodings of the types of job files become these; what is something else stays.
fn with_types_of_jobs(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut columns = Vec::new();
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        let wanted = type_of_jobs(field.data_type());
        columns.push((field.name().clone(), cast(column, &wanted)?));
    }
    RecordBatch::try_from_iter(columns)
}

fn type_of_jobs(kind: &DataType) -> DataType {
    match kind {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => {
            ColumnType::Int64.arrow()
        }
        DataType::Float16 | DataType::Float32 => ColumnType::Float64.arrow(),
        DataType::LargeUtf8 | DataType::Utf8View => ColumnType::Text.arrow(),
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => ColumnType::Binary.arrow(),
        DataType::Timestamp(..) => ColumnType::Timestamp.arrow(),
        DataType::Dictionary(_, values) => type_of_jobs(values),
        other => other.clone(),
    }
}
