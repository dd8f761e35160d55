//! How values get into a column of a table: copied as they are, or copied as another type and cast by the server.

use crate::postgres::quoted;
use arrow::datatypes::DataType;
use millstream_base::batch::types::ColumnType;
use tokio_postgres::types::Type;

/// A column of a table as it is.
pub(super) struct ColumnFacts<'a> {
    /// Where the driver knows it.
    pub kind: Option<&'a Type>,
    /// Its type as SQL writes it.
    pub told: &'a str,
    /// The same without length and the like.
    pub plain: &'a str,
    /// Of an array, the type of its elements as SQL writes it.
    pub element: Option<&'a str>,
}

/// The way of one column.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ColumnConversion {
    /// What is copied.
    pub copied: Type,
    /// Where the column is an array, and what is copied a text for it.
    pub array: Option<ArrayForm>,
    /// What becomes of it, with the quoted name of the column in it; `None`: it is copied into the column itself.
    pub cast: Option<String>,
    /// The same as the column holds it in the end, rounded for one: by this keys are told apart.
    pub stored: Option<String>,
}

/// How PostgreSQL reads an array.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ArrayForm {
    pub elements: ArrayElements,
    /// What stands between elements.
    pub delimiter: char,
}

/// What the elements of an array in JSON are for PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArrayElements {
    /// Text as the server reads it: strings without their quotes, and all else as it stands.
    Text,
    /// JSON as it stands.
    Json,
    /// Strings of hexadecimal digits.
    Bytes,
    /// Dates and times as our sinks write them.
    Times,
}

impl ArrayForm {
    /// Of values of this type in an array of these elements.
    fn of(kind: &ColumnType, element: &str) -> ArrayForm {
        let elements = match (innermost(kind), element) {
            // A text holds a document, as it does where a column is of one.
            (Some(DataType::Utf8), "json" | "jsonb") => ArrayElements::Text,
            (_, "json" | "jsonb") => ArrayElements::Json,
            (Some(DataType::Binary), "bytea") => ArrayElements::Bytes,
            (Some(DataType::Timestamp(..) | DataType::Date32), "date") => ArrayElements::Times,
            (Some(DataType::Timestamp(..) | DataType::Date32), time) if time.starts_with("timestamp") => {
                ArrayElements::Times
            }
            _ => ArrayElements::Text,
        };
        // The only type of PostgreSQL whose values may hold a comma that is not quoted.
        ArrayForm { elements, delimiter: if element == "box" { ';' } else { ',' } }
    }
}

/// What the lists of a type of lists hold.
fn innermost(kind: &ColumnType) -> Option<&DataType> {
    let ColumnType::Arrow(DataType::List(item) | DataType::LargeList(item)) = kind else { return None };
    let mut item = item;
    while let DataType::List(inner) | DataType::LargeList(inner) = item.data_type() {
        item = inner;
    }
    Some(item.data_type())
}

impl ColumnConversion {
    /// Of text that is copied as it is.
    pub fn of_text() -> ColumnConversion {
        ColumnConversion { copied: Type::TEXT, array: None, cast: None, stored: None }
    }

    /// How values of a type get into the column of this name; `None`: they do not.
    pub fn of(name: &str, kind: &ColumnType, there: &ColumnFacts<'_>) -> Option<ColumnConversion> {
        if let Some(same) = there.kind.filter(|there| fits(kind, there)) {
            return Some(ColumnConversion { copied: same.clone(), array: None, cast: None, stored: None });
        }
        let (column, plain) = (quoted(name), there.plain);
        let array = there.element.map(|element| ArrayForm::of(kind, element));
        // Structs, lists and decimals are copied as text, and dates where the column has none.
        let kind = if is_named(kind) { &ColumnType::Text } else { kind };
        let way = |copied, cast: String| {
            let stored = Some(format!("({cast})::{}", there.told));
            Some(ColumnConversion { copied, array, cast: Some(cast), stored })
        };
        match (kind, there.kind) {
            (ColumnType::Int64, Some(&Type::NUMERIC)) => way(Type::INT8, format!("{column}::numeric")),
            // As text no digit of a float is lost.
            (ColumnType::Float64, Some(&Type::NUMERIC)) => way(Type::TEXT, format!("{column}::numeric")),
            (ColumnType::Float64, Some(&Type::FLOAT4)) => way(Type::FLOAT8, format!("{column}::real")),
            (ColumnType::Timestamp, Some(&Type::DATE)) => {
                way(Type::TIMESTAMPTZ, format!("({column} at time zone 'UTC')::date"))
            }
            (ColumnType::Text, there) if !there.is_some_and(is_ours) => way(Type::TEXT, format!("{column}::{plain}")),
            _ => None,
        }
    }
}

/// Whether a column of this type can be written with ours as it is.
fn fits(kind: &ColumnType, there: &Type) -> bool {
    match kind {
        ColumnType::Bool => *there == Type::BOOL,
        ColumnType::Int64 => [Type::INT8, Type::INT4, Type::INT2].contains(there),
        ColumnType::Float64 => *there == Type::FLOAT8,
        ColumnType::Text => [Type::TEXT, Type::VARCHAR, Type::BPCHAR].contains(there),
        ColumnType::Binary => *there == Type::BYTEA,
        ColumnType::Timestamp => [Type::TIMESTAMPTZ, Type::TIMESTAMP].contains(there),
        ColumnType::Arrow(DataType::Date32) if *there == Type::DATE => true,
        // Of those, what is text there.
        kind => is_named(kind) && fits(&ColumnType::Text, there),
    }
}

/// Whether values of this type have a form as text.
pub(super) fn is_named(kind: &ColumnType) -> bool {
    matches!(kind, ColumnType::Arrow(_)) && kind.is_written()
}

/// Types that rows have themselves, so that text in such a column is a mistake of the job.
fn is_ours(there: &Type) -> bool {
    [
        Type::BOOL,
        Type::INT2,
        Type::INT4,
        Type::INT8,
        Type::FLOAT4,
        Type::FLOAT8,
        Type::BYTEA,
        Type::TIMESTAMP,
        Type::TIMESTAMPTZ,
    ]
    .contains(there)
}
