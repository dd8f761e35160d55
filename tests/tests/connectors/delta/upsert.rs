//! Sinks of kind `delta` with `mode = "upsert"`: the table has the last row of each key, whatever dies and whichever other
//! programs write.

use super::*;
use millstream_tests::Random;
use serde_json::json;

/// The rows of a job, and what a table of them has by key.
struct Changing {
    trial: Trial,
    lines: Vec<String>,
}

/// Key and value of a row.
fn row_of(row: &Value) -> (u64, String) {
    (row["n"].as_u64().expect("a key"), row["day"].as_str().expect("a text").to_owned())
}

/// The rows of a table, in the order of their keys.
fn rows_of(table: &Value) -> Vec<(u64, String)> {
    table["rows"].as_array().expect("rows").iter().map(row_of).collect()
}

/// A job that passes this many changes of 150 keys to a table.
fn changing(seed: u64, rows: u64, sink: &str) -> Changing {
    let trial = Trial::new(&format!(
        "workers = 2\nbatch = \"5ms\"\n[checkpoint]\ndir = \"kept\"\nevery = 4\n[sources.in]\nkind = \"file\"\n\
         path = \"in.jsonl\"\nformat = \"json\"\nschema = {{ op = \"text\", n = \"int64\", day = \"text\" }}\nrows_per_batch_max = 20\n\
         [sinks.out]\nfrom = \"in\"\nkind = \"delta\"\nmode = \"upsert\"\nkey = \"n\"\nop = \"op\"\n{sink}\n"
    ));
    let mut random = Random::new(seed);
    let line = |number: u64| {
        // Once, when there are some.
        if number == rows / 3 {
            return json!({ "op": "truncate", "n": 0, "day": "" }).to_string();
        }
        let op = random.one_of(&["insert", "update", "upsert", "delete"]);
        json!({ "op": op, "n": random.from(0, 149), "day": format!("of {number}") }).to_string()
    };
    let changing = Changing { lines: (0..rows).map(line).collect(), trial };
    changing.trial.write("in.jsonl", changing.lines.iter().map(|line| format!("{line}\n")).collect::<String>());
    changing
}

impl Changing {
    /// The expected rows of the table at the end, if it had these rows before.
    fn expected(&self, before: impl IntoIterator<Item = (u64, String)>) -> BTreeMap<u64, String> {
        let mut table: BTreeMap<u64, String> = before.into_iter().collect();
        for line in &self.lines {
            let line: Value = serde_json::from_str(line).expect("JSON");
            let row = || row_of(&line);
            match line["op"].as_str().expect("a text") {
                "truncate" => table.clear(),
                "delete" => drop(table.remove(&row().0)),
                _ => drop(table.insert(row().0, row().1)),
            }
        }
        table
    }

    #[track_caller]
    fn assert_table(&self, settings: &Settings, path: &str, expected: &BTreeMap<u64, String>, what: &str) {
        let output = run_script(&self.trial, settings, &["read", path, "rows"]);
        let table: Value = serde_json::from_str(&output).expect("JSON");
        let rows = rows_of(&table);
        let found: BTreeMap<u64, String> = rows.iter().cloned().collect();
        assert_eq!(rows.len(), found.len(), "{what}: a key comes twice");
        assert_eq!(&found, expected, "{what}");
        assert_eq!(table["counted"].as_u64(), Some(rows.len() as u64), "{what}: what the log says of its files");
        assert!(table["columns"].get("op").is_none(), "{what}: {}", table["columns"]);
    }
}

/// Steps of a batch and of the start after a kill, for sinks without and with files that grow.
const OF_BATCHES: [&str; 6] =
    ["delta.create:1", "commit.marked:9", "commit.shown:9", "delta.commit:9", "delta.committed:9", "commit.after:9"];
const OF_GROWING: [&str; 5] =
    ["commit.marked:9", "delta.commit:2", "delta.committed:2", "start.settled:1", "finish.before:1"];

/// Some batches go into a file.
const GROWING: &str = "roll = { size = \"4KiB\", time = \"1h\" }";

#[test]
fn the_last_row_of_each_key_is_stored_after_a_kill_at_every_step() {
    for (sink, steps) in [("", &OF_BATCHES[..]), (GROWING, &OF_GROWING[..])] {
        for (seed, step) in (1..).zip(steps) {
            let job = changing(seed, 600, &format!("path = \"out\"\n{sink}"));
            killed_and_run(&job.trial, &[], step);
            job.assert_table(&[], "out", &job.expected([]), &format!("{sink} {step}"));
            let left = fs::read_dir(job.trial.path("out/_millstream")).expect("a folder").flatten();
            let left = left.flat_map(|own| fs::read_dir(own.path().join("changes"))).flatten().count();
            assert_eq!(left, 0, "{sink} {step}: changes that are in the table are kept");
        }
    }
}

#[test]
fn without_op_each_row_is_written_and_keys_may_have_several_columns() {
    let job = changing(7, 300, "path = \"out\"");
    job.trial.change("key = \"n\"\nop = \"op\"", "key = [\"op\", \"n\"]");
    run(&job.trial, &[]);
    let table: Value = serde_json::from_str(&run_script(&job.trial, &[], &["read", "out"])).expect("JSON");
    let mut keys: Vec<(String, Option<u64>)> = Vec::new();
    for line in &job.lines {
        let line: Value = serde_json::from_str(line).expect("JSON");
        keys.push((line["op"].as_str().expect("a text").to_owned(), line["n"].as_u64()));
    }
    keys.sort();
    keys.dedup();
    assert_eq!(table["counted"].as_u64(), Some(keys.len() as u64));
}

#[test]
fn tables_that_cannot_be_updated_are_reported() {
    let refused = |sink: &str, text: &str| {
        let job = changing(1, 20, &format!("path = \"out\"\n{sink}"));
        let output = job.trial.rejected_message(&["validate", "job.toml"]);
        assert!(output.contains(text), "{sink}: {output}");
    };
    refused("partition_by = \"day\"", "has no partitions in this version");
    refused("parts = \"worker\"", "needs the order of all rows");
    let job = changing(1, 40, "path = \"out\"");
    let output = Process::start(&mut job.trial.command(&["validate", "job.toml"])).wait();
    assert!(output.stdout.contains("the last row of each n is in the table"), "{}{}", output.stdout, output.stderr);
    job.trial.change("key = \"n\"", "key = \"m\"");
    assert!(job.trial.rejected_message(&["validate", "job.toml"]).contains("`key` names `m`, and the rows have"));
    job.trial.change("key = \"m\"", "key = \"n\"");
    run(&job.trial, &[]);
    run_script(&job.trial, &[], &["property", "out", "delta.appendOnly", "true"]);
    let output = job.trial.rejected_message(&["validate", "job.toml"]);
    assert!(output.contains("while it has the property `delta.appendOnly`"), "{output}");

    // An invalid operation ends the job, and the rows before it are stored.
    let job = changing(3, 100, "path = \"out\"");
    let mut lines = job.lines.clone();
    lines.push(json!({ "op": "drop", "n": 1 }).to_string());
    job.trial.write("in.jsonl", lines.join("\n") + "\n");
    let ended = start(&job.trial, &["--unsupervised"], &[], "").wait();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("its `op` is `drop`; it must be insert"), "{}", ended.stderr);
    job.assert_table(&[], "out", &job.expected([]), "the batches before");
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn tables_in_buckets_keep_the_last_row_of_each_key() {
        let server = WeedServer::start();
        let settings = server.settings();
        for (seed, step) in (20..).zip(["commit.marked:9", "delta.commit:3", "delta.committed:3"]) {
            let path = format!("s3://bucket/changes-{seed}");
            let job = changing(seed, 300, &format!("path = \"{path}\"\n{}", if seed == 20 { GROWING } else { "" }));
            killed_and_run(&job.trial, &settings, step);
            job.assert_table(&settings, &path, &job.expected([]), step);
        }
    }

    /// Rows and files of others are part of the table as well: they are replaced, and stay if nothing changes them.
    #[test]
    fn rows_of_others_are_replaced_too() {
        let mut job = changing(40, 600, "path = \"out\"");
        // The table has only the rows of others before.
        job.lines.remove(200);
        job.trial.write("in.jsonl", job.lines.iter().map(|line| format!("{line}\n")).collect::<String>());
        run_script(&job.trial, &[], &["append", "out", "100", "180"]);
        run_script(&job.trial, &[], &["append", "out", "170", "180"]);
        killed(&job.trial, &[], "commit.after:5");
        run_script(&job.trial, &[], &["compact", "out"]);
        killed(&job.trial, &[], "delta.committed:5");
        // Between our look at the table and our commit to it.
        let stopped = job.trial.start_with_faults("stop@delta.commit:3", &[]);
        wait_until("it stands before its commit", || millstream_tests::stopped(stopped.id()));
        run_script(&job.trial, &[], &["append", "out", "500", "503"]);
        stopped.signal("CONT");
        assert_eq!(stopped.wait().code, Some(0));
        let table: Value = serde_json::from_str(&run_script(&job.trial, &[], &["read", "out", "rows"])).expect("JSON");
        let mut expected = job.expected((100..180).map(|n| (n, "other".to_owned())));
        expected.extend((500..503).map(|n| (n, "other".to_owned())));
        let mut found = rows_of(&table);
        // Keys that others have written twice and that have not changed since stay duplicated.
        let twice: Vec<u64> = (170..180).collect();
        let of_others: Vec<_> = found.iter().filter(|(n, _)| twice.contains(n)).collect();
        assert_eq!(of_others.len(), 20, "{of_others:?}");
        found.dedup();
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
    }
}
