//! Components of the plugins. A component is kept as long as its sources are unchanged: building and compiling one can take half
//! a minute.

use millstream::internals::author::language::Language;
use millstream_tests::{Process, millstream, root};
use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};
use std::time::Duration;

/// For builds, and for cases whose component must be compiled, next to several others.
pub const TAKES_AT_MOST: Duration = Duration::from_secs(900);

/// The parts of `millstream build` that every component depends on, in addition to its project and its SDK.
const BUILT_WITH: [&str; 5] =
    ["host/src/author", "host/plugins/src/plugin/snapshot.rs", "sdk/preview1", "wit", "Cargo.lock"];

/// The names of the cases, which are directories.
pub fn case_names() -> Vec<String> {
    let dirs = entries(&root().join("tests/conformance")).into_iter().filter(|entry| entry.is_dir());
    dirs.filter_map(|dir| Some(dir.file_name()?.to_string_lossy().into_owned())).collect()
}

/// The directory of a plugin.
pub fn dir(case: &str, language: Language) -> PathBuf {
    root().join("tests/conformance").join(case).join(language.keyword())
}

/// Whether a language has a plugin for a case.
pub fn has(case: &str, language: Language) -> bool {
    dir(case, language).is_dir()
}

type Built = Arc<OnceLock<Result<PathBuf, String>>>;

/// Returns the component of a plugin, built if necessary; an error has the output of the build.
pub fn component(case: &str, language: Language) -> Result<PathBuf, String> {
    static BUILT: LazyLock<Mutex<BTreeMap<(String, Language), Built>>> = LazyLock::new(Default::default);
    let built = BUILT.lock().expect("nobody panics here").entry((case.into(), language)).or_default().clone();
    // Tests that need the same component wait for the first one to build it.
    built.get_or_init(|| build(case, language)).clone()
}

fn build(case: &str, language: Language) -> Result<PathBuf, String> {
    let project = dir(case, language);
    let kept = target().join("conformance").join(language.keyword());
    fs::create_dir_all(&kept).expect("a folder can be made");
    let component = kept.join(format!("{case}-{:016x}.wasm", digest(&project, language)));
    if component.is_file() {
        return Ok(component);
    }
    let mut command = Command::new(millstream());
    command.arg("build").arg(&project).env("CARGO_TARGET_DIR", target());
    let ended = Process::start(&mut command).wait_within(TAKES_AT_MOST);
    if ended.code != Some(0) {
        return Err(format!("it cannot be built\n{}{}", ended.stdout, ended.stderr));
    }
    let name = format!("conformance-{case}.wasm");
    let content = fs::read(project.join(&name)).map_err(|error| format!("the build made no {name}: {error}"))?;
    for old in entries(&kept).into_iter().filter(|file| is_of(file, case)) {
        fs::remove_file(old).expect("a file can be removed");
    }
    let unfinished = component.with_extension("unfinished");
    fs::write(&unfinished, content).and_then(|()| fs::rename(&unfinished, &component)).expect("a file can be written");
    Ok(component)
}

/// Whether a kept component is one of this case.
fn is_of(file: &Path, case: &str) -> bool {
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    name.rsplit_once('-').is_some_and(|(of, _)| of == case)
}

/// Cargo's target directory: tests are in `<target>/release/deps`.
fn target() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its path");
    test.ancestors().nth(3).expect("a test lies in a build folder").to_owned()
}

/// A digest of everything that a component depends on.
fn digest(project: &Path, language: Language) -> u64 {
    let mut hasher = DefaultHasher::new();
    let sdk = root().join("sdk").join(language.keyword());
    let parts = BUILT_WITH.into_iter().map(|part| root().join(part)).filter(|part| part.exists());
    for file in parts.chain([sdk, project.to_owned()]).flat_map(|part| files(&part)) {
        // Every checkout builds the same component.
        file.strip_prefix(root()).unwrap_or(&file).hash(&mut hasher);
        fs::read(&file).expect("a source can be read").hash(&mut hasher);
    }
    hasher.finish()
}

/// All files of a directory, in order, without those that builds and tests write, and without documentation.
pub fn files(path: &Path) -> Vec<PathBuf> {
    const LEFT_BEHIND: [&str; 4] = ["target", "node_modules", "__pycache__", "cases"];
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let is_source = |entry: &PathBuf| {
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        !name.starts_with('.')
            && ![".wasm", ".md"].iter().any(|end| name.ends_with(end))
            && !LEFT_BEHIND.contains(&&*name)
    };
    entries(path).into_iter().filter(is_source).flat_map(|entry| files(&entry)).collect()
}

/// The entries of a directory, in order.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.expect("the folder can be read").path()).collect();
    entries.sort();
    entries
}
