//! TLS between the processes of a job: each end of a connection shows a certificate of an issuer that the other knows, for the name by
//! which `--hosts` has it, or they have none (`raw_keys`). Only TLS 1.3 is spoken, and no session is taken up again: each connection is
//! checked anew.

mod raw_keys;

use super::{PEM_BYTES_MAX, TlsRefusal, certificates, roots_in, unusable};
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

/// The files of a folder, named as those of a secret that cert-manager makes for Kubernetes.
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const ISSUERS: &str = "ca.crt";

/// What a process shows to the others, and whom it knows.
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
    /// What stands in a folder, for the process that others reach by this name. The certificate is looked at as the others will do, so
    /// that what they would refuse is told before anything begins.
    pub fn read(folder: &Path, name: &str) -> Result<Peers, TlsRefusal> {
        let [certificate, key, issuers] = [CERTIFICATE, KEY, ISSUERS].map(|file| folder.join(file));
        let chain = certificates(&certificate)?;
        let bytes = private::read_secret(&key, PEM_BYTES_MAX)
            .map_err(|error| TlsRefusal(format!("`{}` cannot be read: {error}", key.display())))?;
        let secret = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| unusable(&key, &error, "a private key"))?;
        let (roots, provider) = (Arc::new(roots_in(&issuers)?), Arc::new(ring::default_provider()));
        let failed = |error: &dyn fmt::Display| TlsRefusal(format!("`{}` cannot be used: {error}", issuers.display()));
        let servers = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone()).build();
        let servers = servers.map_err(|error| failed(&error))?;
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build();
        let clients = clients.map_err(|error| failed(&error))?;
        let own = |error: rustls::Error| TlsRefusal(of_own(&error, folder, name));
        if let [first, between @ ..] = &chain[..] {
            let now = UnixTime::now();
            servers.verify_server_cert(first, between, &server_name(name)?, &[], now).map_err(own)?;
            clients.verify_client_cert(first, between, now).map_err(own)?;
        }
        let no_tls = |error| TlsRefusal(format!("TLS cannot be used here: {error}"));
        let together = |error| super::not_together(&certificate, &key, &error);
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&TLS13]);
        let builder = builder.map_err(no_tls)?.with_root_certificates(roots);
        let mut connects = builder.with_client_auth_cert(chain.clone(), secret.clone_key()).map_err(together)?;
        connects.resumption = Resumption::disabled();
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]);
        let builder = builder.map_err(no_tls)?.with_client_cert_verifier(clients);
        let mut listens = builder.with_single_cert(chain, secret).map_err(together)?;
        listens.send_tls13_tickets = 0;
        Ok(Peers { connects: Arc::new(connects), listens: Arc::new(listens), certified: true })
    }

    /// Without certificates: whoever is at the other end has to prove in another way that it is of the job.
    pub fn uncertified() -> Result<Peers, TlsRefusal> {
        let provider = Arc::new(ring::default_provider());
        let shown = raw_keys::shown(&provider)?;
        let no_tls = |error| TlsRefusal(format!("TLS cannot be used here: {error}"));
        let any = raw_keys::AnyKey(provider.signature_verification_algorithms);
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&TLS13]);
        let builder = builder.map_err(no_tls)?.dangerous().with_custom_certificate_verifier(Arc::new(any));
        let mut connects = builder.with_no_client_auth();
        connects.resumption = Resumption::disabled();
        connects.enable_sni = false;
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]);
        let mut listens = builder.map_err(no_tls)?.with_no_client_auth().with_cert_resolver(shown);
        listens.send_tls13_tickets = 0;
        Ok(Peers { connects: Arc::new(connects), listens: Arc::new(listens), certified: false })
    }

    /// This end of a connection to the process of this name.
    pub fn connects(&self, name: &str) -> io::Result<ClientConnection> {
        // A name that no certificate could have will do where there is none.
        let name = server_name(if self.certified { name } else { "process" }).map_err(io::Error::other)?;
        ClientConnection::new(self.connects.clone(), name).map_err(io::Error::other)
    }

    /// How connections of others are taken.
    pub fn listens(&self) -> Arc<ServerConfig> {
        self.listens.clone()
    }

    /// Whether the ends of a connection show certificates.
    pub fn are_certified(&self) -> bool {
        self.certified
    }

    /// Whether what a process has shown is for the name by which others reach it; why not, otherwise. Who made it was looked at before.
    pub fn is_for(&self, shown: Option<&[CertificateDer<'_>]>, name: &str) -> Result<(), String> {
        if !self.certified {
            return Ok(());
        }
        let Some([first, ..]) = shown else { return Err("it shows no certificate".into()) };
        let parsed = ParsedCertificate::try_from(first).map_err(|error| of_peer(&error))?;
        let name = server_name(name).map_err(|refusal| refusal.0)?;
        verify_server_name(&parsed, &name).map_err(|error| of_peer(&error))
    }

    /// What is wrong with the other end of a connection, and what to do.
    pub fn refused(&self, error: &io::Error) -> Option<String> {
        cause(error).map(if self.certified { of_peer } else { raw_keys::of_peer })
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsRefusal> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| TlsRefusal(format!("`{name}` cannot be the name of a certificate; give --hosts another name")))
}

/// What an error says of TLS.
fn cause(error: &io::Error) -> Option<&rustls::Error> {
    let inner = error.get_ref()?;
    inner.downcast_ref().or_else(|| cause(inner.downcast_ref()?))
}

/// The names that a certificate is for, in words.
fn names(presented: &[String]) -> String {
    match presented {
        [] => "no name at all".into(),
        names => names.join(", "),
    }
}

fn of_peer(error: &rustls::Error) -> String {
    use CertificateError as Wrong;
    match error {
        rustls::Error::InvalidCertificate(wrong) => match wrong {
            Wrong::Expired | Wrong::ExpiredContext { .. } => {
                "its certificate has expired; renew `tls.crt` there, restart it, and check this machine's clock".into()
            }
            Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => {
                "its certificate is not valid yet; check this machine's clock".into()
            }
            Wrong::NotValidForName => {
                "its certificate is not for the name that --hosts has for it; make one for that name".into()
            }
            Wrong::NotValidForNameContext { expected, presented } => format!(
                "its certificate is not for `{}`, which --hosts has for it, but for {}; make one for that name",
                expected.to_str(),
                names(presented)
            ),
            // An issuer of the right name with another key signed it.
            Wrong::UnknownIssuer | Wrong::BadSignature => {
                "its certificate was not issued by a CA in `ca.crt` of this process; give all processes certificates of one CA, and the \
                 CA's certificate as `ca.crt`"
                    .into()
            }
            other => format!("its certificate cannot be accepted: {}", super::of_certificate(&other.to_string())),
        },
        rustls::Error::NoCertificatesPresented => "it shows no certificate".into(),
        rustls::Error::InvalidMessage(_) => {
            "it does not speak TLS; where it is a process of the job, start it with --cluster-tls as well".into()
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateExpired) => {
            "it says that the certificate of this process has expired; renew `tls.crt`, and start this one again".into()
        }
        rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError,
        ) => {
            "it does not accept the certificate of this process; its issuer must be in `ca.crt` there, and its name in --hosts"
                .into()
        }
        rustls::Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            "it ended the greeting; it may not have been started with --cluster-tls".into()
        }
        rustls::Error::AlertReceived(alert) => format!("it does not go on ({alert:?}); see what it says itself"),
        rustls::Error::PeerIncompatible(PeerIncompatible::IncorrectCertificateTypeExtension) => {
            "it has no certificate; where it is a process of the job, start it with --cluster-tls as well".into()
        }
        rustls::Error::PeerIncompatible(why) => format!("it does not speak TLS 1.3: {why:?}"),
        other => other.to_string(),
    }
}

fn of_own(error: &rustls::Error, folder: &Path, name: &str) -> String {
    use CertificateError as Wrong;
    let (own, issuers) = (folder.join(CERTIFICATE), folder.join(ISSUERS));
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
                format!("`{own}` is not for `{name}`, which --hosts has for this process; make one for that name")
            }
            Wrong::NotValidForNameContext { presented, .. } => format!(
                "`{own}` is not for `{name}`, which --hosts has for this process, but for {}; make one for that name",
                names(presented)
            ),
            Wrong::UnknownIssuer | Wrong::BadSignature => {
                format!(
                    "`{own}` was not issued by a CA in `{}`, by which the processes identify each other",
                    issuers.display()
                )
            }
            Wrong::InvalidPurpose | Wrong::InvalidPurposeContext { .. } => format!(
                "`{own}` must be good for servers and for clients; make it with `extendedKeyUsage = serverAuth, clientAuth`, or \
                 without any"
            ),
            other => format!("`{own}` cannot be used: {}", super::of_certificate(&other.to_string())),
        },
        other => format!("`{own}` cannot be used: {other}"),
    }
}
