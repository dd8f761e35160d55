//! What a value within a list, a struct or a text of JSON is wanted as: the one place that says how a format writes it, so that it is
//! taken as a column of its type takes a value of its own.

use super::json_text::quoted;
use crate::batch::cell;
use crate::batch::types::ColumnType;
use arrow::datatypes::DataType;

/// A type that a value is wanted as.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The column that it is in, for messages.
    column: &'a str,
    /// `None`: the value is part of a text of JSON, which has what the record holds: bytes as hexadecimal digits, times as the numbers
    /// that stand there.
    kind: Option<&'a DataType>,
}

impl<'a> Wanted<'a> {
    /// What a column of this name and type wants.
    pub fn of(column: &'a str, kind: Option<&'a DataType>) -> Wanted<'a> {
        Wanted { column, kind }
    }

    /// What it wants of each item of a list.
    pub fn item(self) -> Wanted<'a> {
        match self.kind {
            Some(DataType::List(item)) => Wanted { kind: Some(item.data_type()), ..self },
            _ => Wanted { kind: None, ..self },
        }
    }

    /// What it wants of the member of this name; `None`: nothing.
    pub fn member(self, name: &str) -> Option<Wanted<'a>> {
        match self.kind {
            Some(DataType::Struct(members)) => {
                let member = members.iter().find(|member| member.name() == name)?;
                Some(Wanted { kind: Some(member.data_type()), ..self })
            }
            _ => Some(Wanted { kind: None, ..self }),
        }
    }

    /// Whether it is part of a text of JSON.
    pub fn is_in_text(self) -> bool {
        self.kind.is_none()
    }

    /// Whether it is wanted as this type.
    pub fn is(self, kind: &DataType) -> bool {
        self.kind == Some(kind)
    }

    /// Whether it is wanted as a struct.
    pub fn is_struct(self) -> bool {
        matches!(self.kind, Some(DataType::Struct(_)))
    }

    /// Whether a number that is a time is wanted as that time, and not as the number.
    pub fn is_time(self) -> bool {
        !matches!(self.kind, None | Some(DataType::Utf8 | DataType::Int64 | DataType::Float64))
    }

    /// Whether a text without letters is a value.
    pub fn takes_empty_text(self) -> bool {
        matches!(self.kind, None | Some(DataType::Utf8 | DataType::Binary))
    }

    /// Writes a text.
    pub fn text(self, text: &str, out: &mut String) {
        match self.kind {
            Some(DataType::Binary) => quoted(&crate::hex::encode(text.as_bytes()), out),
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

    /// Writes bytes, which are a text where they are wanted as one.
    pub fn bytes(self, bytes: &[u8], out: &mut String) -> Result<(), String> {
        match self.kind {
            None | Some(DataType::Binary) => quoted(&crate::hex::encode(bytes), out),
            Some(DataType::Utf8) => {
                let text = std::str::from_utf8(bytes);
                let wrong = |at: usize| format!("column `{}`: bytes that are not UTF-8 at byte {at}", self.column);
                quoted(text.map_err(|error| wrong(error.valid_up_to()))?, out);
            }
            Some(_) => return Err(self.wrong("bytes")),
        }
        Ok(())
    }

    /// Writes a float. A number is the one that it is as a column of its own; a text has no more digits than the float.
    pub fn float32(self, value: f32, out: &mut String) {
        let text = match self.kind {
            None | Some(DataType::Utf8) => cell::float32_text(value),
            Some(_) => cell::float_text(f64::from(value)),
        };
        float(value.is_finite(), &text, out);
    }

    /// The same of one of 64 bits.
    pub fn float64(self, value: f64, out: &mut String) {
        float(value.is_finite(), &cell::float_text(value), out);
    }

    fn wrong(self, what: &str) -> String {
        let kind = self.kind.map_or_else(String::new, |kind| ColumnType::of(kind).to_string());
        format!("column `{}`: the record has {what} where {kind} is wanted", self.column)
    }
}

/// JSON has no numbers for infinities and NaN: they are texts.
fn float(is_finite: bool, text: &str, out: &mut String) {
    if is_finite { out.push_str(text) } else { quoted(text, out) }
}
