//! NATS servers with JetStream, for sources and sinks: URLs, connections, and the meaning of errors.
//!
//! `nats/README.md` says why the connector has its own client and does not use `async-nats`.

pub mod declaration;
pub mod settings;
mod subject;
mod sink;
mod source;
mod connection;
mod credentials;
mod protocol;
pub mod stream;

pub use connection::{Connection, parse_response};
pub use millstream_connect::dial::{Fault, RESPONSE_TIMEOUT};
pub use protocol::{ReceivedMessage, publish};

use credentials::Credentials;
use millstream_base::{secrets, shown};
use millstream_connect::dial::{ServerAddress, UrlForm};
use millstream_job::spec::TlsSpec;
use serde::Deserialize;
use std::path::{Path, PathBuf};

const SHOWN_BYTES_MAX: usize = 300;

/// The form of NATS URLs.
pub const FORM: UrlForm = UrlForm {
    name: "NATS",
    plain: ("nats", 4222),
    secure: ("tls", 4222),
    help: "write it as \"nats://user:${NATS_PASSWORD}@host:4222\", \"nats://${NATS_TOKEN}@host:4222\", or tls:// with TLS",
    closed: "it closed the connection",
};

/// The address of a server, and the credentials of the job.
#[derive(Clone)]
pub struct Server {
    pub address: ServerAddress,
    /// Path to the credentials file, if the URL has no credentials.
    credentials: Option<PathBuf>,
}

impl Server {
    /// Reads `url`, `credentials` and `tls` of a job file. The error is the wrong key, and why.
    pub fn new(
        url: &str,
        credentials: Option<&Path>,
        tls: Option<&TlsSpec>,
        dir: &Path,
    ) -> Result<Server, (&'static str, String)> {
        let address = ServerAddress::parse(url, &FORM, tls, dir)?;
        if let (Some(token), None) = (&address.user, &address.password) {
            secrets::keep(token, "(token)");
        }
        let server = Server { address, credentials: credentials.map(|file| dir.join(file)) };
        if server.credentials.is_some() && server.address.user.is_some() {
            return Err(("credentials", "`url` and `credentials` both have credentials; remove one of them".into()));
        }
        server.read_credentials().map_err(|fault| match fault {
            Fault::Transient(why) | Fault::Permanent(why) => {
                ("credentials", format!("{why}; fix it, or name another file"))
            }
        })?;
        Ok(server)
    }

    /// Reads the credentials file again, because it may be renewed while the job runs.
    fn read_credentials(&self) -> Result<Option<Credentials>, Fault> {
        self.credentials.as_deref().map(Credentials::read).transpose()
    }

    /// The server in messages.
    pub fn shown(&self) -> String {
        self.address.shown()
    }
}

/// An error response of JetStream.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ApiError {
    /// Like an HTTP status.
    pub code: u32,
    /// Identifies the error.
    pub err_code: u32,
    description: String,
}

impl ApiError {
    pub const NO_MESSAGE: u32 = 10_037;
    pub const NO_STREAM: u32 = 10_059;
    pub const MESSAGE_TOO_LARGE: u32 = 10_054;
    pub const WRONG_LAST: u32 = 10_071;
    pub const BATCH_TOO_LARGE: u32 = 10_199;
    const NOT_FOR_ACCOUNT: u32 = 10_039;
    const NOT_ENABLED: u32 = 10_076;
    const RESOURCES: [u32; 4] = [10_002, 10_023, 10_028, 10_047];
    const SYNCHRONIZING: [u32; 3] = [10_164, 10_176, 10_210];
    const STORE_FAILED: u32 = 10_077;

    /// The error as a message, and whether it is transient.
    pub fn to_fault(&self) -> Fault {
        let text = shown::harmless(&self.description, SHOWN_BYTES_MAX);
        match self.err_code {
            ApiError::NOT_FOR_ACCOUNT | ApiError::NOT_ENABLED => Fault::Permanent(format!(
                "{text}; start it with JetStream (nats-server -js), or enable it for the account"
            )),
            code if ApiError::RESOURCES.contains(&code) || ApiError::SYNCHRONIZING.contains(&code) => {
                Fault::Transient(text)
            }
            // A full stream (`discard = new`), for example.
            ApiError::STORE_FAILED => Fault::Transient(text),
            _ if self.code >= 500 || matches!(self.code, 408 | 429) => Fault::Transient(text),
            _ => Fault::Permanent(text),
        }
    }
}
