//! The columns of a table whose author did not say them: the narrowest type that all values of a column have.

use super::content::{header, records};
use crate::receiver::framing::trim_csv_line_end;
use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::string_to_datetime;
use millstream_rows::batch::types::ColumnType;
use millstream_rows::decode::csv;
use millstream_rows::formats::Format;
use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;
use std::fmt;

/// The columns of a csv file with a header.
pub fn of_csv(content: &[u8]) -> Result<Vec<(String, ColumnType)>, String> {
    let format = Format::Csv { header: true, separator: b',' };
    let (names, chunks) = records(&format, Vec::new(), content);
    let mut columns: Vec<(String, PossibleTypes)> =
        header(names)?.into_iter().map(|name| (name, PossibleTypes::default())).collect();
    for chunk in chunks {
        let mut start = 0;
        for end in &chunk.ends {
            let record = chunk.bytes.get(start..*end as usize).unwrap_or_default();
            start = *end as usize;
            let record = text(trim_csv_line_end(record))?;
            if record.is_empty() {
                continue;
            }
            let cells = csv::cells(record, b',').map_err(|reason| format!("{reason}, in `{record}`"))?;
            for ((_, guess), cell) in columns.iter_mut().zip(cells) {
                guess.text(cell.trim_ascii());
            }
        }
    }
    Ok(kinds(columns))
}

/// Returns the columns of JSON lines, in the order of their first occurrence.
pub fn of_json(content: &[u8]) -> Result<Vec<(String, ColumnType)>, String> {
    let mut columns: Vec<(String, PossibleTypes)> = Vec::new();
    for line in text(content)?.lines().filter(|line| !line.trim().is_empty()) {
        let pairs = serde_json::Deserializer::from_str(line).deserialize_map(Pairs);
        for (name, value) in pairs.map_err(|error| format!("{error}, in `{line}`"))? {
            let index = columns.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
                columns.push((name, PossibleTypes::default()));
                columns.len() - 1
            });
            if let Some((_, guess)) = columns.get_mut(index) {
                guess.json(&value);
            }
        }
    }
    if columns.is_empty() {
        return Err("it has no rows, so its columns are unknown; write them as schema = { sku = \"text\", … }".into());
    }
    Ok(kinds(columns))
}

fn kinds(columns: Vec<(String, PossibleTypes)>) -> Vec<(String, ColumnType)> {
    columns.into_iter().map(|(name, guess)| (name, guess.kind())).collect()
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|error| format!("it is not UTF-8 at byte {}", error.valid_up_to()))
}

/// The types that fit all values of a column so far.
struct PossibleTypes {
    any: bool,
    bool: bool,
    int64: bool,
    float64: bool,
    timestamp: bool,
}

impl Default for PossibleTypes {
    fn default() -> PossibleTypes {
        PossibleTypes { any: false, bool: true, int64: true, float64: true, timestamp: true }
    }
}

impl PossibleTypes {
    /// Adds a value as text; an empty one is missing.
    fn text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let int64 = is_int64(text);
        self.is(matches!(text, "true" | "false"), int64, int64 || is_float64(text), is_timestamp(text));
    }

    fn json(&mut self, value: &Value) {
        match value {
            Value::Null => {}
            Value::Bool(_) => self.is(true, false, false, false),
            Value::Number(number) => self.is(false, number.is_i64(), number.is_i64() || number.is_f64(), false),
            Value::String(text) => self.is(false, false, false, is_timestamp(text)),
            Value::Array(_) | Value::Object(_) => self.is(false, false, false, false),
        }
    }

    fn is(&mut self, bool: bool, int64: bool, float64: bool, timestamp: bool) {
        self.any = true;
        self.bool &= bool;
        self.int64 &= int64;
        self.float64 &= float64;
        self.timestamp &= timestamp;
    }

    fn kind(&self) -> ColumnType {
        match self {
            PossibleTypes { any: false, .. } => ColumnType::Text,
            PossibleTypes { bool: true, .. } => ColumnType::Bool,
            PossibleTypes { int64: true, .. } => ColumnType::Int64,
            PossibleTypes { float64: true, .. } => ColumnType::Float64,
            PossibleTypes { timestamp: true, .. } => ColumnType::Timestamp,
            _ => ColumnType::Text,
        }
    }
}

/// Returns whether the text is an integer. Digits with a leading zero are not: `007` is a name.
fn is_int64(text: &str) -> bool {
    !has_leading_zero(text) && !text.starts_with('+') && text.parse::<i64>().is_ok()
}

/// Returns whether the text is a float. Integers that are too large for int64 are not: they would lose digits.
fn is_float64(text: &str) -> bool {
    let begins = text.trim_start_matches('-').starts_with(|first: char| first.is_ascii_digit() || first == '.');
    begins && !has_leading_zero(text) && text.contains(['.', 'e', 'E']) && text.parse::<f64>().is_ok_and(f64::is_finite)
}

fn has_leading_zero(text: &str) -> bool {
    matches!(text.trim_start_matches('-').as_bytes(), [b'0', b'0'..=b'9', ..])
}

/// A date and a time with an offset, as RFC 3339 has it.
fn is_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    let looks = text.is_ascii() && bytes.len() >= 20 && matches!(bytes.get(10), Some(b'T' | b't' | b' '));
    let offset = text.ends_with(['Z', 'z'])
        || bytes
            .len()
            .checked_sub(6)
            .is_some_and(|at| matches!(bytes.get(at), Some(b'+' | b'-')) && bytes.get(at + 3) == Some(&b':'));
    looks && offset && "UTC".parse::<Tz>().is_ok_and(|utc| string_to_datetime(&utc, text).is_ok())
}

/// The pairs of a JSON object, in their order.
struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<(String, Value)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(columns: Vec<(String, ColumnType)>) -> String {
        columns.iter().map(|(name, kind)| format!("{name} {kind}")).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn csv_columns_have_the_narrowest_type_of_all_their_values() {
        let csv = "sku,zip,n,x,ok,at,big,mixed,none\n\
                   a,01234,1,1,true,2024-05-01T12:00:00Z,12345678901234567890,1,\n\
                   \"b,c\",99999,-2,2.5e3,false,2024-05-01T14:00:00.5+02:00,1,x,\n\
                   d,,,,,,,,\n";
        let expected = "sku text, zip text, n int64, x float64, ok bool, at timestamp, big text, mixed text, none text";
        assert_eq!(described(of_csv(csv.as_bytes()).unwrap()), expected);
        assert_eq!(of_csv(b"").unwrap_err(), "it has no header");
        assert_eq!(described(of_csv(b"a,b\n").unwrap()), "a text, b text");
        assert!(of_csv(b"a,b\n1,\"x\n").is_err());
    }

    #[test]
    fn json_columns_come_in_order_and_from_all_lines() {
        let json = "{\"sku\":\"a\",\"n\":1,\"x\":1,\"zip\":\"012\"}\n\n\
                    {\"n\":null,\"x\":0.5,\"ok\":true,\"at\":\"2024-05-01T12:00:00Z\",\"tags\":[1]}\n";
        let expected = "sku text, n int64, x float64, zip text, ok bool, at timestamp, tags text";
        assert_eq!(described(of_json(json.as_bytes()).unwrap()), expected);
        assert!(of_json(b"[1]\n").unwrap_err().contains("a JSON object"));
    }
}
