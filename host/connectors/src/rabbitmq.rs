//! RabbitMQ servers (AMQP 0-9-1), for sources and sinks: URLs, connections, and the meaning of errors.
//!
//! `rabbitmq/README.md` says why the connector has its own client and does not use `lapin`.

pub mod declaration;
pub mod settings;
mod sink;
mod source;
mod connection;
mod wire;

pub use connection::{CHANNEL, ClosedByServer, Connection, Delivery, Event};
pub use millstream_connect::dial::{Fault, RESPONSE_TIMEOUT};
pub use wire::{Field, Outgoing, publish};

use millstream_connect::dial::{ServerAddress, UrlForm};
use millstream_job::http_url;
use millstream_job::spec::TlsSpec;
use percent_encoding::percent_decode_str;
use std::path::Path;

/// The form of RabbitMQ URLs.
const FORM: UrlForm = UrlForm {
    name: "RabbitMQ",
    plain: ("amqp", 5672),
    secure: ("amqps", 5671),
    help: "write it as \"amqp://user:${RABBITMQ_PASSWORD}@host:5672/vhost\", or amqps:// with TLS",
    closed: "it closed the connection",
};

/// The address of a server, and a virtual host.
#[derive(Clone)]
pub struct Server {
    pub address: ServerAddress,
    pub vhost: String,
}

impl Server {
    /// Reads `url` and `tls` of a job file. The error is the wrong key, and why.
    pub fn new(url: &str, tls: Option<&TlsSpec>, dir: &Path) -> Result<Server, (&'static str, String)> {
        let wrong = |why: &str| ("url", format!("`url` {why}; {}", FORM.help));
        let url = http_url::url(url).map_err(|message| ("url", message))?;
        // The path is the virtual host.
        let (head, vhost) = match url.split_once("://").and_then(|(_, rest)| rest.split_once('/')) {
            Some((_, vhost)) => (url.strip_suffix(vhost).unwrap_or(&url).to_owned(), Some(vhost.to_owned())),
            None => (url.clone(), None),
        };
        let vhost = match vhost.as_deref() {
            None | Some("") => "/".to_owned(),
            Some(name) if name.contains(['/', '?', '#']) => return Err(wrong("has extra text after the virtual host")),
            Some(name) => {
                let name = percent_decode_str(name).decode_utf8();
                name.map_err(|_| wrong("has a virtual host that is not UTF-8"))?.into_owned()
            }
        };
        if vhost.len() > 255 {
            return Err(wrong("has a virtual host of more than 255 bytes"));
        }
        // Placeholders have been replaced.
        Ok(Server { address: ServerAddress::plain(&head, &FORM, tls, dir)?, vhost })
    }
}
