//! MQTT 5 servers for sources and sinks: address, connection, and the meaning of error codes.
//!
//! The client is built in: it needs few packet types, reads only on demand, and acknowledges a message when its rows are durable rather
//! than when it is received.

pub mod declaration;
pub mod settings;
mod sink;
mod source;
mod connection;
pub mod packet;

pub use connection::{Connection, Session};

pub use millstream_connect::dial::{Fault, RESPONSE_TIMEOUT, ServerAddress as Server};

use millstream_base::shown;
use millstream_connect::dial::UrlForm;

const SHOWN_BYTES_MAX: usize = 300;

/// The form of its URLs.
pub const FORM: UrlForm = UrlForm {
    name: "MQTT",
    plain: ("mqtt", 1883),
    secure: ("mqtts", 8883),
    help: "write it as \"mqtt://user:${MQTT_PASSWORD}@host:1883\", or mqtts:// with TLS",
    // Some servers give no reason.
    closed: "it closed the connection; a server does that if another client has the same `client_id`",
};

/// Interprets an error code, of at least 0x80, and its reason string.
pub fn reason_fault(code: u8, reason: Option<&str>) -> Fault {
    let reason =
        reason.map_or(String::new(), |reason| format!(" (it says: {})", shown::harmless(reason, SHOWN_BYTES_MAX)));
    let permanent = |why: &str| Fault::Permanent(format!("{why}{reason}"));
    let transient = |why: &str| Fault::Transient(format!("{why}{reason}"));
    match code {
        0x81 | 0x82 => transient("it considers the packet malformed"),
        0x84 => permanent("it does not support MQTT 5, which is required; upgrade it"),
        0x85 => permanent("it rejected the client ID; set another `client_id`"),
        0x86 => permanent("authentication failed; check user and password in `url`"),
        0x87 => permanent("permission denied; check user and password in `url`, or the user's permissions"),
        0x88 => transient("it is not available"),
        0x89 => transient("it is busy"),
        0x8a => permanent("it has banned this client"),
        0x8b => transient("it is shutting down"),
        0x8c => permanent("it requires an authentication method other than user and password"),
        0x8d => transient("it received nothing for too long"),
        0x8e => transient(
            "another client has taken over this client ID; if it is not a restart of this job, set another `client_id`",
        ),
        0x8f => permanent("it rejected the topic of the subscription; check `topic`"),
        0x90 => permanent("it rejected the topic"),
        0x93 => transient("it received more messages than its receive maximum"),
        0x95 => permanent("the message is too large for it"),
        0x97 => transient("a quota is used up"),
        0x98 => transient("an administrator closed the connection"),
        0x99 => permanent("it rejected the content of the message"),
        0x9a => permanent("it does not support retained messages; remove `retain`"),
        0x9b => permanent("it does not support QoS 1; set qos = 0"),
        0x9c | 0x9d => permanent("it has moved; check `url`"),
        0x9f => transient("it rejects connections at this rate"),
        0xa2 => permanent("it does not support wildcards (`+`, `#`) in topics; name each topic"),
        code => transient(&format!("it rejected the request with code {code:#04x}")),
    }
}
