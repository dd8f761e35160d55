//! Stages in the graph. What each is made of, in the order of the rows:
//!
//! ```text
//! inputs -> [event time] -> [window] -> operator -> [filter, select]
//! ```

use super::by_key::by_key_in_order;
use super::{
    aggregate, cogroup, enrich, event_time, join, latest, pattern, plugin, rows_window, sessions, shape, simple, sql,
    update, windowed,
};
use crate::graph::{Operator, StageNode};
use crate::running::Running;
use crate::state::StateTable;
use crate::state::spill::stage_budget::StageBudget;
use crate::state::table_checkpoint::TableCheckpoint;
use crate::timely_ext::{ChangesStream, LATE, Parts, ProgressStream, Ticks, each_part};
use crate::window::WindowNode;
use millstream_base::batch::part::Part;
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, BatchTime};
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::vec::{Filter, Map};

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
    /// The job that runs.
    pub running: &'r Running,
}

impl BuildContext<'_, '_> {
    /// What this worker reads and writes of a table in checkpoints; `None` where the job keeps none.
    pub fn table_checkpoint(&self, table: &str) -> Option<TableCheckpoint> {
        let checkpoints = self.running.checkpoints.as_ref()?;
        let ahead = self.running.options.ahead.as_ref();
        TableCheckpoint::open_ahead(checkpoints, ahead, table, (self.index, self.peers))
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
        table.spilling_within(self.running.graph.budget.as_ref(), &self.running.failure, stage)
    }

    /// How much memory the rows of a stage may take while all of them are in memory, where the job says so.
    pub fn stage_budget(&self, stage: &str) -> Option<StageBudget> {
        let budget = self.running.graph.budget.as_ref();
        budget.map(|budget| StageBudget::new(budget, &self.running.failure, stage))
    }

    /// The last batch of the checkpoint that is loaded, with its time; batch 0 where there is none.
    pub fn last_batch(&self) -> (BatchId, BatchTime) {
        self.running.checkpoints.as_ref().map(|checkpoints| checkpoints.loaded.last_batch).unwrap_or_default()
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

/// Builds a stage.
pub fn build<'s>(stage: &StageNode, parts: Parts<'s>, build: &BuildContext<'s, '_>) -> Result<StageStreams<'s>> {
    let Some(event_time) = &stage.event_time else {
        let input = Input { parts, progress: None };
        return shape::build(stage, operator(stage, input, build)?, build);
    };
    let timed = event_time::build(stage, event_time, parts, build);
    let input = Input { parts: timed.rows, progress: Some(timed.progress) };
    let streams = operator(stage, input, build)?.with_rejected(timed.rejected);
    shape::build(stage, streams, build)
}

fn operator<'s>(stage: &StageNode, input: Input<'s>, build: &BuildContext<'s, '_>) -> Result<StageStreams<'s>> {
    match (&stage.window, &stage.operator) {
        (Some(WindowNode::Session { .. }), Operator::Aggregate(_) | Operator::Reduce(_)) => {
            sessions::build(stage, input, build)
        }
        (Some(_), Operator::Aggregate(_) | Operator::Reduce(_)) => windowed::build(stage, input, build),
        // Over all rows, which the operator keeps itself.
        (Some(WindowNode::All), Operator::Simple(_) | Operator::Join(_)) => over_batches(stage, input, build),
        (Some(window), _) => {
            let windowed = rows_window::build(stage, window, input, build)?;
            let input = Input { parts: windowed.rows, progress: None };
            let mut streams = over_batches(stage, input, build)?.with_rejected(windowed.rejected);
            streams.sides.splice(0..0, windowed.sides);
            streams.changes.extend(windowed.changes);
            streams.holds = windowed.holds;
            Ok(streams)
        }
        (None, _) => over_batches(stage, input, build),
    }
}

/// An operator that works on the rows of a batch, whether they are its own or those of a window that ends with it.
fn over_batches<'s>(stage: &StageNode, input: Input<'s>, build: &BuildContext<'s, '_>) -> Result<StageStreams<'s>> {
    let parts = input.parts;
    let (rows, rejected) = match &stage.operator {
        Operator::Union => {
            let metrics = build.running.metrics.of(&stage.name);
            each_part(parts, &stage.name, build.running.failure.clone(), move |context, part, output| {
                metrics.add_rows(part.rows.num_rows());
                output.push(context, part.order, part.rows);
                Ok(())
            })
        }
        Operator::Transform(node) => {
            let parts = by_key_in_order(stage, parts, build);
            plugin::transform(stage, node, parts, build)
        }
        Operator::Aggregate(builtin) => aggregate::aggregate(stage, builtin, parts, build),
        Operator::Reduce(node) => aggregate::reduce(stage, node, parts, build)?,
        Operator::Update(node, update) => {
            return update::build(stage, node, update, Input { parts, progress: input.progress }, build);
        }
        Operator::Cogroup(node) => {
            return cogroup::build(stage, node, Input { parts, progress: input.progress }, build);
        }
        Operator::Sql(node) => return sql::build(stage, node, parts, build),
        Operator::Join(node) => return join::build(stage, node, Input { parts, progress: input.progress }, build),
        Operator::Enrich(node) => return enrich::build(stage, node, parts, build),
        Operator::Latest(node) => return latest::build(stage, node, parts, build),
        Operator::Pattern(node) => {
            return pattern::build(stage, node, Input { parts, progress: input.progress }, build);
        }
        Operator::Simple(node) => return simple::build(stage, node, Input { parts, progress: input.progress }, build),
    };
    Ok(StageStreams::of(rows, rejected))
}

/// Takes late rows out of the rejected ones, among which operators put them: rejected, late.
pub fn split_late<'s>(rejected: Parts<'s>) -> (Parts<'s>, Parts<'s>) {
    let late = rejected.clone().filter(|part: &Part| part.input == LATE).map(|part| Part { input: 0, ..part });
    (rejected.filter(|part: &Part| part.input != LATE), late)
}
