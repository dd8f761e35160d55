//! Who a job is to a server by a key of its own (an nkey, of Ed25519), and by what an account has signed of it (a JWT): the file that holds
//! them, and what is said with them. Keys are text: a word on their kind, the key and a checksum, in base 32.

use crate::dial::Fault;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use data_encoding::BASE32_NOPAD;
use millstream_base::{regular, secrets};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::Value as Json;
use std::path::Path;

/// Bytes of a file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// What seeds begin with, and the keys of users.
const SEED: u8 = 18 << 3;
const USER: u8 = 20 << 3;

/// What a file says of who the job is.
pub struct Credentials {
    jwt: Option<String>,
    key: Ed25519KeyPair,
}

impl Credentials {
    /// Of a file of credentials, or of one with a seed alone.
    pub fn read(path: &Path) -> Result<Credentials, Fault> {
        let told = |why: &str| format!("`credentials`, the file {}: {why}", path.display());
        let bytes = regular::read_at_most(path, FILE_BYTES_MAX)
            .map_err(|error| Fault::Passing(told(&format!("it cannot be read: {error}"))))?;
        Credentials::of(&String::from_utf8_lossy(&bytes)).map_err(|why| Fault::Lasting(told(why)))
    }

    fn of(text: &str) -> Result<Credentials, &'static str> {
        let jwt = section(text, "JWT").map(str::to_owned);
        let seed = match section(text, "SEED") {
            Some(seed) => seed,
            None if jwt.is_some() => {
                return Err("it has a JWT, but no seed of a key (`-----BEGIN USER NKEY SEED-----`)");
            }
            None => alone(text).ok_or("it is neither a credentials file nor the seed of a key")?,
        };
        jwt.iter().for_each(|jwt| secrets::keep(jwt, "(JWT)"));
        secrets::keep(seed, "(seed)");
        Ok(Credentials { jwt, key: key(seed)? })
    }

    /// Says in the first words to a server who the job is. `nonce`: what the server wants to have signed.
    pub fn tell(&self, hello: &mut Json, nonce: &str) {
        match &self.jwt {
            Some(jwt) => hello["jwt"] = jwt.as_str().into(),
            None => hello["nkey"] = written(&[&[USER], self.key.public_key().as_ref()].concat()).into(),
        }
        hello["sig"] = URL_SAFE_NO_PAD.encode(self.key.sign(nonce.as_bytes())).into();
    }
}

/// The line behind one as `-----BEGIN NATS USER JWT-----`.
fn section<'a>(text: &'a str, what: &str) -> Option<&'a str> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| line.starts_with("-----BEGIN") && line.trim_end_matches('-').ends_with(what))?;
    lines.find(|line| !line.is_empty())
}

/// The only line that says something.
fn alone(text: &str) -> Option<&str> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.next().filter(|_| lines.next().is_none())
}

fn key(seed: &str) -> Result<Ed25519KeyPair, &'static str> {
    const MISTYPED: &str = "its seed is invalid: cut or mistyped";
    let bytes = BASE32_NOPAD.decode(seed.as_bytes()).map_err(|_| MISTYPED)?;
    let (body, sum) = bytes.split_last_chunk::<2>().ok_or(MISTYPED)?;
    let ([first, second], seed) = body.split_first_chunk::<2>().ok_or(MISTYPED)?;
    if crc(body) != u16::from_le_bytes(*sum) || first & 0xf8 != SEED {
        return Err(MISTYPED);
    }
    // Five bits say that it is a seed, eight of whom.
    if (first & 7) << 5 | second >> 3 != USER {
        return Err("its seed is not that of a user, which begins with SU");
    }
    Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| MISTYPED)
}

/// A key as text.
fn written(body: &[u8]) -> String {
    BASE32_NOPAD.encode(&[body, &crc(body).to_le_bytes()].concat())
}

/// CRC-16 as of XMODEM.
fn crc(bytes: &[u8]) -> u16 {
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
        written(&[&[SEED | kind >> 5, kind << 3][..], &[7; 32]].concat())
    }

    #[test]
    fn checksums_are_those_of_xmodem() {
        assert_eq!(crc(b"123456789"), 0x31c3);
    }

    #[test]
    fn a_file_says_who_the_job_is() {
        let seed = seed(USER);
        assert!(seed.starts_with("SU"), "{seed}");
        let mut hello = json!({});
        Credentials::of(&format!("# a key\n{seed}\n")).unwrap().tell(&mut hello, "nonce");
        let public = BASE32_NOPAD.decode(hello["nkey"].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!((public.len(), public[0], hello.get("jwt")), (35, USER, None));
        let signature = URL_SAFE_NO_PAD.decode(hello["sig"].as_str().unwrap()).unwrap();
        let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, &public[1..33]);
        key.verify(b"nonce", &signature).unwrap();
        let mut hello = json!({});
        Credentials::of(&FILE.replace("SEED_HERE", &seed)).unwrap().tell(&mut hello, "nonce");
        assert_eq!((hello["jwt"].as_str(), hello.get("nkey")), (Some("eyJ0.a.b"), None));
    }

    #[test]
    fn what_is_no_such_file_is_refused() {
        let good = seed(USER);
        let cut = good[..good.len() - 4].to_owned();
        let mistyped = good.replacen("SUAA", "SUAB", 1);
        for wrong in
            ["", "a\nb", "no seed", &cut, &mistyped, &good.to_lowercase(), &seed(0), "-----BEGIN X JWT-----\na.b.c\n"]
        {
            assert!(Credentials::of(wrong).is_err(), "{wrong:?}");
        }
    }
}
