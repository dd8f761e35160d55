//! Input and output of building a stage. The operators share this module; only their dispatch depends on all of them.

use crate::checkpoint::JobCheckpoints;
use crate::operators::plugin::versions::Versions;
use crate::operators::stage::StageNode;
use crate::state::StateTable;
use crate::state::ahead::TablesAhead;
use crate::state::spill::budget::StateBudget;
use crate::state::spill::stage_budget::StageBudget;
use crate::state::table_checkpoint::TableCheckpoint;
use crate::timely_ext::{ChangesStream, LATE, Parts, ProgressStream, Ticks};
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_job::spec::JobSpec;
use millstream_metrics::Metrics;
use millstream_rows::batch::part::Part;
use std::sync::Arc;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::vec::{Filter, Map};

/// Queries of operators about the neighboring stages.
pub trait StagesAround {
    /// Returns whether the order of these streams' parts is the same for any number of workers.
    fn order_is_fixed(&self, streams: &[String]) -> bool;

    /// Returns whether a stage reads only sources, so that batches without source rows bring it no rows.
    fn reads_only_sources(&self, stage: &StageNode) -> bool;

    /// Returns whether rows of a stage share a stream with those of others, somewhere downstream.
    fn shares_stream(&self, stage: &str) -> bool;

    /// Returns the progress index of a stage, if a stage downstream needs to know what it holds back.
    fn held_index(&self, stage: &StageNode) -> Option<u32>;
}

/// Plugins of pending upgrades, as needed by a stage whose next version may migrate its state.
pub trait NextVersions: Send + Sync {
    /// Returns the stage after this upgrade, if the upgrade concerns that stage.
    fn next_of(&self, id: u64, stage: &str) -> Option<Arc<StageNode>>;

    /// Vetoes an upgrade.
    fn veto(&self, id: u64, why: String);
}

/// Everything needed to build a stage.
pub struct BuildContext<'s, 'r> {
    /// The ticks of this worker.
    pub ticks: Ticks<'s>,
    /// Which sources have ended, and the progress of stages that hold back rows of this one.
    pub upstream: ProgressStream<'s>,
    /// The lookup table, in a stage that has one.
    pub table: Option<Parts<'s>>,
    /// Index of this worker.
    pub index: usize,
    /// Number of workers.
    pub peers: usize,
    /// The job as written by its author.
    pub job: &'r JobSpec,
    /// The neighboring stages.
    pub graph: &'r dyn StagesAround,
    /// Memory budget of state; set if rows may be spilled to files.
    pub budget: Option<&'r Arc<StateBudget>>,
    /// The first error, which fails the job.
    pub failure: &'r Failure,
    /// What was counted.
    pub metrics: &'r Metrics,
    /// Checkpoints of the job, if it has any.
    pub checkpoints: Option<&'r Arc<JobCheckpoints>>,
    /// Tables loaded before this process took over the job.
    pub ahead: Option<&'r Arc<TablesAhead>>,
    /// The plugins in use.
    pub versions: &'r Versions,
    /// The plugins of pending upgrades.
    pub next_versions: Arc<dyn NextVersions>,
}

impl BuildContext<'_, '_> {
    /// Returns this worker's access to a table in checkpoints; `None` if the job has no checkpoints.
    pub fn table_checkpoint(&self, table: &str) -> Option<TableCheckpoint> {
        TableCheckpoint::open_ahead(self.checkpoints?, self.ahead, table, (self.index, self.peers))
    }

    /// As [`Self::table_checkpoint`]; also loads the checkpoint's rows of the keys that this worker owns into `table`.
    pub fn restore(&self, stage: &str, name: &str, table: &mut StateTable) -> Result<Option<TableCheckpoint>> {
        let checkpoint = self.table_checkpoint(name);
        if let Some(checkpoint) = &checkpoint {
            checkpoint.restore(table).map_err(in_checkpoint(stage))?;
        }
        Ok(checkpoint)
    }

    /// Makes a stage's table spill to files, if the job limits the memory of its state.
    pub fn spilling(&self, stage: &str, table: StateTable) -> Result<StateTable> {
        table.spilling_within(self.budget, self.failure, stage)
    }

    /// Returns the memory budget of a stage whose rows are still all in memory, if the job limits the memory.
    pub fn stage_budget(&self, stage: &str) -> Option<StageBudget> {
        self.budget.map(|budget| StageBudget::new(budget, self.failure, stage))
    }

    /// Returns the last batch of the loaded checkpoint, with its time; batch 0 if there is none.
    pub fn last_batch(&self) -> (BatchId, BatchTime) {
        self.checkpoints.map(|checkpoints| checkpoints.loaded.last_batch).unwrap_or_default()
    }
}

/// Wraps an error in a stage's part of the loaded checkpoint.
pub fn in_checkpoint(stage: &str) -> impl Fn(Error) -> Error {
    move |error| error.within(format!("stage `{stage}`: its state in the checkpoint"))
}

/// The input of an operator.
pub struct Input<'s> {
    /// The rows. [`Part::input`](millstream_rows::batch::part::Part::input) identifies the stage's input. In a stage with event time their last
    /// column is [`crate::event_time::TIME`], until a window removes it.
    pub parts: Parts<'s>,
    /// The progress of event time, in a stage that has it.
    pub progress: Option<ProgressStream<'s>>,
}

/// The output of a stage.
pub struct StageStreams<'s> {
    /// Its rows.
    pub rows: Parts<'s>,
    /// Its rejected rows.
    pub rejected: Parts<'s>,
    /// In the order of [`StageNode::sides`]: late rows, then branches.
    pub sides: Vec<Parts<'s>>,
    /// State changes for checkpoints.
    pub changes: Vec<ChangesStream<'s>>,
    /// Its progress, if it holds rows back.
    pub holds: Option<ProgressStream<'s>>,
}

impl<'s> StageStreams<'s> {
    /// Creates streams with rows and rejected rows only.
    pub fn new(rows: Parts<'s>, rejected: Parts<'s>) -> StageStreams<'s> {
        StageStreams { rows, rejected, sides: Vec::new(), changes: Vec::new(), holds: None }
    }

    /// Adds more rejected rows.
    #[must_use]
    pub fn with_rejected(self, more: Parts<'s>) -> StageStreams<'s> {
        StageStreams { rejected: self.rejected.concat(more), ..self }
    }
}

/// Splits late rows from the rejected ones, with which operators emit them: rejected, late.
pub fn split_late<'s>(rejected: Parts<'s>) -> (Parts<'s>, Parts<'s>) {
    let late = rejected.clone().filter(|part: &Part| part.input == LATE).map(|part| Part { input: 0, ..part });
    (rejected.filter(|part: &Part| part.input != LATE), late)
}
