//! Answers that are packed, and may be far larger than they look.

use flate2::read::MultiGzDecoder;
use std::io::Read;

/// Why a packed answer has no content.
#[derive(Debug)]
pub enum Unusable {
    /// It came damaged, or not all of it: the next one may be whole.
    Damaged(String),
    /// The next one will be the same.
    Refused(String),
}

/// The content of an answer with this `Content-Encoding`, of at most so many bytes.
pub fn unpack(how: Option<&str>, body: Vec<u8>, bytes_max: u64) -> Result<Vec<u8>, Unusable> {
    match how.map(str::trim).unwrap_or_default().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(body),
        "gzip" | "x-gzip" => {
            let mut content = Vec::new();
            let mut packed = MultiGzDecoder::new(body.as_slice()).take(bytes_max.saturating_add(1));
            packed
                .read_to_end(&mut content)
                .map_err(|error| Unusable::Damaged(format!("the response is compressed, and damaged: {error}")))?;
            match content.len() as u64 > bytes_max {
                true => Err(Unusable::Refused(too_long(bytes_max))),
                false => Ok(content),
            }
        }
        other => {
            let other = millstream_base::shown::harmless(other, 40);
            Err(Unusable::Refused(format!("the response is compressed as `{other}`, and only gzip was requested")))
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
        let refused = |how, body, most| match unpack(Some(how), body, most) {
            Err(Unusable::Refused(why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(refused("gzip", bomb, 1 << 20).contains("answer_bytes_max"));
        assert!(refused("br", b"no".to_vec(), 9).contains("only gzip"));
    }

    #[test]
    fn packed_answers_that_are_not_whole_may_be_so_the_next_time() {
        let whole = pack(b"[{\"n\":1},{\"n\":2}]");
        let mut wrong = whole.clone();
        if let Some(byte) = wrong.last_mut() {
            *byte ^= 1;
        }
        let cut = (0..whole.len()).map(|end| whole[..end].to_vec());
        for body in cut.chain([b"no".to_vec(), wrong]) {
            match unpack(Some("gzip"), body, 1000) {
                Err(Unusable::Damaged(why)) => assert!(why.contains("damaged"), "{why}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
