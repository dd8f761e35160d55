//! The `plugin` sink, which passes batches to a writer in a plugin, one after the other.
//!
//! A writer that guarantees exactly once knows its last batch. It returns it when it is opened, at the start of a job and after each
//! failure. So a commit whose response was lost is not repeated, and a batch that it holds is not passed again.

mod calls;

use super::commit_retry::{CommitRetry, ServerFault};
use super::waiting::pause_or_end;
use arrow::array::RecordBatch;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime, Generation};
use millstream_base::limits::{PLUGIN_STACK_BYTES_MAX_MAX, THREAD_STACK_BYTES_RESERVED};
use millstream_base::owner::Owner;
use millstream_base::retry::longer;
use millstream_base::{shown, units};
use millstream_job::spec::{PluginSinkSpec, SinkKind, SinkSpec};
use millstream_rows::batch::rejected::RejectedRow;
use millstream_rows::batch::sink::Sink;
use millstream_rows::batch::writing::{WriteBatches, WriteError};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// Maximum number of rejected rows of a batch that are logged.
const REJECTED_SHOWN_MAX: usize = 3;
/// Maximum bytes of the reason of each.
const REASON_BYTES_MAX: usize = 400;

/// A writer, and its properties.
pub struct PluginWriter {
    /// The writer.
    pub writer: Box<dyn WriteBatches>,
    /// Whether it knows its last batch.
    pub exactly_once: bool,
}

/// Passes each batch that has rows to a writer.
struct PluginSink {
    name: String,
    spec: PluginSinkSpec,
    writer: PluginWriter,
    owner: Owner,
    failure: Failure,
    committed: Option<BatchId>,
}

/// Opens the sink of a job of this name, and takes it over from earlier runs. Waits no longer than `until`.
pub fn open(
    spec: &SinkSpec,
    writer: PluginWriter,
    (job, owner): (&str, Option<&Owner>),
    until: Option<Instant>,
    failure: &Failure,
) -> Result<Box<dyn Sink>> {
    let (name, of) = (spec.name.clone(), plugin_spec(spec)?);
    if owner.is_some() && !writer.exactly_once {
        tracing::info!(
            "sink `{name}` writes at least once: after a crash or a lost connection some rows are \
            written again"
        );
    }
    // Without checkpoints each run is a job of its own, whose batches count from 1.
    let half = || format!("{:016x}", RandomState::new().hash_one(0));
    let own = || Owner { job: job.to_owned(), job_id: half() + &half(), generation: Generation(1) };
    let owner = owner.cloned().unwrap_or_else(own);
    let PluginWriter { mut writer, exactly_once } = writer;
    let writer_batch = run_blocking(|| retry_at_start(&name, of, until, failure, || writer.open(&owner)))?;
    fault::point("start.sink");
    let (spec, failure, committed) = (of.clone(), failure.clone(), writer_batch.filter(|_| exactly_once));
    let writer = PluginWriter { writer, exactly_once };
    Ok(Box::new(PluginSink { name, spec, writer, owner, failure, committed }))
}

/// Returns the last batch of the job with this name and id. Changes nothing.
pub fn committed(
    spec: &SinkSpec,
    writer: PluginWriter,
    (job, job_id): (&str, &str),
    until: Option<Instant>,
) -> Result<Option<BatchId>> {
    let PluginWriter { mut writer, exactly_once } = writer;
    if !exactly_once {
        return Ok(None);
    }
    let of = plugin_spec(spec)?;
    run_blocking(|| retry_at_start(&spec.name, of, until, &Failure::default(), || writer.committed(job, job_id)))
}

fn plugin_spec(spec: &SinkSpec) -> Result<&PluginSinkSpec> {
    match &spec.kind {
        SinkKind::Plugin(sink) => Ok(sink),
        _ => Err(Error::bug(format!("sink `{}` is not a plugin", spec.name))),
    }
}

/// Retries until it succeeds, for as long as the sink waits, before the job starts.
fn retry_at_start<T>(
    name: &str,
    spec: &PluginSinkSpec,
    until: Option<Instant>,
    failure: &Failure,
    mut open: impl FnMut() -> Result<T, WriteError>,
) -> Result<T> {
    let (began, mut pause) = (Instant::now(), Duration::ZERO);
    let left = || until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
    loop {
        let why = match open() {
            Ok(result) => {
                if !pause.is_zero() {
                    tracing::info!("sink `{name}`: it works now; the job starts");
                }
                return Ok(result);
            }
            Err(WriteError::Permanent(error)) => return Err(error),
            Err(WriteError::Transient(why)) => why,
        };
        let wait = units::show_time(spec.wait);
        if began.elapsed() >= spec.wait || left().is_zero() {
            let which = if left().is_zero() { "the time of --timeout" } else { "`wait`" };
            return Err(Error::environment(format!(
                "sink `{name}`: {why}; the job was not started: {which} has passed (the maximum wait is {wait})"
            )));
        }
        if pause.is_zero() {
            tracing::warn!("sink `{name}`: {why}; the job waits until it works, for up to {wait} (`wait`)");
        }
        pause = longer(pause);
        if !pause_or_end(pause.min(spec.wait.saturating_sub(began.elapsed())).min(left()), failure) {
            return Err(Error::environment(format!("sink `{name}`: the job has ended")));
        }
    }
}

/// Runs `work` on another thread, independent of this thread's stack size: a plugin uses that stack.
fn run_blocking<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let bytes = PLUGIN_STACK_BYTES_MAX_MAX.saturating_add(2 * THREAD_STACK_BYTES_RESERVED);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("sink-plugin".into()).stack_size(bytes as usize);
        let thread = thread.spawn_scoped(scope, work);
        let thread = thread.map_err(|error| {
            Error::environment(format!(
                "cannot start a thread: {error}{}",
                millstream_base::memory::addresses::advice()
            ))
        })?;
        thread.join().unwrap_or_else(|_| Err(Error::bug("a thread that called a sink plugin panicked")))
    })
}

impl Sink for PluginSink {
    fn commit(&mut self, batch: BatchId, time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        if rows.iter().any(|part| part.num_rows() > 0) {
            self.write(batch, time, &rows)?;
            // A batch without rows leaves no trace, so it does not count as held.
            self.committed = Some(batch).filter(|_| self.writer.exactly_once);
        }
        Ok(())
    }

    fn committed(&self) -> Option<BatchId> {
        self.committed
    }
}

impl PluginSink {
    /// Retries until the batch is committed, the job has ended, or a permanent error occurs.
    fn write(&mut self, batch: BatchId, time: BatchTime, rows: &[RecordBatch]) -> Result<()> {
        fault::point("commit.before");
        let (name, wait, failure) = (self.name.clone(), self.spec.wait, self.failure.clone());
        CommitRetry { sink: &name, server_name: "", wait, failure: &failure }.commit(batch, || {
            self.attempt(batch, time, rows).map_err(|error| match error {
                WriteError::Permanent(error) => ServerFault::Permanent(error),
                WriteError::Transient(why) => ServerFault::Transient(why),
            })
        })?;
        fault::point("commit.after");
        Ok(())
    }

    /// Passes the batch to the writer once, unless the writer already holds it.
    fn attempt(&mut self, batch: BatchId, time: BatchTime, rows: &[RecordBatch]) -> Result<(), WriteError> {
        if !self.writer.writer.is_open() {
            let writer_batch = self.writer.writer.open(&self.owner)?;
            if self.writer.exactly_once {
                if writer_batch < self.committed {
                    let lost = self.lost_error(batch, writer_batch);
                    return Err(self.writer.writer.fails(lost));
                }
                if writer_batch.is_some_and(|writer_batch| writer_batch >= batch) {
                    return Ok(());
                }
            }
        }
        let writer = &mut self.writer.writer;
        writer.begin(batch, time)?;
        let (mut rejected, mut count, mut before) = (Vec::new(), 0, 0);
        calls::each(rows, |rows| {
            let more = writer.write(&rows)?;
            count += more.len() as u64;
            let room = REJECTED_SHOWN_MAX.saturating_sub(rejected.len());
            rejected.extend(more.into_iter().take(room).map(|row| (before + u64::from(row.row), row)));
            before += rows.num_rows() as u64;
            Ok(())
        })?;
        if count > 0 {
            let message = self.rejection_message(batch, count, before, &rejected);
            if !self.spec.reject {
                let message = format!("{message}; fix the rows or the config, or set on_error = \"reject\"");
                return Err(self.writer.writer.fails(Error::plugin(message)));
            }
            // Logged before they are lost: after a commit without a response, the omitted rows are unknown.
            tracing::warn!("{message}; they are skipped");
        }
        fault::point("commit.written");
        self.writer.writer.commit()
    }

    /// Returns the error if the writer has lost what it held.
    fn lost_error(&self, batch: BatchId, writer_batch: Option<BatchId>) -> Error {
        let name = &self.name;
        let [writer_batch, had] = [writer_batch, self.committed].map(Option::unwrap_or_default);
        Error::environment(format!(
            "sink `{name}`: batch {batch}: its plugin reported batches up to {had}, and now reports batches up to \
             {writer_batch}: its target was replaced, emptied or reset"
        ))
    }

    fn rejection_message(&self, batch: BatchId, count: u64, rows: u64, rejected: &[(u64, RejectedRow)]) -> String {
        let reason = |row: &RejectedRow| shown::printable(&row.reason, REASON_BYTES_MAX).replace('\n', " ");
        let reasons: Vec<String> =
            rejected.iter().map(|(number, row)| format!("row {number} of the batch: {}", reason(row))).collect();
        let more = if count > reasons.len() as u64 { "; and others" } else { "" };
        let name = &self.name;
        format!(
            "sink `{name}`: batch {batch}: its plugin rejected {count} of {rows} rows: {}{more}",
            reasons.join("; ")
        )
    }
}

#[cfg(test)]
mod tests;
