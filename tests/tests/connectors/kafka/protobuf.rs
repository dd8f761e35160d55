//! Messages of Protobuf in topics: what the sink writes, Google's implementation reads (`formats/protobuf_sink.py`), and so does the
//! source `kafka`.

use millstream_tests::{Broker, Expected, HttpRequest, HttpServer, Process, Trial, free_port, root};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Columns whose fields do not determine how their values were written, or are maps of lists, which the source does not read in
/// this form.
const NOT_READ: [&str; 2] = ["day", "counts"];

fn script(arguments: &[&str]) -> String {
    let made = Process::start(&mut Command::new(root().join("scripts/python.sh")));
    let python = made.wait_within(Duration::from_secs(300)).stdout;
    let mut command = Command::new(python.trim());
    let ended =
        command.arg(root().join("tests/tests/connectors/formats/protobuf_sink.py")).args(arguments).output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8_lossy(&ended.stdout).into_owned()
}

/// A job with columns, rows and descriptor from the script.
fn job(topic: &str, syntax: &str, sink: &str) -> Trial {
    let trial = Trial::new("");
    script(&["make", dir(&trial).to_str().unwrap(), "1", syntax]);
    trial.write(
        "job.toml",
        format!(
            "clock = \"manual\"\n[checkpoint]\ndir = \"checkpoint\"\n[sources.in]\nkind = \"queue\"\npath = \"input.jsonl\"\n\
             [sources.in.schema]\n{}[sinks.seen]\nfrom = \"in\"\nkind = \"queue\"\npath = \"seen.jsonl\"\n\
             [sinks.out]\nfrom = \"in\"\nkind = \"kafka\"\nbrokers = \"{}\"\ntopic = \"{topic}\"\nformat = \"protobuf\"\n\
             descriptor = \"order.pb\"\nmessage = \"shop.Outer.Order\"\n{sink}\n",
            trial.text("schema.toml"),
            Broker::shared().address()
        ),
    );
    trial
}

fn dir(trial: &Trial) -> PathBuf {
    trial.path("job.toml").parent().unwrap().to_owned()
}

fn values(topic: &str) -> Vec<Vec<u8>> {
    Broker::shared().read(topic).into_iter().filter_map(|record| record.value).collect()
}

/// Whether Google's implementation reads in these what it would have written itself.
fn agrees(trial: &Trial, syntax: &str, records: &[Vec<u8>]) {
    let mut text = String::new();
    for record in records {
        record.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
        text.push('\n');
    }
    trial.write("records.hex", text);
    assert_eq!(script(&["check", dir(trial).to_str().unwrap(), syntax]), "300 records agree\n");
}

/// A job that reads the topic into the columns that it was written from.
fn reader(trial: &Trial, topic: &str, more: &str) -> Trial {
    let columns = trial.text("schema.toml").replace("at_us = \"timestamp\"", "at_us = \"timestamp(us)\"");
    let columns: String = columns
        .lines()
        .filter(|line| !NOT_READ.iter().any(|name| line.starts_with(&format!("{name} "))))
        .map(|line| format!("{line}\n"))
        .collect();
    let reader = Trial::new(&format!(
        "[sources.in]\nkind = \"kafka\"\nbrokers = \"{}\"\ntopic = \"{topic}\"\nformat = \"protobuf\"\n\
         descriptor = \"order.pb\"\nmessage = \"shop.Outer.Order\"\n{more}\n[sources.in.schema]\n{columns}\
         [sinks.out]\nfrom = \"in\"\nkind = \"queue\"\npath = \"out.jsonl\"\n\
         [sinks.refused]\nfrom = \"in.rejected\"\nkind = \"queue\"\npath = \"refused.jsonl\"\n",
        Broker::shared().address()
    ));
    reader.write("order.pb", std::fs::read(trial.path("order.pb")).unwrap());
    reader
}

/// Rows without values that do not survive: lists are never null in a message.
fn comparable(rows: Vec<Value>) -> Vec<Value> {
    let row = |mut row: Value| {
        let members = row.as_object_mut().unwrap();
        NOT_READ.iter().for_each(|name| drop(members.remove(*name)));
        for name in ["tags", "numbers", "lines", "colours"] {
            if members[name].is_null() {
                members[name] = json!([]);
            }
        }
        if members["labels"].is_null() {
            members["labels"] = json!({ "a": null, "b": null });
        }
        row
    };
    rows.into_iter().map(row).collect()
}

#[test]
fn others_and_the_source_read_what_is_written() {
    for syntax in ["proto2", "proto3"] {
        let topic = format!("protobuf-{syntax}");
        Broker::shared().topic(&topic, 1, &[]);
        let trial = job(&topic, syntax, "");
        trial.run_ok(&["--workers", "2"]);
        agrees(&trial, syntax, &values(&topic));
        // Nothing is written twice.
        trial.run_ok(&[]);
        assert_eq!(values(&topic).len(), 300);
        let reader = reader(&trial, &topic, "");
        reader.run_ok(&["--until-idle"]);
        let found = comparable(reader.rows("out.jsonl"));
        assert_eq!(found.len(), 300, "{:?}", reader.rows("refused.jsonl").first());
        if syntax == "proto2" {
            // All of its fields distinguish a missing value from a zero.
            assert_eq!(found, comparable(trial.rows("seen.jsonl")));
        }
    }
}

/// The requests to a registry: subject and body, in the order of IDs from 1 on.
type Requests = Arc<Mutex<Vec<(String, Value)>>>;

fn registry(message: &Requests) -> HttpServer {
    let message = message.clone();
    HttpServer::start(free_port(), move |request, _| Some(answer(request, &mut message.lock().unwrap())))
}

fn answer(request: &HttpRequest, message: &mut Vec<(String, Value)>) -> (u16, String, String) {
    let body = |status: u16, body: Value| (status, String::new(), body.to_string());
    let path = request.line.split(' ').nth(1).unwrap().to_owned();
    let parts: Vec<&str> = path.split(['/', '?']).collect();
    let schema: Value = serde_json::from_str(&request.body).unwrap();
    let known = |subject: &str, message: &[(String, Value)]| {
        message.iter().position(|(of, known)| of == subject && *known == schema)
    };
    match parts[1..] {
        ["subjects", subject] => match known(subject, message) {
            // Each subject has its own versions, and this one is its third.
            Some(at) => body(200, json!({ "id": at + 1, "subject": subject, "version": 3 })),
            None => body(404, json!({ "error_code": 40403, "message": "Schema not found" })),
        },
        ["subjects", subject, "versions"] => {
            let at = known(subject, message).unwrap_or_else(|| {
                message.push((subject.to_owned(), schema.clone()));
                message.len() - 1
            });
            body(200, json!({ "id": at + 1 }))
        }
        ["compatibility", "subjects", "protobuf-refused-value", "versions", "latest", "verbose=true"] => {
            body(200, json!({ "is_compatible": false, "messages": ["FIELD_SCALAR_KIND_CHANGED at id"] }))
        }
        ["compatibility", ..] => body(404, json!({})),
        _ => panic!("{path}"),
    }
}

#[test]
fn a_registry_gets_the_schemas_and_records_begin_with_their_id() {
    let (topic, message) = ("protobuf-registered", Requests::default());
    Broker::shared().topic(topic, 1, &[]);
    let registry = registry(&message);
    let trial =
        job(topic, "proto3", &format!("registry = \"http://127.0.0.1:{}\"\nparts = \"worker\"", registry.port()));
    assert_eq!(trial.run_ok(&["--workers", "1"]).code, Some(0));
    let registered = message.lock().unwrap().clone();
    // Imported schemas come first, by their import name; those included with Protobuf are not sent.
    let subjects: Vec<_> = registered.iter().map(|(subject, _)| subject.as_str()).collect();
    assert_eq!(subjects, ["shop%2Fbuyer.proto", "protobuf-registered-value"]);
    assert!(registered.iter().all(|(_, schema)| schema["schemaType"] == "PROTOBUF"), "{registered:?}");
    assert_eq!(registered[0].1.get("references"), None);
    let reference = json!([{ "name": "shop/buyer.proto", "subject": "shop/buyer.proto", "version": 3 }]);
    assert_eq!(registered[1].1["references"], reference);
    // The message is the first one within the second of its file.
    let records = values(topic);
    let head = [0, 0, 0, 0, 2, 4, 2, 0];
    assert!(records.iter().all(|record| record.starts_with(&head)), "{:?}", records.first());
    let bodies: Vec<Vec<u8>> = records.iter().map(|record| record[head.len()..].to_vec()).collect();
    agrees(&trial, "proto3", &bodies);
    let reader = reader(&trial, topic, "confluent = true");
    reader.run_ok(&["--until-idle"]);
    assert_eq!(reader.rows("out.jsonl").len(), 300, "{:?}", reader.rows("refused.jsonl").first());
    // If registration is not permitted, everything must exist.
    let registered_before = message.lock().unwrap().len();
    let address = format!("registry = {{ url = \"http://127.0.0.1:{}\", register = false }}", registry.port());
    let there = job("protobuf-there", "proto3", &format!("{address}\n"));
    let printed = there.rejected_message(&["validate", "job.toml"]);
    let missing = "does not have the schema of these rows as `protobuf-there-value`, and `registry.register` is false; register it there: the definition `order.proto`";
    assert!(printed.contains(missing), "{printed}");
    assert_eq!(message.lock().unwrap().len(), registered_before);
    let refused = job("protobuf-refused", "proto3", &format!("registry = \"http://127.0.0.1:{}\"", registry.port()));
    let printed = refused.rejected_message(&["validate", "job.toml"]);
    assert!(printed.contains("as `protobuf-refused-value`: FIELD_SCALAR_KIND_CHANGED at id"), "{printed}");
}

/// A job of these columns and rows, whose message is that of the script.
fn small(topic: &str, columns: &str, rows: &str, sink: &str) -> Trial {
    let trial = job(topic, "proto3", sink);
    let text = trial.text("job.toml").replace(&trial.text("schema.toml"), &format!("{columns}\n"));
    trial.write("job.toml", text);
    trial.write("input.jsonl", rows);
    trial
}

#[test]
fn a_key_need_not_be_in_the_message_and_a_tombstone_has_none() {
    let topic = "protobuf-keys";
    Broker::shared().topic(topic, 1, &[]);
    let columns = "k = \"text\"\nid = \"int64\"\ngone = \"bool\"";
    let trial = small(
        topic,
        columns,
        "[[\"a\", 3, false], [\"b\", 0, true], [\"c\", 0, false]]\n",
        "key = \"k\"\ntombstones = \"gone\"",
    );
    trial.run_ok(&[]);
    let records = Broker::shared().read(topic);
    let found: Vec<_> = records.into_iter().map(|record| (record.key.unwrap(), record.value)).collect();
    assert_eq!(found, [(b"a".to_vec(), Some(vec![8, 3])), (b"b".to_vec(), None), (b"c".to_vec(), Some(Vec::new()))]);
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn values_out_of_range_are_reported_with_their_column() {
        let topic = "protobuf-refuses";
        Broker::shared().topic(topic, 1, &[]);
        for (columns, row, message) in [
            ("i32 = \"int64\"", "[2147483648]", "column `i32`: 2147483648 is out of range of int32"),
            ("u64 = \"decimal(20,0)\"", "[-1]", "column `u64`: -1 is out of range of uint64"),
            ("f = \"float64\"", "[1e300]", "column `f`: 1e300 is out of range of float"),
            ("colour = \"text\"", "[\"GREEN\"]", "column `colour`: \"GREEN\" is not a value of enum `shop.Colour`"),
            (
                "tags = \"list<text>\"",
                "[[\"a\", null]]",
                "column `tags`: an element is null, but repeated fields cannot contain null",
            ),
            ("left = \"text\"\nright = \"int64\"", "[\"a\", 1]", "columns `left` and `right` both have a value"),
            (
                "counts = \"list<struct<key: text, value: int64>>\"",
                "[[{\"key\": \"a\"}]]",
                "column `counts.value` is null, but its field is required",
            ),
            (
                "buyer = \"struct<age: int64>\"",
                "[{\"age\": 5000000000}]",
                "of a row: column `buyer.age`: 5000000000 is out of range of int32",
            ),
        ] {
            let trial = small(topic, columns, &format!("[{row}]\n"), "");
            for workers in ["1", "2"] {
                let ended =
                    Process::start(&mut trial.command(&["run", "job.toml", "--unsupervised", "--workers", workers]))
                        .wait();
                assert_eq!(ended.code, Some(1), "{columns}\n{}", ended.stderr);
                assert!(
                    ended.stderr.contains(message) && ended.stderr.contains("sink `out`"),
                    "{columns}\n{}",
                    ended.stderr
                );
            }
        }
        assert!(values(topic).is_empty());
    }

    #[test]
    fn mistakes_are_told_with_field_and_column() {
        let fits = "id = \"int64\"";
        let mut expected = Expected::of(file!(), "long::mistakes_are_told_with_field_and_column");
        for (columns, sink) in [
            ("idd = \"int64\"", ""),
            ("id = \"text\"", ""),
            ("at = \"int64\"", ""),
            ("buyer = \"text\"", ""),
            ("buyer = \"struct<home: struct<town: text>>\"", ""),
            ("buyer = \"struct<age: text>\"", ""),
            ("tags = \"text\"", ""),
            ("tags = \"list<int64>\"", ""),
            ("labels = \"text\"", ""),
            ("labels = \"struct<a: text>\"", ""),
            ("counts = \"list<struct<key: text>>\"", ""),
            ("may = \"text\"", ""),
            (fits, "message = \"shop.Order\""),
            (fits, "descriptor = \"input.jsonl\""),
            (fits, "descriptor = \"none.pb\""),
            (fits, "format = \"json\""),
            (fits, "confluent = true"),
            (fits, "registry = { url = \"http://127.0.0.1:9\", record = \"a\" }"),
        ] {
            let trial = small("protobuf-mistakes", columns, "[[1]]\n", "");
            let key = sink.split(" =").next().unwrap();
            let text = trial.text("job.toml");
            let is_other = |line: &&str| key.is_empty() || !line.starts_with(&format!("{key} ="));
            let text: String = text.lines().filter(is_other).map(|line| format!("{line}\n")).collect();
            trial.write("job.toml", format!("{text}{sink}\n"));
            expected.add(&format!("{columns}\n{sink}"), &trial.rejected_message(&["validate", "job.toml"]));
        }
        expected.check_parts();
    }
}
