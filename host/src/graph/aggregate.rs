//! Stages with built-in aggregates, and what checkpoints hold of aggregates over windows.

use super::{Made, Making, Operator, PluginNode, window};
use crate::aggregate::builtin::Builtin;
use crate::batch::types::ColumnType;
use crate::checkpoint::types::{Column, Table, TableOf};
use crate::error::{Error, Result};
use crate::job::spec::AggregateSpec;
use crate::window::WindowNode;
use crate::window::panes::pane_field;
use arrow::datatypes::Schema;

/// Checks built-in aggregates.
pub(super) fn check(making: &Making<'_>, columns: &[AggregateSpec], inverse: bool) -> Result<Made> {
    let mut builtin = Builtin::new(columns, making.key.to_vec(), making.input)?;
    if inverse {
        check_inverse(making, &builtin)?;
    }
    builtin.inverse = inverse;
    let aggregates = builtin.output().fields().iter().skip(making.key.len()).cloned().collect();
    let output = window::with_bounds_behind(&making.key_schema()?, making.window, aggregates);
    let accumulators = builtin.accumulators()?;
    let tables = tables(making, &accumulators, &builtin.words(), inverse)?;
    Ok(Made { tables, ..Made::of(output, Operator::Aggregate(builtin)) })
}

fn check_inverse(making: &Making<'_>, builtin: &Builtin) -> Result<()> {
    if !matches!(making.window, Some(WindowNode::Batches { .. } | WindowNode::Sliding { .. })) {
        return Err(Error::job(
            "`inverse` is for sliding windows; write window = { size = \"30s\", slide = \"10s\" }, or remove it",
        ));
    }
    match builtin.without_inverse() {
        None => Ok(()),
        Some(name) => Err(Error::job(format!(
            "`inverse = true` needs functions that can take out again what they took in, which count and sum of int64 \
             can, and `{name}` cannot; remove `inverse`, and windows slide without it",
        ))),
    }
}

/// What checkpoints hold of a plugin of world `aggregate` over windows.
pub(super) fn plugin_tables(making: &Making<'_>, node: &PluginNode) -> Result<Vec<Table>> {
    tables(making, &node.description.state, "", node.description.inverse)
}

/// The name of the table that holds when the windows of a stage end.
pub fn clock_table(stage: &str) -> String {
    format!("{stage}.clock")
}

fn tables(making: &Making<'_>, accumulators: &Schema, words: &str, inverse: bool) -> Result<Vec<Table>> {
    let (size_us, slide_us, batches) = match making.window {
        Some(WindowNode::Batches { size_us, slide_us }) => (size_us, slide_us, true),
        Some(WindowNode::Sliding { size_us, slide_us, .. }) => (size_us, slide_us, false),
        Some(WindowNode::Session { .. }) | None => return Ok(Vec::new()),
    };
    let of = if batches { "batches" } else { "event time" };
    let inverse = if inverse && batches { " with inverse" } else { "" };
    let words = if words.is_empty() { String::new() } else { format!(" of {words}") };
    let identity = format!("windows of {of}, {size_us} us every {slide_us} us{inverse}{words}");
    let panes = Table {
        of: TableOf::Stage,
        name: making.spec.name.clone(),
        identity: identity.clone(),
        key: Column::of(making.key_schema()?.fields()),
        sub: Column::of([&std::sync::Arc::new(pane_field())]),
        state: Column::of(accumulators.fields()),
        files: Vec::new(),
    };
    if !batches {
        return Ok(vec![panes]);
    }
    let time = |name: &str| Column { name: name.into(), kind: ColumnType::Timestamp.to_string(), nullable: false };
    let clock = Table {
        of: TableOf::Stage,
        name: clock_table(&making.spec.name),
        identity,
        key: Vec::new(),
        sub: Vec::new(),
        state: vec![time("origin"), time("due")],
        files: Vec::new(),
    };
    Ok(vec![panes, clock])
}
