//! Stages with an `update` plugin. In event time the watermark drives timers; no row is late.

use crate::checkpoint::changes::TableChanges;
use crate::operators::by_key::split_parts;
use crate::operators::context::{BuildContext, Input, NextVersions, StageStreams, split_late};
use crate::operators::event_time;
use crate::operators::plugin::current::CurrentPlugin;
use crate::operators::plugin::node::PluginNode;
use crate::operators::plugin::run::{ReadableRows, caller};
use crate::operators::plugin::shadow::run::{ShadowRun, ShadowSlot, ShadowState};
use crate::operators::stage::{Operator, StageNode};
use crate::operators::update::node::UpdateNode;
use crate::operators::update::state::UpdateStage;
use crate::state::table_checkpoint::{self, TableCheckpoint};
use crate::state::{StateTable, timers};
use crate::timely_ext::{BatchWork, Output, each_batch_with_holds, each_part};
use millstream_base::context::{BatchContext, Hold, Watermark};
use millstream_base::error::{Error, Result};
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_metrics::{Counts, StateSize};
use millstream_rows::batch::part::Part;
use std::sync::Arc;
use timely::dataflow::operators::Concat;

/// Builds the stage.
pub fn build<'s>(
    stage: &StageNode,
    node: &PluginNode,
    update: &UpdateNode,
    input: Input<'s>,
    build: &BuildContext<'s, '_>,
) -> Result<StageStreams<'s>> {
    let metrics = build.metrics.counts(&stage.name);
    let caller = caller(node, &metrics);
    let mut readable = ReadableRows::new(stage, node, build);
    let failure = build.failure.clone();
    let timed = input.progress.is_some();
    let (checked, nulls) =
        each_part(input.parts, &format!("{} nulls", stage.name), failure.clone(), move |context, part, output| {
            let part = if timed { event_time::without_time(part)? } else { part };
            let rows = readable.select(context, &part, output)?;
            output.push(context, part.order.clone(), rows);
            Ok(())
        });
    let split = split_parts(stage, checked, build);
    let state =
        UpdateStage::new(update.clone(), stage.rejected.clone(), caller, (build.index, build.peers), failure.clone())?;
    let work = StateWork::new(stage, node, state, metrics, build)?;
    let time = event_time::progress_and_clock(stage, input.progress, build)?;
    let (position, ticks) = (build.graph.held_index(stage), build.ticks.clone());
    let (rows, rejections, changes, holds) =
        each_batch_with_holds(split, time, position, ticks, &stage.name, failure, |part| part.to, work);
    let (rejections, late) = split_late(rejections);
    let sides = if timed { vec![late] } else { Vec::new() };
    let holds = Some(holds);
    Ok(StageStreams { sides, changes: vec![changes], holds, ..StageStreams::new(rows, rejections.concat(nulls)) })
}

/// An update stage on one worker, with its checkpoint state.
struct StateWork {
    state: UpdateStage,
    metrics: Counts,
    state_size: StateSize,
    checkpoint: Option<TableCheckpoint>,
    timers: Option<TableCheckpoint>,
    current: CurrentPlugin,
    next_versions: Arc<dyn NextVersions>,
    /// The next version, if it runs in a shadow.
    shadow: ShadowSlot<ShadowState>,
    /// The table for the next upgrade, if that has other state columns.
    migrated: Option<StateTable>,
}

impl StateWork {
    fn new(
        stage: &StageNode,
        plugin: &PluginNode,
        mut state: UpdateStage,
        metrics: Counts,
        build: &BuildContext<'_, '_>,
    ) -> Result<StateWork> {
        let checkpoint = build.table_checkpoint(&stage.name);
        let timers = build.table_checkpoint(&timers::table_name(&stage.name));
        if let Some(checkpoint) = &checkpoint {
            state.restore(plugin, checkpoint, timers.as_ref())?;
        }
        let (current, next_versions) = (CurrentPlugin::new(stage, build.versions), build.next_versions.clone());
        let shadow = ShadowSlot::default();
        let state_size = metrics.state_size(&stage.name);
        Ok(StateWork { state, metrics, state_size, checkpoint, timers, current, next_versions, shadow, migrated: None })
    }

    /// Replaces the stage, from the batch that begins now on.
    fn renew(&mut self, stage: &StageNode) -> Result<()> {
        let Operator::Update(node, update) = &stage.operator else {
            return Err(Error::bug("a stage that no longer updates"));
        };
        let migrated = self.migrated.take();
        if let (Some(checkpoint), true) = (&mut self.checkpoint, migrated.is_some()) {
            checkpoint.drop_peer_files();
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
        self.shadow.update(&self.current, self.state.account(), ShadowRun::of_state);
        match self.shadow.in_batch(context) {
            None => self.state.batch(context, parts, output)?,
            Some(run) => {
                run.begin(context, &mut self.state);
                self.state.batch(context, parts.clone(), output)?;
                run.batch(context, parts, &mut self.state, output);
            }
        }
        self.state.shrink()?;
        let timers = self.state.timers().map_or(0, |timers| timers.count());
        // For the job's memory limit, the stage counts its bytes itself after each call.
        let bytes = self.state.bytes();
        self.state_size.keep(self.state.kept_bytes());
        self.state_size.show(self.state.table().len() as u64 + timers, bytes);
        self.state_size.spread(|| self.state.table().spread());
        self.metrics.add_rows(output.rows.iter().map(|part| part.rows.num_rows()).sum());
        self.metrics.add_rejected(output.rejected.iter().map(|part| part.rows.num_rows()).sum());
        Ok(())
    }

    fn hold(&mut self, watermark: Watermark, seen_us: Option<i64>) -> Hold {
        // A plugin's output for a timer is considered as old as the timer.
        let first = self.state.timers().and_then(|timers| timers.first_us());
        let from_us = watermark.now.map(|now| first.map_or(now, |first| first.min(now)));
        Hold { from_us, until_us: seen_us }
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        self.state.tables().collect()
    }

    fn barrier(&mut self, after: BatchId) -> Result<Vec<TableChanges>> {
        let mut changes = table_checkpoint::changes(&mut self.checkpoint, after, self.state.table())?;
        if let Some(timers) = self.state.timers() {
            changes.extend(table_checkpoint::changes(&mut self.timers, after, timers.table())?);
        }
        Ok(changes)
    }

    /// Migrates a copy of the state now. If that fails, nothing has changed and the old plugin continues.
    fn swap(&mut self, id: u64, time: BatchTime) {
        self.migrated = None;
        let Some(next) = self.next_versions.next_of(id, self.state.name()) else { return };
        match self.state.migrated(&next, time) {
            Ok(migrated) => {
                self.migrated = migrated;
                fault::point("upgrade.migrated");
            }
            Err(error) => self.next_versions.veto(id, error.message),
        }
    }
}
