//! The types of columns.

use super::nested;
use arrow::datatypes::{DataType, TimeUnit};

/// The type of a column, as named in job files, errors and plugins.
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
    /// Any other Arrow type. Those named by [`nested`] can be columns of sources; all others pass through the host unchanged.
    Arrow(DataType),
}

impl ColumnType {
    /// Type names without parameters in job files.
    pub const NAMES: [&'static str; 6] = ["bool", "int64", "float64", "text", "binary", "timestamp"];

    /// Examples of other types in job files, for errors.
    pub const MORE_NAMES: &'static str = "date, decimal(18,4), list<text> or struct<id: int64, name: text>";

    /// Parses a type name of a job file; `None` if it is unknown.
    pub fn from_name(name: &str) -> Option<ColumnType> {
        let kind = nested::plain_from_name(name).or_else(|| nested::from_name(name))?;
        Some(ColumnType::from_arrow(&kind))
    }

    /// Returns the column type of an Arrow type.
    pub fn from_arrow(arrow: &DataType) -> ColumnType {
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

    /// Returns whether job files can name the type and text formats can hold its values.
    pub fn is_written(&self) -> bool {
        match self {
            ColumnType::Arrow(other) => nested::name_of(other).is_some(),
            _ => true,
        }
    }

    /// Returns whether it is a single value: the six plain types, dates and decimals.
    pub fn is_scalar(&self) -> bool {
        match self {
            ColumnType::Arrow(other) => matches!(other, DataType::Date32 | DataType::Decimal128(..)),
            _ => true,
        }
    }

    /// Returns whether keys and state tables can hold its values: scalars, and named structs and lists of them.
    pub fn is_kept(&self) -> bool {
        self.is_scalar() || self.is_written()
    }

    /// Returns the size of a value in a fixed-length binary record; `None` if the type has no fixed size.
    pub fn fixed_bytes(&self) -> Option<u32> {
        match self {
            ColumnType::Bool => Some(1),
            ColumnType::Int64 | ColumnType::Float64 | ColumnType::Timestamp => Some(8),
            ColumnType::Text | ColumnType::Binary | ColumnType::Arrow(_) => None,
        }
    }

    /// Returns the Arrow type that represents this one.
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
        let kind = self.arrow();
        let name = match self {
            ColumnType::Arrow(other) => nested::name_of(other),
            _ => nested::plain_name(&kind).map(str::to_owned),
        };
        match name {
            Some(name) => f.write_str(&name),
            None => write!(f, "arrow {kind}"),
        }
    }
}
