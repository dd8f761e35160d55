//! What a stage is built from, and what becomes of it: below all operators, so that only their dispatch knows them all.

use crate::checkpoint::JobCheckpoints;
use crate::operators::plugin::versions::Versions;
use crate::operators::stage::StageNode;
use crate::state::StateTable;
use crate::state::ahead::TablesAhead;
use crate::state::spill::budget::StateBudget;
use crate::state::spill::stage_budget::StageBudget;
use crate::state::table_checkpoint::TableCheckpoint;
use crate::timely_ext::{ChangesStream, LATE, Parts, ProgressStream, Ticks};
use millstream_base::batch::part::Part;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::job::spec::JobSpec;
use millstream_metrics::Metrics;
use std::sync::Arc;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::vec::{Filter, Map};

/// What operators ask about the stages around their own.
pub trait StagesAround {
    /// Whether the parts of these streams have the same places on any number of workers.
    fn places_are_fixed(&self, streams: &[String]) -> bool;

    /// Whether all rows of a stage come right out of sources, so that there are none in batches into which sources put nothing.
    fn reads_only_sources(&self, stage: &StageNode) -> bool;

    /// Whether rows of a stage come into one stream with those of others, somewhere behind it.
    fn meets_others(&self, stage: &str) -> bool;

    /// The place of a stage, where a stage behind it wants to know what it holds back.
    fn held_place(&self, stage: &StageNode) -> Option<u32>;
}

/// The plugins that are to take the places of those that run, as a stage sees them whose state its next version may migrate.
pub trait NextVersions: Send + Sync {
    /// A stage as it will be if this upgrade takes place and is one of that stage.
    fn next_of(&self, id: u64, stage: &str) -> Option<Arc<StageNode>>;

    /// This upgrade cannot take place.
    fn object(&self, id: u64, why: String);
}

/// All that a stage needs of its surroundings while it is built.
pub struct BuildContext<'s, 'r> {
    /// The ticks that this worker sees.
    pub ticks: Ticks<'s>,
    /// Which sources have ended, and how far the stages have come that hold rows of this one back.
    pub upstream: ProgressStream<'s>,
    /// The table from outside, in a stage that has one.
    pub table: Option<Parts<'s>>,
    /// This worker.
    pub index: usize,
    /// How many workers there are.
    pub peers: usize,
    /// The job as its author wrote it.
    pub job: &'r JobSpec,
    /// The stages around this one.
    pub graph: &'r dyn StagesAround,
    /// What the rows of state in memory count against, where others may lie in files.
    pub budget: Option<&'r Arc<StateBudget>>,
    /// The first error, which ends the job.
    pub failure: &'r Failure,
    /// What was counted.
    pub metrics: &'r Metrics,
    /// What is kept of the job where it keeps checkpoints.
    pub checkpoints: Option<&'r Arc<JobCheckpoints>>,
    /// What was loaded before this process took the job over from others.
    pub ahead: Option<&'r Arc<TablesAhead>>,
    /// The plugins that run now.
    pub versions: &'r Versions,
    /// Those that are to take their places.
    pub next_versions: Arc<dyn NextVersions>,
}

impl BuildContext<'_, '_> {
    /// What this worker reads and writes of a table in checkpoints; `None` where the job keeps none.
    pub fn table_checkpoint(&self, table: &str) -> Option<TableCheckpoint> {
        TableCheckpoint::open_ahead(self.checkpoints?, self.ahead, table, (self.index, self.peers))
    }

    /// The same, with the rows of the table as the checkpoint that is loaded holds them, of the keys that this worker owns.
    pub fn restore(&self, stage: &str, name: &str, table: &mut StateTable) -> Result<Option<TableCheckpoint>> {
        let checkpoint = self.table_checkpoint(name);
        if let Some(checkpoint) = &checkpoint {
            checkpoint.restore(table).map_err(in_checkpoint(stage))?;
        }
        Ok(checkpoint)
    }

    /// The table of a stage, whose rows may lie in files where the job says how much memory its state may take.
    pub fn spilling(&self, stage: &str, table: StateTable) -> Result<StateTable> {
        table.spilling_within(self.budget, self.failure, stage)
    }

    /// How much memory the rows of a stage may take while all of them are in memory, where the job says so.
    pub fn stage_budget(&self, stage: &str) -> Option<StageBudget> {
        self.budget.map(|budget| StageBudget::new(budget, self.failure, stage))
    }

    /// The last batch of the checkpoint that is loaded, with its time; batch 0 where there is none.
    pub fn last_batch(&self) -> (BatchId, BatchTime) {
        self.checkpoints.map(|checkpoints| checkpoints.loaded.last_batch).unwrap_or_default()
    }
}

/// An error in what the checkpoint that is loaded holds of a stage.
pub fn in_checkpoint(stage: &str) -> impl Fn(Error) -> Error {
    move |error| error.within(format!("stage `{stage}`: its state in the checkpoint"))
}

/// What an operator works on.
pub struct Input<'s> {
    /// The rows. [`Part::input`](millstream_base::batch::part::Part::input) tells the stage's inputs apart. In a stage with event
    /// time their last column is [`crate::event_time::TIME`], until a window took it off.
    pub parts: Parts<'s>,
    /// The progress of event time, in a stage that has it.
    pub progress: Option<ProgressStream<'s>>,
}

/// What a stage puts out.
pub struct StageStreams<'s> {
    /// Its rows.
    pub rows: Parts<'s>,
    /// Its rejected rows.
    pub rejected: Parts<'s>,
    /// As [`StageNode::sides`]: late rows, then branches.
    pub sides: Vec<Parts<'s>>,
    /// What checkpoints have to hold of it.
    pub changes: Vec<ChangesStream<'s>>,
    /// How far it has come, where it holds rows back.
    pub holds: Option<ProgressStream<'s>>,
}

impl<'s> StageStreams<'s> {
    /// Rows and rejected rows alone.
    pub fn of(rows: Parts<'s>, rejected: Parts<'s>) -> StageStreams<'s> {
        StageStreams { rows, rejected, sides: Vec::new(), changes: Vec::new(), holds: None }
    }

    /// The same with more rejected rows.
    #[must_use]
    pub fn with_rejected(self, more: Parts<'s>) -> StageStreams<'s> {
        StageStreams { rejected: self.rejected.concat(more), ..self }
    }
}

/// Takes late rows out of the rejected ones, among which operators put them: rejected, late.
pub fn split_late<'s>(rejected: Parts<'s>) -> (Parts<'s>, Parts<'s>) {
    let late = rejected.clone().filter(|part: &Part| part.input == LATE).map(|part| Part { input: 0, ..part });
    (rejected.filter(|part: &Part| part.input != LATE), late)
}
