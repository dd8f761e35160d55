//! Ends of windows of processing time, across restarts: every worker knows when the job's first batch began.

use crate::checkpoint::JobCheckpoints;
use crate::checkpoint::changes::TableChanges;
use crate::checkpoint::types::REMOVED;
use crate::operators::context::{BuildContext, StagesAround};
use crate::operators::stage::StageNode;
use crate::operators::window::check::window_ends_table;
use crate::operators::window::state::partial::BatchEnd;
use crate::operators::window::state::schedule;
use crate::operators::window::state::schedule::WindowSchedule;
use crate::state::table_checkpoint::TableCheckpoint;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::datatypes::TimestampMicrosecondType;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchId;
use millstream_base::time::microseconds;
use millstream_rows::batch::keys::Keys;
use millstream_rows::batch::types::timestamps;
use std::sync::Arc;
use std::time::Duration;

/// The key with the start of the first batch.
const FIRST: &str = "first";
/// The key with the end of the next window, if the last batch does not determine it.
const NEXT: &str = "next";
/// The keys of the slides with batches that may have rows, followed by numbers: the ends of the first and the last of a run.
const RUN: [&str; 2] = ["run from ", "run to "];

/// What windows of processing time depend on, besides their stage.
pub struct WindowsJob<'r> {
    /// The batch interval.
    pub batch: Duration,
    /// The neighboring stages.
    pub graph: &'r dyn StagesAround,
    /// Checkpoints of the job, if it has any.
    pub checkpoints: Option<&'r Arc<JobCheckpoints>>,
}

/// The ends of a stage's windows, on one worker.
pub struct WindowEnds {
    schedule: WindowSchedule,
    interval_us: i64,
    checkpoint: Option<TableCheckpoint>,
    /// The rows of the table that this worker owns, as in the files.
    written: Vec<(String, i64)>,
}

impl WindowEnds {
    /// Creates the state, resuming from the loaded checkpoint.
    pub fn new(stage: &StageNode, window: (i64, i64), build: &BuildContext<'_, '_>) -> Result<WindowEnds> {
        let complete = WindowsJob { batch: build.job.batch, graph: build.graph, checkpoints: build.checkpoints };
        WindowEnds::of_worker(stage, window, (build.index, build.peers), &complete)
    }

    /// As [`WindowEnds::new`], on worker `index` of `peers`.
    pub fn of_worker(
        stage: &StageNode,
        (size_us, slide_us): (i64, i64),
        (index, peers): (usize, usize),
        job: &WindowsJob<'_>,
    ) -> Result<WindowEnds> {
        let checkpoints = job.checkpoints;
        let table = window_ends_table(&stage.name);
        let checkpoint = checkpoints.and_then(|checkpoints| TableCheckpoint::open(checkpoints, &table, index, peers));
        let mut schedule = WindowSchedule::new(size_us, slide_us, job.graph.reads_only_sources(stage));
        if let (Some(checkpoint), Some(checkpoints)) = (&checkpoint, checkpoints) {
            let files = checkpoint.load_all()?.unwrap_or_default();
            let time = |key: &str| files.iter().rev().find_map(|rows| time_of(rows, key));
            if let Some(origin_us) = time(FIRST) {
                let run = |number: u32| {
                    let [from, to] = RUN.map(|name| time(&format!("{name}{number}")));
                    from.zip(to)
                };
                let more =
                    time(NEXT).map(|next_us| schedule::SavedSchedule { next_us, runs: (0..).map_while(run).collect() });
                let last_us = checkpoints.loaded.last_batch.1.0;
                schedule = schedule.restored(origin_us, last_us, more);
            }
        }
        let interval_us = microseconds(job.batch);
        let mut ends = WindowEnds { schedule, interval_us, checkpoint, written: Vec::new() };
        ends.written = ends.owned()?;
        Ok(ends)
    }

    /// Processes a batch.
    pub fn batch(&mut self, BatchContext { time, made_up, .. }: BatchContext) -> Result<BatchEnd> {
        let end_us = self.schedule.batch(time.0, self.interval_us, made_up);
        let (Some(origin_us), Some(next_us)) = (self.schedule.origin_us(), self.schedule.next_us()) else {
            return Err(Error::bug("a batch before the first"));
        };
        Ok(BatchEnd { origin_us, time_us: time.0, holds: self.schedule.includes(time.0), end_us, next_us })
    }

    /// Returns the schedule of ends, for use without batches.
    pub fn into_schedule(self) -> WindowSchedule {
        self.schedule
    }

    /// Returns when the first batch began.
    pub fn origin_us(&self) -> Option<i64> {
        self.schedule.origin_us()
    }

    /// Returns the end of the next window.
    pub fn next_us(&self) -> Option<i64> {
        self.schedule.next_us()
    }

    /// Returns the changes for a checkpoint.
    pub fn barrier(&mut self, after: BatchId) -> Result<Option<TableChanges>> {
        let rows = self.owned()?;
        let Some(checkpoint) = self.checkpoint.as_mut().filter(|_| rows != self.written) else { return Ok(None) };
        let names: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(name, _)| name)));
        let times = timestamps(rows.iter().map(|(_, time_us)| *time_us));
        let removed: ArrayRef = Arc::new(BooleanArray::from(vec![false; rows.len()]));
        let columns = [("name", names, false), ("time", times, true), (REMOVED, removed, false)];
        let base = RecordBatch::try_from_iter_with_nullable(columns).map_err(Error::arrow)?;
        self.written = rows;
        Ok(Some(checkpoint.base(after, base)))
    }

    /// Returns the table rows of this worker.
    fn owned(&self) -> Result<Vec<(String, i64)>> {
        let Some(checkpoint) = &self.checkpoint else { return Ok(Vec::new()) };
        let mut rows: Vec<(String, i64)> =
            self.schedule.origin_us().map(|at| (FIRST.to_owned(), at)).into_iter().collect();
        if let Some(schedule::SavedSchedule { next_us, runs }) = self.schedule.save() {
            rows.push((NEXT.to_owned(), next_us));
            for (number, (from, to)) in runs.into_iter().enumerate() {
                let [from_key, to_key] = RUN.map(|name| format!("{name}{number}"));
                rows.extend([(from_key, from), (to_key, to)]);
            }
        }
        if rows.is_empty() {
            return Ok(rows);
        }
        let keys: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(name, _)| name)));
        let hashes = Keys::encode(std::slice::from_ref(&keys), rows.len()).map_err(Error::arrow)?.hashes();
        Ok(rows.into_iter().zip(hashes).filter(|(_, hash)| checkpoint.owns(*hash)).map(|(row, _)| row).collect())
    }
}

/// Returns the time of a key in rows of the table.
fn time_of(rows: &RecordBatch, key: &str) -> Option<i64> {
    let names = rows.column_by_name("name")?.as_string_opt::<i32>()?;
    let times = rows.column_by_name("time")?.as_primitive_opt::<TimestampMicrosecondType>()?;
    let row = (0..names.len()).find(|row| names.value(*row) == key)?;
    times.is_valid(row).then(|| times.value(row))
}
