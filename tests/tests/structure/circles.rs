//! Cycles among the files of a crate do not grow: none is larger than [`LARGEST`] permits.
//!
//! A file uses another one if it names it, or something in it. A cycle is a set of files that all use each other, directly or not. A
//! module and its submodules are *kin*: cycles through them have a limit of their own.

use super::layers::{CRATES, HOST, STATEMENT, files, leaves};
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The number of files in each crate's largest cycle: first without the uses between kin, then with them. 1 means no cycle. A
/// number may only fall.
const LARGEST: [(&str, usize, usize); 14] = [
    ("base", 1, 4),
    ("connect", 2, 5),
    ("connectors", 5, 12),
    ("engine", 1, 8),
    ("hosting", 1, 3),
    ("job", 4, 10),
    ("metrics", 1, 1),
    ("packages", 1, 3),
    ("plugins", 1, 5),
    ("python", 1, 3),
    ("rows", 1, 8),
    ("runtime", 1, 5),
    ("sql", 1, 4),
    (PROGRAM, 1, 6),
];
/// The program itself, next to the crates.
const PROGRAM: &str = "the program";

/// The path of a module in its crate, from the top.
type ModulePath = Vec<String>;
/// What uses what.
type Graph = BTreeMap<ModulePath, BTreeSet<ModulePath>>;

/// What names no other file: comments, and who may see something.
static NO_USE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"//.*|\(in [^)]*\)").expect("a pattern"));
static PATH: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\w+(\s*::\s*\w+)+").expect("a pattern"));

/// Returns a source without comments and without the tests at its end, which may use anything.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    NO_USE.replace_all(text, "").into_owned()
}

/// The code of each module of a crate that is a file.
fn modules(sources: &Path) -> BTreeMap<ModulePath, String> {
    let of = |file: PathBuf| {
        let place = file.strip_prefix(sources).expect("a file of the crate").with_extension("");
        let mut module: ModulePath = place.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if module == ["lib"] {
            module.clear();
        }
        // The programs are crates of their own, which use the library.
        let is_program = module.first().is_some_and(|name| ["main", "bin"].contains(&name.as_str()));
        let is_test = module.iter().any(|name| name.split('_').next_back() == Some("tests"));
        let expected = !is_program && !is_test;
        expected.then(|| (module, code(&fs::read_to_string(&file).expect("a source"))))
    };
    files(sources).into_iter().filter_map(of).collect()
}

/// Returns the module that a path begins at, and the rest of it; `None` if it begins in another crate, or is not a module path.
fn absolute(modules: &BTreeMap<ModulePath, String>, own: &ModulePath, path: &str) -> Option<ModulePath> {
    let mut segments = path.split("::").map(str::trim).peekable();
    let mut base = own.clone();
    match *segments.peek()? {
        "crate" => base.clear(),
        "self" => {}
        "super" => {
            base.pop();
            segments.next();
            while segments.next_if(|segment| *segment == "super").is_some() {
                base.pop();
            }
            return Some(base.into_iter().chain(segments.map(str::to_owned)).collect());
        }
        first => {
            base.push(first.to_owned());
            if !modules.contains_key(&base) {
                return None;
            }
        }
    }
    Some(base.into_iter().chain(segments.skip(1).map(str::to_owned)).collect())
}

/// The other modules that one names.
fn used(modules: &BTreeMap<ModulePath, String>, own: &ModulePath, code: &str) -> BTreeSet<ModulePath> {
    let (mut paths, mut names) = (Vec::new(), BTreeMap::new());
    for leaf in STATEMENT.captures_iter(code).flat_map(|tree| leaves(&tree[1])) {
        let (path, name) = leaf.split_once(" as ").unwrap_or((&leaf, ""));
        let path = path.trim().trim_end_matches("::*").trim_end_matches("::self");
        let Some(path) = absolute(modules, own, path) else { continue };
        if let (true, Some(last)) = (modules.contains_key(&path), path.last()) {
            names.insert(if name.is_empty() { last.clone() } else { name.trim().to_owned() }, path.clone());
        }
        paths.push(path);
    }
    for path in PATH.find_iter(&STATEMENT.replace_all(code, "")) {
        let (first, rest) = path.as_str().split_once("::").expect("a path");
        match names.get(first.trim()) {
            Some(module) => {
                paths.push(module.iter().cloned().chain(rest.split("::").map(|s| s.trim().to_owned())).collect())
            }
            None => paths.extend(absolute(modules, own, path.as_str())),
        }
    }
    // A name belongs to the deepest module that is a file.
    let file = |mut path: ModulePath| {
        while !modules.contains_key(&path) {
            path.pop()?;
        }
        Some(path)
    };
    paths.into_iter().filter_map(file).filter(|module| module != own).collect()
}

/// What each module of a crate uses of the others.
fn graph(modules: &BTreeMap<ModulePath, String>) -> Graph {
    modules.iter().map(|(own, code)| (own.clone(), used(modules, own, code))).collect()
}

/// The same without what kin use of each other.
fn without_kin(mut graph: Graph) -> Graph {
    for (own, used) in &mut graph {
        used.retain(|other| !own.starts_with(other) && !other.starts_with(own));
    }
    graph
}

/// Whatever is used by a module, directly or not.
fn reach<'a>(graph: &'a Graph, from: &'a ModulePath) -> BTreeSet<&'a ModulePath> {
    let (mut found, mut left) = (BTreeSet::new(), vec![from]);
    while let Some(module) = left.pop() {
        left.extend(graph.get(module).into_iter().flatten().filter(|used| found.insert(*used)));
    }
    found
}

/// Returns the cycles, the largest first: sets of modules that all reach each other.
fn cycles(graph: &Graph) -> Vec<Vec<&ModulePath>> {
    let reaches: BTreeMap<_, _> = graph.keys().map(|module| (module, reach(graph, module))).collect();
    let circle_of = |module: &&'_ ModulePath| -> Vec<&ModulePath> {
        let together = |other: &&&ModulePath| reaches.get(**other).is_some_and(|reached| reached.contains(*module));
        reaches.get(*module).into_iter().flatten().filter(together).copied().collect()
    };
    let circles: BTreeSet<_> = graph.keys().collect::<Vec<_>>().iter().map(circle_of).collect();
    let mut circles: Vec<_> = circles.into_iter().filter(|circle| circle.len() > 1).collect();
    circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
    circles
}

/// Formats a cycle, with one line for each of its modules.
fn format_cycle(graph: &Graph, circle: &[&ModulePath]) -> String {
    let name = |module: &ModulePath| if module.is_empty() { "lib".to_owned() } else { module.join("/") };
    let mut text = format!("{} files use each other:", circle.len());
    for module in circle {
        let used = graph.get(*module).into_iter().flatten().filter(|used| circle.contains(used));
        let _ = write!(text, "\n    {} uses {}", name(module), used.map(name).collect::<Vec<_>>().join(", "));
    }
    text
}

/// Describes the cycles with more files than permitted.
fn too_large(graph: &Graph, max: usize) -> Vec<String> {
    cycles(graph).into_iter().filter(|circle| circle.len() > max).map(|circle| format_cycle(graph, &circle)).collect()
}

/// Returns the directory of a crate's sources.
fn sources(of: &str) -> PathBuf {
    let dir = Path::new(HOST);
    if of == PROGRAM { dir.join("src") } else { dir.join(of).join("src") }
}

#[test]
fn files_of_a_crate_do_not_use_each_other_in_cycles() {
    let names: BTreeSet<&str> = LARGEST.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names, CRATES.into_iter().chain([PROGRAM]).collect());
    let mut errors = Vec::new();
    for (name, max, most_of_kin) in LARGEST {
        let modules = modules(&sources(name));
        assert!(modules.len() > 5, "{name}: {} files", modules.len());
        let graph = graph(&modules);
        let kin = too_large(&graph, most_of_kin).into_iter();
        errors.extend(kin.map(|circle| format!("{name}, with kin, where at most {most_of_kin} may be: {circle}")));
        let strangers = too_large(&without_kin(graph), max).into_iter();
        errors.extend(strangers.map(|circle| format!("{name}, where at most {max} may be: {circle}")));
    }
    let what_to_do = "Move what both sides need into a file below them.";
    assert!(errors.is_empty(), "circles among files. {what_to_do}\n{}", errors.join("\n"));
}

/// Modules of these names with this code.
fn fake_modules(modules: &[(&str, &str)]) -> BTreeMap<ModulePath, String> {
    let path = |name: &str| name.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    modules.iter().map(|(name, text)| (path(name), code(text))).collect()
}

/// How many files the circles of made-up modules have, without and with what kin use of each other.
fn sizes(modules: &[(&str, &str)]) -> (Vec<usize>, Vec<usize>) {
    let graph = graph(&fake_modules(modules));
    let sizes = |graph: &Graph| cycles(graph).iter().map(Vec::len).collect();
    (sizes(&without_kin(graph.clone())), sizes(&graph))
}

#[test]
fn a_cycle_is_detected() {
    let both = (vec![2], vec![2]);
    assert_eq!(sizes(&[("a", "use super::b::X;"), ("b", "use crate::{c, d::{self, Y}};")]), (vec![], vec![]));
    assert_eq!(sizes(&[("a", "use super::b::X;"), ("b", "fn f() { crate::a::go() }")]), both);
    assert_eq!(sizes(&[("a", "use super::b::{self, X};"), ("b", "use crate::{c, a::{Y, Z as W}};")]), both);
    assert_eq!(sizes(&[("a", "pub use super::b::*;"), ("b", "fn f(x: super::a::X) {}")]), both);
    let three = [("a", "use super::b;\nfn f() { b::inner::go() }"), ("b", ""), ("b/inner", "use crate::a::X;")];
    assert_eq!(sizes(&three), both, "by the name of a module");
    assert_eq!(sizes(&[("a", "use super::b as other;\nfn f() { other::inner::go() }"), three[1], three[2]]), both);
    let long = [("a", "use super::b::X;"), ("b", "use super::c::X;"), ("c", "use super::a::X;")];
    assert_eq!(sizes(&long), (vec![3], vec![3]));
}

#[test]
fn parent_and_child_modules_may_use_each_other() {
    let modules = [("a", "mod inner;\nuse inner::X;"), ("a/inner", "use super::Y;"), ("b", "use super::a::X;")];
    assert_eq!(sizes(&modules), (vec![], vec![2]));
    let modules = [("", "mod a;\npub use a::inner::X;"), ("a", ""), ("a/inner", "use crate::Y;")];
    assert_eq!(sizes(&modules), (vec![], vec![2]), "the crate is kin of all");
    let modules = [("a", "mod one;\nmod two;"), ("a/one", "use super::two::X;"), ("a/two", "use super::one::X;")];
    assert_eq!(sizes(&modules), (vec![2], vec![2]), "brothers are not");
}

#[test]
fn other_text_makes_no_cycle() {
    let modules = [
        ("a", "use super::b::X;\nuse std::b::Y;\nuse millstream_base::b::Y;"),
        ("b", "// crate::a::X\npub(in crate::a) fn f() {}\n#[cfg(test)]\nmod tests {\n    use crate::a::X;\n}"),
    ];
    assert_eq!(sizes(&modules), (vec![], vec![]));
}

#[test]
fn a_planted_import_is_detected_in_a_crate() {
    let mut modules = modules(&sources("plugins"));
    assert_eq!(too_large(&without_kin(graph(&modules)), 1), [""; 0]);
    let low = modules.get_mut(&["plugin".to_owned(), "trap".to_owned()][..]).expect("the file");
    low.push_str("\nuse super::instances::Instances;\n");
    let found = too_large(&without_kin(graph(&modules)), 1);
    assert!(found.len() == 1 && found[0].contains("plugin/trap uses plugin/instances"), "{found:?}");
}
