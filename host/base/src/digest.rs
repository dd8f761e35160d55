//! The digests that identify packages.

use crate::error::{Error, Result};
use crate::hex;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

/// Returns XXH3-64 as 16 hexadecimal digits.
pub fn checksum(bytes: &[u8]) -> String {
    in_hex(xxhash_rust::xxh3::xxh3_64(bytes))
}

/// Returns a 64-bit sum in the form of [`checksum`].
pub fn in_hex(sum: u64) -> String {
    format!("{sum:016x}")
}

/// A SHA-256 digest; as text `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Hashes these bytes.
    pub fn compute(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// Returns the 64 hexadecimal digits.
    pub fn hex(&self) -> String {
        hex::encode(&self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl FromStr for Digest {
    type Err = Error;

    /// Accepts only lower-case digits, so that a digest has one text.
    fn from_str(text: &str) -> Result<Digest> {
        let wrong = || {
            Error::job(format!(
                "`{}` is not a digest; write it as sha256: and 64 digits of 0-9a-f",
                text.escape_debug()
            ))
        };
        text.strip_prefix("sha256:").and_then(hex::decode_exact).map(Digest).ok_or_else(wrong)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
