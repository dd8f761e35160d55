//! The component that all Python plugins of a world begin as: CPython and the SDK, started, without a plugin.
//!
//! componentize-py makes it, which takes it 10 s. It is the same as long as componentize-py, the SDK and the world are, so it is
//! kept in a folder of the user, together with the modules that Python itself brings.

use super::at_once::{componentize, write_entry};
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

/// The function of `startup.wat` that lets a component import its plugin.
pub const LOAD: &str = "millstream-load";
/// Folders of Python's own modules in a component.
const OWN: [&str; 3] = ["/python", "/world", "/bundled"];

/// Such a component.
pub struct PythonBase {
    /// The component.
    pub component: Vec<u8>,
    folder: PathBuf,
}

/// Whether the SDK of a project can wait for its plugin; those of before could not.
pub fn is_possible(parts: &BaseParts<'_>) -> bool {
    millstream_base::regular::read_to_string(parts.sdk.join("millstream/glue.py"))
        .is_ok_and(|glue| glue.contains("\ndef load("))
}

impl PythonBase {
    /// Takes it from where it is kept, or makes it; in `work` where nothing can be kept.
    ///
    /// # Errors
    /// `Environment`: componentize-py is missing. `Plugin`: the SDK cannot be imported.
    pub fn of(parts: &BaseParts<'_>, work: &Path) -> Result<PythonBase> {
        // Asking a tool for its version takes a second, and one that was used before is known to do.
        let name = tools::first(Tool::ComponentizePy, parts.project).map(|tool| name(&tool, parts)).transpose()?;
        let Some(name) = name else { return Err(missing(parts)) };
        let all = match kept() {
            Ok(all) => all,
            Err(error) => {
                tracing::warn!("CPython will be started again in the next build: {error}");
                let all = work.join("base");
                fs::create_dir(&all).map_err(|error| failed("create", &all, &error))?;
                all
            }
        };
        let folder = all.join(name);
        if let Ok(component) = millstream_base::regular::read(folder.join("base.wasm")) {
            // The oldest go first.
            let _ = File::open(&folder).and_then(|folder| folder.set_modified(SystemTime::now()));
            return Ok(PythonBase { component, folder });
        }
        make(parts, &all, &folder)?;
        prune(&all);
        let file = folder.join("base.wasm");
        Ok(PythonBase {
            component: millstream_base::regular::read(&file).map_err(|error| failed("read", &file, &error))?,
            folder,
        })
    }

    /// The folders that it was made with, and their names in it. Those of a project come beside.
    pub fn folders(&self) -> Vec<(PathBuf, String)> {
        let own = OWN.map(|name| (self.folder.join("0/kept").join(&name[1..]), name.to_owned()));
        let ours = ["0", "1"].map(|name| (self.folder.join(name), format!("/{name}")));
        own.into_iter().chain(ours).collect()
    }
}

/// Where they are kept. What is in it becomes a part of plugins, so it is for nobody else.
fn kept() -> Result<PathBuf> {
    let all = tools::cache_folder()?.join("python");
    private::folder(&all).map_err(|error| failed("use", &all, &error))?;
    Ok(all)
}

/// The error of the search for componentize-py, which found nothing.
fn missing(parts: &BaseParts<'_>) -> Error {
    match tools::find(Tool::ComponentizePy, parts.project) {
        Err(error) => error,
        Ok(_) => Error::environment("componentize-py came just now; build again"),
    }
}

/// What tells a component from others: all that it is made of.
fn name(tool: &Path, parts: &BaseParts<'_>) -> Result<String> {
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
    for part in [parts.sdk.join("millstream"), parts.wit_folder()] {
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

/// The module that makes the exports.
fn entry(parts: &BaseParts<'_>) -> String {
    let (world, class) = (parts.world, parts.class());
    let migrator = if parts.migrates { "Migrator = glue.migrator()\n" } else { "" };
    let folders = OWN.map(|name| format!("\"{name}\"")).join(", ");
    format!(
        "from millstream import glue\n\n{class} = glue.export(\"{world}\")\n{migrator}glue.keep([{folders}], \"/0/kept\")\n"
    )
}

/// Makes it in a folder beside, which gets its name when it is whole.
fn make(parts: &BaseParts<'_>, all: &Path, folder: &Path) -> Result<()> {
    let tool = tools::find(Tool::ComponentizePy, parts.project)?;
    let work = tempfile::tempdir_in(all).map_err(|error| failed("write to", all, &error))?;
    let (entry_folder, sdk) = (work.path().join("0"), work.path().join("1"));
    write_entry(&entry(parts), &entry_folder)?;
    copy(&parts.sdk.join("millstream"), &sdk.join("millstream"), &["__pycache__"])?;
    let component = work.path().join("base.wasm");
    componentize(&tool, work.path(), parts, &[entry_folder.clone(), sdk.clone()], &component)?;
    same_times(&entry_folder)?;
    same_times(&sdk)?;
    match fs::rename(work.path(), folder) {
        // Somebody else made it at the same time.
        Err(_) if folder.join("base.wasm").is_file() => Ok(()),
        renamed => renamed.map_err(|error| failed("write", folder, &error)),
    }
}

/// Gives all files and folders the same time: CPython remembers it, and a component must not tell when it was made.
pub fn same_times(path: &Path) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path).map_err(|error| failed("read", path, &error))? {
            same_times(&entry.map_err(|error| failed("read", path, &error))?.path())?;
        }
    }
    let set = File::open(path).and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH));
    set.map_err(|error| failed("write", path, &error))
}

/// Removes those that were not used for the longest time, beyond the limit. Others may do the same at the same time.
fn prune(all: &Path) {
    let entries = fs::read_dir(all).into_iter().flatten().flatten();
    let mut folders: Vec<_> =
        entries.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
    folders.sort();
    for (_, folder) in folders.iter().rev().skip(PYTHON_BASES_MAX) {
        if let Err(error) = fs::remove_dir_all(folder) {
            tracing::debug!("{} is not removed: {error}", folder.display());
        }
    }
}
