//! Finds the cursor in the rows of a response. It is searched in the response itself: only the beginning of a row that is too long is kept, and the
//! cursor may follow it.

use millstream_rows::decode::json::{each_element, is_one_value, text_at, value_at};
use millstream_rows::decode::mark;

/// Returns the value at `path` of the last row that has one. If the last row is incomplete, the next request so fetches only that row, and not the
/// complete rows before it again.
///
/// Rows are delimited as by [`cut`](millstream_connect::receiver::bodies::cut).
pub fn last_of(response: &[u8], path: &[String]) -> Option<String> {
    let response = response.strip_prefix(mark::UTF_8).unwrap_or(response).trim_ascii();
    let text = std::str::from_utf8(response).ok();
    if let Some(text) = text.filter(|text| text.starts_with('[')) {
        return last_of_array(text, path);
    }
    match text.filter(|text| is_one_value(text)) {
        Some(row) => value_of(row, path),
        None => response.rsplit(|byte| *byte == b'\n').find_map(|line| value_of(std::str::from_utf8(line).ok()?, path)),
    }
}

fn last_of_array(text: &str, path: &[String]) -> Option<String> {
    let mut last = None;
    each_element(text, |element| last = Some(element)).ok()?;
    if let Some(found) = value_of(last?, path) {
        return Some(found);
    }
    // Searching all elements is rare, and takes as long as finding them.
    let mut found = None;
    each_element(text, |element| found = value_of(element, path).or(found.take())).ok()?;
    found
}

/// Returns the value of a complete row as text for a URL. Numbers keep their digits, as servers may compare them as text. An incomplete row has no
/// value even if its cursor is readable: it may be the beginning of a longer number.
fn value_of(row: &str, path: &[String]) -> Option<String> {
    text_at(value_at(row, path).ok()??, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(response: &str) -> Option<String> {
        last_of(response.as_bytes(), &["a".into(), "id".into()])
    }

    #[test]
    fn the_last_row_tells_the_cursor() {
        for (response, expected) in [
            ("", None),
            ("[]", None),
            ("[{\"a\":{\"id\":1}},{\"a\":{\"id\":2.50}}]", Some("2.50")),
            ("\u{FEFF} [\n{\"a\":{\"id\":\"x \\u0026\"}}\n]\n", Some("x &")),
            ("{\"a\":{\"id\":1}}\n{\"a\":{\"id\":2}}\r\n\n", Some("2")),
            ("{\"a\":{\"id\":7}}", Some("7")),
            // One row over several lines, one of which could itself be a row.
            ("{\n\"b\":\n{\"a\":{\"id\":1}}\n}", None),
            ("{\n\"a\":\n{\"id\":1}\n}", Some("1")),
            ("{\"a\":{\"id\":1}}\n{\"a\":{\"id\":null}}\n{\"a\":[]}", Some("1")),
        ] {
            assert_eq!(found(response).as_deref(), expected, "{response}");
        }
    }

    #[test]
    fn where_the_last_row_tells_none_the_one_before_does() {
        let rows = "{\"a\":{\"id\":11}}\n{\"a\":{\"id\":12}}\n{\"a\":{\"id\":1234},\"b\":\"c\"}";
        let total = rows.len();
        let first = rows.find("{\"a\":{\"id\":1234").unwrap();
        assert_eq!(found(rows).as_deref(), Some("1234"));
        for end in first..total {
            assert_eq!(found(&rows[..end]).as_deref(), Some("12"), "{}", &rows[..end]);
        }
        assert_eq!(found("[{\"a\":{\"id\":1}},{\"a\":{\"id\":2}},{\"a\":{}},7]").as_deref(), Some("2"));
        assert_eq!(found("[{\"a\":{}},7]"), None);
        let mut odd = b"{\"a\":{\"id\":1}}\n".to_vec();
        odd.extend(b"{\"a\":{\"id\":\"\xff\"}}\n");
        assert_eq!(last_of(&odd, &["a".into(), "id".into()]).as_deref(), Some("1"));
    }

    #[test]
    fn a_long_row_tells_it_behind_all_else() {
        let row = format!("{{\"pad\":\"{}\",\"a\":{{\"id\":9}}}}", "x".repeat(1 << 20));
        assert_eq!(found(&row).as_deref(), Some("9"));
        assert_eq!(found(&format!("[{{}},{row}]")).as_deref(), Some("9"));
        assert_eq!(found(&format!("{{}}\n{row}\n")).as_deref(), Some("9"));
    }
}
