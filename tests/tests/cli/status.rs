//! `millstream status`: a running job reports its status to its owner, and is not disturbed by clients.

use millstream_tests::{DEADLINE, Ended, Process, Trial, free_port, holds_within, plugin, wait_until};
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// The maximum time of a status, also with clients that send nothing.
const SOON: Duration = Duration::from_secs(60);

/// A job that passes lines on: with `config` for the plugin that does.
fn job(port: u16, config: &str, more: &str) -> Trial {
    Trial::new(&format!(
        r#"
        name = "lines"
        batch = "20ms"
        workers = 2
        [sources.lines]
        kind = "socket"
        address = "127.0.0.1:{port}"
        [stages.passed]
        from = "lines"
        plugin = "{}"
        config = {{ {config} }}
        [sinks.out]
        from = "passed"
        kind = "queue"
        path = "out.jsonl"
        {more}
        "#,
        plugin("misbehave").display()
    ))
}

/// A command of the program whose sockets are in the trial's directory, separate from other jobs.
fn command(trial: &Trial, arguments: &[&str]) -> Command {
    let mut command = trial.command(arguments);
    command.env("XDG_RUNTIME_DIR", trial.dir());
    command
}

fn start(trial: &Trial, arguments: &[&str]) -> Process {
    Process::start(&mut command(trial, &[&["run", "job.toml"], arguments].concat()))
}

fn status(trial: &Trial, arguments: &[&str]) -> Ended {
    Process::start(&mut command(trial, &[&["status"], arguments].concat())).wait()
}

/// The status as JSON; `None`: the job does not run.
fn job_status(trial: &Trial) -> Option<Value> {
    let ended = status(trial, &["job.toml", "--json"]);
    match ended.code {
        Some(0) => Some(serde_json::from_str(&ended.stdout).expect("one JSON object")),
        Some(1) => None,
        _ => panic!("{ended:?}"),
    }
}

/// Waits until the status is as it should be, and returns it.
fn wait_for_status(trial: &Trial, what: &str, so: impl Fn(&Value) -> bool) -> Value {
    let mut last = None;
    let came = holds_within(DEADLINE, || {
        last = job_status(trial);
        last.as_ref().is_some_and(&so)
    });
    assert!(came, "waited in vain for {what}: {last:?}");
    last.unwrap()
}

/// A source, stage or sink of a status.
fn part<'a>(status: &'a Value, kind: &str, name: &str) -> &'a Value {
    status[kind].as_array().unwrap().iter().find(|part| part["name"] == name).unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn sockets(trial: &Trial) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(trial.path("millstream")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn lines(count: usize) -> String {
    (0..count).map(|line| format!("line {line}\n")).collect()
}

fn stop_ok(job: Process) -> Ended {
    job.signal("TERM");
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended
}

#[test]
fn status_shows_rows_batches_and_plugin_cost() {
    let port = free_port();
    let mut nc = Process::nc(port);
    let trial = job(port, "how = \"count\"", "");
    let job = start(&trial, &[]);
    nc.say(&lines(1000));
    let status = wait_for_status(&trial, "all rows in the sink", |status| part(status, "sinks", "out")["rows"] == 1000);
    let output = &status["job"];
    assert_eq!((output.as_str(), &status["processes"], &status["answered"]), (Some("lines"), &1.into(), &1.into()));
    assert_eq!(status["workers"], 2);
    let busy = status["busy"].as_array().unwrap();
    assert_eq!(busy.iter().map(|busy| number(&busy["worker"])).collect::<Vec<_>>(), [0, 1], "{status}");
    assert!(busy.iter().all(|busy| number(&busy["percent"]) <= 100), "{status}");
    assert_eq!(status["file"], trial.path("job.toml").canonicalize().unwrap().to_str().unwrap());
    assert!(number(&status["now_us"]) > number(&status["since_us"]));
    let (begun, committed) = (number(&status["batches_begun"]), number(&status["batches_committed"]));
    assert!(begun >= committed && committed > 0, "{status}");
    assert_eq!(number(&status["last_batch"]), committed, "the first batch is 1");
    assert!(number(&status["last_batch_time_us"]) <= number(&status["now_us"]), "{status}");

    assert_eq!(part(&status, "sources", "lines")["rows"], 1000);
    let passed = part(&status, "stages", "passed");
    assert_eq!((&passed["rows"], &passed["rejected"], &passed["late"]), (&1000.into(), &0.into(), &0.into()));
    assert_eq!(passed["counters"]["rows_seen"], 1000);
    let [costs] = passed["plugins"].as_array().unwrap().as_slice() else { panic!("{passed}") };
    assert_eq!((costs["name"].as_str(), costs["version"].as_str()), (Some("misbehave"), Some("0.1.0")));
    assert!(costs["digest"].as_str().unwrap().starts_with("sha256:"), "{costs}");
    assert_eq!((&costs["rows_in"], &costs["rows_out"]), (&1000.into(), &1000.into()), "what goes in comes out");
    assert_eq!(costs["bytes_in"], costs["bytes_out"]);
    let text_bytes = lines(1000).len() - 1000;
    assert!(number(&costs["bytes_in"]) > (text_bytes + 4 * 1000) as u64, "values and offsets: {costs}");
    assert!(number(&costs["calls"]) > 0 && costs["calls"] == costs["instances"], "an instance a call: {costs}");
    for time in ["cpu_ns", "guest_ns", "host_ns"] {
        assert!(number(&costs[time]) > 0, "{time}: {costs}");
    }
    assert!(number(&costs["memory_bytes_max"]) >= 64 << 10, "{costs}");
    assert_eq!((&costs["traps"], &costs["log_lines_dropped"]), (&serde_json::json!({}), &0.into()));

    // Also as text, and at the end.
    let message = self::status(&trial, &["job.toml"]).stdout;
    for expected in [
        "job      lines\n         running for ",
        "2 workers in 1 process\n",
        "\n    plugin  misbehave 0.1.0, sha256:",
        "\n    in      1,000 rows, ",
        "\n    counted rows_seen 1,000\n",
    ] {
        assert!(message.contains(expected), "{expected:?}\n{message}");
    }
    assert!(message.lines().all(|line| line.chars().count() <= 80), "{message}");
    let ended = stop_ok(job);
    assert!(ended.stderr.contains(" `passed` called misbehave 0.1.0 "), "{}", ended.stderr);
}

#[test]
fn rejected_rows_and_dropped_lines_are_counted() {
    let port = free_port();
    let mut nc = Process::nc(port);
    let more = format!(
        "[stages.refused]\nfrom = \"lines\"\nplugin = \"{0}\"\nconfig = {{ how = \"reject\" }}\n\
         [stages.loud]\nfrom = \"lines\"\nplugin = \"{0}\"\nconfig = {{ how = \"log\" }}\n",
        plugin("misbehave").display()
    );
    let trial = job(port, "", &more);
    let job = start(&trial, &[]);
    nc.say(&lines(10));
    let status =
        wait_for_status(&trial, "rejected rows", |status| part(status, "stages", "refused")["unread_rejected"] == 10);
    let refused = part(&status, "stages", "refused");
    assert_eq!((&refused["rejected"], &refused["plugins"][0]["traps"]), (&10.into(), &serde_json::json!({})));
    wait_for_status(&trial, "dropped lines", |status| {
        number(&part(status, "stages", "loud")["plugins"][0]["log_lines_dropped"]) > 0
    });
    let ended = stop_ok(job);
    assert!(ended.stderr.contains("; 10 rows rejected\n"), "{}", ended.stderr);
}

#[test]
fn the_end_of_a_run_reports_late_rows() {
    let trial = Trial::new(
        r#"
        clock = "manual"
        [sources.events]
        kind = "queue"
        path = "input.jsonl"
        schema = { ts = "timestamp" }
        [stages.counted]
        from = "events"
        window = { size = "10s", time = "ts", lateness = "2s" }
        aggregate = { n = "count(*)" }
        [sinks.out]
        from = "counted"
        kind = "queue"
        path = "out.jsonl"
        "#,
    );
    let batches = ["[[\"1970-01-01T00:00:14Z\"]]", "[[\"1970-01-01T00:00:08Z\"]]"];
    trial.write("input.jsonl", batches.join("\n") + "\n");
    let output = trial.run_ok(&[]).stderr;
    assert!(output.contains(" WARN `counted` had 1 late row: older than the watermark allows\n"), "{output}");
}

#[test]
fn the_processes_of_a_job_add_up() {
    let ports = [free_port(), free_port(), free_port(), free_port()];
    let mut ncs = [Process::nc(ports[0]), Process::nc(ports[1])];
    let more = format!(
        r#"
        [checkpoint]
        dir = "checkpoint"
        [sources.others]
        kind = "socket"
        address = "127.0.0.1:{}"
        [stages.also]
        from = "others"
        plugin = "{}"
        [sinks.also-out]
        from = "also"
        kind = "queue"
        path = "also.jsonl"
        "#,
        ports[1],
        plugin("misbehave").display()
    );
    let trial = job(ports[0], "", &more);
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", ports[2], ports[3]);
    let job = start(&trial, &["--processes", "2", "--hosts", &hosts]);
    ncs[0].say(&lines(300));
    ncs[1].say(&lines(200));
    let status = wait_for_status(&trial, "the rows of both", |status| {
        part(status, "sinks", "out")["rows"] == 300 && part(status, "sinks", "also-out")["rows"] == 200
    });
    assert_eq!((&status["processes"], &status["answered"], &status["workers"]), (&2.into(), &2.into(), &4.into()));
    for (source, stage, rows) in [("lines", "passed", 300), ("others", "also", 200)] {
        assert_eq!(part(&status, "sources", source)["rows"], rows);
        assert_eq!(part(&status, "stages", stage)["rows"], rows);
        assert_eq!(part(&status, "stages", stage)["plugins"][0]["rows_in"], rows);
    }
    let listening = sockets(&trial).into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "sock"));
    assert_eq!(listening.count(), 3, "theirs, and that of their supervisor");
    stop_ok(job);
    // Nor is a mark left of the job that ran.
    assert_eq!(sockets(&trial), Vec::<PathBuf>::new());
}

#[test]
fn a_job_is_found_by_any_path_of_its_file_until_it_ends() {
    let trial = job(free_port(), "", "");
    let not_running = "error: the job job.toml is not running (no process of yours responds); start it with `millstream run \
                       job.toml`\n";
    let before = status(&trial, &["job.toml"]);
    assert_eq!((before.code, before.stdout.as_str(), before.stderr.as_str()), (Some(1), "", not_running));
    let job = start(&trial, &[]);
    wait_for_status(&trial, "the job", |_| true);
    std::fs::create_dir(trial.path("folder")).unwrap();
    symlink("../job.toml", trial.path("folder/link.toml")).unwrap();
    let complete = trial.path("job.toml").display().to_string();
    for path in ["./folder/../job.toml", "folder/link.toml", &complete] {
        assert_eq!(status(&trial, &[path]).code, Some(0), "{path}");
    }
    trial.write("other.toml", trial.text("job.toml"));
    assert_eq!(status(&trial, &["other.toml"]).code, Some(1), "another file is another job");
    let none = status(&trial, &["none.toml"]);
    assert_eq!(none.code, Some(2), "{}", none.stderr);
    stop_ok(job);
    assert_eq!(sockets(&trial), Vec::<PathBuf>::new());
    let after = status(&trial, &["job.toml", "--json"]);
    assert_eq!((after.code, after.stdout.as_str(), after.stderr.as_str()), (Some(1), "", not_running));
}

#[test]
fn the_socket_of_a_job_that_was_killed_is_replaced() {
    let trial = job(free_port(), "", "");
    let killed = start(&trial, &[]);
    wait_for_status(&trial, "the job", |_| true);
    killed.kill();
    let left = sockets(&trial);
    assert_eq!(left.len(), 1);
    assert_eq!(status(&trial, &["job.toml"]).code, Some(1));
    let job = start(&trial, &[]);
    wait_for_status(&trial, "the job again", |_| true);
    assert_eq!(sockets(&trial), left);
    stop_ok(job);
}

#[test]
fn the_first_of_two_runs_of_a_job_responds() {
    let trial = job(free_port(), "", "");
    let first = start(&trial, &[]);
    let since = wait_for_status(&trial, "the first", |_| true)["since_us"].clone();
    let mut second = start(&trial, &["--set", "sinks.out.path=second.jsonl"]);
    second.wait_for_stderr("`millstream status` does not find this run: another run of the job uses it");
    let message = second.stderr();
    assert_eq!(job_status(&trial).unwrap()["since_us"], since, "{message}");
    stop_ok(second);
    assert_eq!(job_status(&trial).unwrap()["since_us"], since, "the second run took the first one's socket along");
    stop_ok(first);
}

#[test]
fn other_users_cannot_connect() {
    let trial = job(free_port(), "", "");
    let job = start(&trial, &[]);
    wait_for_status(&trial, "the job", |_| true);
    let [socket] = sockets(&trial).try_into().unwrap();
    let mode = |path: &PathBuf| std::fs::symlink_metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode(&trial.path("millstream")), mode(&socket)), (0o700, 0o600));
    // Only root can become another user.
    if std::fs::metadata(trial.dir()).unwrap().uid() == 0 {
        Command::new("chmod").arg("755").arg(trial.dir()).status().unwrap();
        let other = Process::start(Command::new("nc").arg("-U").arg(&socket).uid(65_534).gid(65_534)).wait();
        assert!(other.code != Some(0) && other.stderr.contains("Permission denied"), "{other:?}");
    }
    stop_ok(job);
}

#[test]
fn a_directory_open_to_others_is_not_used_and_the_job_continues() {
    let port = free_port();
    let mut nc = Process::nc(port);
    let trial = job(port, "", "");
    std::fs::create_dir(trial.path("millstream")).unwrap();
    Command::new("chmod").arg("777").arg(trial.path("millstream")).status().unwrap();
    let mut job = start(&trial, &[]);
    job.wait_for_stderr("is open to other users; run chmod 700 ");
    nc.say(&lines(3));
    job.wait_until("its rows are there", |_| trial.rows("out.jsonl").len() == 3);
    assert_eq!(sockets(&trial), Vec::<PathBuf>::new());
    let requests = status(&trial, &["job.toml"]);
    assert!(requests.code == Some(1) && requests.stderr.contains("is open to other users"), "{requests:?}");
    stop_ok(job);
}

/// The response of a process to these bytes.
fn answer(socket: &PathBuf, question: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    // It may have received enough before the end.
    let _ = stream.write_all(question);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers and closes");
    answer
}

#[test]
fn misbehaving_clients_disturb_neither_the_job_nor_others() {
    let port = free_port();
    let mut nc = Process::nc(port);
    let trial = job(port, "", "");
    let mut job = start(&trial, &[]);
    wait_for_status(&trial, "the job", |_| true);
    let [socket] = sockets(&trial).try_into().unwrap();
    for (question, message) in [
        (&b"{\"ask\":\"dance\"}\n"[..], "write a request as"),
        (b"{\"ask\":\"commit\"}\n", "write a request as"),
        (b"status\n", "write a request as"),
        (b"\xff\xfe\n", "write a request as"),
        (b"[[[[", "a request is one line of at most 16384 bytes"),
        (b"", "a request is one line of at most 16384 bytes"),
        (&[b'x'; 16384], "a request is one line of at most 16384 bytes"),
    ] {
        let answer: Value = serde_json::from_str(&answer(&socket, question)).unwrap();
        assert!(answer["error"].as_str().unwrap().contains(message), "{answer}");
    }
    let answer: Value = serde_json::from_str(&answer(&socket, b"{\"ask\":\"status\",\"more\":1}\n")).unwrap();
    assert_eq!(answer["status"]["pid"], job.id());
    // Clients that send nothing, and clients that read nothing.
    let mut silent: Vec<UnixStream> = (0..50).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    for stream in silent.iter_mut().skip(25) {
        stream.write_all(b"{\"ask\":\"status\"}\n").unwrap();
    }
    nc.say(&lines(3));
    job.wait_until("its rows are there", |_| trial.rows("out.jsonl").len() == 3);
    let began = Instant::now();
    wait_until("it answers again", || job_status(&trial).is_some());
    assert!(began.elapsed() < SOON);
    drop(silent);
    stop_ok(job);
}
