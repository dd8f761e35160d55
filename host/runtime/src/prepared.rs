//! The startup that a standby process has prepared.

use super::connect::{Hello, PeerPort};
use super::launch::Peers;
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_base::threads;
use millstream_engine::state::ahead::TablesAhead;
use millstream_plugins::plugin::PluginHost;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// The startup that a standby process has prepared.
pub(super) struct PreparedStart {
    pub(super) plugins: PluginHost,
    pub(super) ahead: Arc<TablesAhead>,
    pub(super) port: StandbyPort,
    pub(super) failure: Failure,
}

/// The connection between standby processes.
pub(super) enum StandbyPort {
    /// There is only one process.
    None,
    /// Process 0: the others wait at its port.
    Open(Hello, PeerPort),
    /// Another process: it connects to process 0.
    Connecting(Hello, Receiver<Result<Option<Peers>>>),
    /// Another process that was admitted.
    Admitted(Hello, Box<Peers>),
}

impl StandbyPort {
    /// Returns whether only the order of the supervisor is missing. Waits at most `time`.
    pub(super) fn is_admitted_within(&mut self, time: Duration) -> Result<bool> {
        let StandbyPort::Connecting(hello, response) = self else { return Ok(true) };
        match response.recv_timeout(time) {
            Ok(peers) => {
                *self = peers?.map_or(StandbyPort::None, |peers| StandbyPort::Admitted(*hello, Box::new(peers)));
                Ok(true)
            }
            Err(RecvTimeoutError::Timeout) => Ok(false),
            Err(RecvTimeoutError::Disconnected) => Err(threads::lost_connection()),
        }
    }
}
