//! Columns of a file as the job has them, where their types are others in name only: times of any unit, numbers of any width,
//! lists of any layout. What is written as JSON must be what it was.

use super::{SHOWN_BYTES_MAX, damaged, root};
use crate::batch::column::ColumnSpec;
use crate::shown::harmless;
use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, can_cast_types, cast, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};
use std::io;
use std::sync::Arc;

/// A type that the job wants, and where within a column of the file.
type WantedType<'a> = (&'a [String], DataType);

/// Rows of a file for these columns of the job.
pub fn as_wanted(rows: &RecordBatch, columns: &[ColumnSpec]) -> io::Result<RecordBatch> {
    let (mut fields, mut made): (Vec<Field>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        let wanted = columns.iter().filter(|column| root(column) == field.name());
        let wanted: Vec<WantedType<'_>> =
            wanted.map(|column| (column.path.get(1..).unwrap_or_default(), column.kind.arrow())).collect();
        let column = plain(column, &plain_type(field.data_type(), &wanted)).map_err(damaged)?;
        let column = with_texts(field.name(), column, &wanted)?;
        fields.push(field.as_ref().clone().with_data_type(column.data_type().clone()));
        made.push(column);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), made, &options).map_err(damaged)
}

fn plain(column: &ArrayRef, kind: &DataType) -> Result<ArrayRef, arrow::error::ArrowError> {
    match column.data_type() != kind && can_cast_types(column.data_type(), kind) {
        true => cast(column, kind),
        false => Ok(column.clone()),
    }
}

/// Bytes that the job has as text, at whatever depth: writers do not always say which they are.
fn with_texts(name: &str, column: ArrayRef, wanted: &[WantedType<'_>]) -> io::Result<ArrayRef> {
    let kind = text_type(column.data_type(), wanted);
    if kind == *column.data_type() {
        return Ok(column);
    }
    let strictly = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(&column, &kind, &strictly).map_err(|_| {
        let name = harmless(name, SHOWN_BYTES_MAX);
        let why = format!("its column `{name}` holds bytes that are no text in UTF-8; let the job have it as `binary`");
        io::Error::new(io::ErrorKind::Unsupported, why)
    })
}

/// The type of ours that holds the same values.
fn plain_type(kind: &DataType, wanted: &[WantedType<'_>]) -> DataType {
    match kind {
        DataType::Timestamp(..) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Float16 | DataType::Float32 => DataType::Float64,
        DataType::Date64 => DataType::Date32,
        DataType::Dictionary(_, values) => plain_type(values, wanted),
        DataType::FixedSizeBinary(_) | DataType::LargeBinary | DataType::BinaryView if is_text(wanted) => {
            DataType::Binary
        }
        _ => within(kind, wanted, plain_type),
    }
}

/// The same with text in the place of bytes.
fn text_type(kind: &DataType, wanted: &[WantedType<'_>]) -> DataType {
    match kind {
        DataType::Binary if is_text(wanted) => DataType::Utf8,
        _ => within(kind, wanted, text_type),
    }
}

fn is_text(wanted: &[WantedType<'_>]) -> bool {
    wanted.iter().any(|(path, kind)| path.is_empty() && *kind == DataType::Utf8)
}

/// A type with what is within it changed so.
fn within(
    kind: &DataType,
    wanted: &[WantedType<'_>],
    change: fn(&DataType, &[WantedType<'_>]) -> DataType,
) -> DataType {
    let changed = |field: &FieldRef, wanted: &[WantedType<'_>]| {
        Arc::new(field.as_ref().clone().with_data_type(change(field.data_type(), wanted)))
    };
    match kind {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => DataType::List(changed(item, &of_items(wanted))),
        DataType::Struct(members) => {
            let member = |member: &FieldRef| changed(member, &of_member(member.name(), wanted));
            DataType::Struct(members.iter().map(member).collect())
        }
        DataType::Map(entries, sorted) => DataType::Map(changed(entries, &[]), *sorted),
        other => other.clone(),
    }
}

fn of_items<'a>(wanted: &[WantedType<'a>]) -> Vec<WantedType<'a>> {
    let item = |(path, kind): &WantedType<'a>| match kind {
        DataType::List(item) if path.is_empty() => Some((*path, item.data_type().clone())),
        _ => None,
    };
    wanted.iter().filter_map(item).collect()
}

fn of_member<'a>(name: &str, wanted: &[WantedType<'a>]) -> Vec<WantedType<'a>> {
    let member = |(path, kind): &WantedType<'a>| match (path.split_first(), kind) {
        (Some((first, rest)), kind) => (first == name).then(|| (rest, kind.clone())),
        (None, DataType::Struct(members)) => {
            members.iter().find(|member| member.name() == name).map(|member| (*path, member.data_type().clone()))
        }
        _ => None,
    };
    wanted.iter().filter_map(member).collect()
}
