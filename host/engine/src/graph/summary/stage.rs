//! What a stage does, in words: defaults that were not written become visible.

use super::super::{Graph, rejected_name};
use super::plugin;
use crate::event_time::node::EventTimeNode;
use crate::operators::stage::{Operator, StageNode};
use crate::operators::window::node::WindowNode;
use millstream_base::batch::types;
use millstream_base::job::retry_source;
use millstream_base::job::spec::{
    EnrichSpec, EnrichTable, JoinSpec, OPERATION, OnError, OperatorSpec, PatternSkip, PatternSpec, StageSpec,
    WindowExtent,
};
use millstream_base::units::show_time;
use std::time::Duration;

/// The lines below the one with the stage's columns, in the order in which rows meet what they tell.
pub(super) fn lines(graph: &Graph, stage: &StageNode) -> Vec<String> {
    let Some(spec) = graph.spec.stages.iter().find(|spec| spec.name == stage.name) else { return Vec::new() };
    let mut lines = Vec::new();
    lines.extend(stage.window.as_ref().map(|window| self::window(window, graph.spec.batch)));
    lines.extend(stage.event_time.as_ref().map(|time| event_time(spec, time, &stage.operator)));
    lines.extend(operator(spec));
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
    let folder = graph.spec.sources.iter().find_map(|source| retry_source::folder_of(source, &stage.name));
    lines.extend(folder.map(|path| format!("rows that `millstream retry` gives back come from {}", path.display())));
    lines.extend(spec.filter.as_ref().map(|text| format!("filter {}", on_one_line(text))));
    lines.extend(spec.select.as_ref().map(|text| format!("select {}", on_one_line(text))));
    lines
}

/// The columns of the stage's rejected rows, where somebody wants them.
fn rejected(graph: &Graph, stage: &StageNode, spec: &StageSpec) -> Option<String> {
    let name = rejected_name(&stage.name);
    let rejects = spec.plugins().iter().any(|plugin| plugin.on_error == OnError::Reject);
    let stages = graph.spec.stages.iter().flat_map(StageSpec::reads);
    let mut read = stages.chain(graph.spec.sinks.iter().flat_map(|sink| &sink.from));
    let wanted = rejects || read.any(|from| *from == name);
    wanted.then(|| format!("rejected rows to {name}: {}", types::describe(&stage.rejected.schema)))
}

pub(super) fn window(window: &WindowNode, batch: Duration) -> String {
    let results = |update: bool| match update {
        true => "results refined with every batch",
        false => "results when a window is complete",
    };
    let gaps = if window.leaves_gaps() { "; rows between windows are dropped" } else { "" };
    match *window {
        WindowNode::All => "totals of all rows; each batch puts out those of its keys".into(),
        WindowNode::Batches { size_us, slide_us } => format!(
            "window {} every {} of processing time (each batch: {}){}",
            time(size_us),
            time(slide_us),
            show_time(batch),
            gaps,
        ),
        WindowNode::Sliding { size_us, slide_us, begin, update } => {
            let (size, slide, results) = (time(size_us), time(slide_us), results(update));
            let offset = match begin.offset_us {
                0 => String::new(),
                us => format!(", {} after its multiples", signed(us)),
            };
            let zone = begin.zone.map_or_else(String::new, |zone| format!(", by the clocks of {zone}"));
            format!("window {size} every {slide} of event time{offset}{zone}, {results}{gaps}")
        }
        WindowNode::Session { gap_us, length_us_max, update } => format!(
            "sessions with less than {} between rows, at most {} long, of event time, {}",
            time(gap_us),
            time(length_us_max),
            results(update),
        ),
    }
}

pub(super) fn event_time(spec: &StageSpec, node: &EventTimeNode, operator: &Operator) -> String {
    let times = spec.event_time.iter().flat_map(|spec| &spec.time).map(|text| on_one_line(text)).collect::<Vec<_>>();
    let idle = match node.idle_us {
        Some(idle) => format!("a source without rows for {} is not waited for", time(idle)),
        None => "every source is waited for".into(),
    };
    let ahead = match node.ahead_us_max {
        Some(ahead) => format!("; rows more than {} ahead are rejected", time(ahead)),
        None => String::new(),
    };
    let lateness = time(node.lateness_us);
    let late = match operator {
        Operator::Update(..) => "no row is late: the plugin is told the watermark and decides".to_owned(),
        _ => format!("late rows to {}", super::super::late_name(&spec.name)),
    };
    format!("event time {}, lateness {lateness}, {late}; {idle}{ahead}", times.join(" and "))
}

pub(super) fn operator(spec: &StageSpec) -> Option<String> {
    let inputs = || spec.reads().cloned().collect::<Vec<_>>();
    let each = |before: &str| match spec.key.as_slice() {
        [] => String::new(),
        key => format!("{before}{}", key.join(", ")),
    };
    let rows = if spec.window.is_some() { "window" } else { "batch" };
    Some(match &spec.operator {
        OperatorSpec::Union | OperatorSpec::Plugin(_) => return None,
        OperatorSpec::Aggregate { inverse: true, .. } if spec.event_time.is_none() => {
            "what leaves a window is taken out by the inverse".into()
        }
        OperatorSpec::Aggregate { .. } => return None,
        OperatorSpec::Cogroup { .. } => format!("cogroup of {}{} in each {rows}", inputs().join(", "), each(" by ")),
        OperatorSpec::Sql { functions, .. } => {
            let functions: Vec<String> =
                functions.iter().map(|(name, plugin)| format!("{name} ({})", plugin.path.display())).collect();
            let with = if functions.is_empty() { "" } else { ", with functions " };
            format!("sql over each {rows} of {}{with}{}", inputs().join(", "), functions.join(", "))
        }
        OperatorSpec::Join(join) => {
            let all = matches!(&spec.window, Some(window) if window.extent == WindowExtent::All);
            let op = spec.op.as_deref().unwrap_or(OPERATION);
            self::join(join, &inputs(), if all { PartnerRows::All(op) } else { PartnerRows::These(rows) })
        }
        OperatorSpec::Enrich(enrich) => self::enrich(enrich),
        OperatorSpec::Latest(latest) => {
            let (kind, on) = (latest.kind.name(), self::on(&latest.on));
            let does = latest.op.as_ref().map_or(String::new(), |op| format!(", of which `{op}` says what a row does"));
            format!("{kind} join with the latest row of {} on {on}{does}", latest.stream)
        }
        OperatorSpec::Pattern(pattern) => self::pattern(pattern, &each(" of each ")),
        OperatorSpec::Top { n, by, ascending, rank } => {
            let order = if *ascending { "smallest" } else { "largest" };
            if matches!(&spec.window, Some(window) if window.extent == WindowExtent::All) {
                let rank = rank.as_ref().map_or(String::new(), |rank| format!(", with their places in `{rank}`"));
                let op = spec.op.as_deref().unwrap_or(OPERATION);
                return Some(format!(
                    "top {n} of all rows by {by}, {order} first{}{rank}; put out as they change, with `{op}` for what a row does",
                    each(", for each ")
                ));
            }
            format!("top {n} of each {rows} by {by}, {order} first{}", each(", for each "))
        }
        OperatorSpec::Newest { by } => {
            let by = by.as_ref().map_or(String::new(), |by| format!(" by {by}"));
            let op = spec.op.as_deref().unwrap_or(OPERATION);
            format!(
                "the latest row of each {}{by}; put out as it changes, with `{op}` for what a row does",
                spec.key.join(", ")
            )
        }
        OperatorSpec::Distinct(columns) => {
            let columns = if columns.is_empty() { "all columns".into() } else { columns.join(", ") };
            format!("of rows of a {rows} that are equal in {columns} the first")
        }
        OperatorSpec::Deduplicate { within } => {
            let time = if spec.event_time.is_some() { "event" } else { "processing" };
            format!("the first row of each {} within {} of {time} time", spec.key.join(", "), show_time(*within))
        }
        OperatorSpec::Sample(share) => format!("a share of {share} of the rows"),
        OperatorSpec::Split(branches) => {
            let streams: Vec<String> = branches.iter().map(|(branch, _)| format!("{}.{branch}", spec.name)).collect();
            format!("split into {}; the other rows stay in {}", streams.join(", "), spec.name)
        }
        OperatorSpec::Repartition { partitions } => {
            let parts =
                partitions.map_or("as many parts as there are workers".into(), |count| format!("{count} parts"));
            let how = if spec.key.is_empty() { ", in turn".into() } else { each(", by ") };
            format!("repartition into {parts}{how}")
        }
    })
}

/// The rows among which a join looks for partners.
enum PartnerRows<'a> {
    /// Those of a batch or window, by that word.
    These(&'a str),
    /// All that ever came; the column that says what a row of the result does.
    All(&'a str),
}

fn join(join: &JoinSpec, inputs: &[String], among: PartnerRows<'_>) -> String {
    let among = match (join.within_us, among) {
        (within, _) if join.as_of => {
            let most = within.map_or(String::new(), |(from, _)| format!(", at most {} before", time(from)));
            format!("with the latest row at the time of each{most}")
        }
        (Some((from, to)), _) => format!("within {} to {} of event time", signed(from), signed(to)),
        (None, PartnerRows::These(rows)) => format!("in each {rows}"),
        (None, PartnerRows::All(op)) => {
            let ttl =
                join.ttl.map_or(String::new(), |ttl| format!(", forgotten {} after the last of a key", show_time(ttl)));
            format!("of all rows{ttl}; put out as it changes, with `{op}` for what a row does")
        }
    };
    format!("{} join of {} on {}, {among}", join.kind.name(), inputs.join(" and "), on(&join.on))
}

fn pattern(pattern: &PatternSpec, each: &str) -> String {
    let within =
        pattern.within.map_or_else(String::new, |within| format!(" within {} of event time", show_time(within)));
    let skip = match &pattern.skip {
        PatternSkip::PastLastRow => "past its last row".to_owned(),
        PatternSkip::ToNextRow => "at the row behind its first".to_owned(),
        PatternSkip::ToFirst(name) => format!("at its first row of {name}"),
        PatternSkip::ToLast(name) => format!("at its last row of {name}"),
    };
    format!("pattern {}{each}{within}; behind a match the search goes on {skip}", pattern.steps.text)
}

fn enrich(enrich: &EnrichSpec) -> String {
    // The URL may hold a password.
    let table = match &enrich.table {
        EnrichTable::File { path, .. } => path.display().to_string(),
        EnrichTable::Postgres { .. } => "a query".into(),
    };
    let (kind, on, poll) = (enrich.kind.name(), self::on(&enrich.on), show_time(enrich.poll));
    format!("{kind} join with {table} on {on}, looked at every {poll}")
}

fn on(pairs: &[(String, String)]) -> String {
    let pair = |(left, right): &(String, String)| match left == right {
        true => left.clone(),
        false => format!("{left} = {right}"),
    };
    pairs.iter().map(pair).collect::<Vec<_>>().join(", ")
}

/// A length of time in microseconds.
fn time(us: i64) -> String {
    show_time(Duration::from_micros(us.unsigned_abs()))
}

fn signed(us: i64) -> String {
    format!("{}{}", if us < 0 { "-" } else { "" }, time(us))
}

/// A text of the job without its line breaks.
fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
