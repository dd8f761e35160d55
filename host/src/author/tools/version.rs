//! Versions of tools, as they print them.

use std::fmt::{self, Display};
use std::path::Path;

/// Numbers with dots between them. More numbers are newer: `1.24` < `1.24.1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ToolVersion(Vec<u64>);

impl ToolVersion {
    /// The first version in a text, as in `go version go1.26.8 linux/amd64` and `v20.20.2`; a number without a dot counts
    /// where there is none with.
    pub fn in_text(text: &str) -> Option<ToolVersion> {
        let all = || {
            let runs = text.split(|c: char| !c.is_ascii_digit() && c != '.');
            runs.filter_map(|run| {
                let numbers = run.trim_matches('.').split('.').map(|number| number.parse().ok());
                numbers.collect::<Option<Vec<u64>>>().map(ToolVersion)
            })
        };
        all().find(|version| version.0.len() > 1).or_else(|| all().next())
    }

    /// The first number.
    pub fn major(&self) -> Option<u64> {
        self.0.first().copied()
    }
}

impl Display for ToolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(u64::to_string).collect();
        f.write_str(&numbers.join("."))
    }
}

/// The version of the npm package that a program is from, if it is from one: starting Node to ask takes much longer. A
/// script in `bin` beside `node_modules` stands for the program of its name there.
pub fn of_npm_package(program: &Path) -> Option<ToolVersion> {
    let beside = program.parent()?.parent()?.join("node_modules/.bin").join(program.file_name()?);
    let real = beside.canonicalize().or_else(|_| program.canonicalize()).ok()?;
    let in_modules = |folder: &&Path| {
        let parent = folder.parent().and_then(Path::file_name).unwrap_or_default();
        parent == "node_modules" || parent.to_string_lossy().starts_with('@')
    };
    let package = real.ancestors().skip(1).find(in_modules)?;
    let manifest = millstream_base::regular::read_to_string(package.join("package.json")).ok()?;
    let manifest: serde_json::Value = serde_json::from_str(&manifest).ok()?;
    ToolVersion::in_text(manifest.get("version")?.as_str()?)
}
