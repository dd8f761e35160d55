//! Conversion of JSON arrays to PostgreSQL arrays: `[[1, 2], [3, null]]` becomes `{{"1","2"},{"3",NULL}}`.

use super::conversion::{ArrayElements, ArrayForm};
use serde::de::IgnoredAny;
use std::borrow::Cow;

/// Converts a JSON array to a PostgreSQL array; `None` if the text is not one: it may already be in PostgreSQL's own form. Arrays within an
/// array become further dimensions if all of its elements are arrays.
pub(super) fn of_text(text: &str, form: ArrayForm) -> Option<String> {
    let text = text.trim_ascii();
    // The text is valid JSON from here on.
    if !text.starts_with('[') || serde_json::from_str::<IgnoredAny>(text).is_err() {
        return None;
    }
    let mut array = String::with_capacity(text.len() * 2);
    write(text, form, &mut array)?;
    // An array without elements is written like this, whatever its dimensions are.
    let is_empty = array.chars().all(|char| matches!(char, '{' | '}') || char == form.delimiter);
    Some(if is_empty { "{}".into() } else { array })
}

fn write(array: &str, form: ArrayForm, out: &mut String) -> Option<()> {
    let elements = elements(array)?;
    let is_array = |element: &&str| element.starts_with('[');
    let is_json = form.elements == ArrayElements::Json;
    let nested = !is_json && !elements.is_empty() && elements.iter().all(is_array);
    out.push('{');
    for (index, element) in elements.into_iter().enumerate() {
        if index > 0 {
            out.push(form.delimiter);
        }
        match element.as_bytes().first() {
            Some(b'n') => out.push_str("NULL"),
            Some(b'[') if nested => write(element, form, out)?,
            Some(b'"') if !is_json => {
                let text = serde_json::from_str::<String>(element).ok()?;
                match form.elements {
                    ArrayElements::Bytes => quote(&format!("\\x{text}"), out),
                    ArrayElements::Times => quote(&time(&text), out),
                    ArrayElements::Json | ArrayElements::Text => quote(&text, out),
                }
            }
            _ => quote(element, out),
        }
    }
    out.push('}');
    Some(())
}

/// Converts a date or time to PostgreSQL's notation: no sign, and years before 1 are BC.
fn time(text: &str) -> Cow<'_, str> {
    if let Some(unsigned) = text.strip_prefix('+') {
        return Cow::Borrowed(unsigned);
    }
    let (unsigned, is_before) = text.strip_prefix('-').map_or((text, false), |unsigned| (unsigned, true));
    let Some((year, rest)) = unsigned.split_once('-') else { return Cow::Borrowed(text) };
    match year.parse::<u32>() {
        Ok(year) if is_before || year == 0 => Cow::Owned(format!("{:04}-{rest} BC", year.saturating_add(1))),
        _ => Cow::Borrowed(text),
    }
}

/// Splits a valid JSON array into its elements, as they are written.
fn elements(array: &str) -> Option<Vec<&str>> {
    let inner = array.strip_prefix('[')?.strip_suffix(']')?;
    let (mut elements, mut start) = (Vec::new(), 0);
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for (index, byte) in inner.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                elements.push(inner.get(start..index)?.trim_ascii());
                start = index + 1;
            }
            _ => {}
        }
    }
    let last = inner.get(start..)?.trim_ascii();
    if !last.is_empty() {
        elements.push(last);
    }
    Some(elements)
}

fn quote(element: &str, out: &mut String) {
    out.push('"');
    for char in element.chars() {
        if matches!(char, '"' | '\\') {
            out.push('\\');
        }
        out.push(char);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::super::conversion::{ArrayElements, ArrayForm};

    fn of_text(text: &str, elements: ArrayElements) -> Option<String> {
        super::of_text(text, ArrayForm { elements, delimiter: ',' })
    }

    #[test]
    fn json_arrays_become_those_of_postgresql() {
        for (json, array) in [
            ("[]", "{}"),
            (" \n[ 1 , -2.5e3,true ] ", r#"{"1","-2.5e3","true"}"#),
            (r#"["a\"b\\c,[{}]", null, "null", "\u00e9"]"#, r#"{"a\"b\\c,[{}]",NULL,"null","é"}"#),
            ("[[1, 2], [3, null]]", r#"{{"1","2"},{"3",NULL}}"#),
            ("[[[]], [[]]]", "{}"),
            // If not all elements are arrays, they are strings.
            (r#"[[1,"]"], "x"]"#, r#"{"[1,\"]\"]","x"}"#),
            (r#"[{"a": [1, "}"]}]"#, r#"{"{\"a\": [1, \"}\"]}"}"#),
        ] {
            assert_eq!(of_text(json, ArrayElements::Text).as_deref(), Some(array), "{json}");
        }
        let cases = [
            (r#"["a", [1], null]"#, ArrayElements::Json, r#"{"\"a\"","[1]",NULL}"#),
            (r#"["00ff", "", null]"#, ArrayElements::Bytes, r#"{"\\x00ff","\\x",NULL}"#),
            (r#"[["00"], ["ff"]]"#, ArrayElements::Bytes, r#"{{"\\x00"},{"\\xff"}}"#),
            (
                r#"["2024-05-01", "+20000-01-01", "0000-12-31", "-0043-03-15", null]"#,
                ArrayElements::Times,
                r#"{"2024-05-01","20000-01-01","0001-12-31 BC","0044-03-15 BC",NULL}"#,
            ),
            (r#"["-0043-03-15T12:00:00.000000Z"]"#, ArrayElements::Times, r#"{"0044-03-15T12:00:00.000000Z BC"}"#),
        ];
        for (json, elements, array) in cases {
            assert_eq!(of_text(json, elements).as_deref(), Some(array), "{json}");
        }
        let boxes = ArrayForm { elements: ArrayElements::Text, delimiter: ';' };
        assert_eq!(super::of_text(r#"["(1,1),(0,0)", null]"#, boxes).as_deref(), Some(r#"{"(1,1),(0,0)";NULL}"#));
        for other in ["{1,2}", "[0:1]={1,2}", "", "[1", "[1]]", "null", "\u{a0}[1]"] {
            assert_eq!(of_text(other, ArrayElements::Text), None, "{other}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(of_text(&deep, ArrayElements::Text), None);
    }
}
