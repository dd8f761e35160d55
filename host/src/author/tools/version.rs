//! Parses the versions that tools print.

use std::fmt::{self, Display};
use std::path::Path;

/// Numbers separated by dots. A version with more numbers is newer: `1.24` < `1.24.1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ToolVersion(Vec<u64>);

impl ToolVersion {
    /// Returns the first version in a string, for example in `go version go1.26.8 linux/amd64` and `v20.20.2`. A number
    /// without a dot is used if there is none with a dot.
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

    /// Returns the first number.
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

/// Returns the version of the npm package to which a program belongs, if any: starting Node takes much longer. A script
/// in `bin` next to `node_modules` represents the program with its name there.
pub fn of_npm_package(program: &Path) -> Option<ToolVersion> {
    let linked = program.parent()?.parent()?.join("node_modules/.bin").join(program.file_name()?);
    let real = linked.canonicalize().or_else(|_| program.canonicalize()).ok()?;
    let in_modules = |dir: &&Path| {
        let parent = dir.parent().and_then(Path::file_name).unwrap_or_default();
        parent == "node_modules" || parent.to_string_lossy().starts_with('@')
    };
    let package = real.ancestors().skip(1).find(in_modules)?;
    let manifest = millstream_base::regular::read_to_string(package.join("package.json")).ok()?;
    let manifest: serde_json::Value = serde_json::from_str(&manifest).ok()?;
    ToolVersion::in_text(manifest.get("version")?.as_str()?)
}
