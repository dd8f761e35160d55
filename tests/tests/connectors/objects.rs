//! Sources that read a bucket, with a real S3 server that is killed and restarted.

use super::formats::container;
use flate2::write::GzEncoder;
use millstream_tests::{Expected, Process, Trial, WeedServer, plugin};
use serde_json::Value;
use std::io::Write;

/// A job with checkpoints that copies what is below `s3://bucket/in` to `out.jsonl`.
fn copying(more: &str) -> Trial {
    Trial::new(&format!(
        "batch = \"20ms\"\n[checkpoint]\ndir = \"kept\"\nevery = 3\n[sources.in]\nkind = \"directory\"\n\
         path = \"s3://bucket/in\"\npoll = \"20ms\"\n{more}\n[sinks.out]\nfrom = \"in\"\nkind = \"queue\"\n\
         path = \"out.jsonl\"\n"
    ))
}

fn start(trial: &Trial, arguments: &[&str], server: &WeedServer) -> Process {
    start_with(trial, arguments, &server.settings(), "")
}

fn start_with(trial: &Trial, arguments: &[&str], settings: &[(String, String)], fault: &str) -> Process {
    let all = [&["run", "job.toml"], arguments].concat();
    let mut command = trial.command(&all);
    Process::start(command.envs(settings.iter().cloned()).env("MILLSTREAM_TEST_FAULT", fault))
}

/// Runs the job until nothing is left to read.
#[track_caller]
fn run(trial: &Trial, server: &WeedServer) -> String {
    let ended = start(trial, &["--until-idle"], server).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stderr
}

/// Runs the job until it kills itself at a step.
#[track_caller]
fn killed(trial: &Trial, server: &WeedServer, step: &str) {
    let arguments = ["--until-idle", "--unsupervised"];
    let ended = start_with(trial, &arguments, &server.settings(), &format!("kill@{step}")).wait();
    assert_eq!(ended.code, None, "it does not come to {step}: {}", ended.stderr);
}

fn stop(job: Process) -> String {
    job.signal("TERM");
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stderr
}

/// The lines that were written, in order.
fn written(trial: &Trial) -> Vec<String> {
    if !trial.path("out.jsonl").exists() {
        return Vec::new();
    }
    let rows = trial.rows("out.jsonl");
    rows.iter().map(|row| row["value"].as_str().expect("a text").to_owned()).collect()
}

fn lines(numbers: std::ops::Range<u32>) -> String {
    numbers.map(|number| format!("line {number}\n")).collect()
}

fn expected(numbers: impl Iterator<Item = u32>) -> Vec<String> {
    numbers.map(|number| format!("line {number}")).collect()
}

fn compressed(text: &str) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(text.as_bytes()).and_then(|()| packer.finish()).expect("memory takes it")
}

#[test]
fn words_are_counted_in_objects_that_arrive_while_the_job_runs() {
    let server = WeedServer::start();
    let trial = Trial::new(&format!(
        "batch = \"20ms\"\n[sources.lines]\nkind = \"directory\"\npath = \"s3://bucket/in/**/*.txt*\"\npoll = \"20ms\"\n\
         [stages.words]\nfrom = \"lines\"\nplugin = \"{}\"\n[stages.totals]\nfrom = \"words\"\nkey = \"word\"\n\
         plugin = \"{}\"\n[sinks.out]\nfrom = \"totals\"\nkind = \"queue\"\npath = \"out.jsonl\"\n",
        plugin("split-words").display(),
        plugin("running-count").display()
    ));
    let count = |word: &str| {
        let rows = if trial.path("out.jsonl").exists() { trial.rows("out.jsonl") } else { Vec::new() };
        rows.iter().rfind(|row| row["word"] == word).map_or(0, |row| row["count"].as_u64().expect("a number"))
    };
    server.put("in/b.txt", "a b\nb\n");
    server.put("in/b.json", "wrong\n");
    server.put("in/_hidden/b.txt", "wrong\n");
    server.put("in/b.txt.tmp", "wrong\n");
    server.put("inside/b.txt", "wrong\n");
    server.put("in/empty.txt", "");
    let mut job = start(&trial, &[], &server);
    job.wait_until("the first object is read", |_| count("b") == 2);
    server.put("in/c.txt.gz", compressed("b c\n"));
    job.wait_until("one behind it is read", |_| count("b") == 3);
    server.put("in/a.txt", "a\n");
    job.wait_until("one before it is read", |_| count("a") == 2);
    server.put("in/x/y/d.txt", "b\n");
    job.wait_until("one in a folder is read", |_| count("b") == 4);
    // An object that is replaced with the same content is not read again; one with other content is.
    server.put("in/a.txt", "a\n");
    server.put("in/b.txt", "d\n");
    job.wait_until("another object of a name is read", |_| count("d") == 1);
    server.delete("in/b.txt");
    server.put("in/z.txt", "end\n");
    job.wait_until("the last one is read", |_| count("end") == 1);
    assert_eq!((count("a"), count("b"), count("c"), count("wrong")), (2, 4, 1, 0));
    stop(job);
}

/// An object of many pieces, records of all lengths, and batches that end within it.
#[test]
fn a_large_object_is_read_completely_in_pieces() {
    let server = WeedServer::start();
    let line = |number: usize| "x".repeat(number * 7919 % 3000);
    let text: String = (0..9000).map(|number| line(number) + "\n").collect();
    assert!(text.len() > 12 << 20);
    server.put("in/large.txt", &text);
    server.put("in/packed.txt.gz", compressed(&text));
    let trial = copying("bytes_per_batch_max = \"700KiB\"");
    killed(&trial, &server, "commit.after:9");
    run(&trial, &server);
    let rows = written(&trial);
    assert_eq!(rows.len(), 18_000);
    assert!(rows.iter().enumerate().all(|(number, row)| *row == line(number % 9000)));
}

/// The steps at which a job dies: a batch is planned and not committed, it is committed in part, it is committed.
const STEPS: [&str; 3] = ["plan.durable:5", "commit.written:5", "commit.after:7"];

#[test]
fn objects_are_read_exactly_once() {
    let server = WeedServer::start();
    server.put("in/1.txt", lines(0..30));
    server.put("in/2.txt.gz", compressed(&lines(30..60)));
    for step in STEPS {
        let trial = copying("rows_per_batch_max = 7");
        killed(&trial, &server, step);
        server.put("in/3.txt", lines(60..70));
        run(&trial, &server);
        let mut rows = written(&trial);
        // Objects that exist at the same time are read by the second in which they were written.
        rows.sort_by_key(|line| line[5..].parse::<u32>().expect("a number"));
        assert_eq!(rows, expected(0..70), "{step}");
        server.delete("in/3.txt");
    }
}

/// The job is killed repeatedly while objects arrive, and so is the server.
#[test]
fn no_row_is_lost_or_read_twice_while_job_and_server_are_killed() {
    let mut server = WeedServer::start();
    let trial = copying("rows_per_batch_max = 5");
    let mut number = 0;
    for round in 0..12_u32 {
        for _ in 0..2 {
            server.put(&format!("in/{number:05}.txt"), lines(number * 10..number * 10 + 10));
            number += 1;
        }
        let mut job = start(&trial, &["--unsupervised"], &server);
        let before = written(&trial).len();
        let some = before + 1 + (round as usize * 7) % 19;
        job.wait_until("it commits", |_| written(&trial).len() >= some);
        if round % 4 == 3 {
            server.kill();
            job.signal("KILL");
            server.start_again();
        } else {
            job.signal("KILL");
        }
        job.wait();
    }
    run(&trial, &server);
    let mut rows = written(&trial);
    rows.sort_by_key(|line| line[5..].parse::<u32>().expect("a number"));
    assert_eq!(rows, expected(0..number * 10));
}

/// A batch is planned, and its input has changed when it is to be replayed.
#[test]
fn a_batch_of_another_object_is_not_replayed() {
    let server = WeedServer::start();
    for (change, words) in
        [("other", "the object was replaced: its length or its etag differs"), ("gone", "it no longer exists")]
    {
        server.put("in/1.txt", lines(0..30));
        let trial = copying("rows_per_batch_max = 7");
        // No batch begins before there is something for it: a plan holds rows. Nor does one begin after the first before that is
        // committed.
        trial.change("batch = \"20ms\"", "batch = \"0s\"\nin_flight_max = 1");
        killed(&trial, &server, "plan.durable:1");
        match change {
            // Same length as before.
            "other" => server.put("in/1.txt", lines(0..30).replace("line 1\n", "line 7\n")),
            _ => server.delete("in/1.txt"),
        }
        let ended = start(&trial, &["--until-idle"], &server).wait();
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        // The replay or the next read reports it, whichever looks first.
        let path = "s3://bucket/in/1.txt";
        // The first 7 lines have 49 bytes.
        let again = format!(
            "source `in`: a batch cannot be replayed: bytes 0 to 49 of `{path}`: {words}; restore the original state"
        );
        let on = format!(
            "source `in`: cannot continue in `{path}`, whose first 49 bytes are in batches: {words}; restore the file"
        );
        let output = |output: &str| ended.stderr.contains(output);
        assert!(output(&again) || output(&on), "{}", ended.stderr);
        let before = written(&trial);
        server.put("in/1.txt", lines(0..30));
        run(&trial, &server);
        assert_eq!(written(&trial), expected(0..30), "{before:?}");
    }
}

/// The rest of an object that was read in part is not the rest of another one.
#[test]
fn a_replaced_object_is_not_continued() {
    let server = WeedServer::start();
    server.put("in/1.txt", lines(0..30));
    let trial = copying("rows_per_batch_max = 7");
    let ended = start(&trial, &["--limit", "10"], &server).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(written(&trial).len(), 10);
    server.put("in/1.txt", lines(0..31));
    let ended = start(&trial, &["--until-idle"], &server).wait();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("cannot continue in `s3://bucket/in/1.txt`"), "{}", ended.stderr);
    assert!(ended.stderr.contains("--drop-state in"), "{}", ended.stderr);
    server.put("in/1.txt", lines(0..30));
    run(&trial, &server);
    assert_eq!(written(&trial), expected(0..30));
}

#[test]
fn an_error_of_a_server_says_what_to_do() {
    let server = WeedServer::start();
    server.put("in/1.txt", "a\n");
    let output = |trial: &Trial, settings: &[(String, String)]| {
        let ended = start_with(trial, &["--until-idle"], settings, "").wait();
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        ended.stderr
    };
    let mut wrong = server.settings();
    wrong.retain(|(name, _)| name != "AWS_SECRET_ACCESS_KEY");
    wrong.push(("AWS_SECRET_ACCESS_KEY".into(), "another".into()));
    let words = output(&copying(""), &wrong);
    assert!(words.contains("source `in`: cannot list s3://bucket/in: "), "{words}");
    assert!(words.contains("check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"), "{words}");
    let elsewhere = copying("");
    elsewhere.change("s3://bucket/in", "s3://no-such-bucket/in");
    let words = output(&elsewhere, &server.settings());
    assert!(words.contains("create the bucket first"), "{words}");
    let plain: Vec<_> = server.settings().into_iter().filter(|(name, _)| name != "AWS_ALLOW_HTTP").collect();
    assert!(output(&copying(""), &plain).contains("set AWS_ALLOW_HTTP=true"));
}

#[test]
fn mistakes_about_buckets_are_told_with_their_lines() {
    let mut expected = Expected::of(file!(), "mistakes_about_buckets_are_told_with_their_lines");
    let refused = |from: &str, to: &str| {
        let trial = copying("");
        trial.change(from, to);
        trial.rejected_message(&["validate", "job.toml"])
    };
    expected.add("settle", &refused("poll = \"20ms\"", "settle = \"1s\""));
    expected.add("no bucket", &refused("s3://bucket/in", "s3:///in"));
    expected.add(
        "a file in a bucket",
        &refused(
            "kind = \"directory\"\npath = \"s3://bucket/in\"\npoll = \"20ms\"",
            "kind = \"file\"\npath = \"s3://b/x\"",
        ),
    );
    expected.add("checkpoints where the source reads", &refused("dir = \"kept\"", "dir = \"s3://bucket/in\""));
    expected.check_parts();
}

/// Rows of the formats, from a bucket as from files.
#[test]
fn objects_have_the_same_formats_as_files() {
    let server = WeedServer::start();
    server.put("in/1.csv", "n,t\n1,a\n2,\"b\nc\"\n");
    server.put("in/2.csv", "t,n\nd,3\n");
    let trial = copying(
        "format = \"csv\"\nschema = { n = \"int64\", t = \"text\" }\npattern = \"*.csv\"\nrows_per_batch_max = 1",
    );
    killed(&trial, &server, "commit.after:1");
    run(&trial, &server);
    let rows: Vec<Value> = trial.rows("out.jsonl");
    let mut cells: Vec<_> = rows.iter().map(|row| (row["n"].as_i64(), row["t"].as_str())).collect();
    cells.sort();
    assert_eq!(cells, [(Some(1), Some("a")), (Some(2), Some("b\nc")), (Some(3), Some("d"))]);
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    /// Blocks with several batches, batches with several blocks, and an object that is additionally compressed.
    #[test]
    fn avro_objects_are_read_exactly_once_though_job_and_server_are_killed() {
        let mut server = WeedServer::start();
        server.put("in/1.avro", container(0, 6_000, 2_000));
        server.put("in/2.avro", container(6_000, 12_000, 90));
        let mut packer = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(&container(12_000, 18_000, 1_000)).expect("memory takes it");
        server.put("in/3.avro.gz", packer.finish().expect("memory takes it"));
        let avro = "format = \"avro\"\nschema = { n = \"int64\", s = \"text\" }\nrows_per_batch_max = 700";
        let numbers = |trial: &Trial| {
            let rows = if trial.path("out.jsonl").exists() { trial.rows("out.jsonl") } else { Vec::new() };
            let mut numbers: Vec<_> = rows.iter().map(|row| row["n"].as_i64().expect("a number")).collect();
            numbers.sort_unstable();
            numbers
        };
        for step in STEPS {
            let trial = copying(avro);
            killed(&trial, &server, step);
            run(&trial, &server);
            assert!(numbers(&trial) == (0..18_000).collect::<Vec<_>>(), "{step}");
        }
        let trial = copying(avro);
        for (round, part) in [1_500, 5_000, 8_000, 14_000].into_iter().enumerate() {
            let mut job = start(&trial, &["--unsupervised"], &server);
            job.wait_until("it commits", |_| numbers(&trial).len() >= part);
            if round % 2 == 1 {
                server.kill();
            }
            job.signal("KILL");
            job.wait();
            if round % 2 == 1 {
                server.start_again();
            }
        }
        run(&trial, &server);
        assert!(numbers(&trial) == (0..18_000).collect::<Vec<_>>(), "each once");

        // The rest of an object is not the rest of another one, nor is that replayed.
        server.delete("in/2.avro");
        server.delete("in/3.avro.gz");
        for step in ["commit.after:2", "plan.durable:1"] {
            server.put("in/1.avro", container(0, 6_000, 2_000));
            let trial = copying(avro);
            trial.change("batch = \"20ms\"", "batch = \"0s\"");
            trial.change("every = 3", "every = 1");
            killed(&trial, &server, step);
            server.put("in/1.avro", container(1, 6_001, 2_000));
            let ended = start(&trial, &["--until-idle"], &server).wait();
            assert_eq!(ended.code, Some(2), "{}", ended.stderr);
            assert!(ended.stderr.contains("the object was replaced"), "{}", ended.stderr);
        }
    }

    #[test]
    fn an_unreachable_server_is_waited_for_with_one_warning() {
        let mut server = WeedServer::start();
        server.kill();
        let trial = copying("");
        let mut job = start(&trial, &["--unsupervised"], &server);
        job.wait_for_stderr("it waits for up to 5m (`away_max`)");
        server.start_again();
        server.put("in/1.txt", lines(0..10));
        job.wait_until("the first object is read", |_| written(&trial).len() == 10);
        server.kill();
        let warnings = |job: &Process| job.stderr().matches("it waits for up to 5m").count();
        job.wait_until("it says that the server is away", |job| warnings(job) == 2);
        server.start_again();
        server.put("in/2.txt", lines(10..20));
        job.wait_until("it goes on", |_| written(&trial).len() == 20);
        let output = stop(job);
        assert_eq!(output.matches("it waits for up to 5m").count(), 2, "{output}");
        assert!(output.matches("can be read again, after ").count() == 2, "{output}");
        assert_eq!(written(&trial), expected(0..20));
    }
}
