//! `docs/connectors.md` is made of what the program says of itself (its JSON Schema) and of the lines of `docs/guarantees.md`, each of
//! which a test holds. Where it is not as it should be, the test prints the table.

use millstream_tests::{Process, millstream, root};
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

/// A line of `docs/guarantees.md`: what is read or written, how often, and why.
struct Promise {
    words: String,
    kind: String,
    rows: String,
}

/// The lines of one of its tables.
fn promises(head: &str) -> Vec<Promise> {
    let page = fs::read_to_string(root().join("docs/guarantees.md")).unwrap();
    let mut promises = Vec::new();
    let (mut inside, mut found) = (false, false);
    for line in page.lines() {
        match line {
            _ if line.starts_with(&format!("| {head} |")) => (inside, found) = (true, true),
            _ if !line.starts_with('|') || line.starts_with("| sink |") || line.starts_with("| source |") => {
                inside = false
            }
            _ if inside && !line.starts_with("|---") => {
                let cells: Vec<&str> = line.trim_matches('|').splitn(3, '|').map(str::trim).collect();
                let kinds: Vec<&str> = cells[0].split('`').skip(1).step_by(2).collect();
                let is_kind = |word: &&&str| schema_kinds(head).contains(**word);
                let kind = kinds.iter().find(is_kind).unwrap_or_else(|| panic!("no kind in {line}"));
                promises.push(Promise { words: cells[0].into(), kind: (*kind).into(), rows: cells[1].into() });
            }
            _ => {}
        }
    }
    assert!(found, "no table of each {head}");
    promises
}

fn schema() -> Value {
    let told = Process::start(Command::new(millstream()).arg("schema")).wait();
    serde_json::from_str(&told.stdout).expect("JSON")
}

/// The keys of sources or sinks.
fn part(head: &str) -> Value {
    schema()["properties"][format!("{head}s")]["additionalProperties"].clone()
}

fn schema_kinds(head: &str) -> BTreeSet<String> {
    let kinds = part(head)["properties"]["kind"]["anyOf"][0]["enum"].as_array().expect("kinds").clone();
    kinds.iter().map(|kind| kind.as_str().unwrap().to_owned()).collect()
}

/// Whether a kind may have a key.
fn takes(part: &Value, kind: &str, key: &str) -> bool {
    let rules = part["allOf"].as_array().expect("rules by kind");
    let rule =
        rules.iter().find(|rule| rule["if"]["properties"]["kind"]["const"] == kind).expect("a rule for each kind");
    rule["then"]["properties"][key] != false && !part["properties"][key].is_null()
}

fn formats(part: &Value, head: &str, kind: &str) -> String {
    if !takes(part, kind, "format") || ["postgres-changes", "flight"].contains(&kind) {
        return if kind == "plugin" { "the plugin's".into() } else { "columns".into() };
    }
    let of_files = ["file", "directory", "files"].contains(&kind);
    let is_sink = head == "sink";
    let fits = |format: &str| match format {
        "csv" => is_sink && of_files || takes(part, kind, "separator"),
        "avro" => of_files || takes(part, kind, "registry") || takes(part, kind, "schema_file"),
        "protobuf" => takes(part, kind, "descriptor"),
        "parquet" => of_files,
        "binary" => !of_files || !is_sink,
        "text" => true,
        _ => true,
    };
    let all = part["properties"]["format"]["anyOf"][0]["enum"].as_array().expect("formats");
    let fitting: Vec<&str> =
        all.iter().filter_map(Value::as_str).filter(|format| kind != "queue" && fits(format)).collect();
    if fitting.is_empty() { "json".into() } else { fitting.join(", ") }
}

/// What is read in parts by itself, each with its own position.
fn partitions(kind: &str) -> &'static str {
    match kind {
        "kafka" => "those of topics, over all processes",
        "redis" | "nats" => "streams, over all processes",
        "rabbitmq" => "queues or streams, over all processes",
        "flight" => "parts of the stream",
        "kinesis" => "shards, over all processes",
        "plugin" => "the plugin's, over all processes",
        "directory" => "files, one after the other",
        "socket" | "raw-socket" => "servers, over all processes",
        _ => "one",
    }
}

/// What is gone when the job is killed.
fn lost(rows: &str) -> &'static str {
    match rows {
        _ if rows.starts_with("exactly once from the moment") => "what no batch had planned",
        _ if rows.starts_with("by those who listen") => "what nobody heard",
        _ if rows.starts_with("not at all") => "all",
        _ => "nothing",
    }
}

/// The lines of the table, without their last cells.
fn table() -> Vec<String> {
    let mut table = vec![
        "| connector | as | rows | formats | partitions | what a kill loses |".to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
    ];
    for head in ["source", "sink"] {
        let part = part(head);
        let promises = promises(head);
        let told: BTreeSet<String> = promises.iter().map(|promise| promise.kind.clone()).collect();
        assert_eq!(told, schema_kinds(head), "docs/guarantees.md tells of each kind of {head}");
        for Promise { words, kind, rows } in promises {
            let (formats, lost) = (formats(&part, head, &kind), lost(&rows));
            let partitions = if head == "source" { partitions(&kind) } else { "" };
            table.push(format!("| {words} | {head} | {rows} | {formats} | {partitions} | {lost} |"));
        }
    }
    table
}

/// What is read and written without anybody else.
const WITHOUT_SERVER: [&str; 9] =
    ["file", "directory", "rate", "nexmark", "queue", "files", "delta", "nothing", "print"];

#[test]
fn the_page_of_connectors_is_what_program_and_guarantees_say() {
    let page = fs::read_to_string(root().join("docs/connectors.md")).unwrap();
    let table = table();
    let lines: Vec<&str> = page.lines().filter(|line| line.starts_with('|')).collect();
    let parts: Vec<(&str, &str)> = lines
        .iter()
        .map(|line| {
            let inner = line.strip_suffix('|').unwrap_or_else(|| panic!("no end of {line}"));
            let last = inner.rfind('|').unwrap_or_else(|| panic!("no cells in {line}"));
            (&inner[..=last], inner[last + 1..].trim())
        })
        .collect();
    let found: Vec<&str> = parts.iter().map(|(line, _)| *line).collect();
    assert!(found == table, "docs/connectors.md has to hold, each with a last cell,\n\n{}", table.join("\n"));
    let rate = Regex::new(
        r"^[0-9,]+ rows a second, [0-9]+\.[0-9]{2} of .+ \([0-9]+ cores, 20[0-9]{2}-[01][0-9]-[0-3][0-9]\)$",
    );
    let rate = rate.unwrap();
    for (line, cell) in &parts[2..] {
        let is_without = WITHOUT_SERVER.iter().any(|kind| line.contains(&format!("`{kind}`")));
        let told = match cell.strip_prefix("not measured: ") {
            Some(why) => !why.is_empty(),
            None => rate.is_match(cell) || (*cell == "no server" && is_without),
        };
        assert!(
            told,
            "a line needs what `make bench PARTS=servers RATES=write` measures, or `not measured: ` and why: {line} {cell}"
        );
    }
}
