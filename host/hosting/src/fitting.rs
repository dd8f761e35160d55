//! Converts columns of other libraries to the types that plugins read. Those of other sizes, encodings and units are cast if no value changes, and
//! rejected otherwise.

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use millstream_base::error::{Error, Result};
use millstream_rows::batch::types::{self, ColumnType};
use millstream_rows::batch::widen::fits;
use std::sync::Arc;

/// Returns the columns as plugins see them.
pub fn plugin_columns(schema: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| Field::new(field.name(), usual(field.data_type()), true);
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// Returns the type of jobs that can hold all values of this one, if there is one; otherwise the type itself.
fn usual(kind: &DataType) -> DataType {
    let item = |field: &Arc<Field>| Arc::new(Field::new_list_field(usual(field.data_type()), true));
    match kind {
        DataType::Int8 | DataType::Int16 | DataType::Int32 => DataType::Int64,
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 | DataType::Float32 => DataType::Float64,
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Timestamp(..) => ColumnType::Timestamp.arrow(),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Dictionary(_, values) => usual(values),
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            DataType::List(item(field))
        }
        DataType::Struct(fields) => {
            let member = |field: &Arc<Field>| Field::new(field.name(), usual(field.data_type()), true);
            DataType::Struct(fields.iter().map(member).collect())
        }
        other => other.clone(),
    }
}

/// A selection of a table's columns and their target types.
#[derive(Clone, Debug)]
pub struct ColumnSelection {
    indexes: Vec<usize>,
    schema: SchemaRef,
    /// The same, nullable: nulls are rejected row by row if the plugin needs values.
    nullable: SchemaRef,
}

impl ColumnSelection {
    /// Selects the wanted columns, which must exist and have convertible types.
    pub fn select(wanted: &Schema, has: &Schema, reader_name: &str) -> Result<ColumnSelection> {
        let (mut indexes, mut fields) = (Vec::new(), Vec::new());
        for field in wanted.fields() {
            let (index, own) = has.column_with_name(field.name()).ok_or_else(|| missing(has, field, reader_name))?;
            let (own, wanted) = (own.data_type(), field.data_type());
            let usual_type = usual(own);
            let kind = match fits(&ColumnType::from_arrow(&usual_type), &ColumnType::from_arrow(wanted)) {
                true => usual_type,
                false if usual_type == usual(wanted) || *own == DataType::Null => wanted.clone(),
                false => {
                    let (needs, has) = (ColumnType::from_arrow(wanted), ColumnType::from_arrow(own));
                    return Err(Error::job(format!(
                        "{reader_name} reads column `{}` as {needs}, but in the table it is {has}",
                        field.name()
                    )));
                }
            };
            indexes.push(index);
            fields.push(field.as_ref().clone().with_data_type(kind));
        }
        let nullable: Vec<Field> = fields.iter().map(|field| field.clone().with_nullable(true)).collect();
        Ok(ColumnSelection {
            indexes,
            schema: Arc::new(Schema::new(fields)),
            nullable: Arc::new(Schema::new(nullable)),
        })
    }

    /// Selects columns by name, as plugins see them.
    pub fn named(names: &[String], has: &Schema) -> Result<ColumnSelection> {
        let field = |name: &String| {
            let found = has.field_with_name(name).map_err(|_| {
                Error::job(format!(
                    "`key` names a column `{name}`, which the table does not have; it has: {}",
                    existing_columns(has)
                ))
            })?;
            Ok(Field::new(name, usual(found.data_type()), true))
        };
        let schema = Schema::new(names.iter().map(field).collect::<Result<Vec<_>>>()?);
        ColumnSelection::select(&schema, has, "the call")
    }

    /// Returns their types.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Returns these columns of some rows. Fails if a value would change.
    pub fn fit(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let mut columns = Vec::with_capacity(self.indexes.len());
        for (index, field) in self.indexes.iter().zip(self.schema.fields()) {
            columns.push(fit_column(rows.column(*index), field)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(self.nullable.clone(), columns, &options).map_err(Error::arrow)
    }
}

fn missing(has: &Schema, wanted: &Field, reader_name: &str) -> Error {
    Error::job(format!(
        "{reader_name} reads a column `{}` ({}), which the table does not have; it has: {}",
        wanted.name(),
        ColumnType::from_arrow(wanted.data_type()),
        existing_columns(has)
    ))
}

fn existing_columns(has: &Schema) -> String {
    types::describe(&plugin_columns(has))
}

fn fit_column(column: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    let (has, wanted) = (column.data_type(), field.data_type());
    if has == wanted {
        return Ok(column.clone());
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let reject = |why: String| {
        Error::job(format!(
            "column `{}` is {has} and is read as {}: {why}; cast it, or filter out such rows",
            field.name(),
            ColumnType::from_arrow(wanted)
        ))
    };
    let cast_column = cast_with_options(column, wanted, &options).map_err(|error| reject(error.to_string()))?;
    if is_wider(has, wanted) {
        return Ok(cast_column);
    }
    let back = cast_with_options(&cast_column, has, &options).map_err(|error| reject(error.to_string()))?;
    if back.to_data() == column.to_data() { Ok(cast_column) } else { Err(reject("not all of its values fit".into())) }
}

/// Returns whether each value of a type is also one of the other, or else is rejected in the conversion.
fn is_wider(has: &DataType, wanted: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Dictionary, FixedSizeBinary, Float16, Float32, Float64, Int8, Int16, Int32, Int64,
        LargeBinary, LargeUtf8, Null, Timestamp, UInt8, UInt16, UInt32, UInt64, Utf8, Utf8View,
    };
    match (has, wanted) {
        (Null, _) => true,
        (Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64, other) => other.is_integer(),
        (Float16, Float32 | Float64) | (Float32, Float64) => true,
        (LargeUtf8 | Utf8View | Utf8, Utf8 | LargeUtf8 | Utf8View) => true,
        (LargeBinary | BinaryView | FixedSizeBinary(_) | Binary, Binary | LargeBinary | BinaryView) => true,
        (Dictionary(_, values), wanted) => **values == *wanted || is_wider(values, wanted),
        (Timestamp(unit, _), Timestamp(wanted, _)) => fineness(*unit) <= fineness(*wanted),
        _ => false,
    }
}

fn fineness(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 1,
        TimeUnit::Microsecond => 2,
        TimeUnit::Nanosecond => 3,
    }
}
