//! Sinks that write to a server which is named by a URL: who writes to each kind, and waiting for one that is away.

mod flight;
mod messages;
mod mqtt;
mod nats;
mod rabbitmq;
mod redis;
mod start;
mod values;

use super::Sink;
use super::commit_retry::{CommitRetry, ServerFault};
use crate::dial::Fault;
use crate::postgres::ServerWait;
use arrow::datatypes::SchemaRef;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::ids::BatchId;
use millstream_base::job::spec::{Origin, ServerSinkSpec, ServerWrites, SinkKind, SinkSpec};
use millstream_base::owner::Owner;
use start::ask;
use std::hash::{BuildHasher, RandomState};

/// Why the messages of a batch were not sent.
enum SendFailure {
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

/// Checks schema and keys, and asks the server what can be asked before anything runs.
pub(super) fn check(
    spec: &SinkSpec,
    schema: &SchemaRef,
    origin: &Origin,
    keeps_checkpoints: bool,
    servers: ServerWait,
) -> Result<()> {
    match &of(spec)?.writes {
        ServerWrites::Redis(_) => redis::check(spec, schema, origin, servers),
        ServerWrites::Mqtt(_) => mqtt::check(spec, schema, origin),
        ServerWrites::Rabbitmq(_) => rabbitmq::check(spec, schema, origin, servers),
        ServerWrites::Flight(_) => flight::check(spec, origin),
        ServerWrites::Nats(_) => nats::check(spec, schema, origin, keeps_checkpoints, servers),
    }
}

/// Takes the sink over from earlier starts of the job, where it remembers them.
pub(super) fn open(
    spec: &SinkSpec,
    schema: &SchemaRef,
    origin: &Origin,
    owner: Option<&Owner>,
    failure: &Failure,
    servers: ServerWait,
) -> Result<Box<dyn Sink>> {
    match &of(spec)?.writes {
        ServerWrites::Redis(_) => redis::open(spec, origin, owner, failure, servers),
        ServerWrites::Mqtt(_) => mqtt::open(spec, schema, origin, owner, failure, servers),
        ServerWrites::Rabbitmq(_) => rabbitmq::open(spec, schema, origin, owner, failure, servers),
        ServerWrites::Flight(_) => flight::open(spec, origin, owner, failure, servers),
        ServerWrites::Nats(_) => nats::open(spec, schema, origin, owner, failure, servers),
    }
}

/// The last batch that the server holds of this job.
pub(super) fn committed(
    spec: &SinkSpec,
    origin: &Origin,
    job_id: &str,
    servers: ServerWait,
) -> Result<Option<BatchId>> {
    match &of(spec)?.writes {
        ServerWrites::Redis(_) => redis::committed(spec, origin, job_id, servers),
        ServerWrites::Mqtt(_) | ServerWrites::Rabbitmq(_) | ServerWrites::Flight(_) => Ok(None),
        ServerWrites::Nats(_) => nats::committed(spec, origin, job_id, servers),
    }
}

/// Waits until the server answers, where it is away, so that a job and its server may start in any order, and nothing is begun before all
/// are there. What does not pass is left to those who connect next: they say where it stands in the job file.
pub fn await_server(sink: &SinkSpec, origin: &Origin, servers: ServerWait) -> Result<()> {
    let SinkKind::Server(spec) = &sink.kind else { return Ok(()) };
    match &spec.writes {
        ServerWrites::Redis(_) => redis::await_answer(sink, origin, servers),
        ServerWrites::Mqtt(_) => mqtt::await_answer(sink, origin, servers),
        ServerWrites::Rabbitmq(_) => rabbitmq::await_answer(sink, origin, servers),
        ServerWrites::Flight(_) => flight::await_answer(sink, origin, servers),
        ServerWrites::Nats(_) => nats::await_answer(sink, origin, servers),
    }
}

fn of(spec: &SinkSpec) -> Result<&ServerSinkSpec> {
    match &spec.kind {
        SinkKind::Server(server) => Ok(server),
        _ => Err(Error::bug(format!("sink `{}` has no server", spec.name))),
    }
}

/// What a fault means that a client of our own has met before the job began, at the URL of its sink.
fn not_begun(spec: &SinkSpec, origin: &Origin, place: &str, fault: Fault) -> ServerFault {
    match fault {
        Fault::Passing(why) => ServerFault::Passing(why),
        Fault::Lasting(why) => {
            let location = origin.at(&format!("sinks.{}.url", spec.name));
            ServerFault::Lasting(Error::environment(format!("{location}sink `{}`: {place}: {why}", spec.name)))
        }
    }
}

/// Whose messages or markers these are; of a job that keeps nothing, what no other start has.
fn job_id(owner: Option<&Owner>) -> String {
    match owner {
        Some(owner) => owner.job_id.clone(),
        None => format!("run-{:016x}", RandomState::new().hash_one(0)),
    }
}

impl CommitRetry<'_> {
    /// What a fault means that a client of our own has met.
    fn trouble(&self, batch: BatchId, fault: Fault) -> ServerFault {
        match fault {
            Fault::Passing(why) => ServerFault::Passing(why),
            Fault::Lasting(why) => {
                let CommitRetry { sink, place, .. } = self;
                ServerFault::Lasting(Error::environment(format!("sink `{sink}`: batch {batch}: {place}: {why}")))
            }
        }
    }

    /// What it means that messages were not sent.
    fn failed(&self, batch: BatchId, failure: SendFailure) -> ServerFault {
        match failure {
            SendFailure::Fault(fault) => self.trouble(batch, fault),
            SendFailure::Row(why) => {
                let CommitRetry { sink, place, .. } = self;
                ServerFault::Lasting(Error::plugin(format!("sink `{sink}`: batch {batch}: {place}: {why}")))
            }
        }
    }
}
