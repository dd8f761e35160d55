//! Texts in lines of JSON that receivers write themselves.

use std::borrow::Cow;

/// Bytes that should be a text, as far as they are one. Nearly all are, and to look at them as a whole is quicker than piece by piece.
pub fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// Adds a text in quotes.
pub fn write_text(text: &str, line: &mut Vec<u8>) {
    // To look at all bytes without a branch for each is quicker than to write them one by one, and few texts have any.
    let is_special = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    match text.bytes().fold(false, |found, byte| found | is_special(byte)) {
        false => {
            line.reserve(text.len() + 2);
            line.push(b'"');
            line.extend_from_slice(text.as_bytes());
            line.push(b'"');
        }
        // A text can be written, and memory takes it.
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
