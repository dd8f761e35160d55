//! Bytes as hexadecimal digits. Only lower case is written, so that keys, digests and signatures each have one text.

/// Returns two digits per byte.
pub fn encode(bytes: &[u8]) -> String {
    let mut digits = String::new();
    write(&mut digits, bytes);
    digits
}

/// Appends the digits to `out`, like [`encode`].
pub fn write(out: &mut String, bytes: &[u8]) {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    out.reserve(bytes.len() * 2);
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// Decodes digits in either case; `None` if the text holds anything else.
pub fn decode(digits: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| Some(value(high.to_ascii_lowercase())? << 4 | value(low.to_ascii_lowercase())?);
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

/// Decodes exactly `BYTES` bytes of lower-case digits; `None` otherwise.
pub fn decode_exact<const BYTES: usize>(digits: &str) -> Option<[u8; BYTES]> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if pairs.len() != BYTES || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; BYTES];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = value(*high)? << 4 | value(*low)?;
    }
    Some(bytes)
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_the_bytes_and_nothing_else_is_taken_for_them() {
        assert_eq!(encode(&[0, 0xab, 0xff]), "00abff");
        assert_eq!(decode("00abFF"), Some(vec![0, 0xab, 0xff]));
        assert_eq!(decode(""), Some(Vec::new()));
        assert_eq!(decode_exact("00abff"), Some([0, 0xab, 0xff]));
        for wrong in ["0", "+f", "0g", " 0", "0x", "ä"] {
            assert_eq!((decode(wrong), decode_exact::<1>(wrong)), (None, None), "{wrong}");
        }
        assert_eq!((decode_exact::<3>("00abFF"), decode_exact::<2>("00abff")), (None, None));
    }
}
