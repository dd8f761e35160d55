//! `millstream schema` describes job files as the program reads them: all of ours satisfy it, and typing errors do not.

use millstream_tests::{Process, Trial, millstream, python_with, root};
use regex::Regex;
use serde_json::{Map, Value, json};
use std::fs;
use std::process::Command;

fn schema() -> Value {
    let ended = Process::start(Command::new(millstream()).arg("schema")).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).expect("the schema is JSON")
}

/// Every job of the project, by path.
fn jobs() -> Vec<(String, Value)> {
    let mut paths = vec![root().join("demo/word-count.toml")];
    for dir in ["tests/e2e", "docs/examples"] {
        let cases = fs::read_dir(root().join(dir)).unwrap().map(|entry| entry.unwrap().path());
        let jobs = cases.flat_map(|dir| ["job.toml", "live.toml"].map(|file| dir.join(file)));
        paths.extend(jobs.filter(|job| job.exists()));
    }
    let read = |path: &std::path::PathBuf| toml::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    paths.iter().map(|path| (path.display().to_string(), read(path))).collect()
}

/// The paths of values that violate a schema. Supports the keywords that our schema uses, and fails on others, so that none is
/// skipped.
fn wrong(schema: &Value, value: &Value, path: &str) -> Vec<String> {
    let Value::Object(message) = schema else {
        return if *schema == json!(false) { vec![path.into()] } else { Vec::new() };
    };
    let holds = |schema: &Value| wrong(schema, value, path).is_empty();
    let mut found = Vec::new();
    for (word, says) in message {
        let fits = match word.as_str() {
            "$schema" | "title" | "description" | "then" => true,
            "type" => kind(value) == says || (says == "number" && kind(value) == "integer"),
            "enum" => says.as_array().unwrap().contains(value),
            "const" => says == value,
            "pattern" => value.as_str().is_none_or(|text| Regex::new(says.as_str().unwrap()).unwrap().is_match(text)),
            "minLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 >= says.as_u64().unwrap()),
            "minimum" => value.as_f64().is_none_or(|number| number >= says.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= says.as_f64().unwrap()),
            "maxItems" => value.as_array().is_none_or(|items| items.len() as u64 <= says.as_u64().unwrap()),
            "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= says.as_u64().unwrap()),
            "uniqueItems" => value.as_array().is_none_or(|items| {
                let doubled = (1..items.len()).any(|index| items[..index].contains(&items[index]));
                !doubled || *says != json!(true)
            }),
            "minProperties" => value.as_object().is_none_or(|table| table.len() as u64 >= says.as_u64().unwrap()),
            "required" => value.as_object().is_none_or(|table| has_all(table, says)),
            "dependentRequired" => value.as_object().is_none_or(|table| {
                says.as_object().unwrap().iter().all(|(key, needs)| !table.contains_key(key) || has_all(table, needs))
            }),
            "dependentSchemas" => {
                let requests = says.as_object().unwrap().iter().filter(|(key, _)| value.get(key.as_str()).is_some());
                found.extend(requests.flat_map(|(_, schema)| wrong(schema, value, path)));
                true
            }
            "anyOf" => says.as_array().unwrap().iter().any(holds),
            "allOf" => {
                found.extend(says.as_array().unwrap().iter().flat_map(|schema| wrong(schema, value, path)));
                true
            }
            "not" => !holds(says),
            "if" => {
                found.extend(if holds(says) { wrong(&message["then"], value, path) } else { Vec::new() });
                true
            }
            "items" => {
                let items = value.as_array().into_iter().flatten().enumerate();
                found.extend(items.flat_map(|(index, item)| wrong(says, item, &format!("{path}.{index}"))));
                true
            }
            "propertyNames" => {
                value.as_object().into_iter().flatten().all(|(key, _)| wrong(says, &json!(key), path).is_empty())
            }
            "properties" | "additionalProperties" => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    let own = message.get("properties").and_then(|properties| properties.get(key));
                    let says = if word == "properties" { own } else { Some(says).filter(|_| own.is_none()) };
                    found.extend(says.into_iter().flat_map(|schema| wrong(schema, value, &format!("{path}.{key}"))));
                }
                true
            }
            other => panic!("this checker does not know `{other}`"),
        };
        if !fits {
            found.push(path.into());
        }
    }
    found
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn has_all(table: &Map<String, Value>, keys: &Value) -> bool {
    keys.as_array().unwrap().iter().all(|key| table.contains_key(key.as_str().unwrap()))
}

#[test]
fn all_jobs_satisfy_the_schema() {
    let schema = schema();
    let jobs = jobs();
    assert!(jobs.len() > 10);
    for (path, job) in jobs {
        assert_eq!(wrong(&schema, &job, ""), Vec::<String>::new(), "{path}");
    }
}

#[test]
fn a_standard_validator_accepts_every_job_of_the_project() {
    let trial = Trial::new("");
    let schema = trial.write("schema.json", schema().to_string());
    let mut command = python_with("kubernetes");
    command.current_dir(root()).arg("tests/tests/cli/schema/validate.py").arg(schema);
    command.args(["README.md", "demo", "docs", "deploy", "plugins", "sdk", "tests/e2e", "tests/compat"]);
    let ended = Process::start(&mut command).wait();
    let last = ended.stdout.lines().last().unwrap_or_default();
    assert!(ended.code == Some(0) && last.ends_with("jobs, 0 errors"), "{}{}", ended.stdout, ended.stderr);
    assert!(last.split(' ').next().unwrap().parse::<u32>().unwrap() > 100, "{last}");
}

/// A string with a variable may become anything, whatever its form.
#[test]
fn variables_may_occur_in_any_string() {
    let schema = schema();
    let job = json!({
        "batch": "${BATCH:-1s}",
        "sources": { "in": { "kind": "socket", "address": "${FEED:-127.0.0.1:9999}", "format": "${FORMAT}" } },
        "sinks": { "out": { "from": "in", "kind": "kafka", "brokers": "b:9092", "topic": "t", "wait": "${file:wait}" } },
    });
    assert_eq!(wrong(&schema, &job, ""), Vec::<String>::new());
    let mut changed = job.clone();
    changed["sources"]["in"]["address"] = json!("$FEED");
    assert!(!wrong(&schema, &changed, "").is_empty());
    changed = job;
    changed["sinks"]["out"]["url"] = json!("postgres://x");
    assert!(!wrong(&schema, &changed, "").is_empty(), "a kafka sink has no url");
}

/// An additional character in any key that is not a name, and in any value that is one of several.
#[test]
fn the_schema_rejects_every_typing_error() {
    let schema = schema();
    for (path, job) in jobs() {
        let tables = ["sources", "stages", "sinks"].iter().filter(|part| job.get(part).is_some());
        for part in tables {
            for (name, table) in job[part].as_object().unwrap() {
                for key in table.as_object().unwrap().keys() {
                    let mut changed = job.clone();
                    let table = changed[part][name].as_object_mut().unwrap();
                    let value = table.remove(key).unwrap();
                    table.insert(format!("{key}x"), value);
                    assert!(!wrong(&schema, &changed, "").is_empty(), "{path}: {part}.{name}.{key}x");
                }
                for key in ["kind", "format", "on", "emit"].iter().filter(|key| table.get(key).is_some()) {
                    let mut changed = job.clone();
                    changed[part][name][key] = json!("none-such");
                    assert!(!wrong(&schema, &changed, "").is_empty(), "{path}: {part}.{name}.{key}");
                }
            }
        }
        let mut changed = job.clone();
        changed["sorces"] = json!({});
        assert_eq!(wrong(&schema, &changed, ""), [".sorces"], "{path}");
    }
}

#[test]
fn the_schema_has_the_rules_of_kinds_units_and_operators() {
    let schema = schema();
    let right = json!({
        "sources": { "in": { "kind": "socket", "address": "here:1" } },
        "stages": { "a": { "from": "in", "plugin": "p" } },
        "sinks": { "out": { "from": "a", "kind": "print" } },
    });
    assert_eq!(wrong(&schema, &right, ""), Vec::<String>::new());
    for (path, value) in [
        ("/batch", json!("1 second")),
        ("/batch", json!(1)),
        ("/workers", json!(0)),
        ("/sources/in/address", json!("here")),
        ("/sources/in/rows_per_second", json!(5)),
        ("/sources/in/schema", json!({ "a": "string" })),
        ("/sources/in/schema", json!({})),
        ("/sources/1in", json!({ "kind": "socket", "address": "here:1" })),
        ("/sources/in/kind", json!("file")),
        ("/stages/a/aggregate", json!({ "n": "count(*)" })),
        ("/stages/b", json!({ "from": "in", "emit": "state" })),
        ("/stages/b", json!({ "from": "in", "aggregate": { "n": "count" } })),
        ("/stages/a/from", json!([])),
        ("/sinks/out/path", json!("out")),
        ("/sinks/out/kind", json!("files")),
    ] {
        let (table, key) = path.rsplit_once('/').unwrap();
        let mut changed = right.clone();
        changed.pointer_mut(table).unwrap()[key] = value;
        assert!(!wrong(&schema, &changed, "").is_empty(), "{path} may not be {}", changed.pointer(path).unwrap());
    }
}

/// Stages of every operator, in every spelling, and what is wrong with each.
#[test]
fn the_schema_has_the_rules_of_windows_and_operators() {
    let schema = schema();
    let holds = |stage: &Value| {
        let mut stage = stage.clone();
        stage["from"] = json!("in");
        let job = json!({
            "sources": { "in": { "kind": "socket", "address": "here:1" } },
            "stages": { "a": stage },
            "sinks": { "out": { "from": "a", "kind": "print" } },
        });
        wrong(&schema, &job, "").is_empty()
    };
    for stage in [
        json!({ "window": { "size": "30s", "slide": "10s" }, "aggregate": { "n": "count(*)" }, "inverse": true }),
        json!({ "window": { "gap": "30s", "length_max": "1h", "time": "ts", "emit": "update" } }),
        json!({ "window": { "size": "30s" }, "time": ["a", "b"], "lateness": "5s", "idle": "1m", "emit": "close" }),
        json!({ "sql": "select 1", "functions": { "f": "p", "g": { "plugin": "p", "config": 5 } } }),
        json!({ "join": { "with": "b", "on": "k", "type": "full", "within": "10s" } }),
        json!({ "join": { "on": { "a": "b" }, "within": ["-5s", "10s"], "window": { "size": "1s" } } }),
        json!({ "cogroup": true, "plugin": "p", "key": "k" }),
        json!({ "cogroup": ["b"], "plugin": "p", "key": "k", "config": 1 }),
        json!({ "enrich": { "file": "a.csv", "on": ["k"], "type": "left", "schema": { "k": "text" } } }),
        json!({ "enrich": { "url": "u", "query": "q", "on": "k", "poll": "30s" } }),
        json!({ "top": { "n": 10, "by": "v", "order": "asc", "key": "k" } }),
        json!({ "distinct": true }),
        json!({ "distinct": ["a"] }),
        json!({ "deduplicate": { "within": "1m" }, "key": "k" }),
        json!({ "pattern": { "steps": "a next b", "define": { "a": "x > 1" }, "measures": { "m": "a.x" } }, "time": "ts" }),
        json!({ "pattern": { "steps": "a", "within": "1h", "skip": "to next row", "rows_max": 5 }, "time": "ts", "key": "k" }),
        json!({ "sample": 0.5 }),
        json!({ "sample": 1 }),
        json!({ "split": { "a": "x" }, "filter": "x", "select": "y" }),
        json!({ "repartition": { "partitions": 4 } }),
        json!({ "plugin": "p", "emit": "changes", "time": "ts" }),
        json!({ "plugin": "p", "on_error": "reject", "max_rejected": 100, "limits": { "fuel": 5, "log": "1KiB" } }),
        json!({ "plugin": "p", "max_rejected": 0.5, "grant": { "env": { "A": "b" }, "files": { "c": "d" } } }),
        json!({ "plugin": "p", "max_rejected": "2.5%", "replayable": false, "grant": { "http": { "hosts": "h" } } }),
    ] {
        assert!(holds(&stage), "{stage}");
    }
    for stage in [
        json!({ "window": "30s" }),
        json!({ "window": { "size": "-30s" } }),
        json!({ "window": { "size": "30s", "emit": "rows" } }),
        json!({ "window": { "length": "30s" } }),
        json!({ "lateness": "5 s" }),
        json!({ "emit": "rows" }),
        json!({ "emit": "now" }),
        json!({ "sql": "select 1", "aggregate": { "n": "count(*)" } }),
        json!({ "functions": { "f": "p" } }),
        json!({ "sql": "select 1", "functions": { "f": { "config": 5 } } }),
        json!({ "join": { "with": "b" } }),
        json!({ "join": { "on": "k", "type": "outer" } }),
        json!({ "join": { "on": "k", "within": ["1s"] } }),
        json!({ "join": { "on": "k", "within": ["1s", "2s", "3s"] } }),
        json!({ "join": { "on": "k" }, "top": { "n": 1, "by": "v" } }),
        json!({ "cogroup": true, "plugin": "p" }),
        json!({ "cogroup": true, "key": "k" }),
        json!({ "cogroup": true, "plugin": "p", "key": "k", "sample": 0.5 }),
        json!({ "enrich": { "file": "a.csv" } }),
        json!({ "enrich": { "file": "a.csv", "on": "k", "type": "full" } }),
        json!({ "top": { "by": "v" } }),
        json!({ "top": { "n": 0, "by": "v" } }),
        json!({ "deduplicate": { "within": "1m" } }),
        json!({ "pattern": { "steps": "a" } }),
        json!({ "pattern": { "define": { "a": "x > 1" } }, "time": "ts" }),
        json!({ "pattern": "a next b", "time": "ts" }),
        json!({ "sample": 1.5 }),
        json!({ "sample": "10%" }),
        json!({ "split": { "a": 5 } }),
        json!({ "repartition": { "partitions": 2000 } }),
        json!({ "on_error": "reject" }),
        json!({ "max_rejected": 5 }),
        json!({ "replayable": false }),
        json!({ "plugin": "p", "on_error": "skip" }),
        json!({ "plugin": "p", "max_rejected": -1 }),
        json!({ "plugin": "p", "max_rejected": 1.5 }),
        json!({ "plugin": "p", "max_rejected": "101%" }),
        json!({ "plugin": "p", "max_rejected": "10" }),
        json!({ "plugin": "p", "max_rejected": true }),
        json!({ "plugin": "p", "limits": { "fuel": 0 } }),
        json!({ "plugin": "p", "limits": { "tables": 2_000_000 } }),
        json!({ "plugin": "p", "limits": { "files": 1 } }),
        json!({ "plugin": "p", "grant": { "network": true } }),
        json!({ "plugin": "p", "grant": { "env": { "A": 5 } } }),
        json!({ "plugin": "p", "grant": { "http": { "methods": "GET" } } }),
        json!({ "sql": "select 1", "functions": { "f": { "plugin": "p", "on_error": "reject" } } }),
        json!({ "filter": "" }),
        json!({ "sort": "n" }),
    ] {
        assert!(!holds(&stage), "{stage}");
    }
}

/// Keys that stages have for plugins, too, are for other kinds of sources and sinks without a plugin.
#[test]
fn sources_and_sinks_have_the_rules_of_their_kinds_and_not_those_of_stages() {
    let schema = schema();
    let wrong_with = |source: &Value, sink: &Value| {
        let mut sink = sink.clone();
        sink["from"] = json!("in");
        wrong(&schema, &json!({ "sources": { "in": source }, "sinks": { "out": sink } }), "")
    };
    let print = json!({ "kind": "print" });
    let rate = json!({ "kind": "rate", "rows_per_second": 5 });
    for source in [
        json!({ "kind": "socket", "address": "here:1", "format": "json", "schema": { "a": "text" }, "max_rejected": 10 }),
        json!({ "kind": "file", "path": "a.csv", "format": "csv", "schema": { "a": "text" }, "max_rejected": "1%" }),
        json!({ "kind": "directory", "path": "in", "pattern": "*.json", "max_rejected": 0.5 }),
        json!({ "kind": "kafka", "brokers": "b:9092", "pattern": "orders-.*" }),
        json!({ "kind": "http", "url": "https://h/", "every": "10s", "timeout": "5s" }),
        json!({ "kind": "plugin", "plugin": "p", "config": 5, "max_rejected": 5, "limits": { "memory": "1MiB" } }),
    ] {
        assert_eq!(wrong_with(&source, &print), Vec::<String>::new(), "{source}");
    }
    for sink in [
        json!({ "kind": "http", "url": "https://h/", "timeout": "5s" }),
        json!({ "kind": "http", "url": "https://h/_bulk", "body": "bulk", "on_error": "reject" }),
        json!({ "kind": "plugin", "plugin": "p", "config": 5, "on_error": "reject" }),
    ] {
        assert_eq!(wrong_with(&rate, &sink), Vec::<String>::new(), "{sink}");
    }
    for source in [
        json!({ "kind": "socket", "address": "here:1", "timeout": "5s" }),
        json!({ "kind": "socket", "address": "here:1", "pattern": "*" }),
        json!({ "kind": "socket", "address": "here:1", "limits": { "memory": "1MiB" } }),
        json!({ "kind": "plugin" }),
    ] {
        assert!(!wrong_with(&source, &print).is_empty(), "{source}");
    }
    for sink in [json!({ "kind": "print", "timeout": "5s" }), json!({ "kind": "print", "config": 5 })] {
        assert!(!wrong_with(&rate, &sink).is_empty(), "{sink}");
    }
}
