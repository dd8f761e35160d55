//! Restarting a job with checkpoints: it resumes, reports that, and rejects what would lose something before it touches anything.

mod input;
mod large;
mod replays;

use millstream_tests::{Ended, Process, Trial, plugin, root, wait_until};
use regex::Regex;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

const INPUT: &str =
    "[[\"a\",1],[\"b\",2],[\"a\",3]]\n[[\"b\",4]]\n[]\n[[\"c\",5],[\"a\",6]]\n[[\"a\",7],[\"b\",8]]\n[[\"c\",9]]\n";

/// A job with virtual time: rows of a queue, filtered, and counted by key since the start.
fn job() -> String {
    format!(
        r#"name = "counts"
clock = "manual"

[checkpoint]
dir = "checkpoint"
every = 2

[sources.words]
kind = "queue"
path = "input.jsonl"
schema = {{ word = "text", n = "int64" }}

[stages.some]
from = "words"
plugin = "{0}/plugins/filter-expr"
config = {{ where = "n > 0" }}

[stages.totals]
from = "some"
key = "word"
plugin = "{0}/plugins/running-count"

[sinks.out]
from = "totals"
kind = "queue"
path = "out.jsonl"
"#,
        root().display()
    )
}

fn trial() -> Trial {
    let trial = Trial::new(&job());
    trial.write("input.jsonl", INPUT);
    trial
}

/// The first lines of the input.
fn lines(count: usize) -> String {
    INPUT.split_inclusive('\n').take(count).collect()
}

/// The output of the undisturbed job.
fn golden() -> String {
    let trial = trial();
    trial.run_ok(&[]);
    assert_eq!(trial.batches("out.jsonl").len(), 6);
    trial.text("out.jsonl")
}

/// Runs until the process kills itself at a step.
fn killed(trial: &Trial, arguments: &[&str], fault: &str) -> Ended {
    trial.killed(fault, arguments)
}

/// All files of the trial with their bytes, without the lock, which names the process that tried last, and the partial files that
/// a kill left.
fn snapshot(trial: &Trial) -> BTreeMap<String, Vec<u8>> {
    fn walk(dir: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.file_name().is_some_and(|name| name != "lock" && !name.to_str().unwrap().ends_with(".tmp")) {
                found.insert(path.display().to_string(), fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(trial.dir(), &mut found);
    found
}

/// Runs a start that is rejected with exit code 2, without any change; returns its message.
fn rejection(trial: &Trial, arguments: &[&str]) -> String {
    let before = snapshot(trial);
    let message = trial.rejected_message(&[&["run", "job.toml"], arguments].concat());
    assert!(snapshot(trial) == before, "something was changed: {message}");
    message
}

/// Runs a start that fails with exit code 1, without any change; returns its message.
fn failed(trial: &Trial, arguments: &[&str]) -> String {
    let before = snapshot(trial);
    let ended = trial.run(arguments);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(snapshot(trial) == before, "something was changed: {}", ended.stderr);
    ended.stderr
}

fn contains(message: &str, all: &[&str]) {
    for part in all {
        assert!(message.contains(part), "no {part:?} in:\n{message}");
    }
}

#[test]
fn the_same_command_resumes_and_shows_the_checkpoint() {
    let golden = golden();
    let trial = trial();
    let ended = trial.run_ok(&["--timeout", "60s"]);
    contains(&ended.stderr, &["`counts` begins at batch 1; checkpoints in ", "/checkpoint"]);
    let message = trial.run_ok(&[]).stderr;
    let resumed = "`counts` resumes after the checkpoint of batch 6 \\(start 2\\): 3 state rows, 0 batches to \
                   replay, loaded in [0-9]\\.[0-9]{2} s";
    assert!(Regex::new(resumed).unwrap().is_match(&message), "{message}");

    fs::remove_dir_all(trial.path("checkpoint")).unwrap();
    trial.remove_queue("out.jsonl");
    // Batch 3 has been planned by then, and no checkpoint holds it.
    killed(&trial, &["--set", "checkpoint.every=1000"], "commit.after:3");
    let message = trial.run_ok(&["--set", "checkpoint.every=1000"]).stderr;
    let resumed =
        "`counts` resumes after the checkpoint of batch 0 \\(start 2\\): 0 state rows, [3-6] batches to replay";
    assert!(Regex::new(resumed).unwrap().is_match(&message), "{message}");
    assert_eq!(trial.text("out.jsonl"), golden);
}

#[test]
fn stages_without_state_may_change_their_name_position_and_operator() {
    let golden = golden();
    for (fault, every) in [("commit.after:4", "1"), ("checkpoint.published:1", "1"), ("commit.after:3", "1000")] {
        let trial = trial();
        let every = format!("checkpoint.every={every}");
        killed(&trial, &["--set", &every], fault);
        let text = trial.text("job.toml");
        let (head, rest) = text.split_once("[stages.some]").unwrap();
        let (some, rest) = rest.split_once("[stages.totals]").unwrap();
        let some = format!("[stages.a]\nfrom = \"z\"{}", some.split_once("\"words\"").unwrap().1);
        let z = "[stages.z]\nfrom = \"words\"\n";
        trial.write("job.toml", format!("{head}[stages.totals]{}\n{some}\n{z}", rest.replace("\"some\"", "\"a\"")));
        trial.run_ok(&["--set", &every]);
        assert_eq!(trial.text("out.jsonl"), golden, "{fault}");
    }
}

/// Columns of states show neither what they were made of nor which stage they belong to.
#[test]
fn state_of_another_origin_is_rejected() {
    let head = "clock = \"manual\"\nat_end = \"keep\"\n[checkpoint]\ndir = \"kept\"\nevery = 1\n";
    let source = |name: &str| {
        let schema = "{ k = \"text\", v = \"int64\", w = \"int64\", at = \"timestamp(s)\" }";
        format!("[sources.{name}]\nkind = \"queue\"\npath = \"{name}.jsonl\"\nschema = {schema}\n")
    };
    let sink = "\n[sinks.out]\nfrom = \"t\"\nkind = \"queue\"\npath = \"out.jsonl\"\n";
    let windowed = "time = \"at\"\nwindow = { size = \"10s\" }";
    for (stage, from, to) in [
        ("from = \"a\"\nkey = \"k\"\nwindow = \"all\"\naggregate = { s = \"sum(v)\" }".to_owned(), "sum(v)", "sum(w)"),
        (format!("from = \"a\"\n{windowed}\naggregate = {{ f = \"first(v)\" }}"), "first(v)", "first(w)"),
        (
            "from = \"a\"\ntime = \"at\"\nwindow = { gap = \"10s\" }\naggregate = { n = \"count(v)\" }".to_owned(),
            "count(v)",
            "count(w)",
        ),
        (
            format!("from = \"a\"\nkey = \"k\"\n{windowed}\naggregate = {{ s = \"sum(v)\" }}"),
            "size = \"10s\"",
            "size = \"10s\", emit = \"update\"",
        ),
        (
            format!("from = [\"a\", \"b\"]\n{windowed}\nsql = \"select a.v from a, b\""),
            "[\"a\", \"b\"]",
            "[\"b\", \"a\"]",
        ),
        (
            "from = \"a\"\njoin = { with = \"b\", on = \"k\", within = \"30s\" }\ntime = \"at\"".to_owned(),
            "from = \"a\"\njoin = { with = \"b\"",
            "from = \"b\"\njoin = { with = \"a\"",
        ),
    ] {
        let trial = Trial::new(&format!("{head}{}{}[stages.t]\n{stage}{sink}", source("a"), source("b")));
        trial.write("a.jsonl", "[[\"p\",1,2,1]]\n");
        trial.write("b.jsonl", "[[\"p\",3,4,1]]\n");
        trial.run_ok(&[]);
        trial.run_ok(&[]);
        trial.change(from, to);
        let message = trial.rejected_message(&["run", "job.toml"]);
        contains(&message, &["stage `t`", "its state no longer fits", "`--drop-state t`"]);
        trial.change(to, from);
        trial.run_ok(&[]);
    }
}

#[test]
fn changes_that_lose_state_are_rejected_until_it_is_dropped() {
    let totals = "with `--drop-state totals`";
    let other_state = format!("plugin = \"{}/plugins/running-total\"", root().display());
    let this_state = format!("plugin = \"{}/plugins/running-count\"", root().display());
    type Change<'a> = (&'a str, Vec<(&'a str, &'a str)>, Vec<&'a str>, &'a [&'a str]);
    let changes: [Change; 6] = [
        (
            "another name",
            vec![("[stages.totals]", "[stages.sums]"), ("from = \"totals\"", "from = \"sums\"")],
            vec![
                "stage `totals`: the checkpoint after batch 3 holds its state (key (word text or null), state (count int64))",
                "the job has no stage of that name with such state",
                totals,
            ],
            &["totals"],
        ),
        (
            "another key",
            vec![("key = \"word\"", "key = \"n\"")],
            vec![
                "stage `totals`: its state no longer fits",
                "key (word text or null)",
                "key (n int64 or null)",
                totals,
            ],
            &["totals"],
        ),
        (
            "another state",
            vec![(&this_state, &other_state), ("n = \"int64\"", "amount = \"int64\""), ("n > 0", "amount > 0")],
            vec!["stage `totals`: its state no longer fits", "state (count int64)", "state (total ", totals],
            &["totals"],
        ),
        (
            "a source elsewhere",
            vec![("path = \"input.jsonl\"", "path = \"other.jsonl\"")],
            vec![
                "source `words` was queue input.jsonl and is now queue other.jsonl",
                "read it from its beginning with `--drop-state words`",
            ],
            &["words"],
        ),
        (
            "a source of another name",
            vec![("[sources.words]", "[sources.lines]"), ("from = \"words\"", "from = \"lines\"")],
            vec!["source `words` (queue input.jsonl)", "the job has no source of that name", "`--drop-state words`"],
            &["words"],
        ),
        (
            "two things at once",
            vec![("key = \"word\"", "key = \"n\""), ("path = \"input.jsonl\"", "path = \"other.jsonl\"")],
            vec![totals, "`--drop-state words`"],
            &["words", "totals"],
        ),
    ];
    for (what, replacements, words, drop) in changes {
        let trial = trial();
        trial.write("input.jsonl", lines(3));
        trial.write("other.jsonl", INPUT);
        trial.run_ok(&[]);
        trial.write("input.jsonl", INPUT);
        for (from, to) in replacements {
            trial.change(from, to);
        }
        let before = trial.text("out.jsonl");
        contains(&rejection(&trial, &[]), &words);
        let wrong = rejection(&trial, &["--drop-state", "nothing"]);
        contains(&wrong, &["`--drop-state nothing`: no state with that name", "`totals`, `words`"]);
        let all: Vec<String> = drop.iter().map(|name| format!("--drop-state={name}")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let ended = trial.run_ok(&all);
        let after = trial.text("out.jsonl");
        assert!(after.starts_with(&before) && after.len() > before.len(), "{what}: {after}\n{}", ended.stderr);
        let batches = trial.batches("out.jsonl");
        assert!((1..).zip(&batches).all(|(id, batch)| batch["batch"] == id), "{what}: {after}");
        let count = if drop.contains(&"words") { 9 } else { 6 };
        assert_eq!(batches.len(), count, "{what}: {after}");
        // Batch 4 is of a dropped stage, with new state, or of a dropped source, from its beginning.
        let expected = match (drop.contains(&"words"), drop.contains(&"totals")) {
            (false, true) if what != "another state" => 1,
            (true, false) => 4,
            (true, true) => 1,
            _ => continue,
        };
        let highest = batches[3]["rows"].as_array().unwrap().iter().map(|row| row["count"].as_i64().unwrap()).max();
        assert_eq!(highest, Some(expected), "{what}: {after}");
        // The choice was made once.
        trial.run_ok(&[]);
        assert_eq!(trial.text("out.jsonl"), after, "{what}");
    }
}

#[test]
fn starting_from_scratch_must_be_confirmed() {
    let golden = golden();
    let trial = trial();
    trial.run_ok(&[]);
    let message = rejection(&trial, &["--fresh"]);
    contains(
        &message,
        &["--fresh discards batch 6 and all previous batches of the job `counts`", "add --yes to confirm"],
    );
    // The output of sinks is neither dropped with it nor overwritten.
    let message = rejection(&trial, &["--fresh", "--yes"]);
    contains(&message, &["out.jsonl belongs to an earlier job `counts`", "remove it together with"]);
    assert_eq!(trial.text("out.jsonl"), golden);
    trial.remove_queue("out.jsonl");
    let ended = trial.run_ok(&["--fresh", "--yes"]);
    contains(&ended.stderr, &["`counts` begins at batch 1"]);
    assert_eq!(trial.text("out.jsonl"), golden);
    contains(&trial.run_ok(&[]).stderr, &["resumes after the checkpoint of batch 6"]);
    // On a terminal the user is asked, and may say no.
    let ask = |response: &str| {
        let command = format!("{} run job.toml --fresh", millstream_tests::millstream().display());
        let mut script = Command::new("script");
        let mut script = Process::start(script.args(["-qec", &command, "/dev/null"]).current_dir(trial.dir()));
        script.wait_until("it asks", |process| process.stdout().contains("Type yes to continue"));
        script.say(&format!("{response}\n"));
        script.wait()
    };
    let before = snapshot(&trial);
    let ended = ask("no");
    assert_eq!(ended.code, Some(2), "{}", ended.stdout);
    contains(&ended.stdout, &["nothing was discarded, and the job was not started"]);
    assert!(snapshot(&trial) == before);
    trial.remove_queue("out.jsonl");
    let ended = ask("yes");
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    contains(&ended.stdout, &["`counts` begins at batch 1"]);
    assert_eq!(trial.text("out.jsonl"), golden);
}

#[test]
fn a_directory_of_another_job_or_a_newer_version_is_not_touched() {
    let trial = trial();
    trial.run_ok(&[]);
    trial.change("name = \"counts\"", "name = \"sums\"");
    let message = rejection(&trial, &[]);
    contains(&message, &["these checkpoints belong to the job `counts`, and this one is `sums`", "set another `dir`"]);
    trial.change("name = \"sums\"", "name = \"counts\"");

    let manifest = trial.text("checkpoint/manifest.json");
    trial.write("checkpoint/manifest.json", manifest.replacen("millstream-manifest 1 ", "millstream-manifest 2 ", 1));
    let message = failed(&trial, &[]);
    contains(
        &message,
        &["manifest.json was written by a newer version", "Nothing was changed", "Use that version or a later one"],
    );
    trial.write("checkpoint/manifest.json", "{\"name\":\"of something else\"}\n");
    contains(&failed(&trial, &[]), &["manifest.json is not a manifest of Millstream", "Name another `dir`"]);
    fs::remove_file(trial.path("checkpoint/manifest.json")).unwrap();
    contains(&failed(&trial, &[]), &["manifest.json is missing, but plans/", "--fresh"]);
    trial.write("checkpoint/manifest.json", manifest);
    trial.run_ok(&[]);
}

#[test]
fn a_directory_that_is_unwritable_or_in_use_is_rejected() {
    let blocked = trial();
    blocked.write("a-file", "");
    for (dir, reason) in [
        ("a-file", "File exists"),
        ("a-file/below", "File exists"),
        ("/proc/checkpoint", "cannot keep checkpoints in /proc/checkpoint"),
    ] {
        let message = failed(&blocked, &["--set", &format!("checkpoint.dir={dir}")]);
        contains(&message, &[reason, "name another `dir` in [checkpoint]"]);
    }
    assert!(!blocked.path("out.jsonl").exists());

    let trial = Trial::new(&numbers(100));
    let mut job = trial.start(&[]);
    job.wait_until("it has committed", |_| trial.batches("out.jsonl").len() > 2);
    let other = trial.run(&[]);
    assert_eq!(other.code, Some(1), "{}", other.stderr);
    contains(&other.stderr, &["a running job uses it (process ", "stop that job first, or name another `dir`"]);
    assert!(!other.stderr.contains("restarting it"), "{}", other.stderr);
    let written = trial.batches("out.jsonl").len();
    job.wait_until("it goes on", |_| trial.batches("out.jsonl").len() > written);
    stop_ok(job);
}

/// A job with real time that generates this many numbers per second and counts them by key.
fn numbers(rows_per_second: u64) -> String {
    format!(
        r#"name = "numbers"
batch = "50ms"
workers = 2
[checkpoint]
dir = "checkpoint"
every = "200ms"
[sources.made]
kind = "rate"
rows_per_second = {rows_per_second}
[stages.totals]
from = "made"
key = "value"
plugin = "{}/plugins/running-count"
[sinks.totals-out]
from = "totals"
kind = "queue"
path = "totals.jsonl"
[sinks.out]
from = "made"
kind = "queue"
path = "out.jsonl"
"#,
        root().display()
    )
}

fn stop_ok(job: Process) -> Ended {
    job.signal("TERM");
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended
}

/// The numbers that a sink of the job holds: each is there once, and in order.
fn made(trial: &Trial) -> usize {
    let rows = trial.rows("out.jsonl");
    assert!((0..).zip(&rows).all(|(value, row)| row["value"] == value), "{rows:?}");
    rows.len()
}

#[test]
fn a_signal_completes_batches_and_makes_a_checkpoint() {
    let trial = Trial::new(&numbers(2000));
    let mut rows = 0;
    for start in 1..=4 {
        let mut job = trial.start(&[]);
        job.wait_until("it goes on", |_| trial.rows("out.jsonl").len() > rows + 200);
        let ended = stop_ok(job);
        if start > 1 {
            contains(&ended.stderr, &[&format!("(start {start})"), &format!("{rows} state rows, 0 batches to replay")]);
        }
        let more = made(&trial);
        assert!(more > rows + 200);
        rows = more;
    }
    // All of them are in the state.
    let shown = Process::start(&mut trial.command(&[
        "state",
        "job.toml",
        "--sql",
        "select count(*) n, min(count) low, max(count) high from totals",
        "--json",
    ]))
    .wait();
    assert_eq!(shown.stdout, format!("{{\"n\":{rows},\"low\":1,\"high\":1}}\n"), "{}", shown.stderr);
}

#[test]
fn state_can_be_queried_while_the_job_runs_and_after() {
    let trial = Trial::new(&numbers(1000));
    let query = |sql: &str| {
        let ended = Process::start(&mut trial.command(&["state", "job.toml", "--sql", sql, "--json"])).wait();
        (ended.code, ended.stdout, ended.stderr)
    };
    let job = trial.start(&[]);
    let mut seen = 0;
    for _ in 0..10 {
        wait_until("more is in the state", || {
            let (code, shown, _) = query("select count(*) n, sum(value) total from totals");
            let Some(row) = (code == Some(0)).then(|| serde_json::from_str::<serde_json::Value>(&shown).unwrap())
            else {
                return false;
            };
            let n = row["n"].as_i64().unwrap();
            // A checkpoint contains complete batches: no number is missing among the stored ones.
            assert_eq!(row["total"].as_i64().unwrap_or(0), n * (n - 1) / 2);
            let more = n > seen;
            seen = seen.max(n);
            more
        });
    }
    stop_ok(job);
    let (code, shown, _) = query("select value from totals order by value desc limit 2");
    let rows = trial.rows("out.jsonl").len();
    assert_eq!(shown, format!("{{\"value\":{}}}\n{{\"value\":{}}}\n", rows - 1, rows - 2));
    assert_eq!(code, Some(0));
    let (code, _, message) = query("select * from nothing");
    assert_eq!(code, Some(2));
    contains(&message, &["nothing", "totals: value int64"]);
}

#[test]
fn state_files_are_read_by_others() {
    let trial = trial();
    trial.run_ok(&["--workers", "1", "--set", "checkpoint.every=1000"]);
    let python = Command::new(root().join("scripts/python.sh")).output().unwrap();
    let python = String::from_utf8(python.stdout).unwrap();
    let script = "
import glob, json, sys
import pyarrow as pa
tables = [pa.ipc.open_file(path).read_all() for path in sorted(glob.glob('checkpoint/state/*-totals.arrow'))]
table = pa.concat_tables(tables)
print(table.schema.names, [str(kind) for kind in table.schema.types])
print(json.dumps(sorted(table.to_pylist(), key=lambda row: row['word'])))
";
    let ended = Process::start(Command::new(python.trim()).args(["-c", script]).current_dir(trial.dir())).wait();
    assert_eq!(
        ended.stdout,
        "['word', 'count', 'millstream_removed'] ['string', 'int64', 'bool']\n\
         [{\"word\": \"a\", \"count\": 4, \"millstream_removed\": false}, {\"word\": \"b\", \"count\": 3, \
         \"millstream_removed\": false}, {\"word\": \"c\", \"count\": 2, \"millstream_removed\": false}]\n",
        "{}",
        ended.stderr
    );
}

/// The bytes of a component with an additional section without effect: another build of it.
fn rebuilt(name: &str) -> Vec<u8> {
    let mut bytes = fs::read(plugin(name).join(format!("{name}.wasm"))).unwrap();
    bytes.extend_from_slice(&[0, 5, 4, b'm', b'o', b'r', b'e']);
    bytes
}

/// Committed output stays as the job made it that committed it, and so does the state that belongs to it.
#[test]
fn a_job_that_was_changed_after_a_kill_replays_unchanged() {
    let narrower = |trial: &Trial| trial.change("n > 0", "n > 6");
    // The output if the job is changed after this number of batches and nothing disturbs it.
    let changed_after = |batches: usize| {
        let trial = trial();
        trial.write("input.jsonl", lines(batches));
        trial.run_ok(&[]);
        narrower(&trial);
        trial.write("input.jsonl", INPUT);
        trial.run_ok(&[]);
        trial.text("out.jsonl")
    };
    for every in ["1", "2", "1000"] {
        let every = format!("checkpoint.every={every}");
        for commits in [1, 2, 4, 5] {
            let trial = trial();
            let component = root().join("plugins/filter-expr/filter-expr.wasm");
            trial.write("filter.wasm", fs::read(component).unwrap());
            let named = format!("plugin = \"{}/plugins/filter-expr\"", root().display());
            trial.change(&named, "plugin = \"filter.wasm\"");
            killed(&trial, &["--set", &every, "--workers", "3"], &format!("commit.after:{commits}"));
            narrower(&trial);
            // The previous component no longer exists; the checkpoint has kept it.
            trial.write("filter.wasm", rebuilt("filter-expr"));
            let ended = trial.run_ok(&["--set", &every, "--workers", "2"]);
            assert_eq!(trial.text("out.jsonl"), changed_after(commits), "{every}, {commits}: {}", ended.stderr);
        }
    }
}

/// The committed output of a sink that the job has elsewhere now, or no longer has, is not committed there again.
#[test]
fn a_sink_that_was_moved_after_a_kill_duplicates_nothing() {
    let golden = golden();
    for (from, to) in [
        ("path = \"out.jsonl\"", "path = \"new.jsonl\""),
        (
            "[sinks.out]\nfrom = \"totals\"\nkind = \"queue\"\npath = \"out.jsonl\"",
            "[sinks.new]\nfrom = \"totals\"\nkind = \"queue\"\npath = \"new.jsonl\"",
        ),
    ] {
        for workers in ["1", "2"] {
            let trial = trial();
            let every = ["--set", "checkpoint.every=1000", "--workers", workers];
            killed(&trial, &every, "commit.after:4");
            trial.change(from, to);
            let ended = trial.run_ok(&every);
            let complete = trial.text("out.jsonl") + &trial.text("new.jsonl");
            assert_eq!(complete, golden, "{to}: {}", ended.stderr);
        }
    }
}

/// Such a replay is itself killed, at each of its steps.
#[test]
fn an_unchanged_replay_may_be_killed_too() {
    let golden = golden();
    for fault in [
        "start.claim:1",
        "start.claimed:1",
        "replay.batch:2",
        "checkpoint.state:1",
        "checkpoint.manifest:1",
        "checkpoint.published:1",
        "start.claim:2",
        "start.claimed:2",
        "commit.before:1",
    ] {
        let trial = trial();
        let every = ["--set", "checkpoint.every=1000"];
        killed(&trial, &[&every[..], &["--workers", "3"]].concat(), "commit.after:4");
        killed(&trial, &[&every[..], &["--workers", "1"]].concat(), fault);
        trial.run_ok(&[&every[..], &["--workers", "2"]].concat());
        assert_eq!(trial.text("out.jsonl"), golden, "{fault}");
    }
}

/// A plugin fails on a batch and is then fixed by another config or another build.
#[test]
fn a_fixed_plugin_continues_with_the_batch_that_it_failed_on() {
    let job = |how: &str| {
        format!(
            "clock = \"manual\"\n[checkpoint]\ndir = \"checkpoint\"\nevery = 2\n[sources.lines]\nkind = \"queue\"\npath = \
             \"input.jsonl\"\nschema = {{ value = \"text\" }}\n[stages.passed]\nfrom = \"lines\"\nplugin = \
             \"passed.wasm\"\n{how}[stages.totals]\nfrom = \"passed\"\nkey = \"value\"\nplugin = \
             \"{}/plugins/running-count\"\n[sinks.out]\nfrom = \"totals\"\nkind = \"queue\"\npath = \"out.jsonl\"\n",
            root().display()
        )
    };
    let (good, bad) = (job(""), job("config = { how = \"panic\" }\n"));
    let lines: Vec<String> = (1..=5).map(|line| format!("[[\"every line\"],[\"line {line}\"]]\n")).collect();
    let misbehave = fs::read(plugin("misbehave").join("misbehave.wasm")).unwrap();
    for mended_by_build in [false, true] {
        let trial = Trial::new(&good);
        trial.write("passed.wasm", &misbehave);
        trial.write("input.jsonl", lines[..3].concat());
        trial.run_ok(&[]);
        let before = trial.text("out.jsonl");
        trial.write("input.jsonl", lines.concat());
        trial.write("job.toml", &bad);
        for _ in 0..2 {
            let ended = trial.run(&[]);
            assert_eq!(ended.code, Some(1), "{}", ended.stderr);
            contains(&ended.stderr, &["I give up on batch 4"]);
            assert!(!ended.stderr.contains("restarting it"), "{}", ended.stderr);
            assert_eq!(trial.text("out.jsonl"), before);
        }
        trial.write("job.toml", &good);
        if mended_by_build {
            trial.write("passed.wasm", rebuilt("misbehave"));
        }
        trial.run_ok(&[]);
        let complete = Trial::new(&good);
        complete.write("passed.wasm", &misbehave);
        complete.write("input.jsonl", lines.concat());
        complete.run_ok(&[]);
        assert_eq!(trial.text("out.jsonl"), complete.text("out.jsonl"));
        assert_eq!(trial.batches("out.jsonl").len(), 5);
    }
}

#[test]
fn initial_states_and_timeouts_are_not_repeated() {
    let trial =
        Trial::new(&job().replace(
            "running-count\"",
            "running-count\"\ninitial = \"initial.csv\"\ntimeout = \"4s\"\nemit = \"state\"",
        ));
    trial.write("initial.csv", "word,count\na,100\nz,1000\n");
    let counts = |trial: &Trial| {
        let batch = trial.batches("out.jsonl").pop().unwrap();
        let row = |row: &serde_json::Value| (row["word"].as_str().unwrap().to_owned(), row["count"].as_i64().unwrap());
        batch["rows"].as_array().unwrap().iter().map(row).collect::<BTreeMap<_, _>>()
    };
    let is = |counts: &[(&str, i64)]| {
        counts.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect::<BTreeMap<_, _>>()
    };
    trial.write("input.jsonl", lines(1));
    trial.run_ok(&[]);
    assert_eq!(counts(&trial), is(&[("a", 102), ("b", 1), ("z", 1000)]));
    trial.write("initial.csv", "word,count\na,500\nb,500\ny,500\n");
    for (line, expected) in [
        (2, &[("a", 102), ("b", 2), ("z", 1000)][..]),
        (3, &[("a", 102), ("b", 2), ("z", 1000)]),
        (4, &[("a", 103), ("b", 2), ("c", 1), ("z", 1000)]),
        // `z` has had no row for four seconds, over four starts.
        (5, &[("a", 104), ("b", 3), ("c", 1)]),
        (6, &[("a", 104), ("b", 3), ("c", 2)]),
    ] {
        trial.write("input.jsonl", lines(line));
        trial.run_ok(&["--workers", &(line % 3 + 1).to_string()]);
        assert_eq!(counts(&trial), is(expected), "after batch {line}");
    }
}
