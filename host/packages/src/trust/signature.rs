//! A signature: a signer vouches for the package with this manifest, under this name and version.
//!
//! It is JSON: `signer`, `key` (one of the signer's), `name`, `version`, `manifest` and `signature`, in hexadecimal digits. The signed
//! text has all other fields, one per line, after a line that names the purpose, so that it cannot be used for anything else.

use super::key::{PublicKey, SecretKey, Signer};
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};
use millstream_base::hex;
use millstream_base::package_name;
use millstream_base::package_name::PackageName;
use semver::Version;
use serde::{Deserialize, Serialize};

/// The media type of a signature as an artifact next to its package.
pub const MEDIA_TYPE: &str = "application/vnd.millstream.signature.v1+json";
/// Maximum bytes of one signature.
pub const BYTES_MAX: usize = 16 << 10;

/// The JSON form of a signature.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureFile {
    signer: Signer,
    key: PublicKey,
    name: String,
    version: String,
    manifest: Digest,
    signature: String,
}

/// The signer of a package: the key that signed, and the name that its owner claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The signer.
    pub signer: Signer,
    /// The key.
    pub key: PublicKey,
}

/// Signs a package. The name and the version are part of what is signed, so that a registry cannot show one as another.
pub fn sign(key: &SecretKey, name: &PackageName, version: &Version, manifest: &Digest) -> Result<Vec<u8>> {
    let public = key.public()?;
    let signature = key.sign(&message(&key.name, &public, name, version, manifest));
    let written = SignatureFile {
        signer: key.name.clone(),
        key: public,
        name: name.to_string(),
        version: version.to_string(),
        manifest: *manifest,
        signature: hex::encode(&signature),
    };
    serde_json::to_vec(&written).map_err(Error::bug)
}

/// Verifies a signature of this package; `None` if it is invalid or of something else. Policies decide whether the key is really that
/// signer's.
pub fn read(bytes: &[u8], name: &PackageName, version: &Version, manifest: &Digest) -> Option<Signed> {
    if bytes.len() > BYTES_MAX {
        return None;
    }
    let written: SignatureFile = serde_json::from_slice(bytes).ok()?;
    let same_name = written.name.parse::<PackageName>().is_ok_and(|written| written == *name);
    let same_version = package_name::version(&written.version).is_ok_and(|written| written == *version);
    if !same_name || !same_version || written.manifest != *manifest {
        return None;
    }
    let signature: [u8; 64] = hex::decode_exact(&written.signature)?;
    let message = message(&written.signer, &written.key, name, version, manifest);
    let holds = written.key.has_signed(&message, &signature);
    holds.then_some(Signed { signer: written.signer, key: written.key })
}

/// The signed text. No field has a line break, so no two signed strings have the same bytes.
fn message(signer: &Signer, key: &PublicKey, name: &PackageName, version: &Version, manifest: &Digest) -> Vec<u8> {
    format!("millstream signature of a package, version 1\n{signer}\n{key}\n{name}\n{version}\n{manifest}\n")
        .into_bytes()
}
