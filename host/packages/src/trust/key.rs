//! Keys of signers: ed25519, in files of the user.
//!
//! A secret key is a file that only its user can read (`keys/<signer>.secret`). A new key for the same signer takes its place
//! and the old one is kept beside it, out of use: what it has signed stays signed until those who trust it revoke it.

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

/// Bytes of the file of a secret key.
const FILE_BYTES_MAX: u64 = 4096;
/// Files of secret keys that are listed.
const LISTED_MAX: usize = 1_000;
/// What the text of a public key begins with.
const ALGORITHM: &str = "ed25519:";
/// The ending of the file of a secret key.
const SECRET: &str = "secret";
/// The ending of one that another took the place of.
const RETIRED: &str = "retired";

/// The name of a signer: written as the name of a package, so that it is safe in paths.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Signer(String);

impl Signer {
    /// As text.
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
                "`{}` is not a signer name: use lower-case letters and digits, with single `-` between them, for \
                 example alice",
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

/// A key that others know a signer by; `ed25519:` and 64 hexadecimal digits as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Whether the owner of the key has signed this.
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
                "`{shown}` is not a signer key: write ed25519: and 64 digits of 0-9a-f, as `millstream key show` \
                 prints it"
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

/// The folder of the user's own keys: `$MILLSTREAM_CONFIG/keys`, see [`super::config::config_folder`].
pub fn folder() -> Result<PathBuf> {
    Ok(super::config::config_folder()?.join("keys"))
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
    /// Whose it is.
    pub signer: Signer,
    /// What others know it by.
    pub public: PublicKey,
    /// Whether another took its place.
    pub is_retired: bool,
}

impl SecretKey {
    /// The user's key of this name.
    pub fn of_user(name: &str) -> Result<SecretKey> {
        let name: Signer = name.parse()?;
        let path = file_of(&folder()?, &name);
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

    /// Makes a key in this folder. `rotate`: it takes the place of the one that there is.
    pub fn make(folder: &Path, name: &Signer, rotate: bool) -> Result<SecretKey> {
        let path = file_of(folder, name);
        let failed = |e: io::Error| Error::environment(format!("the key {}: {e}", path.display()));
        private::folder(folder).map_err(failed)?;
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
                fs::rename(&path, folder.join(format!("{name}.{digits}.{RETIRED}"))).map_err(failed)?;
            }
        }
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| Error::environment("the system has no random numbers"))?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(Error::bug)?;
        let key = SecretKey { name: name.clone(), pair };
        key.write(&path, &seed).map_err(failed)?;
        Ok(key)
    }

    /// What others know it by.
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

    /// The file appears with all its bytes, or not at all, and takes no other's place.
    fn write(&self, path: &Path, seed: &[u8; 32]) -> io::Result<()> {
        let public = self.public().map_err(io::Error::other)?;
        let file = KeyFile { signer: self.name.clone(), public, secret: hex::encode(seed) };
        let text = toml::to_string(&file).map_err(io::Error::other)?;
        let name = &self.name;
        let text = format!("# Anyone with this file can sign as {name}. Keep it secret, and keep a copy.\n{text}\n");
        durable::make(path, text.as_bytes())
    }
}

/// All keys of the user, by signer, those in use first.
pub fn own() -> Result<Vec<OwnKey>> {
    let folder = folder()?;
    let failed = |path: &Path, e| Error::environment(format!("{}: {e}", path.display()));
    let entries = match fs::read_dir(&folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(&folder, e)),
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

fn file_of(folder: &Path, name: &Signer) -> PathBuf {
    folder.join(format!("{name}.{SECRET}"))
}

fn shown(path: &Path) -> String {
    path.parent().unwrap_or(path).display().to_string()
}

/// Errors never hold what the file does.
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
