//! What SDKs, templates and shared plugins say of themselves by tests of their own, each run as its language does. Those of Rust
//! are run by cargo, and the SDK of C by `sdk_c.rs`.

use millstream::internals::author::tools::{Tool, find};
use millstream_tests::{Process, root};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const TAKE_AT_MOST: Duration = Duration::from_secs(600);

const WORLDS: [&str; 6] = ["aggregate", "cogroup", "sink", "source", "transform", "update"];

fn tool(tool: Tool, dir: &Path) -> Command {
    let program = find(tool, dir).unwrap_or_else(|error| panic!("{error}"));
    let mut command = Command::new(program);
    command.current_dir(dir);
    command
}

#[track_caller]
fn passes(command: &mut Command) {
    let ended = Process::start(command).wait_within(TAKE_AT_MOST);
    assert_eq!(ended.code, Some(0), "{command:?}\n{}{}", ended.stdout, ended.stderr);
    let output = format!("{}{}", ended.stdout, ended.stderr);
    let nothing = ["Ran 0 tests", "NO TESTS RAN", "ℹ tests 0", "[no test files]"];
    assert!(nothing.iter().all(|text| !output.contains(text)), "{command:?} runs nothing\n{output}");
}

/// The templates of a language, and its shared plugins.
fn projects(language: &str, plugins: &[&str]) -> Vec<PathBuf> {
    let templates = WORLDS.map(|world| root().join("sdk").join(language).join("template").join(world));
    let plugins = plugins.iter().map(|plugin| root().join("plugins").join(plugin));
    templates.into_iter().chain(plugins).collect()
}

#[test]
fn python() {
    let sdk = root().join("sdk/python");
    passes(tool(Tool::Python, &sdk).args(["-m", "unittest"]));
    for project in projects("python", &["feed", "vader"]) {
        // Packages that a plugin needs are in the directory where its build put them.
        let path = format!("{}:{}", sdk.display(), project.join(".millstream/packages/modules").display());
        passes(tool(Tool::Python, &project).args(["-m", "unittest"]).env("PYTHONPATH", path));
    }
}

#[test]
fn javascript() {
    let sdk = root().join("sdk/js");
    let test = sdk.join("bin/test.mjs");
    // The examples of its README are checked by TypeScript's compiler.
    let mut path = vec![find(Tool::Tsc, &sdk).unwrap().parent().unwrap().to_path_buf()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    let path = std::env::join_paths(path).unwrap();
    for dir in [vec![sdk], projects("js", &["webhook", "weblog"])].concat() {
        passes(tool(Tool::Node, &dir).arg(&test).env("PATH", &path));
    }
}

#[test]
fn go() {
    let sdk = root().join("sdk/go");
    passes(tool(Tool::Go, &sdk).args(["vet", "./..."]));
    passes(tool(Tool::Go, &sdk).args(["test", "."]));
    for project in projects("go", &["geo", "statsd"]) {
        passes(tool(Tool::Go, &project).args(["test", "."]));
    }
}

#[test]
fn c() {
    for plugin in ["edges", "meters"] {
        passes(Command::new("make").arg("test").current_dir(root().join("plugins").join(plugin)));
    }
}
