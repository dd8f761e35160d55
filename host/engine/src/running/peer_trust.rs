//! By what the processes of a job know each other: a key that they share, certificates of one issuer, or both. They speak TLS in any case.

use super::cluster_key::ClusterKey;
use millstream_base::error::{Error, Result};
use millstream_connectors::tls::peers::Peers;
use ring::hmac;
use std::path::Path;

/// Bytes that the two ends of a connection have in common, and nobody else.
pub const EXPORTED_BYTES: usize = 32;

/// By what a process knows the others.
#[derive(Clone, Debug)]
pub struct PeerTrust {
    peers: Peers,
    /// Always there where there are no certificates.
    key: Option<ClusterKey>,
}

impl PeerTrust {
    /// With a key alone.
    pub fn with_key(key: ClusterKey) -> Result<PeerTrust> {
        let peers = Peers::uncertified().map_err(|refusal| Error::environment(refusal.to_string()))?;
        Ok(PeerTrust { peers, key: Some(key) })
    }

    /// With the certificates in a folder, for the process that others reach by this name; and a key, where there is one.
    pub fn with_certificates(folder: &Path, name: &str, key: Option<ClusterKey>) -> Result<PeerTrust> {
        let peers = Peers::read(folder, name).map_err(|refusal| Error::job(format!("--cluster-tls: {refusal}")))?;
        Ok(PeerTrust { peers, key })
    }

    /// How TLS is spoken.
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// The key, where there is one.
    pub fn key(&self) -> Option<&ClusterKey> {
        self.key.as_ref()
    }

    /// By what the ends of a connection prove who they are. `exported`: what only the ends of this connection have, so that a proof holds
    /// for no other: who stands between two processes has a connection with each, and these export other bytes.
    pub fn proof_key(&self, exported: &[u8; EXPORTED_BYTES]) -> hmac::Key {
        let own = hmac::Key::new(hmac::HMAC_SHA256, self.key.as_ref().map_or(&[][..], ClusterKey::bytes));
        let both = hmac::sign(&own, &[&b"millstream: a connection with TLS"[..], exported].concat());
        hmac::Key::new(hmac::HMAC_SHA256, both.as_ref())
    }
}

/// The host of `host:port`.
pub fn name_in(host: &str) -> &str {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name)
}
