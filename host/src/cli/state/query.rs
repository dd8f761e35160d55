//! Queries over the state tables.

use super::{Show, StageState};
use arrow::array::RecordBatch;
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionContext;
use datafusion_common::TableReference;
use futures_util::StreamExt as _;
use millstream_base::error::{Error, Result};
use millstream_base::limits::PART_ROWS_MAX;
use millstream_connectors::print::sink::show_table;
use millstream_job::spec::SqlLimits;
use millstream_rows::batch::types::ColumnType;
use millstream_sql::budget_exec::with_budget;
use millstream_sql::gather::collected;
use millstream_sql::{budget, session};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// Runs a query over the tables and shows its rows.
pub(super) fn run_query(tables: &[StageState], sql: &str, json: bool, show: Show<'_>) -> Result<()> {
    let failed = |error: std::io::Error| Error::environment(format!("cannot run the query: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    // The user may wait as long as the query takes.
    let limits = SqlLimits { time_max: Duration::ZERO, ..SqlLimits::default() };
    let run_query = budget::run_within(limits, || Ok(runtime.block_on(execute(tables, sql, json, limits, show))));
    run_query.unwrap_or_else(|error| Err(Error::job(error_message(error))))
}

pub(super) async fn execute(
    tables: &[StageState],
    sql: &str,
    json: bool,
    limits: SqlLimits,
    show: Show<'_>,
) -> Result<()> {
    let context = SessionContext::new_with_state(session::of_state(limits.memory_bytes_max).map_err(Error::bug)?);
    for StageState { name, rows, .. } in tables {
        let starts = (0..rows.num_rows()).step_by(PART_ROWS_MAX);
        let parts = starts.map(|start| rows.slice(start, PART_ROWS_MAX.min(rows.num_rows() - start))).collect();
        let table = MemTable::try_new(rows.schema(), vec![parts]).map_err(Error::bug)?;
        context.register_table(TableReference::bare(&**name), Arc::new(table)).map_err(Error::bug)?;
    }
    let reads_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let plan = session::plan_of_state(&context.state(), sql).await;
    let plan = plan.and_then(|plan| reads_only.verify_plan(&plan).map(|()| plan));
    let query = match plan {
        Ok(plan) => context.execute_logical_plan(plan).await,
        Err(error) => Err(error),
    };
    let query = query.map_err(|error| Error::job(format!("{}\n{}", error_message(error), describe_tables(tables))))?;
    let schema = Arc::new(query.schema().as_arrow().clone());
    let task = context.task_ctx();
    let plan = query.create_physical_plan().await.and_then(with_budget);
    let to_error = |error: DataFusionError| match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => {
            Error::job(format!("the query cannot be run: {}", budget::memory_message(limits.memory_bytes_max)))
        }
        _ => Error::job(error_message(error)),
    };
    let mut stream = plan.and_then(|plan| execute_stream(plan, task.clone())).map_err(to_error)?;
    if !json {
        let (parts, _reserved) = collected(stream, &task).await.map_err(to_error)?;
        return show(&shown(&schema, &parts)?);
    }
    // The reader may exit long before the end, so rows are shown as they arrive.
    while let Some(part) = stream.next().await {
        show(&json_lines(&part.map_err(to_error)?)?)?;
    }
    Ok(())
}

/// Describes what is wrong with a query.
pub(super) fn error_message(error: DataFusionError) -> String {
    let text = error.strip_backtrace().replace("datafusion.public.", "");
    format!("the query cannot be run: {text}")
}

pub(super) fn describe_tables(tables: &[StageState]) -> String {
    if tables.is_empty() {
        return "the checkpoint has no state of stages, so no tables exist".into();
    }
    let mut text = "existing tables (write names with A-Z, `-` or `.` in double quotes):".to_owned();
    for StageState { name, rows, .. } in tables {
        let columns = rows.schema();
        let _ = write!(text, "\n  {name}: {}", millstream_rows::batch::types::describe(&columns));
    }
    text
}

pub(super) fn shown(schema: &arrow::datatypes::SchemaRef, parts: &[RecordBatch]) -> Result<String> {
    let rows = parts.iter().map(RecordBatch::num_rows).sum();
    let plural = if rows == 1 { "" } else { "s" };
    let table = show_table(schema, parts, rows).map_err(Error::arrow)?;
    Ok(format!("{table}\n({rows} row{plural})\n"))
}

pub(super) fn json_lines(part: &RecordBatch) -> Result<String> {
    let mut out = Vec::new();
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut out);
    writer.write(part).and_then(|()| writer.finish()).map_err(|error| {
        let schema = part.schema();
        let kinds: Vec<String> =
            schema.fields().iter().map(|f| ColumnType::from_arrow(f.data_type()).to_string()).collect();
        let kinds = kinds.join(", ");
        Error::job(format!("the rows ({kinds}) cannot be shown as JSON: {error}; omit --json or cast them"))
    })?;
    String::from_utf8(out).map_err(Error::bug)
}
