//! NATS keys (nkeys), and what they sign: JWTs of operators, accounts and users.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use data_encoding::BASE32_NOPAD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

/// Whose a key is.
#[derive(Clone, Copy)]
pub enum NatsKeyOf {
    /// An operator, who signs accounts.
    Operator = 14 << 3,
    /// An account, which signs users.
    Account = 0,
    /// A user.
    User = 20 << 3,
}

/// A key.
pub struct NatsKey {
    of: u8,
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

impl NatsKey {
    /// Derives a key from a number.
    pub fn new(of: NatsKeyOf, number: u8) -> NatsKey {
        let seed = [number; 32];
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("a seed");
        NatsKey { of: of as u8, seed, pair }
    }

    /// The public key.
    pub fn public(&self) -> String {
        written(&[&[self.of], self.pair.public_key().as_ref()].concat())
    }

    /// The secret seed.
    pub fn seed(&self) -> String {
        written(&[&[18 << 3 | self.of >> 5, self.of << 3][..], &self.seed].concat())
    }

    /// Returns a JWT that this key signs for another one. `expires_s` is in seconds since 1970.
    pub fn jwt(&self, of: &str, expires_s: Option<u64>, nats: &Value) -> String {
        let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let head = encoded(&json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
        let mut claims = json!({ "jti": "test", "iat": 1_700_000_000, "iss": self.public(), "name": "test", "sub": of, "nats": nats });
        if let Some(expires_s) = expires_s {
            claims["exp"] = expires_s.into();
        }
        let signed = format!("{head}.{}", encoded(&claims));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes())))
    }
}

fn written(body: &[u8]) -> String {
    let shifted = |crc: u16| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
    let crc = body.iter().fold(0, |crc, byte| (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| shifted(crc)));
    BASE32_NOPAD.encode(&[body, &crc.to_le_bytes()].concat())
}
