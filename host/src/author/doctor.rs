//! `millstream doctor`: checks that the tools for building plugins are installed and work, by language.

use super::build::rust::toolchain;
use super::language::Language;
use super::tools::clang::PARTS;
use super::tools::{Tool, ToolFacts, ToolProblem, ToolRegistry, ToolVersion, look, output, runs};
use std::fmt::{self, Display};
use std::path::Path;
use std::process::Command;

/// The results of the checks.
#[derive(Clone, Debug)]
pub struct DoctorReport {
    /// One row per tool. Rows of a language are adjacent.
    pub rows: Vec<ToolReport>,
}

/// A tool.
#[derive(Clone, Debug)]
pub struct ToolReport {
    /// The language that needs it.
    pub language: Language,
    /// The name.
    pub name: &'static str,
    /// The state of the tool.
    pub state: ToolState,
    /// How to install it.
    pub remedy: Remedy,
}

/// The state of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolState {
    /// It is installed and works: its version, if known, and its path.
    Fine(String, String),
    /// It is installed but does not work.
    Unusable(String),
    /// It is not installed.
    Missing,
}

/// How a tool is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// With `millstream doctor --install`, or with this command.
    Doctor(String),
    /// From Debian packages.
    Debian(String),
    /// In another way, as described.
    Manual(&'static str),
}

/// Checks all tools of these languages, for projects in this directory.
pub fn examine(languages: &[Language], project: &Path) -> DoctorReport {
    // The programs are started to check that they run. Concurrently, that takes as long as the slowest one.
    let rows = std::thread::scope(|scope| {
        let checks = languages.iter().map(|language| match language {
            Language::Rust => vec![scope.spawn(rust)],
            Language::C => vec![scope.spawn(move || c(project))],
            language => {
                Tool::for_language(*language).map(|tool| scope.spawn(move || vec![row(tool, project)])).collect()
            }
        });
        let checks: Vec<_> = checks.flatten().collect();
        checks.into_iter().filter_map(|look| look.join().ok()).flatten().collect()
    });
    DoctorReport { rows }
}

impl DoctorReport {
    /// Returns whether nothing is missing.
    pub fn complete(&self) -> bool {
        self.problems(|_| true).is_empty()
    }

    /// Returns the rows with a problem.
    fn problems(&self, which: impl Fn(&ToolReport) -> bool) -> Vec<&ToolReport> {
        self.rows.iter().filter(|row| !matches!(row.state, ToolState::Fine(..)) && which(row)).collect()
    }

    /// Returns whether something is missing for a language that can be installed automatically.
    pub fn can_install(&self, language: Language) -> bool {
        !self.problems(|row| row.language == language && matches!(row.remedy, Remedy::Doctor(_))).is_empty()
    }
}

/// Formats a table, and what to do about missing tools.
impl Display for DoctorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = None;
        for row in &self.rows {
            if last != Some(row.language) {
                let lacks = self.problems(|lack| lack.language == row.language);
                writeln!(f, "{}: {}", row.language, if lacks.is_empty() { "ready" } else { "not ready" })?;
                last = Some(row.language);
            }
            match &row.state {
                ToolState::Fine(version, path) => writeln!(f, "  {:<18}{version:<10}{path}", row.name)?,
                ToolState::Unusable(why) => writeln!(f, "  {:<18}{why}", row.name)?,
                ToolState::Missing => match &row.remedy {
                    Remedy::Doctor(command) => writeln!(f, "  {:<18}missing   {command}", row.name)?,
                    Remedy::Debian(packages) => writeln!(f, "  {:<18}missing   apt-get install {packages}", row.name)?,
                    Remedy::Manual(_) => writeln!(f, "  {:<18}missing", row.name)?,
                },
            }
        }
        if self.complete() {
            return Ok(());
        }
        writeln!(f, "\nto install the missing tools:")?;
        let mut packages: Vec<&str> = Vec::new();
        for row in self.problems(|_| true) {
            if let Remedy::Debian(names) = &row.remedy {
                packages.extend(names.split(' '));
            }
        }
        packages.sort_unstable();
        packages.dedup();
        if !packages.is_empty() {
            writeln!(f, "  apt-get install --no-install-recommends {}", packages.join(" "))?;
        }
        for row in self.problems(|row| matches!(row.remedy, Remedy::Manual(_))) {
            if let Remedy::Manual(text) = row.remedy {
                writeln!(f, "  {text}")?;
            }
        }
        let languages = Language::ALL.into_iter().filter(|language| self.can_install(*language));
        let names: Vec<&str> = languages.map(Language::keyword).collect();
        if names.is_empty() { Ok(()) } else { writeln!(f, "  millstream doctor --install {}", names.join(" ")) }
    }
}

fn row(tool: Tool, project: &Path) -> ToolReport {
    let facts: ToolFacts = tool.facts();
    let state = match look(tool, project) {
        Ok(found) => match runs(tool, &found.path).and_then(|()| check_works(tool, &found.path)) {
            Ok(()) => ToolState::Fine(found.version.to_string(), found.path.display().to_string()),
            Err(why) => ToolState::Unusable(format!("{} {why}", found.path.display())),
        },
        Err(ToolProblem::Unusable(path, why)) => ToolState::Unusable(format!("{} {why}", path.display())),
        Err(ToolProblem::Missing) => ToolState::Missing,
    };
    let remedy = match facts.registry {
        ToolRegistry::Apt(packages) => Remedy::Debian(packages.into()),
        ToolRegistry::Pip(_) | ToolRegistry::Npm(_) => Remedy::Doctor(facts.command()),
    };
    ToolReport { language: facts.language, name: facts.program, state, remedy }
}

/// Checks what a tool must support in addition to running.
fn check_works(tool: Tool, path: &Path) -> Result<(), String> {
    match tool {
        // Packages of a plugin are installed into an environment.
        Tool::Python => output(Command::new(path).args(["-c", "import ensurepip, venv"]))
            .map(drop)
            .map_err(|_| "cannot create environments".into()),
        Tool::Clang => {
            let targets = output(Command::new(path).arg("-print-targets"))?;
            let has = targets.lines().any(|line| line.trim_start().starts_with("wasm32 "));
            if has { Ok(()) } else { Err("does not compile for wasm32".into()) }
        }
        _ => Ok(()),
    }
}

fn rust() -> Vec<ToolReport> {
    let remedy = Remedy::Manual(toolchain::HOW_TO_INSTALL);
    let row = |name, state| ToolReport { language: Language::Rust, name, state, remedy: remedy.clone() };
    match toolchain::describe() {
        Some((cargo, version, with)) => {
            let version = ToolVersion::in_text(&version).map_or_else(String::new, |version| version.to_string());
            vec![
                row("cargo", ToolState::Fine(version, cargo.display().to_string())),
                row("wasm32 target", ToolState::Fine(String::new(), with)),
            ]
        }
        None => vec![row("cargo for wasm32", ToolState::Missing)],
    }
}

/// Checks clang and its companion tools.
fn c(project: &Path) -> Vec<ToolReport> {
    let clang = look(Tool::Clang, project).ok();
    let major = clang.as_ref().and_then(|found| found.version.major()).unwrap_or(14);
    let mut rows = vec![row(Tool::Clang, project)];
    rows.extend(PARTS.iter().map(|part| {
        let path = clang.as_ref().and_then(|clang| part.path(&clang.path));
        let state = path.map(|path| ToolState::Fine(String::new(), path.display().to_string()));
        let remedy = Remedy::Debian(part.package.replace("{}", &major.to_string()));
        ToolReport { language: Language::C, name: part.name, state: state.unwrap_or(ToolState::Missing), remedy }
    }));
    rows
}
