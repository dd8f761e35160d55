//! `millstream gc` and `millstream verify`: the package store.

use super::inspect::text::count as number_of;
use clap::Args;
use millstream_base::error::Result;
use millstream_connectors::kinds;
use millstream_job::spec::JobSpec;
use millstream_packages::lock::store::{PackageStore, gc};
use millstream_packages::lock::{self, LockFile, Pin, edit, location, obtain};
use millstream_packages::trust::policy::Policy;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The arguments of `millstream verify`.
#[derive(Args)]
#[command(after_help = "The exit code is 1 if a check fails.")]
pub struct VerifyArguments {
    /// Check only the packages of this job file
    ///
    /// By default the complete store is checked, with the lock files that refer to it.
    job: Option<PathBuf>,
}

/// Removes what no lock file needs, and returns a list of that.
pub fn gc() -> Result<String> {
    let store = PackageStore::of_user()?;
    let swept = gc::gc(&store)?;
    let mut text = String::new();
    for deleted in &swept.deleted {
        let _ = writeln!(text, "{} no longer exists", deleted.display());
    }
    let _ = writeln!(
        text,
        "removed {} ({} bytes) that none of {} needs",
        number_of(swept.files, "file"),
        swept.bytes,
        number_of(swept.locks.len() as u64, "lock file"),
    );
    Ok(text)
}

/// Checks packages. Returns what was found, and whether everything is valid.
pub fn verify(arguments: &VerifyArguments) -> Result<(String, bool)> {
    let mut found =
        StoreReport { store: PackageStore::of_user()?, policy: Policy::load()?, text: String::new(), good: true };
    match &arguments.job {
        Some(path) => {
            let dir = edit::dir_of(path);
            let lock = LockFile::read(dir)?;
            found.lock(&lock, dir);
            found.report_unpinned(&millstream_job::load(path, kinds::all(), &[])?, &lock);
        }
        None => {
            let checked = found.store.check()?;
            checked.damages.iter().for_each(|message| found.add_problem(message));
            let bytes = number_of(checked.files, "file");
            let _ = writeln!(found.text, "{}: {bytes} compared with their digests", found.store.dir.display());
            for (_, file) in found.store.locks()?.into_iter().filter(|(_, file)| file.exists()) {
                let dir = file.parent().unwrap_or(Path::new("/"));
                match LockFile::read(dir) {
                    Ok(lock) => found.lock(&lock, dir),
                    Err(error) => found.add_problem(&error.message),
                }
            }
        }
    }
    Ok((found.text, found.good))
}

struct StoreReport {
    store: PackageStore,
    policy: Policy,
    text: String,
    good: bool,
}

impl StoreReport {
    fn add_problem(&mut self, message: &str) {
        let _ = writeln!(self.text, "{message}");
        self.good = false;
    }

    /// Checks all packages that a lock file pins.
    fn lock(&mut self, lock: &LockFile, dir: &Path) {
        let _ = writeln!(self.text, "{}:", lock::shown(dir));
        for pin in &lock.packages {
            let shown = format!("  {}@{}", pin.name, pin.version);
            match self.check_pin(pin, dir) {
                Ok(true) => {
                    let _ = writeln!(self.text, "{shown}: good");
                }
                Ok(false) => self.add_problem(&format!("{shown}: is not in the store; `millstream run` fetches it")),
                Err(error) => self.add_problem(&format!("{shown}: {}", error.message)),
            }
        }
    }

    fn check_pin(&self, pin: &Pin, dir: &Path) -> Result<bool> {
        let registry = location::of_lock(&pin.registry, dir)?;
        Ok(obtain::find_in_store(&registry, pin, &self.policy, &self.store)?.is_some())
    }

    /// Reports packages that a job names but its lock file does not.
    fn report_unpinned(&mut self, job: &JobSpec, lock: &LockFile) {
        for (name, version) in job.plugins().filter_map(|(_, plugin)| plugin.package()?.ok()) {
            if lock.pin(&name, &version).is_none() {
                self.add_problem(&format!(
                    "  {name}@{version}: is not pinned; pin it with `millstream add {name}@{version}`"
                ));
            }
        }
    }
}
