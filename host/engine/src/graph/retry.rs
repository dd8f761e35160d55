//! Implicit sources: rows that `millstream retry` returns to a stage that rejected them.

use super::{Graph, rejected_name};
use crate::operators::stage::{InputNode, StageNode};
use millstream_job::connector::Kinds;
use millstream_job::retry_source;
use millstream_job::spec::{JobSpec, OnError, OperatorSpec, SourceSpec, StageSpec};
use millstream_rows::decode;
use std::collections::BTreeSet;

/// Returns a source for each stage that may get retried rows, and for each of its inputs if it has several. It needs positions in checkpoints, or
/// rows would come again at every start.
///
/// A stage whose `on_error` is no longer `reject` keeps its source as long as the directory exists. Otherwise the checkpoint would lose the
/// positions, and the rows would be processed twice if the setting is restored.
pub(super) fn sources(spec: &JobSpec, kinds: &Kinds) -> Vec<SourceSpec> {
    if spec.checkpoint.is_none() {
        return Vec::new();
    }
    let is_there = |stage: &StageSpec| spec.origin.dir.join(retry_source::dir(&spec.name, &stage.name)).is_dir();
    let mut sources = Vec::new();
    for stage in &spec.stages {
        let plugin = match &stage.operator {
            OperatorSpec::Plugin(plugin) | OperatorSpec::Cogroup { plugin, .. } => plugin,
            _ => continue,
        };
        if plugin.on_error != OnError::Reject && !is_there(stage) {
            continue;
        }
        if stage.reads_side_by_side() {
            let inputs: BTreeSet<&String> = stage.reads().collect();
            sources.extend(
                inputs.into_iter().filter_map(|input| kinds.retry_source(&spec.name, &stage.name, Some(input))),
            );
        } else {
            sources.extend(kinds.retry_source(&spec.name, &stage.name, None));
        }
    }
    sources
}

/// Returns the name of the source of retried rows for a stage's input.
fn name_of(stage: &StageSpec, input: &InputNode) -> String {
    retry_source::name_of(&stage.name, stage.reads_side_by_side().then_some(&input.name))
}

/// Adds the retried rows to the union of an input.
pub(super) fn join(spec: &JobSpec, stage: &StageSpec, inputs: &mut [InputNode]) {
    for input in inputs {
        let name = name_of(stage, input);
        if spec.sources.iter().any(|source| source.name == name) {
            input.from.push(name);
        }
    }
}

/// Sets the columns of a stage's retry sources to those of its inputs, which are known only now. Their rows follow no clock.
pub(super) fn settle(graph: &mut Graph, stage: &StageNode) {
    for input in &stage.inputs {
        let Some(name) = input.from.iter().find(|name| retry_source::is_name(name)) else { continue };
        for source in graph.spec.sources.iter_mut().filter(|source| source.name == *name) {
            source.set_columns(&input.schema);
        }
        graph.streams.insert(name.clone(), input.schema.clone());
        graph.streams.insert(rejected_name(name), decode::rejected_schema());
    }
}
