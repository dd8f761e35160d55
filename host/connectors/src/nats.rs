//! A server of NATS with JetStream, as sources and sinks name it: its URLs, a connection with it, and what its errors mean.
//!
//! The client is our own: the protocol is text and has few words, and what is needed of JetStream are some requests and answers of JSON.

pub mod declaration;
pub mod settings;
mod subject;
mod sink;
mod source;
mod connection;
mod credentials;
mod protocol;
pub mod stream;

pub use crate::dial::{ANSWER_MAX, Fault};
pub use connection::{Connection, answer};
pub use protocol::{Received, publish};

use crate::dial::{ServerAddress, UrlForm};
use credentials::Credentials;
use millstream_base::job::spec::TlsSpec;
use millstream_base::{secrets, shown};
use serde::Deserialize;
use std::path::{Path, PathBuf};

const SHOWN_BYTES_MAX: usize = 300;

/// Its URLs.
pub const FORM: UrlForm = UrlForm {
    name: "NATS",
    plain: ("nats", 4222),
    safe: ("tls", 4222),
    help: "write it as \"nats://user:${NATS_PASSWORD}@host:4222\", \"nats://${NATS_TOKEN}@host:4222\", or tls:// with TLS",
    closed: "it closed the connection",
};

/// Where a server is, and who the job is there.
#[derive(Clone)]
pub struct Server {
    pub place: ServerAddress,
    /// The file that says who the job is, where the URL does not.
    credentials: Option<PathBuf>,
}

impl Server {
    /// The server that a URL of a job file names; or the key that is wrong, and why.
    pub fn of(
        url: &str,
        credentials: Option<&Path>,
        tls: Option<&TlsSpec>,
        folder: &Path,
    ) -> Result<Server, (&'static str, String)> {
        let place = ServerAddress::of(url, &FORM, tls, folder)?;
        if let (Some(token), None) = (&place.user, &place.password) {
            secrets::keep(token, "(token)");
        }
        let server = Server { place, credentials: credentials.map(|file| folder.join(file)) };
        if server.credentials.is_some() && server.place.user.is_some() {
            return Err(("credentials", "`url` and `credentials` both have credentials; remove one of them".into()));
        }
        server.credentials().map_err(|fault| match fault {
            Fault::Passing(why) | Fault::Lasting(why) => {
                ("credentials", format!("{why}; fix it, or name another file"))
            }
        })?;
        Ok(server)
    }

    /// What the file says now, which may be renewed while the job runs.
    fn credentials(&self) -> Result<Option<Credentials>, Fault> {
        self.credentials.as_deref().map(Credentials::read).transpose()
    }

    /// Where it is, for people.
    pub fn shown(&self) -> String {
        self.place.shown()
    }
}

/// What JetStream says where it does not do what it was asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ApiError {
    /// As those of HTTP.
    pub code: u32,
    /// Which error it is.
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

    /// In words, and whether it may pass by itself.
    pub fn fault(&self) -> Fault {
        let said = shown::harmless(&self.description, SHOWN_BYTES_MAX);
        match self.err_code {
            ApiError::NOT_FOR_ACCOUNT | ApiError::NOT_ENABLED => Fault::Lasting(format!(
                "{said}; start it with JetStream (nats-server -js), or enable it for the account"
            )),
            code if ApiError::RESOURCES.contains(&code) || ApiError::SYNCHRONIZING.contains(&code) => {
                Fault::Passing(said)
            }
            // A stream that is full (`discard = new`) among others.
            ApiError::STORE_FAILED => Fault::Passing(said),
            _ if self.code >= 500 || matches!(self.code, 408 | 429) => Fault::Passing(said),
            _ => Fault::Lasting(said),
        }
    }
}
