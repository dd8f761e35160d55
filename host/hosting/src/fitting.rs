//! Columns of other libraries as plugins read them: those of other sizes, encodings and units are given another type where no value
//! becomes another one thereby, and refused otherwise.

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use millstream_base::batch::types::{self, ColumnType};
use millstream_base::batch::widen::fits;
use millstream_base::error::{Error, Result};
use std::sync::Arc;

/// The columns as plugins are told of them.
pub fn told(schema: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| Field::new(field.name(), usual(field.data_type()), true);
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// The type that has all values of this one, of those that jobs have, where there is one; else the type itself.
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

/// Columns of a table in another form: which, and of what type.
#[derive(Clone, Debug)]
pub struct Fitting {
    places: Vec<usize>,
    schema: SchemaRef,
    /// The same, and all may be null: nulls are refused row by row where the plugin needs values.
    nullable: SchemaRef,
}

impl Fitting {
    /// The columns that are wanted, which must be there, of types that they can be given.
    pub fn of(wanted: &Schema, has: &Schema, who: &str) -> Result<Fitting> {
        let (mut places, mut fields) = (Vec::new(), Vec::new());
        for field in wanted.fields() {
            let (place, own) = has.column_with_name(field.name()).ok_or_else(|| missing(has, field, who))?;
            let (own, wanted) = (own.data_type(), field.data_type());
            let told = usual(own);
            let kind = match fits(&ColumnType::of(&told), &ColumnType::of(wanted)) {
                true => told,
                false if told == usual(wanted) || *own == DataType::Null => wanted.clone(),
                false => {
                    let (needs, has) = (ColumnType::of(wanted), ColumnType::of(own));
                    return Err(Error::job(format!(
                        "{who} reads column `{}` as {needs}, but in the table it is {has}",
                        field.name()
                    )));
                }
            };
            places.push(place);
            fields.push(field.as_ref().clone().with_data_type(kind));
        }
        let nullable: Vec<Field> = fields.iter().map(|field| field.clone().with_nullable(true)).collect();
        Ok(Fitting { places, schema: Arc::new(Schema::new(fields)), nullable: Arc::new(Schema::new(nullable)) })
    }

    /// Columns of these names, as plugins are told of them.
    pub fn named(names: &[String], has: &Schema) -> Result<Fitting> {
        let field = |name: &String| {
            let found = has.field_with_name(name).map_err(|_| {
                Error::job(format!(
                    "`key` names a column `{name}`, which the table does not have; it has: {}",
                    there(has)
                ))
            })?;
            Ok(Field::new(name, usual(found.data_type()), true))
        };
        let schema = Schema::new(names.iter().map(field).collect::<Result<Vec<_>>>()?);
        Fitting::of(&schema, has, "the call")
    }

    /// Their types.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// These columns of some rows. An error where a value would become another one.
    pub fn fit(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let mut columns = Vec::with_capacity(self.places.len());
        for (place, field) in self.places.iter().zip(self.schema.fields()) {
            columns.push(fitted(rows.column(*place), field)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(self.nullable.clone(), columns, &options).map_err(Error::arrow)
    }
}

fn missing(has: &Schema, wanted: &Field, who: &str) -> Error {
    Error::job(format!(
        "{who} reads a column `{}` ({}), which the table does not have; it has: {}",
        wanted.name(),
        ColumnType::of(wanted.data_type()),
        there(has)
    ))
}

fn there(has: &Schema) -> String {
    types::describe(&told(has))
}

fn fitted(column: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    let (has, wanted) = (column.data_type(), field.data_type());
    if has == wanted {
        return Ok(column.clone());
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let refused = |why: String| {
        Error::job(format!(
            "column `{}` is {has} and is read as {}: {why}; cast it, or filter out such rows",
            field.name(),
            ColumnType::of(wanted)
        ))
    };
    let made = cast_with_options(column, wanted, &options).map_err(|error| refused(error.to_string()))?;
    if is_wider(has, wanted) {
        return Ok(made);
    }
    let back = cast_with_options(&made, has, &options).map_err(|error| refused(error.to_string()))?;
    if back.to_data() == column.to_data() { Ok(made) } else { Err(refused("not all of its values fit".into())) }
}

/// Whether each value of a type is one of the other, or else refused when it is made one.
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
