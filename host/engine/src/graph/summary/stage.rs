//! Describes a stage, including defaults that were not written.

use super::super::{Graph, rejected_name};
use super::plugin;
use crate::event_time::node::EventTimeNode;
use crate::operators::stage::{Operator, StageNode};
use crate::operators::stage_text::time;
use crate::operators::{description, window};
use millstream_job::retry_source;
use millstream_job::spec::{OnError, StageSpec};
use millstream_rows::batch::types;

/// Returns the lines below the one with the stage's columns, in the order of processing.
pub(super) fn lines(graph: &Graph, stage: &StageNode) -> Vec<String> {
    let Some(spec) = graph.spec.stages.iter().find(|spec| spec.name == stage.name) else { return Vec::new() };
    let mut lines = Vec::new();
    lines.extend(stage.window.as_ref().map(|window| window::check::summary(window, graph.spec.batch)));
    lines.extend(stage.event_time.as_ref().map(|time| event_time(spec, time, &stage.operator)));
    lines.extend(description::operator(spec));
    if let Operator::Sql(node) = &stage.operator {
        lines.extend(node.lines());
    }
    if let Some(node) = stage.plugin() {
        let description = &node.description;
        let (world, digest) = (node.plugin.world(), node.plugin.digest());
        lines.push(format!("plugin {} {} ({world}), {digest}", description.name, description.version));
    }
    lines.extend(plugin::lines(spec));
    lines.extend(rejected(graph, stage, spec));
    let dir = graph.spec.sources.iter().find_map(|source| retry_source::dir_of(source, &stage.name));
    lines.extend(dir.map(|path| format!("rows of `millstream retry` are read from {}", path.display())));
    lines.extend(spec.filter.as_ref().map(|text| format!("filter {}", on_one_line(text))));
    lines.extend(spec.select.as_ref().map(|text| format!("select {}", on_one_line(text))));
    lines
}

/// Describes the columns of the stage's rejected rows, if they are used.
fn rejected(graph: &Graph, stage: &StageNode, spec: &StageSpec) -> Option<String> {
    let name = rejected_name(&stage.name);
    let rejects = spec.plugins().iter().any(|plugin| plugin.on_error == OnError::Reject);
    let stages = graph.spec.stages.iter().flat_map(StageSpec::reads);
    let mut read = stages.chain(graph.spec.sinks.iter().flat_map(|sink| &sink.from));
    let is_written = rejects || read.any(|from| *from == name);
    is_written.then(|| format!("rejected rows to {name}: {}", types::describe(&stage.rejected.schema)))
}

pub(super) fn event_time(spec: &StageSpec, node: &EventTimeNode, operator: &Operator) -> String {
    let times = spec.event_time.iter().flat_map(|spec| &spec.time).map(|text| on_one_line(text)).collect::<Vec<_>>();
    let idle = match node.idle_us {
        Some(idle) => format!("a source without rows for {} does not hold back the watermark", time(idle)),
        None => "every source holds back the watermark".into(),
    };
    let ahead = match node.ahead_us_max {
        Some(ahead) => format!("; rows more than {} ahead are rejected", time(ahead)),
        None => String::new(),
    };
    let lateness = time(node.lateness_us);
    let late = match operator {
        Operator::Update(..) => "no row is late: the plugin receives the watermark and decides".to_owned(),
        _ => format!("late rows to {}", super::super::late_name(&spec.name)),
    };
    format!("event time {}, lateness {lateness}, {late}; {idle}{ahead}", times.join(" and "))
}

/// Returns a string of the job without its line breaks.
fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
