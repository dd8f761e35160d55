//! Replays one planned batch from its plan and the state before it. Nothing is committed or written.

use super::launch::{OpenSinks, launch};
use crate::recover;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::ids::{BatchId, BatchTime, Generation};
use millstream_base::retry::StartupRetry;
use millstream_connect::sink;
use millstream_connectors::kinds;
use millstream_engine::checkpoint::resolve;
use millstream_engine::checkpoint::store::{self, Store};
use millstream_engine::checkpoint::types::{JobStart, Manifest};
use millstream_engine::checkpoint::{manifest, plan, record};
use millstream_engine::graph::Graph;
use millstream_engine::running::Options;
use millstream_job::spec::{JobSpec, StageSpec};
use millstream_plugins::plugin::PluginHost;
use millstream_rows::batch::sink::Sink;
use std::sync::{Arc, Mutex, PoisonError};

/// What a sink would have committed for the batch.
pub struct Replayed {
    /// The name of the sink.
    pub sink: String,
    /// The schema of its rows.
    pub schema: SchemaRef,
    /// The rows, in order.
    pub rows: Vec<RecordBatch>,
    /// Whether these are the bytes that the sink holds. `None` if the sink cannot report that.
    pub same: Option<bool>,
}

/// A replayed batch.
pub struct Replay {
    /// The batch time.
    pub time: BatchTime,
    /// What each sink would have committed.
    pub sinks: Vec<Replayed>,
    /// The stages whose result may differ from the first run.
    pub not_replayable: Vec<String>,
}

/// Replays a batch. `as_it_was`: use the job file and the plugins that are kept with the checkpoint instead of the
/// current ones.
pub fn replay(spec: JobSpec, options: Options, batch: BatchId, as_it_was: bool) -> Result<Replay> {
    let Some(checkpoint) = &spec.checkpoint else {
        return Err(Error::job(format!(
            "the job `{}` has no checkpoints, so none of its batches can be replayed; add a table [checkpoint] with \
             `dir`",
            spec.name
        )));
    };
    let store = store::open(&checkpoint.dir, &spec.origin.dir)?;
    let Some((manifest, _)) = manifest::read(&*store)? else {
        return Err(Error::job(format!("{}: no checkpoint found; run the job first", store.location())));
    };
    let (base, start) = base_checkpoint(&*store, &manifest, batch)?;
    let dir = tempfile::tempdir().map_err(|e| Error::environment(format!("cannot create a directory: {e}")))?;
    let spec =
        if as_it_was { record::job(&*store, &record::read(&*store, start)?, kinds::all(), dir.path())? } else { spec };
    let differs = |stage: &&StageSpec| stage.plugins().iter().any(|plugin| !plugin.replayable);
    let not_replayable = spec.stages.iter().filter(differs).map(|stage| stage.name.clone()).collect();
    let workers = options.workers.unwrap_or(usize::try_from(start.workers).unwrap_or(1));
    let options = Options { workers: Some(workers), replay_until: Some(batch), dry: true, ..options };
    let graph = Graph::resolve(spec, kinds::all(), &PluginHost::new()?, false, StartupRetry::No)?;
    let failure = Failure::default();
    let pretended = hypothetical_manifest(&manifest, base, batch, start);
    let checkpoints = recover::prepare(&graph, store, &pretended, None, None, &options, &failure)?;
    let captured = Arc::new(Mutex::new(Vec::new()));
    let sinks = capture_sinks(&graph, batch, &captured);
    let (sink_specs, origin) = (graph.spec.sinks.clone(), graph.spec.origin.clone());
    let schemas: Vec<SchemaRef> = sink_specs.iter().map(|spec| graph.union(&spec.from)).collect::<Result<_>>()?;
    launch(graph, options, Some(checkpoints), sinks, failure, None)?.await_termination(None)?;

    let mut captured = std::mem::take(&mut *captured.lock().unwrap_or_else(PoisonError::into_inner));
    captured.sort_by_key(|captured: &ReplayedRows| captured.sink);
    let time = captured.first().map_or(BatchTime(0), |captured| captured.time);
    let mut replayed = Vec::new();
    for (captured, (spec, schema)) in captured.into_iter().zip(sink_specs.iter().zip(schemas)) {
        let rendered = sink::render(spec, &schema, batch, time, &captured.rows)?;
        let same = sink::written(spec, &origin, batch)?.map(|written| written == rendered);
        replayed.push(Replayed { sink: spec.name.clone(), schema, rows: captured.rows, same });
    }
    Ok(Replay { time, sinks: replayed, not_replayable })
}

/// Returns the newest checkpoint before the batch from which plans lead to it, and the startup that planned the batch.
fn base_checkpoint<'a>(store: &dyn Store, manifest: &'a Manifest, batch: BatchId) -> Result<(BatchId, &'a JobStart)> {
    let logs: Vec<_> = plan::read_heads(store)?.into_iter().map(|log| (log.name, log.heads)).collect();
    let planned = resolve::planned(&manifest.starts, &logs);
    let bases = manifest.checkpoints.iter().rev().map(|checkpoint| checkpoint.batch).chain([BatchId(0)]);
    let mut reached = Vec::new();
    for base in bases {
        let run = resolve::run(&manifest.starts, &planned, base);
        if run.iter().any(|(planned, _)| *planned == batch) {
            let start =
                resolve::owner(&manifest.starts, batch).ok_or_else(|| Error::bug("a plan without a startup"))?;
            return Ok((base, start));
        }
        reached.extend(run.into_iter().map(|(batch, _)| batch));
    }
    let range = match (reached.iter().min(), reached.iter().max()) {
        (Some(first), Some(last)) => format!("plans exist for batches {first} to {last}"),
        _ => "no plans exist at the moment".to_owned(),
    };
    Err(Error::job(format!(
        "{}: batch {batch} cannot be replayed: {range} (those since the oldest kept checkpoint)",
        store.location()
    )))
}

/// Returns the manifest of a hypothetical start that replays up to this batch and no further.
fn hypothetical_manifest(manifest: &Manifest, base: BatchId, batch: BatchId, like: &JobStart) -> Manifest {
    let generation = Generation(manifest.generation.0.saturating_add(1));
    let start =
        JobStart { generation, after: batch, first: batch.next(), checkpoint: base, upgrade: false, ..like.clone() };
    let mut pretended = Manifest { generation, ..manifest.clone() };
    pretended.starts.push(start);
    pretended
}

/// The rows of one sink.
struct ReplayedRows {
    sink: usize,
    time: BatchTime,
    rows: Vec<RecordBatch>,
}

/// A sink that keeps the rows of one batch.
struct ReplaySink {
    sink: usize,
    before: BatchId,
    captured: Arc<Mutex<Vec<ReplayedRows>>>,
}

impl Sink for ReplaySink {
    fn committed(&self) -> Option<BatchId> {
        Some(self.before)
    }

    fn commit(&mut self, _batch: BatchId, time: BatchTime, rows: Vec<RecordBatch>) -> Result<()> {
        let captured = ReplayedRows { sink: self.sink, time, rows };
        self.captured.lock().unwrap_or_else(PoisonError::into_inner).push(captured);
        Ok(())
    }
}

fn capture_sinks(graph: &Graph, batch: BatchId, captured: &Arc<Mutex<Vec<ReplayedRows>>>) -> OpenSinks {
    let before = BatchId(batch.0.saturating_sub(1));
    let catcher = |sink| ReplaySink { sink, before, captured: captured.clone() };
    (0..graph.spec.sinks.len()).map(|sink| Some(Box::new(catcher(sink)) as Box<dyn Sink>)).collect()
}
