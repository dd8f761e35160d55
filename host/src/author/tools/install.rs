//! Installs what needs no superuser: from PyPI and npm, in the versions that are known to work, into the user's cache
//! folder.
//!
//! Each set of tools has a folder that bears its versions. It is made at its place, because environments of Python cannot
//! be moved, and counts as there only when the file [`WHOLE`] says that nothing is missing in it. A lock keeps two that
//! install at the same time apart.

use super::{Tool, ToolRegistry, cache_folder, failed, look, runs};
use crate::author::language::Language;
use millstream_base::error::{Error, Result};
use millstream_base::hex;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const NPM_MANIFEST: &str = include_str!("npm/package.json");
const NPM_LOCK: &str = include_str!("npm/package-lock.json");

/// The file that is written last.
const WHOLE: &str = "whole";

/// What is installed together, in a folder of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ToolSet {
    /// An environment of Python with the package of this tool.
    Pip(Tool, &'static str),
    /// The tools of npm.
    Npm,
}

impl ToolSet {
    fn of(tool: Tool) -> Option<ToolSet> {
        match tool.facts().registry {
            ToolRegistry::Pip(package) => Some(ToolSet::Pip(tool, package)),
            ToolRegistry::Npm(_) => Some(ToolSet::Npm),
            ToolRegistry::Apt(_) => None,
        }
    }

    /// The folder's name: other versions, another folder.
    fn name(self) -> String {
        match self {
            ToolSet::Pip(tool, package) => format!("{package}-{}", tool.facts().known),
            ToolSet::Npm => {
                let digest: [u8; 32] = Sha256::digest(NPM_LOCK).into();
                format!("npm-{}", hex::encode(&digest[..4]))
            }
        }
    }
}

/// The folder with the program of a tool that was installed here; `None` where there is none.
pub fn kept(tool: Tool) -> Option<PathBuf> {
    let folder = cache_folder().ok()?.join("tools").join(ToolSet::of(tool)?.name());
    folder.join(WHOLE).is_file().then(|| folder.join("bin"))
}

/// Installs the tools of a language that are not there, for projects in this folder. What it does goes to standard error.
///
/// # Errors
/// `Environment`: a tool that it needs for that is missing, or the package cannot be had.
pub fn install(language: Language, project: &Path) -> Result<()> {
    let mut made: Vec<ToolSet> = Vec::new();
    for tool in Tool::of(language) {
        let Some(set) = ToolSet::of(tool).filter(|set| !made.contains(set)) else { continue };
        if !works(tool, project) {
            make(set, project)?;
            made.push(set);
        }
    }
    Ok(())
}

/// Whether a tool is there and runs.
fn works(tool: Tool, project: &Path) -> bool {
    look(tool, project).is_ok_and(|found| runs(tool, &found.path).is_ok())
}

fn make(set: ToolSet, project: &Path) -> Result<()> {
    let tools = cache_folder()?.join("tools");
    fs::create_dir_all(&tools).map_err(|error| failed("create", &tools, &error))?;
    let folder = tools.join(set.name());
    let lock = tools.join(format!("{}.lock", set.name()));
    let lock =
        File::create(&lock).and_then(|file| file.lock().map(|()| file)).map_err(|e| failed("lock", &lock, &e))?;
    // Another process may have made it while this one waited for the lock. What is whole and does not run, say because the
    // Python below it went away, is made anew.
    let of_set = Tool::ALL.into_iter().filter(|tool| ToolSet::of(*tool) == Some(set));
    let is_made = |tool: Tool| kept(tool).is_some_and(|bin| runs(tool, &bin.join(tool.facts().program)).is_ok());
    if of_set.into_iter().all(is_made) {
        return Ok(());
    }
    eprintln!("Installing {} into {}.", what(set), folder.display());
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|error| failed("remove", &folder, &error))?;
    }
    match set {
        ToolSet::Pip(tool, package) => pip(&folder, package, tool.facts().known, project)?,
        ToolSet::Npm => npm(&folder, project)?,
    }
    let whole = folder.join(WHOLE);
    fs::write(&whole, "").map_err(|error| failed("write", &whole, &error))?;
    let linked = link(&tools, set).map_err(|error| failed("link", &folder, &error));
    drop(lock);
    linked
}

/// Lets scripts of an SDK find what was installed last by a name without versions: `tools/js`, `tools/node`.
fn link(tools: &Path, set: ToolSet) -> std::io::Result<()> {
    let name = match set {
        ToolSet::Npm => "js",
        ToolSet::Pip(Tool::Node, _) => "node",
        ToolSet::Pip(tool, _) => tool.facts().language.word(),
    };
    let new = tools.join(format!("{name}.new"));
    if new.symlink_metadata().is_ok() {
        fs::remove_file(&new)?;
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(set.name(), &new)?;
    fs::rename(&new, tools.join(name))
}

/// The packages and their versions.
fn what(set: ToolSet) -> String {
    let tools = Tool::ALL.into_iter().filter(|tool| ToolSet::of(*tool) == Some(set));
    let names = tools.map(|tool| match tool.facts().registry {
        ToolRegistry::Pip(package) | ToolRegistry::Npm(package) | ToolRegistry::Apt(package) => {
            format!("{package} {}", tool.facts().known)
        }
    });
    names.collect::<Vec<_>>().join(", ")
}

/// An environment of Python with one package.
fn pip(folder: &Path, package: &str, version: &str, project: &Path) -> Result<()> {
    let python = super::find(Tool::Python, project)?;
    let venv = Command::new(&python).args(["-m", "venv"]).arg(folder).stdin(Stdio::null()).output();
    if !venv.is_ok_and(|output| output.status.success()) {
        return Err(Error::environment(format!(
            "{} cannot create an environment. On Debian, this part is a separate package:\n  apt-get install python3-venv",
            python.display()
        )));
    }
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
    run(pip.arg(format!("{package}=={version}")), &format!("pip could not install {package} {version}"))
}

/// The tools of npm, each with a script that finds Node.
fn npm(folder: &Path, project: &Path) -> Result<()> {
    let nodes = with_npm(project)?;
    let bin = folder.join("bin");
    fs::create_dir_all(&bin).map_err(|error| failed("create", &bin, &error))?;
    for (name, text) in [("package.json", NPM_MANIFEST), ("package-lock.json", NPM_LOCK)] {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| failed("write", &path, &error))?;
    }
    let mut paths = vec![nodes.clone()];
    paths.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let path = std::env::join_paths(paths).map_err(Error::environment)?;
    let mut command = Command::new(nodes.join("npm"));
    // As the lock says. `npm ci` would do that too, but wants to know packages for other systems that are not there yet.
    command.args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    // Its words are for standard error: on standard output is what was found.
    run(command.current_dir(folder).env("PATH", path).stdout(std::io::stderr()), "npm could not install its packages")?;
    let programs = Tool::ALL.into_iter().filter(|tool| ToolSet::of(*tool) == Some(ToolSet::Npm));
    programs.map(|tool| tool.facts().program).try_for_each(|program| {
        let path = bin.join(program);
        let script = format!(
            "#!/bin/sh\nPATH={}:\"$PATH\" exec {} \"$@\"\n",
            quoted(&nodes),
            quoted(&folder.join("node_modules/.bin").join(program))
        );
        fs::write(&path, script).and_then(|()| executable(&path)).map_err(|error| failed("write", &path, &error))
    })
}

/// The folder of a Node with npm beside it. Debian has them apart, and npm with hundreds of packages: then both come from
/// PyPI.
fn with_npm(project: &Path) -> Result<PathBuf> {
    let node = super::find(Tool::Node, project)?;
    let nodes = node.parent().unwrap_or(Path::new(""));
    if nodes.join("npm").is_file() {
        return Ok(nodes.to_owned());
    }
    if let Some(set) = ToolSet::of(Tool::Node) {
        make(set, project)?;
    }
    kept(Tool::Node).ok_or_else(|| Error::environment(format!("found {}, but no npm next to it", node.display())))
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

fn executable(path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

fn run(command: &mut Command, otherwise: &str) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.stdin(Stdio::null()).status();
    let status = status.map_err(|error| Error::environment(format!("{otherwise}: cannot run {program}: {error}")))?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::environment(format!("{otherwise}; see its messages above. It needs network access to the registry")))
    }
}
