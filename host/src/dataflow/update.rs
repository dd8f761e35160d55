//! Stages with a plugin of world `update`. In event time the watermark is what timers go by; no row is late.

use super::by_key::split_parts;
use super::event_time;
use super::plugin::{WholeRows, caller};
use super::stages::{At, Input, StageStreams, split_late};
use crate::batch::part::Part;
use crate::error::Result;
use crate::graph::{PluginNode, StageNode, UpdateNode};
use crate::ids::BatchId;
use crate::metrics::Counts;
use crate::state::keeper::Keeper;
use crate::state::timers;
use crate::state::update::UpdateStage;
use crate::timely_ext::{BatchContext, BatchWork, Changes, Output, each_batch_in_time, each_part};
use timely::dataflow::operators::Concat;

/// Builds the stage.
pub fn build<'s>(
    stage: &StageNode,
    node: &PluginNode,
    update: &UpdateNode,
    input: Input<'s>,
    at: &At<'s, '_>,
) -> Result<StageStreams<'s>> {
    let metrics = at.running.metrics.of(&stage.name);
    let caller = caller(node, &metrics);
    let mut whole = WholeRows::new(stage, node, &metrics);
    let failure = at.running.failure.clone();
    let timed = input.progress.is_some();
    let (checked, nulls) =
        each_part(input.parts, &format!("{} nulls", stage.name), failure.clone(), move |context, part, output| {
            let part = if timed { event_time::without_time(part)? } else { part };
            let rows = whole.of(context, &part, output)?;
            output.push(context, part.order.clone(), rows);
            Ok(())
        });
    let (split, _) = split_parts(stage, checked, at);
    let state = UpdateStage::new(update.clone(), stage.rejected.clone(), caller, at.index, at.peers)?;
    let work = StateWork::new(stage, node, state, metrics, at)?;
    let time = event_time::of(stage, input.progress, at)?;
    let (rows, refused, changes) =
        each_batch_in_time(split, time, at.ticks.clone(), &stage.name, failure, |part| part.to, work);
    let (refused, late) = split_late(refused);
    let sides = if timed { vec![late] } else { Vec::new() };
    Ok(StageStreams { sides, changes: vec![changes], ..StageStreams::of(rows, refused.concat(nulls)) })
}

/// An update stage on one worker, with what checkpoints hold of it.
struct StateWork {
    state: UpdateStage,
    metrics: Counts,
    keeper: Option<Keeper>,
    timers: Option<Keeper>,
}

impl StateWork {
    fn new(
        stage: &StageNode,
        plugin: &PluginNode,
        mut state: UpdateStage,
        metrics: Counts,
        at: &At<'_, '_>,
    ) -> Result<StateWork> {
        let keeper = Keeper::open(at.running, &stage.name, at.index, at.peers);
        let timers = Keeper::open(at.running, &timers::table_name(&stage.name), at.index, at.peers);
        if let Some(keeper) = &keeper {
            state.restore(plugin, keeper, timers.as_ref(), at.running)?;
        }
        Ok(StateWork { state, metrics, keeper, timers })
    }
}

impl BatchWork for StateWork {
    fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        self.state.batch(context, parts, output)?;
        self.metrics.add_rows(output.rows.iter().map(|part| part.rows.num_rows()).sum());
        self.metrics.add_rejected(output.rejected.iter().map(|part| part.rows.num_rows()).sum());
        Ok(())
    }

    fn barrier(&mut self, after: BatchId) -> Result<Vec<Changes>> {
        let Some(keeper) = &mut self.keeper else { return Ok(Vec::new()) };
        let mut changes: Vec<Changes> = keeper.changes(after, self.state.table())?.into_iter().collect();
        if let (Some(keeper), Some(timers)) = (&mut self.timers, self.state.timers()) {
            changes.extend(keeper.changes(after, timers.table())?);
        }
        Ok(changes)
    }
}
