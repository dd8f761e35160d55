//! Detects components that are older than their sources: usually a forgotten build.

use super::watch;
use millstream_job::spec::JobSpec;
use millstream_plugins::plugin::component_file;
use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::fs;
use std::path::{Path, PathBuf};

/// The manifests of projects.
const MANIFESTS: [&str; 4] = ["Cargo.toml", "pyproject.toml", "package.json", "plugin.toml"];
/// Other files that affect a build.
const OTHER_INPUTS: [&str; 3] = ["go.mod", "build.rs", "tsconfig.json"];
/// The extensions of sources. Other files in a directory may be read or written by a job.
const EXTENSIONS: [&str; 12] = ["rs", "py", "ts", "mts", "tsx", "js", "mjs", "cjs", "go", "c", "h", "wit"];
/// Directories whose files are not part of a component.
const EXCLUDED_DIRS: [&str; 5] = ["cases", "test", "tests", "testdata", "benches"];

/// A component, and the source that was last changed after its build.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StaleComponent {
    component: PathBuf,
    source: PathBuf,
    project: PathBuf,
}

impl Display for StaleComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} was changed after {} was built; run `millstream build {}`",
            self.source.display(),
            self.component.display(),
            self.project.display()
        )
    }
}

/// Returns the staleness of the plugin at a path, which is a project's directory or its component.
pub fn stale(plugin: &Path) -> Option<StaleComponent> {
    let component = component_file(plugin).ok()?;
    let project = component.parent().map(|dir| if dir.as_os_str().is_empty() { Path::new(".") } else { dir })?;
    // A component in another location was not built from the files next to it.
    if component_file(project).ok()?.file_name() != component.file_name() {
        return None;
    }
    let built = fs::metadata(&component).and_then(|metadata| metadata.modified()).ok()?;
    let seen = watch::look(project).into_iter().filter(|(path, (changed, _))| *changed > built && is_source(path));
    let (source, _) = seen.max_by_key(|(_, (changed, _))| *changed)?;
    Some(StaleComponent { source: project.join(source), project: project.into(), component })
}

/// Returns the stale plugins of a job, without duplicates.
pub fn of_job(job: &JobSpec) -> BTreeSet<StaleComponent> {
    let plugins = job.plugins().filter(|(_, plugin)| plugin.package().is_none());
    plugins.filter_map(|(_, plugin)| stale(&plugin.component_path(&job.origin.dir))).collect()
}

fn is_source(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_test = name.starts_with("test_") || name.ends_with("_test.go") || name.contains(".test.");
    let is_apart = path.iter().next().is_some_and(|first| EXCLUDED_DIRS.iter().any(|dir| first == *dir));
    let ending = path.extension().unwrap_or_default();
    let is_code = EXTENSIONS.iter().any(|source| ending == *source);
    let is_known = MANIFESTS.iter().chain(&OTHER_INPUTS).any(|known| name == *known);
    (is_code || is_known) && !is_test && !is_apart
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    #[test]
    fn the_source_that_was_changed_last_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str, seconds: u64| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("inside")).expect("a directory");
            fs::write(&path, "name = \"p\"\nworld = \"transform\"\n").expect("a file");
            let file = fs::File::options().append(true).open(&path).expect("a file");
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).expect("a time");
            path
        };
        let component = at("p.wasm", 20);
        at("a.go", 40);
        assert_eq!(stale(dir.path()), None, "it is no project");
        at("plugin.toml", 10);
        at("a.go", 10);
        for other in ["cases/x/case.toml", "tests/a.rs", "a_test.go", "README.md", "out.jsonl", "job.toml", ".git/a.go"]
        {
            at(other, 30);
        }
        assert_eq!(stale(dir.path()), None);
        at("b.go", 21);
        let newest = at("src/c.go", 23);
        at("d.go", 22);
        let expected = StaleComponent { component: component.clone(), source: newest, project: dir.path().into() };
        assert_eq!(stale(dir.path()), Some(expected.clone()));
        assert_eq!(stale(&component), Some(expected));
        assert_eq!(stale(&at("copied/other.wasm", 5)), None);
    }
}
