//! The status of a job on several machines, requested on any of them: a process requests what it does not know from the others.

use millstream_tests::page::PageAddress;
use millstream_tests::{DEADLINE, Process, Trial, holds_within, hosts};
use serde_json::Value;
use std::fs;
use std::process::Command;

const JOB: &str = r#"
    name = "shared"
    batch = "20ms"
    workers = 1
    [sources.numbers]
    kind = "rate"
    rows_per_second = 200
    [stages.counts]
    from = "numbers"
    key = "value"
    aggregate = { n = "count(*)" }
    [sinks.out]
    from = "counts"
    kind = "queue"
    path = "out.jsonl"
"#;

/// A command on a machine: each has sockets of its own.
fn command(trial: &Trial, machine: usize, arguments: &[&str]) -> Command {
    let dir = trial.path(&format!("machine-{machine}"));
    fs::create_dir_all(&dir).unwrap();
    let mut command = trial.command(arguments);
    command.env("XDG_RUNTIME_DIR", &dir).env("TMPDIR", &dir);
    command
}

fn start(trial: &Trial, machine: usize, hosts: &str, more: &[&str]) -> Process {
    let number = machine.to_string();
    let arguments = ["run", "job.toml", "--process", &number, "--hosts", hosts];
    Process::start(&mut command(trial, machine, &[&arguments[..], more].concat()))
}

/// The status on a machine, as soon as it is so.
fn wait_for_status(trial: &Trial, machine: usize, what: &str, so: impl Fn(&Value) -> bool) -> Value {
    let mut last = String::new();
    let mut status = Value::Null;
    let came = holds_within(DEADLINE, || {
        let ended = Process::start(&mut command(trial, machine, &["status", "job.toml", "--json"])).wait();
        last = format!("{}{}", ended.stdout, ended.stderr);
        status = serde_json::from_str(&ended.stdout).unwrap_or_default();
        ended.code == Some(0) && so(&status)
    });
    assert!(came, "waited in vain for {what}: {last}");
    status
}

#[test]
fn every_machine_shows_the_complete_job_and_can_stop_it() {
    let trial = Trial::new(JOB);
    let hosts = hosts(3);
    let processes = [
        start(&trial, 0, &hosts, &["--no-ui"]),
        start(&trial, 1, &hosts, &["--ui", "127.0.0.1:0"]),
        start(&trial, 2, &hosts, &[]),
    ];
    let [first, mut second, third] = processes;
    for machine in 0..3 {
        let complete = |status: &Value| status["answered"] == 3 && status["batches_committed"].as_u64() > Some(0);
        let status = wait_for_status(&trial, machine, "all three to answer", complete);
        assert_eq!((&status["processes"], &status["workers"]), (&Value::from(3), &Value::from(3)));
        // Process 0 reads the source, and only it.
        assert!(status["sources"][0]["rows"].as_u64() > Some(0), "{status}");
        let text = Process::start(&mut command(&trial, machine, &["status", "job.toml"])).wait();
        assert!(text.stdout.contains("3 workers in 3 processes"), "{}", text.stdout);
    }
    // The page of a process that is not the first shows the same, and lines of the log of all.
    let page = PageAddress::of(&mut second);
    let came = holds_within(DEADLINE, || page.get_json("")["status"]["answered"] == 3);
    assert!(came, "{}", page.get_json(""));
    let view = page.get_json("");
    assert_eq!((view["state"].as_str(), view["pids"].as_array().map(Vec::len)), (Some("running"), Some(3)));
    assert!(view["batches"]["last_10_s"]["committed"].as_u64() > Some(0) || view["status"]["last_batch"].is_u64());
    assert!(!third.stderr().contains("page: "), "{}", third.stderr());
    // The page of all jobs of a machine knows it where process 0 is elsewhere.
    let mut ui = Process::start(&mut command(&trial, 2, &["ui"]));
    let all = PageAddress::of(&mut ui);
    assert!(
        holds_within(DEADLINE, || all.get("/api/v1/jobs").body.contains("\"shared\"")),
        "{:?}",
        all.get("/api/v1/jobs")
    );
    assert!(holds_within(DEADLINE, || all.get_json("")["status"]["answered"] == 3), "{}", all.get_json(""));
    ui.kill();
    let stopped = Process::start(&mut command(&trial, 2, &["stop", "job.toml"])).wait();
    assert_eq!((stopped.code, &*stopped.stdout), (Some(0), "job.toml: stopped\n"), "{}", stopped.stderr);
    for process in [first, second, third] {
        let ended = process.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(!ended.stderr.contains("is no longer queried"), "{}", ended.stderr);
    }
}

/// Other processes get only the status, and an upgrade still needs all processes on one machine.
#[test]
fn other_machines_can_only_request_the_status() {
    use std::io::{Read, Write};
    let trial = Trial::new(JOB);
    let hosts = hosts(2);
    let processes = [start(&trial, 0, &hosts, &["--no-ui"]), start(&trial, 1, &hosts, &[])];
    wait_for_status(&trial, 1, "both to answer", |status| status["answered"] == 2);
    let dir = trial.path("machine-1").join("millstream");
    let socket = fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
    let socket = socket.into_iter().find(|path| path.to_string_lossy().ends_with(".1.sock")).unwrap();
    let ask = |question: &str| {
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        writeln!(stream, "{question}").unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    };
    for question in [r#"{"ask":"stop"}"#, r#"{"ask":"restart","replay_from":1}"#, r#"{"ask":"upgrade","id":1}"#] {
        let output = ask(&format!(r#"{{"ask":"elsewhere","process":0,"question":{question}}}"#));
        assert!(output.contains("another process may only request the job status"), "{output}");
    }
    let itself =
        r#"{"ask":"elsewhere","process":0,"question":{"ask":"elsewhere","process":1,"question":{"ask":"status"}}}"#;
    assert!(ask(itself).contains("another process may only request the job status"));
    let nobody = ask(r#"{"ask":"elsewhere","process":7,"question":{"ask":"status"}}"#);
    assert!(nobody.contains("this process has no connection with a process 7"), "{nobody}");
    let stopped = Process::start(&mut command(&trial, 0, &["stop", "job.toml"])).wait();
    assert_eq!(stopped.code, Some(0), "{}", stopped.stderr);
    for process in processes {
        assert_eq!(process.wait().code, Some(0));
    }
}

#[test]
fn a_panic_in_a_response_to_another_process_ends_the_job_with_its_name() {
    let trial = Trial::new(JOB);
    let hosts = hosts(2);
    let mut first = start(&trial, 0, &hosts, &["--no-ui", "--quiet"]);
    let mut command = command(&trial, 1, &["run", "job.toml", "--process", "1", "--hosts", &hosts]);
    let mut second = Process::start(command.env("MILLSTREAM_TEST_FAULT", "panic@millstream-peer-answer:1"));
    // The status needs both processes.
    for process in [&mut first, &mut second] {
        process.wait_for_stderr("the job keeps no checkpoints");
    }
    let status = wait_for_status(&trial, 0, "the first to answer", |_| true);
    assert_eq!((&status["answered"], &status["processes"]), (&Value::from(1), &Value::from(2)));
    let ended = second.wait();
    let output = "error: the response to another process panicked: a test wants the thread `millstream-peer-answer`";
    assert!(ended.code == Some(1) && ended.stderr.contains(output), "{}", ended.stderr);
    assert_eq!(first.wait().code, Some(1));
}
