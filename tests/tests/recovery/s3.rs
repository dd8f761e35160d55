//! Checkpoints in a bucket, against a real S3 server, also where every third request fails.

use millstream::internals::checkpoint::store;
use millstream::internals::checkpoint::store::{Store, Version};
use millstream::internals::failure::Failure;
use millstream::internals::retry::{StoreError, StoreErrorKind, retry_transient};
use millstream_tests::{FailingProxy, Hdfs, Process, S3Server, Trial, free_port, root};
use std::sync::Arc;

fn open(url: &str, settings: &[(String, String)]) -> Arc<dyn Store> {
    store::open_with(url, "/nowhere".as_ref(), settings).expect("the settings are whole")
}

/// Does what must work in the end, as a job does.
fn surely<T>(attempt: impl FnMut() -> Result<T, StoreError>) -> T {
    retry_transient(&Failure::default(), attempt).expect("it works in the end")
}

fn paths(store: &dyn Store, dir: &str) -> Vec<(String, u64)> {
    surely(|| store.list(dir)).into_iter().map(|object| (object.path, object.bytes)).collect()
}

/// Checks everything that a store guarantees.
fn check_guarantees(store: &dyn Store) {
    objects(store);
    replacements(store);
    logs(store);
    assert!(surely(|| store.lock()).is_none(), "buckets cannot be locked");
}

fn objects(store: &dyn Store) {
    assert_eq!(surely(|| store.read("state/a.arrow")), None);
    assert!(paths(store, "").is_empty());
    let large: Vec<u8> = (0..20 << 20).map(|i: u32| (i % 251) as u8).collect();
    surely(|| store.write("state/b.arrow", large.clone().into()));
    surely(|| store.write("state/a.arrow", "old".into()));
    surely(|| store.write("state/a.arrow", "of a".into()));
    surely(|| store.write("state-2/c", "".into()));
    assert_eq!(surely(|| store.read("state/a.arrow")), Some("of a".into()));
    assert!(surely(|| store.read("state/b.arrow")) == Some(large.into()), "a large object comes back as it was");
    assert_eq!(paths(store, "state"), [("state/a.arrow".into(), 4), ("state/b.arrow".into(), 20 << 20)]);
    assert_eq!(paths(store, "").len(), 3);
    for path in ["state/a.arrow", "state/a.arrow", "state/b.arrow", "state-2/c"] {
        surely(|| store.delete(path));
    }
    assert!(paths(store, "").is_empty());
}

fn replacements(store: &dyn Store) {
    let replace = |bytes: String, expected: Option<&Version>| {
        surely(|| store.replace("manifest.json", bytes.clone().into(), expected))
    };
    let first = replace("0".into(), None).expect("there was none");
    assert_eq!(replace("other".into(), None), None, "it already exists");
    let mut version = first.clone();
    // Often enough, and with other requests between, so that each kind of failure meets a replacement.
    for round in 1..=20 {
        (0..round % 4).for_each(|_| assert!(surely(|| store.read("manifest.json")).is_some()));
        let next = replace(round.to_string(), Some(&version)).expect("the version is the newest");
        assert_eq!(replace("other".into(), Some(&version)), None, "the version is an old one");
        version = next;
        assert_eq!(surely(|| store.read_version("manifest.json")), Some((round.to_string().into(), version.clone())));
    }
    surely(|| store.delete("manifest.json"));
    assert_eq!(replace("other".into(), Some(&version)), None, "it is gone");
    assert_eq!(surely(|| store.read_version("manifest.json")), None);
}

fn logs(store: &dyn Store) {
    let path = "plans/000001-000-000000000000.log";
    assert_eq!(surely(|| store.read_log(path)), "");
    let mut log = surely(|| store.log(path));
    let appends: Vec<String> = (0..20).map(|number| format!("append {number};")).collect();
    for append in &appends {
        surely(|| log.append(append.as_bytes()));
    }
    assert_eq!(surely(|| store.read_log(path)), appends.concat());
    assert_eq!(paths(store, "plans"), [(path.into(), appends.concat().len() as u64)]);
    let error = retry_transient(&Failure::default(), || store.log(path)).err().expect("it already exists");
    assert!(error.message.contains(path), "{error}");
    // The text of an append after a missing one must not be taken for the complete object.
    surely(|| store.delete(&format!("{path}/000000003")));
    let error = retry_transient(&Failure::default(), || store.read_log(path)).expect_err("an append is missing");
    assert!(error.message.contains(path) && error.message.contains("append 3 "), "{error}");
    surely(|| store.delete_log(path));
    surely(|| store.delete_log(path));
    assert!(paths(store, "").is_empty());
}

#[test]
fn a_bucket_fulfils_the_guarantees_of_a_store() {
    let server = S3Server::start();
    let store = open("s3://bucket/jobs/mine", &server.settings());
    assert_eq!(store.location(), "s3://bucket/jobs/mine");
    let other = open("s3://bucket/jobs/mine-too/", &server.settings());
    other.write("state/x", "of another job".into()).expect("it writes");
    check_guarantees(store.as_ref());
    assert_eq!(paths(other.as_ref(), ""), [("state/x".into(), 14)]);
    // The same store, from its own runtime and without a prefix.
    let bucket = open("s3://bucket", &server.settings());
    assert_eq!(paths(bucket.as_ref(), "jobs"), [("jobs/mine-too/state/x".into(), 14)]);

    let missing = open("s3://no-such-bucket/x", &server.settings());
    for error in [missing.read("a").err(), missing.write("a", "b".into()).err()] {
        let error = error.expect("there is no such bucket");
        assert!(error.kind == StoreErrorKind::Permanent && error.reason.contains("create the bucket first"), "{error}");
    }
}

#[test]
fn nothing_is_lost_if_every_third_request_fails() {
    let server = S3Server::start();
    let proxy = FailingProxy::before(&server);
    check_guarantees(open("s3://bucket/jobs/mine", &proxy.settings()).as_ref());
    assert!(proxy.requests() > 100, "{}", proxy.requests());
}

#[test]
fn an_unreachable_server_is_waited_for() {
    let mut settings = vec![("AWS_ENDPOINT_URL".to_owned(), format!("http://127.0.0.1:{}", free_port()))];
    let error = store::open_with("s3://bucket/x", "/nowhere".as_ref(), &settings).err().expect("http is not allowed");
    assert!(error.message.contains("AWS_ALLOW_HTTP=true"), "{error}");
    for (name, value) in [("AWS_ALLOW_HTTP", "true"), ("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x")] {
        settings.push((name.to_owned(), value.to_owned()));
    }
    let store = open("s3://bucket/x", &settings);
    let error = store.write("state/a", "a".into()).expect_err("nobody listens there");
    assert_eq!(error.kind, StoreErrorKind::Transient, "{error}");
    let text = error.to_string();
    assert!(text.contains("write s3://bucket/x/state/a") && text.contains("Connection refused"), "{text}");
}

/// A job with virtual time whose checkpoints are in a bucket; its input has this many lines.
fn counting(lines: usize) -> Trial {
    let trial = Trial::new(&format!(
        r#"name = "counts"
clock = "manual"
[checkpoint]
dir = "s3://bucket/jobs/counts"
every = 2
[sources.words]
kind = "queue"
path = "input.jsonl"
schema = {{ word = "text" }}
[stages.totals]
from = "words"
key = "word"
plugin = "{}/plugins/running-count"
[sinks.out]
from = "totals"
kind = "queue"
path = "out.jsonl"
[sinks.parts]
from = "words"
kind = "files"
path = "parts"
"#,
        root().display()
    ));
    let line = |line: usize| format!("[[\"every\"],[\"w{}\"],[\"w{}\"]]\n", line % 3, line % 5);
    trial.write("input.jsonl", (0..lines).map(line).collect::<String>());
    trial
}

fn start(trial: &Trial, arguments: &[&str], settings: &[(String, String)], fault: &str) -> Process {
    let all = [&["run", "job.toml"], arguments].concat();
    let mut command = trial.command(&all);
    Process::start(command.envs(settings.iter().cloned()).env("MILLSTREAM_TEST_FAULT", fault))
}

/// The output of all sinks.
fn written(trial: &Trial) -> (String, Vec<(String, String)>) {
    let names =
        std::fs::read_dir(trial.path("parts")).expect("the sink made it").map(|entry| entry.unwrap().file_name());
    let mut parts: Vec<_> =
        names.filter_map(|name| name.into_string().ok()).filter(|name| !name.starts_with('.')).collect();
    parts.sort();
    let parts = parts.into_iter().map(|name| (name.clone(), trial.text(&format!("parts/{name}")))).collect();
    (trial.text("out.jsonl"), parts)
}

/// Killed at each of these steps, with two workers and then with three, and resumed with one; `settings` point to the bucket.
fn resumes_in_a_bucket(settings: &[(String, String)], faults: &[&str]) {
    let golden = counting(8);
    golden.run_ok(&["--set", "checkpoint.dir=checkpoint"]);
    let golden = written(&golden);
    let trial = counting(8);
    for (number, fault) in faults.iter().enumerate() {
        let workers = if number == 0 { "2" } else { "3" };
        let ended = start(&trial, &["--unsupervised", "--workers", workers], settings, fault).wait();
        assert_eq!(ended.code, None, "{fault}: {}", ended.stderr);
    }
    let ended = start(&trial, &["--workers", "1"], settings, "").wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("`counts` resumes after the checkpoint of batch "), "{}", ended.stderr);
    assert!(!ended.stderr.contains("restarting it"), "{}", ended.stderr);
    assert_eq!(written(&trial), golden);
    let mut state =
        trial.command(&["state", "job.toml", "--sql", "select count from totals where word = 'every'", "--json"]);
    let shown = Process::start(state.envs(settings.iter().cloned())).wait();
    assert_eq!(shown.stdout, "{\"count\":8}\n", "{}", shown.stderr);
}

#[test]
fn a_killed_job_resumes_from_a_bucket() {
    let faults = ["kill@commit.marked:5", "kill@checkpoint.state-written:1", "kill@start.claimed:1"];
    let server = S3Server::start();
    resumes_in_a_bucket(&server.settings(), &faults);
}

#[test]
fn a_killed_job_resumes_from_a_bucket_that_fails_every_third_request() {
    let server = S3Server::start();
    let proxy = FailingProxy::before(&server);
    resumes_in_a_bucket(&proxy.settings(), &["kill@commit.marked:5"]);
    assert!(proxy.requests() > 30, "{}", proxy.requests());
}

/// A job that generates numbers without end.
fn numbers() -> Trial {
    Trial::new(
        r#"name = "numbers"
batch = "20ms"
workers = 1
[checkpoint]
dir = "s3://bucket/jobs/numbers"
every = "100ms"
[sources.made]
kind = "rate"
rows_per_second = 500
[sinks.parts]
from = "made"
kind = "files"
path = "parts"
"#,
    )
}

fn parts(trial: &Trial) -> usize {
    std::fs::read_dir(trial.path("parts")).into_iter().flatten().count()
}

fn wait_until_it_commits(job: &mut Process, trial: &Trial) {
    let before = parts(trial);
    job.wait_until("it commits", |_| parts(trial) > before + 5);
}

fn stops_with_each_number_once(job: Process, trial: &Trial) {
    job.signal("TERM");
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let values: Vec<u64> = written(trial).1.iter().flat_map(|(_, text)| text.lines()).map(value).collect();
    assert!(values.iter().copied().eq(0..values.len() as u64), "{values:?}");
}

/// Nothing locks a bucket, but the directory of the sink is locked.
#[test]
fn a_second_start_on_the_same_machine_is_rejected() {
    let server = S3Server::start();
    let (trial, settings) = (numbers(), server.settings());
    let mut job = start(&trial, &[], &settings, "");
    wait_until_it_commits(&mut job, &trial);
    let ended = start(&trial, &[], &settings, "").wait();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("another running process has it locked; stop that process first"),
        "{}",
        ended.stderr
    );
    wait_until_it_commits(&mut job, &trial);
    stops_with_each_number_once(job, &trial);
}

/// A process that only seemed dead comes back after another machine has taken its job over.
#[test]
fn a_replaced_process_commits_nothing_more() {
    let server = S3Server::start();
    let (trial, settings) = (numbers(), server.settings());
    let mut older = start(&trial, &["--unsupervised"], &settings, "");
    for _ in 0..3 {
        wait_until_it_commits(&mut older, &trial);
        older.signal("STOP");
        // Another machine does not see the lock of the directory.
        std::fs::remove_file(trial.path("parts/.millstream.lock")).expect("the sink has locked its folder");
        let mut newer = start(&trial, &["--unsupervised"], &settings, "");
        wait_until_it_commits(&mut newer, &trial);
        older.signal("CONT");
        let ended = older.wait();
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        let words = ["the job was restarted elsewhere", "another process has taken over the job"];
        assert!(words.iter().any(|words| ended.stderr.contains(words)), "{}", ended.stderr);
        older = newer;
    }
    wait_until_it_commits(&mut older, &trial);
    stops_with_each_number_once(older, &trial);
}

fn value(line: &str) -> u64 {
    serde_json::from_str::<serde_json::Value>(line).expect("a row")["value"].as_u64().expect("a number")
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn a_directory_of_hdfs_fulfils_the_guarantees_of_a_store() {
        let hdfs = Hdfs::start();
        let store = open(&hdfs.url("/jobs/mine"), &[]);
        let other = open(&hdfs.url("/jobs/mine-too/"), &[]);
        other.write("state/x", "of another job".into()).expect("it writes");
        check_guarantees(store.as_ref());
        assert_eq!(paths(other.as_ref(), ""), [("state/x".into(), 14)]);
        assert_eq!(hdfs.paths("/jobs"), Some(vec!["/jobs/mine-too/state/x".into()]), "nothing else is left");

        // HDFS has no conditional replacement: its substitute must let exactly one of many writers through.
        let count = |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).expect("a text");
            text.split(' ').next().and_then(|count| count.parse::<u32>().ok()).expect("a number")
        };
        let (threads, each) = (6, 12);
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let hdfs = &hdfs;
                scope.spawn(move || {
                    let store = open(&hdfs.url("/jobs/many"), &[]);
                    let mut done = 0;
                    while done < each {
                        let found = surely(|| store.read_version("count"));
                        let next = found.as_ref().map_or(0, |(bytes, _)| count(bytes)) + 1;
                        // The bytes are distinct, as the store requires.
                        let bytes = format!("{next} {thread} {done}");
                        let version = found.as_ref().map(|(_, version)| version);
                        if let Ok(Some(_)) = store.replace("count", bytes.into(), version) {
                            done += 1;
                        }
                    }
                });
            }
        });
        let (bytes, _) =
            open(&hdfs.url("/jobs/many"), &[]).read_version("count").expect("it reads").expect("it is there");
        assert_eq!(count(&bytes), threads * each);
    }
}
