//! What the process that talks to a registry is asked, and what it answers: a line of JSON, and some byte strings behind
//! it, each after its length.

use super::address::Address;
use super::login::Login;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};

/// A question and what is needed to ask it.
#[derive(Serialize, Deserialize)]
pub struct RegistryOrder {
    /// The registry.
    pub address: Address,
    /// With which name and password.
    pub login: Option<Login>,
    /// How long a single answer may stay away, in seconds.
    pub silence_seconds: u64,
    /// What is asked.
    pub question: RegistryQuestion,
}

/// What a registry is asked. Names, versions and digests are texts of the checked types.
#[derive(Serialize, Deserialize)]
pub enum RegistryQuestion {
    /// [`RegistryAnswer::Found`] or [`RegistryAnswer::Missing`].
    Find {
        /// The package.
        name: String,
        /// Its version; `None`: the newest release.
        version: Option<String>,
    },
    /// Manifest and component, as bytes.
    Fetch {
        /// The package.
        name: String,
        /// The digest of its manifest.
        digest: String,
    },
    /// Signatures, as bytes.
    Signatures {
        /// The package.
        name: String,
        /// The digest of its manifest.
        digest: String,
    },
    /// With manifest, config and component as bytes. [`RegistryAnswer::Taken`] where the version has others.
    Push {
        /// The package.
        name: String,
        /// Its version.
        version: String,
    },
    /// With the manifest of a signature and the signature as bytes.
    Attach {
        /// The package.
        name: String,
        /// The digest of its manifest.
        digest: String,
    },
    /// All packages: [`RegistryAnswer::Hits`].
    List,
}

/// What comes back.
#[derive(Serialize, Deserialize)]
pub enum RegistryAnswer {
    /// A package.
    Found {
        /// Its version.
        version: String,
        /// The digest of its manifest.
        digest: String,
    },
    /// There is no such package.
    Missing {
        /// The versions that there are.
        versions: Vec<String>,
    },
    /// Done; what was asked for is in the bytes behind.
    Bytes,
    /// The version is there with other bytes.
    Taken,
    /// Packages.
    Hits(Vec<FoundPackage>),
    /// It did not work, for this reason: words that go on after the registry's address.
    Failed(String),
}

/// A package that a search found.
#[derive(Serialize, Deserialize)]
pub struct FoundPackage {
    /// Its name.
    pub name: String,
    /// Its versions.
    pub versions: Vec<String>,
    /// What it is for.
    pub description: String,
}

/// Writes a message.
pub fn write(out: &mut impl Write, head: &impl Serialize, bytes: &[&[u8]]) -> io::Result<()> {
    serde_json::to_writer(&mut *out, head)?;
    out.write_all(b"\n")?;
    for bytes in bytes {
        out.write_all(&(bytes.len() as u64).to_le_bytes())?;
        out.write_all(bytes)?;
    }
    out.flush()
}

/// Reads a message; `None` where it is none.
pub fn read<T: DeserializeOwned>(message: &[u8]) -> Option<(T, Vec<Vec<u8>>)> {
    let end = message.iter().position(|byte| *byte == b'\n')?;
    let (head, mut rest) = message.split_at_checked(end)?;
    rest = rest.get(1..)?;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (length, behind) = rest.split_first_chunk::<8>()?;
        let (bytes, behind) = behind.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        all.push(bytes.to_vec());
        rest = behind;
    }
    Some((serde_json::from_slice(head).ok()?, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_whole_or_not_at_all() {
        let mut message = Vec::new();
        write(&mut message, &RegistryAnswer::Failed("no\nway".into()), &[b"one\n", b"", &[7; 3000]]).unwrap();
        let (head, bytes) = read::<RegistryAnswer>(&message).unwrap();
        assert!(matches!(head, RegistryAnswer::Failed(words) if words == "no\nway"));
        assert_eq!(bytes, [b"one\n".to_vec(), Vec::new(), vec![7; 3000]]);
        // Where a length ends, a shorter message is one as well.
        let whole = (0..message.len()).filter(|end| read::<RegistryAnswer>(&message[..*end]).is_some()).count();
        assert_eq!(whole, 3);
        assert!(
            read::<RegistryAnswer>(b"{}\n").is_none()
                && read::<RegistryAnswer>(b"\"Bytes\"\n\xff\xff\xff\xff\xff\xff\xff\xff").is_none()
        );
    }
}
