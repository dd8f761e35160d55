//! Arrow Flight servers: address, credentials, and the meaning of responses. The protocol is gRPC, of which little is needed:
//! length-prefixed messages in HTTP/2 requests, followed by a status ([`grpc`]).

pub mod declaration;
mod limits;
pub mod settings;
mod sink;
mod source;
pub mod grpc;
pub mod messages;

pub use millstream_connect::dial::Fault;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use grpc::Connection;
use hyper::header::HeaderValue;
use messages::{Descriptor, DescriptorKind, HandshakeRequest};
use millstream_base::shown;
use millstream_connect::dial::{RESPONSE_TIMEOUT, ServerAddress, UrlForm};
use millstream_job::spec::TlsSpec;
use settings::FlightDescriptor;
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;
use url::Url;

/// The form of URLs.
pub const FORM: UrlForm = UrlForm {
    name: "the server of Arrow Flight",
    plain: ("grpc", 0),
    secure: ("grpc+tls", 0),
    help: "write it as \"grpc://host:port\" or \"grpc+tls://user:${PASSWORD}@host:port\"",
    closed: "it closes the connection",
};
/// Maximum bytes of a response without rows.
pub const RESPONSE_BYTES_MAX: usize = 16 << 20;
/// The status of a method that a server does not implement.
const UNIMPLEMENTED: u32 = 12;
/// Maximum bytes of a server's message in an error.
const SHOWN_BYTES_MAX: usize = 400;

/// A server, and the job's credentials there.
#[derive(Clone)]
pub struct Server {
    /// The server's address.
    pub address: ServerAddress,
    token: Option<String>,
}

impl Server {
    /// Creates the server of a job file; or returns the invalid key, and why.
    pub fn new(
        url: &str,
        token: Option<&str>,
        tls: Option<&TlsSpec>,
        dir: &Path,
    ) -> Result<Server, (&'static str, String)> {
        let address = ServerAddress::parse(url, &FORM, tls, dir)?;
        if address.port == 0 {
            return Err(("url", format!("`url` names no port; {}", FORM.help)));
        }
        if token.is_some() && address.user.is_some() {
            return Err(("token", "`token` and a user in `url` are both credentials; remove one of them".into()));
        }
        Ok(Server { address, token: token.map(str::to_owned) })
    }

    /// Returns another server with the same credentials. `url`: as returned by [`plain_url`].
    pub fn other_server(&self, url: &str, tls: Option<&TlsSpec>, dir: &Path) -> Option<Server> {
        let mut address = ServerAddress::plain(url, &FORM, tls, dir).ok()?;
        // The location of another server contains no credentials.
        address.user.clone_from(&self.address.user);
        address.password.clone_from(&self.address.password);
        Some(Server { address, token: self.token.clone() })
    }

    /// Connects, and logs in if the URL has a user. Most servers return a token for the password.
    pub async fn connect(&self) -> Result<Connection, Fault> {
        let address = &self.address;
        let mut connection = Connection::open(address).await?;
        if let Some(token) = &self.token {
            connection.authorization = Some(secret(format!("Bearer {token}"))?);
        }
        if let Some(user) = &address.user {
            let mut login = format!("{user}:").into_bytes();
            login.extend_from_slice(address.password.as_deref().unwrap_or_default());
            connection.authorization = Some(secret(format!("Basic {}", STANDARD.encode(login)))?);
            let mut responses = connection.call_once("Handshake", &HandshakeRequest::default(), RESPONSE_BYTES_MAX);
            let greeting = async {
                loop {
                    match responses.next().await {
                        Ok(Some(_)) => {}
                        // The server has no handshake: each request carries its credentials.
                        Ok(None) | Err(CallRefusal { status: Some(UNIMPLEMENTED), .. }) => return Ok(()),
                        Err(call_refusal) => return Err(call_refusal.fault),
                    }
                }
            };
            timeout(RESPONSE_TIMEOUT, greeting).await.map_err(|_| millstream_connect::dial::response_timed_out())??;
            if let Some(given) = responses.authorization {
                connection.authorization = Some(given);
            }
        }
        Ok(connection)
    }
}

/// Returns a location as `grpc://host:port` or `grpc+tls://host:port`; `None` for anything else, including a URL with a user.
pub fn plain_url(location: &str) -> Option<String> {
    let url = Url::parse(&location.replacen("grpc+tcp://", "grpc://", 1)).ok()?;
    let is_plain = url.username().is_empty() && url.password().is_none() && matches!(url.path(), "" | "/");
    let is_known = matches!(url.scheme(), "grpc" | "grpc+tls") && url.query().is_none() && url.fragment().is_none();
    let (host, port) = (url.host_str()?, url.port()?);
    (is_plain && is_known && !host.is_empty()).then(|| format!("{}://{host}:{port}", url.scheme()))
}

fn secret(text: String) -> Result<HeaderValue, Fault> {
    let value = HeaderValue::try_from(text);
    let mut value =
        value.map_err(|_| Fault::Permanent("`token` has characters that a header must not contain".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Encodes the descriptor of a stream for a server.
pub fn descriptor(requested: &FlightDescriptor) -> Descriptor {
    match requested {
        FlightDescriptor::Path(path) => {
            Descriptor { kind: DescriptorKind::Path.into(), path: path.clone(), ..Descriptor::default() }
        }
        FlightDescriptor::Command(command) => {
            let command = command.clone().into_bytes().into();
            Descriptor { kind: DescriptorKind::Command.into(), command, ..Descriptor::default() }
        }
    }
}

/// Formats a stream for messages.
pub fn shown(requested: &FlightDescriptor) -> String {
    match requested {
        FlightDescriptor::Path(path) => format!("`{}`", shown::harmless(&path.join("/"), 100)),
        FlightDescriptor::Command(command) => format!("`{}`", shown::harmless(command, 100)),
    }
}

/// Why a call of a Flight server failed.
#[derive(Debug)]
pub struct CallRefusal {
    /// Whether the failure is transient, and its reason.
    pub fault: Fault,
    /// The gRPC status, if the server itself returned one.
    pub status: Option<u32>,
}

impl From<Fault> for CallRefusal {
    fn from(fault: Fault) -> CallRefusal {
        CallRefusal { fault, status: None }
    }
}

/// Interprets a status other than OK.
fn call_refusal(status: u32, message: &str) -> CallRefusal {
    let server_message = shown::printable(message.trim(), SHOWN_BYTES_MAX).replace('\n', " ");
    let describe =
        |what: &str| if server_message.is_empty() { what.to_owned() } else { format!("{what}: {server_message}") };
    let permanent = |what: &str| Fault::Permanent(describe(what));
    let transient = |what: &str| Fault::Transient(describe(what));
    let fault = match status {
        3 => permanent("it rejected the request (INVALID_ARGUMENT)"),
        5 => permanent("it has no such stream (NOT_FOUND)"),
        6 => permanent("the stream already exists (ALREADY_EXISTS)"),
        7 => {
            permanent("permission denied; check `token` or the user in `url`, or their permissions (PERMISSION_DENIED)")
        }
        9 => permanent("it cannot do that in its current state (FAILED_PRECONDITION)"),
        11 => permanent("a value is out of range (OUT_OF_RANGE)"),
        UNIMPLEMENTED => permanent("it does not support this request (UNIMPLEMENTED)"),
        15 => permanent("it has lost data (DATA_LOSS)"),
        16 => permanent("authentication failed; check `token` or the user in `url` (UNAUTHENTICATED)"),
        1 => transient("it canceled the request (CANCELLED)"),
        4 => transient("it took too long (DEADLINE_EXCEEDED)"),
        8 => transient("it is overloaded (RESOURCE_EXHAUSTED)"),
        10 => transient("it aborted the request (ABORTED)"),
        14 => transient("it is not ready (UNAVAILABLE)"),
        13 => transient("internal error (INTERNAL)"),
        2 => transient("unknown error (UNKNOWN)"),
        other => transient(&format!("it replied with status {other}, which gRPC does not define")),
    };
    CallRefusal { fault, status: Some(status) }
}

/// Returns the error for a server that did not respond for this long.
pub fn stalled(stall: Duration) -> Fault {
    Fault::Transient(format!("it sent nothing for {}", millstream_base::units::show_time(stall)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_say_where_and_who() {
        let of = |url: &str, token: Option<&str>| Server::new(url, token, None, Path::new(""));
        let server = of("grpc://me:a%20b@localhost:8815", None).unwrap();
        assert_eq!(
            (server.address.user.as_deref(), server.address.password.as_deref()),
            (Some("me"), Some(&b"a b"[..]))
        );
        for (url, token, why) in [
            ("grpc://localhost", None, "names no port"),
            ("http://localhost:1", None, "is not the URL of a"),
            ("grpc://localhost:1/x", None, "after host and port"),
            ("grpc://me@localhost:1", Some("x"), "remove one of them"),
        ] {
            let Err((_, message)) = of(url, token) else { panic!("{url} is taken") };
            assert!(message.contains(why), "{message}");
        }
        let other = plain_url("grpc+tcp://other:5").unwrap();
        assert!(server.other_server(&other, None, Path::new("")).is_some_and(|other| other.address.port == 5));
        assert_eq!(plain_url("grpc+tls://[::1]:5/"), Some("grpc+tls://[::1]:5".to_owned()));
        for other in
            ["arrow-flight-reuse-connection://?", "grpc://a:b@h:1", "grpc://h", "grpc://h:1/x", "grpc://h:1?x", ""]
        {
            assert_eq!(plain_url(other), None, "{other}");
        }
    }
}
