//! The supervisor of jobs with checkpoints: worker processes that die, hang, fail or lose each other, and signals.

use millstream_tests::{
    DEADLINE, Ended, Process, Trial, free_port, is_alive, kill, plugin, signal, two_hosts, wait_until,
};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Detection, a pause, a start and connecting again: within this time the job has resumed, on a busy machine as well.
const BACK: Duration = Duration::from_secs(60);
/// A process that dies or hangs is detected within this time.
const NOTICED: Duration = Duration::from_secs(2);
/// The same on a busy machine; connections alone would be idle for much longer.
const NOTICED_AT_LAST: Duration = Duration::from_secs(30);

/// A job with checkpoints that reads lines of a server without end, through a plugin of `config`.
fn job(port: u16, config: &str) -> Trial {
    Trial::new(&format!(
        r#"
        batch = "50ms"
        workers = 1
        [checkpoint]
        dir = "checkpoint"
        every = "200ms"
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
        "#,
        plugin("misbehave").display()
    ))
}

/// No process of it responds at the moment: it is neither stopped nor not running.
#[test]
fn a_restarting_job_is_stopped() {
    let trial = Trial::new(
        "batch = \"20ms\"\n[checkpoint]\ndir = \"checkpoint\"\n[sources.in]\nkind = \"rate\"\nrows_per_second = 100\n\
         [sinks.out]\nfrom = \"in\"\nkind = \"queue\"\npath = \"out.jsonl\"\n",
    );
    let mut job = Process::start(&mut trial.isolated_command(&["run", "job.toml"]));
    job.wait_until("it runs", |_| !trial.rows("out.jsonl").is_empty());
    job.children().into_iter().for_each(|child| signal("KILL", child));
    assert_eq!(trial.run_command_ok(&["stop", "job.toml"]), "job.toml: stopped\n");
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("restarting it"), "{}", ended.stderr);
}

/// Its worker process never lives long enough to receive the stop; its supervisor does.
#[test]
fn a_job_that_fails_repeatedly_is_stopped() {
    let trial = Trial::new(
        "batch = \"20ms\"\n[checkpoint]\ndir = \"checkpoint\"\n[sources.in]\nkind = \"rate\"\nrows_per_second = 100\n\
         [sinks.out]\nfrom = \"in\"\nkind = \"queue\"\npath = \"out.jsonl\"\n",
    );
    let mut job = Process::start(&mut trial.isolated_command(&["run", "job.toml", "--restarts-max", "1000000"]));
    job.wait_until("it runs", |_| !trial.rows("out.jsonl").is_empty());
    let (supervisor, over) = (job.id(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                for child in Process::children_of(supervisor) {
                    kill(child);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        job.wait_for_stderr("restarting it");
        let output = trial.run_command_ok(&["stop", "job.toml"]);
        over.store(true, Ordering::SeqCst);
        assert_eq!(output, "job.toml: stopped\n");
    });
    let ended = job.wait();
    assert!(ended.code.is_some(), "it ends by itself: {}", ended.stderr);
    assert!(trial.run_command_ok(&["stop", "--help"]).contains("[default: 5m]"));
}

/// Neither job has configured addresses for its processes.
#[test]
fn two_jobs_of_several_processes_run_at_the_same_time() {
    let job = || {
        let trial = Trial::new(
            "batch = \"20ms\"\nworkers = 1\n[checkpoint]\ndir = \"checkpoint\"\n[sources.in]\nkind = \"rate\"\n\
             rows_per_second = 100\n[sinks.out]\nfrom = \"in\"\nkind = \"queue\"\npath = \"out.jsonl\"\n",
        );
        let job = trial.start(&["--processes", "2"]);
        (trial, job)
    };
    let mut jobs = [job(), job()];
    for (trial, job) in &mut jobs {
        job.wait_until("rows arrive", |_| !trial.rows("out.jsonl").is_empty());
        // They restart on their previous ports.
        let before = job.children();
        signal("KILL", before[0]);
        job.wait_until("all are started again", |job| {
            let now = job.children();
            now.len() == 2 && now.iter().all(|id| !before.contains(id))
        });
        let rows = trial.rows("out.jsonl").len();
        job.wait_until("it goes on", |_| trial.rows("out.jsonl").len() > rows);
    }
    for (_, job) in jobs {
        job.stop();
    }
}

/// The only worker process of a job that has connected to its server `times` times.
fn worker(job: &mut Process, times: usize) -> u32 {
    wait_for_connections(job, times);
    let all = job.children();
    assert_eq!(all.len(), 1, "{}", job.stderr());
    all[0]
}

fn wait_for_connections(job: &mut Process, times: usize) {
    let what = format!("its source has connected {times} times");
    job.wait_until(&what, |job| job.stderr().matches("connected to 127.0.0.1").count() >= times);
}

/// Sends a line until it has arrived: a server may still send to the connection of a process that died.
fn send_until_received(nc: &mut Process, trial: &Trial, line: &str) {
    let began = Instant::now();
    while !trial.values("out.jsonl").iter().any(|value| value == line) {
        assert!(began.elapsed() < DEADLINE, "{line} does not come through");
        nc.say(&format!("{line}\n"));
        millstream_tests::holds_within(Duration::from_millis(200), || {
            trial.values("out.jsonl").iter().any(|value| value == line)
        });
    }
}

fn stop_ok(job: Process) -> Ended {
    job.signal("TERM");
    let ended = job.wait_within(Duration::from_secs(20));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended
}

#[test]
fn a_killed_worker_process_is_restarted_and_the_job_continues() {
    let port = free_port();
    let (mut nc, trial) = (Process::nc(port), job(port, ""));
    let mut job = trial.start(&[]);
    let first = worker(&mut job, 1);
    send_until_received(&mut nc, &trial, "one");
    let killed = Instant::now();
    signal("KILL", first);
    job.wait_for_stderr("worker process died (signal 9); restarting it from the last checkpoint in 0.1 s (1 of 10)");
    let second = worker(&mut job, 2);
    assert!(killed.elapsed() < BACK, "{:?}", killed.elapsed());
    assert_ne!(first, second);
    send_until_received(&mut nc, &trial, "two");
    let ended = stop_ok(job);
    assert!(!is_alive(second), "{}", ended.stderr);
}

#[test]
fn a_worker_process_that_hangs_is_killed_and_restarted() {
    let port = free_port();
    let (mut nc, trial) = (Process::nc(port), job(port, ""));
    let mut job = trial.start(&[]);
    let first = worker(&mut job, 1);
    let stopped = Instant::now();
    signal("STOP", first);
    job.wait_for_stderr("worker process does not respond and was killed; restarting it");
    assert!(stopped.elapsed() < NOTICED_AT_LAST, "{:?}", stopped.elapsed());
    assert!(!is_alive(first));
    worker(&mut job, 2);
    send_until_received(&mut nc, &trial, "two");
    stop_ok(job);
}

#[test]
fn worker_processes_die_with_their_supervisor() {
    let port = free_port();
    let (_nc, trial) = (Process::nc(port), job(port, ""));
    let mut job = trial.start(&[]);
    let only = worker(&mut job, 1);
    signal("KILL", job.id());
    wait_until("the worker process is gone", || !is_alive(only));
    drop(job);
    // Also a process that was suspended.
    let mut job = trial.start(&[]);
    let only = worker(&mut job, 1);
    signal("STOP", only);
    signal("KILL", job.id());
    wait_until("the worker process is gone", || !is_alive(only));
}

#[test]
fn a_suspended_supervisor_does_not_treat_its_child_as_dead() {
    let port = free_port();
    let (mut nc, trial) = (Process::nc(port), job(port, ""));
    let mut job = trial.start(&[]);
    let only = worker(&mut job, 1);
    signal("STOP", job.id());
    let began = Instant::now();
    let mut lines = 0;
    // The job continues meanwhile, for longer than a child may be silent.
    while began.elapsed() < NOTICED {
        lines += 1;
        send_until_received(&mut nc, &trial, &format!("line {lines}"));
    }
    signal("CONT", job.id());
    send_until_received(&mut nc, &trial, "last");
    assert_eq!(job.children(), [only]);
    let ended = stop_ok(job);
    assert!(!ended.stderr.contains("restarting it"), "{}", ended.stderr);
}

#[test]
fn signals_are_forwarded_and_none_is_lost_at_startup() {
    let port = free_port();
    let (_nc, trial) = (Process::nc(port), job(port, ""));
    for arguments in [&[][..], &["--unsupervised"]] {
        for name in ["TERM", "INT"] {
            let mut job = trial.start(arguments);
            // As soon as the program itself runs (its `main` blocks signals), before its first output.
            wait_until("signals are blocked", || blocks_signals(job.id()));
            job.signal(name);
            let ended = job.wait_within(Duration::from_secs(20));
            assert_eq!(ended.code, Some(0), "{name} {arguments:?}: {}", ended.stderr);
            assert!(ended.stderr.contains("stopping; finishing batches in flight"), "{}", ended.stderr);
            job = trial.start(arguments);
            wait_for_connections(&mut job, 1);
            job.signal(name);
            let ended = job.wait_within(Duration::from_secs(20));
            assert_eq!(ended.code, Some(0), "{name} {arguments:?}: {}", ended.stderr);
            assert!(ended.stderr.contains("done: "), "{}", ended.stderr);
        }
    }
}

/// Whether the first thread of a process blocks SIGINT (2) and SIGTERM (15).
fn blocks_signals(id: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << 1) != 0 && mask & (1 << 14) != 0
}

#[test]
fn a_second_signal_stops_immediately() {
    let port = free_port();
    let (mut nc, trial) = (Process::nc(port), job(port, r#"how = "loop""#));
    let mut job = trial.start(&["--set", "stages.passed.limits.time=0s"]);
    wait_for_connections(&mut job, 1);
    nc.say("one\n");
    job.wait_for_stderr("round and round");
    job.signal("INT");
    job.wait_for_stderr("stopping; finishing batches in flight (again: stop immediately)");
    job.signal_again("INT");
    let ended = job.wait_within(Duration::from_secs(10));
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(!ended.stderr.contains("restarting it"), "{}", ended.stderr);
}

#[test]
fn errors_that_a_restart_does_not_fix_cause_no_restart() {
    let port = free_port();
    let (mut nc, trial) = (Process::nc(port), job(port, r#"how = "error""#));
    let mut job = trial.start(&[]);
    wait_for_connections(&mut job, 1);
    nc.say("one\n");
    let ended = job.wait();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("these rows are not to my liking").count(), 1, "{}", ended.stderr);
    assert!(!ended.stderr.contains("restarting it"), "{}", ended.stderr);
    // Nor what is wrong before the job runs.
    let ended = trial.run(&["--set", "stages.passed.plugin=nothing"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(!ended.stderr.contains("restarting it"), "{}", ended.stderr);
}

/// Sends rows through a `files` sink with these lines in its table until an error; returns the output and the number of restarts.
fn of_rows(trial: &Trial) -> (String, usize) {
    let ended = trial.run(&["--timeout", "120s"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let restarts = ended.stderr.matches("restarting it").count();
    (ended.stderr, restarts)
}

fn dirs(columns: usize, lines: impl Iterator<Item = String>, roll: &str) -> Trial {
    let names: Vec<String> = (0..columns).map(|number| format!("k{number}")).collect();
    let schema: String = names.iter().map(|name| format!("{name} = \"text\", ")).collect();
    let trial = Trial::new(&format!(
        "batch = \"20ms\"\nworkers = 1\n[checkpoint]\ndir = \"checkpoint\"\nevery = \"10ms\"\n[sources.in]\nkind = \"file\"\n\
         path = \"in.jsonl\"\nformat = \"json\"\nschema = {{ {schema}n = \"int64\" }}\n[sinks.out]\nfrom = \"in\"\n\
         kind = \"files\"\npath = \"out\"\npartition_by = {names:?}\n{roll}\n"
    ));
    trial.write("in.jsonl", lines.map(|line| line + "\n").collect::<String>());
    trial
}

#[test]
fn rows_that_a_sink_can_never_store_end_the_job_immediately() {
    let one = |value: String| format!("{{\"k0\":\"{value}\",\"n\":1}}");
    for roll in ["", "roll = { time = \"1h\" }"] {
        let (output, restarts) = of_rows(&dirs(1, (0..30_000).map(|number| one(format!("p{number}"))), roll));
        assert!(output.contains("sink `out`: batch ") && output.contains("more than 10000 directories"), "{output}");
        assert_eq!(restarts, 0, "{output}");
        let (output, restarts) = of_rows(&dirs(1, [one("x".repeat(300))].into_iter(), roll));
        assert!(output.contains("too long for a directory name"), "{output}");
        assert_eq!(restarts, 0, "{output}");
        // Each name fits, and all together do not.
        let all: String = (0..20).map(|column| format!("\"k{column}\":\"{}\",", "x".repeat(240))).collect();
        let trial = dirs(20, [format!("{{{all}\"n\":1}}")].into_iter(), roll);
        let (output, restarts) = of_rows(&trial);
        assert!(output.contains("is longer than 4095 bytes with its path"), "{output}");
        assert_eq!(restarts, 0, "{output}");
        // Nothing of it is committed, so a changed job accepts the rows.
        trial.change("partition_by = ", "format = \"json\"\n# ");
        if roll.is_empty() {
            trial.run_ok(&[]);
        }
    }
}

/// An HTTP server's response to a request, which would be the same again.
#[test]
fn a_request_that_a_server_rejects_ends_the_job_immediately() {
    // ClickHouse's response to a row that violates a constraint.
    let constraint = "500 Error\r\nX-ClickHouse-Exception-Code: 469";
    for (status, again) in
        [("413 Too Large", false), ("400 Bad", false), ("422 No", false), (constraint, false), ("401 Who", true)]
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                use std::io::{Read, Write};
                let mut stream = stream.unwrap();
                // The request is one write of less than a segment.
                let _ = stream.read(&mut [0; 4096]);
                let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        let trial = Trial::new(&format!(
            "batch = \"20ms\"\n[checkpoint]\ndir = \"checkpoint\"\n[sources.in]\nkind = \"file\"\npath = \"in.jsonl\"\n\
             format = \"json\"\nschema = {{ n = \"int64\" }}\n[sinks.out]\nfrom = \"in\"\nkind = \"http\"\n\
             url = \"http://{address}/rows\"\n"
        ));
        trial.write("in.jsonl", "{\"n\":1}\n");
        let ended = trial.run(&["--restarts-max", "2"]);
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains(&status[..3]), "{}", ended.stderr);
        assert_eq!(ended.stderr.contains("(2 of 2)"), again, "{}", ended.stderr);
        assert_eq!(ended.stderr.contains("restarting it"), again, "{}", ended.stderr);
    }
}

/// A sink without a marker commits them with each start.
#[test]
fn batches_that_are_committed_again_are_not_progress() {
    let trial = Trial::new(
        "clock = \"manual\"\n[checkpoint]\ndir = \"checkpoint\"\nevery = 1000\n[sources.in]\nkind = \"queue\"\n\
         path = \"in.jsonl\"\nschema = { n = \"int64\" }\n[sinks.shown]\nfrom = \"in\"\nkind = \"print\"\n[sinks.out]\n\
         from = \"in\"\nkind = \"files\"\npath = \"out\"\n",
    );
    trial.write("in.jsonl", "[[1]]\n");
    trial.run_ok(&[]);
    // Another program has created the file of the next batch, so that it cannot be committed.
    trial.write("in.jsonl", "[[1]]\n[[2]]\n[[3]]\n");
    trial.write("out/part-0000000002.jsonl", "of others\n");
    let ended = trial.run(&["--restarts-max", "3", "--timeout", "60s"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("it exists already with other rows"), "{}", ended.stderr);
    assert!(ended.stderr.contains("(3 of 3)") && ended.stderr.contains("3 times without"), "{}", ended.stderr);
}

#[test]
fn restarts_without_a_batch_committed_have_a_limit() {
    let port = free_port();
    // Not one batch in all the time of the test.
    let (_nc, trial) = (Process::nc(port), job(port, ""));
    let mut job = trial.start(&["--restarts-max", "2", "--set", "batch=1h"]);
    for time in 1..=3 {
        let id = worker(&mut job, time);
        signal("KILL", id);
        if time < 3 {
            job.wait_for_stderr(&format!("({time} of 2)"));
        }
    }
    let ended = job.wait();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let output = "it was restarted 2 times without a committed batch, so the job has failed";
    assert!(ended.stderr.contains(output), "{}", ended.stderr);
    assert!(ended.stderr.contains("in 0.2 s (2 of 2)"), "pauses grow: {}", ended.stderr);
}

#[test]
fn a_signal_ends_the_pause_before_a_restart() {
    let port = free_port();
    let (_nc, trial) = (Process::nc(port), job(port, ""));
    let mut job = trial.start(&["--set", "batch=1h"]);
    for time in 1..=5 {
        let id = worker(&mut job, time);
        signal("KILL", id);
        job.wait_for_stderr(&format!("({time} of 10)"));
    }
    // The fifth pause takes 1.6 s.
    job.signal("TERM");
    let ended = job.wait();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("stopped; uncommitted rows follow in the next run"), "{}", ended.stderr);
}

#[test]
fn the_time_of_timeout_counts_over_restarts() {
    let port = free_port();
    let (_nc, trial) = (Process::nc(port), job(port, ""));
    let began = Instant::now();
    let mut job = trial.start(&["--timeout", "9s"]);
    let id = worker(&mut job, 1);
    job.wait_until("most of the time has passed", |_| began.elapsed() > Duration::from_secs(7));
    signal("KILL", id);
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("--timeout has expired").count(), 1, "{}", ended.stderr);
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(9) && took < Duration::from_secs(15), "{took:?}");
}

#[test]
fn a_loop_of_restarts_does_not_outlast_timeout() {
    let port = free_port();
    let (_nc, trial) = (Process::nc(port), job(port, ""));
    let began = Instant::now();
    let mut job = trial.start(&["--timeout", "5s"]);
    // The pauses before the sixth take 3.1 s together.
    job.wait_until("its worker process failed six times", |job| {
        for id in job.children() {
            kill(id);
        }
        job.stderr().contains("in 3.2 s (6 of 10)")
    });
    let ended = job.wait();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("--timeout has expired; stopped"), "{}", ended.stderr);
    // As long as ten restarts with their pauses would take.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

/// Two sources, each received by one process, that meet in a sink.
fn shared_job(ports: [u16; 2]) -> Trial {
    Trial::new(&format!(
        r#"
        batch = "50ms"
        workers = 1
        [checkpoint]
        dir = "checkpoint"
        every = "200ms"
        [sources.left]
        kind = "socket"
        address = "127.0.0.1:{}"
        [sources.right]
        kind = "socket"
        address = "127.0.0.1:{}"
        [sinks.out]
        from = ["left", "right"]
        kind = "queue"
        path = "out.jsonl"
        "#,
        ports[0], ports[1]
    ))
}

#[test]
fn all_processes_restart_together_when_one_dies_or_hangs() {
    for (name, victim) in [("KILL", 0), ("KILL", 1), ("STOP", 0), ("STOP", 1)] {
        let ports = [free_port(), free_port()];
        let mut servers = ports.map(Process::nc);
        let trial = shared_job(ports);
        let mut job = trial.start(&["--processes", "2", "--hosts", &two_hosts()]);
        wait_for_connections(&mut job, 2);
        servers.iter_mut().for_each(|server| send_until_received(server, &trial, "one"));
        let old = job.children();
        assert_eq!(old.len(), 2);
        let began = Instant::now();
        signal(name, old[victim]);
        job.wait_until(&format!("all are gone after {name} of {victim}"), |_| !old.iter().any(|id| is_alive(*id)));
        let noticed = began.elapsed();
        assert!(noticed < NOTICED_AT_LAST, "{noticed:?} after {name} of {victim}");
        job.wait_for_stderr("restarting all 2 from the last checkpoint in 0.1 s");
        wait_for_connections(&mut job, 4);
        assert!(began.elapsed() < BACK, "{:?} after {name} of {victim}", began.elapsed());
        let [left, right] = &mut servers;
        send_until_received(left, &trial, "from the left");
        send_until_received(right, &trial, "from the right");
        let ended = stop_ok(job);
        assert_eq!(ended.stderr.matches(" from the last checkpoint in ").count(), 1, "{}", ended.stderr);
    }
}

#[test]
fn processes_with_their_own_supervisors_find_each_other_again() {
    for (name, victim) in [("KILL", 0), ("KILL", 1), ("STOP", 0), ("STOP", 1)] {
        let ports = [free_port(), free_port()];
        let mut servers = ports.map(Process::nc);
        let trial = shared_job(ports);
        let hosts = two_hosts();
        let mut jobs =
            ["0", "1"].map(|number| trial.start(&["--processes", "2", "--process", number, "--hosts", &hosts]));
        let old = jobs.each_mut().map(|job| worker(job, 1));
        servers.iter_mut().for_each(|server| send_until_received(server, &trial, "one"));
        let began = Instant::now();
        signal(name, old[victim]);
        for job in &mut jobs {
            job.wait_until("restarting it", |job| {
                // It lost its own process, or the other one.
                let printed = job.stderr();
                printed.contains("restarting it from the last checkpoint")
                    || printed.contains("restarting the worker process, which waits for the others")
            });
        }
        let noticed = began.elapsed();
        assert!(noticed < NOTICED_AT_LAST, "{noticed:?} after {name} of {victim}");
        for job in &mut jobs {
            wait_for_connections(job, 2);
        }
        assert!(began.elapsed() < BACK, "{:?} after {name} of {victim}", began.elapsed());
        let [left, right] = &mut servers;
        send_until_received(left, &trial, "from the left");
        send_until_received(right, &trial, "from the right");
        let [first, second] = jobs;
        second.signal("TERM");
        let (first, second) = (first.wait(), second.wait());
        assert_eq!((first.code, second.code), (Some(0), Some(0)), "{}\n--- other\n{}", first.stderr, second.stderr);
    }
}

#[test]
fn a_failing_plugin_of_one_process_ends_all() {
    let ports = [free_port(), free_port()];
    let mut servers = ports.map(Process::nc);
    let trial = shared_job(ports);
    let text = trial.text("job.toml").replace("from = [\"left\", \"right\"]", "from = [\"left\", \"bad\"]");
    let path = plugin("misbehave");
    let stage = format!(
        "[stages.bad]\nfrom = \"right\"\nplugin = \"{}\"\nconfig = {{ how = \"error\" }}\n",
        Path::new(&path).display()
    );
    trial.write("job.toml", format!("{text}{stage}"));
    let mut job = trial.start(&["--processes", "2", "--hosts", &two_hosts()]);
    wait_for_connections(&mut job, 2);
    servers[1].say("one\n");
    let ended = job.wait();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("these rows are not to my liking"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("restarting all"), "{}", ended.stderr);
}

#[test]
fn discarding_state_must_be_confirmed() {
    let port = free_port();
    let mut nc = Process::nc(port);
    let trial = job(port, "");
    // There is no earlier state to discard yet.
    let mut job = trial.start(&["--fresh"]);
    wait_for_connections(&mut job, 1);
    send_until_received(&mut nc, &trial, "one");
    stop_ok(job);
    let output = trial.rejected_message(&["run", "job.toml", "--fresh"]);
    assert!(output.contains("--fresh discards batch "), "{output}");
    assert!(output.contains("add --yes to confirm"), "{output}");
    trial.remove_queue("out.jsonl");
    let mut job = trial.start(&["--fresh", "--yes"]);
    wait_for_connections(&mut job, 1);
    stop_ok(job);
    let without = Trial::new(
        "[sources.in]\nkind = \"rate\"\nrows_per_second = 1\n[sinks.out]\nfrom = \"in\"\nkind = \"queue\"\npath = \
         \"out.jsonl\"\n",
    );
    for argument in ["--fresh", "--resume-from=1", "--drop-state=x"] {
        let output = without.rejected_message(&["run", "job.toml", argument]);
        assert!(output.contains("the job has no [checkpoint]"), "{output}");
    }
    let output = without.rejected_message(&["run", "job.toml", "--processes", "2"]);
    assert!(output.contains("--processes is 2, but --process is missing"), "{output}");
}
