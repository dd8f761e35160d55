//! When windows of processing time are due, across restarts: every worker knows when the job's first batch began.

use super::stages::At;
use crate::batch::keys::Keys;
use crate::batch::types::timestamps;
use crate::checkpoint::state_file::REMOVED;
use crate::error::{Error, Result};
use crate::graph::{StageNode, begun_table};
use crate::ids::{BatchId, BatchTime};
use crate::state::keeper::Keeper;
use crate::timely_ext::Changes;
use crate::window::{due::Due, microseconds};
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::datatypes::TimestampMicrosecondType;
use std::sync::Arc;

/// The only key of the table.
const KEY: &str = "first";

/// The ends of a stage's windows, on one worker.
pub struct Begun {
    due: Due,
    interval_us: i64,
    keeper: Option<Keeper>,
    /// Whether a file holds when the first batch began.
    written: bool,
}

impl Begun {
    /// As the checkpoint that is loaded has it.
    pub fn new(stage: &StageNode, slide_us: i64, at: &At<'_, '_>) -> Result<Begun> {
        let keeper = Keeper::open(at.running, &begun_table(&stage.name), at.index, at.peers);
        let mut due = Due { slide_us, origin_us: None, last_us: None };
        if let (Some(keeper), Some(kept)) = (&keeper, &at.running.kept) {
            let files = keeper.load_all(at.running)?.unwrap_or_default();
            let times = files.iter().filter_map(|rows| rows.column_by_name("time"));
            let first =
                |times: &ArrayRef| times.as_primitive_opt::<TimestampMicrosecondType>()?.values().first().copied();
            due.origin_us = times.filter_map(first).next();
            due.last_us = due.origin_us.map(|_| kept.loaded.1.0);
        }
        let interval_us = microseconds(at.running.graph.spec.batch);
        Ok(Begun { written: due.origin_us.is_some(), due, interval_us, keeper })
    }

    /// A batch of this time: whether a window ends with it.
    pub fn next(&mut self, time: BatchTime) -> bool {
        self.due.next(time.0, self.interval_us)
    }

    /// When the first batch began.
    pub fn origin_us(&self) -> Option<i64> {
        self.due.origin_us
    }

    /// The first moment after the last batch at which a window ends.
    pub fn end_us(&self) -> Option<i64> {
        self.due.end_us()
    }

    /// What a checkpoint has to hold of it.
    pub fn barrier(&mut self, after: BatchId) -> Result<Option<Changes>> {
        let (Some(keeper), Some(origin_us), false) = (&mut self.keeper, self.due.origin_us, self.written) else {
            return Ok(None);
        };
        self.written = true;
        let key: ArrayRef = Arc::new(StringArray::from(vec![KEY]));
        let hashes = Keys::encode(std::slice::from_ref(&key), 1).map_err(Error::arrow)?.hashes();
        if !hashes.iter().all(|hash| keeper.owns(*hash)) {
            return Ok(None);
        }
        let time = timestamps([origin_us]);
        let removed: ArrayRef = Arc::new(BooleanArray::from(vec![false]));
        let columns = [("name", key, false), ("time", time, true), (REMOVED, removed, false)];
        let rows = RecordBatch::try_from_iter_with_nullable(columns).map_err(Error::arrow)?;
        Ok(Some(keeper.base(after, rows)))
    }
}
