//! What a job counts while it runs: rows and rejected rows of each source, stage and sink, batches, plugins' counters, and the cost of plugin calls.

// What users see is documented in the crate `millstream`; these are its internals.
#![allow(missing_docs)]

pub mod batch_facts;
pub mod batches;
pub mod calls;
pub mod frequent_keys;
pub mod hot_keys;
mod limits;
pub mod rate;
pub mod recent;
pub mod rejected_rows;
pub mod spread;
pub mod work;

use crate::limits::REJECTED_ROWS_LOGGED;
use arrow::array::RecordBatch;
use arrow::util::display::array_value_to_string;
use batches::Batches;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::memory::Holder;
use millstream_base::memory::unspillable::UnspillableState;
use millstream_plugins::plugin::{
    Account, ConnectorTally, Costs, CounterValues, Counters, Description, Plugin, add_counted,
};
use millstream_rows::batch::rejected::plugin_columns;
use rate::Rate;
use serde::{Deserialize, Serialize};
use spread::Spread;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The counts of a process, by name of source, stage or sink.
#[derive(Clone, Default)]
pub struct Metrics {
    by_name: Arc<Mutex<BTreeMap<String, Counts>>>,
    progress: Arc<AtomicU64>,
    committed: Arc<Mutex<CommitProgress>>,
    /// Plugins' counters in the loaded checkpoint, by stage.
    restored: Arc<Mutex<BTreeMap<String, CounterValues>>>,
    keep_batches: Arc<AtomicBool>,
    batches: Batches,
}

/// The counts of one source, stage or sink; shared by all workers of the process.
#[derive(Clone, Default)]
pub struct Counts(Arc<CountsInner>);

#[derive(Default)]
struct CountsInner {
    rows: AtomicU64,
    rate: Rate,
    rejected: AtomicU64,
    late: AtomicU64,
    unread_rejected: AtomicU64,
    held: AtomicU64,
    held_bytes: AtomicU64,
    /// How state is spread over key groups, by operator and worker.
    spreads: Mutex<BTreeMap<u64, Spread>>,
    counters: Mutex<Vec<Counters>>,
    accounts: Mutex<Vec<(PluginId, Account)>>,
    /// Whether plugins' counters are kept by batch.
    keep_batches: Arc<AtomicBool>,
}

/// Distinguishes operators with state.
static NEXT_STATE: AtomicU64 = AtomicU64::new(0);

/// The size of one operator's state on one worker.
pub struct StateSize {
    counts: Counts,
    last: u64,
    last_bytes: u64,
    memory: Holder,
    kept: UnspillableState,
    /// Its number among those of the stage.
    number: u64,
    spread: Option<Instant>,
}

/// How often an operator reports how its state is spread over key groups.
const SPREAD_EVERY: Duration = Duration::from_secs(2);

impl StateSize {
    /// Sets its entries and bytes, which count for the memory of the job.
    pub fn set(&mut self, now: u64, bytes: u64) {
        self.set_partly_kept(now, bytes, bytes);
    }

    /// Sets its entries and bytes, of which `kept` stay in memory; the rest may be in files.
    pub fn set_partly_kept(&mut self, now: u64, bytes: u64, kept: u64) {
        self.memory.set(bytes);
        self.kept.set(kept);
        self.show(now, bytes);
    }

    /// Updates how it is spread over key groups, which is computed periodically.
    pub fn spread(&mut self, spread: impl FnOnce() -> Spread) {
        if self.spread.is_none_or(|last_report| last_report.elapsed() >= SPREAD_EVERY) {
            self.spread = Some(Instant::now());
            let spread = spread();
            self.counts.spreads().insert(self.number, spread);
        }
    }

    /// Sets how many of its bytes stay in memory; the rest may be in files.
    pub fn keep(&mut self, bytes: u64) {
        self.kept.set(bytes);
    }

    /// Sets its size if the bytes count for the memory of the job elsewhere.
    pub fn show(&mut self, now: u64, bytes: u64) {
        let (last, last_bytes) =
            (std::mem::replace(&mut self.last, now), std::mem::replace(&mut self.last_bytes, bytes));
        // A negative difference wraps, and so does the sum, to the correct value.
        self.counts.0.held.fetch_add(now.wrapping_sub(last), Ordering::Relaxed);
        self.counts.0.held_bytes.fetch_add(bytes.wrapping_sub(last_bytes), Ordering::Relaxed);
    }
}

/// The committed batches, if this process decides about batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitProgress {
    /// Their number since the process was started.
    pub batches: u64,
    /// The last one and its time.
    pub last: Option<(BatchId, BatchTime)>,
}

/// A plugin by its own name, its component's digest, and its signers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PluginId {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `sha256:…` of its component.
    pub digest: String,
    /// The trusted signers of its package; absent if it is not a package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<Vec<String>>,
}

impl PluginId {
    /// Creates it from a plugin's description.
    pub fn new(plugin: &Plugin, description: &Description) -> PluginId {
        let (name, version) = (description.name.clone(), description.version.clone());
        PluginId { name, version, digest: plugin.digest(), signed_by: plugin.signers().map(<[String]>::to_vec) }
    }
}

/// The cost of a stage's plugin calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginCosts {
    /// The plugin.
    #[serde(flatten)]
    pub plugin: PluginId,
    /// The cost of all workers together.
    #[serde(flatten)]
    pub costs: Costs,
}

/// The counts at one moment. The names of the fields are those in statuses and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Rows emitted (for a sink: received).
    pub rows: u64,
    /// Rows/s in the last ten seconds.
    #[serde(default)]
    pub rows_per_second: u64,
    /// Rows rejected.
    pub rejected: u64,
    /// Rows that came too late.
    pub late: u64,
    /// Rejected rows that no stage or sink reads.
    pub unread_rejected: u64,
    /// Current entries in the state of operators: keys, open windows, waiting rows, timers.
    #[serde(skip)]
    pub held: u64,
    /// Their bytes.
    #[serde(skip)]
    pub held_bytes: u64,
    /// Counters of the plugin.
    pub counters: BTreeMap<String, u64>,
    /// The cost of its plugin's calls or, for a query, of each of its plugins.
    pub plugins: Vec<PluginCosts>,
}

impl Snapshot {
    /// Adds the counts of another process.
    pub fn add(&mut self, other: Snapshot) {
        self.rows = self.rows.saturating_add(other.rows);
        self.rows_per_second = self.rows_per_second.saturating_add(other.rows_per_second);
        self.rejected = self.rejected.saturating_add(other.rejected);
        self.late = self.late.saturating_add(other.late);
        self.unread_rejected = self.unread_rejected.saturating_add(other.unread_rejected);
        self.held = self.held.saturating_add(other.held);
        self.held_bytes = self.held_bytes.saturating_add(other.held_bytes);
        add_counted(&mut self.counters, other.counters);
        for PluginCosts { plugin, costs } in other.plugins {
            add_costs(&mut self.plugins, &plugin, &costs);
        }
    }
}

impl Metrics {
    /// Returns the counts of this source, stage or sink.
    pub fn counts(&self, name: &str) -> Counts {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let new =
            || Counts(Arc::new(CountsInner { keep_batches: self.keep_batches.clone(), ..CountsInner::default() }));
        by_name.entry(name.to_owned()).or_insert_with(new).clone()
    }

    /// The job has reached this batch: a sink has committed it, or a checkpoint after it is published.
    pub fn progressed(&self, batch: BatchId) {
        self.progress.fetch_max(batch.0, Ordering::Relaxed);
    }

    /// Returns the highest batch of [`Metrics::progressed`]; zero: none.
    pub fn progress(&self) -> BatchId {
        BatchId(self.progress.load(Ordering::Relaxed))
    }

    /// A batch is committed in all sinks. Called on worker 0, in order.
    pub fn committed(&self, batch: BatchId, time: BatchTime) {
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        committed.batches = committed.batches.saturating_add(1);
        committed.last = Some((batch, time));
        drop(committed);
        self.batches.record_commit(batch);
    }

    /// Returns the history of the last batches.
    pub fn batches(&self) -> &Batches {
        &self.batches
    }

    /// Returns the committed batches; on process 0.
    pub fn batches_committed(&self) -> CommitProgress {
        *self.committed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Restores plugins' counters of the loaded checkpoint: stage, counter, count.
    pub fn restore_counters(&self, counted: Vec<(String, String, u64)>) {
        let mut restored = self.restored.lock().unwrap_or_else(PoisonError::into_inner);
        for (stage, counter, count) in counted {
            restored.entry(stage).or_default().insert(counter, count);
        }
    }

    /// Keeps plugins' counters by batch from now on, until they are taken.
    pub fn keep_counted_batches(&self) {
        let by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        self.keep_batches.store(true, Ordering::Release);
        by_name.values().for_each(|counts| counts.counters().iter().for_each(Counters::keep_batches));
    }

    /// Takes what plugins counted in batches up to this one, by stage.
    pub fn take_counted(&self, last: BatchId) -> BTreeMap<String, CounterValues> {
        let by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = by_name.iter().map(|(name, counts)| {
            let taken = counts.counters().iter().map(|counters| counters.take(last)).collect::<Vec<_>>();
            (name.clone(), sum(taken))
        });
        taken.filter(|(_, counted)| !counted.is_empty()).collect()
    }

    /// Returns all current counts: of this process since it was started; counters, on process 0, since the job's first startup.
    pub fn snapshot(&self) -> BTreeMap<String, Snapshot> {
        let by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let restored = self.restored.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = |(name, counts): (&String, &Counts)| {
            let mut snapshot = counts.snapshot();
            snapshot.counters = sum([restored.get(name).cloned().unwrap_or_default(), snapshot.counters]);
            (name.clone(), snapshot)
        };
        by_name.iter().map(snapshot).collect()
    }
}

impl Counts {
    /// Counts emitted rows.
    pub fn add_rows(&self, rows: usize) {
        let before = self.0.rows.fetch_add(rows as u64, Ordering::Relaxed);
        if rows > 0 {
            self.0.rate.counts(before);
        }
    }

    /// Uncounts rows that were counted as emitted: the stage's `filter` dropped them.
    pub fn drop_rows(&self, rows: usize) {
        self.0.rows.fetch_sub(rows as u64, Ordering::Relaxed);
    }

    /// Counts rejected rows.
    pub fn add_rejected(&self, rows: usize) {
        self.0.rejected.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Counts rows that came too late.
    pub fn add_late(&self, rows: usize) {
        self.0.late.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Adds the counters of a caller of the stage's plugin; they are summed over callers.
    pub fn share_counters(&self, counters: Counters) {
        let mut all = self.counters();
        if self.0.keep_batches.load(Ordering::Acquire) {
            counters.keep_batches();
        }
        all.push(counters);
    }

    /// Adds the shared cost and counters of a plugin's connectors to other systems.
    pub fn share_tally(&self, plugin: PluginId, tally: &ConnectorTally) {
        self.share_account(plugin, tally.account.clone());
        self.share_counters(tally.counters.clone());
    }

    /// Adds the account of a caller of this plugin for the stage; accounts are summed over callers.
    pub fn share_account(&self, plugin: PluginId, account: Account) {
        self.accounts().push((plugin, account));
    }

    /// Logs rejected rows that no stage or sink reads: the first ones as text, all of them as a count.
    /// `reason_at` is the index of the reason among the columns; by default it is the last one.
    pub fn log_rejected(&self, name: &str, batch: BatchId, rejected: &RecordBatch, reason_at: Option<usize>) {
        let before = self.0.unread_rejected.fetch_add(rejected.num_rows() as u64, Ordering::Relaxed);
        let room = REJECTED_ROWS_LOGGED.saturating_sub(before) as usize;
        for row in 0..rejected.num_rows().min(room) {
            // The advice is at the end of a reason.
            let text_of = |column: usize, chars_max: usize| {
                let text = array_value_to_string(rejected.column(column), row).unwrap_or_default();
                let mut rest = text.chars().map(|c| if c.is_control() { ' ' } else { c });
                let start: String = rest.by_ref().take(chars_max).collect();
                if rest.next().is_some() { start + "…" } else { start }
            };
            let cell = |column: usize| text_of(column, 120);
            let reason_at = reason_at.unwrap_or(rejected.num_columns().saturating_sub(1));
            let values: Vec<String> = (0..reason_at).map(cell).collect();
            let plugin = plugin_columns(rejected, reason_at);
            let by =
                plugin.map_or(String::new(), |[name, version]| format!(" (plugin {} {})", cell(name), cell(version)));
            let reason = text_of(reason_at, 1_000);
            tracing::warn!("`{name}`{by} rejected a row in batch {batch}: {reason}; the row: {:?}", values.join(", "));
        }
        if before < REJECTED_ROWS_LOGGED && before + rejected.num_rows() as u64 > REJECTED_ROWS_LOGGED {
            tracing::warn!("`{name}` rejects more rows; to see them all, read `{name}.rejected` with a sink");
        }
    }

    fn counters(&self) -> MutexGuard<'_, Vec<Counters>> {
        self.0.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accounts(&self) -> MutexGuard<'_, Vec<(PluginId, Account)>> {
        self.0.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the reporter of one operator's state of this stage on one worker.
    pub fn state_size(&self, stage: &str) -> StateSize {
        StateSize {
            counts: self.clone(),
            last: 0,
            last_bytes: 0,
            number: NEXT_STATE.fetch_add(1, Ordering::Relaxed),
            spread: None,
            kept: UnspillableState::default(),
            memory: Holder::new(format!("the state of stage `{stage}`")),
        }
    }

    /// Returns how the state is spread over key groups; `None` if unknown.
    pub fn spread(&self) -> Option<Spread> {
        let spreads = self.spreads();
        let mut all = spreads.values().cloned();
        let first = all.next()?;
        Some(all.fold(first, |mut sum, more| {
            sum.add(more);
            sum
        }))
    }

    fn spreads(&self) -> MutexGuard<'_, BTreeMap<u64, Spread>> {
        self.0.spreads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn snapshot(&self) -> Snapshot {
        let mut plugins = Vec::new();
        self.accounts().iter().for_each(|(plugin, account)| add_costs(&mut plugins, plugin, &account.costs()));
        let counters = sum(self.counters().iter().map(Counters::snapshot));
        let rows = self.0.rows.load(Ordering::Relaxed);
        Snapshot {
            rows,
            rows_per_second: self.0.rate.per_second(rows),
            rejected: self.0.rejected.load(Ordering::Relaxed),
            late: self.0.late.load(Ordering::Relaxed),
            unread_rejected: self.0.unread_rejected.load(Ordering::Relaxed),
            held: self.0.held.load(Ordering::Relaxed),
            held_bytes: self.0.held_bytes.load(Ordering::Relaxed),
            counters,
            plugins,
        }
    }
}

fn add_costs(all: &mut Vec<PluginCosts>, plugin: &PluginId, costs: &Costs) {
    match all.iter_mut().find(|known| known.plugin == *plugin) {
        Some(known) => known.costs.add(costs),
        None => all.push(PluginCosts { plugin: plugin.clone(), costs: costs.clone() }),
    }
}

fn sum(all: impl IntoIterator<Item = CounterValues>) -> CounterValues {
    let mut sum = CounterValues::new();
    all.into_iter().for_each(|counted| add_counted(&mut sum, counted));
    sum
}
