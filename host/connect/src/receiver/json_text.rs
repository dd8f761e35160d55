//! Strings in lines of JSON that receivers write themselves.

use std::borrow::Cow;

/// Decodes bytes as UTF-8, with replacement characters. Nearly all are valid, and validating them in one call is faster than in pieces.
pub fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// Appends a quoted JSON string.
pub fn write_text(text: &str, line: &mut Vec<u8>) {
    // Checking all bytes without a branch for each is faster than writing them one by one, and few strings need escapes.
    let is_special = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    match text.bytes().fold(false, |found, byte| found | is_special(byte)) {
        false => {
            line.reserve(text.len() + 2);
            line.push(b'"');
            line.extend_from_slice(text.as_bytes());
            line.push(b'"');
        }
        // Neither serializing a string nor writing to memory can fail.
        true => drop(serde_json::to_writer(line, text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_written_as_json_has_them() {
        for text in ["", "abc", "a\"b", "a\\b", "\u{1f}", "\n", "ü€\u{7f}", " "] {
            let mut line = b"x:".to_vec();
            write_text(text, &mut line);
            assert_eq!(line, [b"x:", &serde_json::to_vec(text).unwrap()[..]].concat());
        }
    }
}
