//! Sources that nobody wrote: rows that `millstream retry` gives back to a stage that rejected them.

use super::{Graph, rejected_name};
use crate::operators::stage::{InputNode, StageNode};
use millstream_base::decode;
use millstream_base::job::retry_source;
use millstream_base::job::spec::{JobSpec, OnError, OperatorSpec, SourceSpec, StageSpec};
use std::collections::BTreeSet;

/// A source for each stage that may be given rows back, and for each of its inputs where it has several. It needs positions
/// in checkpoints, or rows would come again with every start.
///
/// A stage whose `on_error` is no longer `reject` keeps its source as long as the folder is there: else the checkpoint
/// would forget what was read, and read it a second time should the line come back.
pub(super) fn sources(spec: &JobSpec) -> Vec<SourceSpec> {
    if spec.checkpoint.is_none() {
        return Vec::new();
    }
    let is_there = |stage: &StageSpec| spec.origin.folder.join(retry_source::folder(&spec.name, &stage.name)).is_dir();
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
            sources.extend(inputs.into_iter().map(|input| retry_source::source(&spec.name, &stage.name, Some(input))));
        } else {
            sources.push(retry_source::source(&spec.name, &stage.name, None));
        }
    }
    sources
}

/// The source of the rows that are given back to a stage's input.
fn name_of(stage: &StageSpec, input: &InputNode) -> String {
    retry_source::name_of(&stage.name, stage.reads_side_by_side().then_some(&input.name))
}

/// What is given back is one more part of the union that an input is.
pub(super) fn join(spec: &JobSpec, stage: &StageSpec, inputs: &mut [InputNode]) {
    for input in inputs {
        let name = name_of(stage, input);
        if spec.sources.iter().any(|source| source.name == name) {
            input.from.push(name);
        }
    }
}

/// Gives the sources of a stage the columns of its inputs, which are known only now. Its rows follow no clock.
pub(super) fn settle(graph: &mut Graph, stage: &StageNode) {
    for input in &stage.inputs {
        let Some(name) = input.from.iter().find(|name| retry_source::is_name(name)) else { continue };
        for source in graph.spec.sources.iter_mut().filter(|source| source.name == *name) {
            source.with_columns(&input.schema);
        }
        graph.streams.insert(name.clone(), input.schema.clone());
        graph.streams.insert(rejected_name(name), decode::rejected_schema());
    }
}
