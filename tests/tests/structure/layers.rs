//! The layers of the host, as listed in `host/ARCHITECTURE.md`: no file uses a module above its own, in any crate.

use regex::Regex;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The directory of the host.
pub const HOST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../host");

/// The crates, besides the program.
pub const CRATES: [&str; 13] = [
    "base",
    "connect",
    "connectors",
    "engine",
    "hosting",
    "job",
    "metrics",
    "packages",
    "plugins",
    "python",
    "rows",
    "runtime",
    "sql",
];
/// Layers that are a single module, which has their name.
const OF_ONE_MODULE: [&str; 5] = ["hosting", "job", "metrics", "runtime", "sql"];

static COMMENT: LazyLock<Regex> = LazyLock::new(|| Regex::new("//.*").expect("a pattern"));
/// What a file says that it uses, at its beginning or elsewhere.
pub static STATEMENT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?-u:\b)use\s+([^;]+);").expect("a pattern"));
/// What it names without saying so.
static INLINE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?-u:\b)(crate|super|self|millstream_\w+)(::\w+)+").expect("a pattern"));

/// The rows of the table of layers in the map, from the bottom up.
fn table() -> Vec<String> {
    let map = fs::read_to_string(Path::new(HOST).join("ARCHITECTURE.md")).expect("the map");
    let section = map.split("\n## ").find(|section| section.starts_with("Layers\n")).expect("the section `Layers`");
    section.lines().filter(|line| line.starts_with("| `")).rev().map(str::to_owned).collect()
}

/// The modules that files may be in, with their height in the table of the map.
fn layers() -> BTreeMap<String, usize> {
    let names = Regex::new("`([a-z_0-9]+)`").expect("a pattern");
    let modules = table().into_iter().flat_map(|row| {
        let modules = row.split('|').nth(1).expect("a first cell");
        names.captures_iter(modules).map(|name| name[1].to_owned()).collect::<Vec<_>>().into_iter().rev()
    });
    modules.enumerate().map(|(height, module)| (module, height)).collect()
}

/// What a use tree names, each from its first segment on.
pub fn leaves(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((before, within)) = tree.strip_suffix('}').and_then(|tree| tree.split_once('{')) else {
        return vec![tree.to_owned()];
    };
    let (mut depth, mut items) = (0, vec![String::new()]);
    for letter in within.chars() {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        match letter {
            ',' if depth == 0 => items.push(String::new()),
            letter => items.last_mut().expect("one at least").push(letter),
        }
    }
    items.iter().flat_map(|item| leaves(item)).map(|leaf| format!("{before}{leaf}")).collect()
}

/// The top-level modules that a file names. `module`: the file's own path of modules.
fn used(module: &[String], text: &str) -> Vec<String> {
    // Tests are at the end.
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let text = COMMENT.replace_all(text, "");
    let uses = STATEMENT.captures_iter(&text).flat_map(|tree| leaves(&tree[1])).collect::<Vec<_>>();
    let others = STATEMENT.replace_all(&text, "");
    let inline = INLINE.find_iter(&others).map(|path| path.as_str().to_owned());
    let first = |path: String| {
        let mut base = module.to_vec();
        let mut segments = path.split("::").map(str::trim).peekable();
        match segments.next()? {
            "crate" if module.first().is_some_and(|name| OF_ONE_MODULE.contains(&name.as_str())) => base.truncate(1),
            "crate" => base.clear(),
            // Modules have one name in all crates.
            name if name.starts_with("millstream_") => {
                base.clear();
                base.extend(OF_ONE_MODULE.iter().filter(|one| name.ends_with(**one)).map(|one| (*one).to_owned()));
            }
            "super" => {
                base.pop();
                while segments.next_if(|segment| *segment == "super").is_some() {
                    base.pop();
                }
            }
            _ => return None,
        }
        base.into_iter().chain(segments.map(str::to_owned)).next()
    };
    uses.into_iter().chain(inline).filter_map(first).collect()
}

/// The sources in a directory and its subdirectories.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a folder of sources").map(|entry| entry.expect("an entry").path());
    let (dirs, files): (Vec<PathBuf>, Vec<PathBuf>) = entries.partition(|path| path.is_dir());
    let sources = files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    sources.chain(dirs.iter().flat_map(|dir| self::files(dir))).collect()
}

/// The modules that a file uses and may not: those above its own.
fn too_high(layers: &BTreeMap<String, usize>, module: &[String], text: &str) -> Vec<String> {
    let own = layers.get(&module[0]);
    let above = |used: &String| layers.get(used).is_some_and(|height| own.is_none_or(|own| height > own));
    let wrong = |used: &String| *used != module[0] && above(used);
    used(module, text).into_iter().filter(wrong).collect()
}

#[test]
fn no_file_uses_a_layer_above_its_own() {
    let layers = layers();
    let crates = CRATES.iter().map(|name| Path::new(HOST).join(name).join("src")).collect::<Vec<_>>();
    let (mut errors, mut seen) = (Vec::new(), 0);
    let of_crate =
        |sources: &PathBuf| files(sources).into_iter().map(|file| (sources.clone(), file)).collect::<Vec<_>>();
    for (sources, file) in crates.iter().chain([&Path::new(HOST).join("src")]).flat_map(of_crate) {
        let place = file.strip_prefix(&sources).expect("a file of the host").with_extension("");
        let mut module: Vec<String> = place.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let name = sources.parent().and_then(Path::file_name).expect("the folder of a crate").to_string_lossy();
        if OF_ONE_MODULE.contains(&name.as_ref()) {
            module.insert(0, name.into_owned());
        }
        // The programs, the façade, which names what it shows, and tests, which may use what they like.
        let is_test = module.iter().any(|name| name.split('_').next_back() == Some("tests"));
        if ["lib", "main", "bin"].contains(&module[0].as_str()) || is_test {
            continue;
        }
        seen += 1;
        let text = fs::read_to_string(&file).expect("a source");
        let (name, row) = (&module[0], layers.contains_key(&module[0]));
        if !row {
            errors.push(format!("{}: the map has no layer for `{name}`", file.display()));
        }
        let used = too_high(&layers, &module, &text);
        errors.extend(used.into_iter().map(|used| format!("{}: `{name}` uses `{used}`", place.display())));
    }
    assert!(seen > 100, "{seen} files");
    assert!(errors.is_empty(), "layers of host/ARCHITECTURE.md, section Layers:\n{}", errors.join("\n"));
}

/// The directories of the crates, from the bottom up, as the same table lists them.
fn crates() -> Vec<String> {
    let cell = |row: String| row.split('|').nth(2).expect("a second cell").trim().trim_matches('`').to_owned();
    table().into_iter().map(cell).filter(|name| !name.is_empty()).collect()
}

/// The own crates in a `Cargo.toml` that are not below its crate. `of`: their names by height.
fn wrong_dependencies(of: &[String], height: usize, manifest: &str) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().expect("a manifest");
    let own = manifest["dependencies"].as_table().expect("dependencies").keys();
    let own = own.filter(|name| name.starts_with("millstream"));
    let below = |name: &&String| of.iter().position(|other| other == *name).is_some_and(|other| other < height);
    own.filter(|name| !below(name)).cloned().collect()
}

#[test]
fn no_crate_depends_on_one_above_it() {
    let crates = crates();
    let name = |dir: &String| match dir.strip_prefix("host/") {
        Some(part) => format!("millstream-{part}"),
        None => "millstream".to_owned(),
    };
    let names = crates.iter().map(name).collect::<Vec<_>>();
    assert_eq!(names.len(), CRATES.len() + 1, "{names:?}");
    let root = Path::new(HOST).join("..");
    for (height, dir) in crates.iter().enumerate() {
        let manifest = fs::read_to_string(root.join(dir).join("Cargo.toml")).expect("a manifest");
        assert_eq!(wrong_dependencies(&names, height, &manifest), [""; 0], "{dir}");
    }
    let planted = "[dependencies]\nserde.workspace = true\nmillstream-runtime.workspace = true";
    assert_eq!(wrong_dependencies(&names, 1, planted), ["millstream-runtime"]);
}

#[test]
fn a_wrong_import_is_detected() {
    let layers = BTreeMap::from([
        ("ids".to_owned(), 0),
        ("batch".to_owned(), 1),
        ("run".to_owned(), 2),
        ("runtime".to_owned(), 3),
    ]);
    let module = ["batch".to_owned(), "keys".to_owned()];
    let wrong = |text: &str| too_high(&layers, &module, text);
    assert_eq!(
        wrong("use crate::ids::BatchId;\nuse super::types;\nuse std::fmt;\nuse crate::batch::{part, types};"),
        [""; 0]
    );
    assert_eq!(wrong("use millstream_engine::run::Job;\nfn f() { millstream_engine::run::go() }"), ["run", "run"]);
    assert_eq!(wrong("use millstream_runtime::Job;\nuse millstream_sql::query;"), ["runtime"]);
    assert_eq!(wrong("use crate::{ids, run::{Job, Options}};"), ["run", "run"]);
    assert_eq!(wrong("fn f() { crate::run::go(super::super::run::WAY) } // crate::run"), ["run", "run"]);
    assert_eq!(wrong("use crate::ids;\n#[cfg(test)]\nmod tests {\n    use crate::run;\n}"), [""; 0]);
}
