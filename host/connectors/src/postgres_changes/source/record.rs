//! Rows of tables as JSON objects, with each value as the column's type in the job requires it. The server sends all values as text.

use crate::postgres::pgoutput::Cell;
use arrow::datatypes::DataType;
use millstream_base::hex;
use millstream_job::spec::SourceSpec;
use millstream_rows::batch::column::{ColumnSource, TimeForm};
use millstream_rows::batch::types::ColumnType;
use serde_json::Value as Json;
use serde_json::de::from_str;
use std::collections::BTreeMap;

/// The member of an object that contains the old row.
pub const BEFORE: &str = "before";
/// Maximum nesting of arrays.
const DEPTH_MAX: usize = 32;

/// The columns that a job reads of a table, and of old rows.
#[derive(Clone, Debug, Default)]
pub struct WantedColumns {
    pub now: BTreeMap<String, ValueKind>,
    pub before: BTreeMap<String, ValueKind>,
}

/// The kind of JSON value that a column becomes in the object of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueKind {
    /// The server's text form.
    Text,
    /// Hexadecimal digits.
    Bytes,
    /// `true` or `false`
    Bool,
    /// RFC 3339, with a sign for years that it cannot represent.
    Time,
    /// ISO 8601, with a sign for years of other than four digits.
    Date,
    /// JSON, or a PostgreSQL array with elements of this kind.
    List(Box<ValueKind>),
    /// JSON unchanged, if it is valid: numbers, and columns that contain JSON.
    Json,
}

impl ValueKind {
    fn new(kind: &ColumnType, form: &TimeForm) -> ValueKind {
        match kind {
            ColumnType::Text => ValueKind::Text,
            ColumnType::Binary => ValueKind::Bytes,
            ColumnType::Bool => ValueKind::Bool,
            ColumnType::Timestamp if *form == TimeForm::Text => ValueKind::Time,
            ColumnType::Arrow(DataType::List(element) | DataType::LargeList(element)) => {
                ValueKind::List(Box::new(ValueKind::new(&ColumnType::from_arrow(element.data_type()), &TimeForm::Text)))
            }
            ColumnType::Arrow(DataType::Date32) => ValueKind::Date,
            _ => ValueKind::Json,
        }
    }
}

impl WantedColumns {
    /// Returns the columns that a source reads.
    pub fn for_source(source: &SourceSpec) -> WantedColumns {
        let mut wanted = WantedColumns::default();
        for column in source.schema.iter().filter(|column| column.from == ColumnSource::Value) {
            let (to, path) = match column.value_path() {
                [before, rest @ ..] if before == BEFORE && !rest.is_empty() => (&mut wanted.before, rest),
                path => (&mut wanted.now, path),
            };
            let Some(name) = path.first() else { continue };
            let form = if path.len() > 1 { ValueKind::Json } else { ValueKind::new(&column.kind, &column.form) };
            // A column of which a part is read is needed as JSON, which a string accepts as well.
            let known = to.entry(name.clone()).or_insert_with(|| form.clone());
            if form == ValueKind::Json {
                *known = form;
            }
        }
        wanted
    }
}

/// Appends the members of a row. The error names a column whose value is unknown.
pub fn put<'a>(
    object: &mut String,
    wanted: &BTreeMap<String, ValueKind>,
    values: impl Iterator<Item = (&'a str, &'a Cell)>,
) -> Result<(), String> {
    for (name, cell) in values {
        let Some(form) = wanted.get(name) else { continue };
        if *cell == Cell::Unchanged {
            return Err(name.to_owned());
        }
        if !object.ends_with('{') {
            object.push(',');
        }
        quote(name, object);
        object.push(':');
        match cell {
            Cell::Text(text) => json(text, form, 0, object),
            Cell::Null | Cell::Unchanged => object.push_str("null"),
        }
    }
    Ok(())
}

/// Appends a quoted text.
fn quote(text: &str, to: &mut String) {
    // The common case.
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        to.push('"');
        to.push_str(text);
        to.push('"');
    } else {
        to.push_str(&Json::from(text).to_string());
    }
}

/// Appends a value as JSON. An invalid value stays text, and the decoder reports the error.
fn json(text: &str, form: &ValueKind, depth: usize, to: &mut String) {
    let is_json = || from_str::<serde::de::IgnoredAny>(text).is_ok();
    match form {
        ValueKind::Text => quote(text, to),
        ValueKind::Bytes => match text.strip_prefix("\\x") {
            Some(digits) if hex::decode(digits).is_some() => quote(digits, to),
            _ => quote(&hex::encode(text.as_bytes()), to),
        },
        ValueKind::Bool => match text {
            "t" => to.push_str("true"),
            "f" => to.push_str("false"),
            other => quote(other, to),
        },
        ValueKind::Time => quote(&time(text), to),
        ValueKind::Date => quote(&date(text).unwrap_or_else(|| text.to_owned()), to),
        ValueKind::List(element) => match array(text) {
            Some(elements) if depth < DEPTH_MAX => {
                to.push('[');
                for (index, element_text) in elements.into_iter().enumerate() {
                    if index > 0 {
                        to.push(',');
                    }
                    match element_text {
                        None => to.push_str("null"),
                        // An array of arrays has elements of its own kind.
                        Some(text) => json(&text, element, depth + 1, to),
                    }
                }
                to.push(']');
            }
            _ if is_json() => to.push_str(text),
            _ => quote(text, to),
        },
        ValueKind::Json if is_json() => to.push_str(text),
        ValueKind::Json => quote(text, to),
    }
}

/// Converts `2026-11-22 19:00:00.5+00` to RFC 3339, with years of other than four digits in the notation of the sinks; other strings are
/// unchanged.
fn time(text: &str) -> String {
    let (moment, is_bc) = text.strip_suffix(" BC").map_or((text, false), |moment| (moment, true));
    let Some((day, time_of_day)) = moment.split_once(' ') else { return text.to_owned() };
    if !time_of_day.bytes().all(|b| b.is_ascii_digit() || b":.+-".contains(&b)) {
        return text.to_owned();
    }
    let (time_of_day, zone) =
        time_of_day.strip_suffix("+00").map_or((time_of_day, ""), |time_of_day| (time_of_day, "Z"));
    match iso_day(day, is_bc) {
        None => format!("{day}T{time_of_day}{zone}"),
        Some(day) => {
            let (seconds, fraction) = time_of_day.split_once('.').unwrap_or((time_of_day, ""));
            format!("{day}T{seconds}.{fraction:0<6}{zone}")
        }
    }
}

/// Converts `0044-03-15 BC` to ISO 8601; `None` if the year has four digits, or it is not a date.
fn date(text: &str) -> Option<String> {
    let (day, is_bc) = text.strip_suffix(" BC").map_or((text, false), |day| (day, true));
    iso_day(day, is_bc)
}

/// Formats a day of a year of other than four digits, with a sign: 1 BC is the year 0.
fn iso_day(day: &str, is_bc: bool) -> Option<String> {
    let (year, rest) = day.split_once('-')?;
    let number: u32 = year.parse().ok().filter(|_| is_bc || year.len() > 4)?;
    Some(match is_bc {
        true => format!("-{:04}-{rest}", number.checked_sub(1)?),
        false => format!("+{year}-{rest}"),
    })
}

/// Splits a PostgreSQL array, `{1,NULL,"a \"b\""}`, into its elements; `None` if it is invalid.
fn array(text: &str) -> Option<Vec<Option<String>>> {
    // If indices do not begin at one, they precede the elements: `[0:2]={…}`.
    let text = match text.split_once("]={") {
        Some((bounds, _)) if bounds.starts_with('[') && !bounds.contains(['"', '{']) => {
            text.split_at(bounds.len() + 2).1
        }
        _ => text,
    };
    let inside = text.strip_prefix('{')?.strip_suffix('}')?;
    if let Some(boxes) = boxes(inside) {
        return Some(boxes);
    }
    // A JSON object begins with a name.
    let mut elements = Vec::new();
    if inside.is_empty() {
        return Some(elements);
    }
    let mut characters = inside.chars().peekable();
    loop {
        let (mut element, mut is_quoted, mut depth) = (String::new(), false, 0_usize);
        if characters.peek() == Some(&'"') {
            characters.next();
            is_quoted = true;
            loop {
                match characters.next()? {
                    '"' => break,
                    '\\' => element.push(characters.next()?),
                    character => element.push(character),
                }
            }
        } else {
            let mut in_quotes = false;
            while let Some(character) = characters.next_if(|character| depth > 0 || in_quotes || *character != ',') {
                match character {
                    '\\' if in_quotes => {
                        element.push(character);
                        element.push(characters.next()?);
                        continue;
                    }
                    '"' => in_quotes = !in_quotes,
                    '{' if !in_quotes => depth += 1,
                    '}' if !in_quotes => depth = depth.checked_sub(1)?,
                    _ => {}
                }
                element.push(character);
            }
        }
        elements.push((is_quoted || element != "NULL").then_some(element));
        match characters.next() {
            None => return Some(elements),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}

/// Splits an array of boxes, the only elements with commas and without quotes: `(1,1),(0,0);(2,2),(1,1)`. `None` if it is invalid.
fn boxes(inside: &str) -> Option<Vec<Option<String>>> {
    if !inside.contains("),(") {
        return None;
    }
    let is_point =
        |text: &str| text.split_once(',').is_some_and(|(x, y)| [x, y].iter().all(|x| x.parse::<f64>().is_ok()));
    let is_box = |text: &str| {
        let corners = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')?.split_once("),("));
        corners.is_some_and(|(high, low)| is_point(high) && is_point(low))
    };
    let elements = inside.split(';').map(|text| match text {
        "NULL" => Some(None),
        text => is_box(text).then(|| Some(text.to_owned())),
    });
    elements.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(element: ValueKind) -> ValueKind {
        ValueKind::List(Box::new(element))
    }

    #[test]
    fn values_become_what_their_columns_want() {
        let cases = [
            ("12", ValueKind::Json, "12"),
            ("1e+300", ValueKind::Json, "1e+300"),
            ("NaN", ValueKind::Json, r#""NaN""#),
            ("12", ValueKind::Text, r#""12""#),
            ("a\"\\\n\u{1}é", ValueKind::Text, r#""a\"\\\n\u0001é""#),
            ("t", ValueKind::Bool, "true"),
            ("\\x00ff", ValueKind::Bytes, r#""00ff""#),
            ("é", ValueKind::Bytes, r#""c3a9""#),
            ("2026-11-22 19:00:00.5+00", ValueKind::Time, r#""2026-11-22T19:00:00.5Z""#),
            ("2026-11-22 19:00:00", ValueKind::Time, r#""2026-11-22T19:00:00""#),
            ("0044-03-15 12:00:00 BC", ValueKind::Time, r#""-0043-03-15T12:00:00.000000""#),
            ("0001-12-31 23:59:59.25+00 BC", ValueKind::Time, r#""-0000-12-31T23:59:59.250000Z""#),
            ("20000-01-01 00:00:00+00", ValueKind::Time, r#""+20000-01-01T00:00:00.000000Z""#),
            ("0044-03-15 BC", ValueKind::Date, r#""-0043-03-15""#),
            ("5874897-12-31", ValueKind::Date, r#""+5874897-12-31""#),
            ("2026-11-22", ValueKind::Date, r#""2026-11-22""#),
            ("-infinity", ValueKind::Date, r#""-infinity""#),
            (r#"{"0044-03-15 BC",NULL,20000-01-01}"#, list(ValueKind::Date), r#"["-0043-03-15",null,"+20000-01-01"]"#),
            ("{(1,1),(0,0);(2.5,2),(-1,1e+10)}", list(ValueKind::Text), r#"["(1,1),(0,0)","(2.5,2),(-1,1e+10)"]"#),
            ("{NULL;(1,1),(0,0)}", list(ValueKind::Text), r#"[null,"(1,1),(0,0)"]"#),
            ("{(a,b)}", list(ValueKind::Text), r#"["(a","b)"]"#),
            (r#"{"(1,2)"}"#, list(ValueKind::Text), r#"["(1,2)"]"#),
            ("infinity", ValueKind::Time, r#""infinity""#),
            (r#"{"a": [1]}"#, ValueKind::Json, r#"{"a": [1]}"#),
            ("{1,NULL,3}", list(ValueKind::Json), "[1,null,3]"),
            ("[0:1]={1,2}", list(ValueKind::Json), "[1,2]"),
            ("{}", list(ValueKind::Json), "[]"),
            ("[1, 2]", list(ValueKind::Json), "[1, 2]"),
            (r#"{t,f}"#, list(ValueKind::Bool), "[true,false]"),
            (r#"{x,"y,z","a \"b\" \\","NULL",NULL}"#, list(ValueKind::Text), r#"["x","y,z","a \"b\" \\","NULL",null]"#),
            (r#"{{1,2},{3,4}}"#, list(list(ValueKind::Json)), "[[1,2],[3,4]]"),
            (r#"{{"a}",b},{"\"",d}}"#, list(list(ValueKind::Text)), r#"[["a}","b"],["\"","d"]]"#),
            (r#"{"\\x01"}"#, list(ValueKind::Bytes), r#"["01"]"#),
        ];
        for (text, form, expected) in cases {
            let mut json_text = String::new();
            json(text, &form, 0, &mut json_text);
            assert_eq!(json_text, expected, "{text}");
        }
    }

    #[test]
    fn no_text_makes_it_panic() {
        for text in ["{", "{\"", "{\"\\", "{}}", "{{}", "[", "]={", "[0:1]={", "{,}", "{a\"", "\\x0", " ", "{é,\"é"] {
            for form in [
                list(ValueKind::Text),
                list(list(ValueKind::Json)),
                ValueKind::Bytes,
                ValueKind::Time,
                ValueKind::Date,
                ValueKind::Bool,
            ] {
                json(text, &form, 0, &mut String::new());
            }
        }
    }

    #[test]
    fn what_is_not_known_is_named() {
        let wanted = BTreeMap::from([("a".to_owned(), ValueKind::Text), ("b".to_owned(), ValueKind::Json)]);
        let mut object = "{".to_owned();
        let known = [("a", &Cell::Text("x".into())), ("c", &Cell::Unchanged), ("b", &Cell::Null)];
        put(&mut object, &wanted, known.into_iter()).unwrap();
        assert_eq!(object, r#"{"a":"x","b":null"#);
        assert_eq!(put(&mut object, &wanted, [("b", &Cell::Unchanged)].into_iter()), Err("b".to_owned()));
    }
}
