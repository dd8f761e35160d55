//! Sink `kafka`: a topic of a Kafka cluster, a transaction a batch.
//!
//! The transaction also writes a record that says which batch was committed last and by which start of the job, see
//! [`markers`]. A batch is begun, written and committed within one [`Sink::commit`], so no transaction has to be finished after
//! a crash: whoever opens the sink next ends what is open, and then the marker says what is committed. The same is done where
//! the answer to a commit is lost, or the cluster has ended a transaction: begin anew under the same name, and look.
//!
//! With `parts = "worker"` each worker does so with its share of a batch, under a name and a marker of its own, see [`target`].

pub mod declaration;
mod markers;
mod records;
mod session;
pub mod settings;
mod subject;
mod target;
#[cfg(test)]
mod tests;
mod topic;
mod watch;

use self::records::{RECORD_OVERHEAD_BYTES, RecordEncoder, Records};
use self::session::Session;
use self::settings::KafkaWrites;
use self::target::Target;
use self::topic::{Admin, TopicFacts};
use self::watch::Watch;
use super::fault::{KafkaFault, KafkaFaultKind};
use super::{PAUSE_MIN, settings as settings_of};
use crate::kafka::cluster::KafkaCluster;
use crate::sink::encoder::not_encoded;
use crate::sink::wrong;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::batch::sink::Sink;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::job::spec::{SinkConfig, SinkStart};
use millstream_base::owner::Owner;
use millstream_base::patience::ServerWait;
use millstream_base::units;
use std::time::{Duration, Instant};

/// Writes every batch that has rows, or a worker's share of it, in a transaction of its own.
struct KafkaSink {
    target: Target,
    encoder: RecordEncoder,
    facts: TopicFacts,
    failure: Failure,
    /// `None`: something went wrong with the one before, or only shares are committed.
    session: Option<Session>,
    committed: Option<BatchId>,
}

/// Waits until a broker answers, where all are away, so that a job and its cluster may start in any order. What does not pass is
/// left to those who connect next: they say where it stands in the job file. Longer than `wait` of the cluster, and than `until`,
/// nothing is waited for.
fn await_cluster(writes: &KafkaWrites, start: SinkStart<'_>, until: Option<Instant>) -> Result<()> {
    let (name, origin) = (&start.spec.name, start.origin);
    let who = format!("{}sink `{name}`", origin.at(&format!("sinks.{name}.brokers")));
    let Ok(settings) = settings_of(&writes.cluster, &origin.folder, "millstream") else { return Ok(()) };
    ask_at_start(&who, &writes.cluster, until, |left| topic::answers(&settings, left)).map(drop)
}

/// Asks a cluster until there is an answer, or something is wrong that does not pass, as long as a start may wait for it. The question
/// is told how much time is left.
fn ask_at_start<T>(
    who: &str,
    cluster: &KafkaCluster,
    until: Option<Instant>,
    mut ask: impl FnMut(Duration) -> Result<T, KafkaFault>,
) -> Result<Result<T, KafkaFault>> {
    let place = format!("Kafka at {}", cluster.brokers.join(","));
    let (began, mut told) = (Instant::now(), false);
    loop {
        let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
        let fault = match ask(left) {
            Err(fault) if fault.passes() => fault,
            answer => {
                if told {
                    tracing::info!("{who}: {place} is reachable; the job starts");
                }
                return Ok(answer);
            }
        };
        if until.is_some_and(|until| Instant::now() >= until) {
            return Err(Error::environment(format!(
                "{who}: {place} did not respond within --timeout; the job was not started"
            )));
        }
        let wait = units::show_time(cluster.wait);
        if began.elapsed() >= cluster.wait {
            let after = if told { format!(", for {wait}") } else { String::new() };
            return Err(Error::environment(format!(
                "{who}: {place}: {}{after}; start the cluster, or check `brokers`, or raise `wait`",
                fault.message
            )));
        }
        if !told {
            tracing::warn!("{who}: {place}: {}; the job waits for up to {wait} (`wait`)", fault.message);
            told = true;
        }
        // The question itself has waited.
        std::thread::sleep(PAUSE_MIN);
    }
}

/// Checks schema and keys, and asks the cluster about the topic, where it is there; `servers`: whether it is waited for where it does not
/// answer in time.
fn check(writes: &KafkaWrites, start: SinkStart<'_>, schema: &SchemaRef) -> Result<()> {
    let SinkStart { spec, origin, servers, .. } = start;
    let encoder = encoder(writes, start, schema)?;
    let target = Target::new(writes, start, None, None)?;
    if let Some(subject) = target.subject(origin) {
        subject.check(encoder.schema()).map_err(|message| wrong(spec, origin, "registry", message))?;
    }
    let facts = || {
        let client = topic::asking(&target.settings, "read_uncommitted")?;
        let there = topic::exists(&client, &target.spec.topic)?;
        there.then(|| Admin::new(&target.settings)?.facts(&target.spec.topic)).transpose()
    };
    let facts = match servers {
        ServerWait::No => facts(),
        ServerWait::Until(until) => ask_at_start(&target.who(), &target.spec.cluster, until, |_| facts())?,
    };
    match facts.map_err(|fault| unreachable(start, &target, fault))? {
        Some(facts) => target.fits(&facts).map_err(|message| wrong(spec, origin, "topic", message)),
        None => Ok(()),
    }
}

/// What makes records of rows of this schema.
fn encoder(writes: &KafkaWrites, start: SinkStart<'_>, schema: &SchemaRef) -> Result<RecordEncoder> {
    RecordEncoder::new(writes, schema).map_err(|(key, message)| wrong(start.spec, start.origin, key, message))
}

/// Makes the topics that are not there, and takes the sink over from earlier starts of the job; without a share, those of all
/// workers there ever were, too.
fn open(
    writes: &KafkaWrites,
    start: SinkStart<'_>,
    schema: &SchemaRef,
    owner: Option<&Owner>,
    failure: &Failure,
) -> Result<Box<dyn Sink>> {
    let SinkStart { spec, origin, share, .. } = start;
    let mut encoder = encoder(writes, start, schema)?;
    let target = Target::new(writes, start, share, owner.cloned())?;
    if let Some(subject) = target.subject(origin) {
        let id = subject.id(encoder.schema(), failure);
        encoder.begin_with(id.map_err(|message| wrong(spec, origin, "registry", message))?);
    }
    let watch = Watch::new(failure, format!("{}: {}", target.who(), target.place()), None);
    let mut watch = watch.for_transactions(target.spec.transaction);
    let opened = target.prepare(&mut watch).and_then(|facts| Ok((target.take_over(&facts, &mut watch)?, facts)));
    let ((session, committed), facts) = opened.map_err(|fault| unreachable(start, &target, fault))?;
    target.fits(&facts).map_err(|message| wrong(spec, origin, "topic", message))?;
    if owner.is_none() && share.is_none() {
        let sink = &target.sink;
        tracing::info!(
            "sink `{sink}` writes at least once, as the job keeps no checkpoints: a batch that is under way when the job ends \
             may be there in part"
        );
    }
    // Whoever holds all shares together commits nothing itself.
    let session = match share.is_none() && writes.by_worker() {
        true => {
            session.end();
            None
        }
        false => Some(session),
    };
    let failure = failure.clone();
    Ok(Box::new(KafkaSink { target, encoder, facts, failure, session, committed }))
}

/// Reads the markers, as they are while other starts of the job may be at work: a transaction of theirs does not count. Once the
/// sink is open there is none.
fn committed(writes: &KafkaWrites, start: SinkStart<'_>, job_id: &str) -> Result<Option<BatchId>> {
    let target = Target::new(writes, start, None, None)?;
    let failure = Failure::default();
    let mut watch = Watch::new(&failure, format!("{}: {}", target.who(), target.place()), None);
    let read = markers::peek(&target.settings, &target.spec.markers, (job_id, &target.sink), &mut watch);
    let markers = read.map_err(|fault| unreachable(start, &target, fault))?;
    Ok(markers.held(None))
}

fn unreachable(start: SinkStart<'_>, target: &Target, fault: KafkaFault) -> Error {
    let location = start.origin.at(&format!("sinks.{}.brokers", start.spec.name));
    let help = if fault.kind == KafkaFaultKind::Passing { "; start the cluster, or check `brokers`" } else { "" };
    let message = format!("{location}{}: {}: {}{help}", target.who(), target.place(), fault.message);
    match fault.kind {
        KafkaFaultKind::TakenOver => Error::taken_over(message),
        _ => Error::environment(message),
    }
}

impl Sink for KafkaSink {
    fn commit(&mut self, batch: BatchId, _time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        // Of a batch without rows there is no trace, so it does not count as held.
        if rows.iter().any(|part| part.num_rows() > 0) {
            self.write(batch, &rows)?;
            self.committed = Some(batch).filter(|_| self.target.owner.is_some());
        }
        Ok(())
    }

    fn committed(&self) -> Option<BatchId> {
        self.committed
    }
}

impl KafkaSink {
    /// Tries until the batch is committed, the job has ended, or something is wrong that does not pass.
    fn write(&mut self, batch: BatchId, rows: &[RecordBatch]) -> Result<()> {
        let who = format!("{}: batch {batch}", self.target.who());
        let records = self.encoder.encode(rows);
        let records = records.map_err(|cause| not_encoded(&who, &cause))?;
        fault::point("commit.before");
        let failure = self.failure.clone();
        let waits = format!("{who}: {}", self.target.place());
        let mut watch = Watch::new(&failure, waits, Some(self.target.spec.cluster.wait));
        while let Err(mut fault) = self.attempt(batch, &records, &mut watch) {
            if let Some(session) = self.session.take() {
                session.end();
            }
            if fault.code.is_some_and(session::ends_transactions) {
                tracing::warn!("{who}: {}; it is begun anew", fault.message);
            }
            if fault.passes() {
                match watch.again(&fault) {
                    Ok(()) => continue,
                    Err(over) => fault = over,
                }
            }
            let message = format!("{who}: {}: {}", self.target.place(), fault.message);
            return Err(match fault.kind {
                KafkaFaultKind::Row => Error::plugin(message),
                KafkaFaultKind::TakenOver => Error::taken_over(message),
                KafkaFaultKind::Lasting | KafkaFaultKind::Passing | KafkaFaultKind::HeldUp => {
                    Error::environment(message)
                }
            });
        }
        watch.done();
        fault::point("commit.after");
        Ok(())
    }

    /// One attempt: begins anew where something went wrong before, and looks whether the batch is committed all the same.
    fn attempt(&mut self, batch: BatchId, records: &Records, watch: &mut Watch<'_>) -> Result<(), KafkaFault> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => {
                self.facts = Admin::new(&self.target.settings)?.facts(&self.target.spec.topic)?;
                let (session, markers) = self.target.begin(&self.facts, watch)?;
                if markers.held(self.target.share).is_some_and(|committed| committed >= batch) {
                    self.session = Some(session);
                    return Ok(());
                }
                session
            }
        };
        let written = check_sizes(records, &self.facts)
            .and_then(|()| self.target.write(&mut session, records, Some(batch), watch));
        self.session = Some(session);
        written
    }
}

/// An error for the first record that the topic does not take, before any is sent.
fn check_sizes(records: &Records, facts: &TopicFacts) -> Result<(), KafkaFault> {
    let row = |message| KafkaFault { kind: KafkaFaultKind::Row, code: None, message };
    for (index, (key, value)) in records.iter().enumerate() {
        let bytes = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + RECORD_OVERHEAD_BYTES;
        if bytes > facts.record_bytes_max {
            return Err(row(format!(
                "row {} makes a record of {bytes} bytes, and the topic accepts at most {} (`max.message.bytes`); raise that, or \
                 make the row smaller in a stage before the sink",
                index + 1,
                facts.record_bytes_max
            )));
        }
        if facts.compacted && key.is_none() {
            return Err(row(format!(
                "row {} has no key, and all records of a compacted topic have one; leave out such rows in a stage before the sink",
                index + 1
            )));
        }
    }
    Ok(())
}
