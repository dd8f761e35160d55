//! Answers that are packed, and may be far larger than they look.

use flate2::read::MultiGzDecoder;
use std::io::Read;

/// The content of an answer with this `Content-Encoding`, of at most so many bytes; or why there is none.
pub fn unpack(how: Option<&str>, body: Vec<u8>, bytes_max: u64) -> Result<Vec<u8>, String> {
    match how.map(str::trim).unwrap_or_default().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(body),
        "gzip" | "x-gzip" => {
            let mut content = Vec::new();
            let mut packed = MultiGzDecoder::new(body.as_slice()).take(bytes_max.saturating_add(1));
            packed.read_to_end(&mut content).map_err(|error| format!("the answer is packed, and damaged: {error}"))?;
            match content.len() as u64 > bytes_max {
                true => Err(too_long(bytes_max)),
                false => Ok(content),
            }
        }
        other => {
            Err(format!("the answer is packed as `{}`, and only gzip was asked for", crate::shown::harmless(other, 40)))
        }
    }
}

/// What an answer is that has more bytes than may be.
pub fn too_long(bytes_max: u64) -> String {
    format!("the answer has more than {bytes_max} bytes (`answer_bytes_max`); raise that, or ask for less")
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn pack(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn packed_answers_are_read_up_to_a_bound() {
        assert_eq!(unpack(Some("GZIP"), pack(b"abc"), 3).unwrap(), b"abc");
        assert_eq!(unpack(None, b"abc".to_vec(), 3).unwrap(), b"abc");
        let bomb = pack(&vec![0; 50 << 20]);
        assert!(bomb.len() < 100 << 10);
        assert!(unpack(Some("gzip"), bomb, 1 << 20).unwrap_err().contains("answer_bytes_max"));
        assert!(unpack(Some("gzip"), b"no".to_vec(), 9).unwrap_err().contains("damaged"));
        assert!(unpack(Some("br"), b"no".to_vec(), 9).unwrap_err().contains("only gzip"));
    }
}
