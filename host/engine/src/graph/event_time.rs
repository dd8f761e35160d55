//! How the rows of a stage get their time: `time`, `lateness`, `idle`.

use super::{Graph, holding, part_of};
use crate::checkpoint::types::Table;
use crate::event_time::node::{EventTimeNode, watermark_table};
use crate::event_time::{ClockEnds, ClockFeeds, ClockNames, saved};
use crate::operators::stage::{InputNode, Operator, StageNode};
use crate::operators::stage_check::StageCheck;
use millstream_base::error::{Error, Result};
use millstream_base::ids::ClockId;
use millstream_base::time::microseconds;
use millstream_job::spec::{ClockSpec, OperatorSpec, SourceSpec, StageSpec, WindowExtent};
use millstream_rows::batch::types::ColumnType;
use millstream_sql::expression::Expression;
use std::collections::BTreeSet;

/// The default maximum that a row may be ahead of the machine's clock.
const AHEAD_US_MAX: i64 = 24 * 3600 * 1_000_000;

pub(super) fn check(graph: &Graph, stage: &StageSpec, inputs: &[InputNode]) -> Result<Option<EventTimeNode>> {
    let Some(spec) = &stage.event_time else { return Ok(None) };
    let mut times = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        let Some(text) = spec.time.get(index).or(spec.time.first()) else {
            return Err(Error::job("`time` is empty; write the name of a timestamp column"));
        };
        let time = Expression::new(text, &input.schema).map_err(|error| error.within("`time`"))?;
        let kind = ColumnType::from_arrow(time.data_type());
        if kind != ColumnType::Timestamp {
            let help = match kind {
                // `to_timestamp` of a number takes it for seconds.
                ColumnType::Int64 | ColumnType::Float64 => {
                    "declare its unit in the schema of its source, for example \"timestamp(ms)\", or convert it \
                     with to_timestamp_seconds, to_timestamp_millis or to_timestamp_micros"
                        .to_owned()
                }
                _ => format!("convert it, for example time = \"to_timestamp({text})\""),
            };
            return Err(Error::job(format!("`time = \"{text}\"` is {kind}, but must be a timestamp; {help}")));
        }
        times.push(time);
    }
    let holding = holding::holding_stages(graph, &times, inputs);
    let default = (graph.spec.clock == ClockSpec::Wall).then_some(AHEAD_US_MAX);
    Ok(Some(EventTimeNode {
        times,
        lateness_us: microseconds(spec.lateness),
        idle_us: spec.idle.map(microseconds),
        horizon_us: horizon_us(stage),
        ahead_us_max: spec.ahead_max.map(microseconds).or(default),
        clocks: clock_names(graph, inputs),
        clock_ends: clock_ends(graph, inputs),
        holding,
        feeds: clock_feeds(graph, inputs),
        dirs: dirs(graph),
    }))
}

/// Maximum offset of a time zone.
const ZONE_US_MAX: i64 = 24 * 3600 * 1_000_000;

/// Returns how far after its newest row the stage waits for times: until the end of a window, or of the time in which a row may be matched.
fn horizon_us(stage: &StageSpec) -> Option<i64> {
    match stage.window.as_ref().map(|window| &window.extent) {
        Some(WindowExtent::Sliding { size, begin, .. }) => {
            return Some(microseconds(*size).saturating_add(begin.zone.map_or(0, |_| ZONE_US_MAX)));
        }
        Some(WindowExtent::Session { gap, .. }) => return Some(microseconds(*gap)),
        Some(WindowExtent::All) | None => {}
    }
    // A row waits until the watermark is after its last moment.
    let just_after = |us: i64| Some(us.saturating_add(1));
    match &stage.operator {
        OperatorSpec::Join(join) => {
            let within = join.within_us.map_or(0, |(from, to)| from.saturating_abs().max(to.saturating_abs()));
            just_after(within)
        }
        OperatorSpec::Pattern(pattern) => just_after(pattern.within.map_or(0, microseconds)),
        OperatorSpec::Plugin(_) | OperatorSpec::Cogroup { .. } => None,
        _ => Some(0),
    }
}

pub(super) fn tables(check: &StageCheck<'_>) -> Vec<Table> {
    let Some(spec) = &check.spec.event_time else { return Vec::new() };
    let (clock_column, state) = saved::columns();
    // Another time expression makes it another watermark.
    let identity = format!("time {}", spec.time.join(", "));
    vec![Table::of_stage(watermark_table(&check.spec.name), identity, [vec![clock_column], Vec::new(), state])]
}

/// Returns the clocks that a stage reads, with the names of their sources and stages.
fn clock_names(graph: &Graph, inputs: &[InputNode]) -> ClockNames {
    let (sources, stages) = (&graph.spec.sources, &graph.spec.stages);
    let name = |id: ClockId| {
        let index = id.stream as usize;
        let source = sources.get(index).map(|source| &source.name);
        let stage = || stages.get(index.checked_sub(sources.len())?).map(|stage| &stage.name);
        // The only stream that the stage reads.
        let only = || inputs.first().and_then(|input| input.from.first()).map_or("", |stream| part_of(stream));
        source.or_else(stage).map_or_else(|| only().to_owned(), String::clone)
    };
    graph.clocks_of_inputs(inputs).into_iter().map(|id| (id, name(id))).collect()
}

fn dirs(graph: &Graph) -> BTreeSet<u32> {
    let sources = (0u32..).zip(&graph.spec.sources);
    sources.filter(|(_, source)| source.kind.names_files()).map(|(number, _)| number).collect()
}

/// Returns the sources that must have ended before each clock of a stage ends.
fn clock_ends(graph: &Graph, inputs: &[InputNode]) -> ClockEnds {
    let streams: Vec<&String> = inputs.iter().flat_map(|input| &input.from).collect();
    let mut ends = ClockEnds::new();
    for name in &streams {
        let of = sources_of(graph, name, ends_clocks, emits_by_batch_time);
        for clock_id in graph.clocks.get(*name).into_iter().flatten() {
            let own = sources_of_clock(*clock_id, &of);
            ends.entry(graph.clock_among(name, streams.len(), *clock_id)).or_default().extend(own);
        }
    }
    ends
}

/// Returns the sources that report the ends of their partitions, by clock, for rows made by other stages.
fn clock_feeds(graph: &Graph, inputs: &[InputNode]) -> ClockFeeds {
    let streams: Vec<&String> = inputs.iter().flat_map(|input| &input.from).collect();
    let mut feeds = ClockFeeds::new();
    for name in &streams {
        let reports_ends = |source: &SourceSpec| source.kind.can_report_ends() || source.kind.spreads_files();
        let of = sources_of(graph, name, reports_ends, |_| false);
        let made = |clock_id: &&ClockId| clock_id.stream as usize >= graph.spec.sources.len();
        for clock_id in graph.clocks.get(*name).into_iter().flatten().filter(made).filter(|_| !of.is_empty()) {
            feeds.entry(graph.clock_among(name, streams.len(), *clock_id)).or_default().extend(&of);
        }
    }
    feeds
}

/// The rows of a source clock come from it alone, those of a stage from everything that it reads.
fn sources_of_clock(clock_id: ClockId, of: &BTreeSet<u32>) -> BTreeSet<u32> {
    if of.contains(&clock_id.stream) { [clock_id.stream].into() } else { of.clone() }
}

/// Returns the sources from which the rows of a stream come, if `counts` accepts them; for stages in `of_all`, all upstream sources.
fn sources_of(
    graph: &Graph,
    stream: &str,
    counts: impl Fn(&SourceSpec) -> bool,
    of_all: impl Fn(&StageNode) -> bool,
) -> BTreeSet<u32> {
    let counted = || (0u32..).zip(&graph.spec.sources).filter(|(_, source)| counts(source));
    let (mut found, mut seen, mut streams) = (BTreeSet::new(), BTreeSet::new(), vec![part_of(stream)]);
    while let Some(name) = streams.pop() {
        found.extend(counted().filter(|(_, source)| source.name == name).map(|(number, _)| number));
        let stage = graph.stages.iter().find(|stage| stage.name == name);
        let Some(stage) = stage.filter(|stage| seen.insert(&stage.name)) else { continue };
        if of_all(stage) {
            found.extend(counted().map(|(number, _)| number));
        } else {
            streams.extend(stage.inputs.iter().flat_map(|input| &input.from).map(|stream| part_of(stream)));
        }
    }
    found
}

/// Returns whether the end of a source ends clocks. Tables and retried rows, which are not in the job file, must not keep a job from ending. A topic
/// may always get new partitions, so such a source does not end.
fn ends_clocks(source: &SourceSpec) -> bool {
    !source.kind.can_report_ends() && !source.kind.is_hidden()
}

/// Returns whether a stage may emit rows because batch time passes: after its own sources have ended, but not after all of the job have.
fn emits_by_batch_time(stage: &StageNode) -> bool {
    let window = stage.window.is_some_and(|window| !window.of_event_time());
    window || (stage.event_time.is_none() && matches!(stage.operator, Operator::Update(..)))
}
