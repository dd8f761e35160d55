//! By what the processes of a job know each other: a key that they share, certificates of one issuer, or both.

use super::cluster_key::ClusterKey;
use millstream_base::error::{Error, Result};
use millstream_connectors::tls::peers::Peers;
use ring::hmac;
use std::path::Path;

/// Bytes that the two ends of a connection with TLS have in common, and nobody else.
pub const EXPORTED_BYTES: usize = 32;

/// By what a process knows the others.
#[derive(Clone, Debug)]
pub enum PeerTrust {
    /// A key.
    Key(ClusterKey),
    /// Certificates, and a key beside them where there is one.
    Certificates {
        /// Those that are shown and known.
        peers: Peers,
        /// What must be known as well.
        key: Option<ClusterKey>,
    },
}

impl PeerTrust {
    /// With the certificates in a folder, for the process that others reach by this name; and a key, where there is one.
    pub fn with_certificates(folder: &Path, name: &str, key: Option<ClusterKey>) -> Result<PeerTrust> {
        let peers = Peers::read(folder, name).map_err(|refusal| Error::job(format!("--cluster-tls: {refusal}")))?;
        Ok(PeerTrust::Certificates { peers, key })
    }

    /// The certificates, where TLS is spoken.
    pub fn peers(&self) -> Option<&Peers> {
        match self {
            PeerTrust::Key(_) => None,
            PeerTrust::Certificates { peers, .. } => Some(peers),
        }
    }

    /// By what the ends of a connection prove who they are. `exported`: what only the ends of this connection with TLS have, so that a
    /// proof holds for no other.
    pub fn proof_key(&self, exported: Option<&[u8; EXPORTED_BYTES]>) -> hmac::Key {
        let key = match self {
            PeerTrust::Key(key) => Some(key),
            PeerTrust::Certificates { key, .. } => key.as_ref(),
        };
        let own = hmac::Key::new(hmac::HMAC_SHA256, key.map_or(&[][..], ClusterKey::bytes));
        match exported {
            None => own,
            Some(exported) => {
                let both = hmac::sign(&own, &[&b"millstream: a connection with TLS"[..], exported].concat());
                hmac::Key::new(hmac::HMAC_SHA256, both.as_ref())
            }
        }
    }
}

/// The host of `host:port`.
pub fn name_in(host: &str) -> &str {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name)
}
