//! How values get into a column of a table: copied directly, or copied as another type and cast by the server.

use crate::postgres::quoted;
use arrow::datatypes::DataType;
use millstream_rows::batch::types::ColumnType;
use tokio_postgres::types::Type;

/// An existing column of a table.
pub(super) struct ColumnFacts<'a> {
    /// Its type, if the driver knows it.
    pub kind: Option<&'a Type>,
    /// Its type in SQL notation.
    pub sql_name: &'a str,
    /// Its type without modifiers such as a length.
    pub plain: &'a str,
    /// For an array, the type of its elements in SQL notation.
    pub element: Option<&'a str>,
}

/// The conversion for one column.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ColumnConversion {
    /// The type that is copied.
    pub copied: Type,
    /// The array format, if the column is an array that is copied as text.
    pub array: Option<ArrayForm>,
    /// The cast expression with the quoted name of the column; `None`: the value is copied into the column itself.
    pub cast: Option<String>,
    /// The expression for the value as the column finally stores it, for example rounded: keys are compared by it.
    pub stored: Option<String>,
}

/// The format of an array in PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ArrayForm {
    pub elements: ArrayElements,
    /// The delimiter of elements.
    pub delimiter: char,
}

/// What the elements of a JSON array become in PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArrayElements {
    /// The server's text form: strings without their quotes, and everything else unchanged.
    Text,
    /// JSON, unchanged.
    Json,
    /// Strings of hexadecimal digits.
    Bytes,
    /// Dates and times in the notation of the sinks.
    Times,
}

impl ArrayForm {
    /// Returns the form for values of this type in an array of these elements.
    fn new(kind: &ColumnType, element: &str) -> ArrayForm {
        let elements = match (innermost(kind), element) {
            // A string contains a document, as in a column of type JSON.
            (Some(DataType::Utf8), "json" | "jsonb") => ArrayElements::Text,
            (_, "json" | "jsonb") => ArrayElements::Json,
            (Some(DataType::Binary), "bytea") => ArrayElements::Bytes,
            (Some(DataType::Timestamp(..) | DataType::Date32), "date") => ArrayElements::Times,
            (Some(DataType::Timestamp(..) | DataType::Date32), time) if time.starts_with("timestamp") => {
                ArrayElements::Times
            }
            _ => ArrayElements::Text,
        };
        // The only type of PostgreSQL whose values may contain an unquoted comma.
        ArrayForm { elements, delimiter: if element == "box" { ';' } else { ',' } }
    }
}

/// Returns the innermost element type of nested lists.
fn innermost(kind: &ColumnType) -> Option<&DataType> {
    let ColumnType::Arrow(DataType::List(item) | DataType::LargeList(item)) = kind else { return None };
    let mut item = item;
    while let DataType::List(inner) | DataType::LargeList(inner) = item.data_type() {
        item = inner;
    }
    Some(item.data_type())
}

impl ColumnConversion {
    /// Returns the conversion of text that is copied as it is.
    pub fn of_text() -> ColumnConversion {
        ColumnConversion { copied: Type::TEXT, array: None, cast: None, stored: None }
    }

    /// Returns how values of a type get into the column of this name; `None` if they cannot.
    pub fn find(name: &str, kind: &ColumnType, existing: &ColumnFacts<'_>) -> Option<ColumnConversion> {
        if let Some(same) = existing.kind.filter(|existing| fits(kind, existing)) {
            return Some(ColumnConversion { copied: same.clone(), array: None, cast: None, stored: None });
        }
        let (column, plain) = (quoted(name), existing.plain);
        let array = existing.element.map(|element| ArrayForm::new(kind, element));
        // Structs, lists and decimals are copied as text, and so are dates if the column has none.
        let kind = if is_named(kind) { &ColumnType::Text } else { kind };
        let with_cast = |copied, cast: String| {
            let stored = Some(format!("({cast})::{}", existing.sql_name));
            Some(ColumnConversion { copied, array, cast: Some(cast), stored })
        };
        match (kind, existing.kind) {
            (ColumnType::Int64, Some(&Type::NUMERIC)) => with_cast(Type::INT8, format!("{column}::numeric")),
            // As text no digit of a float is lost.
            (ColumnType::Float64, Some(&Type::NUMERIC)) => with_cast(Type::TEXT, format!("{column}::numeric")),
            (ColumnType::Float64, Some(&Type::FLOAT4)) => with_cast(Type::FLOAT8, format!("{column}::real")),
            (ColumnType::Timestamp, Some(&Type::DATE)) => {
                with_cast(Type::TIMESTAMPTZ, format!("({column} at time zone 'UTC')::date"))
            }
            (ColumnType::Text, existing) if !existing.is_some_and(is_ours) => {
                with_cast(Type::TEXT, format!("{column}::{plain}"))
            }
            _ => None,
        }
    }
}

/// Whether values of this type can be written to the column without a cast.
fn fits(kind: &ColumnType, existing: &Type) -> bool {
    match kind {
        ColumnType::Bool => *existing == Type::BOOL,
        ColumnType::Int64 => [Type::INT8, Type::INT4, Type::INT2].contains(existing),
        ColumnType::Float64 => *existing == Type::FLOAT8,
        ColumnType::Text => [Type::TEXT, Type::VARCHAR, Type::BPCHAR].contains(existing),
        ColumnType::Binary => *existing == Type::BYTEA,
        ColumnType::Timestamp => [Type::TIMESTAMPTZ, Type::TIMESTAMP].contains(existing),
        ColumnType::Arrow(DataType::Date32) if *existing == Type::DATE => true,
        // Of these, those that are text there.
        kind => is_named(kind) && fits(&ColumnType::Text, existing),
    }
}

/// Whether values of this type are copied as text.
pub(super) fn is_named(kind: &ColumnType) -> bool {
    matches!(kind, ColumnType::Arrow(_)) && kind.is_written()
}

/// Whether rows have this type themselves, so that text for such a column is an error of the job.
fn is_ours(existing: &Type) -> bool {
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
    .contains(existing)
}
