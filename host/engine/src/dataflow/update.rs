//! Stages with a plugin of world `update`. In event time the watermark is what timers go by; no row is late.

mod stage;

use super::by_key::split_parts;
use super::event_time;
use super::plugin::{Current, WholeRows, caller};
use super::shadow::{ShadowRun, ShadowSlot, ShadowState};
use super::stages::{BuildContext, Input, StageStreams, split_late};
use crate::batch::part::Part;
use crate::checkpoint::changes::Changes;
use crate::context::{BatchContext, Hold, Watermark};
use crate::error::{Error, Result};
use crate::fault;
use crate::graph::{Operator, PluginNode, StageNode, UpdateNode};
use crate::ids::{BatchId, BatchTime};
use crate::metrics::{Counts, Held};
use crate::running::upgrade::Upgrades;
use crate::state::StateTable;
use crate::state::keeper::TableCheckpoint;
use crate::state::timers;
use crate::timely_ext::{BatchWork, Output, each_batch_that_holds, each_part};
pub use stage::{Start, UpdateStage};
use timely::dataflow::operators::Concat;

/// Builds the stage.
pub fn build<'s>(
    stage: &StageNode,
    node: &PluginNode,
    update: &UpdateNode,
    input: Input<'s>,
    at: &BuildContext<'s, '_>,
) -> Result<StageStreams<'s>> {
    let metrics = at.running.metrics.of(&stage.name);
    let caller = caller(node, &metrics);
    let mut whole = WholeRows::new(stage, node, at.running);
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
    let (place, ticks) = (at.running.graph.held_place(stage), at.ticks.clone());
    let (rows, refused, changes, holds) =
        each_batch_that_holds(split, time, place, ticks, &stage.name, failure, |part| part.to, work);
    let (refused, late) = split_late(refused);
    let sides = if timed { vec![late] } else { Vec::new() };
    let holds = Some(holds);
    Ok(StageStreams { sides, changes: vec![changes], holds, ..StageStreams::of(rows, refused.concat(nulls)) })
}

/// An update stage on one worker, with what checkpoints hold of it.
struct StateWork {
    state: UpdateStage,
    metrics: Counts,
    held: Held,
    keeper: Option<TableCheckpoint>,
    timers: Option<TableCheckpoint>,
    current: Current,
    upgrades: Upgrades,
    /// What runs beside it.
    shade: ShadowSlot<ShadowState>,
    /// The table for the upgrade that takes place next, where it keeps other columns.
    migrated: Option<StateTable>,
}

impl StateWork {
    fn new(
        stage: &StageNode,
        plugin: &PluginNode,
        mut state: UpdateStage,
        metrics: Counts,
        at: &BuildContext<'_, '_>,
    ) -> Result<StateWork> {
        let keeper = TableCheckpoint::open(at.running.kept.as_ref(), &stage.name, at.index, at.peers);
        let timers =
            TableCheckpoint::open(at.running.kept.as_ref(), &timers::table_name(&stage.name), at.index, at.peers);
        if let Some(keeper) = &keeper {
            state.restore(plugin, keeper, timers.as_ref())?;
        }
        let (current, upgrades) = (Current::of(stage, at.running), at.running.upgrades.clone());
        let shade = ShadowSlot::default();
        let held = metrics.held(&stage.name);
        Ok(StateWork { state, metrics, held, keeper, timers, current, upgrades, shade, migrated: None })
    }

    /// From the batch that begins now on, the stage is this one.
    fn renew(&mut self, stage: &StageNode) -> Result<()> {
        let Operator::Update(node, update) = &stage.operator else {
            return Err(Error::bug("a stage that updates no more"));
        };
        let migrated = self.migrated.take();
        if let (Some(keeper), true) = (&mut self.keeper, migrated.is_some()) {
            keeper.forget_files();
        }
        let caller = caller(node, &self.metrics);
        self.state.renew(UpdateNode::clone(update), stage.rejected.clone(), caller, migrated);
        Ok(())
    }
}

impl BatchWork for StateWork {
    fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        if let Some(stage) = self.current.renewed() {
            self.renew(&stage)?;
        }
        self.shade.look(&self.current, self.state.account(), ShadowRun::of_state);
        match self.shade.in_batch(context) {
            None => self.state.batch(context, parts, output)?,
            Some(beside) => {
                beside.begin(context, &mut self.state);
                self.state.batch(context, parts.clone(), output)?;
                beside.batch(context, parts, &mut self.state, output);
            }
        }
        let timers = self.state.timers().map_or(0, |timers| timers.count());
        // How many bytes that is, the stage tells itself after each call.
        self.held.set(self.state.table().len() as u64 + timers, 0);
        self.metrics.add_rows(output.rows.iter().map(|part| part.rows.num_rows()).sum());
        self.metrics.add_rejected(output.rejected.iter().map(|part| part.rows.num_rows()).sum());
        Ok(())
    }

    fn hold(&mut self, watermark: Watermark, seen_us: Option<i64>) -> Hold {
        // What a plugin puts out for a timer is, for all that the host knows, as old as the timer.
        let first = self.state.timers().and_then(|timers| timers.first_us());
        let from_us = watermark.now.map(|now| first.map_or(now, |first| first.min(now)));
        Hold { from_us, until_us: seen_us }
    }

    fn barrier(&mut self, after: BatchId) -> Result<Vec<Changes>> {
        let Some(keeper) = &mut self.keeper else { return Ok(Vec::new()) };
        let mut changes: Vec<Changes> = keeper.changes(after, self.state.table())?.into_iter().collect();
        if let (Some(keeper), Some(timers)) = (&mut self.timers, self.state.timers()) {
            changes.extend(keeper.changes(after, timers.table())?);
        }
        Ok(changes)
    }

    /// Migrates the state now, beside what there is: if that fails, nothing has happened and the old plugin goes on.
    fn swap(&mut self, id: u64, time: BatchTime) {
        self.migrated = None;
        let Some(next) = self.upgrades.next_of(id, self.state.name()) else { return };
        match self.state.migrated(&next, time) {
            Ok(migrated) => {
                self.migrated = migrated;
                fault::point("upgrade.migrated");
            }
            Err(error) => self.upgrades.object(id, error.message),
        }
    }
}
