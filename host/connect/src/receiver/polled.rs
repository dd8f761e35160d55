//! Polled sources: plugins and servers. One thread per partition polls for rows. The rows of a poll and the position after them go into one batch.
//! The plan keeps the rows, so the server need not be able to send them again.
//!
//! If the partitions are spread over the processes of the job, each process lists all partitions and reads its share of them. It reports to the
//! others which partitions it has read to their end (`inbox/peers`), as other partitions may follow them. The source ends when all partitions have
//! ended.
//!
//! This module does not depend on what is polled: it only uses [`ReadPartition`].

pub mod backlog;
mod messages;
mod partition;
mod position;

use millstream_base::error::{Error, Result};
use millstream_base::fault;
use millstream_base::limits::POLLED_PARTITIONS_MAX;
use millstream_base::threads;
use millstream_job::spec::{Origin, SourceSpec, SourceStart};
use millstream_rows::batch::partition::{CLOCK_PREFIX, Share, rows_name};
use millstream_rows::batch::position::Positions;
use millstream_rows::batch::reading::{MakeReader, ReadError, ReadPartition};
use millstream_rows::inbox::Inbox;
use partition::{PartitionReader, SharedRows, has_clock};
use position::PartitionPosition;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tracing::{info, warn};

/// How often the partitions of a source are listed.
const LIST_INTERVAL: Duration = Duration::from_secs(10);
/// How often the state of the other partitions is checked.
const STATUS_INTERVAL: Duration = Duration::from_millis(100);
/// Shortest and longest pause before a retry.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(10);

/// Fails if no reader can be built from the settings of a source. `made` holds the invalid key and the reason.
pub fn check<T>(
    source: &SourceSpec,
    origin: &Origin,
    made: std::result::Result<T, (&'static str, String)>,
) -> Result<()> {
    made.map(drop).map_err(|error| unreadable(source, origin, error))
}

/// Builds a reader from the settings of a source. The error is the invalid key and the reason.
pub type BuildReader<C, R> = fn(&SourceSpec, &C, &Origin) -> std::result::Result<R, (&'static str, String)>;

/// Returns a factory of independent readers with these settings.
pub fn readers<C, R>((source, config, origin): (&SourceSpec, &C, &Origin), of: BuildReader<C, R>) -> MakeReader
where
    C: Clone + Send + Sync + 'static,
    R: ReadPartition + 'static,
{
    let (source, config, origin) = (source.clone(), config.clone(), origin.clone());
    Arc::new(move || {
        let made = of(&source, &config, &origin);
        Ok(Box::new(made.map_err(|error| unreadable(&source, &origin, error))?))
    })
}

fn unreadable(source: &SourceSpec, origin: &Origin, (key, message): (&str, String)) -> Error {
    let location = origin.at(&format!("sources.{}.{key}", source.name));
    Error::job(format!("{location}source `{}`: {message}", source.name))
}

/// Returns a field of a position whose fields are separated by spaces. If there is no such field, returns the complete position.
pub fn position_field(position: &str, number: usize) -> &str {
    position.split(' ').nth(number).unwrap_or(position)
}

/// Starts reading the partitions of this share. The thread ends when the inbox is closed.
pub fn start(SourceStart { source, inbox, runtime, from, share, .. }: SourceStart<'_>, make: MakeReader) {
    let (source, from) = (source.clone(), from.clone());
    let name = format!("the receiver of source `{}`", source.name);
    super::on_thread(inbox, runtime, &name, move |inbox, runtime| {
        let rows = SharedRows::for_source(&from);
        let mut partitions = Partitions {
            source: &source,
            make,
            inbox,
            runtime,
            from: &from,
            share,
            rows,
            started: BTreeSet::new(),
            ended_elsewhere: BTreeSet::new(),
            partition_clocks: PartitionClocks::restore(&from),
            left: Arc::default(),
            busy: Arc::default(),
        };
        if let Err(error) = partitions.follow() {
            inbox.fail(error);
        }
    });
}

/// The partitions of a source, each with its own thread.
struct Partitions<'a> {
    source: &'a SourceSpec,
    make: MakeReader,
    inbox: &'a Arc<Inbox>,
    runtime: &'a Handle,
    from: &'a Positions,
    /// The share of the partitions that this process reads.
    share: Share,
    rows: SharedRows,
    /// Partitions that this process has started to read.
    started: BTreeSet<String>,
    /// Partitions that other processes have read to their end.
    ended_elsewhere: BTreeSet<String>,
    partition_clocks: PartitionClocks,
    /// Number of partitions that have not ended.
    left: Arc<AtomicUsize>,
    /// Number of partitions that probably have something to read.
    busy: Arc<AtomicUsize>,
}

impl Partitions<'_> {
    /// Lists the partitions periodically and starts those that are new.
    fn follow(&mut self) -> Result<()> {
        let mut lister = (self.make)()?;
        lister.set_positions(&PartitionPosition::all(self.from));
        let mut retry = RetryPause::new(format!("source `{}`", self.source.name));
        while !self.inbox.may_begin() {
            if self.inbox.closed_within(self.runtime, STATUS_INTERVAL) {
                return Ok(());
            }
        }
        loop {
            // This must precede the listing, which then includes the partitions that follow those that ended. Stages are not notified about the last
            // partitions that end, because the time of the complete source ends then.
            let elsewhere = self.inbox.ended_elsewhere();
            self.partition_clocks.update(&elsewhere);
            self.ended_elsewhere.extend(elsewhere);
            lister.ended(&self.partition_clocks.gone);
            let any_started = !self.started.is_empty() || !self.ended_elsewhere.is_empty();
            let all_ended =
                any_started && self.left.load(Ordering::Acquire) == 0 && !self.inbox.is_read_elsewhere(None);
            let pause = match lister.partitions() {
                Ok(names) => {
                    retry.reset();
                    let names: BTreeSet<String> = names.into_iter().collect();
                    let is_over = |name: &String| self.started.contains(name) || self.ended_elsewhere.contains(name);
                    if all_ended && names.iter().all(is_over) {
                        self.inbox.finish();
                        // Another process may have found a partition just before, and this process may have to read one that follows it.
                        if self.inbox.peers_have_finished() {
                            return Ok(());
                        }
                    } else {
                        self.begin_all(&names)?;
                    }
                    if self.left.load(Ordering::Acquire) == 0 {
                        // No partition thread would report that there is nothing to read.
                        self.inbox.idle(true);
                    }
                    LIST_INTERVAL
                }
                Err(ReadError::Transient(why)) => {
                    self.inbox.idle(self.busy.load(Ordering::Acquire) == 0);
                    retry.next(&why)
                }
                Err(ReadError::Permanent(error)) => return Err(error),
            };
            if self.closed_within(pause) {
                return Ok(());
            }
        }
    }

    /// Waits until the pause is over or a partition ends: others may follow it, and if none do, the source has ended. Returns whether the inbox was
    /// closed.
    fn closed_within(&self, pause: Duration) -> bool {
        let had_finished = self.inbox.peers_have_finished();
        let mut waited = Duration::ZERO;
        while waited < pause {
            if self.inbox.closed_within(self.runtime, STATUS_INTERVAL) {
                return true;
            }
            if self.partition_clocks.some_ended()
                || self.inbox.any_ended_elsewhere()
                || self.inbox.peers_have_finished() != had_finished
            {
                return false;
            }
            waited += STATUS_INTERVAL;
        }
        false
    }

    /// Starts to read the new partitions of this share. A partition that is no longer listed is still read to its end.
    fn begin_all(&mut self, listed: &BTreeSet<String>) -> Result<()> {
        let new: Vec<String> =
            listed.difference(&self.started).filter(|name| self.share.owns(&rows_name(name))).cloned().collect();
        // Checked before any of them is started.
        if self.left.load(Ordering::Acquire) + new.len() > POLLED_PARTITIONS_MAX {
            return Err(Error::plugin(format!(
                "source `{}` has more than {POLLED_PARTITIONS_MAX} partitions in one process, and each needs a \
                 thread; use fewer partitions",
                self.source.name
            )));
        }
        if !new.is_empty() {
            self.inbox.idle(false);
            self.inbox.go_on();
        }
        if self.share.reports_clocks() {
            let is_over = |name: &&String| self.ended_elsewhere.contains(*name) || self.started.contains(*name);
            let with_clocks = listed.iter().filter(|name| has_clock(self.source, name)).filter(|name| !is_over(name));
            let is_there = |name: &str| {
                listed.contains(name) || self.started.contains(name) || self.inbox.is_read_elsewhere(Some(name))
            };
            self.partition_clocks.announce(with_clocks, is_there, self.inbox);
        } else {
            self.partition_clocks.gone.clear();
        }
        for partition in new {
            // Reported before the partition can end.
            self.inbox.report_read(&partition);
            self.begin(&partition)?;
            self.started.insert(partition);
        }
        Ok(())
    }

    fn begin(&self, partition: &str) -> Result<()> {
        let position = PartitionPosition::restore(partition, self.from);
        let reader = (self.make)()?;
        let left = OpenPartition::new(&self.left, partition, &self.partition_clocks.ended);
        let rows = match self.source.kind.is_spread() {
            true => SharedRows::for_partition(partition, self.from),
            false => self.rows.clone(),
        };
        let mut reading =
            PartitionReader::new(self.source, partition, position, reader, self.inbox, self.runtime, rows);
        let busy = BusyFlag::new(&self.busy);
        let (failing, reporting, partition) = (self.inbox.clone(), self.inbox.clone(), partition.to_owned());
        let what = format!("the thread that reads partition `{partition}` of source `{}`", self.source.name);
        threads::start(
            "source-partition",
            &what,
            move |error| failing.fail(error),
            move || {
                fault::thread("source-partition");
                let _left = left;
                if reading.read(busy) {
                    reporting.report_ended(&partition);
                }
            },
        )
        .map(drop)
    }
}

/// The partitions that were announced to the stages because each has its own watermark.
struct PartitionClocks {
    announced: BTreeSet<String>,
    /// Partitions that have ended, as reported by their threads.
    ended: Arc<Mutex<Vec<String>>>,
    /// Ended partitions whose end has not been announced to the stages.
    gone: Vec<String>,
}

impl PartitionClocks {
    /// Restores the announced partitions from saved positions.
    fn restore(from: &Positions) -> PartitionClocks {
        let announced = from.keys().filter_map(|name| name.strip_prefix(CLOCK_PREFIX)).filter(|name| !name.is_empty());
        PartitionClocks { announced: announced.map(str::to_owned).collect(), ended: Arc::default(), gone: Vec::new() }
    }

    /// Collects the partitions that have ended. Rows of other processes may have announced theirs to the stages.
    fn update(&mut self, elsewhere: &[String]) {
        self.gone.extend_from_slice(elsewhere);
        self.announced.extend(elsewhere.iter().filter(|partition| !partition.is_empty()).cloned());
        self.gone.append(&mut self.ended.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Returns whether a partition has ended since the last call of `update`.
    fn some_ended(&self) -> bool {
        !self.ended.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Announces new partitions together with those that ended: a partition that follows another holds back the watermark from where that one ended.
    /// `is_there` returns whether a partition is listed or still being read.
    fn announce<'a>(&mut self, new: impl Iterator<Item = &'a String>, is_there: impl Fn(&str) -> bool, inbox: &Inbox) {
        let new: Vec<String> = new.filter(|partition| !self.announced.contains(*partition)).cloned().collect();
        self.announced.extend(new.iter().cloned());
        let ended = std::mem::take(&mut self.gone);
        let is_gone = |name: &String| ended.contains(name) || !is_there(name);
        let gone: Vec<String> = self.announced.iter().filter(|name| is_gone(name)).cloned().collect();
        self.announced.retain(|name| !gone.contains(name));
        if !new.is_empty() || !gone.is_empty() {
            inbox.report_partitions(&new, &gone);
        }
        // Results may have waited for this, and no further rows need arrive.
        if !gone.is_empty() {
            inbox.begin_batch();
        }
    }
}

/// Counts one partition that has not ended; dropping it reports the end.
struct OpenPartition {
    count: Arc<AtomicUsize>,
    partition: String,
    ended: Arc<Mutex<Vec<String>>>,
}

impl OpenPartition {
    fn new(count: &Arc<AtomicUsize>, partition: &str, ended: &Arc<Mutex<Vec<String>>>) -> OpenPartition {
        count.fetch_add(1, Ordering::AcqRel);
        OpenPartition { count: count.clone(), partition: partition.to_owned(), ended: ended.clone() }
    }
}

impl Drop for OpenPartition {
    fn drop(&mut self) {
        // The order matters: a thread that sees the end must also see whether it was the last partition.
        self.count.fetch_sub(1, Ordering::AcqRel);
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).push(std::mem::take(&mut self.partition));
    }
}

/// Whether a partition or a connection has something to read. It is busy until it reports otherwise.
pub struct BusyFlag {
    all: Arc<AtomicUsize>,
    is_busy: bool,
}

impl BusyFlag {
    /// Adds one busy partition to the count `all`.
    pub fn new(all: &Arc<AtomicUsize>) -> BusyFlag {
        all.fetch_add(1, Ordering::AcqRel);
        BusyFlag { all: all.clone(), is_busy: true }
    }

    /// Updates the state. The source is idle if no partition is busy.
    pub fn set(&mut self, busy: bool, inbox: &Inbox) {
        match (self.is_busy, busy) {
            (false, true) => drop(self.all.fetch_add(1, Ordering::AcqRel)),
            (true, false) => drop(self.all.fetch_sub(1, Ordering::AcqRel)),
            _ => {}
        }
        self.is_busy = busy;
        inbox.idle(self.all.load(Ordering::Acquire) == 0);
    }
}

impl Drop for BusyFlag {
    fn drop(&mut self) {
        if self.is_busy {
            self.all.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Pauses between retries, with an error that is logged once.
struct RetryPause {
    subject: String,
    pause: Duration,
    logged: Option<String>,
}

impl RetryPause {
    fn new(subject: String) -> RetryPause {
        RetryPause { subject, pause: RETRY_PAUSE_MIN, logged: None }
    }

    /// Resets the pause after a success, and logs the recovery.
    fn reset(&mut self) {
        self.pause = RETRY_PAUSE_MIN;
        if self.logged.take().is_some() {
            info!("{}: it works again", self.subject);
        }
    }

    /// Returns how long to pause after an error. Each error is logged once.
    fn next(&mut self, why: &str) -> Duration {
        if self.logged.as_deref() != Some(why) {
            warn!("{}: {why}; retrying until it works", self.subject);
            self.logged = Some(why.to_owned());
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(RETRY_PAUSE_MAX);
        pause
    }
}
