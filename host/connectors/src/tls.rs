//! TLS towards servers that a job connects to, sockets and databases, and with those who send to a source that listens. `peers` is TLS between processes of a job. Who the server is, is checked with certificates of the
//! system or with those that the job names, and what is wrong is said in words that tell what to do.

pub mod peers;

use millstream_base::job::spec::TlsSpec;
use millstream_base::regular;
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

/// Bytes of a file of certificates: those of a whole system have a quarter of it.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// What is checked of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Check {
    /// Nothing: what is sent is encrypted, to whomever.
    Nothing,
    /// That somebody who is trusted made its certificate, for whatever name.
    Issuer,
    /// Also that the certificate is for its name.
    #[default]
    Name,
}

/// How a server is spoken to.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// What is checked.
    pub check: Check,
    /// Who is trusted: certificates in a PEM file; `None`: whom the system trusts.
    pub ca: Option<PathBuf>,
    /// The job's own certificate, and its key: PEM files.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// Something that does not go away by itself, for a person to read.
#[derive(Debug)]
pub struct TlsRefusal(pub String);

impl std::fmt::Display for TlsRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsRefusal {}

impl Tls {
    /// As a job file says; paths start from this folder.
    pub fn of(spec: &TlsSpec, folder: &Path) -> Tls {
        let own = spec.own.as_ref().map(|(cert, key)| (folder.join(cert), folder.join(key)));
        Tls { check: Check::Name, ca: spec.ca.as_ref().map(|ca| folder.join(ca)), own }
    }

    /// What is needed of files: an error names the one that cannot be used.
    pub fn config(&self) -> Result<Arc<ClientConfig>, TlsRefusal> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| TlsRefusal(format!("TLS cannot be used here: {error}")))?;
        let builder = match self.check {
            Check::Name => builder.with_root_certificates(self.roots()?),
            check => {
                let issuers = match check {
                    Check::Nothing => None,
                    _ => {
                        let roots = Arc::new(self.roots()?);
                        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
                        Some(verifier.map_err(|error| TlsRefusal(format!("the issuers cannot be used: {error}")))?)
                    }
                };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Lenient { issuers, provider }))
            }
        };
        let config = match &self.own {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => builder
                .with_client_auth_cert(certificates(cert)?, private_key(key)?)
                .map_err(|error| not_together(cert, key, &error))?,
        };
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, TlsRefusal> {
        if let Some(ca) = &self.ca {
            return roots_in(ca);
        }
        regular::check_certificates().map_err(TlsRefusal)?;
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        match roots.is_empty() {
            true => Err(TlsRefusal(
                "the system trust store is empty; install the package ca-certificates, or name a file with the CA's certificate"
                    .into(),
            )),
            false => Ok(roots),
        }
    }

    /// Begins to speak TLS with the server of this name. What passes by itself is an error with a number of the system, or one
    /// about the end of the connection; everything else is a [`TlsRefusal`].
    pub async fn handshake<S>(&self, stream: S, name: &str) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.handshake_for(stream, name, &[]).await
    }

    /// The same, to speak one of these protocols then (ALPN).
    pub async fn handshake_for<S>(&self, stream: S, name: &str, protocols: &[&[u8]]) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| io::Error::other(TlsRefusal(format!("`{name}` cannot be the name of a certificate"))))?;
        let mut config = self.config().map_err(io::Error::other)?;
        if !protocols.is_empty() {
            Arc::make_mut(&mut config).alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        }
        TlsConnector::from(config).connect(server, stream).await.map_err(|error| in_words(error, name))
    }
}

/// How a source that listens speaks TLS, with this certificate and key. `issuers`: who connects must show a certificate of one of these.
pub fn server(cert: &Path, key: &Path, issuers: Option<&Path>) -> Result<Arc<ServerConfig>, TlsRefusal> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| TlsRefusal(format!("TLS cannot be used here: {error}")))?;
    let builder = match issuers {
        None => builder.with_no_client_auth(),
        Some(issuers) => {
            let roots = Arc::new(roots_in(issuers)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            let unusable = |error| TlsRefusal(format!("`{}` cannot be used: {error}", issuers.display()));
            builder.with_client_cert_verifier(verifier.map_err(unusable)?)
        }
    };
    let config = builder.with_single_cert(certificates(cert)?, private_key(key)?);
    config.map(Arc::new).map_err(|error| not_together(cert, key, &error))
}

/// The issuers whose certificates stand in a file.
fn roots_in(ca: &Path) -> Result<RootCertStore, TlsRefusal> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        let told = |error| TlsRefusal(format!("`{}` holds a certificate that cannot be used: {error}", ca.display()));
        roots.add(certificate).map_err(told)?;
    }
    Ok(roots)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsRefusal> {
    PrivateKeyDer::from_pem_slice(&pem(path)?).map_err(|error| unusable(path, &error, "a private key"))
}

fn not_together(cert: &Path, key: &Path, error: &rustls::Error) -> TlsRefusal {
    TlsRefusal(format!("`{}` and `{}` do not belong together: {error}", cert.display(), key.display()))
}

/// Why somebody who connected could not speak TLS with us. `how`: what those have to do who do not try to.
pub fn of_client(error: &io::Error, how: &str) -> String {
    match error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidMessage(_)) => format!("it does not speak TLS; {how}"),
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

/// All certificates of a PEM file.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsRefusal> {
    let bytes = pem(path)?;
    match CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>() {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(unusable(path, &"there is no such section in it", "a certificate")),
        Err(error) => Err(unusable(path, &error, "a certificate")),
    }
}

/// The content of a PEM file.
fn pem(path: &Path) -> Result<Vec<u8>, TlsRefusal> {
    regular::read_at_most(path, PEM_BYTES_MAX)
        .map_err(|error| TlsRefusal(format!("`{}` cannot be read: {error}", path.display())))
}

fn unusable(path: &Path, error: &dyn std::fmt::Display, what: &str) -> TlsRefusal {
    TlsRefusal(format!("`{}` does not give {what} in PEM (`-----BEGIN …`): {error}", path.display()))
}

/// An error of a connection with TLS: where TLS itself is to blame, what to do about it.
pub fn in_words(error: io::Error, name: &str) -> io::Error {
    match refused(&error, name) {
        Some(refusal) => io::Error::other(refusal),
        None => error,
    }
}

/// What TLS itself has against a connection with the server of this name, where that is what the error is about.
pub fn refused(error: &io::Error, name: &str) -> Option<TlsRefusal> {
    let cause = error.get_ref()?;
    match cause.downcast_ref::<rustls::Error>() {
        Some(cause) => Some(TlsRefusal(words(cause, name))),
        // Libraries wrap what they pass on.
        None => refused(cause.downcast_ref()?, name),
    }
}

/// The refusal that an error of a connection is; `None`: it may pass by itself.
pub fn refusal(error: &io::Error) -> Option<&TlsRefusal> {
    error.get_ref().and_then(|cause| cause.downcast_ref::<TlsRefusal>())
}

fn words(error: &rustls::Error, name: &str) -> String {
    use CertificateError as Wrong;
    let alert = |alert: &AlertDescription| match alert {
        AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure => {
            "it may want a certificate of the job; give `cert` and `key`".to_owned()
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
                "the server's certificate has expired; renew it there, and check this machine's clock".into()
            }
            Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => {
                "the server's certificate is not valid yet; check this machine's clock".into()
            }
            Wrong::NotValidForName => {
                format!("the server's certificate is not for the name `{name}`; use a name it is for")
            }
            Wrong::NotValidForNameContext { presented, .. } => format!(
                "the server's certificate is not for the name `{name}` but for {}; use a name it is for",
                if presented.is_empty() { "no name at all".into() } else { presented.join(", ") }
            ),
            // An issuer of the right name with another key signed it.
            Wrong::UnknownIssuer | Wrong::BadSignature => {
                "the server's certificate was issued by a CA that this job does not trust; name a file with the CA's certificate (PEM), \
                                     or use a certificate of a CA that this system trusts"
                    .into()
            }
            other => format!("the server's certificate cannot be accepted: {}", of_certificate(&other.to_string())),
        },
        rustls::Error::InvalidMessage(_) => {
            "the server does not speak TLS; turn TLS on in the server, or off in the job".into()
        }
        rustls::Error::AlertReceived(received) => format!("the server rejected the TLS handshake: {}", alert(received)),
        rustls::Error::PeerIncompatible(why) => {
            format!("the server does not support TLS 1.2 or 1.3: {why:?}; upgrade the server")
        }
        other => other.to_string(),
    }
}

/// Self-made certificates are often those of an issuer.
fn of_certificate(words: &str) -> String {
    match words.contains("CaUsedAsEndEntity") {
        true => "it is one of an issuer (`CA:TRUE`) and not of a server; make it with `-addext basicConstraints=CA:FALSE`, or \
                 make one for the server and sign it with this one"
            .into(),
        false => words.to_owned(),
    }
}

/// Checks less than names: issuers, or nothing but that the server holds the key of the certificate it shows.
#[derive(Debug)]
struct Lenient {
    issuers: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(issuers) = &self.issuers else { return Ok(ServerCertVerified::assertion()) };
        match issuers.verify_server_cert(certificate, between, name, ocsp, now) {
            // Names are looked at last.
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
