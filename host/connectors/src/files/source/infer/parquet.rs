//! Infers the columns of a Parquet file, which has their names and types.

use super::{Inferred, Sample, TrialResult, try_decode};
use crate::files::source::compressed::Stream;
use crate::files::source::settings::FileReads;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};
use millstream_base::error::{Error, Result};
use millstream_base::panics::caught;
use millstream_base::shown::harmless;
use millstream_connect::receiver::plain;
use millstream_job::spec::SourceSpec;
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::batch::types::ColumnType;
use millstream_rows::formats::Format;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::path::Path;
use std::sync::Arc;

/// The first bytes of Parquet files.
pub const MAGIC: &[u8] = b"PAR1";
/// Maximum bytes of a name in a note.
const SHOWN_BYTES_MAX: usize = 200;

/// Reads the schema of a file and decodes its first rows.
pub fn infer(name: &str, path: &Path, sample: &Sample) -> Result<Inferred> {
    let wrong = |why: &dyn std::fmt::Display| Error::job(format!("`{}`: {why}", path.display()));
    let schema = schema_of(path).map_err(|why| wrong(&why))?;
    let mut notes = Vec::new();
    let columns: Vec<ColumnSpec> = schema.fields().iter().filter_map(|field| column(field, &mut notes)).collect();
    if columns.is_empty() {
        return Err(wrong(&"it has no column that a schema can name"));
    }
    let source = SourceSpec::from_config(name, FileReads { path: path.into() }).format(Format::Parquet).schema(columns);
    let file = millstream_base::regular::open(path).map_err(|error| wrong(&plain(&error)))?;
    let mut stream = Stream::of(&source, path, file).map_err(|error| wrong(&plain(&error)))?;
    let mut bytes = Vec::new();
    stream.fill(&mut bytes, sample.bytes_max).map_err(|error| wrong(&plain(&error)))?;
    let is_complete = (bytes.len() as u64) < sample.bytes_max;
    let damage = if is_complete { stream.damage().map_err(|error| wrong(&plain(&error)))? } else { None };
    let found = try_decode(&source, &bytes, (is_complete, damage.as_deref()), sample.rows_max);
    let TrialResult { records, rejected, notes: reasons } = found;
    notes.extend(reasons);
    Ok(Inferred { source, notes, records, rejected, is_complete })
}

/// Returns the columns of the file.
fn schema_of(path: &Path) -> std::result::Result<Arc<Schema>, String> {
    let file = millstream_base::regular::open(path).map_err(|error| plain(&error))?;
    // The library may panic on a damaged file.
    let read = caught(|| ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| error.to_string()));
    let read = read.unwrap_or_else(Err);
    let builder = read.map_err(|why| format!("it cannot be read as Parquet: {why}"))?;
    Ok(builder.schema().clone())
}

fn column(field: &Field, notes: &mut Vec<String>) -> Option<ColumnSpec> {
    let name = field.name();
    let shown = harmless(name, SHOWN_BYTES_MAX);
    if name.is_empty() || name.chars().any(char::is_control) {
        notes.push(format!("column `{shown}` has a name that a schema cannot have; its values are omitted"));
        return None;
    }
    let kind = ColumnType::from_arrow(&job_type(field.data_type()));
    if kind.is_written() {
        return Some(ColumnSpec::new(name, kind));
    }
    notes.push(format!("column `{shown}` is {} in the file, which is not a schema type: text", field.data_type()));
    Some(ColumnSpec::new(name, ColumnType::Text))
}

/// Returns the job's type for the same values; types without one stay unchanged.
fn job_type(kind: &DataType) -> DataType {
    match kind {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => {
            DataType::Int64
        }
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Float16 | DataType::Float32 => DataType::Float64,
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Date64 => DataType::Date32,
        DataType::Timestamp(..) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Dictionary(_, values) => job_type(values),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => DataType::new_list(job_type(item.data_type()), true),
        DataType::Struct(members) => {
            let member = |member: &FieldRef| Field::new(member.name(), job_type(member.data_type()), true);
            DataType::Struct(members.iter().map(member).collect())
        }
        other => other.clone(),
    }
}
