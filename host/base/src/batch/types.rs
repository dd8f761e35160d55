//! The column types of the design and the Arrow types that carry them.

use super::column::ColumnSpec;
use super::nested;
use crate::error::{Error, Result};
use crate::shown::harmless;
use arrow::array::{ArrayRef, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use std::sync::Arc;

/// The type of a column as job files, errors and plugins name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// `bool`
    Bool,
    /// `int64`
    Int64,
    /// `float64`
    Float64,
    /// `text`
    Text,
    /// `binary`
    Binary,
    /// `timestamp`: microseconds, UTC
    Timestamp,
    /// Any other Arrow type. Those that [`nested`] names can be columns of sources; all others pass through the host untouched.
    Arrow(DataType),
}

impl ColumnType {
    /// The names that a job file may write without anything behind them.
    pub const NAMES: [&'static str; 6] = ["bool", "int64", "float64", "text", "binary", "timestamp"];

    /// What else a job file may write, for errors.
    pub const MORE_NAMES: &'static str = "date, decimal(18,4), list<text> or struct<id: int64, name: text>";

    /// The type of this name in a job file; `None` for an unknown name.
    pub fn from_name(name: &str) -> Option<ColumnType> {
        ColumnType::plain_from_name(name).or_else(|| nested::from_name(name).map(ColumnType::Arrow))
    }

    /// One of the [names](ColumnType::NAMES).
    pub(super) fn plain_from_name(name: &str) -> Option<ColumnType> {
        Some(match name {
            "bool" => ColumnType::Bool,
            "int64" => ColumnType::Int64,
            "float64" => ColumnType::Float64,
            "text" => ColumnType::Text,
            "binary" => ColumnType::Binary,
            "timestamp" => ColumnType::Timestamp,
            _ => return None,
        })
    }

    /// Our name of an Arrow type.
    pub fn of(arrow: &DataType) -> ColumnType {
        match arrow {
            DataType::Boolean => ColumnType::Bool,
            DataType::Int64 => ColumnType::Int64,
            DataType::Float64 => ColumnType::Float64,
            DataType::Utf8 => ColumnType::Text,
            DataType::Binary => ColumnType::Binary,
            DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "UTC" => ColumnType::Timestamp,
            other => ColumnType::Arrow(other.clone()),
        }
    }

    /// Whether job files can name the type, and text formats hold its values.
    pub fn is_written(&self) -> bool {
        match self {
            ColumnType::Arrow(other) => nested::name_of(other).is_some(),
            _ => true,
        }
    }

    /// Whether it is a single value: the six plain types, dates and decimals.
    pub fn is_scalar(&self) -> bool {
        match self {
            ColumnType::Arrow(other) => matches!(other, DataType::Date32 | DataType::Decimal128(..)),
            _ => true,
        }
    }

    /// Whether keys and state tables hold its values: besides scalars, structs and lists of such that have a name.
    pub fn is_kept(&self) -> bool {
        self.is_scalar() || self.is_written()
    }

    /// Bytes of a value in a fixed-length binary record; `None` for types of no fixed width.
    pub fn fixed_bytes(&self) -> Option<u32> {
        match self {
            ColumnType::Bool => Some(1),
            ColumnType::Int64 | ColumnType::Float64 | ColumnType::Timestamp => Some(8),
            ColumnType::Text | ColumnType::Binary | ColumnType::Arrow(_) => None,
        }
    }

    /// The Arrow type that carries this one.
    pub fn arrow(&self) -> DataType {
        match self {
            ColumnType::Bool => DataType::Boolean,
            ColumnType::Int64 => DataType::Int64,
            ColumnType::Float64 => DataType::Float64,
            ColumnType::Text => DataType::Utf8,
            ColumnType::Binary => DataType::Binary,
            ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            ColumnType::Arrow(other) => other.clone(),
        }
    }
}

impl std::fmt::Display for ColumnType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ColumnType::Bool => "bool",
            ColumnType::Int64 => "int64",
            ColumnType::Float64 => "float64",
            ColumnType::Text => "text",
            ColumnType::Binary => "binary",
            ColumnType::Timestamp => "timestamp",
            ColumnType::Arrow(other) => {
                return match nested::name_of(other) {
                    Some(name) => f.write_str(&name),
                    None => write!(f, "arrow {other}"),
                };
            }
        })
    }
}

/// An Arrow schema of nullable columns with these names and types.
pub fn schema_of(columns: &[(String, ColumnType)]) -> SchemaRef {
    let fields: Vec<Field> = columns.iter().map(|(name, kind)| Field::new(name, kind.arrow(), true)).collect();
    Arc::new(Schema::new(fields))
}

/// An Arrow schema of the columns of a source.
pub fn columns_of_specs(columns: &[ColumnSpec]) -> SchemaRef {
    let field = |column: &ColumnSpec| Field::new(column.name.clone(), column.kind.arrow(), true);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// The columns of a schema with more behind them.
pub fn with_fields(schema: &Schema, more: impl IntoIterator<Item = Arc<Field>>) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().cloned().chain(more).collect::<Vec<_>>()))
}

/// A column of timestamps, in microseconds.
pub fn timestamps(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
}

/// A schema in one line for messages: `word text, n int64`.
pub fn describe(schema: &Schema) -> String {
    let columns: Vec<String> =
        // A name may come from a file of somebody else: it stays within its line.
        schema
            .fields()
            .iter()
            .map(|f| format!("{} {}", harmless(f.name(), usize::MAX), ColumnType::of(f.data_type())))
            .collect();
    if columns.is_empty() { "no columns".into() } else { columns.join(", ") }
}

/// The place of a column, or an error that names what there is.
pub fn column(schema: &Schema, name: &str) -> Result<usize> {
    schema
        .index_of(name)
        .map_err(|_| Error::job(format!("there is no column `{name}`; there are: {}", describe(schema))))
}
