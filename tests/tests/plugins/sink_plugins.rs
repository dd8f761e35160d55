//! Sinks that are plugins: rows are there once whatever dies, or at least once, and errors are reported.

use millstream_tests::ledger::{Ledger, SinkRequest};
use millstream_tests::{Random, Trial, free_port, kill, plugin, wait_until};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::thread;
use std::time::Duration;

/// The maximum number of rows per batch, so that a job has many batches.
const ROWS_PER_BATCH: i64 = 25;

/// Entries as the source has them.
fn entries(count: i64) -> String {
    (0..count).fold(String::new(), |mut text, seq| {
        let _ = writeln!(text, "{{\"seq\":{seq},\"text\":\"entry {seq}\"}}");
        text
    })
}

/// The same as the server keeps them.
pub(crate) fn kept(count: i64) -> Vec<String> {
    (0..count).map(|seq| format!("{seq} entry {seq}")).collect()
}

/// A job that writes this many entries to a server with these sinks; `config` is added to the address.
pub(crate) fn writing(port: u16, count: i64, sinks: &[&str], config: &str) -> Trial {
    let plugin = plugin("tcp-ledger").display().to_string();
    let mut job = format!(
        r#"
        name = "ledger"
        batch = "30ms"
        [checkpoint]
        dir = "checkpoint"
        every = "300ms"
        [sources.entries]
        kind = "file"
        path = "entries.jsonl"
        format = "json"
        schema = {{ seq = "int64", text = "text" }}
        rows_per_batch_max = {ROWS_PER_BATCH}
        "#
    );
    for sink in sinks {
        let _ = write!(
            job,
            r#"
            [sinks.{sink}]
            from = "entries"
            kind = "plugin"
            plugin = "{plugin}"
            config = {{ address = "127.0.0.1:{port}"{config} }}
            grant = {{ tcp = ["127.0.0.1:*"] }}
            "#
        );
    }
    let trial = Trial::new(&job.replace("127.0.0.1:*", &format!("127.0.0.1:{port}")));
    trial.write("entries.jsonl", entries(count));
    trial
}

/// A job with the sink of `tests/plugins/bad-sink`, which gets the numbers from 0 to 19.
fn bad(config: &str, more: &str) -> Trial {
    let plugin = plugin("bad-sink").display().to_string();
    let trial = Trial::new(&format!(
        r#"
        name = "bad"
        clock = "manual"
        [sources.n]
        kind = "queue"
        path = "in.jsonl"
        schema = {{ n = "int64", word = "text" }}
        [sinks.out]
        from = "n"
        kind = "plugin"
        plugin = "{plugin}"
        config = {{ {config} }}
        {more}
        "#
    ));
    let rows: Vec<String> = (0..20).map(|n| format!("{{\"n\":{n},\"word\":\"w\"}}")).collect();
    trial.write("in.jsonl", format!("[{}]\n", rows.join(",")));
    trial
}

#[test]
fn rows_are_stored_once_after_any_kill() {
    thread::scope(|scope| {
        for (seed, processes) in [(1, 1), (2, 2)] {
            scope.spawn(move || disturbed(seed, processes));
        }
    });
}

/// The job or its processes are killed, and the server cuts connections before, in and after a commit.
fn disturbed(seed: u64, processes: usize) {
    let (mut random, count, server) = (Random::new(seed), 6000, Ledger::start(free_port(), Some(seed)));
    let trial = writing(server.port, count, &["first", "second"], "");
    let mut job = trial.start_processes(processes, 2);
    for _ in 0..12 {
        thread::sleep(Duration::from_millis(random.from(100, 900)));
        if job.has_ended() {
            break;
        }
        if random.from(0, 3) > 0 {
            job.children().iter().for_each(|child| kill(*child));
        } else {
            job.kill_all();
            job = trial.start_processes(processes, 2);
        }
    }
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "seed {seed}: {}", ended.stderr);
    let sinks = server.sinks();
    let names: Vec<&str> = sinks.keys().map(|key| key.split_once('/').unwrap().1).collect();
    assert_eq!((names, sinks.len()), (vec!["first", "second"], 2), "seed {seed}: a job keeps its id");
    for (key, sink) in &sinks {
        assert_eq!(sink.rows(), kept(count), "seed {seed}, {key}");
        assert!(sink.batches.is_sorted_by(|a, b| a.0 < b.0), "seed {seed}, {key}: batches come in order");
        assert!(sink.opened.is_sorted(), "seed {seed}, {key}: {:?}", sink.opened);
    }
    let cut = server.state().cut;
    assert!(cut > 0, "seed {seed}: the server was to cut connections");
}

/// A server that keeps all rows and does not confirm the first commits gets these batches again.
#[test]
fn without_exactly_once_rows_may_be_duplicated_and_none_is_missing() {
    let (count, server) = (1000, Ledger::start(free_port(), None));
    server.state().unresponsive = 2;
    let trial = writing(server.port, count, &["out"], ", loose = true");
    let mut job = trial.start(&[]);
    wait_until("some is there", || server.loose().len() > 300);
    job.children().iter().for_each(|child| kill(*child));
    job.wait_for_stderr("writes at least once");
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    server.loose().into_iter().for_each(|row| *times.entry(row).or_default() += 1);
    assert_eq!(times.keys().cloned().collect::<std::collections::BTreeSet<_>>(), kept(count).into_iter().collect());
    assert!(times["0 entry 0"] >= 2, "the first batch came again: {}", times["0 entry 0"]);
}

#[test]
fn an_unreachable_server_is_waited_for_at_the_start_and_later() {
    let port = free_port();
    let trial = writing(port, 2000, &["out"], "");
    let mut job = trial.start(&[]);
    job.wait_for_stderr("the job waits until it works, for up to 1h (`wait`)");
    let server = Ledger::start(port, None);
    job.wait_for_stderr("it works now; the job starts");
    wait_until("some is there", || {
        !server.sinks().is_empty() && server.sinks().values().all(|sink| sink.batches.len() > 5)
    });
    // It responds to nobody for a while.
    server.state().away = true;
    job.wait_for_stderr("the job waits and retries until it works");
    server.state().away = false;
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("it accepts rows again; the job continues"), "{}", ended.stderr);
    assert_eq!(server.sinks().values().next().unwrap().rows(), kept(2000));
}

#[test]
fn a_server_that_stays_unreachable_ends_the_job_after_the_wait() {
    let trial = writing(free_port(), 10, &["out"], "");
    trial.change("grant = { tcp", "wait = \"300ms\"\n            grant = { tcp");
    let ended = trial.run(&[]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("the job was not started: `wait` has passed (the maximum wait is 300ms"),
        "{}",
        ended.stderr
    );
}

/// A job that was replaced commits nothing more, and is not restarted.
#[test]
fn a_replaced_start_ends() {
    let server = Ledger::start(free_port(), None);
    let trial = writing(server.port, 100_000, &["out"], "");
    let mut job = trial.start(&[]);
    wait_until("some is there", || server.sinks().values().any(|sink| sink.batches.len() > 3));
    server.overtake();
    job.wait_until("it has ended", |job| job.stderr().contains("a later start of the job has taken over the sink"));
    let ended = job.wait();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert_eq!(server.sinks().values().next().unwrap().opened.len(), 1, "it was not started again");
}

/// A server that has lost its data is not taken for one that has it.
#[test]
fn lost_data_of_the_server_is_reported() {
    let server = Ledger::start(free_port(), None);
    let trial = writing(server.port, 3000, &["out"], "");
    let mut job = trial.start(&[]);
    wait_until("some is there", || server.sinks().values().any(|sink| sink.batches.len() > 20));
    server.forget(10);
    job.wait_for_stderr("the job waits and retries until it works");
    server.state().away = false;
    job.wait_for_stderr("was replaced, emptied or reset");
    job.kill();
}

#[test]
fn a_batch_of_any_size_is_one_commit() {
    let (count, server) = (100_000, Ledger::start(free_port(), None));
    let trial = writing(server.port, count, &["out"], "");
    trial.change(&format!("rows_per_batch_max = {ROWS_PER_BATCH}"), "rows_per_batch_max = 1000000");
    let ended = trial.run_ok(&["--workers", "2"]);
    assert!(ended.stderr.contains("`out` called tcp-ledger 0.1.0 "), "what it cost is told: {}", ended.stderr);
    let sinks = server.sinks();
    let sink = sinks.values().next().unwrap();
    let counted = format!("`out` counted commits = {}\n", sink.batches.len());
    assert!(ended.stderr.contains(&counted), "what it counted is told: {}", ended.stderr);
    assert_eq!(sink.rows(), kept(count));
    assert!(sink.batches.iter().any(|(_, rows)| rows.len() > 20_000), "one call takes 16384 rows at most");
}

/// The next start has another plugin, and committed data is not written again.
#[test]
fn a_job_resumes_with_the_next_version_of_its_plugin() {
    let (count, server) = (4000, Ledger::start(free_port(), None));
    let trial = writing(server.port, count, &["out"], "");
    let component = std::fs::read(plugin("tcp-ledger").join("tcp-ledger.wasm")).unwrap();
    trial.write("ledger.wasm", &component);
    trial.change(&format!("plugin = \"{}\"", plugin("tcp-ledger").display()), "plugin = \"ledger.wasm\"");
    let mut job = trial.start(&[]);
    for more in [10, 60] {
        wait_until("some is there", || server.sinks().values().any(|sink| sink.batches.len() > more));
        job.kill_all();
        // A section without effect: other bytes, the same functions.
        trial.write("ledger.wasm", [component.as_slice(), &[0, 5, 4, b'n', b'o', b't', more as u8]].concat());
        job = trial.start(&[]);
    }
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let sinks = server.sinks();
    assert_eq!((sinks.len(), sinks.values().next().unwrap().rows()), (1, kept(count)));
}

/// The config names another server: the previous plugin and config are used to query the first one's data.
#[test]
fn a_sink_that_moves_writes_nothing_twice() {
    let (count, first, second) = (3000, Ledger::start(free_port(), None), Ledger::start(free_port(), None));
    let trial = writing(first.port, count, &["out"], "");
    let job = trial.start(&[]);
    wait_until("some is there", || first.sinks().values().any(|sink| sink.batches.len() > 15));
    job.kill_all();
    let [here, there] = [&first, &second].map(|server| format!("127.0.0.1:{}", server.port));
    trial.write("job.toml", trial.text("job.toml").replace(&here, &there));
    trial.run_ok(&[]);
    let rows = |server: &Ledger| server.sinks().values().next().unwrap().rows();
    assert_eq!([rows(&first), rows(&second)].concat(), kept(count));
}

/// Queried before a start, in its own instance, which takes nothing over.
#[test]
fn the_last_batch_is_queried_before_the_sink_is_opened() {
    let server = Ledger::start(free_port(), None);
    let trial = writing(server.port, 100, &["out"], "");
    trial.run_ok(&[]);
    let first = server.sinks().values().next().unwrap().requests.clone();
    assert_eq!(first, [SinkRequest::Open], "a job that begins has nothing to ask");
    trial.write("entries.jsonl", entries(200));
    trial.run_ok(&[]);
    let again = server.sinks().values().next().unwrap().requests.clone();
    assert_eq!(again.first(), Some(&SinkRequest::Open));
    assert_eq!(again.get(1), Some(&SinkRequest::Held), "{again:?}");
    assert_eq!(again.last(), Some(&SinkRequest::Open), "{again:?}");
    let rows = server.sinks().values().next().unwrap().rows();
    assert!(rows.starts_with(&kept(100)), "{rows:?}");
}

#[test]
fn a_failing_sink_ends_the_job_with_a_report() {
    let open = format!("grant = {{ tcp = [\"127.0.0.1:{}\"] }}", free_port());
    // Config, more keys of the sink, exit code, and parts of the message.
    let cases: &[(&str, &str, i32, &[&str])] = &[
        ("fault = \"config-in-describe\"", "", 2, &["job.toml:11: sink `out`", "I do not like this config"]),
        ("falt = 9", "", 2, &["sink `out`", "unknown field `falt`"]),
        (
            "fault = \"connect-in-describe\", address = \"127.0.0.1:1\"",
            "grant = { tcp = [\"127.0.0.1:1\"] }",
            1,
            &["a connection to 127.0.0.1:1 is not allowed in `describe`"],
        ),
        ("fault = \"panic-in-open\"", "", 1, &["sink `out`: plugin bad-sink 0.1.0 failed in `open`", "I cannot open"]),
        ("fault = \"config-in-open\"", "", 2, &["rejects its config in `open`: nothing can be opened"]),
        ("fault = \"error-in-open\"", "wait = \"200ms\"", 1, &["sink `out`: it is not open yet", "`wait` has passed"]),
        (
            "fault = \"connect\", address = \"127.0.0.1:1\"",
            &open,
            2,
            &["a connection to 127.0.0.1:1 is not granted; the job grants it with grant = "],
        ),
        (
            "fault = \"loop-in-begin\"",
            "limits = { time = \"300ms\" }",
            1,
            &["sink `out`: plugin bad-sink 0.1.0 failed in batch 1: it ran longer than its time limit of 300ms"],
        ),
        (
            "fault = \"loop-in-write\"",
            "limits = { time = \"300ms\" }",
            1,
            &["failed in batch 1", "time limit of 300ms"],
        ),
        (
            "fault = \"loop-in-commit\"",
            "limits = { time = \"300ms\" }",
            1,
            &["failed in batch 1", "time limit of 300ms"],
        ),
        ("fault = \"panic\"", "", 1, &["batch 1 is too much for me", "Fix the plugin; "]),
        ("fault = \"memory\"", "", 1, &["more memory than its limit of 256 MiB", "`limits.memory` of the sink"]),
        ("fault = \"input-in-write\"", "", 2, &["rejects its input in batch 1: the rows do not fit"]),
        ("fault = \"refuses-behind\"", "", 1, &["row 20 is rejected, but only 20 rows were given"]),
        ("fault = \"refuses-twice\"", "", 1, &["row 0 is rejected twice"]),
        ("fault = \"config-in-commit\"", "", 2, &["rejects its config in batch 1: the config does not fit"]),
        (
            "fault = \"error-in-commit\"",
            "wait = \"300ms\"",
            1,
            &["batch 1: batch 1 is not taken; the job waits and retries", "the job has waited for 300ms (`wait`)"],
        ),
        ("fault = \"holds-too-much\"", "", 1, &["it reports batch 18446744073709551615 as committed, but no job"]),
        (
            "fault = \"refuses-sevens\"",
            "",
            1,
            &[
                "sink `out`: batch 1: its plugin rejected 2 of 20 rows: row 7 of the batch: 7 is a",
                "on_error = \"reject\"",
            ],
        ),
        ("", "schema = { n = \"int64\" }", 2, &["`schema`"]),
        ("", "grant = { tcp = [\"127.0.0.1\"] }", 2, &["`127.0.0.1` is not host:port"]),
    ];
    for (config, more, code, message) in cases {
        let ended = bad(config, more).run(&[]);
        assert_eq!(ended.code, Some(*code), "{config}: {}", ended.stderr);
        for word in *message {
            assert!(ended.stderr.contains(word), "{config}: {word} in {}", ended.stderr);
        }
        assert!(!ended.stderr.contains("is taken\n"), "{config}: {}", ended.stderr);
    }
}

#[test]
fn rejected_rows_are_omitted_if_the_job_says_so() {
    let ended = bad("fault = \"refuses-sevens\"", "on_error = \"reject\"").run_ok(&[]);
    let output = "rejected 2 of 20 rows: row 7 of the batch: 7 is a";
    assert!(ended.stderr.contains(output) && ended.stderr.contains("they are skipped"), "{}", ended.stderr);
    assert!(!ended.stderr.contains('\u{1b}'), "{}", ended.stderr);
    assert!(ended.stderr.contains("batch 1 is taken"), "{}", ended.stderr);
}

/// A job without checkpoints has a new id at each start, and its plugin receives it.
#[test]
fn a_sink_accepts_any_columns_if_it_says_so() {
    let ended = bad("any = true", "").run_ok(&[]);
    assert!(ended.stderr.contains("bad/out is opened by start 1 for n int64, word text"), "{}", ended.stderr);
    assert!(ended.stderr.contains("batch 1 is taken"), "{}", ended.stderr);
    let ended = bad("", "").run_ok(&[]);
    assert!(ended.stderr.contains("bad/out is opened by start 1 for n int64 "), "{}", ended.stderr);
}

#[test]
fn validate_shows_the_guarantee_of_a_sink() {
    let trial = bad("", "");
    let shown = trial.run_command_ok(&["validate", "job.toml"]);
    assert!(shown.contains("plugin bad-sink 0.1.0 reads n int64"), "{shown}");
    assert!(shown.contains("exactly once, as its plugin declares"), "{shown}");
    let shown = bad("fault = \"loose\"", "").run_command_ok(&["validate", "job.toml"]);
    assert!(shown.contains("at least once, as its plugin declares"), "{shown}");
    // It needs a column that does not exist.
    trial.change("n = \"int64\"", "m = \"int64\"");
    let ended = trial.run_command(&["validate", "job.toml"]);
    assert!(ended.stderr.contains("reads a column `n` (int64), which `n` does not have"), "{}", ended.stderr);
    assert_eq!(ended.code, Some(2));
    trial.change("m = \"int64\"", "n = \"int64\"");
    // No other world is a sink, and a sink is not a stage.
    trial.change(&plugin("bad-sink").display().to_string(), &plugin("sum").display().to_string());
    let ended = trial.run_command(&["validate", "job.toml"]);
    assert!(ended.stderr.contains("but a sink needs a plugin of world sink"), "{}", ended.stderr);
    assert_eq!(ended.code, Some(2));
    let sink = plugin("bad-sink").display().to_string();
    let stage = format!("[stages.s]\nfrom = \"n\"\nplugin = \"{sink}\"\n[sinks.shown]\nfrom = \"s\"\nkind = \"print\"");
    let ended = bad("", &stage).run_command(&["validate", "job.toml"]);
    assert!(ended.stderr.contains("is of world sink: it is a sink, not a stage"), "{}", ended.stderr);
}

/// `inspect` shows the requested permissions, and that it writes.
#[test]
fn inspect_shows_a_sink() {
    let shown = Trial::new("").run_command_ok(&["inspect", &plugin("tcp-ledger").display().to_string()]);
    assert!(shown.contains("sink") && shown.contains("connections (need a grant)"), "{shown}");
}
