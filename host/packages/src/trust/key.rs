//! Keys of signers: ed25519, in files of the user.
//!
//! A secret key is a file that only its user can read (`keys/<signer>.secret`). A new key for the same signer replaces it, and the old
//! one is kept as retired: its signatures stay valid until users revoke it.

use millstream_base::durable;
use millstream_base::error::{Error, Result};
use millstream_base::hex;
use millstream_base::package_name::PackageName;
use millstream_base::private;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Maximum bytes of the file of a secret key.
const FILE_BYTES_MAX: u64 = 4096;
/// Maximum files of secret keys that are listed.
const LISTED_MAX: usize = 1_000;
/// The prefix of a public key's text.
const ALGORITHM: &str = "ed25519:";
/// The extension of the file of a secret key.
const SECRET: &str = "secret";
/// The extension of the file of a retired key.
const RETIRED: &str = "retired";

/// The name of a signer. It has the form of a package name, so that it is safe in paths.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Signer(String);

impl Signer {
    /// The name as a string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Signer {
    type Err = Error;

    fn from_str(text: &str) -> Result<Signer> {
        match text.parse::<PackageName>() {
            Ok(_) => Ok(Signer(text.to_owned())),
            Err(_) => Err(Error::job(format!(
                "`{}` is not a signer name: use a-z and 0-9, with single `-` between them, for example alice",
                text.escape_debug()
            ))),
        }
    }
}

impl TryFrom<String> for Signer {
    type Error = Error;

    fn try_from(text: String) -> Result<Signer> {
        text.parse()
    }
}

impl From<Signer> for String {
    fn from(signer: Signer) -> String {
        signer.0
    }
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A signer's public key; as text `ed25519:` and 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Verifies a signature of this key.
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

impl FromStr for PublicKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<PublicKey> {
        text.strip_prefix(ALGORITHM).and_then(hex::decode_exact).map(PublicKey).ok_or_else(|| {
            let shown = text.escape_debug();
            Error::job(format!(
                "`{shown}` is not a signer key: write ed25519: and 64 digits of 0-9a-f, in the form that \
                 `millstream key show` prints"
            ))
        })
    }
}

impl TryFrom<String> for PublicKey {
    type Error = Error;

    fn try_from(text: String) -> Result<PublicKey> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> String {
        key.to_string()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALGORITHM}{}", hex::encode(&self.0))
    }
}

/// The directory of the user's own keys: `$MILLSTREAM_CONFIG/keys`, see [`super::config::config_dir`].
pub fn dir() -> Result<PathBuf> {
    Ok(super::config::config_dir()?.join("keys"))
}

/// A key that signs.
pub struct SecretKey {
    /// The signer's name.
    pub name: Signer,
    pair: Ed25519KeyPair,
}

/// The file of a secret key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    signer: Signer,
    public: PublicKey,
    secret: String,
}

/// One of the user's own keys.
pub struct OwnKey {
    /// The name of the key's owner.
    pub signer: Signer,
    /// The public key.
    pub public: PublicKey,
    /// Whether another key replaced it.
    pub is_retired: bool,
}

impl SecretKey {
    /// Reads the user's key with this name.
    pub fn of_user(name: &str) -> Result<SecretKey> {
        let name: Signer = name.parse()?;
        let path = file_of(&dir()?, &name);
        match read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Error::job(format!(
                "key {name} not found in {}; create it: millstream key new {name}",
                shown(&path)
            ))),
            Err(e) => Err(Error::environment(format!("the key {}: {e}", path.display()))),
            Ok(file) => SecretKey::of_file(file).filter(|key| key.name == name).ok_or_else(|| {
                Error::environment(format!("the key {} is damaged; restore it from a copy", path.display()))
            }),
        }
    }

    /// Creates a key in this directory. With `rotate`, it replaces the existing one.
    pub fn make(dir: &Path, name: &Signer, rotate: bool) -> Result<SecretKey> {
        let path = file_of(dir, name);
        let failed = |e: io::Error| Error::environment(format!("the key {}: {e}", path.display()));
        private::dir(dir).map_err(failed)?;
        match read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed(e)),
            Ok(_) if !rotate => {
                let message =
                    format!("key {name} already exists: {}; --rotate replaces it with a new one", path.display());
                return Err(Error::job(message));
            }
            Ok(old) => {
                let digits = old.public.to_string().chars().skip(ALGORITHM.len()).take(16).collect::<String>();
                fs::rename(&path, dir.join(format!("{name}.{digits}.{RETIRED}"))).map_err(failed)?;
            }
        }
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| Error::environment("the system has no random numbers"))?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(Error::bug)?;
        let key = SecretKey { name: name.clone(), pair };
        key.write(&path, &seed).map_err(failed)?;
        Ok(key)
    }

    /// Returns the public key.
    pub fn public(&self) -> Result<PublicKey> {
        <[u8; 32]>::try_from(self.pair.public_key().as_ref()).map(PublicKey).map_err(Error::bug)
    }

    /// Signs these bytes.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }

    fn of_file(file: KeyFile) -> Option<SecretKey> {
        let seed: [u8; 32] = hex::decode_exact(&file.secret)?;
        let pair = Ed25519KeyPair::from_seed_and_public_key(&seed, &file.public.0).ok()?;
        Some(SecretKey { name: file.signer, pair })
    }

    /// Writes the file atomically, and never over an existing one.
    fn write(&self, path: &Path, seed: &[u8; 32]) -> io::Result<()> {
        let public = self.public().map_err(io::Error::other)?;
        let file = KeyFile { signer: self.name.clone(), public, secret: hex::encode(seed) };
        let text = toml::to_string(&file).map_err(io::Error::other)?;
        let name = &self.name;
        let text = format!("# Anyone with this file can sign as {name}. Keep it secret, and keep a copy.\n{text}\n");
        durable::make(path, text.as_bytes())
    }
}

/// Lists all keys of the user, by signer, active ones first.
pub fn own() -> Result<Vec<OwnKey>> {
    let dir = dir()?;
    let failed = |path: &Path, e| Error::environment(format!("{}: {e}", path.display()));
    let entries = match fs::read_dir(&dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(&dir, e)),
        Ok(entries) => entries,
    };
    let mut own = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        let is = |kind: &str| path.extension().is_some_and(|extension| extension == kind);
        if (is(SECRET) || is(RETIRED)) && own.len() < LISTED_MAX {
            let file = read(&path).map_err(|e| failed(&path, e))?;
            own.push(OwnKey { signer: file.signer, public: file.public, is_retired: is(RETIRED) });
        }
    }
    own.sort_by(|a, b| (&a.signer, a.is_retired, a.public).cmp(&(&b.signer, b.is_retired, b.public)));
    Ok(own)
}

fn file_of(dir: &Path, name: &Signer) -> PathBuf {
    dir.join(format!("{name}.{SECRET}"))
}

fn shown(path: &Path) -> String {
    path.parent().unwrap_or(path).display().to_string()
}

/// Reads the file of a secret key. Errors never show its content.
fn read(path: &Path) -> io::Result<KeyFile> {
    let mut text = String::new();
    private::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    toml::from_str(&text).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "it is damaged; restore it from a \
                                                                                  copy",
        )
    })
}
