//! A server whose certificate is for another name than that by which the job reaches it.

use super::connector::Connector;
use millstream_tests::{Certificates, DEADLINE};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// The names that the certificate is for.
const OTHERS: &str = "DNS:other.example.org";
/// How often the server looks whether the test has ended.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Runs `test` with such a server: its port, and the CA that issued its certificate.
pub fn with_stranger(connector: &dyn Connector, test: impl FnOnce(u16, PathBuf)) {
    let certificates = Certificates::make();
    let config = Arc::new(config(&certificates.of("other", OTHERS, 2)));
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    listener.set_nonblocking(true).expect("a listener");
    let over = Over(AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.0.load(Ordering::Acquire) {
                match listener.accept() {
                    Ok((socket, _)) => serve(connector, &config, socket),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(LOOK_EVERY),
                    Err(_) => {}
                }
            }
        });
        // Also if the test panics.
        let _end = End(&over);
        test(port, certificates.ca());
    });
}

fn config((certificate, key): &(PathBuf, PathBuf)) -> ServerConfig {
    let chain = CertificateDer::pem_file_iter(certificate).expect("a file").map(|der| der.expect("a certificate"));
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("TLS");
    let mut config = config.with_no_client_auth().with_single_cert(chain.collect(), key).expect("they fit");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

fn serve(connector: &dyn Connector, config: &Arc<ServerConfig>, mut socket: TcpStream) {
    let _ = socket.set_nonblocking(false);
    let _ = socket.set_read_timeout(Some(DEADLINE));
    connector.before_tls(&mut socket);
    let mut connection = ServerConnection::new(config.clone()).expect("a connection");
    // The job breaks it off.
    let _ = connection.complete_io(&mut socket);
}

struct Over(AtomicBool);

struct End<'a>(&'a Over);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Release);
    }
}
