//! The statements about languages without an SDK are true: their plugins are built as two pages say and behave accordingly, and
//! the tables are those of the interface.

use millstream_tests::{Block, Ended, Process, Trial, blocks, millstream, root};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;
use wit_parser::{Resolve, SizeAlign, SourceMap, Type, TypeDefKind};

/// A plugin written by hand, and the tables of functions and layouts.
const ABI: &str = "sdk/ABI.md";
/// A plugin in Zig.
const ZIG: &str = "docs/how-to/write-plugins-in-other-languages.md";

/// Zig may have to be installed first, and compiles its own runtime the first time.
const BUILDS_WITHIN: Duration = Duration::from_secs(900);

/// The blocks of a page, which are in these languages and no others.
fn section(page: &str, languages: &[&str]) -> Vec<Block> {
    let all = blocks(page);
    let found: Vec<&str> = all.iter().map(|block| block.language.as_str()).collect();
    assert_eq!(found, languages, "{page}: tests run these blocks");
    all
}

fn of<'b>(section: &'b [Block], language: &str) -> Vec<&'b str> {
    section.iter().filter(|block| block.language == language).map(|block| block.text.as_str()).collect()
}

/// Runs these lines in a shell in the directory of a trial.
fn runs(trial: &Trial, lines: &str, programs: &[String]) -> Ended {
    let program = millstream();
    let mut path: Vec<String> = programs.to_vec();
    path.push(program.parent().expect("a folder").display().to_string());
    path.push(std::env::var("PATH").expect("a PATH"));
    let mut shell = Command::new("bash");
    shell.args(["-euc", lines]).current_dir(trial.dir()).env("PATH", path.join(":"));
    let ended = Process::start(&mut shell).wait_within(BUILDS_WITHIN);
    assert_eq!(ended.code, Some(0), "{lines}\n{}\n{}", ended.stdout, ended.stderr);
    ended
}

/// Runs the job of a section on its rows; its output must be as shown.
fn check_section(trial: &Trial, section: &[Block], input: &str, output: &str) {
    let json = of(section, "json");
    let [rows, expected] = json[..] else { panic!("the page shows rows that go in and rows that come out") };
    trial.write(input, rows);
    trial.write("job.toml", of(section, "toml")[0]);
    runs(trial, "millstream run job.toml", &[]);
    let came: Vec<Value> = trial.batches(output).into_iter().map(|mut batch| batch["rows"].take()).collect();
    let expected: Vec<Value> = expected.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(came, expected);
}

#[test]
fn a_module_written_by_hand_becomes_a_plugin() {
    let (section, trial) = (section(ABI, &["wat", "sh", "toml", "json", "json"]), Trial::new(""));
    trial.write("double.wat", of(&section, "wat")[0]);
    let message = runs(&trial, of(&section, "sh")[0], &[]).stdout;
    for line in ["plugin:        double 0.1.0", "grants:        nothing", "reads:         value int64 not null"] {
        assert!(message.contains(&format!("{line}\n")), "{message}");
    }
    check_section(&trial, &section, "numbers.jsonl", "doubled.jsonl");
}

#[test]
fn a_module_of_a_language_without_an_sdk_becomes_a_plugin() {
    let (section, trial) = (section(ZIG, &["zig", "sh", "sh", "toml", "json", "json"]), Trial::new(""));
    let sh = of(&section, "sh");
    let packages = fs::read_to_string(root().join("scripts/python.txt")).expect("python.txt");
    let installs = sh[0].trim().strip_prefix("pip install ").expect("how to install Zig");
    assert!(packages.lines().any(|line| line == installs), "scripts/python.txt has another version than {installs}");
    let python = Process::start(&mut Command::new(root().join("scripts/python.sh"))).wait_within(BUILDS_WITHIN);
    let programs = python.stdout.trim().strip_suffix("/python").expect("a path").to_owned();
    trial.write("shout.zig", of(&section, "zig")[0]);
    runs(&trial, sh[1], &[programs]);
    check_section(&trial, &section, "words.jsonl", "shouted.jsonl");
    let refused = trial.rows("refused.jsonl");
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0]["reason"], "there is nothing to shout");
}

/// The reason why a module cannot become a component.
fn rejection(trial: &Trial, file: &str, world: &str) -> String {
    let mut command = trial.command(&["componentize", file, "--world", world, "-o", "refused.wasm"]);
    let ended = Process::start(&mut command).wait();
    assert!(ended.code != Some(0) && ended.stdout.is_empty(), "{file} became a component: {}", ended.stdout);
    assert!(!trial.path("refused.wasm").exists(), "{file} became a component");
    ended.stderr
}

/// The cells of the page's table with this heading, row by row.
fn table(heading: &str) -> Vec<Vec<String>> {
    let page = fs::read_to_string(root().join(ABI)).expect("the page");
    let lines = page.lines().skip_while(|line| !line.starts_with(heading)).skip(2);
    let rows = lines.take_while(|line| line.starts_with('|'));
    let rows: Vec<Vec<String>> =
        rows.map(|line| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect();
    assert!(!rows.is_empty(), "{ABI} has no table {heading}");
    rows
}

/// The words in backquotes.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn is_value(word: &&str) -> bool {
    word.split(' ').all(|part| part == "i32" || part == "i64")
}

/// A module with the imports and exports of the tables, which does nothing, is a plugin of each world.
#[test]
fn the_signatures_are_those_of_the_page() {
    let mut exports: BTreeMap<String, String> = BTreeMap::new();
    for row in table("| world | function |") {
        let [world, function, parameters, _] = &row[..] else { panic!("{row:?}") };
        let name = format!("millstream:plugin/{}", quoted(function)[0]);
        let parameters = quoted(parameters).into_iter().filter(is_value).collect::<Vec<_>>().join(" ");
        let part = exports.entry(quoted(world)[0].to_owned()).or_default();
        *part += &format!("(func (export \"{name}\") (param {parameters}) (result i32) unreachable)\n");
        *part += &format!("(func (export \"cabi_post_{name}\") (param i32))\n");
    }
    let worlds: Vec<_> = exports.keys().map(String::as_str).collect();
    assert_eq!(worlds, ["aggregate", "cogroup", "sink", "source", "transform", "update"]);
    for (world, exports) in &exports {
        let mut imports = String::new();
        for row in table("| module | function |") {
            let [module, function, parameters] = &row[..] else { panic!("{row:?}") };
            let of = quoted(module).get(1..).unwrap_or_default().to_vec();
            let is_there = of.is_empty() || of.contains(&world.as_str()) != module.contains("(not world");
            if !is_there {
                continue;
            }
            let (module, function) = (quoted(module)[0], quoted(function)[0]);
            let parameters = quoted(parameters).join(" ");
            imports += &format!("(import \"millstream:plugin/{module}\" \"{function}\" (func (param {parameters})))\n");
        }
        let trial = Trial::new("");
        trial.write(
            "all.wat",
            format!(
                "(module {imports} (memory (export \"memory\") 1) (func (export \"_initialize\"))\n\
                 (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) unreachable)\n{exports})"
            ),
        );
        runs(&trial, &format!("millstream componentize all.wat --world {world} -o all.wasm"), &[]);
        // Nothing is superfluous: without any one of its functions it is not a plugin.
        for export in exports.lines().filter(|line| !line.contains("cabi_post")) {
            let less = trial.text("all.wat").replace(export, "");
            trial.write("less.wat", less);
            let message = rejection(&trial, "less.wat", world);
            let name = export.split('"').nth(1).expect("a name");
            assert!(message.contains(name.rsplit('#').next().expect("a function")), "{name}: {message}");
        }
    }
}

#[test]
fn the_layouts_are_those_of_the_page() {
    let mut sources = SourceMap::default();
    for entry in fs::read_dir(root().join("wit")).expect("wit/") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|ending| ending == "wit") {
            sources.push_str(&path.display().to_string(), fs::read_to_string(&path).expect("a WIT file"));
        }
    }
    let mut resolve = Resolve::default();
    let group = sources.parse().map_err(|(_, error)| error).expect("WIT");
    resolve.push_group(group).expect("a package");
    let mut sizes = SizeAlign::default();
    sizes.fill(&resolve);

    let mut message = Vec::new();
    for row in table("| record | bytes |") {
        let [record, bytes, alignment, fields] = &row[..] else { panic!("{row:?}") };
        let strings = quoted(record);
        let interface = match (strings[0], strings.get(1).copied()) {
            (_, Some("transform")) => "transformer",
            ("groups", Some("update")) | ("updated", None) => "updater",
            ("due-times", None) => "timers",
            (_, Some("cogroup")) => "cogrouper",
            (_, Some("source")) | ("refusal" | "polled", None) => "reader",
            (_, Some("sink")) | ("identity" | "owner", None) => "writer",
            ("datagram", None) => "net",
            _ => "types",
        };
        let is_it = |(_, interface_of): &(_, &wit_parser::Interface)| interface_of.name.as_deref() == Some(interface);
        let (_, found) = resolve.interfaces.iter().find(is_it).expect(interface);
        let id = found.types[strings[0]];
        let TypeDefKind::Record(of) = &resolve.types[id].kind else { panic!("{record} is no record") };
        let ty = Type::Id(id);
        assert_eq!(sizes.size(&ty).size_wasm32().to_string(), *bytes, "{record}");
        assert_eq!(sizes.align(&ty).align_wasm32().to_string(), *alignment, "{record}");
        let places = sizes.field_offsets(of.fields.iter().map(|field| &field.ty));
        let places =
            of.fields.iter().zip(places).map(|(field, (at, _))| format!("`{}` {}", field.name, at.size_wasm32()));
        assert_eq!(places.collect::<Vec<_>>().join(", "), *fields, "{record}");
        message.push(format!("{interface} {}", strings[0]));
    }
    for (_, interface) in &resolve.interfaces {
        for (name, id) in &interface.types {
            if matches!(resolve.types[*id].kind, TypeDefKind::Record(_)) {
                let record = format!("{} {name}", interface.name.as_deref().unwrap_or_default());
                assert!(message.contains(&record), "{ABI} tells no layout of {record}");
            }
        }
    }
}

#[test]
fn other_modules_are_rejected() {
    let trial = Trial::new("");
    trial.write("empty.wat", "(module)");
    trial.write("broken.wat", "(module\n  (func (export \"a\") (result i32) i64.const 1 nonsense))");
    trial.write("component.wat", "(component)");
    for (file, strings) in [
        ("empty.wat", "describe"),
        ("broken.wat", "broken.wat:2:47"),
        ("component.wat", "is not a core WebAssembly module"),
        ("missing.wat", "cannot read missing.wat"),
    ] {
        let message = rejection(&trial, file, "transform");
        assert!(message.contains(file) && message.contains(strings), "{file}: {message}");
    }
}
