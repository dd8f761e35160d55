//! A row of a table as a JSON object: each value as the type of its column in the job wants it. The server writes all values as text.

use crate::postgres::pgoutput::Cell;
use arrow::datatypes::DataType;
use millstream_base::batch::types::ColumnType;
use millstream_base::hex;
use millstream_base::job::spec::{ColumnSource, SourceSpec, TimeForm};
use serde_json::Value as Json;
use serde_json::de::from_str;
use std::collections::BTreeMap;

/// The member of an object that holds the row as it was before.
pub const BEFORE: &str = "before";
/// How deep arrays may lie in each other.
const DEPTH_MAX: usize = 32;

/// Which columns a job wants of a table, and of rows as they were before.
#[derive(Clone, Debug, Default)]
pub struct WantedColumns {
    pub now: BTreeMap<String, ValueKind>,
    pub before: BTreeMap<String, ValueKind>,
}

/// The kind of JSON value that a column becomes in the object of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueKind {
    /// Text as the server writes it.
    Text,
    /// Hexadecimal digits.
    Bytes,
    /// `true` or `false`
    Bool,
    /// As RFC 3339 says, years that it cannot write with a sign.
    Time,
    /// As ISO 8601 says, other years than of four digits with a sign.
    Date,
    /// JSON, or an array of PostgreSQL's whose elements are this.
    List(Box<ValueKind>),
    /// JSON as it stands, where it is some: numbers, and what columns hold that are JSON themselves.
    Json,
}

impl ValueKind {
    fn of(kind: &ColumnType, form: &TimeForm) -> ValueKind {
        match kind {
            ColumnType::Text => ValueKind::Text,
            ColumnType::Binary => ValueKind::Bytes,
            ColumnType::Bool => ValueKind::Bool,
            ColumnType::Timestamp if *form == TimeForm::Text => ValueKind::Time,
            ColumnType::Arrow(DataType::List(element) | DataType::LargeList(element)) => {
                ValueKind::List(Box::new(ValueKind::of(&ColumnType::of(element.data_type()), &TimeForm::Text)))
            }
            ColumnType::Arrow(DataType::Date32) => ValueKind::Date,
            _ => ValueKind::Json,
        }
    }
}

impl WantedColumns {
    /// By the columns of a source.
    pub fn by(source: &SourceSpec) -> WantedColumns {
        let mut wanted = WantedColumns::default();
        for column in source.schema.iter().filter(|column| column.from == ColumnSource::Value) {
            let (to, path) = match column.place() {
                [before, rest @ ..] if before == BEFORE && !rest.is_empty() => (&mut wanted.before, rest),
                path => (&mut wanted.now, path),
            };
            let Some(name) = path.first() else { continue };
            let form = if path.len() > 1 { ValueKind::Json } else { ValueKind::of(&column.kind, &column.form) };
            // Whoever wants a part of it wants it as JSON, which a text takes as well.
            let known = to.entry(name.clone()).or_insert_with(|| form.clone());
            if form == ValueKind::Json {
                *known = form;
            }
        }
        wanted
    }
}

/// Adds the members of a row. The error names a column whose value is not known.
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

/// Adds a text in quotes.
fn quote(text: &str, to: &mut String) {
    // As nearly all are.
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        to.push('"');
        to.push_str(text);
        to.push('"');
    } else {
        to.push_str(&Json::from(text).to_string());
    }
}

/// Adds a value as JSON. What is none of its form stays text, and the decoder says what is wrong.
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
                for (place, element_text) in elements.into_iter().enumerate() {
                    if place > 0 {
                        to.push(',');
                    }
                    match element_text {
                        None => to.push_str("null"),
                        // An array of arrays has elements of its own form.
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

/// `2026-11-22 19:00:00.5+00` as RFC 3339 writes it, years of other than four digits as our sinks do; other texts stay as they are.
fn time(text: &str) -> String {
    let (moment, is_bc) = text.strip_suffix(" BC").map_or((text, false), |moment| (moment, true));
    let Some((day, clock)) = moment.split_once(' ') else { return text.to_owned() };
    if !clock.bytes().all(|b| b.is_ascii_digit() || b":.+-".contains(&b)) {
        return text.to_owned();
    }
    let (clock, zone) = clock.strip_suffix("+00").map_or((clock, ""), |clock| (clock, "Z"));
    match iso_day(day, is_bc) {
        None => format!("{day}T{clock}{zone}"),
        Some(day) => {
            let (seconds, fraction) = clock.split_once('.').unwrap_or((clock, ""));
            format!("{day}T{seconds}.{fraction:0<6}{zone}")
        }
    }
}

/// `0044-03-15 BC` as ISO 8601 writes it; `None`: it is one of four digits, or no date.
fn date(text: &str) -> Option<String> {
    let (day, is_bc) = text.strip_suffix(" BC").map_or((text, false), |day| (day, true));
    iso_day(day, is_bc)
}

/// A day of another year than of four digits, with a sign: 1 BC is the year 0.
fn iso_day(day: &str, is_bc: bool) -> Option<String> {
    let (year, rest) = day.split_once('-')?;
    let number: u32 = year.parse().ok().filter(|_| is_bc || year.len() > 4)?;
    Some(match is_bc {
        true => format!("-{:04}-{rest}", number.checked_sub(1)?),
        false => format!("+{year}-{rest}"),
    })
}

/// The elements of an array as PostgreSQL writes it: `{1,NULL,"a \"b\""}`; `None`: it is none.
fn array(text: &str) -> Option<Vec<Option<String>>> {
    // Where numbers of elements do not begin at one, they stand before: `[0:2]={…}`.
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
    // An object of JSON begins with a name.
    let mut elements = Vec::new();
    if inside.is_empty() {
        return Some(elements);
    }
    let mut letters = inside.chars().peekable();
    loop {
        let (mut element, mut is_quoted, mut depth) = (String::new(), false, 0_usize);
        if letters.peek() == Some(&'"') {
            letters.next();
            is_quoted = true;
            loop {
                match letters.next()? {
                    '"' => break,
                    '\\' => element.push(letters.next()?),
                    letter => element.push(letter),
                }
            }
        } else {
            let mut in_quotes = false;
            while let Some(letter) = letters.next_if(|letter| depth > 0 || in_quotes || *letter != ',') {
                match letter {
                    '\\' if in_quotes => {
                        element.push(letter);
                        element.push(letters.next()?);
                        continue;
                    }
                    '"' => in_quotes = !in_quotes,
                    '{' if !in_quotes => depth += 1,
                    '}' if !in_quotes => depth = depth.checked_sub(1)?,
                    _ => {}
                }
                element.push(letter);
            }
        }
        elements.push((is_quoted || element != "NULL").then_some(element));
        match letters.next() {
            None => return Some(elements),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}

/// The elements of an array of boxes, the only ones that hold commas and are not quoted: `(1,1),(0,0);(2,2),(1,1)`. `None`: it is none.
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
            let mut told = String::new();
            json(text, &form, 0, &mut told);
            assert_eq!(told, expected, "{text}");
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
