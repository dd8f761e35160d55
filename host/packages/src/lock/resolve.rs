//! Resolves the packages that a job names: from `plugin = "name@version"` to a file of the store.

use super::obtain::{find_in_store, obtain};
use super::store::PackageStore;
use super::{FILE, LockFile, location};
use crate::trust::policy::Policy;
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};
use millstream_base::package_name::{PackageName, PackageRequest};
use millstream_job::spec::JobSpec;
use semver::Version;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Sets [`millstream_job::spec::PluginSpec::file`] of all plugins that are packages, as the lock file next to the job pins them. A
/// package that is not in the store is fetched from the registry of the lock file, by its digest.
///
/// Fails if a package is not pinned, cannot be fetched, or may not be used (any longer), and if policies forbid plugins by path. The error
/// says what to do.
pub fn resolve(job: &mut JobSpec) -> Result<()> {
    if job.plugins().all(|(_, plugin)| plugin.file.is_some()) {
        return Ok(());
    }
    let JobSpec { origin, sources, stages, sinks, .. } = job;
    let of_sources =
        sources.iter_mut().map(|source| ("source", source.name.clone(), Vec::from_iter(source.plugin_mut())));
    let of_stages = stages.iter_mut().map(|stage| ("stage", stage.name.clone(), stage.plugins_mut()));
    let of_sinks = sinks.iter_mut().map(|sink| ("sink", sink.name.clone(), Vec::from_iter(sink.plugin_mut())));
    let policy = Policy::load()?;
    let mut packages: Option<Packages> = None;
    for (kind, name, plugins) in of_sources.chain(of_stages).chain(of_sinks) {
        for plugin in plugins.into_iter().filter(|plugin| plugin.file.is_none()) {
            let part = || format!("{}{kind} `{name}`", origin.at(&format!("{kind}s.{name}.plugin")));
            let Some(package) = plugin.package() else {
                policy.allows_path(&plugin.path).map_err(|error| error.within(part()))?;
                continue;
            };
            let file = || {
                let (name, version) = package?;
                let packages = match &mut packages {
                    Some(packages) => packages,
                    None => packages.insert(Packages::open(&origin.dir, origin.file.as_deref(), &policy)?),
                };
                packages.file(&name, &version)
            };
            let found = file().map_err(|error| error.within(part()))?;
            (plugin.file, plugin.pinned, plugin.signers) = (Some(found.file), Some(found.digest), Some(found.signers));
        }
    }
    Ok(())
}

/// A package in the store.
#[derive(Clone)]
struct FoundPackage {
    file: PathBuf,
    /// The expected digest of the file.
    digest: Digest,
    /// The trusted signers.
    signers: Vec<String>,
}

/// The inputs of a search for packages, read once per job.
struct Packages<'a> {
    lock: LockFile,
    dir: PathBuf,
    /// The job's name, for messages.
    job: String,
    policy: &'a Policy,
    store: PackageStore,
    found: BTreeMap<(PackageName, Version), FoundPackage>,
}

impl<'a> Packages<'a> {
    fn open(dir: &Path, job: Option<&Path>, policy: &'a Policy) -> Result<Packages<'a>> {
        let store = PackageStore::of_user()?;
        let lock = LockFile::read(dir)?;
        // A store that is not writable may still have all packages.
        let note = || store.note_lock(&location::absolute(dir)?.join(FILE));
        if !lock.packages.is_empty()
            && let Err(error) = note()
        {
            tracing::warn!("{error}; `millstream gc` does not keep the packages of {}", dir.join(FILE).display());
        }
        let job = job.map_or("JOB".into(), |job| job.display().to_string());
        Ok(Packages { lock, dir: dir.to_owned(), job, policy, store, found: BTreeMap::new() })
    }

    fn file(&mut self, name: &PackageName, version: &Version) -> Result<FoundPackage> {
        let key = (name.clone(), version.clone());
        if let Some(found) = self.found.get(&key) {
            return Ok(found.clone());
        }
        let pin = self.lock.pin(name, version).ok_or_else(|| self.not_pinned(name, version))?;
        let registry = location::of_lock(&pin.registry, &self.dir)?;
        let (file, signers) = match find_in_store(&registry, pin, self.policy, &self.store)? {
            Some(kept) => kept,
            None => {
                tracing::info!("fetching {name}@{version} from {registry}");
                let wanted = PackageRequest { name: name.clone(), version: Some(version.clone()) };
                let obtained = obtain(&registry, &wanted, Some(pin), self.policy, &self.store)?;
                let file = self.store.file(&obtained.pin.layer)?;
                let file = file.ok_or_else(|| {
                    Error::environment(format!("{name}@{version} was just removed from the store; retry"))
                })?;
                (file, obtained.signers)
            }
        };
        let found = FoundPackage { file, digest: pin.layer, signers };
        self.found.insert(key, found.clone());
        Ok(found)
    }

    fn not_pinned(&self, name: &PackageName, version: &Version) -> Error {
        let others = self.lock.packages.iter().filter(|pin| pin.name == *name).map(|pin| pin.version.to_string());
        let others: Vec<String> = others.collect();
        let has = match others.is_empty() {
            true => String::new(),
            false => format!(" (it has {} of {name})", others.join(", ")),
        };
        Error::job(format!(
            "`{name}@{version}` is not pinned in {}{has}; a job runs only pinned packages. Pin it with `millstream \
             add {name}@{version} --registry … --job {}`.",
            super::shown(&self.dir),
            self.job
        ))
    }
}
