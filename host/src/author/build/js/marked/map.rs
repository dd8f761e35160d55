//! Extracts the part of a source map for some lines of a program: <https://tc39.es/ecma426>.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Returns the mappings of the lines for which `is_wanted` holds, by their number from 0. Other lines have none. `None`
/// if the mappings are invalid.
pub fn mappings_of(mappings: &str, is_wanted: impl Fn(usize) -> bool) -> Option<String> {
    let mut kept = String::new();
    // Source, line, column and name are encoded as differences to the previous segment, also across lines.
    let (mut read, mut written) = ([0_i64; 4], [0_i64; 4]);
    for (number, segments) in mappings.split(';').enumerate() {
        if number > 0 {
            kept.push(';');
        }
        let is_wanted = is_wanted(number);
        let mut separator = "";
        for segment in segments.split(',').filter(|segment| !segment.is_empty()) {
            let numbers = decode(segment)?;
            let (column, others) = numbers.split_first()?;
            if others.len() > read.len() {
                return None;
            }
            read.iter_mut().zip(others).for_each(|(sum, difference)| *sum += difference);
            if is_wanted {
                kept.push_str(separator);
                encode(*column, &mut kept);
                for (index, sum) in read.iter().enumerate().take(others.len()) {
                    encode(sum - written[index], &mut kept);
                    written[index] = *sum;
                }
                separator = ",";
            }
        }
    }
    kept.truncate(kept.trim_end_matches(';').len());
    Some(kept)
}

/// Decodes the numbers of a segment: base 64, five bits per digit, the lowest ones first, the sign in the lowest bit.
fn decode(segment: &str) -> Option<Vec<i64>> {
    let (mut numbers, mut value, mut shift) = (Vec::new(), 0_i64, 0);
    for character in segment.bytes() {
        let digit = DIGITS.iter().position(|digit| *digit == character)? as i64;
        value |= (digit & 31).checked_shl(shift).filter(|_| shift < 40)?;
        shift += 5;
        if digit & 32 == 0 {
            numbers.push(if value & 1 == 1 { -(value >> 1) } else { value >> 1 });
            (value, shift) = (0, 0);
        }
    }
    (shift == 0).then_some(numbers)
}

fn encode(number: i64, to: &mut String) {
    let mut value = (number.unsigned_abs() << 1) | u64::from(number < 0);
    loop {
        let digit = (value & 31) as usize;
        value >>= 5;
        to.push(char::from(DIGITS[if value > 0 { digit | 32 } else { digit }]));
        if value == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wanted_lines_keep_their_places() {
        // Two segments of source 0, one of source 1, and one of source 0 with a name.
        let all = "AAAA,SAASA;ACDA;;ADiBDA,E;";
        assert_eq!(mappings_of(all, |_| true).as_deref(), Some("AAAA,SAASA;ACDA;;ADiBDA,E"));
        // Line 3 is encoded relative to the start of the map.
        let only = mappings_of(all, |line| line == 3).unwrap();
        assert!(only.starts_with(";;;A"), "{only}");
        let of = |map: &str| -> Vec<i64> {
            let segments = map.split([';', ',']).filter(|segment| !segment.is_empty());
            segments.fold(vec![0; 4], |sum, segment| {
                let numbers = decode(segment).unwrap();
                sum.iter().enumerate().map(|(i, n)| n + numbers.get(i + 1).unwrap_or(&0)).collect()
            })
        };
        assert_eq!(of(&only), of(all));
        assert_eq!(mappings_of(all, |_| false).as_deref(), Some(""));
    }

    #[test]
    fn numbers_are_told_as_they_were() {
        for number in [0, 1, -1, 15, 16, -16, 31, 1000, -123_456_789] {
            let mut text = String::new();
            encode(number, &mut text);
            assert_eq!(decode(&text), Some(vec![number]), "{text}");
        }
        assert_eq!(decode("!"), None);
        assert_eq!(decode("g"), None, "a number that does not end");
        assert_eq!(decode("ggggggggggA"), None, "a number that is too large");
    }
}
