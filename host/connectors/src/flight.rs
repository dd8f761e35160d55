//! Servers of Arrow Flight: where one is, who the job is there, and what its answers mean. Its protocol is gRPC, of which little is needed:
//! messages with a length before them, in requests of HTTP/2, and a status behind them ([`grpc`]).

pub mod declaration;
mod limits;
pub mod settings;
mod sink;
mod source;
pub mod grpc;
pub mod messages;

pub use crate::dial::Fault;

use crate::dial::{ANSWER_MAX, ServerAddress, UrlForm};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use grpc::Connection;
use hyper::header::HeaderValue;
use messages::{Descriptor, DescriptorKind, HandshakeRequest};
use millstream_base::job::spec::TlsSpec;
use millstream_base::shown;
use settings::FlightDescriptor;
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;
use url::Url;

/// What URLs look like.
pub const FORM: UrlForm = UrlForm {
    name: "the server of Arrow Flight",
    plain: ("grpc", 0),
    safe: ("grpc+tls", 0),
    help: "write it as \"grpc://host:port\" or \"grpc+tls://user:${PASSWORD}@host:port\"",
    closed: "it closes the connection",
};
/// Bytes of an answer that holds no rows.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;
/// The status of what a server does not do.
const UNIMPLEMENTED: u32 = 12;
/// How much of a server's words is shown.
const SHOWN_BYTES_MAX: usize = 400;

/// A server, and who the job is there.
#[derive(Clone)]
pub struct Server {
    /// Where it is.
    pub place: ServerAddress,
    token: Option<String>,
}

impl Server {
    /// Of a job file; or the key that is wrong, and why.
    pub fn of(
        url: &str,
        token: Option<&str>,
        tls: Option<&TlsSpec>,
        folder: &Path,
    ) -> Result<Server, (&'static str, String)> {
        let place = ServerAddress::of(url, &FORM, tls, folder)?;
        if place.port == 0 {
            return Err(("url", format!("`url` names no port; {}", FORM.help)));
        }
        if token.is_some() && place.user.is_some() {
            return Err(("token", "`token` and a user in `url` are both credentials; remove one of them".into()));
        }
        Ok(Server { place, token: token.map(str::to_owned) })
    }

    /// Another one, at which the job is known as here. `url`: as [`plain_url`] gives it.
    pub fn beside(&self, url: &str, tls: Option<&TlsSpec>, folder: &Path) -> Option<Server> {
        let mut place = ServerAddress::plain(url, &FORM, tls, folder).ok()?;
        // Whoever tells of another server does not say who the job is there.
        place.user.clone_from(&self.place.user);
        place.password.clone_from(&self.place.password);
        Some(Server { place, token: self.token.clone() })
    }

    /// Connects, and logs in where the URL has a user: with the password, for which most servers give a token in return.
    pub async fn connect(&self) -> Result<Connection, Fault> {
        let place = &self.place;
        let mut connection = Connection::open(place).await?;
        if let Some(token) = &self.token {
            connection.authorization = Some(secret(format!("Bearer {token}"))?);
        }
        if let Some(user) = &place.user {
            let mut login = format!("{user}:").into_bytes();
            login.extend_from_slice(place.password.as_deref().unwrap_or_default());
            connection.authorization = Some(secret(format!("Basic {}", STANDARD.encode(login)))?);
            let mut answers = connection.ask("Handshake", &HandshakeRequest::default(), ANSWER_BYTES_MAX);
            let greeting = async {
                loop {
                    match answers.next().await {
                        Ok(Some(_)) => {}
                        // There is nothing to shake: each request shows who it is of.
                        Ok(None) | Err(CallRefusal { status: Some(UNIMPLEMENTED), .. }) => return Ok(()),
                        Err(refused) => return Err(refused.fault),
                    }
                }
            };
            timeout(ANSWER_MAX, greeting).await.map_err(|_| crate::dial::silent())??;
            if let Some(given) = answers.authorization {
                connection.authorization = Some(given);
            }
        }
        Ok(connection)
    }
}

/// Where a server says that another one is, as `grpc://host:port` or `grpc+tls://host:port`; `None`: anything else, a user included.
pub fn plain_url(told: &str) -> Option<String> {
    let url = Url::parse(&told.replacen("grpc+tcp://", "grpc://", 1)).ok()?;
    let is_plain = url.username().is_empty() && url.password().is_none() && matches!(url.path(), "" | "/");
    let is_known = matches!(url.scheme(), "grpc" | "grpc+tls") && url.query().is_none() && url.fragment().is_none();
    let (host, port) = (url.host_str()?, url.port()?);
    (is_plain && is_known && !host.is_empty()).then(|| format!("{}://{host}:{port}", url.scheme()))
}

fn secret(text: String) -> Result<HeaderValue, Fault> {
    let value = HeaderValue::try_from(text);
    let mut value =
        value.map_err(|_| Fault::Lasting("`token` has characters that a header must not contain".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// How a server is told which stream is meant.
pub fn descriptor(wanted: &FlightDescriptor) -> Descriptor {
    match wanted {
        FlightDescriptor::Path(path) => {
            Descriptor { kind: DescriptorKind::Path.into(), path: path.clone(), ..Descriptor::default() }
        }
        FlightDescriptor::Command(command) => {
            let command = command.clone().into_bytes().into();
            Descriptor { kind: DescriptorKind::Command.into(), command, ..Descriptor::default() }
        }
    }
}

/// A stream, for people.
pub fn shown(wanted: &FlightDescriptor) -> String {
    match wanted {
        FlightDescriptor::Path(path) => format!("`{}`", shown::harmless(&path.join("/"), 100)),
        FlightDescriptor::Command(command) => format!("`{}`", shown::harmless(command, 100)),
    }
}

/// Why a call of a Flight server has no answer.
#[derive(Debug)]
pub struct CallRefusal {
    /// Whether it passes, and why it is.
    pub fault: Fault,
    /// The status of gRPC, where the server itself has said so.
    pub status: Option<u32>,
}

impl From<Fault> for CallRefusal {
    fn from(fault: Fault) -> CallRefusal {
        CallRefusal { fault, status: None }
    }
}

/// What a status other than OK means.
fn refused(status: u32, message: &str) -> CallRefusal {
    let words = shown::printable(message.trim(), SHOWN_BYTES_MAX).replace('\n', " ");
    let said = |what: &str| if words.is_empty() { what.to_owned() } else { format!("{what}: {words}") };
    let lasting = |what: &str| Fault::Lasting(said(what));
    let passing = |what: &str| Fault::Passing(said(what));
    let fault = match status {
        3 => lasting("it rejected the request (INVALID_ARGUMENT)"),
        5 => lasting("it has no such stream (NOT_FOUND)"),
        6 => lasting("it has that already (ALREADY_EXISTS)"),
        7 => lasting("permission denied; check `token` or the user in `url`, or their permissions (PERMISSION_DENIED)"),
        9 => lasting("it cannot do that as it is now (FAILED_PRECONDITION)"),
        11 => lasting("that is out of its range (OUT_OF_RANGE)"),
        UNIMPLEMENTED => lasting("it does not support that (UNIMPLEMENTED)"),
        15 => lasting("it has lost data (DATA_LOSS)"),
        16 => lasting("authentication failed; check `token` or the user in `url` (UNAUTHENTICATED)"),
        1 => passing("it has cancelled that (CANCELLED)"),
        4 => passing("it took too long (DEADLINE_EXCEEDED)"),
        8 => passing("it is overloaded (RESOURCE_EXHAUSTED)"),
        10 => passing("it aborted the request (ABORTED)"),
        14 => passing("it is not ready (UNAVAILABLE)"),
        13 => passing("something is wrong in it (INTERNAL)"),
        2 => passing("something is wrong in it (UNKNOWN)"),
        other => passing(&format!("it answers with status {other}, which gRPC does not have")),
    };
    CallRefusal { fault, status: Some(status) }
}

/// How long a server may be silent, in words.
pub fn stalled(stall: Duration) -> Fault {
    Fault::Passing(format!("it says nothing for {}", millstream_base::units::show_time(stall)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_say_where_and_who() {
        let of = |url: &str, token: Option<&str>| Server::of(url, token, None, Path::new(""));
        let server = of("grpc://me:a%20b@localhost:8815", None).unwrap();
        assert_eq!((server.place.user.as_deref(), server.place.password.as_deref()), (Some("me"), Some(&b"a b"[..])));
        for (url, token, why) in [
            ("grpc://localhost", None, "names no port"),
            ("http://localhost:1", None, "is not that of a server of"),
            ("grpc://localhost:1/x", None, "behind host and port"),
            ("grpc://me@localhost:1", Some("x"), "remove one of them"),
        ] {
            let Err((_, message)) = of(url, token) else { panic!("{url} is taken") };
            assert!(message.contains(why), "{message}");
        }
        let other = plain_url("grpc+tcp://other:5").unwrap();
        assert!(server.beside(&other, None, Path::new("")).is_some_and(|other| other.place.port == 5));
        assert_eq!(plain_url("grpc+tls://[::1]:5/"), Some("grpc+tls://[::1]:5".to_owned()));
        for other in
            ["arrow-flight-reuse-connection://?", "grpc://a:b@h:1", "grpc://h", "grpc://h:1/x", "grpc://h:1?x", ""]
        {
            assert_eq!(plain_url(other), None, "{other}");
        }
    }
}
