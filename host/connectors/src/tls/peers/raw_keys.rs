//! TLS between processes that have no certificates: the end that listens shows a public key alone (RFC 7250), made when the process
//! starts and known to nobody, and the end that connects takes any. So TLS says only that both ends are those of one connection; who they
//! are, they must prove by what they export from it.

use super::super::TlsRefusal;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, DigitallySignedStruct, Error, PeerIncompatible, PeerMisbehaved, SignatureScheme};
use std::sync::Arc;

/// A new key, as the end that listens shows it.
pub fn shown(provider: &CryptoProvider) -> Result<Arc<AlwaysResolvesServerRawPublicKeys>, TlsRefusal> {
    let failed = || TlsRefusal("TLS cannot be used here: no key can be made".into());
    let made = ring::signature::Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new());
    let made = PrivatePkcs8KeyDer::from(made.map_err(|_| failed())?.as_ref().to_vec());
    let key = provider.key_provider.load_private_key(PrivateKeyDer::Pkcs8(made)).map_err(|_| failed())?;
    let public = CertificateDer::from(key.public_key().ok_or_else(failed)?.to_vec());
    Ok(Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::new(CertifiedKey::new(vec![public], key)))))
}

/// Takes any key, of whoever has signed this greeting with it.
#[derive(Debug)]
pub struct AnyKey(pub WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyKey {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // Only TLS 1.3 is spoken.
        Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature_with_raw_key(message, &SubjectPublicKeyInfoDer::from(key.as_ref()), signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// What is wrong with the other end of a connection, and what to do.
pub fn of_peer(error: &Error) -> String {
    match error {
        Error::InvalidMessage(_) => "it is not a process of a job, or has another version".into(),
        // The end that wants a certificate ends the greeting, and says no more than this.
        Error::PeerIncompatible(PeerIncompatible::IncorrectCertificateTypeExtension)
        | Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            "it wants certificates, and this process has none; start all with the same --cluster-tls, or none".into()
        }
        Error::AlertReceived(alert) => format!("it does not go on ({alert:?}); see what it says itself"),
        Error::PeerIncompatible(why) => format!("it does not speak TLS 1.3: {why:?}"),
        other => other.to_string(),
    }
}
