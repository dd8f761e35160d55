//! Stages that hold rows back: which of them are upstream of the clocks of a stage, and whether their rows keep their times.

use super::{Graph, part_of};
use crate::event_time::{HoldingStage, HoldingStages};
use crate::operators::join::state::{ColumnSource, Side};
use crate::operators::pattern::check::MATCH_TIMES;
use crate::operators::simple::SimpleNode;
use crate::operators::stage::{InputNode, Operator, StageNode};
use crate::operators::window::node::{WINDOW_END, WINDOW_START, WindowNode};
use millstream_base::ids::ClockId;
use millstream_sql::expression::Expression;
use std::collections::{BTreeMap, BTreeSet};

/// Returns the stages that hold back rows of a stage's clocks. `times`: the expressions for the time of a row, by input.
pub(super) fn holding_stages(graph: &Graph, times: &[Expression], inputs: &[InputNode]) -> HoldingStages {
    let streams = inputs.iter().map(|input| input.from.len()).sum();
    let mut holding = HoldingStages::new();
    for (input, time) in inputs.iter().zip(times) {
        for stream in &input.from {
            let own = graph.stages.iter().find(|stage| stage.name == *stream);
            if own.is_some_and(|stage| comes_in_order(stage, time)) {
                continue;
            }
            for clock_id in graph.clocks.get(stream).into_iter().flatten() {
                let Some(producer) = making_stream(graph, stream, *clock_id) else { continue };
                let mut found = BTreeMap::new();
                add_holding(graph, producer, &mut found, &mut BTreeSet::new());
                if let Some(stage) = own
                    && let Some(held) = found.get_mut(&graph.stage_index(&stage.name))
                {
                    held.keeps_times = keeps_times(stage, time);
                }
                if !found.is_empty() {
                    holding.entry(graph.clock_among(stream, streams, *clock_id)).or_default().extend(found);
                }
            }
        }
    }
    holding
}

/// Returns the stream from which a clock's rows come, if stages made them: this one, or one of several from which it is merged.
fn making_stream<'g>(graph: &'g Graph, stream: &'g str, clock_id: ClockId) -> Option<&'g str> {
    if clock_id == ClockId::MADE {
        return Some(stream);
    }
    let index = (clock_id.stream as usize).checked_sub(graph.spec.sources.len())?;
    graph.spec.stages.get(index).map(|stage| stage.name.as_str())
}

/// Finds the nearest stages upstream of a stream that hold rows back; those in `seen` are done.
fn add_holding<'g>(
    graph: &'g Graph,
    stream: &'g str,
    found: &mut BTreeMap<u32, HoldingStage>,
    seen: &mut BTreeSet<&'g str>,
) {
    let Some(stage) = graph.stages.iter().find(|stage| stage.name == part_of(stream)) else { return };
    if !seen.insert(&stage.name) {
        return;
    }
    if stage.holds_rows() {
        let holding = HoldingStage { name: stage.name.clone(), keeps_times: false };
        found.insert(graph.stage_index(&stage.name), holding);
        return;
    }
    let streams = stage.inputs.iter().flat_map(|input| &input.from);
    streams.for_each(|stream| add_holding(graph, stream, found, seen));
}

/// Returns whether a stage emits aggregates over windows, and the time is one by which they are ordered.
fn comes_in_order(stage: &StageNode, time: &Expression) -> bool {
    let bounds: &[&str] = match stage.window {
        Some(WindowNode::Sliding { update: false, .. }) => &[WINDOW_START, WINDOW_END],
        Some(WindowNode::Session { update: false, .. }) => &[WINDOW_END],
        _ => &[],
    };
    aggregates(stage) && own_column(stage, time).is_some_and(|name| bounds.contains(&name))
}

fn aggregates(stage: &StageNode) -> bool {
    matches!(stage.operator, Operator::Aggregate(_) | Operator::Reduce(_))
}

/// Returns the column of a stage's operator that the time expression names, if the stage has no `select`.
fn own_column<'g>(stage: &'g StageNode, time: &Expression) -> Option<&'g str> {
    let selects = stage.shape.as_ref().is_some_and(|shape| shape.select.is_some());
    let field = stage.output.fields().get(time.column_index().filter(|_| !selects)?)?;
    Some(field.name())
}

/// Returns whether a time of a stage's rows is that of one of their input rows, as the stage itself reads it, or that of a window or a match.
fn keeps_times(stage: &StageNode, time: &Expression) -> bool {
    let (Some(mut index), Some(event_time)) = (time.column_index(), &stage.event_time) else { return false };
    if aggregates(stage) {
        return own_column(stage, time).is_some_and(|name| [WINDOW_START, WINDOW_END].contains(&name));
    }
    if matches!(stage.operator, Operator::Pattern(_)) {
        return own_column(stage, time).is_some_and(|name| MATCH_TIMES.contains(&name));
    }
    if let Some(select) = stage.shape.as_ref().and_then(|shape| shape.select.as_ref()) {
        let Some(selected) = select.get(index).and_then(Expression::column_index) else { return false };
        index = selected;
    }
    let is_time = |side: Side, index: usize| {
        event_time.times.get(side.index()).is_some_and(|time| time.column_index() == Some(index))
    };
    match &stage.operator {
        Operator::Union | Operator::Simple(SimpleNode::Deduplicate { .. }) => is_time(Side::First, index),
        Operator::Join(node) => {
            let of = |side: Side, index: &usize| {
                node.layouts[side.index()].get(*index).is_some_and(|index| is_time(side, *index))
            };
            match node.joined.sources.get(index) {
                Some(ColumnSource::First(index)) => of(Side::First, index),
                // The second side of an as-of join is older.
                Some(ColumnSource::Second(index)) => node.interval.is_some() && of(Side::Second, index),
                Some(ColumnSource::Both(_)) | None => false,
            }
        }
        _ => false,
    }
}

impl Graph {
    /// Returns the index of the stage in the job.
    pub fn stage_index(&self, stage: &str) -> u32 {
        self.spec.stages.iter().position(|spec| spec.name == stage).unwrap_or_default() as u32
    }
}
