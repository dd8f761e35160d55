//! Installs tools without superuser permissions: from PyPI and npm, in the versions that are known to work, into the
//! user's cache directory.
//!
//! Each set of tools has a directory named by its versions. It is created at its final path, because Python
//! environments cannot be moved. It is valid only if the file [`COMPLETE_MARK`] exists. A lock serializes concurrent
//! installations.

use super::{Tool, ToolRegistry, cache_dir, failed, look, runs};
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
const COMPLETE_MARK: &str = "whole";

/// Tools that are installed together, in one directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ToolSet {
    /// A Python environment with the package of this tool.
    Pip(Tool, &'static str),
    /// The npm tools.
    Npm,
}

impl ToolSet {
    fn for_tool(tool: Tool) -> Option<ToolSet> {
        match tool.facts().registry {
            ToolRegistry::Pip(package) => Some(ToolSet::Pip(tool, package)),
            ToolRegistry::Npm(_) => Some(ToolSet::Npm),
            ToolRegistry::Apt(_) => None,
        }
    }

    /// Returns the directory's name, which depends on the versions.
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

/// Returns the directory with the program of an installed tool, or `None` if it is not installed here.
pub fn installed_bin(tool: Tool) -> Option<PathBuf> {
    let dir = cache_dir().ok()?.join("tools").join(ToolSet::for_tool(tool)?.name());
    dir.join(COMPLETE_MARK).is_file().then(|| dir.join("bin"))
}

/// Installs the missing tools of a language, for projects in this directory. Progress goes to standard error.
///
/// # Errors
/// `Environment`: a tool needed for the installation is missing, or the package is not available.
pub fn install(language: Language, project: &Path) -> Result<()> {
    let mut made: Vec<ToolSet> = Vec::new();
    for tool in Tool::for_language(language) {
        let Some(set) = ToolSet::for_tool(tool).filter(|set| !made.contains(set)) else { continue };
        if !is_working(tool, project) {
            make(set, project)?;
            made.push(set);
        }
    }
    Ok(())
}

/// Returns whether a tool is installed and runs.
fn is_working(tool: Tool, project: &Path) -> bool {
    look(tool, project).is_ok_and(|found| runs(tool, &found.path).is_ok())
}

fn make(set: ToolSet, project: &Path) -> Result<()> {
    let tools = cache_dir()?.join("tools");
    fs::create_dir_all(&tools).map_err(|error| failed("create", &tools, &error))?;
    let dir = tools.join(set.name());
    let lock = tools.join(format!("{}.lock", set.name()));
    let lock =
        File::create(&lock).and_then(|file| file.lock().map(|()| file)).map_err(|e| failed("lock", &lock, &e))?;
    // Another process may have installed it while this one waited for the lock. A complete installation that does not
    // run, for example because its Python was removed, is recreated.
    let of_set = Tool::ALL.into_iter().filter(|tool| ToolSet::for_tool(*tool) == Some(set));
    let is_made =
        |tool: Tool| installed_bin(tool).is_some_and(|bin| runs(tool, &bin.join(tool.facts().program)).is_ok());
    if of_set.into_iter().all(is_made) {
        return Ok(());
    }
    eprintln!("Installing {} into {}.", describe(set), dir.display());
    if dir.exists() {
        fs::remove_dir_all(&dir).map_err(|error| failed("remove", &dir, &error))?;
    }
    match set {
        ToolSet::Pip(tool, package) => pip(&dir, package, tool.facts().known, project)?,
        ToolSet::Npm => npm(&dir, project)?,
    }
    let mark = dir.join(COMPLETE_MARK);
    fs::write(&mark, "").map_err(|error| failed("write", &mark, &error))?;
    let linked = link(&tools, set).map_err(|error| failed("link", &dir, &error));
    drop(lock);
    linked
}

/// Creates links without versions, `tools/js` and `tools/node`, for the scripts of an SDK.
fn link(tools: &Path, set: ToolSet) -> std::io::Result<()> {
    let name = match set {
        ToolSet::Npm => "js",
        ToolSet::Pip(Tool::Node, _) => "node",
        ToolSet::Pip(tool, _) => tool.facts().language.keyword(),
    };
    let new = tools.join(format!("{name}.new"));
    if new.symlink_metadata().is_ok() {
        fs::remove_file(&new)?;
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(set.name(), &new)?;
    fs::rename(&new, tools.join(name))
}

/// Lists the packages and their versions.
fn describe(set: ToolSet) -> String {
    let tools = Tool::ALL.into_iter().filter(|tool| ToolSet::for_tool(*tool) == Some(set));
    let names = tools.map(|tool| match tool.facts().registry {
        ToolRegistry::Pip(package) | ToolRegistry::Npm(package) | ToolRegistry::Apt(package) => {
            format!("{package} {}", tool.facts().known)
        }
    });
    names.collect::<Vec<_>>().join(", ")
}

/// Creates a Python environment with one package.
fn pip(dir: &Path, package: &str, version: &str, project: &Path) -> Result<()> {
    let python = super::find(Tool::Python, project)?;
    let venv = Command::new(&python).args(["-m", "venv"]).arg(dir).stdin(Stdio::null()).output();
    if !venv.is_ok_and(|output| output.status.success()) {
        return Err(Error::environment(format!(
            "{} cannot create an environment. On Debian, this part is a separate package:\n  apt-get install python3-venv",
            python.display()
        )));
    }
    let mut pip = Command::new(dir.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
    run(pip.arg(format!("{package}=={version}")), &format!("pip could not install {package} {version}"))
}

/// Installs the npm tools, each with a script that finds Node.
fn npm(dir: &Path, project: &Path) -> Result<()> {
    let nodes = with_npm(project)?;
    let bin = dir.join("bin");
    fs::create_dir_all(&bin).map_err(|error| failed("create", &bin, &error))?;
    for (name, text) in [("package.json", NPM_MANIFEST), ("package-lock.json", NPM_LOCK)] {
        let path = dir.join(name);
        fs::write(&path, text).map_err(|error| failed("write", &path, &error))?;
    }
    let mut paths = vec![nodes.clone()];
    paths.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let path = std::env::join_paths(paths).map_err(Error::environment)?;
    let mut command = Command::new(nodes.join("npm"));
    // Installs the versions of the lock file. `npm ci` would do that too, but requires unpublished packages for other
    // systems.
    command.args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    // npm's messages go to standard error, as standard output is for results.
    run(command.current_dir(dir).env("PATH", path).stdout(std::io::stderr()), "npm could not install its packages")?;
    let programs = Tool::ALL.into_iter().filter(|tool| ToolSet::for_tool(*tool) == Some(ToolSet::Npm));
    programs.map(|tool| tool.facts().program).try_for_each(|program| {
        let path = bin.join(program);
        let script = format!(
            "#!/bin/sh\nPATH={}:\"$PATH\" exec {} \"$@\"\n",
            quoted(&nodes),
            quoted(&dir.join("node_modules/.bin").join(program))
        );
        fs::write(&path, script).and_then(|()| executable(&path)).map_err(|error| failed("write", &path, &error))
    })
}

/// Returns the directory of a Node with npm. Debian packages them separately, and npm with hundreds of packages. In
/// that case both come from PyPI.
fn with_npm(project: &Path) -> Result<PathBuf> {
    let node = super::find(Tool::Node, project)?;
    let nodes = node.parent().unwrap_or(Path::new(""));
    if nodes.join("npm").is_file() {
        return Ok(nodes.to_owned());
    }
    if let Some(set) = ToolSet::for_tool(Tool::Node) {
        make(set, project)?;
    }
    installed_bin(Tool::Node)
        .ok_or_else(|| Error::environment(format!("found {}, but no npm next to it", node.display())))
}

/// Quotes a path for a shell.
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
