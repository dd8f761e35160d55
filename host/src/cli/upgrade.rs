//! `millstream upgrade`: upgrades a plugin of a running job.

pub(super) mod report;
pub(super) mod running;

use super::run::signals;
use clap::Args;
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};
use millstream_base::package_name::{PackageRequest, version};
use millstream_connectors::kinds;
use millstream_engine::operators::plugin::shadow::rule::ShadowRule;
use millstream_engine::running::upgrade::{UpgradeStatus, UpgradeStep};
use millstream_job::plugin_part::PluginPart;
use millstream_packages::lock::store::PackageStore;
use millstream_packages::lock::{LockFile, Pin, PreviousVersion, add, edit};
use millstream_packages::package::difference::Difference;
use millstream_packages::package::facts::PackageFacts;
use millstream_plugins::plugin::{component_file, read_component};
use running::{NextComponent, RunningJob};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The arguments of `millstream upgrade`.
#[derive(Args)]
#[command(
    after_help = "The job keeps running: the new version is loaded and checked next to the old one, and replaces it between two \
                  batches. The lock file and `plugin` in the job file are updated."
)]
pub struct UpgradeArguments {
    /// Path of the job file
    job: PathBuf,
    /// Stage, source or sink (`sinks.NAME` if a stage has the same name)
    stage: String,
    /// New version: `0.2.0`, `name@0.2.0`, or a path
    ///
    /// A version of the current package, another package, or the path of a component or plugin directory.
    to: String,
    /// Registry: `oci://host/path`, or a directory
    ///
    /// Default: the one in the lock file.
    #[arg(long)]
    registry: Option<String>,
    /// Accept a version that needs more permissions or otherwise differs
    #[arg(long)]
    accept: bool,
    /// Stages: first run both versions for this many batches
    ///
    /// The new version gets the same rows; its output is compared and dropped.
    #[arg(long, value_name = "BATCHES")]
    shadow: Option<u64>,
    /// When the new version replaces the old one after --shadow
    #[arg(long, value_enum, value_name = "RULE", default_value_t, requires = "shadow")]
    promote: ShadowRule,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Upgrades a stage, source or sink. Returns the output, and the error if the upgrade was dropped.
pub fn upgrade(arguments: &UpgradeArguments) -> Result<(String, Result<()>)> {
    let UpgradeArguments { job, stage, to, registry, shadow, .. } = arguments;
    let stage = &edit::part_of(job, stage)?;
    if shadow.is_some() {
        if let part @ (PluginPart::Source(_) | PluginPart::Sink(_)) = PluginPart::parse(stage) {
            return Err(Error::job(format!(
                "{part}: a {} cannot have a shadow, as both versions would {}; upgrade it without --shadow, and test the new \
                 version with millstream test or in a separate job",
                part.keyword(),
                if matches!(part, PluginPart::Source(_)) { "read" } else { "write" }
            )));
        }
        // Before any thread starts that would receive them.
        signals::block().map_err(Error::environment)?;
    }
    let next = NextVersion::find(job, stage, to, registry.as_deref())?;
    let running = RunningJob::find(job)?;
    let differs = next.accepted(stage, arguments.accept)?;
    let prepared = running.prepare(stage, &next.component())?;
    let (mut status, mut ruled) = (prepared, Ok(()));
    if let Some(batches) = *shadow {
        (status, ruled) = run_shadow(&running, &status, batches, arguments.promote)?;
    }
    if ruled.is_ok() {
        let shadow = status.shadow.take();
        status = UpgradeStatus { shadow, ..promote(&running, stage, &next, &status)? };
    }
    let shown = if arguments.json { report::json(&status, &ruled)? } else { differs + &report::render(&status) };
    Ok((shown, ruled.map_err(|why| dropped_error(&status, &why))))
}

/// Runs a prepared plugin in a shadow, and drops it if the rule says so. Returns the result, and why it was dropped.
fn run_shadow(
    running: &RunningJob,
    prepared: &UpgradeStatus,
    batches: u64,
    rule: ShadowRule,
) -> Result<(UpgradeStatus, Result<(), String>)> {
    let over = Arc::new(AtomicBool::new(false));
    running.give_up_on_signals(prepared.id, over.clone())?;
    let status = running.shadow(prepared.id, batches).inspect_err(|error| {
        // It need not stay prepared. The job may also have ended.
        let _ = running.give_up(prepared.id, &error.message);
    })?;
    over.store(true, Ordering::Release);
    let ruled = match (&status.step, &status.shadow) {
        (UpgradeStep::Dropped(why), _) => Err(why.clone()),
        (_, Some(report)) => rule.decide(report, batches),
        (_, None) => Err("it reported nothing".to_owned()),
    };
    if let Err(why) = &ruled {
        // The job may already have dropped it.
        let _ = running.give_up(prepared.id, why);
    }
    Ok((status, ruled))
}

fn dropped_error(UpgradeStatus { stage, from, to, .. }: &UpgradeStatus, why: &str) -> Error {
    Error::environment(format!("{} still runs {}, and {} was dropped: {why}", PluginPart::parse(stage), from.0, to.0))
}

/// The plugin that is to run in a stage, source or sink.
pub struct NextVersion {
    /// The new value of `plugin` in the job file.
    pub plugin: String,
    /// The current value.
    pub before: String,
    /// The component file.
    pub file: PathBuf,
    /// The digest of the component.
    pub digest: Digest,
    /// The entry for the lock file, if it is a package.
    pub pin: Option<Pin>,
    /// The trusted signers, if it is a package.
    pub signers: Option<Vec<String>>,
    /// What changes with it.
    pub differences: Vec<Difference>,
}

impl NextVersion {
    /// Finds the requested version, and downloads it into the store if it is a package. Changes nothing else.
    pub fn find(job: &Path, stage: &str, to: &str, registry: Option<&str>) -> Result<NextVersion> {
        let before = edit::plugin_of(job, stage)?;
        let Some(before) = before else {
            let part = PluginPart::parse(stage);
            return Err(Error::job(format!("{}: {part} has no plugin of its own", job.display())));
        };
        let store = PackageStore::of_user()?;
        match package(to, &before, PluginPart::parse(stage))? {
            Some(wanted) => NextVersion::of_package(job, stage, before, &wanted, registry, &store),
            None => NextVersion::of_path(job, stage, before, to, &store),
        }
    }

    fn of_package(
        job: &Path,
        stage: &str,
        before: String,
        wanted: &PackageRequest,
        registry: Option<&str>,
        store: &PackageStore,
    ) -> Result<NextVersion> {
        let obtained = add::get(edit::dir_of(job), wanted, registry, store)?;
        let digest = obtained.pin.layer;
        let file = store.file(&digest)?;
        Ok(NextVersion {
            plugin: format!("{}@{}", obtained.pin.name, obtained.pin.version),
            before,
            file: file.ok_or_else(|| Error::environment(format!("{wanted} was just removed from the store; retry")))?,
            digest,
            differences: add::changes(job, Some(stage), &obtained.facts, store)?,
            pin: Some(obtained.pin),
            signers: Some(obtained.signers),
        })
    }

    fn of_path(job: &Path, stage: &str, before: String, path: &str, store: &PackageStore) -> Result<NextVersion> {
        let file = std::path::absolute(component_file(Path::new(path))?)
            .map_err(|error| Error::environment(format!("{path}: {error}")))?;
        let bytes = read_component(&file)?;
        let facts = PackageFacts::read(&bytes, &file.display().to_string())?;
        Ok(NextVersion {
            plugin: from_dir(Path::new(path), edit::dir_of(job))?,
            before,
            digest: Digest::compute(&bytes),
            file,
            pin: None,
            signers: None,
            differences: add::changes(job, Some(stage), &facts, store)?,
        })
    }

    /// Returns the component that the job is to load.
    pub fn component(&self) -> NextComponent<'_> {
        NextComponent { plugin: &self.plugin, file: &self.file, digest: &self.digest, signers: self.signers.as_deref() }
    }

    /// Describes the differences. Fails if one of them must be accepted and is not.
    pub fn accepted(&self, stage: &str, accept: bool) -> Result<String> {
        let lines: String = self.differences.iter().map(|difference| format!("  {}\n", difference.message)).collect();
        if self.differences.iter().any(|difference| difference.needs_accept) && !accept {
            return Err(Error::job(format!(
                "{} differs from the current plugin of {}:\n{lines}nothing was changed; add --accept to accept it",
                self.plugin,
                PluginPart::parse(stage)
            )));
        }
        Ok(if lines.is_empty() { lines } else { format!("differences from the previous version:\n{lines}") })
    }
}

/// Returns the requested package, or `None` for a path.
fn package(to: &str, before: &str, part: PluginPart<'_>) -> Result<Option<PackageRequest>> {
    if let Ok(version) = version(to) {
        let Ok(PackageRequest { name, version: Some(_) }) = before.parse::<PackageRequest>() else {
            return Err(Error::job(format!(
                "the {} has `{before}`, which is not a package, so `{to}` does not name a plugin; write NAME@{to} or \
                 a path",
                part.keyword()
            )));
        };
        return Ok(Some(PackageRequest { name, version: Some(version) }));
    }
    if to.contains('@') && !to.contains('/') { to.parse().map(Some) } else { Ok(None) }
}

/// Returns a path as in a job file of this directory: relative, if it is below. A name with an `@` would be a package.
fn from_dir(path: &Path, dir: &Path) -> Result<String> {
    let absolute = |path: &Path| {
        std::fs::canonicalize(path).map_err(|error| Error::environment(format!("{}: {error}", path.display())))
    };
    let (path, dir) = (absolute(path)?, absolute(dir)?);
    let shown = path.strip_prefix(&dir).unwrap_or(&path);
    let text = shown.to_str().ok_or_else(|| Error::job(format!("{} is not UTF-8", path.display())))?;
    Ok(if text.contains('@') && !text.contains('/') { format!("./{text}") } else { text.to_owned() })
}

/// Replaces a plugin with a prepared one. Lock file and job file are changed first. So a job that dies meanwhile
/// restarts with the new version and knows which batches ran with the old one. They are changed back if the job rejects
/// the plugin.
pub fn promote(
    running: &RunningJob,
    stage: &str,
    next: &NextVersion,
    prepared: &UpgradeStatus,
) -> Result<UpgradeStatus> {
    let spec = millstream_job::load(&running.file, kinds::all(), &[])?;
    let dir = edit::dir_of(&running.file);
    let previous_pin = LockFile::read(dir)?.before(&spec.name, stage).cloned();
    let before = PreviousVersion { job: spec.name, stage: stage.to_owned(), plugin: next.before.clone(), batch: None };
    let write = |batch: Option<u64>| {
        let before = PreviousVersion { batch, ..before.clone() };
        LockFile::change(dir, |lock| {
            next.pin.clone().map_or(Ok(()), |pin| lock.add(pin))?;
            // A rebuilt component at the same path has replaced the old one.
            if next.plugin != before.plugin {
                lock.set_before(before);
            }
            Ok(())
        })
    };
    write(None)?;
    edit::set_plugin(&running.file, stage, &next.plugin)?;
    let done = running.commit(prepared.id);
    match done {
        Ok(status @ UpgradeStatus { step: UpgradeStep::Done { after, .. }, .. }) => {
            write(Some(after))?;
            Ok(status)
        }
        Ok(UpgradeStatus { step: UpgradeStep::Dropped(why), from, .. }) => {
            edit::set_plugin(&running.file, stage, &next.before)?;
            LockFile::change(dir, |lock| {
                lock.before.retain(|other| (&other.job, &other.stage) != (&before.job, &before.stage));
                lock.before.extend(previous_pin);
                Ok(())
            })?;
            Err(Error::environment(format!("{} still runs {}: {why}", PluginPart::parse(stage), from.0)))
        }
        Ok(UpgradeStatus { step, .. }) => Err(Error::bug(format!("an upgrade that ended as {step:?}"))),
        Err(error) => Err(error.within(format!(
            "the job file and the lock file now name {} in {}, and the job will start with it; `millstream status` shows whether \
             it already runs",
            next.plugin,
            PluginPart::parse(stage)
        ))),
    }
}
