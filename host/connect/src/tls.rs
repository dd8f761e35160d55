//! TLS with the servers that a job connects to, and with the clients of a source that listens. `peers` is TLS between processes of a job. Servers are
//! verified with the system trust store or with CA certificates that the job configures. Error messages say what to do.

pub mod peers;

use millstream_base::regular;
use millstream_job::spec::TlsSpec;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig,
    SignatureScheme,
};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Maximum bytes of a certificate file: four times those of a system trust store.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// How much of a server's certificate is verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Check {
    /// Nothing: data is encrypted, but the server is not authenticated.
    Nothing,
    /// That a trusted CA issued it, for any name.
    CaOnly,
    /// Also that it is valid for the server's name.
    #[default]
    Name,
}

/// TLS settings for connecting to a server.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// What is verified.
    pub check: Check,
    /// Trusted CA certificates in a PEM file; `None`: the system trust store.
    pub ca: Option<PathBuf>,
    /// The client certificate and its key: PEM files.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// A permanent TLS error, as a message for users.
#[derive(Debug)]
pub struct TlsError(pub String);

impl std::fmt::Display for TlsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

impl Tls {
    /// Creates the settings from a job file; paths are relative to `dir`.
    pub fn from_spec(spec: &TlsSpec, dir: &Path) -> Tls {
        let own = spec.own.as_ref().map(|(cert, key)| (dir.join(cert), dir.join(key)));
        Tls { check: Check::Name, ca: spec.ca.as_ref().map(|ca| dir.join(ca)), own }
    }

    /// Loads the files. An error names the one that is unusable.
    pub fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| TlsError(format!("TLS cannot be used here: {error}")))?;
        let builder = match self.check {
            Check::Name => builder.with_root_certificates(self.roots()?),
            check => {
                let ca_verifier = match check {
                    Check::Nothing => None,
                    _ => {
                        let roots = Arc::new(self.roots()?);
                        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
                        Some(
                            verifier
                                .map_err(|error| TlsError(format!("the CA certificates cannot be used: {error}")))?,
                        )
                    }
                };
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(LenientVerifier { ca_verifier, provider }))
            }
        };
        let config = match &self.own {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => builder
                .with_client_auth_cert(certificates(cert)?, private_key(key)?)
                .map_err(|error| mismatched(cert, key, &error))?,
        };
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        if let Some(ca) = &self.ca {
            return roots_in(ca);
        }
        regular::check_certificates().map_err(TlsError)?;
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        match roots.is_empty() {
            true => Err(TlsError(
                "the system trust store is empty; install the package ca-certificates, or name a file with the CA's certificate"
                    .into(),
            )),
            false => Ok(roots),
        }
    }

    /// Performs the TLS handshake with the server of this name. A transient error has an OS error number or is about the end of the connection. Any
    /// other error is a [`TlsError`].
    pub async fn handshake<S>(&self, stream: S, name: &str) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.handshake_for(stream, name, &[]).await
    }

    /// Like [`Tls::handshake`], offering these protocols (ALPN).
    pub async fn handshake_for<S>(&self, stream: S, name: &str, protocols: &[&[u8]]) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| io::Error::other(TlsError(format!("`{name}` is not a valid certificate name"))))?;
        let mut config = self.config().map_err(io::Error::other)?;
        if !protocols.is_empty() {
            Arc::make_mut(&mut config).alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        }
        TlsConnector::from(config).connect(server, stream).await.map_err(|error| explain_error(error, name))
    }
}

/// Returns the server-side configuration with this certificate and key. `ca_file`: clients must present a certificate of one of these CAs.
pub fn server(cert: &Path, key: &Path, ca_file: Option<&Path>) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| TlsError(format!("TLS cannot be used here: {error}")))?;
    let builder = match ca_file {
        None => builder.with_no_client_auth(),
        Some(ca_file) => {
            let roots = Arc::new(roots_in(ca_file)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            let unusable = |error| TlsError(format!("`{}` cannot be used: {error}", ca_file.display()));
            builder.with_client_cert_verifier(verifier.map_err(unusable)?)
        }
    };
    let config = builder.with_single_cert(certificates(cert)?, private_key(key)?);
    config.map(Arc::new).map_err(|error| mismatched(cert, key, &error))
}

/// Reads the CA certificates in a file.
fn roots_in(ca: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        let unusable_ca =
            |error| TlsError(format!("`{}` holds a certificate that cannot be used: {error}", ca.display()));
        roots.add(certificate).map_err(unusable_ca)?;
    }
    Ok(roots)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&pem(path)?).map_err(|error| unusable(path, &error, "a private key"))
}

fn mismatched(cert: &Path, key: &Path, error: &rustls::Error) -> TlsError {
    TlsError(format!("`{}` and `{}` do not belong together: {error}", cert.display(), key.display()))
}

/// Describes why a client's TLS handshake failed. `how` says how to use TLS, for clients that do not.
pub fn describe_client_error(error: &io::Error, how: &str) -> String {
    match error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidMessage(_)) => format!("it does not use TLS; {how}"),
        Some(rustls::Error::NoCertificatesPresented) => {
            "it presents no certificate, and the source requires one (`tls.ca`)".into()
        }
        Some(rustls::Error::AlertReceived(alert)) => {
            format!("it rejected the certificate ({alert:?}); let it trust the CA")
        }
        Some(cause) => cause.to_string(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "it disconnected during the TLS handshake".into(),
        None => error.to_string(),
    }
}

/// Returns all certificates of a PEM file.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = pem(path)?;
    match CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>() {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(unusable(path, &"it has no such section", "a certificate")),
        Err(error) => Err(unusable(path, &error, "a certificate")),
    }
}

/// Reads a PEM file.
fn pem(path: &Path) -> Result<Vec<u8>, TlsError> {
    regular::read_at_most(path, PEM_BYTES_MAX)
        .map_err(|error| TlsError(format!("`{}` cannot be read: {error}", path.display())))
}

fn unusable(path: &Path, error: &dyn std::fmt::Display, what: &str) -> TlsError {
    TlsError(format!("`{}` does not contain {what} in PEM (`-----BEGIN …`): {error}", path.display()))
}

/// Replaces an error of a connection by a [`TlsError`] if TLS caused it.
pub fn explain_error(error: io::Error, name: &str) -> io::Error {
    match to_tls_error(&error, name) {
        Some(tls_error) => io::Error::other(tls_error),
        None => error,
    }
}

/// Returns the TLS error of a connection to the server of this name, if the error is about TLS.
pub fn to_tls_error(error: &io::Error, name: &str) -> Option<TlsError> {
    let cause = error.get_ref()?;
    match cause.downcast_ref::<rustls::Error>() {
        Some(cause) => Some(TlsError(describe(cause, name))),
        // Libraries wrap errors.
        None => to_tls_error(cause.downcast_ref()?, name),
    }
}

/// Returns the TLS error inside an error of a connection; `None` if it may be transient.
pub fn inner_tls_error(error: &io::Error) -> Option<&TlsError> {
    error.get_ref().and_then(|cause| cause.downcast_ref::<TlsError>())
}

/// Formats the names of a certificate. The library quotes them: `DnsName("example.org")`.
fn names(presented: &[String]) -> String {
    let plain = |name: &String| match name.strip_prefix("DnsName(\"").and_then(|name| name.strip_suffix("\")")) {
        Some(name) => format!("`{name}`"),
        None => name.clone(),
    };
    match presented {
        [] => "no name at all".into(),
        names => names.iter().map(plain).collect::<Vec<_>>().join(", "),
    }
}

fn describe(error: &rustls::Error, name: &str) -> String {
    use CertificateError as Wrong;
    let alert = |alert: &AlertDescription| match alert {
        AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure => {
            "it may require a client certificate; set `cert` and `key`".to_owned()
        }
        AlertDescription::UnknownCA | AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
            "it rejected the job's certificate; set `cert` and `key` from a CA that it trusts".to_owned()
        }
        AlertDescription::CertificateExpired => "the job's certificate has expired; renew it".to_owned(),
        other => format!("{other:?}"),
    };
    match error {
        rustls::Error::InvalidCertificate(wrong) => match wrong {
            Wrong::Expired | Wrong::ExpiredContext { .. } => {
                "the server's certificate has expired; renew it on the server, and check this machine's clock".into()
            }
            Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => {
                "the server's certificate is not valid yet; check this machine's clock".into()
            }
            Wrong::NotValidForName => {
                format!("the server's certificate is not for the name `{name}`; use a name in it")
            }
            Wrong::NotValidForNameContext { presented, .. } => format!(
                "the server's certificate is not for the name `{name}` but for {}; use a name in it",
                names(presented)
            ),
            // A CA of the expected name with another key signed it.
            Wrong::UnknownIssuer | Wrong::BadSignature => {
                "the server's certificate was issued by a CA that this job does not trust; name a file with the CA's certificate (PEM), \
                                     or use a certificate of a CA that this system trusts"
                    .into()
            }
            other => format!("the server's certificate cannot be accepted: {}", describe_certificate_error(&other.to_string())),
        },
        rustls::Error::InvalidMessage(_) => {
            "the server does not use TLS; turn TLS on in the server, or off in the job".into()
        }
        rustls::Error::AlertReceived(received) => format!("the server rejected the TLS handshake: {}", alert(received)),
        rustls::Error::PeerIncompatible(why) => {
            format!("the server does not support TLS 1.2 or 1.3: {why:?}; upgrade the server")
        }
        other => other.to_string(),
    }
}

/// Self-signed certificates are often CA certificates.
fn describe_certificate_error(message: &str) -> String {
    match message.contains("CaUsedAsEndEntity") {
        true => "it is a CA certificate (`CA:TRUE`), not a server certificate; create it with `-addext \
                 basicConstraints=CA:FALSE`, or create one for the server and sign it with this one"
            .into(),
        false => message.to_owned(),
    }
}

/// Verifies less than the name: the CA, or only that the server holds the key of its certificate.
#[derive(Debug)]
struct LenientVerifier {
    ca_verifier: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for LenientVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(verifier) = &self.ca_verifier else { return Ok(ServerCertVerified::assertion()) };
        match verifier.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // The name is verified last.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
