//! Bytes as text, for formats that hold only text.

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use millstream_base::hex;
use std::borrow::Cow;

/// Padding is written; it is optional when read.
const CONFIG: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const PLAIN: GeneralPurpose = GeneralPurpose::new(&STANDARD, CONFIG);
const FOR_URLS: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, CONFIG);

/// How text encodes bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryEncoding {
    /// The bytes of the text in UTF-8.
    Utf8,
    /// Two hexadecimal digits per byte.
    Hex,
    /// Base64 as in RFC 4648. Both alphabets are read, with or without padding.
    Base64,
}

impl BinaryEncoding {
    /// The names in job files.
    pub const NAMES: [&'static str; 3] = ["utf8", "hex", "base64"];

    /// Returns the encoding with this name in job files.
    pub fn parse(word: &str) -> Option<BinaryEncoding> {
        Some(match word {
            "utf8" => BinaryEncoding::Utf8,
            "hex" => BinaryEncoding::Hex,
            "base64" => BinaryEncoding::Base64,
            _ => return None,
        })
    }

    /// Returns the name in job files.
    pub fn keyword(self) -> &'static str {
        match self {
            BinaryEncoding::Utf8 => "utf8",
            BinaryEncoding::Hex => "hex",
            BinaryEncoding::Base64 => "base64",
        }
    }

    /// Decodes `text`; `None` if it is not in this encoding.
    pub fn decode(self, text: &str) -> Option<Cow<'_, [u8]>> {
        match self {
            BinaryEncoding::Utf8 => Some(Cow::Borrowed(text.as_bytes())),
            BinaryEncoding::Hex => hex::decode(text).map(Cow::Owned),
            BinaryEncoding::Base64 => decode_base64(text).map(Cow::Owned),
        }
    }

    /// Appends the encoded bytes to `out`; the error says why they have no text.
    pub fn write(self, bytes: &[u8], out: &mut String) -> Result<(), String> {
        match self {
            BinaryEncoding::Utf8 => match std::str::from_utf8(bytes) {
                Ok(text) => out.push_str(text),
                Err(error) => return Err(format!("not UTF-8 at byte {}", error.valid_up_to())),
            },
            BinaryEncoding::Hex => hex::write(out, bytes),
            BinaryEncoding::Base64 => PLAIN.encode_string(bytes, out),
        }
        Ok(())
    }
}

/// Decodes Base64 of either alphabet, padded or not.
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let engine = if text.contains(['-', '_']) { &FOR_URLS } else { &PLAIN };
    engine.decode(text).ok()
}

/// Encodes bytes as Base64.
pub fn encode_base64(bytes: &[u8]) -> String {
    PLAIN.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_as_the_bytes_that_were_written() {
        let bytes = [0, 0xff, 0xfe, 0x3e];
        for (encoding, text) in [(BinaryEncoding::Hex, "00fffe3e"), (BinaryEncoding::Base64, "AP/+Pg==")] {
            let mut written = String::new();
            encoding.write(&bytes, &mut written).unwrap();
            assert_eq!(written, text);
            assert_eq!(encoding.decode(text).unwrap().as_ref(), bytes);
        }
        for text in ["AP/+Pg", "AP_-Pg==", "AP_-Pg"] {
            assert_eq!(decode_base64(text).unwrap(), bytes, "{text}");
        }
        for wrong in ["A", "AP/-Pg", "AP /+Pg==", "ä", "AP/+Pg=x"] {
            assert_eq!(decode_base64(wrong), None, "{wrong}");
        }
        assert_eq!(decode_base64(""), Some(Vec::new()));
        assert_eq!(BinaryEncoding::Utf8.decode("ä").unwrap().as_ref(), "ä".as_bytes());
        assert_eq!(BinaryEncoding::Utf8.write(b"a\xff", &mut String::new()), Err("not UTF-8 at byte 1".into()));
        for word in BinaryEncoding::NAMES {
            assert_eq!(BinaryEncoding::parse(word).unwrap().keyword(), word);
        }
    }
}
