//! Sinks that write to a server which is named by a URL: who writes to each kind, and waiting for one that is away.

pub mod messages;
pub mod start;
pub mod values;

use super::commit_retry::{CommitRetry, ServerFault};
use crate::dial::Fault;
use millstream_base::error::Error;
use millstream_base::ids::BatchId;
use millstream_base::job::spec::{Origin, SinkSpec};
use millstream_base::owner::Owner;
pub use start::ask;
use std::hash::{BuildHasher, RandomState};

/// Why the messages of a batch were not sent.
pub enum SendFailure {
    /// Something is wrong with the server, or on the way to it.
    Fault(Fault),
    /// A row makes a message that the server never takes.
    Row(String),
}

impl From<Fault> for SendFailure {
    fn from(fault: Fault) -> SendFailure {
        SendFailure::Fault(fault)
    }
}

/// What a fault means that a client of our own has met before the job began, at the URL of its sink.
pub fn not_begun(spec: &SinkSpec, origin: &Origin, place: &str, fault: Fault) -> ServerFault {
    match fault {
        Fault::Passing(why) => ServerFault::Passing(why),
        Fault::Lasting(why) => {
            let location = origin.at(&format!("sinks.{}.url", spec.name));
            ServerFault::Lasting(Error::environment(format!("{location}sink `{}`: {place}: {why}", spec.name)))
        }
    }
}

/// Whose messages or markers these are; of a job that keeps nothing, what no other start has.
pub fn job_id(owner: Option<&Owner>) -> String {
    match owner {
        Some(owner) => owner.job_id.clone(),
        None => format!("run-{:016x}", RandomState::new().hash_one(0)),
    }
}

impl CommitRetry<'_> {
    /// What a fault means that a client of our own has met.
    pub fn trouble(&self, batch: BatchId, fault: Fault) -> ServerFault {
        match fault {
            Fault::Passing(why) => ServerFault::Passing(why),
            Fault::Lasting(why) => {
                let CommitRetry { sink, place, .. } = self;
                ServerFault::Lasting(Error::environment(format!("sink `{sink}`: batch {batch}: {place}: {why}")))
            }
        }
    }

    /// What it means that messages were not sent.
    pub fn failed(&self, batch: BatchId, failure: SendFailure) -> ServerFault {
        match failure {
            SendFailure::Fault(fault) => self.trouble(batch, fault),
            SendFailure::Row(why) => {
                let CommitRetry { sink, place, .. } = self;
                ServerFault::Lasting(Error::plugin(format!("sink `{sink}`: batch {batch}: {place}: {why}")))
            }
        }
    }
}
