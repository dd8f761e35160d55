//! Stages with `enrich`.

use crate::checkpoint::types::{Column, Table};
use crate::operators::enrich::node::EnrichNode;
use crate::operators::stage::Operator;
use crate::operators::stage_check::{CheckedStage, StageCheck};
use crate::operators::stage_text::on;
use arrow::datatypes::{Field, Schema};
use millstream_base::error::{Error, Result};
use millstream_base::retry::StartupRetry;
use millstream_base::units::show_time;
use millstream_connect::receiver::table;
use millstream_job::spec::EnrichTable;
use millstream_job::spec::{EnrichSpec, JobSpec, JoinKind, OperatorSpec, SourceSpec};
use millstream_job::table_source;
use millstream_rows::batch::types::{self, ColumnType, columns_of_specs, with_fields};
use std::sync::Arc;

/// Returns the lookup tables of a job's stages as sources. If the job does not declare a table's columns, the table is read.
pub fn sources(spec: &JobSpec, servers: StartupRetry) -> Result<Vec<SourceSpec>> {
    let mut sources = Vec::new();
    for stage in &spec.stages {
        let OperatorSpec::Enrich(enrich) = &stage.operator else { continue };
        let mut source = table_source::source(&stage.name, enrich.clone());
        let within = |error: Error| error.within(table_source::error_prefix(&source, &spec.origin));
        if let (true, Some(enrich)) = (enrich.schema.is_empty(), source.kind.table()) {
            let who = table_source::error_prefix(&source, &spec.origin);
            let content = table::fetch(enrich, &spec.origin, &who, servers).map_err(within)?;
            let columns = table::columns_of(&enrich.table, &content);
            let wrong = |message: String| within(Error::job(table::named(enrich, message)));
            let enrich = EnrichSpec { schema: columns.map_err(wrong)?, ..EnrichSpec::clone(enrich) };
            // The check of the stage, which knows the input, reports missing lookup columns.
            if enrich.on.iter().all(|(_, name)| enrich.schema.iter().any(|column| column.name == *name)) {
                table::Lookup::read(&enrich, &content).map_err(wrong)?;
            }
            source = table_source::source(&stage.name, enrich);
        }
        sources.push(source);
    }
    Ok(sources)
}

/// Returns the name of the checkpoint table with a stage's lookup table.
pub fn content_table(stage: &str) -> String {
    format!("{stage}.content")
}

/// Checks the stage.
pub fn check(check: &StageCheck<'_>, enrich: &EnrichSpec) -> Result<CheckedStage> {
    if check.event_time.is_some() && check.window.is_none() {
        return Err(Error::job("`time` has no meaning for `enrich` without a window; remove it"));
    }
    let inner = match enrich.kind {
        JoinKind::Left => false,
        JoinKind::Inner => true,
        JoinKind::Right | JoinKind::Full => {
            return Err(Error::job("`enrich.type` must be \"left\" or \"inner\": a table has no batches of its own"));
        }
    };
    if enrich.on.is_empty() {
        return Err(Error::job(
            "`enrich.on` is empty; write on = \"sku\", with a column of the input and of the table",
        ));
    }
    let source = check.job.sources.iter().find(|source| source.name == table_source::name_of(&check.spec.name));
    let Some(resolved) = source.and_then(|source| source.kind.table()) else {
        return Err(Error::bug("a table without a source"));
    };
    let columns = columns_of_specs(&resolved.schema);
    let on = keys(check, &enrich.on, &columns, TABLE_TYPES)?;
    let on: Vec<usize> = on.into_iter().map(|(index, _)| index).collect();
    let adds: Vec<usize> = (0..columns.fields().len())
        .filter(|index| !enrich.on.iter().any(|(_, name)| name == columns.field(*index).name()))
        .collect();
    let added = adds.iter().map(|index| {
        let name = columns.field(*index).name();
        let taken = check.input.index_of(name).is_ok();
        let name = if taken { format!("{}_{name}", check.spec.name) } else { name.clone() };
        Arc::new(Field::new(name, columns.field(*index).data_type().clone(), true))
    });
    let output = with_fields(check.input, added);
    let columns = [Vec::new(), Vec::new(), vec![Column::new("content", ColumnType::Binary)]];
    let tables = vec![Table::of_stage(content_table(&check.spec.name), "", columns)];
    let node = EnrichNode { enrich: EnrichSpec::clone(resolved), on, inner, adds, output: output.clone() };
    Ok(CheckedStage { tables, ..CheckedStage::new(output, Operator::Enrich(Box::new(node))) })
}

/// How to convert the types of a table.
const TABLE_TYPES: &str = "make the types equal; for csv or JSON, set enrich.schema";

/// Returns the input columns that must equal the table's, with the table's columns. `help` says what to do if the types differ.
pub fn keys(
    check: &StageCheck<'_>,
    on: &[(String, String)],
    table: &Schema,
    help: &str,
) -> Result<Vec<(usize, usize)>> {
    let mut indexes = Vec::new();
    for (left, right) in on {
        let within = |error: Error| error.within("enrich.on");
        let index = types::column(check.input, left).map_err(within)?;
        let table_index = types::column(table, right).map_err(|error| within(error.within("the table")))?;
        let kind = |schema: &Schema, index: usize| ColumnType::from_arrow(schema.field(index).data_type());
        let (has, needs) = (kind(check.input, index), kind(table, table_index));
        if has != needs {
            return Err(Error::job(format!(
                "enrich.on: `{left}` is {has} in the input, and `{right}` is {needs} in the table; {help}"
            )));
        }
        if !has.is_kept() {
            return Err(Error::job(format!("enrich.on: `{left}` is of type {has}, which cannot be a lookup key")));
        }
        indexes.push((index, table_index));
    }
    Ok(indexes)
}

/// Describes what the stage does.
pub fn summary(enrich: &EnrichSpec) -> String {
    // The URL may contain a password.
    let table = match &enrich.table {
        EnrichTable::File { path, .. } => path.display().to_string(),
        EnrichTable::Query { .. } => "a query".into(),
    };
    let (kind, on, poll) = (enrich.kind.name(), on(&enrich.on), show_time(enrich.poll));
    format!("{kind} join with {table} on {on}, checked every {poll}")
}
