//! Stages with a `cogroup` plugin. The rows of all inputs go to the worker that owns their key. The plugin is called with all rows of a key, input by
//! input.

use crate::exchange::{parts_of, split_by_key};
use crate::operators::by_key::{hashes, keys};
use crate::operators::cogroup::node::{CogroupInput, CogroupNode};
use crate::operators::context::{BuildContext, Input, StageStreams, split_late};
use crate::operators::event_time;
use crate::operators::plugin::current::CurrentPlugin;
use crate::operators::plugin::run::caller;
use crate::operators::plugin::shadow::run::{CallerShadow, ShadowSlot};
use crate::operators::stage::{Operator, StageNode};
use crate::operators::update::state::GroupCursor;
use crate::operators::window::node::WindowNode;
use crate::operators::window::state::bounds;
use crate::state::StateTable;
use crate::timely_ext::{BatchWork, Output, each_batch_with_event_time, each_part};
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::Schema;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::PartOrder;
use millstream_metrics::Counts;
use millstream_plugins::plugin::{Caller, Cogrouped, Cogroups};
use millstream_rows::batch::group::sort_by_rank;
use millstream_rows::batch::part::Part;
use millstream_rows::batch::rejected::{RejectedRow, RejectedRows, without_nulls};
use millstream_rows::batch::slices::RowBytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use timely::dataflow::operators::Concat;

/// Builds the stage.
pub fn build<'s>(
    stage: &StageNode,
    node: &CogroupNode,
    input: Input<'s>,
    build: &BuildContext<'s, '_>,
) -> Result<StageStreams<'s>> {
    let metrics = build.metrics.counts(&stage.name);
    let failure = build.failure.clone();
    let timed = input.progress.is_some();
    let (readable, nulls) = each_part(input.parts, &format!("{} by key", stage.name), failure.clone(), {
        let (mut node, metrics, peers) = (node.clone(), metrics.clone(), build.peers);
        let mut rejected = stage.rejected.clone();
        let mut current = CurrentPlugin::new(stage, build.versions);
        move |context, part, output| {
            if let Some(stage) = current.renewed() {
                (node, rejected) = (node_of(&stage)?.clone(), stage.rejected.clone());
            }
            let part = if timed { event_time::without_time(part)? } else { part };
            let input = node.input(part.input)?;
            let (rows, nulls) = without_nulls(part.rows.clone(), &input.reads, &input.needs).map_err(Error::arrow)?;
            metrics.add_rejected(nulls.len());
            if !nulls.is_empty() {
                let bad_rows = rejected_rows(&rejected, context, input, &part.rows, &nulls)?;
                output.reject(context, part.order.clone().then(part.input.into()), bad_rows);
            }
            let split = split_by_key(&rows, &hashes(&input.key, &rows)?, peers).map_err(Error::arrow)?;
            output.rows.extend(parts_of(split, &part).filter(|part| part.rows.num_rows() > 0));
            Ok(())
        }
    });
    let work = CogroupWork {
        node: node.clone(),
        rejected: stage.rejected.clone(),
        caller: caller(&node.plugin, &metrics),
        current: CurrentPlugin::new(stage, build.versions),
        shadow: ShadowSlot::default(),
        metrics,
        worker: build.index as u64,
        windowed: stage.window.as_ref().is_some_and(WindowNode::of_event_time),
    };
    let time = event_time::progress_and_clock(stage, input.progress, build)?;
    let (rows, bad_rows, changes) =
        each_batch_with_event_time(readable, time, build.ticks.clone(), &stage.name, failure, |part| part.to, work);
    let (bad_rows, late) = split_late(bad_rows);
    let sides = if timed { vec![late] } else { Vec::new() };
    Ok(StageStreams { sides, changes: vec![changes], ..StageStreams::new(rows, bad_rows.concat(nulls)) })
}

/// Returns the operator of a stage whose plugin may have been replaced.
fn node_of(stage: &StageNode) -> Result<&CogroupNode> {
    match &stage.operator {
        Operator::Cogroup(node) => Ok(node),
        _ => Err(Error::bug("a stage that no longer cogroups")),
    }
}

/// Returns rejected rows of an input, with the columns of the input.
fn rejected_rows(
    rejected: &RejectedRows,
    context: BatchContext,
    input: &CogroupInput,
    rows: &RecordBatch,
    bad_rows: &[RejectedRow],
) -> Result<RecordBatch> {
    let own: Vec<usize> = (0..input.own_columns).collect();
    let rows = rows.project(&own).map_err(Error::arrow)?;
    rejected.rows(context.id, &input.name, &rows, bad_rows)
}

/// The stage on one worker.
struct CogroupWork {
    node: CogroupNode,
    rejected: RejectedRows,
    caller: Caller,
    current: CurrentPlugin,
    /// The next plugin version, if it runs in a shadow.
    shadow: ShadowSlot<Caller>,
    metrics: Counts,
    worker: u64,
    /// Whether rows come from windows, whose bounds are the last two columns.
    windowed: bool,
}

/// Rejected rows follow those that were rejected for a null key, which keep the order of their parts.
const REJECTED_ORDER: u64 = u64::MAX;

/// The rows of each input that are grouped together: those of the batch, or of one window.
type RowsByInput = Vec<Vec<RecordBatch>>;

impl BatchWork for CogroupWork {
    fn tables(&mut self) -> Vec<&mut StateTable> {
        Vec::new()
    }

    fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        if let Some(stage) = self.current.renewed() {
            let node = node_of(&stage)?;
            self.caller = caller(&node.plugin, &self.metrics);
            (self.node, self.rejected) = (node.clone(), stage.rejected.clone());
        }
        self.shadow.update(&self.current, self.caller.account(), CallerShadow::of_caller);
        if !self.windowed {
            let mut meeting = self.empty_rows();
            for part in parts {
                meeting.get_mut(part.input as usize).ok_or_else(unknown_input)?.push(part.rows);
            }
            return self.meet(context, PartOrder::at(self.worker), &meeting, output);
        }
        let mut windows: BTreeMap<(i64, i64), RowsByInput> = BTreeMap::new();
        for part in parts {
            for (window, indexes) in bounds::by_window(&part.rows)? {
                let meeting = windows.entry(window).or_insert_with(|| self.empty_rows());
                let rows = bounds::take(&part.rows, indexes)?;
                meeting.get_mut(part.input as usize).ok_or_else(unknown_input)?.push(rows);
            }
        }
        for ((end_us, start_us), meeting) in windows {
            let order = PartOrder::at_window(end_us, start_us).then(self.worker);
            self.meet(context, order, &meeting, output)?;
        }
        Ok(())
    }
}

fn unknown_input() -> Error {
    Error::bug("a part of an unknown input")
}

impl CogroupWork {
    fn empty_rows(&self) -> RowsByInput {
        vec![Vec::new(); self.node.inputs.len()]
    }

    /// Calls the plugin with all groups of these rows, in the order of the hashes of their keys.
    fn meet(
        &mut self,
        context: BatchContext,
        order: PartOrder,
        meeting: &RowsByInput,
        output: &mut Output,
    ) -> Result<()> {
        let grouped = Grouped::new(&self.node, meeting)?;
        let (mut start, mut call) = (GroupCursor::default(), 0);
        while start.group < grouped.ends.len() {
            let end = start.next_call(&grouped.ends, |group| grouped.bytes_of(&self.node, group));
            self.call(context, order.clone().then(call), &grouped, start.group, end.group, output)?;
            (start, call) = (end, call + 1);
        }
        Ok(())
    }

    /// Calls the plugin with some of the groups.
    fn call(
        &mut self,
        context: BatchContext,
        order: PartOrder,
        grouped: &Grouped,
        first: usize,
        end: usize,
        output: &mut Output,
    ) -> Result<()> {
        let mut inputs = Vec::new();
        let mut all_rows = Vec::new();
        for (input, (rows, ends)) in self.node.inputs.iter().zip(&grouped.inputs) {
            let row =
                |group: usize| group.checked_sub(1).and_then(|group| ends.get(group)).copied().unwrap_or_default();
            let (from, to) = (row(first), row(end));
            let rows = rows.slice(from as usize, to.saturating_sub(from) as usize);
            let ends = ends.get(first..end).unwrap_or_default().iter().map(|end| end - from);
            inputs.push((rows.project(&input.reads).map_err(Error::arrow)?, UInt32Array::from_iter_values(ends)));
            all_rows.push(rows);
        }
        let keys = grouped.keys.slice(first, end - first);
        let groups = Cogroups { keys, inputs };
        let made = self.caller.cogroup(context.call(), &groups)?;
        if let Some(run) = self.shadow.in_batch(context) {
            run.cogroup(context, &groups, &all_rows, &made);
        }
        let Cogrouped { rows, rejections } = made;
        self.metrics.add_rows(rows.num_rows());
        output.push(context, order.clone(), rows);
        for (position, ((input, rows), bad_rows)) in self.node.inputs.iter().zip(&all_rows).zip(rejections).enumerate()
        {
            self.metrics.add_rejected(bad_rows.len());
            if !bad_rows.is_empty() {
                let bad_rows = rejected_rows(&self.rejected, context, input, rows, &bad_rows)?;
                output.reject(context, order.clone().then(position as u64).prefixed(REJECTED_ORDER), bad_rows);
            }
        }
        Ok(())
    }
}

/// Rows of all inputs, sorted by group.
struct Grouped {
    /// The key columns, one row per group, in the order of the hashes.
    keys: RecordBatch,
    /// For each input, all columns of its rows, and the end of each group.
    inputs: Vec<(RecordBatch, Vec<u32>)>,
    /// End of each group in the rows of all inputs together.
    ends: Vec<u32>,
}

impl Grouped {
    /// Returns the bytes of a group: its key, and the columns that the plugin reads.
    fn bytes_of(&self, node: &CogroupNode, group: usize) -> usize {
        let key = RowBytes::measure([&self.keys]).of_range(&(group..group + 1));
        node.inputs.iter().zip(&self.inputs).fold(key, |sum, (input, (rows, ends))| {
            let end = |group: usize| ends.get(group).map_or(0, |end| *end as usize);
            let of_group = group.checked_sub(1).map_or(0, end)..end(group);
            sum.saturating_add(RowBytes::of_columns(rows, &input.reads).of_range(&of_group))
        })
    }

    fn new(node: &CogroupNode, meeting: &RowsByInput) -> Result<Grouped> {
        let fields = node.key.fields().iter().cloned().collect();
        let mut table = StateTable::new(fields, Arc::new(Schema::empty()), None).map_err(Error::arrow)?;
        let mut slots_of_rows = Vec::new();
        let mut inputs = Vec::new();
        for (input, parts) in node.inputs.iter().zip(meeting) {
            let rows = concat_batches(&input.schema, parts).map_err(Error::arrow)?;
            let keys = keys(&input.key, &rows)?;
            let (view, hashes) = (keys.view(), keys.hashes());
            let slots = hashes.into_iter().enumerate().map(|(row, hash)| table.slot(view.get(row), hash));
            slots_of_rows.push(slots.collect::<Vec<u32>>());
            inputs.push(rows);
        }
        let groups = table.slots();
        let ranks = table.ranks();
        let mut sums = vec![0u32; groups];
        let mut sorted = Vec::new();
        for (rows, slots) in inputs.iter().zip(&slots_of_rows) {
            let (ends, order) = sort_by_rank(slots.iter().map(|slot| ranks[*slot as usize]), groups);
            sums.iter_mut().zip(&ends).for_each(|(sum, end)| *sum = sum.saturating_add(*end));
            sorted.push((take_record_batch(rows, &UInt32Array::from(order)).map_err(Error::arrow)?, ends));
        }
        let mut slots: Vec<u32> = (0..groups as u32).collect();
        table.sort(&mut slots);
        let keys = table.keys(&slots).map_err(Error::arrow)?;
        let keys = RecordBatch::try_new(node.key.clone(), keys).map_err(Error::arrow)?;
        Ok(Grouped { keys, inputs: sorted, ends: sums })
    }
}
