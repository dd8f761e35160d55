//! `millstream rollback`: returns a stage, source or sink to the plugin before its last upgrade, with the state of that
//! time.

use super::upgrade::running::RunningJob;
use super::upgrade::{NextVersion, promote, report};
use clap::Args;
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};
use millstream_base::fault;
use millstream_base::ids::{BatchId, Generation};
use millstream_base::package_name::PackageRequest;
use millstream_base::retry::StartupRetry;
use millstream_connectors::kinds;
use millstream_engine::checkpoint::rollback::Rollback;
use millstream_engine::checkpoint::store::{self, Store};
use millstream_engine::checkpoint::types::{Manifest, TableOf};
use millstream_engine::checkpoint::{manifest, record};
use millstream_engine::graph::Graph;
use millstream_engine::running::Options;
use millstream_engine::running::upgrade::UpgradeStatus;
use millstream_job::plugin_part::PluginPart;
use millstream_job::spec::JobSpec;
use millstream_packages::lock::{LockFile, PreviousVersion, edit};
use millstream_plugins::plugin::{PluginHost, component_file};
use millstream_runtime::control::{
    ControlQuestion, ControlResponse, ProcessResponse, RunningMark, query_status, send_question,
};
use millstream_runtime::recover;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How often the status is checked while the job restarts.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Maximum time without a response of any process, between the end of the job and its restart.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How many times a start is checked before the job is stopped.
const CHECKS_MAX: usize = 5;

/// The arguments of `millstream rollback`.
#[derive(Args)]
#[command(
    after_help = "A stage with state returns to the checkpoint at the upgrade: later batches are replayed with the \
                  previous plugin, and sinks keep what they have of them. A stage without state, a source and a \
                  sink return to the previous plugin between two batches."
)]
pub struct RollbackArguments {
    /// Path of the job file
    job: PathBuf,
    /// Stage, source or sink (`sinks.NAME` if a stage has the same name)
    stage: String,
    /// Keep the current state, and only replace the plugin
    ///
    /// It is replaced between two batches. The state must have the same columns in both versions.
    #[arg(long)]
    keep_state: bool,
}

/// Rolls a stage back, and returns what was done.
pub fn rollback(arguments: &RollbackArguments) -> Result<String> {
    let RollbackArguments { job, stage, keep_state } = arguments;
    let stage = &edit::part_of(job, stage)?;
    let part = PluginPart::parse(stage);
    let spec = millstream_job::load(job, kinds::all(), &[])?;
    let dir = edit::dir_of(job);
    let Some(before) = LockFile::read(dir)?.before(&spec.name, stage).cloned() else {
        return Err(Error::job(format!(
            "{}: {part} has no previous version: {} next to it lists no upgrade",
            job.display(),
            millstream_packages::lock::FILE
        )));
    };
    check(&spec, &before)?;
    let runs = !query_status(job)?.responded.is_empty();
    let as_of = if *keep_state { None } else { as_of(&spec, &before, runs)? };
    if !runs && RunningMark::is_held(job)? {
        return Err(Error::environment(
            "the job is running but does not respond (it may be restarting); retry when `millstream status` works, or stop it \
             first; nothing was changed",
        ));
    }
    match (as_of, runs) {
        (None, true) => upgrade_back(job, &before),
        (None, false) => {
            restore(job, &before, None)?;
            Ok(format!("{part} has {} again; start the job: millstream run {}\n", before.plugin, job.display()))
        }
        (Some((store, batch)), true) => restart(job, &*store, &before, batch),
        (Some((store, batch)), false) => {
            let (_, batch) = restore_with_state(job, &*store, &before, batch)?;
            Ok(format!(
                "stage `{stage}` has {} again; start the job as of batch {batch}:\n  millstream run {} --replay-from {batch}\n",
                before.plugin,
                job.display()
            ))
        }
    }
}

/// Checks the lock file against the checkpoint, which keeps what ran before each upgrade. A lock file is text that many
/// people may write, and what it names is run.
fn check(spec: &JobSpec, before: &PreviousVersion) -> Result<()> {
    let (Some(checkpoint), Some(batch)) = (&spec.checkpoint, before.batch) else { return Ok(()) };
    let store = store::open(&checkpoint.dir, &spec.origin.dir)?;
    let Some((manifest, _)) = manifest::read(&*store)? else { return Ok(()) };
    let statuses = |error: Error| {
        Error::job(format!(
            "{}: {} says that it had {} before its last upgrade, after batch {batch}, which is wrong: {}; nothing was \
             changed",
            PluginPart::parse(&before.stage),
            millstream_packages::lock::FILE,
            before.plugin,
            error.message
        ))
    };
    let Some(ran) = record::ran_before(&*store, &manifest.starts, BatchId(batch), (&before.stage, &before.plugin))
        .map_err(statuses)?
    else {
        return Ok(());
    };
    let is = digest_of(&spec.origin.dir, &before.plugin).map_err(|error| error.within(&before.plugin))?;
    if is.is_none_or(|is| is.hex() == ran) {
        return Ok(());
    }
    Err(Error::job(format!(
        "{}: {} is not the component that ran before the last upgrade (sha256:{ran}); restore that one, or upgrade to the \
         current one with millstream upgrade; nothing was changed",
        PluginPart::parse(&before.stage),
        before.plugin
    )))
}

/// Returns the digest of the component that a job in this directory would get for this plugin. `None` if only loading
/// can tell.
fn digest_of(dir: &Path, plugin: &str) -> Result<Option<Digest>> {
    if plugin.contains('@') && !plugin.contains('/') {
        let wanted: PackageRequest = plugin.parse()?;
        let lock = LockFile::read(dir)?;
        return Ok(wanted.version.and_then(|version| lock.pin(&wanted.name, &version).map(|pin| pin.layer)));
    }
    // If it cannot be read, loading reports that.
    let bytes = component_file(&dir.join(plugin)).ok().and_then(|file| millstream_base::regular::read(file).ok());
    Ok(bytes.map(|bytes| Digest::compute(&bytes)))
}

/// Returns the batch whose checkpoint has the previous state, and its store. `None` if the plugin keeps no state. Fails
/// if the state is no longer kept.
fn as_of(spec: &JobSpec, before: &PreviousVersion, runs: bool) -> Result<Option<(Arc<dyn Store>, u64)>> {
    let Some(checkpoint) = &spec.checkpoint else { return Ok(None) };
    let store = store::open(&checkpoint.dir, &spec.origin.dir)?;
    let Some((manifest, _)) = manifest::read(&*store)? else {
        return match runs {
            true => Err(Error::job(format!(
                "stage `{}`: the job runs, and {} holds none of its checkpoints: it was started with another `checkpoint.dir` (--set, or an \
                 environment variable) than this command uses, so the state to go back to is unknown; stop the job, write its \
                 directory into the job file and retry, or add --keep-state; nothing was changed",
                before.stage,
                store.location()
            ))),
            false => Ok(None),
        };
    };
    let tables = manifest.newest().map_or(&[][..], |newest| &newest.tables);
    if !tables.iter().any(|table| table.of == TableOf::Stage && table.name == before.stage) {
        return Ok(None);
    }
    let kept = |batch: u64| manifest.checkpoints.iter().any(|checkpoint| checkpoint.batch.0 == batch);
    match before.batch {
        Some(batch) if kept(batch) => Ok(Some((store, batch))),
        batch => Err(missing_state_error(&manifest, before, batch)),
    }
}

fn missing_state_error(manifest: &Manifest, before: &PreviousVersion, batch: Option<u64>) -> Error {
    let kept: Vec<String> = manifest.checkpoints.iter().map(|kept| kept.batch.to_string()).collect();
    let when = batch.map_or("at the upgrade".to_owned(), |batch| format!("after batch {batch}, at the upgrade,"));
    Error::job(format!(
        "stage `{}`: the checkpoint {when} was deleted, and with it the state of that time; existing checkpoints: after \
         batches {}; to go back to {} with the current state, add --keep-state; nothing was changed",
        before.stage,
        kept.join(", "),
        before.plugin
    ))
}

/// Upgrades to the previous plugin.
fn upgrade_back(job: &Path, before: &PreviousVersion) -> Result<String> {
    let running = RunningJob::find(job)?;
    // Paths in a job file are relative to its directory.
    let path = edit::dir_of(job).join(&before.plugin);
    let to = if before.plugin.contains('@') { None } else { path.to_str() };
    let next = NextVersion::find(job, &before.stage, to.unwrap_or(&before.plugin), None)?;
    let prepared = running.prepare(&before.stage, &next.component())?;
    let status: UpgradeStatus = promote(&running, &before.stage, &next, &prepared)?;
    Ok(report::render(&status))
}

/// Restores job file and lock file to their state before the upgrade. They stay unchanged if the job would not start.
fn restore(job: &Path, before: &PreviousVersion, as_of: Option<u64>) -> Result<RollbackUndo> {
    let plugin = edit::plugin_of(job, &before.stage)?;
    edit::set_plugin(job, &before.stage, &before.plugin)?;
    LockFile::change(edit::dir_of(job), |lock| {
        lock.before.retain(|other| other != before);
        Ok(())
    })?;
    let undo = RollbackUndo { plugin, before: before.clone() };
    match check_start(job, as_of) {
        Ok(()) => Ok(undo),
        Err(error) => {
            undo.undo(job)?;
            Err(error.within("the job would not start with the previous plugin, so nothing was changed"))
        }
    }
}

/// Like [`restore`], with a note in the store that the next start goes back to this batch, however it is started.
/// Returns the batch to which it goes back. It is an earlier one if other stages go back to it with the same start.
fn restore_with_state(
    job: &Path,
    store: &dyn Store,
    before: &PreviousVersion,
    batch: u64,
) -> Result<(RollbackUndo, u64)> {
    let (noted, first) = note(store, before, batch)?;
    match restore(job, before, Some(first)) {
        // The job was restarted meanwhile, perhaps with the plugin that is being removed.
        Ok(undo) if generation(store)? != noted => Ok((undo, note(store, before, batch)?.1)),
        Ok(undo) => Ok((undo, first)),
        Err(error) => {
            Rollback::remove(store, &before.stage)?;
            Err(error)
        }
    }
}

fn note(store: &dyn Store, before: &PreviousVersion, batch: u64) -> Result<(Generation, u64)> {
    let generation = generation(store)?;
    let (stage, plugin, batch) = (before.stage.clone(), before.plugin.clone(), BatchId(batch));
    let first = Rollback { stage, plugin, batch, generation }.write(store)?;
    Ok((generation, first.0))
}

/// Returns the generation of the last start of the job.
fn generation(store: &dyn Store) -> Result<Generation> {
    Ok(manifest::read(store)?.map(|(manifest, _)| manifest.generation).unwrap_or_default())
}

/// What [`restore`] has changed.
struct RollbackUndo {
    plugin: Option<String>,
    before: PreviousVersion,
}

impl RollbackUndo {
    fn undo(self, job: &Path) -> Result<()> {
        if let Some(plugin) = self.plugin {
            edit::set_plugin(job, &self.before.stage, &plugin)?;
        }
        LockFile::change(edit::dir_of(job), |lock| {
            lock.set_before(self.before);
            Ok(())
        })
    }
}

/// Checks that the job can be started with its current file, as of this batch or from its current state. A running job
/// changes what is checked, so only a repeated error counts.
fn check_start(job: &Path, as_of: Option<u64>) -> Result<()> {
    let graph = Graph::resolve(
        millstream_job::load(job, kinds::all(), &[])?,
        kinds::all(),
        &PluginHost::new()?,
        false,
        StartupRetry::No,
    )?;
    let Some(checkpoint) = &graph.spec.checkpoint else { return Ok(()) };
    let store = store::open(&checkpoint.dir, &graph.spec.origin.dir)?;
    // A restart uses the previous number of workers: with others, some batches may not be replayed.
    let last = manifest::read(&*store)?.and_then(|(manifest, _)| manifest.starts.last().map(|start| start.workers));
    let workers = last.and_then(|workers| usize::try_from(workers).ok());
    let options = Options { replay_from: as_of.map(BatchId), workers, ..Options::default() };
    let mut decided = recover::decide(&graph, &*store, &options, None, None, None);
    for _ in 1..CHECKS_MAX {
        if decided.is_err() {
            decided = recover::decide(&graph, &*store, &options, None, None, None);
        }
    }
    decided.map(drop)
}

/// Makes the running job restart from the checkpoint after a batch, and waits until it has.
fn restart(job: &Path, store: &dyn Store, before: &PreviousVersion, batch: u64) -> Result<String> {
    let running = RunningJob::find(job)?;
    let since = newest_start(job)?;
    let (undo, batch) = restore_with_state(job, store, before, batch)?;
    fault::point("rollback.written");
    if let Err(error) = request_restart(&running, batch) {
        undo.undo(job)?;
        Rollback::remove(store, &before.stage)?;
        return Err(error);
    }
    let mut last_response = Instant::now();
    while newest_start(job)? <= since {
        if !query_status(job)?.responded.is_empty() {
            last_response = Instant::now();
        }
        if last_response.elapsed() > TIMEOUT {
            return Err(Error::environment(format!(
                "the job stopped to go back to batch {batch} and did not restart; its log shows why; the job file has \
                 {} again; start it with: millstream run {} --replay-from {batch}",
                before.plugin,
                job.display()
            )));
        }
        thread::sleep(POLL_INTERVAL);
    }
    Ok(format!(
        "stage `{}` has {} again, with the state after batch {batch}; later batches are replayed, and sinks keep what they \
         hold of them\n",
        before.stage, before.plugin
    ))
}

/// Returns when the job of this file was started, if all of its processes respond, otherwise 0.
fn newest_start(job: &Path) -> Result<i64> {
    let statuses = query_status(job)?.responded;
    let all = statuses.first().is_some_and(|first| statuses.len() >= first.status.processes);
    Ok(statuses.iter().map(|statuses| statuses.status.since_us).min().filter(|_| all).unwrap_or_default())
}

fn request_restart(running: &RunningJob, batch: u64) -> Result<()> {
    let question = ControlQuestion::Restart { replay_from: BatchId(batch) };
    for ProcessResponse { process, response } in send_question(&running.file, &question, |_| true)? {
        match response {
            Ok(ControlResponse::Done(_)) => {}
            Ok(ControlResponse::Refused(message)) => return Err(Error::job(message)),
            Ok(ControlResponse::Error(message)) | Err(message) => {
                return Err(Error::environment(format!("process {process} of the job: {message}")));
            }
            Ok(ControlResponse::Status(_) | ControlResponse::View(_) | ControlResponse::Upgrade(_)) => {
                return Err(Error::environment(format!("process {process} of the job sent an unexpected response")));
            }
        }
    }
    Ok(())
}
