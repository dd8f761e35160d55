//! TLS between processes without certificates. The listening end presents only a public key (RFC 7250), which is created at startup and unknown to
//! others. The connecting end accepts any key. So TLS only ensures that both ends are those of one connection. They must authenticate each other with
//! keying material exported from it.

use super::super::TlsError;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, DigitallySignedStruct, Error, PeerIncompatible, PeerMisbehaved, SignatureScheme};
use std::sync::Arc;

/// Creates a new key for the listening end.
pub fn new_key(provider: &CryptoProvider) -> Result<Arc<AlwaysResolvesServerRawPublicKeys>, TlsError> {
    let failed = || TlsError("TLS cannot be used here: cannot create a key".into());
    let pkcs8 = ring::signature::Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new());
    let pkcs8 = PrivatePkcs8KeyDer::from(pkcs8.map_err(|_| failed())?.as_ref().to_vec());
    let key = provider.key_provider.load_private_key(PrivateKeyDer::Pkcs8(pkcs8)).map_err(|_| failed())?;
    let public = CertificateDer::from(key.public_key().ok_or_else(failed)?.to_vec());
    Ok(Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::new(CertifiedKey::new(vec![public], key)))))
}

/// Accepts any key whose owner has signed the handshake.
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
        // Only TLS 1.3 is used.
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

/// Describes a TLS error of the peer, and what to do.
pub fn describe_peer_error(error: &Error) -> String {
    match error {
        Error::InvalidMessage(_) => "it is not a process of a job, or has another version".into(),
        // The end that requires a certificate aborts the handshake, with no other error than this.
        Error::PeerIncompatible(PeerIncompatible::IncorrectCertificateTypeExtension)
        | Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            "it requires certificates, but this process has none; start all with the same --cluster-tls, or none".into()
        }
        Error::AlertReceived(alert) => format!("it closed the handshake ({alert:?}); see its own log"),
        Error::PeerIncompatible(why) => format!("it does not support TLS 1.3: {why:?}"),
        other => other.to_string(),
    }
}
