//! What a process that stands by has prepared for its start.

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

/// What a process that stands by has prepared for its start.
pub(super) struct PreparedStart {
    pub(super) plugins: PluginHost,
    pub(super) ahead: Arc<TablesAhead>,
    pub(super) door: StandByPort,
    pub(super) failure: Failure,
}

/// Between a process that stands by and the others that do.
pub(super) enum StandByPort {
    /// Of one that is alone.
    None,
    /// Of process 0, where the others wait.
    Open(Hello, PeerPort),
    /// Of one that comes to it.
    Knocks(Hello, Receiver<Result<Option<Peers>>>),
    /// Of one that was let in.
    Through(Hello, Box<Peers>),
}

impl StandByPort {
    /// Whether nothing is left to wait for but what the supervisor says; waits no longer than this.
    pub(super) fn is_through_within(&mut self, time: Duration) -> Result<bool> {
        let StandByPort::Knocks(hello, answer) = self else { return Ok(true) };
        match answer.recv_timeout(time) {
            Ok(peers) => {
                *self = peers?.map_or(StandByPort::None, |peers| StandByPort::Through(*hello, Box::new(peers)));
                Ok(true)
            }
            Err(RecvTimeoutError::Timeout) => Ok(false),
            Err(RecvTimeoutError::Disconnected) => Err(threads::lost_connection()),
        }
    }
}
