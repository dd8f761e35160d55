//! Sinks that write to a server which is named by a URL: who writes to each kind, and waiting for one that is away.

mod flight;
mod messages;
mod mqtt;
mod nats;
mod rabbitmq;
mod redis;
mod values;

use super::Sink;
use crate::dial::Fault;
use crate::error::{Error, Result};
use crate::failure::Failure;
use crate::ids::BatchId;
use crate::job::spec::{Origin, ServerSinkSpec, ServerWrites, SinkKind, SinkSpec};
use crate::owner::Owner;
use crate::units;
use arrow::datatypes::SchemaRef;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// How often a waiting sink looks whether the job has ended.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Why something did not work.
enum Trouble {
    /// It may work later: the server is away, or is not ready.
    Passing(String),
    /// It does not pass by itself.
    Lasting(Error),
}

/// Checks schema and keys, and asks the server what can be asked before anything runs.
pub(super) fn check(spec: &SinkSpec, schema: &SchemaRef, origin: &Origin, keeps_checkpoints: bool) -> Result<()> {
    match &of(spec)?.writes {
        ServerWrites::Redis(_) => redis::check(spec, schema, origin),
        ServerWrites::Mqtt(_) => mqtt::check(spec, schema, origin),
        ServerWrites::Rabbitmq(_) => rabbitmq::check(spec, schema, origin),
        ServerWrites::Flight(_) => flight::check(spec, origin),
        ServerWrites::Nats(_) => nats::check(spec, schema, origin, keeps_checkpoints),
    }
}

/// Takes the sink over from earlier starts of the job, where it remembers them.
pub(super) fn open(
    spec: &SinkSpec,
    schema: &SchemaRef,
    origin: &Origin,
    owner: Option<&Owner>,
    failure: &Failure,
) -> Result<Box<dyn Sink>> {
    match &of(spec)?.writes {
        ServerWrites::Redis(_) => redis::open(spec, schema, origin, owner, failure),
        ServerWrites::Mqtt(_) => mqtt::open(spec, schema, origin, owner, failure),
        ServerWrites::Rabbitmq(_) => rabbitmq::open(spec, schema, origin, owner, failure),
        ServerWrites::Flight(_) => flight::open(spec, origin, owner, failure),
        ServerWrites::Nats(_) => nats::open(spec, schema, origin, owner, failure),
    }
}

/// The last batch that the server holds of this job.
pub(super) fn committed(spec: &SinkSpec, origin: &Origin, job_id: &str) -> Result<Option<BatchId>> {
    match &of(spec)?.writes {
        ServerWrites::Redis(_) => redis::committed(spec, origin, job_id),
        ServerWrites::Mqtt(_) | ServerWrites::Rabbitmq(_) | ServerWrites::Flight(_) => Ok(None),
        ServerWrites::Nats(_) => nats::committed(spec, origin, job_id),
    }
}

/// Waits until the server answers, where it is away, so that a job and its server may start in any order. What does not pass is
/// left to those who connect next: they say where it stands in the job file. Longer than `wait`, and than `until`, nothing is waited for.
pub fn await_server(who: &str, sink: &SinkSpec, origin: &Origin, until: Option<Instant>) -> Result<()> {
    let SinkKind::Server(spec) = &sink.kind else { return Ok(()) };
    let (began, mut pause, mut told) = (Instant::now(), Duration::ZERO, false);
    loop {
        let answer = match &spec.writes {
            ServerWrites::Redis(_) => redis::answers(sink, origin),
            ServerWrites::Mqtt(_) => mqtt::answers(sink, origin),
            ServerWrites::Rabbitmq(_) => rabbitmq::answers(sink, origin),
            ServerWrites::Flight(_) => flight::answers(sink, origin),
            ServerWrites::Nats(_) => nats::answers(sink, origin),
        };
        let Err((place, why)) = answer else { break };
        let wait = units::show_time(spec.wait);
        if until.is_some_and(|until| Instant::now() >= until) {
            return Err(Error::environment(format!(
                "{who}: {place} did not answer before the time of --timeout had passed; the job was not started"
            )));
        }
        if began.elapsed() >= spec.wait {
            let after = if told { format!(", for {wait}") } else { String::new() };
            return Err(Error::environment(format!(
                "{who}: {place}: {why}{after}; start that server, or mend `url`, or raise `wait`"
            )));
        }
        if !told {
            tracing::warn!("{who}: {place}: {why}; the job waits for it, for {wait} at most (`wait`)");
            told = true;
        }
        pause = crate::patience::longer(pause);
        let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
        std::thread::sleep(pause.min(spec.wait.saturating_sub(began.elapsed())).min(left));
    }
    if told {
        tracing::info!("{who}: its server is there; the job starts");
    }
    Ok(())
}

/// Speaks with a server on a thread of its own: the caller may be one of an async runtime, which must not wait for another.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    let done = std::thread::scope(|scope| scope.spawn(work).join());
    done.map_err(|_| Error::bug("a thread that spoke with a server panicked"))
}

fn of(spec: &SinkSpec) -> Result<&ServerSinkSpec> {
    match &spec.kind {
        SinkKind::Server(server) => Ok(server),
        _ => Err(Error::bug(format!("sink `{}` has no server", spec.name))),
    }
}

/// An error at the URL of a sink, whose server did not do what was asked before the job began.
fn unreachable(spec: &SinkSpec, origin: &Origin, place: &str, trouble: Trouble) -> Error {
    let location = origin.at(&format!("sinks.{}.url", spec.name));
    match trouble {
        Trouble::Lasting(error) => error,
        Trouble::Passing(why) => Error::environment(format!(
            "{location}sink `{}`: {place}: {why}; start that server, or mend `url`",
            spec.name
        )),
    }
}

/// The same of a fault that a client of our own has met.
fn not_begun(spec: &SinkSpec, origin: &Origin, place: &str, fault: Fault) -> Error {
    let location = origin.at(&format!("sinks.{}.url", spec.name));
    let trouble = match fault {
        Fault::Passing(why) => Trouble::Passing(why),
        Fault::Lasting(why) => {
            Trouble::Lasting(Error::environment(format!("{location}sink `{}`: {place}: {why}", spec.name)))
        }
    };
    unreachable(spec, origin, place, trouble)
}

/// Whose messages or markers these are; of a job that keeps nothing, what no other start has.
fn job_id(owner: Option<&Owner>) -> String {
    match owner {
        Some(owner) => owner.job_id.clone(),
        None => format!("run-{:016x}", RandomState::new().hash_one(0)),
    }
}

/// What commits a batch, and how long it is tried.
struct Trying<'a> {
    sink: &'a str,
    place: &'a str,
    wait: Duration,
    failure: &'a Failure,
}

impl Trying<'_> {
    /// What a fault means that a client of our own has met.
    fn trouble(&self, batch: BatchId, fault: Fault) -> Trouble {
        match fault {
            Fault::Passing(why) => Trouble::Passing(why),
            Fault::Lasting(why) => {
                let Trying { sink, place, .. } = self;
                Trouble::Lasting(Error::environment(format!("sink `{sink}`: batch {batch}: {place}: {why}")))
            }
        }
    }

    /// Tries until the batch is committed, the job has ended, or something is wrong that does not pass.
    fn commit(&self, batch: BatchId, mut attempt: impl FnMut() -> std::result::Result<(), Trouble>) -> Result<()> {
        let (began, mut pause) = (Instant::now(), Duration::ZERO);
        let Trying { sink, place, wait, failure } = self;
        loop {
            let why = match attempt() {
                Ok(()) => break,
                Err(Trouble::Lasting(error)) => return Err(error),
                Err(Trouble::Passing(why)) => why,
            };
            if began.elapsed() >= *wait {
                let wait = units::show_time(*wait);
                return Err(Error::environment(format!(
                    "sink `{sink}`: batch {batch}: {place}: {why}; the job has waited for {wait} (`wait`)"
                )));
            }
            if pause.is_zero() {
                tracing::warn!(
                    "sink `{sink}`: batch {batch}: {place}: {why}; the job waits, and tries again until it works"
                );
            }
            pause = crate::patience::longer(pause);
            let again = Instant::now() + pause;
            while Instant::now() < again && !failure.happened() {
                std::thread::sleep(LOOK_EVERY.min(again.saturating_duration_since(Instant::now())));
            }
            if failure.happened() {
                return Err(Error::environment(format!("sink `{sink}`: batch {batch}: the job has ended")));
            }
        }
        if !pause.is_zero() {
            tracing::info!("sink `{sink}`: batch {batch}: {place} takes rows again; the job goes on");
        }
        Ok(())
    }
}
