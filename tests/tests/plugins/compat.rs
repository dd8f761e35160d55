//! Permanent compatibility: components that were built for a released version of the interface are kept, and run on every later
//! host. A component of a later version is rejected with the version that it needs.

use millstream_tests::{Expected, Process, Trial, root};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The names of the entries of a directory.
fn names_in(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    entries.map(|name| name.into_string().unwrap()).collect()
}

/// The worlds of a released version, from its WIT.
fn worlds(version: &str) -> BTreeSet<String> {
    let dir = root().join("wit/released").join(version);
    let strings = names_in(&dir).into_iter().map(|name| fs::read_to_string(dir.join(name)).unwrap());
    let all: String = strings.collect();
    let worlds = all.lines().filter_map(|line| line.strip_prefix("world ")?.strip_suffix(" {"));
    worlds.map(String::from).collect()
}

/// The components that are kept of a version, by world.
fn kept(version: &str) -> BTreeSet<String> {
    let files = names_in(&root().join("tests/compat").join(version));
    files.iter().map(|file| file.strip_suffix(".wasm").unwrap().to_owned()).collect()
}

fn versions() -> BTreeSet<String> {
    names_in(&root().join("wit/released"))
}

#[test]
fn each_world_of_each_release_is_kept() {
    let known = millstream::internals::plugin::RELEASES.iter().map(|release| release.version.to_owned());
    assert_eq!(versions(), known.collect(), "`plugin/releases` has a row for each folder of `wit/released`");
    let newest = millstream::internals::plugin::RELEASES.last().unwrap();
    assert_eq!(newest.version, millstream::internals::plugin::VERSION);
    for version in versions() {
        let missing: Vec<String> = worlds(&version).difference(&kept(&version)).cloned().collect();
        assert!(missing.is_empty(), "tests/compat/{version} has no component of {missing:?}");
    }
}

/// The kind of a plugin by the name of its fixture.
fn world_of(kept: &str) -> &str {
    match kept {
        "timers" | "update-migrating" => "update",
        world => world,
    }
}

#[test]
fn components_of_each_release_run() {
    for version in versions() {
        for kept in kept(&version) {
            let dir = root().join("tests/compat");
            let component = fs::read(dir.join(&version).join(format!("{kept}.wasm"))).unwrap();
            let trial = Trial::new("");
            trial.write("plugin.wasm", &component);
            let job = dir.join("jobs").join(&kept);
            for name in names_in(&job) {
                trial.write(&name, fs::read(job.join(&name)).unwrap());
            }
            let output = Process::start(&mut trial.command(&["inspect", "--json", "plugin.wasm"])).wait();
            assert_eq!(output.code, Some(0), "{version} {kept}: {}", output.stderr);
            let output: Value = serde_json::from_str(&output.stdout).unwrap();
            assert_eq!(
                (&output["interface_version"], &output["world"]),
                (&version.as_str().into(), &world_of(&kept).into())
            );

            trial.run_ok(&[]);
            let strip = |mut batch: Value| {
                batch.as_object_mut().unwrap().remove("time");
                batch
            };
            let got: Vec<Value> = trial.batches("out.jsonl").into_iter().map(strip).collect();
            assert_eq!(got, trial.batches("expected.jsonl"), "{version} {kept}");
        }
    }
}

/// A component that exports empty instances under these names, and imports one with a function under that.
fn component(exports: &str, import: Option<&str>) -> Vec<u8> {
    let import = import.map(|name| format!("(import \"{name}\" (instance (export \"f\" (func))))"));
    let import = import.unwrap_or_default();
    let exports = exports.split(' ').map(|name| format!("(export \"{name}\" (instance $i))"));
    wat::parse_str(format!("(component {import} (instance $i) {})", exports.collect::<String>())).unwrap()
}

#[test]
fn a_component_of_a_later_version_is_rejected_with_the_version_that_it_needs() {
    let ours = |name: &str| format!("millstream:plugin/{name}");
    let later = [
        // Of the same series, of the next one, of a world that does not exist yet, and with an import that does not.
        (ours("transformer@0.1.9"), None, "0.1.9"),
        (ours("transformer@0.2.0"), None, "0.2.0"),
        (ours("transformer@1.0.0-rc.1"), None, "1.0.0-rc.1"),
        (ours("reducer@0.3.0"), None, "0.3.0"),
        (ours("transformer@0.1.1"), Some(ours("telepathy@0.1.9")), "0.1.9"),
        (ours("transformer@0.1.9"), Some(ours("log@0.1.9")), "0.1.9"),
        (ours("updater@0.1.2 ") + &ours("migrator@0.1.9"), None, "0.1.9"),
    ];
    for (export, import, version) in later {
        let trial = trial(&component(&export, import.as_deref()));
        let output = trial.rejected_message(&["validate", "job.toml"]);
        let text = format!(
            "needs millstream:plugin@{version}, and this host supports {}",
            millstream::internals::plugin::VERSION
        );
        assert!(output.contains(&text), "{export} {import:?}: {output}");
        assert!(trial.rejected_message(&["inspect", "plugin.wasm"]).contains(&text), "{export} {import:?}");
    }
}

#[test]
fn what_a_release_never_had_is_refused() {
    let ours = |name: &str| format!("millstream:plugin/{name}");
    let mut expected = Expected::of(file!(), "what_a_release_never_had_is_refused");
    for (export, import) in [
        (ours("cogrouper@0.1.0"), None),
        (ours("updater@0.1.1 ") + &ours("migrator@0.1.1"), None),
        (ours("transformer@0.1.2 ") + &ours("migrator@0.1.2"), None),
        (ours("updater@0.1.0"), Some(ours("timers@0.1.0"))),
        (ours("transformer@0.1.1"), Some(ours("telepathy@0.1.1"))),
    ] {
        let trial = trial(&component(&export, import.as_deref()));
        let case = format!("exports {export}\nimports {}", import.unwrap_or_default());
        expected.add(&case, &trial.rejected_message(&["validate", "job.toml"]));
    }
    expected.check_parts();
}

/// A job with this plugin.
fn trial(component: &[u8]) -> Trial {
    let trial = Trial::new(&fs::read_to_string(root().join("tests/compat/jobs/transform/job.toml")).unwrap());
    trial.write("input.jsonl", "");
    trial.write("plugin.wasm", component);
    trial
}
