//! A connector that declares itself has one home: nothing outside its directory names it, except the list of all connectors and
//! its module line.

use super::layers::{CRATES, HOST, files};
use regex::Regex;
use std::fs;
use std::path::Path;

/// The list of all kinds.
const LIST: &str = "connectors/src/kinds.rs";
/// The modules of the crate with the connectors.
const MODULES: &str = "connectors/src/lib.rs";

/// Modules of connectors whose names are common words.
const COMMON: [&str; 7] = ["files", "http", "print", "queue", "rate", "socket", "websocket"];
/// Those of them to which no path may lead from outside. `otlp` receives with `http`, and the program prints tables with `print`.
const BY_PATH: [&str; 5] = ["files", "queue", "rate", "socket", "websocket"];
/// What the program uses of a connector itself.
const USED: &str = "files::source::infer";
/// Files with words that look like kinds: those of checkpoints, of languages, names of features, and descriptions of sinks.
const WORDS: [&str; 4] =
    ["src/cli/inspect/text.rs", "src/author/new/names.rs", "src/cli/version.rs", "src/page/diagnosis.rs"];
/// Text that does not name a connector: batches in flight, a response header named after a server, features named after a kind, and help
/// for users.
const OTHERS: &str = r#"in flight|x-clickhouse-exception-code|feature = "\w+"|absent\("[^"]*", "\w+"\)|`kafka` sink"#;

/// The connectors in the text of the list: kind and module.
fn declared(list: &str) -> Vec<(String, String)> {
    let line =
        Regex::new(r#"(?:declared!\("\w+", "([\w-]+)", |\bDeclared\(&)crate::(\w+)::(?:source::)?declaration::"#);
    let of = |found: regex::Captures<'_>| {
        let module = found[2].to_owned();
        (found.get(1).map_or_else(|| module.clone(), |kind| kind.as_str().to_owned()), module)
    };
    let all = line.expect("a pattern").captures_iter(list).map(of).collect::<Vec<_>>();
    all.into_iter().filter(|(_, module)| !COMMON.contains(&module.as_str())).collect()
}

/// Whether a line of code has a path to this module of connectors.
fn leads_to(line: &str, module: &str) -> bool {
    let line = line.split("//").next().unwrap_or_default().replace(USED, "");
    ["crate::", "connectors::"].iter().any(|parent| line.contains(&format!("{parent}{module}::")))
}

/// The lines of code that name a connector, by their numbers.
fn naming(code: &str, (kind, module): &(String, String)) -> Vec<usize> {
    let comment = Regex::new("//.*").expect("a pattern");
    let name = Regex::new(&format!(r"\b(?i:{kind}|{module})(\b|_|[A-Z])")).expect("a pattern");
    // Tests are at the end.
    let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().enumerate();
    let others = Regex::new(OTHERS).expect("a pattern");
    let names = |line: &str| name.is_match(&others.replace_all(&comment.replace(line, ""), ""));
    lines.filter(|(_, line)| names(line)).map(|(at, _)| at + 1).collect()
}

#[test]
fn nothing_outside_its_directory_names_a_connector() {
    let host = Path::new(HOST);
    let list = fs::read_to_string(host.join(LIST)).expect("the list");
    let connectors = declared(&list);
    assert!(connectors.len() >= 20, "{connectors:?}");
    let crates = CRATES.into_iter().filter(|name| *name != "python");
    let mut found = Vec::new();
    for dir in crates.map(|name| host.join(name).join("src")).chain([host.join("src")]) {
        for file in files(&dir) {
            let place = file.strip_prefix(host).expect("a file of the host").to_string_lossy().into_owned();
            let is_test = place.split(['/', '.']).any(|part| part.split('_').next_back() == Some("tests"));
            if is_test || [LIST, MODULES].contains(&place.as_str()) || WORDS.contains(&place.as_str()) {
                continue;
            }
            let text = fs::read_to_string(&file).expect("a source");
            for module in BY_PATH {
                let home = format!("connectors/src/{module}");
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
                if !place.strip_prefix(&home).is_some_and(|rest| rest.starts_with(['/', '.'])) {
                    let lines = code.lines().enumerate().filter(|(_, line)| leads_to(line, module));
                    found.extend(lines.map(|(at, _)| format!("{place}:{}: {module}", at + 1)));
                }
            }
            for connector in &connectors {
                let home = format!("connectors/src/{}", connector.1);
                if !place.strip_prefix(&home).is_some_and(|rest| rest.starts_with(['/', '.'])) {
                    found
                        .extend(naming(&text, connector).iter().map(|line| format!("{place}:{line}: {}", connector.0)));
                }
            }
        }
    }
    assert!(found.is_empty(), "connectors are named outside their folders:\n{}", found.join("\n"));
}

#[test]
fn a_name_elsewhere_is_detected() {
    let list = "declared!(\"postgres\", \"postgres-changes\", crate::postgres_changes::declaration::SOURCE),\n\
                Declared(&crate::clickhouse::declaration::SINK),\nDeclared(&crate::print::declaration::SINK),";
    let found = declared(list);
    let found: Vec<_> = found.iter().map(|(kind, module)| (kind.as_str(), module.as_str())).collect();
    assert_eq!(found, [("postgres-changes", "postgres_changes"), ("clickhouse", "clickhouse")]);
    assert!(leads_to("use crate::files::source::file::SourceFile;", "files"));
    assert!(leads_to("let source = millstream_connectors::files::source::retry::source();", "files"));
    assert!(!leads_to("use millstream_connectors::files::source::infer; // crate::files::sink", "files"));
    let nats = ("nats".to_owned(), "nats".to_owned());
    assert_eq!(naming("use crate::nats::Server;\nlet signatures = 1;\n// nats\nNatsReads\n\"nats\"", &nats), [1, 4, 5]);
    let flight = ("flight".to_owned(), "flight".to_owned());
    assert_eq!(naming("const FLIGHT_MAX: u8 = 1;\nin_flight_max();\nbatches in flight\n", &flight), [1]);
}
