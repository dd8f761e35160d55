//! Requests to the process that talks to a registry, and its responses: a line of JSON, then byte strings, each after its length.

use super::address::Address;
use super::login::Login;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};

/// A request with its context.
#[derive(Serialize, Deserialize)]
pub struct RegistryOrder {
    /// The registry.
    pub address: Address,
    /// The credentials.
    pub login: Option<Login>,
    /// Maximum time without a byte from the registry, in seconds.
    pub silence_seconds: u64,
    /// The request.
    pub question: RegistryQuestion,
}

/// A request to a registry. Names, versions and digests are strings of the checked types.
#[derive(Serialize, Deserialize)]
pub enum RegistryQuestion {
    /// Finds a package: [`RegistryResponse::Found`] or [`RegistryResponse::Missing`].
    Find {
        /// The package.
        name: String,
        /// The package's version; `None`: the newest release.
        version: Option<String>,
    },
    /// Fetches manifest and component, as bytes.
    Fetch {
        /// The package.
        name: String,
        /// The digest of the manifest.
        digest: String,
    },
    /// Fetches signatures, as bytes.
    Signatures {
        /// The package.
        name: String,
        /// The digest of the manifest.
        digest: String,
    },
    /// Pushes manifest, config and component, as bytes. [`RegistryResponse::Taken`] if the version has other bytes.
    Push {
        /// The package.
        name: String,
        /// The package's version.
        version: String,
    },
    /// Attaches a signature; its manifest and the signature follow as bytes.
    Attach {
        /// The package.
        name: String,
        /// The digest of the manifest.
        digest: String,
    },
    /// Lists all packages: [`RegistryResponse::Hits`].
    List,
}

/// A response.
#[derive(Serialize, Deserialize)]
pub enum RegistryResponse {
    /// The package was found.
    Found {
        /// The package's version.
        version: String,
        /// The digest of the manifest.
        digest: String,
    },
    /// The package does not exist.
    Missing {
        /// The existing versions.
        versions: Vec<String>,
    },
    /// Done; the requested bytes follow.
    Bytes,
    /// The version exists with other bytes.
    Taken,
    /// A list of packages.
    Hits(Vec<FoundPackage>),
    /// The request failed; the text continues after the registry's address.
    Failed(String),
}

/// A search result.
#[derive(Serialize, Deserialize)]
pub struct FoundPackage {
    /// The package's name.
    pub name: String,
    /// The package's versions.
    pub versions: Vec<String>,
    /// The package's description.
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

/// Reads a message; `None` if it is invalid.
pub fn read<T: DeserializeOwned>(message: &[u8]) -> Option<(T, Vec<Vec<u8>>)> {
    let end = message.iter().position(|byte| *byte == b'\n')?;
    let (head, mut rest) = message.split_at_checked(end)?;
    rest = rest.get(1..)?;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (length, rest_bytes) = rest.split_first_chunk::<8>()?;
        let (bytes, rest_bytes) = rest_bytes.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        all.push(bytes.to_vec());
        rest = rest_bytes;
    }
    Some((serde_json::from_slice(head).ok()?, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_whole_or_not_at_all() {
        let mut message = Vec::new();
        write(&mut message, &RegistryResponse::Failed("no\nway".into()), &[b"one\n", b"", &[7; 3000]]).unwrap();
        let (head, bytes) = read::<RegistryResponse>(&message).unwrap();
        assert!(matches!(head, RegistryResponse::Failed(text) if text == "no\nway"));
        assert_eq!(bytes, [b"one\n".to_vec(), Vec::new(), vec![7; 3000]]);
        // A prefix that ends after a byte string is also a valid message.
        let complete = (0..message.len()).filter(|end| read::<RegistryResponse>(&message[..*end]).is_some()).count();
        assert_eq!(complete, 3);
        assert!(
            read::<RegistryResponse>(b"{}\n").is_none()
                && read::<RegistryResponse>(b"\"Bytes\"\n\xff\xff\xff\xff\xff\xff\xff\xff").is_none()
        );
    }
}
