//! The initial component of all Python plugins of a world: CPython and the SDK, started, without a plugin.
//!
//! componentize-py needs 10 s to create it. It depends only on componentize-py, the SDK and the world. So it is cached
//! in a directory of the user, together with the standard modules of Python.

use super::componentize::{componentize, write_entry};
use super::copy;
use super::parts::BaseParts;
use crate::author::failed;
use crate::author::tools::{self, Tool};
use crate::program_limits::PYTHON_BASES_MAX;
use millstream_base::error::{Error, Result};
use millstream_base::hex;
use millstream_base::private;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The function of `startup.wat` with which a component imports its plugin.
pub const LOAD: &str = "millstream-load";
/// The directories of Python's own modules in a component.
const OWN: [&str; 3] = ["/python", "/world", "/bundled"];

/// A base component.
pub struct PythonBase {
    /// The component.
    pub component: Vec<u8>,
    dir: PathBuf,
}

/// Returns whether the SDK of a project can import its plugin later. Older SDKs cannot.
pub fn is_supported(parts: &BaseParts<'_>) -> bool {
    millstream_base::regular::read_to_string(parts.sdk.join("millstream/glue.py"))
        .is_ok_and(|glue| glue.contains("\ndef load("))
}

impl PythonBase {
    /// Reads it from the cache, or creates it. It is created in `work` if the cache cannot be used.
    ///
    /// # Errors
    /// `Environment`: componentize-py is missing. `Plugin`: the SDK cannot be imported.
    pub fn new(parts: &BaseParts<'_>, work: &Path) -> Result<PythonBase> {
        // Querying a tool's version takes a second, and a tool that was used before is known to work.
        let cache_key =
            tools::first(Tool::ComponentizePy, parts.project).map(|tool| cache_key(&tool, parts)).transpose()?;
        let Some(cache_key) = cache_key else { return Err(missing_tool_error(parts)) };
        let all = match cache_dir() {
            Ok(all) => all,
            Err(error) => {
                tracing::warn!("the started CPython is not cached, so the next build starts it again: {error}");
                let all = work.join("base");
                fs::create_dir(&all).map_err(|error| failed("create", &all, &error))?;
                all
            }
        };
        let dir = all.join(cache_key);
        if let Ok(component) = millstream_base::regular::read(dir.join("base.wasm")) {
            // Marks it as used: the cache deletes the oldest ones first.
            let _ = File::open(&dir).and_then(|dir| dir.set_modified(SystemTime::now()));
            return Ok(PythonBase { component, dir });
        }
        make(parts, &all, &dir)?;
        prune(&all);
        let file = dir.join("base.wasm");
        Ok(PythonBase {
            component: millstream_base::regular::read(&file).map_err(|error| failed("read", &file, &error))?,
            dir,
        })
    }

    /// Returns the directories with which it was created, and their names in it. Those of a project are added.
    pub fn dirs(&self) -> Vec<(PathBuf, String)> {
        let own = OWN.map(|cache_key| (self.dir.join("0/kept").join(&cache_key[1..]), cache_key.to_owned()));
        let ours = ["0", "1"].map(|cache_key| (self.dir.join(cache_key), format!("/{cache_key}")));
        own.into_iter().chain(ours).collect()
    }
}

/// Returns the cache directory. Its content becomes part of plugins, so it is private.
fn cache_dir() -> Result<PathBuf> {
    let all = tools::cache_dir()?.join("python");
    private::dir(&all).map_err(|error| failed("use", &all, &error))?;
    Ok(all)
}

/// Returns the error of the search for componentize-py.
fn missing_tool_error(parts: &BaseParts<'_>) -> Error {
    match tools::find(Tool::ComponentizePy, parts.project) {
        Err(error) => error,
        Ok(_) => Error::environment("componentize-py was just installed; build again"),
    }
}

/// Returns the cache key: a digest of everything that determines the component.
fn cache_key(tool: &Path, parts: &BaseParts<'_>) -> Result<String> {
    let mut digest = Sha256::new();
    let found = fs::metadata(tool).map_err(|error| failed("read", tool, &error))?;
    digest.update(format!(
        "{} {} {}\n",
        tool.display(),
        found.len(),
        found.mtime_nsec() + found.mtime() * 1_000_000_000
    ));
    digest.update(format!("{} {}\n", env!("CARGO_PKG_VERSION"), entry(parts)));
    digest.update(include_str!("startup.wat"));
    for part in [parts.sdk.join("millstream"), parts.wit_dir()] {
        digest_of(&part, &mut digest)?;
    }
    Ok(hex::encode(&digest.finalize()))
}

fn digest_of(path: &Path, digest: &mut Sha256) -> Result<()> {
    let read = |error| failed("read", path, &error);
    if !path.is_dir() {
        let content = millstream_base::regular::read(path).map_err(read)?;
        digest.update(format!("{} {}\n", path.file_name().unwrap_or_default().display(), content.len()));
        digest.update(content);
        return Ok(());
    }
    let entries = fs::read_dir(path).map_err(read)?;
    let mut entries = entries.collect::<std::io::Result<Vec<_>>>().map_err(read)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    digest.update(format!("{} {}\n", path.file_name().unwrap_or_default().display(), entries.len()));
    for entry in entries {
        if entry.file_name() != "__pycache__" {
            digest_of(&entry.path(), digest)?;
        }
    }
    Ok(())
}

/// Returns the module that defines the exports.
fn entry(parts: &BaseParts<'_>) -> String {
    let (world, class) = (parts.world, parts.class());
    let migrator = if parts.migrates { "Migrator = glue.migrator()\n" } else { "" };
    let dirs = OWN.map(|cache_key| format!("\"{cache_key}\"")).join(", ");
    format!(
        "from millstream import glue\n\n{class} = glue.export(\"{world}\")\n{migrator}glue.keep([{dirs}], \"/0/kept\")\n"
    )
}

/// Creates it in a temporary directory, which is renamed when complete.
fn make(parts: &BaseParts<'_>, all: &Path, dir: &Path) -> Result<()> {
    let tool = tools::find(Tool::ComponentizePy, parts.project)?;
    let work = tempfile::tempdir_in(all).map_err(|error| failed("write to", all, &error))?;
    let (entry_dir, sdk) = (work.path().join("0"), work.path().join("1"));
    write_entry(&entry(parts), &entry_dir)?;
    copy(&parts.sdk.join("millstream"), &sdk.join("millstream"), &["__pycache__"])?;
    let component = work.path().join("base.wasm");
    componentize(&tool, work.path(), parts, &[entry_dir.clone(), sdk.clone()], &component)?;
    same_times(&entry_dir)?;
    same_times(&sdk)?;
    match fs::rename(work.path(), dir) {
        // Another process created it at the same time.
        Err(_) if dir.join("base.wasm").is_file() => Ok(()),
        renamed => renamed.map_err(|error| failed("write", dir, &error)),
    }
}

/// Sets the same time for all files and directories: CPython stores it, and a component must not depend on its build
/// time.
pub fn same_times(path: &Path) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path).map_err(|error| failed("read", path, &error))? {
            same_times(&entry.map_err(|error| failed("read", path, &error))?.path())?;
        }
    }
    let set = File::open(path).and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH));
    set.map_err(|error| failed("write", path, &error))
}

/// Removes the least recently used ones beyond the limit. Other processes may do that at the same time.
fn prune(all: &Path) {
    let entries = fs::read_dir(all).into_iter().flatten().flatten();
    let mut dirs: Vec<_> =
        entries.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
    dirs.sort();
    for (_, dir) in dirs.iter().rev().skip(PYTHON_BASES_MAX) {
        if let Err(error) = fs::remove_dir_all(dir) {
            tracing::debug!("{} is not removed: {error}", dir.display());
        }
    }
}
