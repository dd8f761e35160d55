//! `millstream run --watch`: a rebuilt local component replaces the running one, between two batches.
//!
//! The files are polled, as in [`crate::author::watch`]. A changed file is used once it no longer changes. If a
//! component cannot be used, that is reported, and the running one continues. A new component is on trial
//! ([`millstream_plugins::plugin::trial`]): if one of its calls fails, the previous version makes that call, and is
//! restored here.

use crate::cli::upgrade::running::{NextComponent, RunningJob};
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};
use millstream_base::threads;
use millstream_engine::running::upgrade::{UpgradeStatus, UpgradeStep};
use millstream_job::plugin_part::PluginPart;
use millstream_job::spec::{JobSpec, PluginSpec};
use millstream_metrics::PluginId;
use millstream_packages::lock::edit;
use millstream_plugins::plugin::{component_file, read_component};
use millstream_runtime::control::{JobStatus, PartStatus, query_status};
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

/// The polling interval.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// When a file was written, and its length. `None` if it does not exist, for example while it is replaced.
type FileStamp = Option<(SystemTime, u64)>;

/// The component of a stage, source or sink.
struct WatchedComponent {
    /// The part, see [`PluginPart`].
    stage: String,
    /// `plugin` in the job file.
    plugin: String,
    /// The path of the plugin, relative to the directory of the job.
    path: PathBuf,
    seen: FileStamp,
    /// Whether the file has changed, and may still be written.
    changed: bool,
    /// A copy of the running component, as the next build replaces its file. `None` if it could not be copied.
    runs: Option<ComponentCopy>,
    /// The version that has replaced it, while it has not failed.
    trial: Option<TrialVersion>,
}

/// A copy of a component, in a file without a name, so that nothing of it is left after this process.
#[derive(Clone)]
struct ComponentCopy {
    file: Arc<File>,
    digest: Digest,
}

impl ComponentCopy {
    /// Returns the path for other processes of this user.
    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()))
    }
}

/// A version on trial: its upgrade, and the previous version.
struct TrialVersion {
    upgrade: u64,
    before: ComponentCopy,
}

/// Watches the local components of a job that is about to run, for as long as this process lives.
pub fn start(file: &Path, job: &JobSpec) -> Result<()> {
    let file = file.to_owned();
    let own = plugins(job).into_iter().filter(|(_, plugin)| plugin.package().is_none());
    let mut all: Vec<_> = own
        .map(|(part, plugin)| {
            let path = job.origin.dir.join(&plugin.path);
            let (stage, plugin) = (part.id(), plugin.path.display().to_string());
            let runs = component(&path).ok().and_then(|(_, bytes)| copy_of(&bytes));
            WatchedComponent { stage, plugin, seen: file_stamp(&path), path, changed: false, runs, trial: None }
        })
        .collect();
    if all.is_empty() {
        let message = "--watch: the job has no local component that could be rebuilt: its plugins are packages";
        return Err(Error::job(format!("{}: {message}", file.display())));
    }
    let failed = |error| tracing::error!("--watch has ended: {error}");
    let watching = threads::start("millstream-watch", "the thread that watches components", failed, move || {
        loop {
            thread::sleep(POLL_INTERVAL);
            all.iter_mut().for_each(|watched| watched.look(&file));
        }
    });
    watching.map(drop)
}

/// Returns the plugins of a job, with their parts.
fn plugins(job: &JobSpec) -> Vec<(PluginPart<'_>, &PluginSpec)> {
    let sources = job.sources.iter().filter_map(|source| Some((PluginPart::Source(&source.name), source.plugin()?)));
    let stages = job
        .stages
        .iter()
        .flat_map(|stage| stage.plugins().into_iter().map(|plugin| (PluginPart::Stage(&stage.name), plugin)));
    let sinks = job.sinks.iter().filter_map(|sink| Some((PluginPart::Sink(&sink.name), sink.plugin()?)));
    sources.chain(stages).chain(sinks).collect()
}

/// Returns the status of a part in the status of a job.
fn part_of(status: JobStatus, part: PluginPart<'_>) -> Option<PartStatus> {
    let parts = match part {
        PluginPart::Source(_) => status.sources,
        PluginPart::Stage(_) => status.stages,
        PluginPart::Sink(_) => status.sinks,
    };
    parts.into_iter().find(|known| known.name == part.name())
}

impl WatchedComponent {
    fn look(&mut self, job: &Path) {
        let now = file_stamp(&self.path);
        let rests = now.is_some() && now == self.seen;
        self.changed |= now != self.seen;
        self.seen = now;
        self.restore_failed(job);
        // If the job is starting or restarting, it gets the component once it runs.
        if !self.changed || !rests {
            return;
        }
        let Some(runs) = query_status(job).ok().and_then(|responses| responses.responded.into_iter().next()) else {
            return;
        };
        self.changed = false;
        let (stage, shown) = (self.stage.clone(), self.path.display().to_string());
        let part = PluginPart::parse(&stage);
        let now = part_of(runs.status, part);
        match self.take(job, now.and_then(|now| now.plugin)) {
            Ok(Some(UpgradeStatus { step: UpgradeStep::Dropped(why), from, .. })) => {
                tracing::warn!("{part} continues with {}: {shown} was rebuilt but is not used: {why}", from.0);
            }
            // The job itself has reported it.
            Ok(_) => {}
            Err(error) => {
                let message = &error.message;
                tracing::warn!("{part} continues unchanged: {shown} was rebuilt but is not used: {message}");
            }
        }
    }

    /// Restores the previous version if the one on trial has failed.
    fn restore_failed(&mut self, job: &Path) {
        let Some(TrialVersion { upgrade, before }) = &self.trial else { return };
        // A job that is stopping, or was restarted, does not know the upgrade.
        let Ok(all) = RunningJob::find(job).and_then(|running| running.status(*upgrade)) else { return };
        if !all.iter().any(|status| matches!(status.step, UpgradeStep::Failed(_))) {
            return;
        }
        let before = before.clone();
        self.trial = None;
        let put = RunningJob::find(job).and_then(|running| {
            let prepared = running.prepare(&self.stage, &self.built_component(&before.path(), &before.digest))?;
            running.commit(prepared.id)
        });
        let (part, shown) = (PluginPart::parse(&self.stage), self.path.display());
        match put {
            Ok(UpgradeStatus { step: UpgradeStep::Done { .. }, .. }) => {
                tracing::warn!("{part} has the version before {shown} again, and waits for the next build");
            }
            Ok(UpgradeStatus { step, .. }) => {
                tracing::warn!("{part}: the previous version was not restored: {step:?}")
            }
            Err(error) => tracing::warn!("{part}: the previous version was not restored: {}", error.message),
        }
        self.runs = Some(before);
    }

    /// Returns the component of a file. It was built here and is no package, so it is not signed.
    fn built_component<'a>(&'a self, file: &'a Path, digest: &'a Digest) -> NextComponent<'a> {
        NextComponent { plugin: &self.plugin, file, digest, signers: None }
    }

    /// Upgrades the job to the current component, unless that is what it `runs`, or the job file now names another
    /// plugin.
    fn take(&mut self, job: &Path, runs: Option<PluginId>) -> Result<Option<UpgradeStatus>> {
        if edit::plugin_of(job, &self.stage)?.is_some_and(|plugin| plugin != self.plugin) {
            return Ok(None);
        }
        let (file, bytes) = component(&self.path)?;
        let digest = Digest::compute(&bytes);
        let is_running = |digest: &Digest| runs.as_ref().is_some_and(|runs| runs.digest == digest.to_string());
        if is_running(&digest) {
            return Ok(None);
        }
        let running = RunningJob::find(job)?;
        let before = self.runs.clone().filter(|copy_of| is_running(&copy_of.digest));
        let prepared = match before {
            Some(_) => running.prepare_on_trial(&self.stage, &self.built_component(&file, &digest))?,
            None => running.prepare(&self.stage, &self.built_component(&file, &digest))?,
        };
        let status = running.commit(prepared.id)?;
        if matches!(status.step, UpgradeStep::Done { .. } | UpgradeStep::Failed(_)) {
            self.trial = before.map(|before| TrialVersion { upgrade: status.id, before });
            self.runs = copy_of(&bytes);
        }
        Ok(Some(status))
    }
}

/// Returns a copy of a component.
fn copy_of(bytes: &[u8]) -> Option<ComponentCopy> {
    let mut file = tempfile::tempfile().ok()?;
    file.write_all(bytes).ok()?;
    Some(ComponentCopy { file: Arc::new(file), digest: Digest::compute(bytes) })
}

fn file_stamp(path: &Path) -> FileStamp {
    let metadata = fs::metadata(component_file(path).ok()?).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Returns the component of a path: its file and its bytes.
fn component(path: &Path) -> Result<(PathBuf, Vec<u8>)> {
    let file = component_file(path)?;
    let bytes = read_component(&file)?;
    Ok((file, bytes))
}
