//! `millstream doctor`: whether what plugins are built with is there and works, by language.

use super::build::rust::toolchain;
use super::language::Language;
use super::tools::clang::PARTS;
use super::tools::{Tool, ToolFacts, ToolProblem, ToolRegistry, ToolVersion, look, output, runs};
use std::fmt::{self, Display};
use std::path::Path;
use std::process::Command;

/// What a doctor found.
#[derive(Clone, Debug)]
pub struct DoctorReport {
    /// A row for each tool, those of a language side by side.
    pub rows: Vec<ToolReport>,
}

/// A tool.
#[derive(Clone, Debug)]
pub struct ToolReport {
    /// The language that needs it.
    pub language: Language,
    /// Its name.
    pub name: &'static str,
    /// How it stands.
    pub state: ToolState,
    /// How to get it.
    pub remedy: Remedy,
}

/// How a tool stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolState {
    /// It is there and works: its version, where that is known, and where it is.
    Fine(String, String),
    /// It is there and will not do.
    Unfit(String),
    /// It is not there.
    Missing,
}

/// How a tool is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// `millstream doctor --install` does it; this command would do as well.
    Doctor(String),
    /// Packages of Debian.
    Debian(String),
    /// In another way.
    Words(&'static str),
}

/// Looks at all tools of these languages, for projects in this folder.
pub fn examine(languages: &[Language], project: &Path) -> DoctorReport {
    // Programs are started to see whether they run: side by side, that takes as long as the slowest.
    let rows = std::thread::scope(|scope| {
        let looks = languages.iter().map(|language| match language {
            Language::Rust => vec![scope.spawn(rust)],
            Language::C => vec![scope.spawn(move || c(project))],
            language => Tool::of(*language).map(|tool| scope.spawn(move || vec![row(tool, project)])).collect(),
        });
        let looks: Vec<_> = looks.flatten().collect();
        looks.into_iter().filter_map(|look| look.join().ok()).flatten().collect()
    });
    DoctorReport { rows }
}

impl DoctorReport {
    /// Whether nothing is missing.
    pub fn complete(&self) -> bool {
        self.lacks(|_| true).is_empty()
    }

    /// The rows that are not fine.
    fn lacks(&self, which: impl Fn(&ToolReport) -> bool) -> Vec<&ToolReport> {
        self.rows.iter().filter(|row| !matches!(row.state, ToolState::Fine(..)) && which(row)).collect()
    }

    /// Whether something is missing for a language that the doctor can install.
    pub fn can_install(&self, language: Language) -> bool {
        !self.lacks(|row| row.language == language && matches!(row.remedy, Remedy::Doctor(_))).is_empty()
    }
}

/// A table, and what to do about what is missing in it.
impl Display for DoctorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = None;
        for row in &self.rows {
            if last != Some(row.language) {
                let lacks = self.lacks(|lack| lack.language == row.language);
                writeln!(f, "{}: {}", row.language, if lacks.is_empty() { "ready" } else { "not ready" })?;
                last = Some(row.language);
            }
            match &row.state {
                ToolState::Fine(version, place) => writeln!(f, "  {:<18}{version:<10}{place}", row.name)?,
                ToolState::Unfit(why) => writeln!(f, "  {:<18}{why}", row.name)?,
                ToolState::Missing => match &row.remedy {
                    Remedy::Doctor(command) => writeln!(f, "  {:<18}missing   {command}", row.name)?,
                    Remedy::Debian(packages) => writeln!(f, "  {:<18}missing   apt-get install {packages}", row.name)?,
                    Remedy::Words(_) => writeln!(f, "  {:<18}missing", row.name)?,
                },
            }
        }
        if self.complete() {
            return Ok(());
        }
        writeln!(f, "\nto install the missing tools:")?;
        let mut packages: Vec<&str> = Vec::new();
        for row in self.lacks(|_| true) {
            if let Remedy::Debian(names) = &row.remedy {
                packages.extend(names.split(' '));
            }
        }
        packages.sort_unstable();
        packages.dedup();
        if !packages.is_empty() {
            writeln!(f, "  apt-get install --no-install-recommends {}", packages.join(" "))?;
        }
        for row in self.lacks(|row| matches!(row.remedy, Remedy::Words(_))) {
            if let Remedy::Words(words) = row.remedy {
                writeln!(f, "  {words}")?;
            }
        }
        let languages = Language::ALL.into_iter().filter(|language| self.can_install(*language));
        let words: Vec<&str> = languages.map(Language::word).collect();
        if words.is_empty() { Ok(()) } else { writeln!(f, "  millstream doctor --install {}", words.join(" ")) }
    }
}

fn row(tool: Tool, project: &Path) -> ToolReport {
    let facts: ToolFacts = tool.facts();
    let state = match look(tool, project) {
        Ok(found) => match runs(tool, &found.path).and_then(|()| works(tool, &found.path)) {
            Ok(()) => ToolState::Fine(found.version.to_string(), found.path.display().to_string()),
            Err(why) => ToolState::Unfit(format!("{} {why}", found.path.display())),
        },
        Err(ToolProblem::Unfit(path, why)) => ToolState::Unfit(format!("{} {why}", path.display())),
        Err(ToolProblem::Missing) => ToolState::Missing,
    };
    let remedy = match facts.registry {
        ToolRegistry::Apt(packages) => Remedy::Debian(packages.into()),
        ToolRegistry::Pip(_) | ToolRegistry::Npm(_) => Remedy::Doctor(facts.command()),
    };
    ToolReport { language: facts.language, name: facts.program, state, remedy }
}

/// What a tool must be able to do beside running.
fn works(tool: Tool, path: &Path) -> Result<(), String> {
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
    let remedy = Remedy::Words(toolchain::HOW_TO_INSTALL);
    let row = |name, state| ToolReport { language: Language::Rust, name, state, remedy: remedy.clone() };
    match toolchain::look() {
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

/// Clang, and what it needs beside it.
fn c(project: &Path) -> Vec<ToolReport> {
    let clang = look(Tool::Clang, project).ok();
    let major = clang.as_ref().and_then(|found| found.version.major()).unwrap_or(14);
    let mut rows = vec![row(Tool::Clang, project)];
    rows.extend(PARTS.iter().map(|part| {
        let place = clang.as_ref().and_then(|clang| part.place(&clang.path));
        let state = place.map(|place| ToolState::Fine(String::new(), place.display().to_string()));
        let remedy = Remedy::Debian(part.package.replace("{}", &major.to_string()));
        ToolReport { language: Language::C, name: part.name, state: state.unwrap_or(ToolState::Missing), remedy }
    }));
    rows
}
