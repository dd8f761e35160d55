//! Escapes bytes as one line of text. Bytes that are not printable text are written with a backslash.

use std::fmt::Write as _;

/// Decodes a string with the escapes `\n`, `\r`, `\t`, `\0`, `\\`, `\{` and `\x` with two hexadecimal digits.
pub fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some((plain, after)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let mut chars = after.chars();
        bytes.push(match chars.next() {
            Some('n') => b'\n',
            Some('r') => b'\r',
            Some('t') => b'\t',
            Some('0') => 0,
            Some('\\') => b'\\',
            Some('{') => b'{',
            Some('x') => {
                let digits: String = chars.by_ref().take(2).collect();
                let byte = u8::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 2);
                byte.ok_or_else(|| {
                    format!("`\\x{digits}` is not a byte; write two hexadecimal digits, for example \\x0a")
                })?
            }
            other => {
                let other = other.map(String::from).unwrap_or_default();
                return Err(format!(
                    "`\\{other}` is not an escape; write \\n, \\r, \\t, \\0, \\x0a, \\{{, or \\\\ for a backslash"
                ));
            }
        });
        rest = chars.as_str();
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

/// Encodes bytes as one line of text.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\0' => text.push_str("\\0"),
                '\\' => text.push_str("\\\\"),
                c if c.is_control() || millstream_base::shown::is_unsafe(c) => {
                    c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| push_byte(&mut text, byte));
                }
                c => text.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| push_byte(&mut text, *byte));
    }
    text
}

fn push_byte(text: &mut String, byte: u8) {
    let _ = write!(text, "\\x{byte:02x}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_escaped_comes_back() {
        for bytes in [&b"plain {text}"[..], b"a\nb\r\t\0\\", b"\xff\xfe ok \x1b[31m", "größer\u{202e}".as_bytes()] {
            let text = escape(bytes);
            assert!(!text.chars().any(char::is_control), "{text}");
            assert_eq!(unescape(&text).unwrap(), bytes, "{text}");
        }
        assert_eq!(escape(b"a\x1b\xff"), "a\\x1b\\xff");
    }
}
