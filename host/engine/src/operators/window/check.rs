//! Checks of a stage's `window`: which rows are in one, and which columns it adds.

use crate::checkpoint::types::{Column, Table};
use crate::operators::session;
use crate::operators::simple::SimpleNode;
use crate::operators::stage::{InputNode, Operator, StageNode};
use crate::operators::stage_check::StageCheck;
use crate::operators::stage_text::{signed, time};
use crate::operators::window::node::{WINDOW_END, WINDOW_START, WindowNode};
use crate::operators::window::state::{bounds, rows as pieces};
use arrow::datatypes::{Field, Schema, SchemaRef};
use millstream_base::error::{Error, Result};
use millstream_base::time::microseconds;
use millstream_base::units::show_time;
use millstream_job::spec::{JobSpec, OperatorSpec, StageSpec, WindowEmit, WindowExtent};
use millstream_plugins::plugin::{LoadOptions, PluginHost, World};
use millstream_rows::batch::types::{ColumnType, describe, with_fields};
use std::sync::Arc;
use std::time::Duration;

/// Checks the stage.
pub fn check(job: &JobSpec, stage: &StageSpec) -> Result<Option<WindowNode>> {
    let Some(spec) = &stage.window else { return Ok(None) };
    let update = spec.emit == WindowEmit::Update;
    Ok(Some(match (&spec.extent, stage.event_time.is_some()) {
        (WindowExtent::Sliding { size, slide, begin }, true) => {
            let slide_us = slide.map_or(microseconds(*size), microseconds);
            WindowNode::Sliding { size_us: microseconds(*size), slide_us, begin: *begin, update }
        }
        (WindowExtent::Sliding { size, slide, .. }, false) => {
            WindowNode::Batches { size_us: microseconds(*size), slide_us: microseconds(slide.unwrap_or(job.batch)) }
        }
        (WindowExtent::All, _) => WindowNode::All,
        (WindowExtent::Session { gap, length_max }, true) => {
            WindowNode::Session { gap_us: microseconds(*gap), length_us_max: microseconds(*length_max), update }
        }
        (WindowExtent::Session { .. }, false) => {
            return Err(Error::job("a session window needs event time; write time = \"…\" with a timestamp column"));
        }
    }))
}

/// Returns the columns for the operator. Aggregates process windows themselves; for all others the window emits rows first.
pub fn operator_input(
    job: &JobSpec,
    stage: &StageSpec,
    window: Option<&WindowNode>,
    inputs: &[InputNode],
    rows: &SchemaRef,
    host: &PluginHost,
) -> Result<SchemaRef> {
    let aggregates = match &stage.operator {
        OperatorSpec::Aggregate { .. } => true,
        OperatorSpec::Plugin(plugin) => {
            host.load(&plugin.component_path(&job.origin.dir), &LoadOptions::new(plugin))?.world() == World::Aggregate
        }
        _ => false,
    };
    if !aggregates {
        check_aggregate_options(stage)?;
    }
    if !window.is_some_and(WindowNode::of_event_time) {
        return Ok(rows.clone());
    }
    check_bound_names(stage, inputs, aggregates)?;
    Ok(if aggregates { rows.clone() } else { with_bounds(rows) })
}

/// Rejects inputs with columns named as the bounds, since the rows of a window get these, unless an aggregate drops them.
fn check_bound_names(stage: &StageSpec, inputs: &[InputNode], aggregates: bool) -> Result<()> {
    for input in inputs {
        let there = |name: &&str| match aggregates {
            true => stage.key.iter().any(|key| key == name),
            false => input.schema.column_with_name(name).is_some(),
        };
        let twice: Vec<&str> = [WINDOW_START, WINDOW_END].into_iter().filter(there).collect();
        let Some(first) = twice.first() else { continue };
        let names = input.schema.fields().iter().map(|field| match field.name().as_str() {
            name if name == WINDOW_START || name == WINDOW_END => format!("{name} as {name}_before"),
            name if name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') => name.to_owned(),
            name => format!("\"{}\"", name.replace('"', "\"\"")),
        });
        return Err(Error::job(format!(
            "`{0}` already has a column `{first}`, which the window also adds; rename it with select = '{1}' in \
             `{0}` (or, if that is a source, in a stage between), and use the new name here",
            input.from.join("`, `"),
            names.collect::<Vec<_>>().join(", "),
        )));
    }
    Ok(())
}

/// Rejects options that only aggregates support: refining the results of a window, and subtracting what leaves it.
fn check_aggregate_options(stage: &StageSpec) -> Result<()> {
    let wrong = |what: &str| {
        Err(Error::job(format!(
            "{what} is for aggregates and plugins of world aggregate, but this stage is neither; remove it"
        )))
    };
    if stage.plugins().iter().any(|plugin| plugin.inverse.is_some()) {
        return wrong("`inverse`");
    }
    match &stage.window {
        Some(window) if window.emit == WindowEmit::Update => wrong("`emit = \"update\"`"),
        Some(window) if window.extent == WindowExtent::All && !keeps_rows(&stage.operator) => {
            wrong("`window = \"all\"`")
        }
        _ => Ok(()),
    }
}

/// Returns whether an operator stores rows indefinitely itself.
fn keeps_rows(operator: &OperatorSpec) -> bool {
    matches!(operator, OperatorSpec::Top { .. } | OperatorSpec::Join(_) | OperatorSpec::Newest { .. })
}

/// Returns the columns of rows from windows of event time.
pub fn with_bounds(rows: &Schema) -> SchemaRef {
    with_fields(rows, bounds::fields())
}

/// Returns the columns of an aggregate's rows: key, bounds of the window if it is one of event time, results.
pub fn with_results(keys: &Schema, window: Option<&WindowNode>, results: Vec<Arc<Field>>) -> SchemaRef {
    let bounds = bounds::fields().into_iter().filter(|_| window.is_some_and(WindowNode::of_event_time));
    with_fields(keys, bounds.chain(results))
}

/// Returns the columns of an aggregate's rows, before `filter` and `select`.
pub fn aggregated(stage: &StageNode) -> Result<SchemaRef> {
    let keys = stage.input.project(&stage.key).map_err(Error::arrow)?;
    let results = match &stage.operator {
        Operator::Aggregate(builtin) => builtin.output().fields().iter().skip(stage.key.len()).cloned().collect(),
        Operator::Reduce(node) => node.description.output.fields().to_vec(),
        _ => return Err(Error::bug("the results of a stage without an aggregate")),
    };
    Ok(with_results(&keys, stage.window.as_ref(), results))
}

/// Describes the input of accumulators for checkpoints. Results emitted at every change do not wait for the end of a window.
pub fn reads(columns: &str, window: Option<&WindowNode>) -> String {
    let updates = window.is_some_and(WindowNode::updates);
    format!("{columns}{}", if updates { ", emitted at every change" } else { "" })
}

/// Returns the name of the table of windows' rows.
pub fn rows_table(stage: &str) -> String {
    format!("{stage}.rows")
}

/// Returns the name of the table of sessions' rows.
pub fn pieces_table(stage: &str) -> String {
    format!("{stage}.pieces")
}

/// Returns the name of the table with the start of the first batch, for a stage with windows of processing time.
pub fn window_ends_table(stage: &str) -> String {
    format!("{stage}.begun")
}

/// Returns the checkpoint tables of a window's rows for the operator, and of window ends.
pub fn tables(check: &StageCheck<'_>, operator: &Operator) -> Result<Vec<Table>> {
    let Some(window) = check.window else { return Ok(Vec::new()) };
    let name = &check.spec.name;
    let aggregates = has_own_windows(operator);
    if matches!(window, WindowNode::Session { .. }) && check.inputs.len() > 1 {
        return Err(Error::job(
            "a session window needs one input, but this stage has several; add a stage with the session window for \
             each input, or write window = { size = \"30s\" }",
        ));
    }
    // Rows are stored unchanged, so other columns need another table.
    let inputs: Vec<String> = check.inputs.iter().map(|input| format!("({})", describe(&input.schema))).collect();
    let rows_description = format!("rows of {}", inputs.join(" and "));
    // Stored rows refer to inputs by index.
    let streams: Vec<String> = check.inputs.iter().map(|input| format!("`{}`", input.name)).collect();
    let streams = if streams.len() > 1 { streams.join(" and ") } else { String::new() };
    let rows = (!aggregates).then(|| {
        let identity = format!("{}: {rows_description}", window.description());
        Table::of_stage(rows_table(name), identity, pieces::columns()).reading(streams)
    });
    Ok(match window {
        WindowNode::Session { .. } => {
            let (table_name, contents, description, reads) = match operator {
                Operator::Aggregate(builtin) => (
                    name.clone(),
                    builtin.accumulators()?,
                    builtin.description(),
                    reads(&builtin.reads(), check.window),
                ),
                Operator::Reduce(node) => {
                    let reads = reads("the plugin's columns", check.window);
                    (name.clone(), node.description.state.clone(), String::new(), reads)
                }
                _ => (rows_table(name), session::state::legacy_rows_schema(), rows_description, String::new()),
            };
            let key = Column::from_fields(check.key_schema()?.fields());
            let start = Column::from_fields([&Arc::new(session::state::start_field())]);
            let state = Column::from_fields(session::state::state_schema(&contents).fields());
            let pieces = (!aggregates).then(|| {
                let columns = [
                    key.clone(),
                    Column::from_fields(&session::state::piece_fields()),
                    Column::from_fields(session::state::piece_schema().fields()),
                ];
                Table::of_stage(pieces_table(name), format!("{}: {description}", window.description()), columns)
            });
            let open =
                Table::of_stage(table_name, format!("{}: {description}", window.description()), [key, start, state]);
            let open = open.reading(reads);
            [open].into_iter().chain(pieces).collect()
        }
        WindowNode::Sliding { .. } | WindowNode::All => rows.into_iter().collect(),
        WindowNode::Batches { .. } => {
            let key = vec![Column::new("name", ColumnType::Text)];
            let columns = [key, Vec::new(), vec![Column::new("time", ColumnType::Timestamp)]];
            rows.into_iter().chain([Table::of_stage(window_ends_table(name), "", columns)]).collect()
        }
    })
}

/// Returns whether an operator processes windows itself.
pub fn has_own_windows(operator: &Operator) -> bool {
    match operator {
        Operator::Aggregate(_)
        | Operator::Reduce(_)
        | Operator::Simple(SimpleNode::Ranking(_) | SimpleNode::Newest(_)) => true,
        Operator::Join(node) => node.changing.is_some(),
        _ => false,
    }
}

/// Describes what the stage does.
pub fn summary(window: &WindowNode, batch: Duration) -> String {
    let results = |update: bool| match update {
        true => "results refined with every batch",
        false => "results when a window is complete",
    };
    let gaps = if window.leaves_gaps() { "; rows between windows are dropped" } else { "" };
    match *window {
        WindowNode::All => "totals of all rows; each batch emits the totals of its keys".into(),
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
            let zone = begin.zone.map_or_else(String::new, |zone| format!(", in the time zone {zone}"));
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
