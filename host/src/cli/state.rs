//! `millstream state`: SQL over the state in a checkpoint.

#[cfg_attr(not(feature = "sql"), path = "state/query_absent.rs")]
mod query;

use super::inspect::text::describe;
use super::run::arguments::parse_set;
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;
use clap::Args;
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchId;
use millstream_base::retry::StartupRetry;
use millstream_connectors::kinds;
use millstream_engine::checkpoint::manifest;
use millstream_engine::checkpoint::store::{self, Store};
use millstream_engine::checkpoint::types::{Checkpoint, Column, Manifest, Table, TableOf};
use millstream_engine::graph::Graph;
use millstream_engine::operators::stage::Operator;
use millstream_engine::state::merged;
use millstream_job::spec::{JobSpec, OperatorSpec, StageSpec};
use millstream_plugins::plugin::PluginHost;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

/// The arguments of `millstream state`.
#[derive(Args)]
pub struct StateArguments {
    /// Path of the job file
    job: PathBuf,
    /// Query over the state tables, which have the names of the stages
    ///
    /// For example `select * from totals limit 5`. Without a query, the tables are listed.
    #[arg(long)]
    sql: Option<String>,
    /// Read the checkpoint after this batch (default: the newest)
    #[arg(long)]
    batch: Option<u64>,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
    /// Replace or add a value of the job file
    ///
    /// For example `checkpoint.dir=elsewhere`.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_set)]
    sets: Vec<(String, String)>,
}

/// The state of one stage.
struct StageState {
    name: String,
    key: Vec<Column>,
    columns: Vec<Column>,
    rows: RecordBatch,
}

/// How often the tables are read, each time from a newer manifest: a running job deletes what no checkpoint needs.
const READS_MAX: usize = 3;

/// Shows a part of the output.
type Show<'a> = &'a mut dyn FnMut(&str) -> Result<()>;

/// Runs the command.
pub fn state(arguments: &StateArguments, show: Show<'_>) -> Result<()> {
    let job = millstream_job::load(&arguments.job, kinds::all(), &arguments.sets)?;
    let store = open(&job)?;
    let (checkpoint, mut tables) = read_tables(&*store, arguments.batch.map(BatchId))?;
    show_results(&job, &checkpoint, &mut tables)?;
    match &arguments.sql {
        Some(sql) => query::run_query(&tables, sql, arguments.json, show),
        None => show(&list(&checkpoint, &tables, arguments.json)?),
    }
}

/// Opens the store of a job's checkpoint.
pub fn open(job: &JobSpec) -> Result<Arc<dyn Store>> {
    match &job.checkpoint {
        Some(checkpoint) => store::open(&checkpoint.dir, &job.origin.dir),
        None => Err(Error::job(format!(
            "{}the job `{}` keeps no checkpoint, so it has no state to read; add a table [checkpoint] with `dir`",
            job.origin.at("checkpoint"),
            job.name
        ))),
    }
}

/// Returns the manifest of a store that must have one.
pub fn manifest_of(store: &dyn Store) -> Result<Manifest> {
    let read = manifest::read(store)?;
    read.map(|(manifest, _)| manifest).ok_or_else(|| {
        Error::environment(format!("no checkpoint in {} yet: manifest.json does not exist", store.location()))
    })
}

/// Reads the state of all stages after a batch. If a file was deleted and the manifest has changed, retries with the
/// new one.
fn read_tables(store: &dyn Store, batch: Option<BatchId>) -> Result<(Checkpoint, Vec<StageState>)> {
    let mut manifest = manifest_of(store)?;
    let mut read = 1;
    loop {
        let checkpoint = select_checkpoint(store, &manifest, batch)?;
        let error = match tables_of(store, checkpoint) {
            Ok(tables) => return Ok((checkpoint.clone(), tables)),
            Err(error) => error,
        };
        let newer = manifest_of(store)?;
        if newer == manifest || read == READS_MAX {
            return Err(error);
        }
        manifest = newer;
        read += 1;
    }
}

fn select_checkpoint<'a>(store: &dyn Store, manifest: &'a Manifest, batch: Option<BatchId>) -> Result<&'a Checkpoint> {
    let found = match batch {
        Some(batch) => manifest.checkpoints.iter().find(|checkpoint| checkpoint.batch == batch),
        None => manifest.checkpoints.last(),
    };
    let kept: Vec<String> = manifest.checkpoints.iter().map(|checkpoint| checkpoint.batch.to_string()).collect();
    found.ok_or_else(|| match batch {
        Some(batch) if !kept.is_empty() => {
            Error::job(format!("no checkpoint of batch {batch}; available: {}", kept.join(", ")))
        }
        _ => Error::environment(format!("the job in {} has not written a checkpoint yet", store.location())),
    })
}

fn tables_of(store: &dyn Store, checkpoint: &Checkpoint) -> Result<Vec<StageState>> {
    let stages = checkpoint.tables.iter().filter(|table| table.of == TableOf::Stage);
    let state = |table: &millstream_engine::checkpoint::types::Table| {
        let rows = merged::merged(store, table)?;
        Ok(StageState {
            name: table.name.clone(),
            key: table.key.iter().chain(&table.sub).cloned().collect(),
            columns: table.state.clone(),
            rows,
        })
    };
    stages.map(state).collect()
}

/// Replaces the accumulators of built-in aggregates with their results. Accumulators have their own formats: a mean is
/// a sum and a count, the largest float an integer. If the job can no longer be checked, or has other aggregates, they
/// stay.
fn show_results(job: &JobSpec, checkpoint: &Checkpoint, tables: &mut [StageState]) -> Result<()> {
    let aggregates =
        |stage: &StageSpec| matches!(stage.operator, OperatorSpec::Aggregate { .. } | OperatorSpec::Sql { .. });
    if !job.stages.iter().any(aggregates) {
        return Ok(());
    }
    let graph =
        PluginHost::new().and_then(|host| Graph::resolve(job.clone(), kinds::all(), &host, false, StartupRetry::No));
    let Ok(graph) = graph else { return Ok(()) };
    for node in &graph.stages {
        let Operator::Aggregate(functions) = &node.operator else { continue };
        let accumulators = functions.accumulators()?;
        let kept = checkpoint.tables.iter().find(|table| table.of == TableOf::Stage && table.name == node.name);
        let is_same = |kept: &Table| {
            let same =
                |own: &Table| (&own.name, &own.identity, &own.reads) == (&kept.name, &kept.identity, &kept.reads);
            node.tables.iter().any(same) && kept.state == Column::from_fields(accumulators.fields())
        };
        let table = tables.iter_mut().find(|table| table.name == node.name);
        let Some(table) = table.filter(|_| kept.is_some_and(is_same)) else { continue };
        let (own, keys) = (&table.rows, table.key.len());
        let value_columns: Vec<usize> = (keys..own.num_columns()).collect();
        let results = functions.lower(&own.project(&value_columns).map_err(Error::arrow)?)?;
        let fields =
            own.schema().fields().iter().take(keys).chain(results.schema().fields()).cloned().collect::<Vec<_>>();
        let columns = own.columns().iter().take(keys).chain(results.columns()).cloned().collect();
        table.columns = Column::from_fields(results.schema().fields());
        let options = RecordBatchOptions::new().with_row_count(Some(own.num_rows()));
        table.rows = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
            .map_err(Error::arrow)?;
    }
    Ok(())
}

/// A table in the list.
#[derive(Serialize)]
struct Listed<'a> {
    table: &'a str,
    batch: BatchId,
    rows: usize,
    key: &'a [Column],
    state: &'a [Column],
}

fn list(checkpoint: &Checkpoint, tables: &[StageState], json: bool) -> Result<String> {
    let mut text = String::new();
    if !json {
        let _ = writeln!(text, "state after batch {}:", checkpoint.batch);
    }
    for StageState { name, key, columns, rows } in tables {
        let rows = rows.num_rows();
        if json {
            let listed = Listed { table: name, batch: checkpoint.batch, rows, key, state: columns };
            let _ = writeln!(text, "{}", serde_json::to_string(&listed).map_err(Error::bug)?);
        } else {
            let _ = writeln!(text, "  {name:<16} {rows} rows; key {}; state {}", describe(key), describe(columns));
        }
    }
    if tables.is_empty() && !json {
        text.push_str("  no stage of the job keeps state\n");
    }
    Ok(text)
}

#[cfg(feature = "sql")]
#[cfg(test)]
mod tests;
