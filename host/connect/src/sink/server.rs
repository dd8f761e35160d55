//! Sinks that write to a server named by a URL: the writers of each kind, and waiting for an unreachable server.

pub mod messages;
pub mod start;
pub mod values;

use super::commit_retry::{CommitRetry, ServerFault};
use crate::dial::Fault;
use millstream_base::error::Error;
use millstream_base::ids::BatchId;
use millstream_base::owner::Owner;
use millstream_job::spec::{Origin, SinkSpec};
pub use start::retry_at_start;
use std::hash::{BuildHasher, RandomState};

/// Why the messages of a batch were not sent.
pub enum SendFailure {
    /// An error of the server, or of the connection to it.
    Fault(Fault),
    /// A row makes a message that the server never accepts.
    Row(String),
}

impl From<Fault> for SendFailure {
    fn from(fault: Fault) -> SendFailure {
        SendFailure::Fault(fault)
    }
}

/// Interprets a fault that a built-in client met before the job began, at the URL of its sink.
pub fn startup_fault(spec: &SinkSpec, origin: &Origin, server_name: &str, fault: Fault) -> ServerFault {
    match fault {
        Fault::Transient(why) => ServerFault::Transient(why),
        Fault::Permanent(why) => {
            let location = origin.at(&format!("sinks.{}.url", spec.name));
            ServerFault::Permanent(Error::environment(format!("{location}sink `{}`: {server_name}: {why}", spec.name)))
        }
    }
}

/// Returns the id of the job that owns messages and markers; for a job without checkpoints, an id unique to this run.
pub fn job_id(owner: Option<&Owner>) -> String {
    match owner {
        Some(owner) => owner.job_id.clone(),
        None => format!("run-{:016x}", RandomState::new().hash_one(0)),
    }
}

impl CommitRetry<'_> {
    /// Interprets a fault that a built-in client met.
    pub fn server_fault(&self, batch: BatchId, fault: Fault) -> ServerFault {
        match fault {
            Fault::Transient(why) => ServerFault::Transient(why),
            Fault::Permanent(why) => {
                let CommitRetry { sink, server_name, .. } = self;
                ServerFault::Permanent(Error::environment(format!(
                    "sink `{sink}`: batch {batch}: {server_name}: {why}"
                )))
            }
        }
    }

    /// Interprets why messages were not sent.
    pub fn failed(&self, batch: BatchId, failure: SendFailure) -> ServerFault {
        match failure {
            SendFailure::Fault(fault) => self.server_fault(batch, fault),
            SendFailure::Row(why) => {
                let CommitRetry { sink, server_name, .. } = self;
                ServerFault::Permanent(Error::plugin(format!("sink `{sink}`: batch {batch}: {server_name}: {why}")))
            }
        }
    }
}
