//! The cursor that the rows of an answer tell. It is looked for in the answer itself: of a row that is too long only the
//! beginning is kept, and the cursor may stand behind it.

use millstream_base::decode::json::{each_element, is_one_value, text_at, value_at};
use millstream_base::decode::mark;

/// The value at this path of the last row that has one there. Where the last row is broken off the next request so asks for it
/// alone, and not for all the good ones before it again.
///
/// Rows are found as [`cut`](crate::receiver::bodies::cut) finds them.
pub fn last_of(answer: &[u8], path: &[String]) -> Option<String> {
    let answer = answer.strip_prefix(mark::UTF_8).unwrap_or(answer).trim_ascii();
    let text = std::str::from_utf8(answer).ok();
    if let Some(text) = text.filter(|text| text.starts_with('[')) {
        return last_of_array(text, path);
    }
    match text.filter(|text| is_one_value(text)) {
        Some(row) => told(row, path),
        None => answer.rsplit(|byte| *byte == b'\n').find_map(|line| told(std::str::from_utf8(line).ok()?, path)),
    }
}

fn last_of_array(text: &str, path: &[String]) -> Option<String> {
    let mut last = None;
    each_element(text, |element| last = Some(element)).ok()?;
    if let Some(found) = told(last?, path) {
        return Some(found);
    }
    // All of them are looked into only now: it is rare, and takes as long as to find them.
    let mut found = None;
    each_element(text, |element| found = told(element, path).or(found.take())).ok()?;
    found
}

/// What a whole row says there, as a URL can say it: a number digit by digit, as it is compared with others there. One that is
/// broken off says nothing, even if its cursor can be read: it may be the beginning of a longer number.
fn told(row: &str, path: &[String]) -> Option<String> {
    text_at(value_at(row, path).ok()??, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(answer: &str) -> Option<String> {
        last_of(answer.as_bytes(), &["a".into(), "id".into()])
    }

    #[test]
    fn the_last_row_tells_the_cursor() {
        for (answer, expected) in [
            ("", None),
            ("[]", None),
            ("[{\"a\":{\"id\":1}},{\"a\":{\"id\":2.50}}]", Some("2.50")),
            ("\u{FEFF} [\n{\"a\":{\"id\":\"x \\u0026\"}}\n]\n", Some("x &")),
            ("{\"a\":{\"id\":1}}\n{\"a\":{\"id\":2}}\r\n\n", Some("2")),
            ("{\"a\":{\"id\":7}}", Some("7")),
            // One row over several lines, of which one could be a row.
            ("{\n\"b\":\n{\"a\":{\"id\":1}}\n}", None),
            ("{\n\"a\":\n{\"id\":1}\n}", Some("1")),
            ("{\"a\":{\"id\":1}}\n{\"a\":{\"id\":null}}\n{\"a\":[]}", Some("1")),
        ] {
            assert_eq!(found(answer).as_deref(), expected, "{answer}");
        }
    }

    #[test]
    fn where_the_last_row_tells_none_the_one_before_does() {
        let rows = "{\"a\":{\"id\":11}}\n{\"a\":{\"id\":12}}\n{\"a\":{\"id\":1234},\"b\":\"c\"}";
        let whole = rows.len();
        let first = rows.find("{\"a\":{\"id\":1234").unwrap();
        assert_eq!(found(rows).as_deref(), Some("1234"));
        for end in first..whole {
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
