//! Settings of sinks of kind `websocket`.

use crate::limits;
use millstream_base::job::spec::TlsSpec;

/// Where it hears who follows its rows, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct WebsocketWrites {
    /// `host:port`
    pub listen: String,
    /// What clients must bring; `None`: they need nothing.
    pub token: Option<String>,
    /// The sites whose pages may listen, beside those of this machine.
    pub origins: Vec<String>,
    /// The certificate that clients see; `None`: without TLS.
    pub tls: Option<TlsSpec>,
    /// Clients at a time.
    pub clients_max: u64,
    /// Most rows of a message.
    pub rows_per_message_max: u64,
}

impl WebsocketWrites {
    /// At `host:port` with default limits, for whoever comes from this machine.
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
