//! The sink `redis` with a real server.

use millstream_tests::redis::RedisReply;
use millstream_tests::{Process, Random, Redis, Trial, is_alive, kill};
use serde_json::{Value, json};
use std::thread;
use std::time::Duration;

/// A job that counts, and adds each row to a stream.
fn counting(url: &str, rows: u64, more: &str) -> Trial {
    Trial::new(&format!(
        r#"name = "writer"
batch = "20ms"
[checkpoint]
dir = "checkpoint"
every = 5
[sources.numbers]
kind = "rate"
rows_per_second = 1000
rows_max = {rows}
[stages.named]
from = "numbers"
select = "value as n, concat('row ', value) as name"
[sinks.out]
from = "named"
kind = "redis"
url = "{url}"
stream = "totals"
{more}
"#
    ))
}

/// A job that writes these rows of test batches.
fn writing(url: &str, schema: &str, batches: &[&str], more: &str) -> Trial {
    let trial = Trial::new(&format!(
        r#"name = "writer"
batch = "20ms"
clock = "manual"
[sources.in]
kind = "queue"
path = "in.jsonl"
schema = {{ {schema} }}
[sinks.out]
from = "in"
kind = "redis"
url = "{url}"
stream = "totals"
{more}
"#
    ));
    trial.write("in.jsonl", batches.iter().map(|batch| format!("{batch}\n")).collect::<String>());
    trial
}

/// The numbers of a stream's entries.
fn numbers(redis: &Redis) -> Vec<u64> {
    let number = |entry: Vec<(String, Vec<u8>)>| String::from_utf8(entry[0].1.clone()).unwrap().parse().unwrap();
    redis.entries("totals").into_iter().map(number).collect()
}

fn strings(redis: &Redis) -> Vec<Vec<(String, String)>> {
    let text = |(name, value): (String, Vec<u8>)| (name, String::from_utf8_lossy(&value).into_owned());
    redis.entries("totals").into_iter().map(|entry| entry.into_iter().map(text).collect()).collect()
}

/// Whatever dies, each row is there once, in order.
#[test]
fn rows_are_stored_once_after_any_kill() {
    thread::scope(|scope| {
        for (seed, processes) in [(1, 1), (2, 2)] {
            scope.spawn(move || disturbed(seed, processes));
        }
    });
}

fn disturbed(seed: u64, processes: usize) {
    const ROWS: u64 = 6000;
    let (mut random, mut redis) = (Random::new(seed), Redis::start());
    let trial = counting(&redis.url(), ROWS, "");
    let mut running = trial.start_processes(processes, 2);
    for _ in 0..12 {
        thread::sleep(Duration::from_millis(random.from(100, 700)));
        if running.has_ended() {
            break;
        }
        match random.from(0, 3) {
            0 => {
                redis.kill();
                thread::sleep(Duration::from_millis(random.from(0, 300)));
                redis.start_again();
            }
            1 => {
                let children = running.children();
                running.kill();
                millstream_tests::wait_until("its workers are gone", || children.iter().all(|child| !is_alive(*child)));
                running = trial.start_processes(processes, 2);
            }
            _ => running.children().iter().filter(|child| is_alive(**child)).for_each(|child| kill(*child)),
        }
    }
    let ended = running.wait();
    assert_eq!(ended.code, Some(0), "seed {seed}: {}", ended.stderr);
    assert_eq!(numbers(&redis), (0..ROWS).collect::<Vec<_>>(), "seed {seed}");
}

/// A process that dies at each step of a commit.
#[test]
fn a_commit_with_a_lost_response_is_not_repeated() {
    for step in ["commit.before:3", "commit.written:3", "commit.after:3", "start.sink:1"] {
        let redis = Redis::start();
        let trial = counting(&redis.url(), 300, "");
        let mut command = trial.command(&["run", "job.toml", "--unsupervised"]);
        let ended = Process::start(command.env("MILLSTREAM_TEST_FAULT", format!("kill@{step}"))).wait();
        assert_eq!(ended.code, None, "it does not come to {step}: {}", ended.stderr);
        trial.run_ok(&[]);
        assert_eq!(numbers(&redis), (0..300).collect::<Vec<_>>(), "{step}");
    }
}

#[test]
fn each_column_is_a_field_and_a_null_is_omitted() {
    let redis = Redis::start();
    let schema =
        r#"n = "int64", x = "float64", ok = "bool", s = "text", raw = "binary", at = "timestamp", d = "decimal(9, 2)""#;
    let batches = [
        r#"[{"n":1,"x":0.5,"ok":true,"s":"ü\n","raw":"00ff","at":"2026-11-22T10:00:00Z","d":1.5},{"s":""}]"#,
        r#"[{}]"#,
    ];
    writing(&redis.url(), schema, &batches, "").run_ok(&[]);
    let pairs = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect::<Vec<(String, String)>>()
    };
    let found = redis.entries("totals");
    assert_eq!(found[0][4], ("raw".to_owned(), b"00ff".to_vec()));
    let mut found = strings(&redis);
    found[0].remove(4);
    let first =
        [("n", "1"), ("x", "0.5"), ("ok", "true"), ("s", "ü\n"), ("at", "2026-11-22T10:00:00.000000Z"), ("d", "1.50")];
    // An entry without a field cannot be.
    assert_eq!(found, [pairs(&first), pairs(&[("s", "")]), pairs(&[("n", "")])]);
}

#[test]
fn one_field_has_a_row_as_json() {
    let redis = Redis::start();
    let schema = r#"n = "int64", tags = "list<text>""#;
    let batch = [r#"[{"n":1,"tags":["a","b"]},{}]"#];
    writing(&redis.url(), schema, &batch, "field = \"data\"").run_ok(&[]);
    let found: Vec<Value> = strings(&redis).iter().map(|entry| serde_json::from_str(&entry[0].1).unwrap()).collect();
    assert_eq!(found, [json!({ "n": 1, "tags": ["a", "b"] }), json!({ "n": null, "tags": null })]);
    let output = writing(&redis.url(), schema, &batch, "").rejected_message(&["validate", "job.toml"]);
    assert!(output.contains("column `tags` is list<text>; write field = \"data\""), "{output}");
}

#[test]
fn a_stream_keeps_the_configured_number_of_entries() {
    let redis = Redis::start();
    counting(&redis.url(), 3000, "maxlen = 100").run_ok(&[]);
    let left = numbers(&redis);
    assert!(left.len() >= 100 && left.len() < 1000, "{}", left.len());
    assert_eq!(left.last(), Some(&2999));
}

/// Another start of the job owns the sink; the previous one adds nothing more.
#[test]
fn a_replaced_start_adds_nothing() {
    let redis = Redis::start();
    let trial = counting(&redis.url(), 1_000_000, "");
    let mut running = trial.start(&["--unsupervised"]);
    running.wait_until("rows are there", |_| !numbers(&redis).is_empty());
    let RedisReply::List(keys) = redis.send_request(&["KEYS", "millstream:{totals}:*:out"]) else { panic!("no keys") };
    let [RedisReply::Bytes(marker)] = &keys[..] else { panic!("{keys:?}") };
    redis.send_request(&["HSET", std::str::from_utf8(marker).unwrap(), "generation", "99"]);
    let ended = running.wait();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("restarted elsewhere (generation 99)"), "{}", ended.stderr);
}

/// A server that loses confirmed data is detected, and the job is not restarted as if nothing had happened.
#[test]
fn a_server_that_lost_what_it_had_confirmed_ends_the_job() {
    let redis = Redis::start();
    let trial = counting(&redis.url(), 1_000_000, "");
    let mut running = trial.start(&[]);
    running.wait_until("rows are there", |_| !numbers(&redis).is_empty());
    redis.send_request(&["FLUSHALL"]);
    let ended = running.wait();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    for message in ["it has lost confirmed rows", "appendfsync always", "--fresh"] {
        assert!(ended.stderr.contains(message), "{message}: {}", ended.stderr);
    }
}

#[test]
fn an_unreachable_or_loading_server_is_waited_for() {
    let mut redis = Redis::not_started(&["--maxmemory-policy", "noeviction"]);
    let trial = counting(&redis.url(), 2000, "");
    let mut running = trial.start(&[]);
    running.wait_for_stderr("the job waits for up to 1h (`wait`)");
    redis.start_again();
    running.wait_until("rows are there", |_| !numbers(&redis).is_empty());
    // It accepts nothing more.
    redis.send_request(&["CONFIG", "SET", "maxmemory", "1"]);
    running.wait_for_stderr("the job waits and retries until it works");
    assert!(running.stderr().contains("OOM"), "{}", running.stderr());
    redis.send_request(&["CONFIG", "SET", "maxmemory", "0"]);
    let ended = running.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(numbers(&redis), (0..2000).collect::<Vec<_>>());
    drop(redis);
    let ended = counting("redis://127.0.0.1:1", 10, "wait = \"100ms\"").run(&["--unsupervised"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("start the server, or check `url`, or raise `wait`"), "{}", ended.stderr);
}

#[test]
fn impossible_settings_are_reported_before_anything_runs() {
    let redis = Redis::start();
    redis.send_request(&["SET", "totals", "text"]);
    let output = counting(&redis.url(), 10, "").rejected_message(&["validate", "job.toml"]);
    assert!(output.contains("sink `out`: `totals` exists and is a string, not a stream; name another key"), "{output}");
    let guarded = Redis::with(&["--requirepass", "secret-of-redis"]);
    let url = guarded.url().replace("redis://", "redis://:guessed-password@");
    let ended = counting(&url, 10, "").run(&["--unsupervised"]);
    assert_ne!(ended.code, Some(0));
    assert!(ended.stderr.contains("authentication failed; check user and password in `url`"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("guessed-password"), "{}", ended.stderr);
}

/// Two jobs, or two sinks of one, add to one stream: each has a marker of its own.
#[test]
fn several_sinks_share_a_stream() {
    let redis = Redis::start();
    let first = counting(&redis.url(), 200, "");
    let second = counting(
        &redis.url(),
        200,
        "[sinks.more]\nfrom = \"named\"\nkind = \"redis\"\nurl = \"${URL}\"\nstream = \"totals\"",
    );
    first.run_ok(&[]);
    let ended = Process::start(second.command(&["run", "job.toml"]).env("URL", redis.url())).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let mut found = numbers(&redis);
    found.sort_unstable();
    assert_eq!(found, (0..200).flat_map(|n| [n; 3]).collect::<Vec<_>>());
}
