//! A panic in each thread and task of the program: the job ends with its message, or the thread's work is resumed. Nothing waits
//! for it indefinitely.

use millstream_tests::{Ended, Postgres, Process, S3Server, Trial, free_port, passing, plugin, wait_until};
use std::fs;
use std::process::Command;

const CHECKPOINT: &str = "[checkpoint]\ndir = \"checkpoint\"\nevery = 3";
const RATE: &str = "kind = \"rate\"\nrows_per_second = 2000\nrows_max = 500";

/// A job that passes the rows of a source, with these keys of the job before.
fn job(keys: &str, source: &str) -> Trial {
    passing(&format!("batch = \"20ms\"\n{keys}"), source, "")
}

/// Lets the first thread of this name panic. To name all steps that led there takes longer than some of these jobs last.
fn panics<'a>(command: &'a mut Command, thread: &str) -> &'a mut Command {
    command.env("MILLSTREAM_TEST_FAULT", format!("panic@{thread}:1")).env("RUST_BACKTRACE", "0")
}

fn end_with_a_panic(trial: &Trial, thread: &str, arguments: &[&str]) -> Ended {
    let arguments = [&["run", "job.toml"], arguments].concat();
    Process::start(panics(&mut trial.command(&arguments), thread)).wait()
}

/// The job ends with 1, and the error shows the panic.
#[track_caller]
fn check_fails(trial: &Trial, thread: &str, output: &str, arguments: &[&str]) {
    let ended = end_with_a_panic(trial, thread, arguments);
    assert_eq!(ended.code, Some(1), "{thread}: {}", ended.stderr);
    let output = format!("error: {output} panicked: a test wants the thread `{thread}` to panic");
    assert!(ended.stderr.contains(&output), "{thread}: {}", ended.stderr);
}

/// All rows of [`RATE`], each once.
#[track_caller]
fn check_complete(trial: &Trial, thread: &str) {
    let rows: Vec<u64> = trial.rows("out.jsonl").iter().map(|row| row["value"].as_u64().unwrap()).collect();
    assert_eq!(rows, (0..500).collect::<Vec<_>>(), "{thread}");
}

/// The job completes anyway, and nothing is lost or duplicated.
#[track_caller]
fn check_continues(trial: &Trial, thread: &str, output: &str, arguments: &[&str]) {
    let ended = end_with_a_panic(trial, thread, arguments);
    assert_eq!(ended.code, Some(0), "{thread}: {}", ended.stderr);
    assert!(ended.stderr.contains(output), "{thread}: {}", ended.stderr);
    check_complete(trial, thread);
}

#[test]
fn a_panic_in_any_thread_ends_the_job_with_its_name() {
    let source = "kind = \"rate\"\nrows_per_second = 100";
    for (thread, output) in [
        ("receiver", "the receiver of source `in`"),
        ("worker", "worker "),
        ("millstream-checkpoint", "the thread that writes checkpoints"),
        ("millstream-plan", "the thread that writes plans"),
        ("millstream-sinks", "the thread that commits"),
        ("millstream-control", "the thread that handles status requests"),
        ("millstream-signals", "the thread that waits for signals"),
        ("millstream-stop", "the thread that stops the job"),
        ("millstream-end", "the thread that stops the job"),
    ] {
        let ended = end_with_a_panic(&job(CHECKPOINT, source), thread, &["--unsupervised"]);
        assert_eq!(ended.code, Some(1), "{thread}: {}", ended.stderr);
        let error = ended.stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        assert!(error.starts_with(&format!("error: {output}")), "{thread}: {}", ended.stderr);
        assert!(error.contains(&format!(" panicked: a test wants the thread `{thread}` to panic")), "{}", ended.stderr);
    }
}

#[test]
fn a_panic_in_a_receiver_of_any_kind_ends_the_job() {
    let port = free_port();
    for (thread, source) in [
        ("receiver", "kind = \"file\"\npath = \"in.txt\"".to_owned()),
        ("receiver", "kind = \"file\"\npath = \"in.txt\"\nfollow = true".to_owned()),
        ("receiver", "kind = \"directory\"\npath = \"in\"".to_owned()),
        ("receiver", format!("kind = \"socket\"\naddress = \"127.0.0.1:{port}\"")),
        ("socket-server", format!("kind = \"socket\"\naddress = [\"127.0.0.1:{port}\"]")),
        ("receiver", format!("kind = \"http\"\nlisten = \"127.0.0.1:{port}\"")),
        ("receiver", format!("kind = \"lumberjack\"\nlisten = \"127.0.0.1:{port}\"")),
        ("receiver", "kind = \"queue\"\npath = \"in.jsonl\"\nschema = { v = \"int64\" }".to_owned()),
    ] {
        let trial = job("", &source);
        trial.write("in.txt", "one\n");
        trial.write("in.jsonl", "[[1]]\n");
        fs::create_dir(trial.path("in")).unwrap();
        check_fails(&trial, thread, "the receiver of source `in`", &[]);
    }
    let trial = job("", "kind = \"directory\"\npath = \"in\"");
    fs::create_dir(trial.path("in")).unwrap();
    check_fails(&trial, "folder-reader", "the reader of a directory", &[]);
}

#[test]
fn a_panic_in_a_server_ends_the_job() {
    let port = free_port();
    let trial = job("", &format!("kind = \"http\"\nlisten = \"127.0.0.1:{port}\""));
    let mut command = trial.command(&["run", "job.toml"]);
    let mut listening = Process::start(panics(&mut command, "http-connection"));
    listening.wait_for_stderr("listening on http");
    assert!(millstream_tests::HttpClient::connect(port).unwrap().post(&[], "a").is_err());
    let ended = listening.wait();
    assert!(ended.code == Some(1) && ended.stderr.contains("a connection of source `in` panicked"), "{}", ended.stderr);
    let trial = job("", &format!("kind = \"lumberjack\"\nlisten = \"127.0.0.1:{port}\""));
    let mut command = trial.command(&["run", "job.toml"]);
    let mut listening = Process::start(panics(&mut command, "lumberjack-connection"));
    listening.wait_for_stderr("listening for Beats");
    let connection = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let ended = listening.wait();
    drop(connection);
    assert!(ended.code == Some(1) && ended.stderr.contains("a connection of source `in` panicked"), "{}", ended.stderr);
    let sink = format!("[sinks.live]\nfrom = \"in\"\nkind = \"websocket\"\nlisten = \"127.0.0.1:{}\"\n", free_port());
    let trial = passing("batch = \"20ms\"", "kind = \"rate\"\nrows_per_second = 100", &sink);
    check_fails(&trial, "websocket", "the server of sink `live`", &[]);
}

#[test]
fn a_panic_in_the_reader_of_a_table_ends_the_job() {
    let stage = "[stages.named]\nfrom = \"in\"\nenrich = { file = \"names.csv\", on = \"value\", poll = \"10ms\", \
                 schema = { value = \"int64\", name = \"text\" } }";
    let trial = job("", "kind = \"rate\"\nrows_per_second = 100");
    trial.write("job.toml", trial.text("job.toml").replace("[sinks.out]", &format!("{stage}\n[sinks.out]")));
    trial.write("names.csv", "value,name\n1,one\n");
    check_fails(&trial, "table-reader", "the reader of a table", &[]);
}

/// A job with a plugin that reads a file and never ends.
fn words() -> Trial {
    let stage = format!("[stages.words]\nfrom = \"in\"\nplugin = '{}'", plugin("split-words").display());
    let trial = job("", "kind = \"file\"\npath = \"in.txt\"\nfollow = true");
    let text = trial.text("job.toml").replace("[sinks.out]", &format!("{stage}\n[sinks.out]"));
    trial.write("job.toml", text.replace("from = \"in\"\nkind", "from = \"words\"\nkind"));
    trial.write("in.txt", "one two\n");
    trial
}

#[test]
fn a_panic_in_the_clock_of_plugins_ends_the_job() {
    // Rows arrive all the time: a call after the panic finds the clock broken.
    let trial = words();
    let text = trial
        .text("job.toml")
        .replace("kind = \"file\"\npath = \"in.txt\"\nfollow = true", "kind = \"rate\"\nrows_per_second = 100")
        .replace("[stages.words]\nfrom = \"in\"", "[stages.text]\nfrom = \"in\"\nselect = \"cast(value as varchar) as value\"\n[stages.words]\nfrom = \"text\"");
    trial.write("job.toml", text);
    let ended = end_with_a_panic(&trial, "plugin-clock", &[]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("the thread for the time limits of plugins panicked: a test wants"),
        "{}",
        ended.stderr
    );
}

/// The job does not need it.
#[test]
fn a_panic_in_the_thread_that_watches_components_is_reported() {
    let trial = words();
    let mut job = Process::start(panics(&mut trial.command(&["run", "job.toml", "--watch"]), "millstream-watch"));
    job.wait_for_stderr("--watch has ended: the thread that watches components panicked: a test wants");
    wait_until("the job works", || trial.rows("out.jsonl").len() == 2);
    job.signal("TERM");
    assert_eq!(job.wait().code, Some(0));
}

#[test]
fn a_supervised_job_continues_after_a_panic() {
    for thread in
        ["receiver", "worker", "millstream-checkpoint", "millstream-plan", "millstream-beat", "millstream-control"]
    {
        check_continues(&job(CHECKPOINT, RATE), thread, "panicked: a test wants", &[]);
    }
}

/// Threads between a supervisor and a process that has just started: the process ends, and the supervisor with it.
#[test]
fn a_panic_between_supervisor_and_process_ends_both() {
    for (thread, output) in [
        ("millstream-child", "the thread that listens to a worker process panicked"),
        ("millstream-lifeline", "the thread that waits for the supervisor's end panicked"),
    ] {
        let trial = job(CHECKPOINT, RATE);
        let ended = end_with_a_panic(&trial, thread, &[]);
        assert!(ended.stderr.contains(output), "{thread}: {}", ended.stderr);
        // A process that was already busy has been restarted.
        if ended.code == Some(0) {
            check_complete(&trial, thread);
        } else {
            assert_eq!(ended.code, Some(1), "{thread}: {}", ended.stderr);
        }
    }
}

/// Whichever process it is in: both panic, and the job continues with two new ones.
#[test]
fn a_panic_between_processes_is_reported_and_the_job_continues() {
    for thread in ["millstream-peer", "millstream-alive", "millstream-questions", "connection", "worker"] {
        let trial = job(CHECKPOINT, RATE);
        check_continues(&trial, thread, "panicked", &["--processes", "2"]);
    }
    // Nothing has begun that could continue.
    let output = "the thread that accepts connections of the job's processes";
    check_fails(&job(CHECKPOINT, RATE), "millstream-door", output, &["--processes", "2"]);
}

/// Without checkpoints nothing restarts it: the other process loses this one, and ends.
#[test]
fn a_panic_between_processes_ends_an_unsupervised_job() {
    for thread in
        ["millstream-door", "millstream-peer", "millstream-alive", "millstream-questions", "connection", "worker"]
    {
        let trial = job("", "kind = \"rate\"\nrows_per_second = 100");
        let hosts = format!("127.0.0.1:{},127.0.0.1:{}", free_port(), free_port());
        let command = |number: &str| {
            let process = ["--processes", "2", "--process", number, "--hosts", &hosts];
            trial.command(&[&["run", "job.toml"][..], &process].concat())
        };
        let other = Process::start(&mut command("1"));
        let first = Process::start(panics(&mut command("0"), thread)).wait();
        assert_eq!(first.code, Some(1), "{thread}: {}", first.stderr);
        assert!(first.stderr.contains("panicked"), "{thread}: {}", first.stderr);
        if thread == "millstream-door" {
            // It waits for the first, which the user may restart.
            other.kill();
        } else {
            let other = other.wait();
            assert_eq!(other.code, Some(1), "{thread}: {}", other.stderr);
        }
    }
}

#[test]
fn a_panic_in_a_request_to_a_bucket_ends_the_process_and_the_job_continues() {
    let server = S3Server::start();
    let mut output = 0;
    // The first requests belong to the start, before there is anything to resume from. Some only delete obsolete objects. The job
    // lasts some seconds, as on a busy machine one of a quarter of that ended before it had sent this many requests.
    let slow = RATE.replace("2000", "200");
    for request in 28..48 {
        // At least four, and as many as it takes to hit one that is needed.
        if request >= 32 && output > 0 {
            break;
        }
        let trial = job(&format!("[checkpoint]\ndir = \"s3://bucket/job-{request}\"\nevery = 3"), &slow);
        let mut command = trial.command(&["run", "job.toml"]);
        command.envs(server.settings());
        let ended = Process::start(command.env("MILLSTREAM_TEST_FAULT", format!("panic@s3-request:{request}"))).wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        output += usize::from(ended.stderr.contains("the request panicked"));
        check_complete(&trial, "s3-request");
    }
    assert!(output > 0, "no request of twenty was needed");
}

#[test]
fn a_panic_in_a_connection_to_postgres_is_a_lost_connection() {
    let server = Postgres::start();
    for round in 1..4 {
        let trial = job(CHECKPOINT, RATE);
        let (url, table) = (server.url(), format!("made{round}"));
        let sink = format!("[sinks.table]\nfrom = \"in\"\nkind = \"postgres\"\nurl = \"{url}\"\ntable = \"{table}\"");
        trial.write("job.toml", trial.text("job.toml") + &sink);
        let mut command = trial.command(&["run", "job.toml"]);
        let fault = format!("panic@postgres-connection:{round}");
        let ended = Process::start(command.env("PW", Postgres::PASSWORD).env("MILLSTREAM_TEST_FAULT", fault)).wait();
        if ended.code != Some(0) {
            // The connection with which a job begins.
            assert!(
                ended.stderr.contains("at 127.0.0.1") && ended.stderr.contains("connection closed"),
                "{}",
                ended.stderr
            );
            continue;
        }
        check_complete(&trial, "postgres-connection");
        let counted = server.sql(&format!("select count(*) || ' ' || count(distinct value) from {table}"));
        assert_eq!(counted.trim(), "500 500", "{}", ended.stderr);
    }
}
