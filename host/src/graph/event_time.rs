//! How the rows of a stage tell their time: `time`, `lateness`, `idle`.

use super::{Graph, InputNode, Making, part_of};
use crate::batch::types::ColumnType;
use crate::checkpoint::types::Table;
use crate::error::{Error, Result};
use crate::event_time::{ClockNames, saved};
use crate::ids::ClockId;
use crate::job::spec::{ClockSpec, StageSpec};
use crate::sql::expression::Expression;
use crate::window::microseconds;

/// Event time of a stage, checked. Times are in microseconds.
#[derive(Clone)]
pub struct EventTimeNode {
    /// What makes the time of a row, by input.
    pub times: Vec<Expression>,
    /// How much older than the newest row of its clock a row may be.
    pub lateness_us: i64,
    /// A clock without rows for so long does not hold the watermark back.
    pub idle_us: Option<i64>,
    /// Rows further ahead of the batch time are rejected.
    pub ahead_us_max: Option<i64>,
    /// Whose clocks the rows may follow.
    pub clocks: ClockNames,
}

/// Ahead of the machine's clock, where the job does not say how far a row may be.
const AHEAD_US_MAX: i64 = 24 * 3600 * 1_000_000;

pub(super) fn check(graph: &Graph, stage: &StageSpec, inputs: &[InputNode]) -> Result<Option<EventTimeNode>> {
    let Some(spec) = &stage.event_time else { return Ok(None) };
    let mut times = Vec::new();
    for (place, input) in inputs.iter().enumerate() {
        let Some(text) = spec.time.get(place).or(spec.time.first()) else {
            return Err(Error::job("`time` is empty; write the name of a timestamp column"));
        };
        let time = Expression::new(text, &input.schema).map_err(|error| error.within("`time`"))?;
        let kind = ColumnType::of(time.data_type());
        if kind != ColumnType::Timestamp {
            let help = match kind {
                // `to_timestamp` of a number takes it for seconds.
                ColumnType::Int64 | ColumnType::Float64 => {
                    "say in the schema of its source what it counts, as \"timestamp(ms)\", or make one of it with \
                     to_timestamp_seconds, to_timestamp_millis or to_timestamp_micros"
                        .to_owned()
                }
                _ => format!("make one of it, as time = \"to_timestamp({text})\""),
            };
            return Err(Error::job(format!("`time = \"{text}\"` is {kind}, and a time is a timestamp; {help}")));
        }
        times.push(time);
    }
    let default = (graph.spec.clock == ClockSpec::Wall).then_some(AHEAD_US_MAX);
    Ok(Some(EventTimeNode {
        times,
        lateness_us: microseconds(spec.lateness),
        idle_us: spec.idle.map(microseconds),
        ahead_us_max: spec.ahead_max.map(microseconds).or(default),
        clocks: clock_names(graph, inputs),
    }))
}

/// The table of a stage's watermarks.
pub fn watermark_table(stage: &str) -> String {
    format!("{stage}.watermark")
}

pub(super) fn tables(making: &Making<'_>) -> Vec<Table> {
    let Some(spec) = &making.spec.event_time else { return Vec::new() };
    let (clock, state) = saved::columns();
    // Another time is another watermark.
    let identity = format!("time {}", spec.time.join(", "));
    vec![Table::of_stage(watermark_table(&making.spec.name), identity, [vec![clock], Vec::new(), state])]
}

/// The clocks that a stage sees, by the names of the sources and stages that they are of.
fn clock_names(graph: &Graph, inputs: &[InputNode]) -> ClockNames {
    let (sources, stages) = (&graph.spec.sources, &graph.spec.stages);
    let name = |id: ClockId| {
        let place = id.0 as usize;
        let source = sources.get(place).map(|source| &source.name);
        let stage = || stages.get(place.checked_sub(sources.len())?).map(|stage| &stage.name);
        // The only stream that the stage reads.
        let only = || inputs.first().and_then(|input| input.from.first()).map_or("", |stream| part_of(stream));
        source.or_else(stage).map_or_else(|| only().to_owned(), String::clone)
    };
    graph.clocks_of_inputs(inputs).into_iter().map(|id| (id, name(id))).collect()
}
