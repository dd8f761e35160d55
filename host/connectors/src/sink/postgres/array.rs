//! JSON arrays as PostgreSQL writes arrays: `[[1, 2], [3, null]]` is `{{"1","2"},{"3",NULL}}`.

use serde::de::IgnoredAny;

/// The array that a text is in JSON, as PostgreSQL reads it; `None` where it is none: it may have PostgreSQL's own form already.
/// Arrays within an array are further dimensions, where all of its elements are such. `of_json`: the elements are JSON themselves.
pub(super) fn of_text(text: &str, of_json: bool) -> Option<String> {
    let text = text.trim_ascii();
    // The rest need not look for mistakes.
    if !text.starts_with('[') || serde_json::from_str::<IgnoredAny>(text).is_err() {
        return None;
    }
    let mut array = String::with_capacity(text.len() * 2);
    write(text, of_json, &mut array)?;
    // Whatever its dimensions are, one without elements is written so.
    let is_empty = array.bytes().all(|byte| matches!(byte, b'{' | b'}' | b','));
    Some(if is_empty { "{}".into() } else { array })
}

fn write(array: &str, of_json: bool, out: &mut String) -> Option<()> {
    let elements = elements(array)?;
    let is_array = |element: &&str| element.starts_with('[');
    let nested = !of_json && !elements.is_empty() && elements.iter().all(is_array);
    out.push('{');
    for (place, element) in elements.into_iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        match element.as_bytes().first() {
            Some(b'n') => out.push_str("NULL"),
            Some(b'[') if nested => write(element, of_json, out)?,
            Some(b'"') if !of_json => quote(&serde_json::from_str::<String>(element).ok()?, out),
            _ => quote(element, out),
        }
    }
    out.push('}');
    Some(())
}

/// The elements of an array in JSON that has no mistakes, as they are written there.
fn elements(array: &str) -> Option<Vec<&str>> {
    let inner = array.strip_prefix('[')?.strip_suffix(']')?;
    let (mut elements, mut start) = (Vec::new(), 0);
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for (place, byte) in inner.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                elements.push(inner.get(start..place)?.trim_ascii());
                start = place + 1;
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
    use super::of_text;

    #[test]
    fn json_arrays_become_those_of_postgresql() {
        for (json, array) in [
            ("[]", "{}"),
            (" \n[ 1 , -2.5e3,true ] ", r#"{"1","-2.5e3","true"}"#),
            (r#"["a\"b\\c,[{}]", null, "null", "\u00e9"]"#, r#"{"a\"b\\c,[{}]",NULL,"null","é"}"#),
            ("[[1, 2], [3, null]]", r#"{{"1","2"},{"3",NULL}}"#),
            ("[[[]], [[]]]", "{}"),
            // Where not all are arrays, they are texts.
            (r#"[[1,"]"], "x"]"#, r#"{"[1,\"]\"]","x"}"#),
            (r#"[{"a": [1, "}"]}]"#, r#"{"{\"a\": [1, \"}\"]}"}"#),
        ] {
            assert_eq!(of_text(json, false).as_deref(), Some(array), "{json}");
        }
        assert_eq!(of_text(r#"["a", [1], null]"#, true).as_deref(), Some(r#"{"\"a\"","[1]",NULL}"#));
        for other in ["{1,2}", "[0:1]={1,2}", "", "[1", "[1]]", "null", "\u{a0}[1]"] {
            assert_eq!(of_text(other, false), None, "{other}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(of_text(&deep, false), None);
    }
}
