//! Untrusted text on its way to a user: it controls no terminal, and none of its lines looks like Millstream's. Each way to a
//! terminal is tested here.

use millstream_tests::{Ended, Postgres, Process, Trial, plugin};
use serde_json::json;

/// Moves the cursor, clears the screen, sets the title, reverses the text direction, begins lines, and looks like an error.
const HOSTILE: &str = "a\u{1b}[2J\u{1b}]0;owned\u{7}\r\nerror: forged\n2026-01-01T00:00:00Z  INFO forged\u{9b}31m\u{85}\u{202e}\u{2067}\u{2028}\u{7f}z";

/// Checks that no control character came through, though a part of the text did.
#[track_caller]
fn check_harmless(what: &str, ended: &Ended) {
    let all = format!("{}\n{}", ended.stdout, ended.stderr);
    let is_unsafe = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let found: String = all.chars().filter(|c| is_unsafe(*c)).flat_map(char::escape_default).collect();
    assert_eq!(found, "", "{what}: {all}");
    for line in all.lines() {
        let forged = line.starts_with("error: forged") || line.starts_with("2026-01-01T00:00:00Z");
        assert!(!forged, "{what}: {all}");
    }
    assert!(all.contains("forged"), "{what}: the text is not there at all: {all}");
}

fn job(columns: &str, stage: &str, sink: &str) -> Trial {
    Trial::new(&format!(
        "clock = \"manual\"\n[sources.in]\nkind = \"queue\"\npath = \"input.jsonl\"\nschema = {{ {columns} \
         }}\n{stage}\n[sinks.out]\nkind = \"print\"\n{sink}\n"
    ))
}

fn ended(trial: &Trial, arguments: &[&str]) -> Ended {
    Process::start(trial.command(arguments).env("PW", Postgres::PASSWORD)).wait()
}

#[test]
fn rows_errors_and_names_of_a_job() {
    // Cells on a print sink.
    let trial = job("v = \"text\"", "", "from = \"in\"");
    trial.write("input.jsonl", format!("{}\n", json!([{ "v": HOSTILE }])));
    check_harmless("a cell", &ended(&trial, &["run", "job.toml"]));

    // A cast that fails, and a plugin's message for a row.
    let trial = job("v = \"text\"", "[stages.s]\nfrom = \"in\"\nselect = \"cast(v as bigint) as n\"", "from = \"s\"");
    trial.write("input.jsonl", format!("{}\n", json!([{ "v": HOSTILE }])));
    check_harmless("a cast", &ended(&trial, &["run", "job.toml"]));
    let stage = "[stages.s]\nfrom = \"in\"\nsql = \"select arrow_cast(v, 'Int64') as n from \\\"in\\\"\"\n";
    let trial = job("v = \"text\"", stage, "from = \"s\"");
    trial.write("input.jsonl", format!("{}\n", json!([{ "v": HOSTILE }])));
    let output = ended(&trial, &["run", "job.toml"]);
    if output.stderr.contains("forged") {
        check_harmless("a cast of sql", &output);
    }

    // Columns of a job that another user wrote.
    let name = serde_json::to_string(HOSTILE).unwrap().replace('\u{7f}', "");
    let trial = job(&format!("{name} = \"text\""), "", "from = \"in\"");
    trial.write("input.jsonl", "[]\n");
    for command in ["validate", "inspect"] {
        check_harmless(&format!("a column, {command}"), &ended(&trial, &[command, "job.toml"]));
    }
    let json = ended(&trial, &["inspect", "--json", "job.toml"]);
    check_harmless("a column, as JSON", &json);
    if json.code == Some(0) {
        let output: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
        assert!(output["streams"]["in"].to_string().contains("forged"), "JSON stays JSON: {output}");
    }

    // The command line itself, and names of files.
    let output = ended(&trial, &["validate", &format!("{HOSTILE}.toml")]);
    check_harmless("the name of a job file", &output);
}

#[test]
fn untrusted_files_and_tables() {
    // The header and a cell of a table.
    let stage = "[stages.s]\nfrom = \"in\"\nenrich = { file = \"table.csv\", on = \"v\", schema = { v = \"text\", n = \"int64\" } }";
    let quoted = format!("\"{HOSTILE}\"");
    for content in [format!("v,{quoted}\na,1\n"), format!("v,n\na,{quoted}\n"), format!("{quoted},{quoted}\n")] {
        for stage in [stage, &stage.replace(", schema = { v = \"text\", n = \"int64\" }", "")] {
            let trial = job("v = \"text\"", stage, "from = \"s\"");
            trial.write("input.jsonl", "[{\"v\":\"a\"}]\n");
            trial.write("table.csv", &content);
            for command in ["run", "validate"] {
                let output = ended(&trial, &[command, "job.toml"]);
                if format!("{}{}", output.stdout, output.stderr).contains("forged") {
                    check_harmless(&format!("a table, {command}"), &output);
                }
            }
        }
    }
    // A file of a directory, by its name and by its content.
    let source = "kind = \"directory\"\npath = \"inbox\"\nformat = \"json\"";
    let trial = job("v = \"int64\"", "", "from = \"in\"");
    let text = trial.text("job.toml").replace("kind = \"queue\"\npath = \"input.jsonl\"", source);
    trial.write("job.toml", text.replace("clock = \"manual\"\n", ""));
    let name = HOSTILE.replace('/', "");
    trial.write(&format!("inbox/{name}"), format!("{}\n", json!({ "v": HOSTILE })));
    let output = ended(&trial, &["run", "job.toml", "--until-idle"]);
    if format!("{}{}", output.stdout, output.stderr).contains("forged") {
        check_harmless("a file of a folder", &output);
    }
}

#[test]
fn servers() {
    let server = Postgres::start();
    server.sql("create table t (v text primary key)");
    server.sql(
        "create function refuse() returns trigger language plpgsql as $$ begin raise exception '%', new.v; end $$",
    );
    server.sql("create trigger refuse before insert on t for each row execute function refuse()");
    let trial = job("v = \"text\"", "", "from = \"in\"");
    let sink = format!("kind = \"postgres\"\nurl = \"{}\"\ntable = \"t\"", server.url());
    trial.write("job.toml", trial.text("job.toml").replace("kind = \"print\"", &sink));
    trial.write("input.jsonl", format!("{}\n", json!([{ "v": HOSTILE }])));
    check_harmless("a server's message", &ended(&trial, &["run", "job.toml"]));
}

#[test]
fn checkpoints_and_states() {
    let stage = format!("[stages.s]\nfrom = \"in\"\nkey = \"v\"\nplugin = \"{}\"", plugin("running-count").display());
    let trial = job("v = \"text\"", &stage, "from = \"s\"\n[checkpoint]\ndir = \"checkpoint\"");
    trial.write("input.jsonl", format!("{}\n", json!([{ "v": HOSTILE }])));
    let ran = ended(&trial, &["run", "job.toml"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    check_harmless("a key of a state", &ended(&trial, &["state", "job.toml", "--sql", "select * from s"]));
    check_harmless(
        "a key of a state, as JSON",
        &ended(&trial, &["state", "job.toml", "--sql", "select * from s", "--json"]),
    );
    check_harmless("a batch that is run again", &ended(&trial, &["replay", "job.toml", "--batch", "1"]));
    // Names of columns are kept in the manifest.
    let name = HOSTILE.replace('\u{7f}', "");
    let quoted = serde_json::to_string(&name).unwrap();
    let stage =
        format!("[stages.s]\nfrom = \"in\"\nkey = {quoted}\nplugin = \"{}\"", plugin("running-count").display());
    let trial = job(&format!("{quoted} = \"text\""), &stage, "from = \"s\"\n[checkpoint]\ndir = \"checkpoint\"");
    trial.write("input.jsonl", format!("{}\n", json!([{ name: "x" }])));
    let ran = ended(&trial, &["run", "job.toml"]);
    check_harmless("a column", &ran);
    if ran.code == Some(0) {
        check_harmless("a manifest", &ended(&trial, &["inspect", "checkpoint"]));
        check_harmless("a manifest, as JSON", &ended(&trial, &["inspect", "--json", "checkpoint"]));
    }
}

#[test]
fn packages() {
    let component = std::fs::read(plugin("split-words").join("split-words.wasm")).unwrap();
    let trial = Trial::new("");
    let mut hostile = component;
    for (name, value) in [
        ("description", HOSTILE),
        ("licenses", HOSTILE),
        ("authors", HOSTILE),
        ("source", HOSTILE),
        ("homepage", HOSTILE),
        ("revision", HOSTILE),
    ] {
        section(&mut hostile, name, value.as_bytes());
    }
    trial.write("hostile.wasm", &hostile);
    for arguments in [&["inspect", "hostile.wasm"][..], &["inspect", "--json", "hostile.wasm"]] {
        check_harmless("a package", &ended(&trial, arguments));
    }
}

/// Adds a custom section.
fn section(component: &mut Vec<u8>, name: &str, content: &[u8]) {
    let length = |bytes: usize| {
        let (mut left, mut out) = (bytes, Vec::new());
        loop {
            let byte = u8::try_from(left & 0x7f).unwrap();
            left >>= 7;
            out.push(if left > 0 { byte | 0x80 } else { byte });
            if left == 0 {
                return out;
            }
        }
    };
    let body = [length(name.len()), name.as_bytes().to_vec(), content.to_vec()].concat();
    component.push(0);
    component.extend(length(body.len()));
    component.extend(body);
}
