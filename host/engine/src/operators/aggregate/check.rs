//! Checks of stages with built-in aggregates, and checkpoint tables of aggregates over windows.

use crate::checkpoint::types::{Column, Table};
use crate::operators::aggregate::builtin::Builtin;
use crate::operators::plugin::node::PluginNode;
use crate::operators::stage::Operator;
use crate::operators::stage_check::{CheckedStage, StageCheck};
use crate::operators::stage_text::StageText;
use crate::operators::window;
use crate::operators::window::node::WindowNode;
use crate::operators::window::state::panes::pane_field;
use arrow::datatypes::{Field, Schema, SchemaRef};
use millstream_base::error::{Error, Result};
use millstream_job::spec::{AggregateSpec, OPERATION, WindowEmit};
use millstream_rows::batch::types::{self, ColumnType};
use std::sync::Arc;

/// Checks built-in aggregates.
pub fn check(check: &StageCheck<'_>, columns: &[AggregateSpec], inverse: bool) -> Result<CheckedStage> {
    let mut builtin = Builtin::new(columns, check.key.to_vec(), check.input)?;
    if inverse {
        check_inverse(check, &builtin)?;
    }
    builtin.inverse = inverse;
    builtin.op = check.operation()?;
    if builtin.op.is_some() {
        check_op(&builtin)?;
    }
    let results = builtin.output().fields().iter().skip(check.key.len()).cloned().collect();
    let mut output = window::check::with_results(&check.key_schema()?, check.window, results);
    if check.spec.window.as_ref().is_some_and(|window| window.emit == WindowEmit::Changes) {
        output = with_operation(check, &output)?;
        builtin.changes = Some(output.clone());
    }
    // The row count says when a key has no rows left.
    let counts = builtin.changes.is_some() || builtin.without_inverse().is_some();
    builtin.keeps_values = builtin.op.is_some() && counts;
    let accumulators = builtin.accumulators()?;
    let tables = match builtin.keeps_values {
        true => tables_of_values(check, &builtin),
        false => tables(check, &accumulators, &description(&builtin), &builtin.reads(), inverse)?,
    };
    Ok(CheckedStage { tables, ..CheckedStage::new(output, Operator::Aggregate(builtin)) })
}

/// Appends the column with each row's operation.
fn with_operation(check: &StageCheck<'_>, rows: &Schema) -> Result<SchemaRef> {
    let op = check.spec.op.as_deref().unwrap_or(OPERATION);
    if rows.index_of(op).is_ok() {
        return Err(Error::job(format!(
            "column `{op}` already exists, but emit = \"changes\" adds it to the rows of this stage; rename the \
             existing column"
        )));
    }
    Ok(types::with_fields(rows, [Arc::new(Field::new(op, ColumnType::Text.arrow(), false))]))
}

fn check_op(builtin: &Builtin) -> Result<()> {
    match builtin.cannot_follow() {
        None => Ok(()),
        Some((name, why)) => Err(Error::job(format!("`op`: `{name}` cannot process deletes: {why}"))),
    }
}

/// Describes the functions and how they are emitted. Operators downstream rely on the rows that they received.
fn description(builtin: &Builtin) -> String {
    format!("{}{}", builtin.description(), if builtin.changes.is_some() { ", emitted as changes" } else { "" })
}

/// Returns the name of a table of values, numbered from 1: one per column with stored values.
pub fn values_table(stage: &str, number: usize) -> String {
    format!("{stage}.values{number}")
}

/// Returns the checkpoint tables of stored values.
fn tables_of_values(check: &StageCheck<'_>, builtin: &Builtin) -> Vec<Table> {
    let name = &check.spec.name;
    let identity = format!("totals with deletes, {}", description(builtin));
    let table = |(number, columns): (usize, [Vec<Column>; 3])| {
        let name = if number == 0 { name.clone() } else { values_table(name, number) };
        Table::of_stage(name, identity.clone(), columns).reading(builtin.reads())
    };
    builtin.tally_tables(check.input).into_iter().enumerate().map(table).collect()
}

fn check_inverse(check: &StageCheck<'_>, builtin: &Builtin) -> Result<()> {
    if !matches!(check.window, Some(WindowNode::Batches { .. })) {
        return Err(Error::job(
            "`inverse` subtracts rows that leave a sliding window of processing time, but windows of event time do \
             not slide; remove it",
        ));
    }
    match builtin.without_inverse() {
        None => Ok(()),
        Some(name) => Err(Error::job(format!(
            "`inverse = true` needs functions that can subtract rows: `count`, and `sum` of int64 and decimals; \
             `{name}` cannot; remove `inverse`",
        ))),
    }
}

/// Returns the checkpoint tables of an `aggregate` plugin over windows.
pub fn plugin_tables(check: &StageCheck<'_>, node: &PluginNode) -> Result<Vec<Table>> {
    tables(check, &node.description.state, "", "the plugin's columns", node.description.inverse)
}

fn tables(
    check: &StageCheck<'_>,
    accumulators: &Schema,
    functions_text: &str,
    columns_read: &str,
    inverse: bool,
) -> Result<Vec<Table>> {
    let reads = window::check::reads(columns_read, check.window);
    let (key, accumulators) =
        (Column::from_fields(check.key_schema()?.fields()), Column::from_fields(accumulators.fields()));
    let window = check.window.map_or(String::new(), WindowNode::description);
    let functions_text = if functions_text.is_empty() { String::new() } else { format!(", {functions_text}") };
    let batches = match check.window {
        Some(WindowNode::All) => {
            let columns = [key, Vec::new(), accumulators];
            return Ok(vec![
                Table::of_stage(&check.spec.name, format!("{window}{functions_text}"), columns).reading(reads),
            ]);
        }
        Some(WindowNode::Batches { .. }) => true,
        Some(WindowNode::Sliding { .. }) => false,
        Some(WindowNode::Session { .. }) | None => return Ok(Vec::new()),
    };
    let inverse = if inverse && batches { ", with inverse" } else { "" };
    let columns = [key, Column::from_fields([&Arc::new(pane_field())]), accumulators];
    Ok(vec![Table::of_stage(&check.spec.name, format!("{window}{inverse}{functions_text}"), columns).reading(reads)])
}

/// Describes what the stage does.
pub fn summary(text: &StageText<'_>, inverse: bool) -> Option<String> {
    let takes_out = inverse && text.spec.event_time.is_none();
    takes_out.then(|| "rows that leave a window are subtracted by the inverse".into())
}
