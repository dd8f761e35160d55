//! The program as a process: several of them, signals, ways to end, exit codes.

use millstream_tests::{Process, Relay, Trial, free_port, plugin, two_hosts, wait_until};
use serde_json::json;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A job that reads lines of a server without end.
fn socket_job(port: u16, more: &str) -> Trial {
    Trial::new(&format!(
        r#"
        batch = "100ms"
        workers = 2
        {more}
        [sources.lines]
        kind = "socket"
        address = "127.0.0.1:{port}"
        [sinks.out]
        from = "lines"
        kind = "queue"
        path = "out.jsonl"
        "#
    ))
}

fn stops_gracefully(signal: &str) {
    let port = free_port();
    let mut nc = Process::nc(port);
    // An hour: what was received is committed because of the signal alone.
    let trial = socket_job(port, "");
    let mut job = trial.start(&["--set", "batch=1h"]);
    job.wait_for_stderr("connected to 127.0.0.1");
    nc.say("one\ntwo\n");
    let sent = Instant::now();
    // It is not visible from outside that lines were received but not committed.
    wait_until("the lines are read by the job", || received(port) && sent.elapsed() > Duration::from_millis(200));
    job.signal(signal);
    let ended = job.wait_within(Duration::from_secs(10));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(trial.values("out.jsonl"), ["one", "two"]);
    assert!(
        ended.stderr.contains("stopping; finishing batches in flight (again: stop immediately)"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("done: 1 batch in "), "{}", ended.stderr);
}

/// Whether no connection of this port has unread bytes: `rx_queue` of `/proc/net/tcp`.
fn received(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let end = format!(":{port:04X}");
    let mut ours = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(1)?.ends_with(&end) || fields.get(2)?.ends_with(&end)).then(|| fields[4].to_owned())
    });
    ours.all(|queues| queues == "00000000:00000000")
}

#[test]
fn sigint_stops_gracefully() {
    stops_gracefully("INT");
}

#[test]
fn sigterm_stops_gracefully() {
    stops_gracefully("TERM");
}

#[test]
fn a_second_signal_stops_immediately() {
    let plugin = plugin("misbehave");
    let trial = Trial::new(&format!(
        r#"
        clock = "manual"
        [sources.lines]
        kind = "queue"
        path = "input.jsonl"
        schema = {{ value = "text" }}
        [stages.stuck]
        from = "lines"
        plugin = "{}"
        config = {{ how = "loop" }}
        limits = {{ time = "0s" }}
        [sinks.out]
        from = "stuck"
        kind = "queue"
        path = "out.jsonl"
        "#,
        plugin.display()
    ));
    trial.write("input.jsonl", "[\"a\"]\n");
    let mut job = trial.start(&[]);
    job.wait_for_stderr("round and round");
    job.signal("INT");
    job.wait_for_stderr("stopping; finishing batches in flight (again: stop immediately)");
    job.signal_again("INT");
    let ended = job.wait_within(Duration::from_secs(10));
    assert!(ended.stderr.contains("stopping immediately"), "{}", ended.stderr);
    assert_eq!(ended.code, Some(1), "batches were dropped, so the job did not end well: {}", ended.stderr);
    assert!(trial.rows("out.jsonl").is_empty());
}

/// `timeout` of coreutils signals its child, and then its process group with the child.
#[test]
fn two_signals_at_once_are_one_request() {
    let port = free_port();
    let mut nc = Process::nc(port);
    let trial = socket_job(port, "");
    let mut job = trial.start(&[]);
    job.wait_for_stderr("connected to 127.0.0.1");
    nc.say("one\n");
    wait_until("the line is there", || trial.values("out.jsonl") == ["one"]);
    let twice = format!("kill -TERM {id}; kill -TERM {id}", id = job.id());
    assert!(std::process::Command::new("sh").args(["-c", &twice]).status().unwrap().success());
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("stopping immediately"), "{}", ended.stderr);
}

#[test]
fn timeout_stops_gracefully() {
    let port = free_port();
    let mut nc = Process::nc(port);
    nc.say("one\n");
    let trial = socket_job(port, "");
    let began = Instant::now();
    let ended = trial.run(&["--timeout", "2s"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(began.elapsed() >= Duration::from_secs(2));
    assert_eq!(trial.values("out.jsonl"), ["one"]);
    assert!(ended.stderr.contains("--timeout has expired; stopping"), "{}", ended.stderr);
}

#[test]
fn until_idle_waits_for_an_idle_period() {
    let port = free_port();
    let mut nc = Process::nc(port);
    let trial = socket_job(port, "");
    let mut job = trial.start(&["--until-idle"]);
    job.wait_for_stderr("connected to 127.0.0.1");
    nc.say("one\n");
    wait_until("the first line is there", || trial.values("out.jsonl") == ["one"]);
    nc.say("two\n");
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(trial.values("out.jsonl"), ["one", "two"]);
}

#[test]
fn exit_codes() {
    let trial = Trial::new("");
    let code = |arguments: &[&str]| Process::start(&mut trial.command(arguments)).wait().code;
    assert_eq!(code(&["--version"]), Some(0));
    assert_eq!(code(&["schema"]), Some(0));
    assert_eq!(code(&["run", "--help"]), Some(0));
    assert_eq!(code(&[]), Some(2));
    assert_eq!(code(&["walk"]), Some(2));
    assert_eq!(code(&["run", "job.toml", "--workers", "many"]), Some(2));
    assert_eq!(code(&["run", "job.toml", "--timeout", "1 fortnight"]), Some(2));
    assert_eq!(code(&["run", "job.toml", "--process", "1"]), Some(2));
    assert_eq!(code(&["run", "job.toml"]), Some(2));
}

#[test]
fn a_closed_log_does_not_end_the_job() {
    let trial = Trial::new(
        "batch = \"0s\"\n[sources.in]\nkind = \"rate\"\nrows_per_second = 1000\nrows_max = 10\n[sinks.out]\nfrom = \
         \"in\"\nkind = \"queue\"\npath = \"out.jsonl\"\n",
    );
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = trial.command(&["run", "job.toml"]).stderr(full).status().unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(trial.rows("out.jsonl").len(), 10);
}

#[test]
fn a_sum_that_does_not_fit_fails_the_job() {
    let trial = Trial::new(
        "clock = \"manual\"\n[sources.in]\nkind = \"queue\"\npath = \"input.jsonl\"\nschema = { v = \"int64\" \
         }\n[stages.s]\nfrom = \"in\"\naggregate = { total = \"sum(v)\" }\n[sinks.out]\nfrom = \"s\"\nkind = \
         \"queue\"\npath = \"out.jsonl\"\n",
    );
    trial.write("input.jsonl", "[9223372036854775807,1,-1]\n[-9223372036854775808]\n[9223372036854775807,1]\n");
    let ended = trial.run(&["--set", "in_flight_max=1"]);
    assert_eq!(ended.code, Some(1));
    let output = "error: stage `s`: batch 3: `total`: the sum does not fit int64; make the column float64, or the batches \
                smaller\n";
    assert!(ended.stderr.ends_with(output), "{}", ended.stderr);
    let totals: Vec<_> = trial.rows("out.jsonl").iter().map(|row| row["total"].as_i64()).collect();
    assert_eq!(totals, [Some(i64::MAX), Some(i64::MIN)]);
}

/// Starts both processes of a job.
fn two(trial: &Trial, hosts: &str, more: &[&str]) -> [Process; 2] {
    ["0", "1"].map(|number| {
        let arguments = ["--workers", "1", "--processes", "2", "--process", number, "--hosts", hosts];
        trial.start(&[&arguments, more].concat())
    })
}

/// Two sources, each received by one process, and a count over both.
fn shared_job(ports: [u16; 2]) -> Trial {
    Trial::new(&format!(
        r#"
        batch = "100ms"
        [sources.left]
        kind = "socket"
        address = "127.0.0.1:{}"
        [sources.right]
        kind = "socket"
        address = "127.0.0.1:{}"
        [stages.totals]
        from = ["left", "right"]
        key = "value"
        plugin = "{}"
        [sinks.out]
        from = "totals"
        kind = "queue"
        path = "out.jsonl"
        "#,
        ports[0],
        ports[1],
        plugin("running-count").display(),
    ))
}

#[test]
fn two_processes_share_sources_and_keys_and_stop_together() {
    let ports = [free_port(), free_port()];
    let mut servers = ports.map(Process::nc);
    let trial = shared_job(ports);
    let [mut first, mut second] = two(&trial, &two_hosts(), &[]);
    first.wait_for_stderr("source `left`: connected");
    second.wait_for_stderr("source `right`: connected");
    let message = ["a", "b", "c", "d", "e", "f"];
    let text = message.map(|word| format!("{word}\n")).concat();
    servers.iter_mut().for_each(|server| server.say(&text));
    wait_until("every word was counted twice", || {
        let rows = trial.rows("out.jsonl");
        message.iter().all(|word| rows.contains(&json!({"value": word, "count": 2})))
    });
    second.signal("TERM");
    let (first, second) = (first.wait(), second.wait());
    assert_eq!((first.code, second.code), (Some(0), Some(0)), "{}\n--- other\n{}", first.stderr, second.stderr);
}

#[test]
fn the_death_of_a_process_is_an_error_of_the_other() {
    for dying in [0, 1] {
        let ports = [free_port(), free_port()];
        let mut servers = ports.map(Process::nc);
        let trial = shared_job(ports);
        let [first, second] = two(&trial, &two_hosts(), &[]);
        servers.iter_mut().for_each(|server| server.say("a\n"));
        wait_until("both work", || trial.rows("out.jsonl").contains(&json!({"value": "a", "count": 2})));
        let survivor = if dying == 0 {
            first.kill();
            second
        } else {
            second.kill();
            first
        };
        let ended = survivor.wait_within(Duration::from_secs(20));
        assert_eq!(ended.code, Some(1), "process {dying} died, the other said: {}", ended.stderr);
        assert!(ended.stderr.contains("error: "), "{}", ended.stderr);
        assert!(!ended.stderr.contains("panicked at"), "{}", ended.stderr);
    }
}

/// Two processes are disconnected, in one direction or both, and both still reach the first: all exit, so that a supervisor
/// restarts the job, instead of waiting for a batch that never arrives.
#[test]
fn a_cut_between_two_processes_is_noticed() {
    for cut in [[true, true], [true, false], [false, true]] {
        let ports = [free_port(), free_port()];
        let mut servers = ports.map(Process::nc);
        let trial = shared_job(ports);
        let hosts = [(); 3].map(|()| free_port());
        let relay = Relay::to(hosts[1]);
        let start = |number: usize, hosts: [u16; 3]| {
            let (number, hosts) = (number.to_string(), hosts.map(|port| format!("127.0.0.1:{port}")).join(","));
            trial.start(&["--workers", "1", "--processes", "3", "--process", &number, "--hosts", &hosts])
        };
        let processes = [start(0, hosts), start(1, hosts), start(2, [hosts[0], relay.port, hosts[2]])];
        servers.iter_mut().for_each(|server| server.say("a\n"));
        wait_until("all work", || trial.rows("out.jsonl").contains(&json!({"value": "a", "count": 2})));
        relay.cut.iter().zip(cut).for_each(|(way, is_cut)| way.store(is_cut, Ordering::Relaxed));
        for process in processes {
            let ended = process.wait_within(Duration::from_secs(30));
            assert_eq!(ended.code, Some(1), "{cut:?}: {}", ended.stderr);
            assert!(ended.stderr.contains("the connection to another process of the job broke"), "{}", ended.stderr);
        }
    }
}

/// The first process dies while another waits for the third: it does not continue to wait for a start that is over.
#[test]
fn a_waiting_process_notices_that_the_first_has_exited() {
    let trial = shared_job([free_port(), free_port()]);
    let hosts = millstream_tests::hosts(3);
    let [first, mut second] = ["0", "1"]
        .map(|number| trial.start(&["--workers", "1", "--processes", "3", "--process", number, "--hosts", &hosts]));
    second.wait_for_stderr("waiting for 1 of 3 processes");
    first.kill();
    let ended = second.wait_within(Duration::from_secs(30));
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("the connection to another process of the job broke"), "{}", ended.stderr);
}

/// Other clients of a process are ignored, and standard output is only for sinks.
#[test]
fn processes_find_each_other_among_strangers() {
    let ports = [free_port(), free_port()];
    let mut servers = ports.map(Process::nc);
    let trial = shared_job(ports);
    let hosts = two_hosts();
    let process = |number| {
        let arguments = ["--workers", "1", "--processes", "2", "--process", number, "--hosts", &hosts];
        trial.start(&arguments)
    };
    let mut early = process("1");
    early.wait_for_stderr("cannot connect to process 0 at ");
    assert_eq!(early.stdout(), "");
    early.kill();
    let mut first = process("0");
    first.wait_for_stderr("waiting for 1 of 2 processes");
    let stranger = TcpStream::connect(hosts.split(',').next().unwrap()).unwrap();
    (&stranger).write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    first.wait_for_stderr("is not a process of a job");
    let second = process("1");
    servers.iter_mut().for_each(|server| server.say("a\n"));
    wait_until("both work", || trial.rows("out.jsonl").contains(&json!({"value": "a", "count": 2})));
    first.signal("INT");
    let (first, second) = (first.wait(), second.wait());
    assert_eq!((first.code, second.code), (Some(0), Some(0)), "{}\n--- other\n{}", first.stderr, second.stderr);
    assert_eq!((first.stdout, second.stdout), (String::new(), String::new()));
}

#[test]
fn a_failure_in_one_process_ends_both_with_an_error() {
    let trial = Trial::new(&format!(
        r#"
        clock = "manual"
        [sources.idle]
        kind = "queue"
        path = "idle.jsonl"
        schema = {{ value = "text" }}
        [sources.lines]
        kind = "queue"
        path = "input.jsonl"
        schema = {{ value = "text" }}
        [stages.bad]
        from = "lines"
        plugin = "{}"
        config = {{ how = "error" }}
        [sinks.out]
        from = ["bad", "idle"]
        kind = "queue"
        path = "out.jsonl"
        "#,
        plugin("misbehave").display()
    ));
    trial.write("idle.jsonl", "");
    trial.write("input.jsonl", "[\"a\"]\n");
    let [first, second] = two(&trial, &two_hosts(), &[]);
    let (first, second) = (first.wait(), second.wait());
    assert_eq!((first.code, second.code), (Some(1), Some(1)), "{}\n--- other\n{}", first.stderr, second.stderr);
    for output in [first.stderr, second.stderr] {
        assert!(
            output.contains("plugin misbehave 0.1.0 failed in batch 1: these rows are not to my liking"),
            "{output}"
        );
    }
}

#[test]
fn a_process_with_another_job_is_reported_and_the_others_keep_waiting() {
    let job = |key: &str| {
        let trial = Trial::new(&format!(
            r#"
            name = "same"
            clock = "manual"
            [sources.lines]
            kind = "queue"
            path = "input.jsonl"
            schema = {{ value = "text" }}
            [stages.counts]
            from = "lines"
            {key}
            aggregate = {{ n = "count(*)" }}
            [sinks.out]
            from = "counts"
            kind = "queue"
            path = "out.jsonl"
            "#
        ));
        trial.write("input.jsonl", "[\"a\",\"b\"]\n");
        trial
    };
    let (right, other) = (job(""), job("key = \"value\""));
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", free_port(), free_port());
    let arguments =
        |process: &'static str, workers: &'static str| ["--processes", "2", "--process", process, "--workers", workers];
    let start = |trial: &Trial, process, workers| {
        let mut all = arguments(process, workers).to_vec();
        all.extend(["--hosts", &hosts]);
        trial.start(&all)
    };
    let mut first = start(&right, "0", "1");
    first.wait_for_stderr("waiting for 1 of 2 processes");
    let ended = start(&right, "1", "2").wait();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("process 0 has another --workers than process 1 (1, not 2)"), "{}", ended.stderr);
    let ended = start(&other, "1", "1").wait();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("process 0 has another job than process 1"), "{}", ended.stderr);
    let (second, first) = (start(&right, "1", "1").wait(), first.wait());
    assert_eq!((first.code, second.code), (Some(0), Some(0)), "{}\n--- other\n{}", first.stderr, second.stderr);
    assert_eq!(right.rows("out.jsonl").len(), 1);
}

/// There are 2^40 paths from the source to the last stage: no code may follow all of them.
#[test]
fn a_job_with_very_many_paths_starts_and_ends() {
    let mut text = String::from(
        "name = \"ways\"\nbatch = \"100ms\"\n[sources.p0]\nkind = \"queue\"\npath = \"rows.jsonl\"\nschema = { k = \"text\" }\n",
    );
    for level in 1..=40 {
        let before = level - 1;
        text += &format!(
            "[stages.a{level}]\nfrom = \"p{before}\"\n[stages.b{level}]\nfrom = \"p{before}\"\n\
             [stages.p{level}]\nfrom = [\"a{level}\", \"b{level}\"]\n"
        );
    }
    text += "[stages.counted]\nfrom = \"p40\"\nwindow = { size = \"1s\", slide = \"1s\" }\naggregate = { n = \"count(*)\" }\n\
             [sinks.out]\nfrom = \"counted\"\nkind = \"queue\"\npath = \"out.jsonl\"\n";
    let trial = Trial::new(&text);
    trial.write("rows.jsonl", "");
    trial.run_ok(&["--until-idle"]);
}
