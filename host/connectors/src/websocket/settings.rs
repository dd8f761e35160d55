//! Settings of the `websocket` sink.

use crate::limits;
use millstream_job::spec::TlsSpec;

/// Settings of the sink.
#[derive(Clone, Debug, PartialEq)]
pub struct WebsocketWrites {
    /// `host:port`
    pub listen: String,
    /// The token that clients must present, if any.
    pub token: Option<String>,
    /// Sites whose pages may connect, in addition to those of this machine.
    pub origins: Vec<String>,
    /// The certificate that clients see; `None`: no TLS.
    pub tls: Option<TlsSpec>,
    /// Maximum number of clients.
    pub clients_max: u64,
    /// Maximum rows of a message.
    pub rows_per_message_max: u64,
}

impl WebsocketWrites {
    /// Creates settings for `host:port` with default limits, for clients on this machine.
    pub fn new(listen: impl Into<String>) -> WebsocketWrites {
        WebsocketWrites {
            listen: listen.into(),
            token: None,
            origins: Vec::new(),
            tls: None,
            clients_max: limits::WEBSOCKET_CLIENTS_MAX,
            rows_per_message_max: limits::WEBSOCKET_MESSAGE_ROWS_MAX,
        }
    }
}
