//! The examples of `docs/examples` that read sockets and directories, with the real thing. Those with virtual time are cases of
//! `e2e.rs`.

mod servers;

use millstream_tests::{Process, Trial, free_port, millstream, root, wait_until};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// A Python with pyarrow may have to be installed first.
const INSTALLS_WITHIN: Duration = Duration::from_secs(600);

fn example(name: &str) -> PathBuf {
    root().join("docs/examples").join(name)
}

/// `millstream run` of an example, with these values instead of its own.
fn run(job: &str, values: &[(&str, String)], arguments: &[&str]) -> Process {
    let mut command = Command::new(millstream());
    command.arg("run").arg(example(job)).args(arguments);
    for (key, value) in values {
        command.args(["--set", &format!("{key}={value}")]);
    }
    Process::start(&mut command)
}

/// A trial whose directory `in` has a copy of a directory of an example.
fn copy_of(name: &str) -> Trial {
    let trial = Trial::new("");
    for entry in fs::read_dir(example(name)).unwrap() {
        let path = entry.unwrap().path();
        trial.write(&format!("in/{}", path.file_name().unwrap().display()), fs::read(&path).unwrap());
    }
    trial
}

/// The rows of all tables with this header that a `print` sink has shown, by their first cell: the sum of the last.
fn shown_table(process: &Process, header: &[&str]) -> BTreeMap<String, i64> {
    let mut sums = BTreeMap::new();
    let mut inside = false;
    for line in process.stdout().lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if !line.starts_with('|') {
            inside = inside && line.starts_with('+');
        } else if cells == header {
            inside = true;
        } else if inside {
            *sums.entry(cells[0].to_owned()).or_default() += cells[cells.len() - 1].parse::<i64>().unwrap();
        }
    }
    sums
}

fn counts<const N: usize>(of: [(&str, i64); N]) -> BTreeMap<String, i64> {
    of.map(|(word, n)| (word.to_owned(), n)).into()
}

#[test]
fn word_count_from_a_socket() {
    let port = free_port();
    let mut nc = Process::nc(port);
    let mut job = run("word-count-socket/job.toml", &[("sources.lines.address", format!("127.0.0.1:{port}"))], &[]);
    job.wait_for_stderr("source `lines`: connected to");
    nc.say("to be or not to be\n");
    let line = counts([("to", 2), ("be", 2), ("or", 1), ("not", 1)]);
    job.wait_until("the line is counted", |job| shown_table(job, &["word", "n"]) == line);
    nc.say("that is\n");
    let more = counts([("to", 2), ("be", 2), ("or", 1), ("not", 1), ("that", 1), ("is", 1)]);
    job.wait_until("the next one is", |job| shown_table(job, &["word", "n"]) == more);
    job.signal("INT");
    assert_eq!(job.wait().code, Some(0));
}

#[test]
fn word_count_from_a_dir() {
    let dir = copy_of("word-count-folder/in");
    let values = [("sources.lines.path", dir.path("in").display().to_string())];
    let mut job = run("word-count-folder/job.toml", &values, &[]);
    let strings = "the 6 just 3 on 3 unjust 2 rain 1 it 1 raineth 1 and 1 also 1 fella 1 but 1 chiefly 1 because 1 hath 1 \
                 umbrella 1";
    let strings: Vec<&str> = strings.split(' ').collect();
    let mut expected: BTreeMap<String, i64> =
        strings.chunks(2).map(|pair| (pair[0].to_owned(), pair[1].parse().unwrap())).collect();
    job.wait_until("both files are counted", |job| shown_table(job, &["word", "n"]) == expected);
    dir.move_in("in/more.txt", "More rain\n");
    expected.insert("more".into(), 1);
    expected.insert("rain".into(), 2);
    job.wait_until("the file that came is", |job| shown_table(job, &["word", "n"]) == expected);
}

#[test]
fn fraud_alerts_over_tcp() {
    let port = free_port();
    let mut nc = Process::nc(port);
    let values = [("sources.transactions.address", format!("127.0.0.1:{port}")), ("batch", "200ms".into())];
    let mut job = run("fraud/live.toml", &values, &[]);
    job.wait_for_stderr("source `transactions`: connected to");
    let transaction = |name: &str, amount: f64, flag: i64| {
        json!({ "name": name, "surname": "Lee", "amount": amount, "delta_t": 1.5, "flag": flag }).to_string() + "\n"
    };
    // One write, which arrives in one piece.
    nc.say(
        &[("Bob", 9.5, 1), ("Ann", 20.0, 1), ("Bob", 1.0, 0), ("Ann", 30.5, 1)]
            .map(|(n, a, f)| transaction(n, a, f))
            .concat(),
    );
    job.wait_until("the alert is shown", |job| {
        job.stdout().contains("| Ann  | Lee     | 2            | 50.5   | 1.5      |")
    });
    nc.say("{\"name\":\"Eve\",\"flag\":\"maybe\"}\n");
    job.wait_until("what is no transaction is shown", |job| {
        job.stdout().contains("column `flag`: `maybe` is not an int64")
    });
    assert!(!job.stdout().contains("| Bob "), "{}", job.stdout());
    job.signal("INT");
    assert_eq!(job.wait().code, Some(0));
}

/// Both jobs of an example have the same stages: what the one shows immediately is what the other does.
#[test]
fn the_live_job_has_the_stages_of_the_other() {
    let stages = |file: &str| {
        let job: toml::Table = toml::from_str(&fs::read_to_string(example(file)).unwrap()).unwrap();
        job["stages"].clone()
    };
    assert_eq!(stages("fraud/job.toml"), stages("fraud/live.toml"));
}

#[test]
fn orders_become_parquet() {
    let (shops, web, out) = (copy_of("etl/in/csv"), copy_of("etl/in/json"), Trial::new(""));
    let path = |dir: &Trial, name: &str| dir.path(name).display().to_string();
    let values = [
        ("sources.shops.path", path(&shops, "in")),
        ("sources.web.path", path(&web, "in")),
        ("sinks.lake.path", path(&out, "orders")),
        ("sinks.empty.path", path(&out, "empty")),
        ("sinks.unreadable.path", path(&out, "unreadable")),
    ];
    let ended = run("etl/job.toml", &values, &["--until-idle"]).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);

    let read = "import json, sys, pyarrow.parquet as parquet\n\
                rows = [row for path in sys.argv[1:] for row in parquet.read_table(path).to_pylist()]\n\
                print(json.dumps(sorted(rows, key=lambda row: row['id']), default=lambda time: time.isoformat()))";
    let python = Process::start(&mut Command::new(root().join("scripts/python.sh"))).wait_within(INSTALLS_WITHIN);
    let mut python = Command::new(python.stdout.trim());
    let read = Process::start(python.args(["-c", read]).args(parts(&out, "orders"))).wait();
    let rows: serde_json::Value = serde_json::from_str(&read.stdout).unwrap_or_else(|_| panic!("{}", read.stderr));
    let order = |id: i64, country: &str, total: f64, at: &str| json!({ "id": id, "country": country, "total": total, "at": format!("2026-01-05T{at}+00:00") });
    let expected =
        [order(1, "NO", 10.0, "09:30:00"), order(4, "DE", 1.5, "09:33:00"), order(101, "FR", 24.0, "09:30:30")];
    assert_eq!(rows, json!(expected));

    let lines = |name: &str| {
        let text = parts(&out, name).iter().map(|path| fs::read_to_string(path).unwrap()).collect::<String>();
        let mut lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines.sort_by_key(|line| (line["id"].as_i64(), line["value"].as_str().map(str::to_owned)));
        lines
    };
    let empty = |id: i64, country: &str| json!({ "id": id, "country": country, "reason": "nothing was ordered" });
    assert_eq!(lines("empty"), [empty(2, "DE"), empty(102, "no")]);
    let unreadable = lines("unreadable");
    assert_eq!(unreadable.len(), 2, "{unreadable:?}");
    assert!(unreadable[0]["value"].as_str().unwrap().starts_with("three,DE"), "{unreadable:?}");
    assert_eq!(unreadable[0]["reason"], "column `id`: `three` is not an int64");
    assert_eq!(unreadable[1]["value"], "{\"id\":103,\"customer\":");
}

/// The parts that a `files` sink has written.
fn parts(dir: &Trial, name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.path(name)).unwrap().map(|entry| entry.unwrap().path());
    let is_part = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("part-");
    let mut parts: Vec<_> = entries.filter(is_part).collect();
    parts.sort();
    parts
}

#[test]
fn hashtags_of_a_stream_that_requires_a_token() {
    let port = free_port();
    let serve = |token: &str| {
        let mut command = Command::new("python3");
        command.arg(example("hashtags/serve.py")).args([port.to_string(), "1".into()]);
        Process::start(command.env("POSTS_TOKEN", token))
    };
    let text = fs::read_to_string(example("hashtags/live.toml")).unwrap();
    let plugin = root().join("plugins/sentiment").display().to_string();
    let text = text.replace("../../../plugins/sentiment", &plugin).replace("8642", &port.to_string());
    let trial = Trial::new(&(text + "\n[sinks.out]\nfrom = \"trending\"\nkind = \"queue\"\npath = \"out.jsonl\"\n"));
    let start = |token: &str| Process::start(trial.command(&["run", "job.toml"]).env("POSTS_TOKEN", token));
    let _server = serve("right-token");
    wait_until("it serves", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let ended = start("wrong-token").wait();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("401 Unauthorized") && !ended.stderr.contains("wrong-token"), "{}", ended.stderr);
    // Windows close with the batches after them, so posts have to arrive one after the other.
    let mut job = start("right-token");
    // Like the batches of the example with virtual time: each ends with a window.
    let expected = fs::read_to_string(example("hashtags/expected.jsonl")).unwrap();
    let expected: Vec<serde_json::Value> = expected
        .lines()
        .flat_map(|line| {
            let batch: serde_json::Value = serde_json::from_str(line).unwrap();
            batch["rows"].as_array().unwrap().clone()
        })
        .collect();
    let found = || -> Vec<serde_json::Value> {
        let row = |row: serde_json::Value| json!({ "tag": row["tag"], "posts": row["posts"], "mood": row["mood"] });
        trial.rows("out.jsonl").into_iter().map(row).collect()
    };
    job.wait_until("the windows are there", |_| found().len() >= expected.len());
    assert_eq!(found()[..expected.len()], expected);
    job.stop();
}
