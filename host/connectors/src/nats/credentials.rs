//! Credentials files: an nkey (Ed25519), with or without a JWT that an account has signed. Keys are base 32 text of a prefix for their kind,
//! the key and a checksum.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use data_encoding::BASE32_NOPAD;
use millstream_base::{regular, secrets};
use millstream_connect::dial::Fault;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::Value as Json;
use std::path::Path;

/// Maximum bytes of a file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Prefixes of seeds, and of the public keys of users.
const SEED: u8 = 18 << 3;
const USER: u8 = 20 << 3;

/// The content of a credentials file.
pub struct Credentials {
    jwt: Option<String>,
    key: Ed25519KeyPair,
}

impl Credentials {
    /// Reads a credentials file (`.creds`), or a file with only a seed.
    pub fn read(path: &Path) -> Result<Credentials, Fault> {
        let message = |why: &str| format!("`credentials`, the file {}: {why}", path.display());
        let bytes = regular::read_at_most(path, FILE_BYTES_MAX)
            .map_err(|error| Fault::Transient(message(&format!("it cannot be read: {error}"))))?;
        Credentials::parse(&String::from_utf8_lossy(&bytes)).map_err(|why| Fault::Permanent(message(why)))
    }

    fn parse(text: &str) -> Result<Credentials, &'static str> {
        let jwt = find_section(text, "JWT").map(str::to_owned);
        let seed = match find_section(text, "SEED") {
            Some(seed) => seed,
            None if jwt.is_some() => {
                return Err("it has a JWT, but no seed of a key (`-----BEGIN USER NKEY SEED-----`)");
            }
            None => only_line(text).ok_or("it is neither a credentials file nor the seed of a key")?,
        };
        jwt.iter().for_each(|jwt| secrets::keep(jwt, "(JWT)"));
        secrets::keep(seed, "(seed)");
        Ok(Credentials { jwt, key: parse_seed(seed)? })
    }

    /// Adds the key or JWT, and the signature of the server's `nonce`, to the options of `CONNECT`.
    pub fn sign(&self, connect: &mut Json, nonce: &str) {
        match &self.jwt {
            Some(jwt) => connect["jwt"] = jwt.as_str().into(),
            None => connect["nkey"] = encode_key(&[&[USER], self.key.public_key().as_ref()].concat()).into(),
        }
        connect["sig"] = URL_SAFE_NO_PAD.encode(self.key.sign(nonce.as_bytes())).into();
    }
}

/// Returns the line after one such as `-----BEGIN NATS USER JWT-----`.
fn find_section<'a>(text: &'a str, what: &str) -> Option<&'a str> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| line.starts_with("-----BEGIN") && line.trim_end_matches('-').ends_with(what))?;
    lines.find(|line| !line.is_empty())
}

/// Returns the only line that is neither empty nor a comment.
fn only_line(text: &str) -> Option<&str> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.next().filter(|_| lines.next().is_none())
}

fn parse_seed(seed: &str) -> Result<Ed25519KeyPair, &'static str> {
    const MISTYPED: &str = "its seed is invalid: cut or mistyped";
    let bytes = BASE32_NOPAD.decode(seed.as_bytes()).map_err(|_| MISTYPED)?;
    let (body, sum) = bytes.split_last_chunk::<2>().ok_or(MISTYPED)?;
    let ([first, second], seed) = body.split_first_chunk::<2>().ok_or(MISTYPED)?;
    if crc16(body) != u16::from_le_bytes(*sum) || first & 0xf8 != SEED {
        return Err(MISTYPED);
    }
    // Five bits say that it is a seed, the next eight whose.
    if (first & 7) << 5 | second >> 3 != USER {
        return Err("its seed is not that of a user, which begins with SU");
    }
    Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| MISTYPED)
}

/// Encodes a key with its prefix as text.
fn encode_key(body: &[u8]) -> String {
    BASE32_NOPAD.encode(&[body, &crc16(body).to_le_bytes()].concat())
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    let shifted = |crc: u16| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
    bytes.iter().fold(0, |crc, byte| (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| shifted(crc)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const FILE: &str = "-----BEGIN NATS USER JWT-----\neyJ0.a.b\n------END NATS USER JWT------\n\n*** IMPORTANT ***\n\n\
        -----BEGIN USER NKEY SEED-----\r\nSEED_HERE\r\n------END USER NKEY SEED------\n";

    fn seed(kind: u8) -> String {
        encode_key(&[&[SEED | kind >> 5, kind << 3][..], &[7; 32]].concat())
    }

    #[test]
    fn checksums_are_those_of_xmodem() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    #[test]
    fn keys_and_jwts_are_signed() {
        let seed = seed(USER);
        assert!(seed.starts_with("SU"), "{seed}");
        let mut connect = json!({});
        Credentials::parse(&format!("# a key\n{seed}\n")).unwrap().sign(&mut connect, "nonce");
        let public = BASE32_NOPAD.decode(connect["nkey"].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!((public.len(), public[0], connect.get("jwt")), (35, USER, None));
        let signature = URL_SAFE_NO_PAD.decode(connect["sig"].as_str().unwrap()).unwrap();
        let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, &public[1..33]);
        key.verify(b"nonce", &signature).unwrap();
        let mut connect = json!({});
        Credentials::parse(&FILE.replace("SEED_HERE", &seed)).unwrap().sign(&mut connect, "nonce");
        assert_eq!((connect["jwt"].as_str(), connect.get("nkey")), (Some("eyJ0.a.b"), None));
    }

    #[test]
    fn invalid_files_are_rejected() {
        let good = seed(USER);
        let cut = good[..good.len() - 4].to_owned();
        let mistyped = good.replacen("SUAA", "SUAB", 1);
        for wrong in
            ["", "a\nb", "no seed", &cut, &mistyped, &good.to_lowercase(), &seed(0), "-----BEGIN X JWT-----\na.b.c\n"]
        {
            assert!(Credentials::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
