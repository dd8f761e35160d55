//! The form in which a value within a list, a struct or JSON text is needed. Only this module decides how each format writes it, so that it is taken
//! as a column of its type takes a top-level value.

use super::json_text::quoted;
use crate::batch::cell;
use crate::batch::types::ColumnType;
use arrow::datatypes::DataType;

/// The type that a value must have.
#[derive(Clone, Copy, Debug)]
pub struct TargetType<'a> {
    /// The column that contains it, for messages.
    column: &'a str,
    /// `None`: the value is part of JSON text, which has the record's content: bytes as hexadecimal digits, times as the numbers in the record.
    kind: Option<&'a DataType>,
}

impl<'a> TargetType<'a> {
    /// Returns what a column of this name and type needs.
    pub fn new(column: &'a str, kind: Option<&'a DataType>) -> TargetType<'a> {
        TargetType { column, kind }
    }

    /// Returns what it needs of each item of a list.
    pub fn item(self) -> TargetType<'a> {
        match self.kind {
            Some(DataType::List(item)) => TargetType { kind: Some(item.data_type()), ..self },
            _ => TargetType { kind: None, ..self },
        }
    }

    /// Returns what it needs of the member with this name; `None`: nothing.
    pub fn member(self, name: &str) -> Option<TargetType<'a>> {
        match self.kind {
            Some(DataType::Struct(members)) => {
                let member = members.iter().find(|member| member.name() == name)?;
                Some(TargetType { kind: Some(member.data_type()), ..self })
            }
            _ => Some(TargetType { kind: None, ..self }),
        }
    }

    /// Returns whether it is part of JSON text.
    pub fn is_in_text(self) -> bool {
        self.kind.is_none()
    }

    /// Returns whether this type is needed.
    pub fn is(self, kind: &DataType) -> bool {
        self.kind == Some(kind)
    }

    /// Returns whether a struct is needed.
    pub fn is_struct(self) -> bool {
        matches!(self.kind, Some(DataType::Struct(_)))
    }

    /// Returns whether a number that is a time is needed as that time instead of the number.
    pub fn is_time(self) -> bool {
        !matches!(self.kind, None | Some(DataType::Utf8 | DataType::Int64 | DataType::Float64))
    }

    /// Returns whether an empty text is a value.
    pub fn accepts_empty_text(self) -> bool {
        matches!(self.kind, None | Some(DataType::Utf8 | DataType::Binary))
    }

    /// Writes a string.
    pub fn text(self, text: &str, out: &mut String) {
        match self.kind {
            Some(DataType::Binary) => quoted(&millstream_base::hex::encode(text.as_bytes()), out),
            _ => quoted(text, out),
        }
    }

    /// Writes the name of a value of an enum.
    pub fn symbol(self, symbol: &str, out: &mut String) -> Result<(), String> {
        if self.is(&DataType::Binary) {
            return Err(self.wrong("an enum"));
        }
        quoted(symbol, out);
        Ok(())
    }

    /// Writes bytes, as text if text is needed.
    pub fn bytes(self, bytes: &[u8], out: &mut String) -> Result<(), String> {
        match self.kind {
            None | Some(DataType::Binary) => quoted(&millstream_base::hex::encode(bytes), out),
            Some(DataType::Utf8) => {
                let text = std::str::from_utf8(bytes);
                let wrong = |at: usize| format!("column `{}`: bytes that are not UTF-8 at byte {at}", self.column);
                quoted(text.map_err(|error| wrong(error.valid_up_to()))?, out);
            }
            Some(_) => return Err(self.wrong("bytes")),
        }
        Ok(())
    }

    /// Writes a float. A number equals the value in a top-level column; a string has no more digits than the float.
    pub fn float32(self, value: f32, out: &mut String) {
        let text = match self.kind {
            None | Some(DataType::Utf8) => cell::float32_text(value),
            Some(_) => cell::float_text(f64::from(value)),
        };
        float(value.is_finite(), &text, out);
    }

    /// Writes a 64-bit float.
    pub fn float64(self, value: f64, out: &mut String) {
        float(value.is_finite(), &cell::float_text(value), out);
    }

    fn wrong(self, what: &str) -> String {
        let kind = self.kind.map_or_else(String::new, |kind| ColumnType::from_arrow(kind).to_string());
        format!("column `{}`: the record has {what} where {kind} is wanted", self.column)
    }
}

/// JSON has no numbers for infinities and NaN: they are strings.
fn float(is_finite: bool, text: &str, out: &mut String) {
    if is_finite { out.push_str(text) } else { quoted(text, out) }
}
