//! The `kafka` sink, which writes to a topic in one transaction per batch.
//!
//! The transaction also writes a record with the last committed batch and the run of the job that committed it, see [`markers`]. A batch
//! is begun, written and committed within one [`Sink::commit`], so no transaction has to be completed after a crash. The next process to
//! open the sink aborts an open transaction; then the marker says what is committed. The sink does the same if the response to a commit is
//! lost, or the cluster has aborted a transaction: it starts a new session under the same name and reads the marker.
//!
//! With `parts = "worker"` each worker does so with its share of a batch, under its own name and with its own marker, see [`target`].

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
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::owner::Owner;
use millstream_base::retry::StartupRetry;
use millstream_base::units;
use millstream_connect::sink::encoder::encode_error;
use millstream_connect::sink::wrong;
use millstream_job::spec::{SinkConfig, SinkStart};
use millstream_rows::batch::sink::Sink;
use std::time::{Duration, Instant};

/// Writes every batch that has rows, or a worker's share of it, in its own transaction.
struct KafkaSink {
    target: Target,
    encoder: RecordEncoder,
    facts: TopicFacts,
    failure: Failure,
    /// `None`: the previous one failed, or only shares are committed.
    session: Option<Session>,
    committed: Option<BatchId>,
}

/// Waits until a broker responds, if all are unreachable, so that a job and its cluster may start in any order. Permanent errors are left
/// to the next connection, which names the key of the job file. Waits at most `wait` of the cluster, and until `until`.
fn await_cluster(writes: &KafkaWrites, start: SinkStart<'_>, until: Option<Instant>) -> Result<()> {
    let (name, origin) = (&start.spec.name, start.origin);
    let context = format!("{}sink `{name}`", origin.at(&format!("sinks.{name}.brokers")));
    let Ok(settings) = settings_of(&writes.cluster, &origin.dir, "millstream") else { return Ok(()) };
    retry_at_start(&context, &writes.cluster, until, |left| topic::check_reachable(&settings, left)).map(drop)
}

/// Retries `attempt` until it succeeds or fails permanently, for as long as startup may wait for it. It receives the remaining time.
fn retry_at_start<T>(
    context: &str,
    cluster: &KafkaCluster,
    until: Option<Instant>,
    mut attempt: impl FnMut(Duration) -> Result<T, KafkaFault>,
) -> Result<Result<T, KafkaFault>> {
    let cluster_name = format!("Kafka at {}", cluster.brokers.join(","));
    let (began, mut warned) = (Instant::now(), false);
    loop {
        let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
        let fault = match attempt(left) {
            Err(fault) if fault.is_transient() => fault,
            result => {
                if warned {
                    tracing::info!("{context}: {cluster_name} is reachable; the job starts");
                }
                return Ok(result);
            }
        };
        if until.is_some_and(|until| Instant::now() >= until) {
            return Err(Error::environment(format!(
                "{context}: {cluster_name} did not respond within --timeout; the job was not started"
            )));
        }
        let wait = units::show_time(cluster.wait);
        if began.elapsed() >= cluster.wait {
            let after = if warned { format!(", for {wait}") } else { String::new() };
            return Err(Error::environment(format!(
                "{context}: {cluster_name}: {}{after}; start the cluster, or check `brokers`, or raise `wait`",
                fault.message
            )));
        }
        if !warned {
            tracing::warn!("{context}: {cluster_name}: {}; the job waits for up to {wait} (`wait`)", fault.message);
            warned = true;
        }
        // The attempt itself has waited.
        std::thread::sleep(PAUSE_MIN);
    }
}

/// Checks schema and keys, and queries the cluster about the topic, if it is reachable. `servers`: whether to wait for it if it does not
/// respond in time.
fn check(writes: &KafkaWrites, start: SinkStart<'_>, schema: &SchemaRef) -> Result<()> {
    let SinkStart { spec, origin, servers, .. } = start;
    let encoder = encoder(writes, start, schema)?;
    let target = Target::new(writes, start, None, None)?;
    if let Some(subject) = target.subject(origin) {
        subject.check(encoder.schema()).map_err(|message| wrong(spec, origin, "registry", message))?;
    }
    let facts = || {
        let client = topic::query_client(&target.settings, "read_uncommitted")?;
        let is_existing = topic::exists(&client, &target.spec.topic)?;
        is_existing.then(|| Admin::new(&target.settings)?.facts(&target.spec.topic)).transpose()
    };
    let facts = match servers {
        StartupRetry::No => facts(),
        StartupRetry::Until(until) => retry_at_start(&target.display_name(), &target.spec.cluster, until, |_| facts())?,
    };
    match facts.map_err(|fault| unreachable(start, &target, fault))? {
        Some(facts) => target.fits(&facts).map_err(|message| wrong(spec, origin, "topic", message)),
        None => Ok(()),
    }
}

/// Returns the encoder of records for rows of this schema.
fn encoder(writes: &KafkaWrites, start: SinkStart<'_>, schema: &SchemaRef) -> Result<RecordEncoder> {
    RecordEncoder::new(writes, schema).map_err(|(key, message)| wrong(start.spec, start.origin, key, message))
}

/// Creates missing topics, and takes the sink over from earlier runs of the job. Without a share, also takes over the shares of all
/// workers that ever wrote.
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
    let watch = Watch::new(failure, format!("{}: {}", target.display_name(), target.cluster_name()), None);
    let mut watch = watch.for_transactions(target.spec.transaction);
    let opened = target.prepare(&mut watch).and_then(|facts| Ok((target.take_over(&facts, &mut watch)?, facts)));
    let ((session, committed), facts) = opened.map_err(|fault| unreachable(start, &target, fault))?;
    target.fits(&facts).map_err(|message| wrong(spec, origin, "topic", message))?;
    if owner.is_none() && share.is_none() {
        let sink = &target.sink;
        tracing::info!(
            "sink `{sink}` writes at least once, as the job keeps no checkpoints: a batch in flight when the job \
             ends may be written in part"
        );
    }
    // A process that holds all shares together commits nothing itself.
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

/// Reads the markers while other starts of the job may be running: their open transaction does not count. Once the sink is open there is
/// none.
fn committed(writes: &KafkaWrites, start: SinkStart<'_>, job_id: &str) -> Result<Option<BatchId>> {
    let target = Target::new(writes, start, None, None)?;
    let failure = Failure::default();
    let mut watch = Watch::new(&failure, format!("{}: {}", target.display_name(), target.cluster_name()), None);
    let read = markers::read_current(&target.settings, &target.spec.markers, (job_id, &target.sink), &mut watch);
    let markers = read.map_err(|fault| unreachable(start, &target, fault))?;
    Ok(markers.committed_batch(None))
}

fn unreachable(start: SinkStart<'_>, target: &Target, fault: KafkaFault) -> Error {
    let location = start.origin.at(&format!("sinks.{}.brokers", start.spec.name));
    let help = if fault.kind == KafkaFaultKind::Transient { "; start the cluster, or check `brokers`" } else { "" };
    let message = format!("{location}{}: {}: {}{help}", target.display_name(), target.cluster_name(), fault.message);
    match fault.kind {
        KafkaFaultKind::TakenOver => Error::taken_over(message),
        _ => Error::environment(message),
    }
}

impl Sink for KafkaSink {
    fn commit(&mut self, batch: BatchId, _time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        // A batch without rows leaves no trace, so it does not count as held.
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
    /// Retries until the batch is committed, the job has ended, or a permanent error occurs.
    fn write(&mut self, batch: BatchId, rows: &[RecordBatch]) -> Result<()> {
        let context = format!("{}: batch {batch}", self.target.display_name());
        let records = self.encoder.encode(rows);
        let records = records.map_err(|cause| encode_error(&context, &cause))?;
        fault::point("commit.before");
        let failure = self.failure.clone();
        let wait_name = format!("{context}: {}", self.target.cluster_name());
        let mut watch = Watch::new(&failure, wait_name, Some(self.target.spec.cluster.wait));
        while let Err(mut fault) = self.attempt(batch, &records, &mut watch) {
            if let Some(session) = self.session.take() {
                session.end();
            }
            if fault.code.is_some_and(session::ends_transactions) {
                tracing::warn!("{context}: {}; restarting it", fault.message);
            }
            if fault.is_transient() {
                match watch.retry(&fault) {
                    Ok(()) => continue,
                    Err(over) => fault = over,
                }
            }
            let message = format!("{context}: {}: {}", self.target.cluster_name(), fault.message);
            return Err(match fault.kind {
                KafkaFaultKind::Row => Error::plugin(message),
                KafkaFaultKind::TakenOver => Error::taken_over(message),
                KafkaFaultKind::Permanent | KafkaFaultKind::Transient | KafkaFaultKind::Blocked => {
                    Error::environment(message)
                }
            });
        }
        watch.finish();
        fault::point("commit.after");
        Ok(())
    }

    /// Makes one attempt: starts a new session after an error, and checks whether the batch is committed anyway.
    fn attempt(&mut self, batch: BatchId, records: &Records, watch: &mut Watch<'_>) -> Result<(), KafkaFault> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => {
                self.facts = Admin::new(&self.target.settings)?.facts(&self.target.spec.topic)?;
                let (session, markers) = self.target.begin(&self.facts, watch)?;
                if markers.committed_batch(self.target.share).is_some_and(|committed| committed >= batch) {
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

/// Returns an error for the first record that exceeds the topic's limit, before any is sent.
fn check_sizes(records: &Records, facts: &TopicFacts) -> Result<(), KafkaFault> {
    let row = |message| KafkaFault { kind: KafkaFaultKind::Row, code: None, message };
    for (index, (key, value)) in records.iter().enumerate() {
        let bytes = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + RECORD_OVERHEAD_BYTES;
        if bytes > facts.record_bytes_max {
            return Err(row(format!(
                "row {} makes a record of {bytes} bytes, but the topic accepts at most {} (`max.message.bytes`); \
                 raise that limit, or make the row smaller in a stage before the sink",
                index + 1,
                facts.record_bytes_max
            )));
        }
        if facts.compacted && key.is_none() {
            return Err(row(format!(
                "row {} has no key, but records of a compacted topic need one; filter such rows in a stage before \
                the sink",
                index + 1
            )));
        }
    }
    Ok(())
}
