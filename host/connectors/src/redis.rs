//! A server of Redis, as sources and sinks name it: connections to it, and what its errors mean.

use crate::job::http_url;
use crate::tls::{Refusal, refused};
use crate::{secrets, shown};
use ::redis::{
    Client, ClientTlsConfig, Connection, ErrorKind, IntoConnectionInfo, RedisError, ServerErrorKind, TlsCertificates,
};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a connection may take, and an answer.
pub const ANSWER_MAX: Duration = Duration::from_secs(10);
const SHOWN_BYTES_MAX: usize = 300;
/// Bytes of a file of certificates.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// Where a server is.
pub struct Server {
    client: Client,
    place: String,
}

impl Server {
    /// Of a URL of a job file. TLS by `rediss://`.
    pub fn of(
        url: &str,
        tls: Option<&crate::job::spec::TlsSpec>,
        folder: &Path,
    ) -> Result<Server, (&'static str, String)> {
        let url = http_url::url(url).map_err(|message| ("url", message))?;
        let info = url.as_str().into_connection_info();
        // The library's words may hold the URL, and so a password.
        let info = info.map_err(|_| {
            ("url", "`url` cannot be used; write it as \"redis://user:${REDIS_PASSWORD}@host:6379/0\"".to_owned())
        })?;
        if let Some(password) = info.redis_settings().password() {
            secrets::keep(password, "(password)");
        }
        let place = format!("Redis at {}", info.addr());
        let pem = |path: &Path| {
            let path = folder.join(path);
            let read = crate::regular::read_at_most(&path, PEM_BYTES_MAX);
            read.map_err(|cause| ("tls", format!("`tls`: cannot read {}: {cause}", path.display())))
        };
        let client = match tls {
            None => Client::open(info),
            Some(tls) => {
                let own = tls
                    .own
                    .as_ref()
                    .map(|(cert, key)| Ok(ClientTlsConfig { client_cert: pem(cert)?, client_key: pem(key)? }));
                let certificates = TlsCertificates {
                    client_tls: own.transpose()?,
                    root_cert: tls.ca.as_deref().map(pem).transpose()?,
                };
                Client::build_with_tls(info, certificates)
            }
        };
        let client = client.map_err(|error| ("tls", format!("`tls` cannot be used: {}", words(&error))))?;
        Ok(Server { client, place })
    }

    /// Where it is, for people.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// A new connection, whose answers come in time or not at all.
    pub fn connect(&self) -> Result<Connection, RedisError> {
        let connection = self.client.get_connection_with_timeout(ANSWER_MAX)?;
        connection.set_read_timeout(Some(ANSWER_MAX))?;
        connection.set_write_timeout(Some(ANSWER_MAX))?;
        Ok(connection)
    }
}

/// What a server or the library says, for people.
pub fn words(error: &RedisError) -> String {
    if let Some(refusal) = refusal(error) {
        return format!("TLS: {refusal}");
    }
    let words = shown::harmless(&error.to_string(), SHOWN_BYTES_MAX);
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) => "it does not accept user or password; mend them in `url`".to_owned(),
        (_, Some("NOAUTH")) => format!("{words}; write user and password into `url`"),
        (ErrorKind::Server(ServerErrorKind::NoPerm), _) => format!("{words}; let it allow the user this"),
        (ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::CrossSlot), _) => {
            format!("{words}; it is a node of a cluster, which is not spoken to; name a server without one")
        }
        (_, Some("WRONGTYPE")) => "something that is no stream has this key; mend `stream`".to_owned(),
        _ => words,
    }
}

/// Whether what failed may succeed later: nobody answers, or the server is not ready.
pub fn passes(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Io if refusal(error).is_some() => false,
        ErrorKind::Io | ErrorKind::Parse => true,
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::BusyLoading
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly
        ),
        ErrorKind::Extension => {
            error.code().is_some_and(|code| ["OOM", "MISCONF", "BUSY", "NOREPLICAS", "UNBLOCKED"].contains(&code))
        }
        _ => false,
    }
}

/// What TLS has against the server, where that is what the error is about.
fn refusal(error: &RedisError) -> Option<Refusal> {
    let source = std::error::Error::source(error)?;
    // The library shares causes.
    let cause = match source.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>() {
        Some(shared) => shared.downcast_ref::<std::io::Error>(),
        None => source.downcast_ref::<std::io::Error>(),
    };
    refused(cause?, "of the host in `url`")
}
