//! Columns of types that have no buffers of their own at the boundary to plugins. Their values are written as text, see
//! [`batch::json::written_out`](crate::batch::json::written_out), and parsed here.

use super::columns::ColumnBuilders;
use super::written_value::WrittenValue;
use arrow::array::{Array, ArrayRef, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use std::sync::Arc;

/// Parses the column that these strings represent; rows for which `counts` is false are ignored. The error names row and column if a string is not a
/// value of the field's type, or has digits that the type cannot hold.
pub fn read(field: &Field, strings: &StringArray, counts: impl Fn(usize) -> bool) -> Result<ArrayRef, String> {
    let schema = Arc::new(Schema::new(vec![field.clone().with_nullable(true)]));
    let mut columns = ColumnBuilders::new(schema, &[]).with_hex();
    columns.reserve(strings.len());
    let nothing = match field.data_type() {
        DataType::List(_) => "[]",
        DataType::Struct(_) => "{}",
        DataType::Date32 => "1970-01-01",
        _ => "0",
    };
    for (row, text) in strings.iter().enumerate() {
        if let Some(text) = text {
            let text = if counts(row) { text } else { nothing };
            if text.trim_ascii() == "null" {
                return Err(format!("row {row}: `{text}` is a null; use `validity` for nulls"));
            }
            columns.set(0, WrittenValue::Text(text)).map_err(|error| format!("row {row}: {error}"))?;
        }
        columns.end_row();
    }
    let rows = columns.finish();
    rows.columns().first().cloned().ok_or_else(|| "the column does not exist".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::json::written_out;
    use crate::batch::types::ColumnType;

    fn field(kind: &str) -> Field {
        Field::new("x", ColumnType::from_name(kind).unwrap().arrow(), true)
    }

    #[test]
    fn what_is_written_out_is_read_again() {
        for (kind, strings) in [
            ("decimal(12,2)", vec![Some("12.50"), None, Some("-0.01"), Some("0.00"), Some("9999999999.99")]),
            ("decimal(38,0)", vec![Some("99999999999999999999999999999999999999")]),
            ("date", vec![Some("2026-11-20"), Some("1969-12-31"), None, Some("+10000-01-01"), Some("-0001-12-31")]),
            ("list<int64>", vec![Some("[]"), Some("[9007199254740993,null,-1]"), None]),
            (
                "struct<id: int64, at: timestamp, raw: binary, x: float64, of: list<struct<d: decimal(20,3), day: date>>>",
                vec![
                    Some(
                        r#"{"id":1,"at":"2026-11-20T08:30:01.123456Z","raw":"00ff","x":"NaN","of":[{"d":12345678901234567.890,"day":"2026-11-20"},null]}"#,
                    ),
                    Some(r#"{"id":null,"at":null,"raw":null,"x":-0.0,"of":null}"#),
                    None,
                ],
            ),
        ] {
            let strings = StringArray::from(strings);
            let field = field(kind);
            let column = read(&field, &strings, |_| true).unwrap();
            assert_eq!(column.data_type(), field.data_type());
            assert_eq!(written_out(&Arc::new(field), &column).unwrap(), strings, "{kind}");
        }
    }

    #[test]
    fn what_is_no_value_is_an_error_with_its_row() {
        for (kind, text, expected) in [
            ("decimal(12,2)", "12.345", "row 1: column `x`"),
            ("decimal(12,2)", "abc", "row 1: column `x`"),
            ("date", "2026-02-30", "row 1: column `x`"),
            ("list<int64>", "[1.5]", "row 1: column `x[]`: `1.5` is not an int64"),
            ("list<int64>", "null", "row 1: `null` is a null"),
            ("list<int64>", "[1", "row 1: "),
            ("struct<a: int64>", "[]", "row 1: column `x`: not struct<a: int64>"),
        ] {
            let error = read(&field(kind), &StringArray::from(vec![None, Some(text)]), |_| true).unwrap_err();
            assert!(error.contains(expected), "{kind} {text}: {error}");
            assert!(read(&field(kind), &StringArray::from(vec![None, Some(text)]), |row| row == 0).is_ok());
        }
    }
}
