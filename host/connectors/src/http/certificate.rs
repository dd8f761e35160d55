//! The certificate that those see who connect to us. Its files are looked at for each connection, so that it may be renewed while the job runs.

use crate::tls;
use millstream_base::job::spec::TlsSpec;
use rustls::ServerConfig;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tokio_rustls::TlsAcceptor;
use tracing::warn;

/// A certificate and its key, in two files, and a third one where those who connect must show certificates.
pub struct Certificate {
    cert: PathBuf,
    key: PathBuf,
    issuers: Option<PathBuf>,
    loaded: Mutex<Loaded>,
}

/// What these files were known by when they were read.
type Stamp = [Option<(SystemTime, u64)>; 3];

#[derive(Default)]
struct Loaded {
    stamp: Stamp,
    config: Option<Arc<ServerConfig>>,
}

impl Certificate {
    /// The one that a source or sink names; paths start from this folder.
    pub fn of(tls: &TlsSpec, folder: &Path) -> Option<Certificate> {
        let (cert, key) = tls.own.as_ref()?;
        let issuers = tls.ca.as_ref().map(|ca| folder.join(ca));
        Some(Certificate { issuers, ..Certificate::new(folder.join(cert), folder.join(key)) })
    }

    /// The one in these files.
    pub fn new(cert: PathBuf, key: PathBuf) -> Certificate {
        Certificate { cert, key, issuers: None, loaded: Mutex::default() }
    }

    /// Whether it can be used.
    pub fn check(&self) -> Result<(), String> {
        self.load().map(drop).map_err(|refusal| refusal.0)
    }

    fn load(&self) -> Result<Arc<ServerConfig>, tls::TlsRefusal> {
        tls::server(&self.cert, &self.key, self.issuers.as_deref())
    }

    fn stamp(&self) -> Stamp {
        [Some(&self.cert), Some(&self.key), self.issuers.as_ref()].map(|path| {
            let metadata = std::fs::metadata(path?).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }

    /// For the next connection: what the files hold now, or the last that could be used.
    pub fn acceptor(&self, who: &str) -> Result<TlsAcceptor, String> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = self.stamp();
        if loaded.config.is_none() || loaded.stamp != stamp {
            match self.load() {
                Ok(config) => loaded.config = Some(config),
                Err(refusal) if loaded.config.is_none() => return Err(refusal.0),
                Err(refusal) => {
                    warn!("{who}: the new certificate cannot be used, and the one before stays: {}", refusal.0);
                }
            }
            loaded.stamp = stamp;
        }
        loaded.config.clone().map(TlsAcceptor::from).ok_or_else(|| "there is no certificate".to_owned())
    }
}
