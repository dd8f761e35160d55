//! Decompresses responses, which may be far larger than their compressed form.

use flate2::read::MultiGzDecoder;
use std::io::Read;

/// Why a compressed response cannot be read.
#[derive(Debug)]
pub enum DecompressError {
    /// It is damaged or incomplete: a retry may succeed.
    Damaged(String),
    /// A retry would have the same result.
    Rejected(String),
}

/// Returns the content of a response with this `Content-Encoding`, of at most `bytes_max`.
pub fn decompress(how: Option<&str>, body: Vec<u8>, bytes_max: u64) -> Result<Vec<u8>, DecompressError> {
    match how.map(str::trim).unwrap_or_default().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(body),
        "gzip" | "x-gzip" => {
            let mut content = Vec::new();
            let mut decoder = MultiGzDecoder::new(body.as_slice()).take(bytes_max.saturating_add(1));
            decoder.read_to_end(&mut content).map_err(|error| {
                DecompressError::Damaged(format!("the response is compressed, and damaged: {error}"))
            })?;
            match content.len() as u64 > bytes_max {
                true => Err(DecompressError::Rejected(too_long(bytes_max))),
                false => Ok(content),
            }
        }
        other => {
            let other = millstream_base::shown::harmless(other, 40);
            Err(DecompressError::Rejected(format!(
                "the response is compressed with `{other}`, but only gzip was requested"
            )))
        }
    }
}

/// Returns the error for a response that is too long.
pub fn too_long(bytes_max: u64) -> String {
    format!("the response has more than {bytes_max} bytes (`answer_bytes_max`); raise that, or request less")
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
        assert_eq!(decompress(Some("GZIP"), pack(b"abc"), 3).unwrap(), b"abc");
        assert_eq!(decompress(None, b"abc".to_vec(), 3).unwrap(), b"abc");
        let bomb = pack(&vec![0; 50 << 20]);
        assert!(bomb.len() < 100 << 10);
        let rejection = |how, body, bytes_max| match decompress(Some(how), body, bytes_max) {
            Err(DecompressError::Rejected(why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(rejection("gzip", bomb, 1 << 20).contains("answer_bytes_max"));
        assert!(rejection("br", b"no".to_vec(), 9).contains("only gzip"));
    }

    #[test]
    fn packed_answers_that_are_not_whole_may_be_so_the_next_time() {
        let complete = pack(b"[{\"n\":1},{\"n\":2}]");
        let mut wrong = complete.clone();
        if let Some(byte) = wrong.last_mut() {
            *byte ^= 1;
        }
        let cut = (0..complete.len()).map(|end| complete[..end].to_vec());
        for body in cut.chain([b"no".to_vec(), wrong]) {
            match decompress(Some("gzip"), body, 1000) {
                Err(DecompressError::Damaged(why)) => assert!(why.contains("damaged"), "{why}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
