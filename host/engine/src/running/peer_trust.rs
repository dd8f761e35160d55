//! How the processes of a job authenticate each other: a shared key, certificates of one CA, or both. They use TLS in any case.

use super::cluster_key::ClusterKey;
use millstream_base::error::{Error, Result};
use millstream_connect::tls::peers::Peers;
use ring::hmac;
use std::path::Path;

/// Bytes of exported keying material that only the two ends of a connection share.
pub const EXPORTED_BYTES: usize = 32;

/// How a process authenticates the others.
#[derive(Clone, Debug)]
pub struct PeerTrust {
    peers: Peers,
    /// Always set if there are no certificates.
    key: Option<ClusterKey>,
}

impl PeerTrust {
    /// Uses a key only.
    pub fn with_key(key: ClusterKey) -> Result<PeerTrust> {
        let peers = Peers::uncertified().map_err(|error| Error::environment(error.to_string()))?;
        Ok(PeerTrust { peers, key: Some(key) })
    }

    /// Uses the certificates in a directory, for the process that others reach by this name, and the key, if any.
    pub fn with_certificates(dir: &Path, name: &str, key: Option<ClusterKey>) -> Result<PeerTrust> {
        let peers = Peers::read(dir, name).map_err(|error| Error::job(format!("--cluster-tls: {error}")))?;
        Ok(PeerTrust { peers, key })
    }

    /// Returns the TLS configuration.
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Returns the key, if any.
    pub fn key(&self) -> Option<&ClusterKey> {
        self.key.as_ref()
    }

    /// Returns the key by which the ends of a connection authenticate. `exported` binds the proof to this connection: a man in the middle has a
    /// connection with each process, and these export other bytes.
    pub fn proof_key(&self, exported: &[u8; EXPORTED_BYTES]) -> hmac::Key {
        let own = hmac::Key::new(hmac::HMAC_SHA256, self.key.as_ref().map_or(&[][..], ClusterKey::bytes));
        let both = hmac::sign(&own, &[&b"millstream: a connection with TLS"[..], exported].concat());
        hmac::Key::new(hmac::HMAC_SHA256, both.as_ref())
    }
}

/// Returns the host of `host:port`.
pub fn name_in(host: &str) -> &str {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name)
}
