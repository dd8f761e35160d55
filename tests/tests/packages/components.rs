//! Packages: the metadata of a component without running it, and that the same project makes the same bytes.

use millstream_tests::{Ended, Process, Trial};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// A toolchain may be slow next to other builds.
const BUILDS_WITHIN: Duration = Duration::from_secs(600);

/// Runs the program in a directory.
fn run(trial: &Trial, arguments: &[&str]) -> Ended {
    let mut command = trial.command(arguments);
    // All Rust projects share their build directory.
    command.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages"));
    Process::start(&mut command).wait_within(BUILDS_WITHIN)
}

#[track_caller]
fn runs(trial: &Trial, arguments: &[&str]) -> String {
    let ended = run(trial, arguments);
    assert_eq!(ended.code, Some(0), "{arguments:?}\n{}{}", ended.stdout, ended.stderr);
    ended.stdout
}

#[track_caller]
fn inspected(trial: &Trial, what: &str) -> Value {
    serde_json::from_str(&runs(trial, &["inspect", "--json", what])).unwrap()
}

fn column(name: &str, kind: &str, nullable: bool) -> Value {
    json!({ "name": name, "type": kind, "nullable": nullable })
}

/// A component with these custom sections, which has none of the functions of its world: loading it fails.
fn hollow(sections: &[(&str, &str)]) -> Vec<u8> {
    let escaped = |text: &str| -> String { text.bytes().map(|byte| format!("\\{byte:02x}")).collect() };
    let custom = sections.iter().map(|(name, text)| format!("(@custom \"{name}\" \"{}\")", escaped(text)));
    let custom: String = custom.collect();
    let exports = "(instance) (export \"millstream:plugin/updater@0.1.1\" (instance 0))";
    wat::parse_str(format!("(component {exports} {custom})")).unwrap()
}

#[test]
fn a_package_is_inspected_without_running_it() {
    let entry = json!({
        "config": {}, "given": [], "by": [], "name": "ledger", "version": "2.0.0", "doc": "Keeps accounts",
        "inputs": [[column("amount", "int64", false)]], "output": [column("balance", "int64", false)],
        "state": [column("sum", "int64", false)], "key": null, "inverse": false,
    });
    let mut other = entry.clone();
    other["config"] = json!({ "currency": true });
    other["given"] = json!([[column("amount", "int64", true)]]);
    other["state"] = json!([column("sum", "int64", false), column("currency", "text", false)]);
    let schemas = json!([entry, other]).to_string();
    let trial = Trial::new("");
    let sections = [
        ("version", "2.0.0"),
        ("component-name", "\0\u{7}\u{6}ledger"),
        ("millstream:schemas", &schemas),
        ("millstream:config-schema", r#"{"type":"object"}"#),
        ("millstream:grants", r#"{"files":{"rates":"a rate a line"}}"#),
    ];
    trial.write("ledger.wasm", hollow(&sections));
    let text = runs(&trial, &["inspect", "ledger.wasm"]);
    for line in [
        "plugin:        ledger 2.0.0",
        "doc:           Keeps accounts",
        "world:         update of millstream:plugin@0.1.1",
        "grants:        nothing",
        "wants:         grant = {\"files\":{\"rates\":\"a rate a line\"}}",
        "reads:         amount int64 not null",
        "returns:       balance int64 not null",
        "state:         sum int64 not null",
        "key:           any",
        "config:        {\"type\":\"object\"}",
        "for example:   config {\"currency\":true}, input amount int64: reads amount int64 not null, returns balance int64 not \
         null, state sum int64 not null, currency text not null",
    ] {
        assert!(text.contains(&format!("{line}\n")), "no `{line}` in\n{text}");
    }
    assert!(!text.contains("compiled:"), "{text}");
    let output = inspected(&trial, "ledger.wasm");
    assert_eq!(
        (&output["name"], &output["version"], &output["world"]),
        (&"ledger".into(), &"2.0.0".into(), &"update".into())
    );
    assert_eq!(output["state"], json!([column("sum", "int64", false)]));
    assert_eq!(output["schemas"].as_array().map(Vec::len), Some(2));
    assert_eq!(output["grants"], json!({ "files": { "rates": "a rate a line" } }));

    // The same without its schemas has to be called, which fails.
    trial.write("asked.wasm", hollow(&[("version", "2.0.0")]));
    let ended = run(&trial, &["inspect", "asked.wasm"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(ended.stderr.contains("describe of millstream:plugin/updater@0.1.1 is missing"), "{}", ended.stderr);
}

/// Two builds of a project, each in its own directory.
fn built_twice(lang: &str, world: &str, manifest: &str, grants: &str) -> (Trial, Vec<u8>) {
    let build = || {
        let trial = Trial::new("");
        runs(&trial, &["new", "same", "--lang", lang, "--world", world]);
        let manifest = trial.path("same").join(manifest);
        fs::write(&manifest, fs::read_to_string(&manifest).unwrap() + grants).unwrap();
        runs(&trial, &["build", "same"]);
        let bytes = fs::read(trial.path("same/same.wasm")).unwrap();
        (trial, bytes)
    };
    let (one, other) = (build(), build());
    assert!(one.1 == other.1, "two builds of the same project in {lang} differ");
    one
}

/// The description of a plugin at build time is in its bytes, and these are the same each time.
#[test]
fn a_rust_package_has_its_schemas_and_is_reproducible() {
    let grants = "\n[package.metadata.millstream.grants]\nenv = { REGION = \"where\" }\n";
    let (trial, _) = built_twice("rust", "update", "Cargo.toml", grants);
    check_schemas(&trial);
}

/// The project of the template for world update, with its one case.
fn check_schemas(trial: &Trial) {
    let output = inspected(trial, "same");
    assert_eq!((&output["name"], &output["version"]), (&"same".into(), &"0.1.0".into()));
    assert_eq!(output["grants"], json!({ "env": { "REGION": "where" } }));
    let schemas = output["schemas"].as_array().unwrap();
    assert_eq!(schemas.len(), 2, "without an input, and with that of the case: {schemas:#?}");
    assert_eq!((&schemas[0]["given"], &schemas[0]["config"]), (&json!([]), &json!({})));
    let given = schemas[1]["given"][0].as_array().unwrap();
    assert!(!given.is_empty() && !schemas[1]["by"].as_array().unwrap().is_empty(), "{schemas:#?}");
    assert!(schemas.iter().all(|entry| !entry["state"].as_array().unwrap().is_empty()), "{schemas:#?}");
    assert!(schemas.iter().all(|entry| entry["name"] == "same" && entry["version"] == "0.1.0"), "{schemas:#?}");
    let text = runs(trial, &["inspect", "same"]);
    assert!(!text.contains("compiled:") && text.contains("\nstate:  "), "{text}");
}

#[test]
fn impossible_grants_are_rejected() {
    let project = "language = \"c\"\nworld = \"transform\"\nname = \"shout\"\nversion = \"1.2.3\"\n[grants]\n";
    for (grants, message) in [
        ("http = { hosts = [\"http://x\"] }", "`grant.http.hosts`: \"http://x\""),
        ("http = { hosts = [] }", "`grant.http.hosts` is empty"),
        ("network = true", "unknown field `network`"),
    ] {
        let trial = Trial::new("");
        trial.write("shout/plugin.toml", format!("{project}{grants}\n"));
        let output = trial.rejected_message(&["build", "shout"]);
        assert!(output.contains("shout/plugin.toml: ") && output.contains(message), "{grants}: {output}");
    }
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn a_go_package_has_its_schemas_and_is_reproducible() {
        let (trial, _) = built_twice("go", "update", "plugin.toml", "\n[grants]\nenv = { REGION = \"where\" }\n");
        check_schemas(&trial);
    }

    #[test]
    fn a_c_package_has_its_schemas_and_is_reproducible() {
        let (trial, _) = built_twice("c", "update", "plugin.toml", "\n[grants]\nenv = { REGION = \"where\" }\n");
        check_schemas(&trial);
    }
}
