//! The certificate that clients see. Its files are checked for each connection, so that it may be renewed while the job runs.

use crate::tls;
use millstream_job::spec::TlsSpec;
use rustls::ServerConfig;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tokio_rustls::TlsAcceptor;
use tracing::warn;

/// A certificate and its key in two files, and the CA certificates if clients must present certificates.
pub struct Certificate {
    cert: PathBuf,
    key: PathBuf,
    ca: Option<PathBuf>,
    loaded: Mutex<LoadedCertificate>,
}

/// Modification times and lengths of the files when they were read.
type Stamp = [Option<(SystemTime, u64)>; 3];

#[derive(Default)]
struct LoadedCertificate {
    stamp: Stamp,
    config: Option<Arc<ServerConfig>>,
}

impl Certificate {
    /// Returns the certificate that a source or sink configures; paths are relative to `dir`.
    pub fn from_spec(tls: &TlsSpec, dir: &Path) -> Option<Certificate> {
        let (cert, key) = tls.own.as_ref()?;
        let ca = tls.ca.as_ref().map(|ca| dir.join(ca));
        Some(Certificate { ca, ..Certificate::new(dir.join(cert), dir.join(key)) })
    }

    /// Creates a certificate from these files.
    pub fn new(cert: PathBuf, key: PathBuf) -> Certificate {
        Certificate { cert, key, ca: None, loaded: Mutex::default() }
    }

    /// Checks that it is usable.
    pub fn check(&self) -> Result<(), String> {
        self.load().map(drop).map_err(|tls_error| tls_error.0)
    }

    fn load(&self) -> Result<Arc<ServerConfig>, tls::TlsError> {
        tls::server(&self.cert, &self.key, self.ca.as_deref())
    }

    fn stamp(&self) -> Stamp {
        [Some(&self.cert), Some(&self.key), self.ca.as_ref()].map(|path| {
            let metadata = std::fs::metadata(path?).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }

    /// Returns the acceptor for the next connection, from the current files or the last usable ones.
    pub fn acceptor(&self, who: &str) -> Result<TlsAcceptor, String> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = self.stamp();
        if loaded.config.is_none() || loaded.stamp != stamp {
            match self.load() {
                Ok(config) => loaded.config = Some(config),
                Err(tls_error) if loaded.config.is_none() => return Err(tls_error.0),
                Err(tls_error) => {
                    warn!(
                        "{who}: the new certificate cannot be used, and the previous one stays in use: {}",
                        tls_error.0
                    );
                }
            }
            loaded.stamp = stamp;
        }
        loaded.config.clone().map(TlsAcceptor::from).ok_or_else(|| "no certificate found".to_owned())
    }
}
