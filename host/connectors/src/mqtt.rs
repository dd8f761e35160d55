//! A server of MQTT (version 5), as sources and sinks name it: where it is, a connection with it, and what its refusals mean.
//!
//! The client is our own: it needs few kinds of packets, reads no more than it is asked for, and acknowledges a message when its rows are
//! safe and not when it came.

mod connection;
pub mod packet;

pub use connection::{Connection, Session};

use crate::job::http_url;
use crate::job::spec::TlsSpec;
use crate::shown;
use crate::tls::Tls;
use crate::{secrets, tls};
use percent_encoding::percent_decode_str;
use reqwest::Url;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

/// How long a connection may take, and an answer.
pub const ANSWER_MAX: Duration = Duration::from_secs(10);
const SHOWN_BYTES_MAX: usize = 300;
const URL_HELP: &str = "write it as \"mqtt://user:${MQTT_PASSWORD}@host:1883\", or mqtts:// with TLS";

/// Where a server is, and who the job is there.
#[derive(Clone)]
pub struct Server {
    host: String,
    port: u16,
    /// TLS, and the name that the server's certificate is for.
    tls: Option<(Tls, String)>,
    user: Option<String>,
    password: Option<Vec<u8>>,
}

/// Why something did not work.
#[derive(Debug)]
pub enum Fault {
    /// It may work later.
    Passing(String),
    /// Somebody has to mend something.
    Lasting(String),
}

impl Server {
    /// Of a URL of a job file; or the key that is wrong, and why.
    pub fn of(url: &str, tls: Option<&TlsSpec>, folder: &Path) -> Result<Server, (&'static str, String)> {
        let wrong = |why: &str| ("url", format!("`url` {why}; {URL_HELP}"));
        let url = http_url::url(url).map_err(|message| ("url", message))?;
        // What is wrong is not repeated, as there may be a password in it.
        let url = Url::parse(&url).map_err(|_| wrong("cannot be read"))?;
        let safe = match url.scheme() {
            "mqtt" => false,
            "mqtts" => true,
            _ => return Err(wrong("is not that of a server of MQTT")),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("names no host"))?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("has something behind host and port, which does nothing here"));
        }
        let decoded = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
        let password = url.password().map(decoded);
        if let Some(password) = password.as_deref().and_then(|password| std::str::from_utf8(password).ok()) {
            secrets::keep(password, "(password)");
        }
        let user = Some(decoded(url.username())).filter(|user| !user.is_empty() || password.is_some());
        let user = user.map(String::from_utf8).transpose().map_err(|_| wrong("has a user that is not UTF-8"))?;
        let spec = tls.cloned().unwrap_or_default();
        let name = spec.name.clone().unwrap_or_else(|| host.clone());
        let used = Tls::of(&spec, folder);
        if safe {
            used.config().map_err(|refusal| ("tls", format!("`tls` cannot be used: {refusal}")))?;
        }
        let port = url.port().unwrap_or(if safe { 8883 } else { 1883 });
        Ok(Server { host, port, tls: safe.then_some((used, name)), user, password })
    }

    /// Whether somebody listens there.
    pub fn reach(&self) -> Result<(), Fault> {
        let mut addresses = (self.host.as_str(), self.port).to_socket_addrs()?;
        let address = addresses.next().ok_or_else(|| Fault::Passing("its host has no address".into()))?;
        TcpStream::connect_timeout(&address, ANSWER_MAX).map(drop).map_err(Fault::from)
    }

    /// Where it is, for people.
    pub fn place(&self) -> String {
        format!("MQTT at {}:{}", self.host, self.port)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        match tls::refusal(&error) {
            Some(refusal) => Fault::Lasting(format!("TLS: {refusal}")),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                // Some say nothing of the reason.
                Fault::Passing(
                    "it closed the connection, as it does when another client of the same `client_id` comes".into(),
                )
            }
            None => Fault::Passing(plain(&error)),
        }
    }
}

/// An error of the system without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// What a server means by the code of an answer, of at least 0x80, and by what it says beside it.
pub fn refusal(code: u8, said: Option<&str>) -> Fault {
    let said = said.map_or(String::new(), |said| format!(" (it says: {})", shown::harmless(said, SHOWN_BYTES_MAX)));
    let lasting = |why: &str| Fault::Lasting(format!("{why}{said}"));
    let passing = |why: &str| Fault::Passing(format!("{why}{said}"));
    match code {
        0x81 | 0x82 => passing("it takes what it was sent for malformed"),
        0x84 => lasting("it does not speak version 5 of MQTT, which is needed; renew it"),
        0x85 => lasting("it does not accept the name of the client; write another `client_id`"),
        0x86 => lasting("it does not accept user or password; mend them in `url`"),
        0x87 => lasting("it does not allow this; mend user and password in `url`, or what it allows them"),
        0x88 => passing("it is not available"),
        0x89 => passing("it is busy"),
        0x8a => lasting("it has banned this client"),
        0x8b => passing("it shuts down"),
        0x8c => lasting("it wants another way to prove who the job is than user and password"),
        0x8d => passing("it has heard nothing for too long"),
        0x8e => passing(
            "another client has taken over the name of this one; where that is no start of the same job, write another `client_id`",
        ),
        0x8f => lasting("it does not accept the topic to subscribe to; mend `topic`"),
        0x90 => lasting("it does not accept the topic"),
        0x93 => passing("it was sent more than it takes at a time"),
        0x95 => lasting("the message is too large for it"),
        0x97 => passing("a quota is used up"),
        0x98 => passing("somebody who administers it has ended the connection"),
        0x99 => lasting("it does not accept what is in the message"),
        0x9a => lasting("it keeps no messages for those who subscribe later; remove `retain`"),
        0x9b => lasting("it sends no message until it is acknowledged (QoS 1); write qos = 0 to do without"),
        0x9c | 0x9d => lasting("it has moved; mend `url`"),
        0x9f => passing("it is connected to too often"),
        0xa2 => lasting("it allows no `+` and `#` in topics; name each topic"),
        code => passing(&format!("it refuses with code {code:#04x}")),
    }
}
