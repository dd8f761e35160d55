//! A server of MQTT (version 5), as sources and sinks name it: where it is, a connection with it, and what its refusals mean.
//!
//! The client is our own: it needs few kinds of packets, reads no more than it is asked for, and acknowledges a message when its rows are
//! safe and not when it came.

pub mod declaration;
pub mod settings;
mod sink;
mod source;
mod connection;
pub mod packet;

pub use connection::{Connection, Session};

pub use crate::dial::{ANSWER_MAX, Fault, ServerAddress as Server};

use crate::dial::UrlForm;
use millstream_base::shown;

const SHOWN_BYTES_MAX: usize = 300;

/// Its URLs.
pub const FORM: UrlForm = UrlForm {
    name: "MQTT",
    plain: ("mqtt", 1883),
    safe: ("mqtts", 8883),
    help: "write it as \"mqtt://user:${MQTT_PASSWORD}@host:1883\", or mqtts:// with TLS",
    // Some say nothing of the reason.
    closed: "it closed the connection, as it does when another client of the same `client_id` comes",
};

/// What a server means by the code of an answer, of at least 0x80, and by what it says beside it.
pub fn refusal(code: u8, said: Option<&str>) -> Fault {
    let said = said.map_or(String::new(), |said| format!(" (it says: {})", shown::harmless(said, SHOWN_BYTES_MAX)));
    let lasting = |why: &str| Fault::Lasting(format!("{why}{said}"));
    let passing = |why: &str| Fault::Passing(format!("{why}{said}"));
    match code {
        0x81 | 0x82 => passing("it considers the packet malformed"),
        0x84 => lasting("it does not support MQTT 5, which is required; upgrade it"),
        0x85 => lasting("it rejected the client ID; set another `client_id`"),
        0x86 => lasting("authentication failed; check user and password in `url`"),
        0x87 => lasting("permission denied; check user and password in `url`, or the user's permissions"),
        0x88 => passing("it is not available"),
        0x89 => passing("it is busy"),
        0x8a => lasting("it has banned this client"),
        0x8b => passing("it shuts down"),
        0x8c => lasting("it requires an authentication method other than user and password"),
        0x8d => passing("it received nothing for too long"),
        0x8e => passing(
            "another client has taken over this client ID; if it is not a restart of this job, set another `client_id`",
        ),
        0x8f => lasting("it rejected the topic of the subscription; check `topic`"),
        0x90 => lasting("it rejected the topic"),
        0x93 => passing("it was sent more than its receive maximum"),
        0x95 => lasting("the message is too large for it"),
        0x97 => passing("a quota is used up"),
        0x98 => passing("an administrator closed the connection"),
        0x99 => lasting("it does not accept what is in the message"),
        0x9a => lasting("it does not support retained messages; remove `retain`"),
        0x9b => lasting("it does not support QoS 1; set qos = 0"),
        0x9c | 0x9d => lasting("it has moved; check `url`"),
        0x9f => passing("it rejects connections at this rate"),
        0xa2 => lasting("it does not support wildcards (`+`, `#`) in topics; name each topic"),
        code => passing(&format!("it rejected the request with code {code:#04x}")),
    }
}
