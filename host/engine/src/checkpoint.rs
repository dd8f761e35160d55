//! What survives a crash: plans of batches, checkpoints of state, and the manifest that says which of them count.
//!
//! The rule: every sink remembers the last batch that it committed, and a batch replays bit for bit. What to load,
//! replay, skip and delete is decided by pure functions ([`resolve`], [`gc`]) over facts ([`types`]); reading and
//! writing stay behind the [`store`].

pub mod changes;
pub mod counters;
pub mod fold;
pub mod gc;
pub mod manifest;
pub mod plan;
pub mod positions;
pub mod read;
pub mod record;
pub mod resolve;
pub mod save;
pub mod state_file;
pub mod store;
pub mod types;

use crate::batch::chunk::Chunk;
use crate::batch::position::{self, Positions};
use crate::fault;
use crate::ids::{BatchId, BatchTime};
use crate::job::spec::{CheckpointEvery, Origin, SourceSpec};
use crate::owner::Owner;
use crate::receiver::replay;
use plan::PlanWriter;
use positions::PositionTable;
use save::CheckpointWriter;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use store::Store;
use types::{Piece, Table};

/// The folders of a store.
pub const FOLDERS: [&str; 4] = ["state", "plans", "jobs", "blobs"];

/// What all workers of a process share where the job keeps checkpoints.
pub struct Kept {
    /// Who this start is, for sinks.
    pub owner: Owner,
    /// Where checkpoints are.
    pub store: Arc<dyn Store>,
    /// How often one is written.
    pub every: CheckpointEvery,
    /// Writes plans.
    pub plan: PlanWriter,
    /// Writes checkpoints.
    pub saver: CheckpointWriter,
    /// The job's tables, with the files of the checkpoint that is loaded.
    pub tables: Vec<Table>,
    /// Places of the tables that the checkpoint holds, perhaps without a row. Others begin with their initial states.
    pub held: BTreeSet<usize>,
    /// Those of them that have other state columns there, by place, as they are there: the plugin migrates what is loaded.
    /// They have no files in `tables`: none that is there may count for the new ones.
    pub old: BTreeMap<usize, Table>,
    /// The batches to run again, in order.
    pub replay: Vec<(BatchId, BatchTime)>,
    /// The checkpoint that is loaded; batch 0 where there is none.
    pub loaded: (BatchId, BatchTime),
    /// The first batch after those that are run again.
    pub first: BatchId,
    /// The first new batch of each start whose batches may be run again, this one's included, and when it started, by the
    /// machine's clock in microseconds.
    pub resumed: BTreeMap<BatchId, i64>,
    /// Where each source goes on; `None` where another process receives it.
    pub sources: Vec<Mutex<Option<SourceStart>>>,
    /// What the sinks have committed.
    pub markers: Markers,
    /// What workers have loaded.
    pub restored: Restored,
    /// Nobody else may use the folder meanwhile.
    pub lock: Option<Lock>,
}

/// Holds the folder of a job for its process.
pub type Lock = Arc<store::Guard>;

/// Where a source goes on.
#[derive(Default)]
pub struct SourceStart {
    /// Its positions at the checkpoint.
    pub table: PositionTable,
    /// What the batches to run again hold of it.
    pub pieces: BTreeMap<BatchId, Piece>,
    /// Rows that were received and are in no batch that counts: they come first.
    pub leftovers: Vec<Chunk>,
}

impl SourceStart {
    /// The files that the batches to run again read are looked at: what was brought back for them is not new.
    pub fn know_again(&mut self, source: &SourceSpec, origin: &Origin) {
        let chunks = self.pieces.values().flat_map(|piece| &piece.chunks);
        let files: BTreeSet<String> = chunks.map(|chunk| chunk.extent.file.clone()).collect();
        let moved = self.pieces.values_mut().flat_map(|piece| &mut piece.moved);
        replay::brought_back(source, origin, &files, moved);
    }

    /// Its positions after the batches to run again.
    pub fn end(&self) -> Positions {
        let mut positions = self.table.positions().clone();
        position::move_all(&mut positions, self.pieces.values().flat_map(|piece| piece.moved.iter().cloned()));
        positions
    }
}

impl Kept {
    /// Where a source goes on; once.
    pub fn take_source(&self, number: usize) -> Option<SourceStart> {
        self.sources.get(number)?.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Where the receiver of a source goes on, and the rows that come before what it receives. The rows are taken out.
    pub fn source(&self, number: usize) -> Option<(Positions, Vec<Chunk>)> {
        let mut start = self.sources.get(number)?.lock().unwrap_or_else(PoisonError::into_inner);
        let start = start.as_mut()?;
        let mut positions = start.end();
        let leftovers = std::mem::take(&mut start.leftovers);
        let rows: u64 = leftovers.iter().map(|chunk| chunk.rows() as u64).sum();
        if rows > 0 {
            let position = positions.entry(String::new()).or_default();
            position.offset = position.offset.saturating_add(rows);
        }
        Some((positions, leftovers))
    }

    /// A worker of this process has built its graph; the last of them tells what the job goes on from.
    pub fn loaded_by_worker(&self, workers: usize) {
        if self.restored.workers.fetch_add(1, Ordering::AcqRel) + 1 < workers {
            return;
        }
        fault::point("start.loaded");
        let Owner { job, generation, .. } = &self.owner;
        let (batch, again) = (self.loaded.0, self.replay.len());
        if batch == BatchId(0) && again == 0 {
            tracing::info!("`{job}` begins at batch {}; checkpoints in {}", self.first, self.store.place());
            return;
        }
        tracing::info!(
            "`{job}` goes on after the checkpoint of batch {batch} (start {generation}): {} state rows, {again} batch{} to \
             run again, loaded in {:.2} s",
            self.restored.rows.load(Ordering::Relaxed),
            if again == 1 { "" } else { "es" },
            self.restored.since.elapsed().as_secs_f64(),
        );
    }

    /// The place of a table among [`Kept::tables`].
    pub fn table(&self, of: types::TableOf, name: &str) -> Option<usize> {
        self.tables.iter().position(|table| table.of == of && table.name == name)
    }
}

/// How much the workers of a process have loaded.
pub struct Restored {
    rows: AtomicU64,
    workers: AtomicUsize,
    since: Instant,
}

impl Default for Restored {
    fn default() -> Restored {
        Restored { rows: AtomicU64::new(0), workers: AtomicUsize::new(0), since: Instant::now() }
    }
}

impl Restored {
    /// A stage on one worker has loaded so many rows.
    pub fn add(&self, rows: usize) {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
    }
}

/// The last batch that each sink has committed, by name, where it remembers that. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Markers(Arc<Mutex<BTreeMap<String, BatchId>>>);

impl Markers {
    /// A sink stands here now.
    pub fn set(&self, sink: &str, committed: Option<BatchId>) {
        let mut markers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (markers.get_mut(sink), committed) {
            (Some(marker), Some(committed)) => *marker = committed,
            (None, Some(committed)) => drop(markers.insert(sink.to_owned(), committed)),
            (_, None) => {}
        }
    }

    /// All of them.
    pub fn all(&self) -> BTreeMap<String, BatchId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
