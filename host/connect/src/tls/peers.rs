//! TLS between the processes of a job. Each end of a connection presents a certificate of a CA that the other trusts, for its name in `--hosts`.
//! Without certificates they use raw keys (`raw_keys`). Only TLS 1.3 is used, and sessions are never resumed: each connection is verified.

mod raw_keys;

use super::{PEM_BYTES_MAX, TlsError, certificates, names, roots_in, unusable};
use millstream_base::private;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, verify_server_name};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{AlertDescription, CertificateError, ClientConfig, ClientConnection, PeerIncompatible, ServerConfig};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// File names in the directory, as in a TLS secret that cert-manager creates for Kubernetes.
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const CA_FILE: &str = "ca.crt";

/// The certificate that a process presents, and the CAs it trusts.
#[derive(Clone)]
pub struct Peers {
    connects: Arc<ClientConfig>,
    listens: Arc<ServerConfig>,
    certified: bool,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Peers")
    }
}

impl Peers {
    /// Reads the files of a directory, for the process that others reach under `name`. The certificate is verified as the other processes will, so
    /// that problems are reported at startup.
    pub fn read(dir: &Path, name: &str) -> Result<Peers, TlsError> {
        let [certificate, key, ca_file] = [CERTIFICATE, KEY, CA_FILE].map(|file| dir.join(file));
        let chain = certificates(&certificate)?;
        let bytes = private::read_secret(&key, PEM_BYTES_MAX)
            .map_err(|error| TlsError(format!("`{}` cannot be read: {error}", key.display())))?;
        let secret = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| unusable(&key, &error, "a private key"))?;
        let (roots, provider) = (Arc::new(roots_in(&ca_file)?), Arc::new(ring::default_provider()));
        let failed = |error: &dyn fmt::Display| TlsError(format!("`{}` cannot be used: {error}", ca_file.display()));
        let servers = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone()).build();
        let servers = servers.map_err(|error| failed(&error))?;
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build();
        let clients = clients.map_err(|error| failed(&error))?;
        let to_own_refusal = |error: rustls::Error| TlsError(describe_own_error(&error, dir, name));
        if let [first, intermediates @ ..] = &chain[..] {
            let now = UnixTime::now();
            servers.verify_server_cert(first, intermediates, &server_name(name)?, &[], now).map_err(to_own_refusal)?;
            clients.verify_client_cert(first, intermediates, now).map_err(to_own_refusal)?;
        }
        let no_tls = |error| TlsError(format!("TLS cannot be used here: {error}"));
        let mismatched = |error| super::mismatched(&certificate, &key, &error);
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&TLS13]);
        let builder = builder.map_err(no_tls)?.with_root_certificates(roots);
        let mut connects = builder.with_client_auth_cert(chain.clone(), secret.clone_key()).map_err(mismatched)?;
        connects.resumption = Resumption::disabled();
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]);
        let builder = builder.map_err(no_tls)?.with_client_cert_verifier(clients);
        let mut listens = builder.with_single_cert(chain, secret).map_err(mismatched)?;
        listens.send_tls13_tickets = 0;
        Ok(Peers { connects: Arc::new(connects), listens: Arc::new(listens), certified: true })
    }

    /// Creates a configuration without certificates: peers must prove in another way that they belong to the job.
    pub fn uncertified() -> Result<Peers, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let resolver = raw_keys::new_key(&provider)?;
        let no_tls = |error| TlsError(format!("TLS cannot be used here: {error}"));
        let any = raw_keys::AnyKey(provider.signature_verification_algorithms);
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&TLS13]);
        let builder = builder.map_err(no_tls)?.dangerous().with_custom_certificate_verifier(Arc::new(any));
        let mut connects = builder.with_no_client_auth();
        connects.resumption = Resumption::disabled();
        connects.enable_sni = false;
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]);
        let mut listens = builder.map_err(no_tls)?.with_no_client_auth().with_cert_resolver(resolver);
        listens.send_tls13_tickets = 0;
        Ok(Peers { connects: Arc::new(connects), listens: Arc::new(listens), certified: false })
    }

    /// Creates the client side of a connection to the process `name`.
    pub fn connects(&self, name: &str) -> io::Result<ClientConnection> {
        // Without certificates any valid name will do.
        let name = server_name(if self.certified { name } else { "process" }).map_err(io::Error::other)?;
        ClientConnection::new(self.connects.clone(), name).map_err(io::Error::other)
    }

    /// Returns the configuration for accepting connections.
    pub fn listens(&self) -> Arc<ServerConfig> {
        self.listens.clone()
    }

    /// Returns whether both ends of a connection present certificates.
    pub fn are_certified(&self) -> bool {
        self.certified
    }

    /// Checks that the certificate of a peer is valid for the name under which others reach it. Its CA was verified before.
    pub fn is_for(&self, shown: Option<&[CertificateDer<'_>]>, name: &str) -> Result<(), String> {
        if !self.certified {
            return Ok(());
        }
        let Some([first, ..]) = shown else { return Err("it presents no certificate".into()) };
        let parsed = ParsedCertificate::try_from(first).map_err(|error| describe_peer_error(&error))?;
        let name = server_name(name).map_err(|tls_error| tls_error.0)?;
        verify_server_name(&parsed, &name).map_err(|error| describe_peer_error(&error))
    }

    /// Describes a TLS error of the peer, and what to do.
    pub fn rejection_reason(&self, error: &io::Error) -> Option<String> {
        cause(error).map(if self.certified { describe_peer_error } else { raw_keys::describe_peer_error })
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| TlsError(format!("`{name}` is not a valid certificate name; use another name in --hosts")))
}

/// Returns the TLS error inside an I/O error.
fn cause(error: &io::Error) -> Option<&rustls::Error> {
    let inner = error.get_ref()?;
    inner.downcast_ref().or_else(|| cause(inner.downcast_ref()?))
}

fn describe_peer_error(error: &rustls::Error) -> String {
    use CertificateError as Wrong;
    match error {
        rustls::Error::InvalidCertificate(wrong) => match wrong {
            Wrong::Expired | Wrong::ExpiredContext { .. } => {
                "its certificate has expired; renew `tls.crt` there, restart it, and check this machine's clock".into()
            }
            Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => {
                "its certificate is not valid yet; check this machine's clock".into()
            }
            Wrong::NotValidForName => "its certificate is not for its name in --hosts; create one for that name".into(),
            Wrong::NotValidForNameContext { expected, presented } => format!(
                "its certificate is not for `{}`, its name in --hosts, but for {}; create one for that name",
                expected.to_str(),
                names(presented)
            ),
            // A CA of the expected name with another key signed it.
            Wrong::UnknownIssuer | Wrong::BadSignature => {
                "its certificate was not issued by a CA in `ca.crt` of this process; use certificates of one CA for \
                 all processes, and its certificate as `ca.crt`"
                    .into()
            }
            other => {
                format!("its certificate cannot be accepted: {}", super::describe_certificate_error(&other.to_string()))
            }
        },
        rustls::Error::NoCertificatesPresented => "it presents no certificate".into(),
        rustls::Error::InvalidMessage(_) => {
            "it does not use TLS; if it is a process of the job, start it with --cluster-tls as well".into()
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateExpired) => {
            "it reports that the certificate of this process has expired; renew `tls.crt`, and restart this process"
                .into()
        }
        rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError,
        ) => "it rejected the certificate of this process; add its CA to `ca.crt` there, and check its name in --hosts"
            .into(),
        rustls::Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            "it ended the handshake; it may not have been started with --cluster-tls".into()
        }
        rustls::Error::AlertReceived(alert) => format!("it closed the handshake ({alert:?}); see its own log"),
        rustls::Error::PeerIncompatible(PeerIncompatible::IncorrectCertificateTypeExtension) => {
            "it has no certificate; if it is a process of the job, start it with --cluster-tls as well".into()
        }
        rustls::Error::PeerIncompatible(why) => format!("it does not support TLS 1.3: {why:?}"),
        other => other.to_string(),
    }
}

fn describe_own_error(error: &rustls::Error, dir: &Path, name: &str) -> String {
    use CertificateError as Wrong;
    let (own, ca_file) = (dir.join(CERTIFICATE), dir.join(CA_FILE));
    let own = own.display();
    match error {
        rustls::Error::InvalidCertificate(wrong) => match wrong {
            Wrong::Expired | Wrong::ExpiredContext { .. } => {
                format!("`{own}` has expired; renew it, and check this machine's clock")
            }
            Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => {
                format!("`{own}` is not valid yet; check this machine's clock")
            }
            Wrong::NotValidForName => {
                format!("`{own}` is not for `{name}`, the name of this process in --hosts; create one for that name")
            }
            Wrong::NotValidForNameContext { presented, .. } => format!(
                "`{own}` is not for `{name}`, the name of this process in --hosts, but for {}; create one for that \
                name",
                names(presented)
            ),
            Wrong::UnknownIssuer | Wrong::BadSignature => {
                format!(
                    "`{own}` was not issued by a CA in `{}`, by which the processes identify each other",
                    ca_file.display()
                )
            }
            Wrong::InvalidPurpose | Wrong::InvalidPurposeContext { .. } => format!(
                "`{own}` must be valid for servers and for clients; create it with `extendedKeyUsage = serverAuth, \
                 clientAuth`, or without any"
            ),
            other => format!("`{own}` cannot be used: {}", super::describe_certificate_error(&other.to_string())),
        },
        other => format!("`{own}` cannot be used: {other}"),
    }
}
