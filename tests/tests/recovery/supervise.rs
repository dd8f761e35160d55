//! The supervisor of jobs with checkpoints: worker processes that die, hang, fail or lose each other, and signals.

use millstream_tests::{DEADLINE, Ended, Process, Trial, free_port, kill, lives, plugin, signal, two_hosts, until};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Noticing, a pause, starting and connecting again: within this time the job goes on, on a loaded machine as well.
const BACK: Duration = Duration::from_secs(60);
/// A process that dies or hangs is noticed within this time.
const NOTICED: Duration = Duration::from_secs(2);
/// On a loaded machine, too; connections alone would be silent for much longer.
const NOTICED_AT_LAST: Duration = Duration::from_secs(30);

/// A job with checkpoints that reads lines of a server for ever, through a plugin of `config`.
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

/// No process of it answers at the moment: it is neither stopped nor does it not run.
#[test]
fn a_job_that_is_being_started_again_is_stopped() {
    let trial = Trial::new(
        "batch = \"20ms\"\n[checkpoint]\ndir = \"checkpoint\"\n[sources.in]\nkind = \"rate\"\nrows_per_second = 100\n\
         [sinks.out]\nfrom = \"in\"\nkind = \"queue\"\npath = \"out.jsonl\"\n",
    );
    let mut job = Process::start(&mut trial.command_apart(&["run", "job.toml"]));
    job.until("it runs", |_| !trial.rows("out.jsonl").is_empty());
    job.children().into_iter().for_each(|child| signal("KILL", child));
    assert_eq!(trial.well(&["stop", "job.toml"]), "job.toml: stopped\n");
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("starting it again"), "{}", ended.stderr);
}

/// Its worker process never lives long enough to hear that it is to stop; its supervisor does.
#[test]
fn a_job_that_fails_again_and_again_is_stopped() {
    let trial = Trial::new(
        "batch = \"20ms\"\n[checkpoint]\ndir = \"checkpoint\"\n[sources.in]\nkind = \"rate\"\nrows_per_second = 100\n\
         [sinks.out]\nfrom = \"in\"\nkind = \"queue\"\npath = \"out.jsonl\"\n",
    );
    let mut job = Process::start(&mut trial.command_apart(&["run", "job.toml", "--restarts-max", "1000000"]));
    job.until("it runs", |_| !trial.rows("out.jsonl").is_empty());
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
        job.until_stderr("starting it again");
        let told = trial.well(&["stop", "job.toml"]);
        over.store(true, Ordering::SeqCst);
        assert_eq!(told, "job.toml: stopped\n");
    });
    let ended = job.wait();
    assert!(ended.code.is_some(), "it ends by itself: {}", ended.stderr);
    assert!(trial.well(&["stop", "--help"]).contains("[default: 5m]"));
}

/// Nobody said where the processes of either are.
#[test]
fn two_jobs_of_several_processes_run_at_once() {
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
        job.until("rows arrive", |_| !trial.rows("out.jsonl").is_empty());
        // They come again on the ports that they had.
        let before = job.children();
        signal("KILL", before[0]);
        job.until("all are started again", |job| {
            let now = job.children();
            now.len() == 2 && now.iter().all(|id| !before.contains(id))
        });
        let rows = trial.rows("out.jsonl").len();
        job.until("it goes on", |_| trial.rows("out.jsonl").len() > rows);
    }
    for (_, job) in jobs {
        job.stop();
    }
}

/// The only worker process of a job that has connected to its server `times` times.
fn worker(job: &mut Process, times: usize) -> u32 {
    until_connected(job, times);
    let all = job.children();
    assert_eq!(all.len(), 1, "{}", job.stderr());
    all[0]
}

fn until_connected(job: &mut Process, times: usize) {
    let what = format!("its source has connected {times} times");
    job.until(&what, |job| job.stderr().matches("connected to 127.0.0.1").count() >= times);
}

/// Says a line until it has come through: a server may still send to the connection of a process that died.
fn comes_through(nc: &mut Process, trial: &Trial, line: &str) {
    let began = Instant::now();
    while !trial.values("out.jsonl").iter().any(|value| value == line) {
        assert!(began.elapsed() < DEADLINE, "{line} does not come through");
        nc.say(&format!("{line}\n"));
        millstream_tests::holds_within(Duration::from_millis(200), || {
            trial.values("out.jsonl").iter().any(|value| value == line)
        });
    }
}

fn stopped_well(job: Process) -> Ended {
    job.signal("TERM");
    let ended = job.wait_within(Duration::from_secs(20));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended
}

#[test]
fn a_killed_worker_process_is_started_again_and_the_job_goes_on() {
    let port = free_port();
    let (mut nc, trial) = (Process::nc(port), job(port, ""));
    let mut job = trial.start(&[]);
    let first = worker(&mut job, 1);
    comes_through(&mut nc, &trial, "one");
    let killed = Instant::now();
    signal("KILL", first);
    job.until_stderr("worker process died (signal 9); starting it again from the last checkpoint in 0.1 s (1 of 10)");
    let second = worker(&mut job, 2);
    assert!(killed.elapsed() < BACK, "{:?}", killed.elapsed());
    assert_ne!(first, second);
    comes_through(&mut nc, &trial, "two");
    let ended = stopped_well(job);
    assert!(!lives(second), "{}", ended.stderr);
}

#[test]
fn a_worker_process_that_hangs_is_killed_and_started_again() {
    let port = free_port();
    let (mut nc, trial) = (Process::nc(port), job(port, ""));
    let mut job = trial.start(&[]);
    let first = worker(&mut job, 1);
    let stopped = Instant::now();
    signal("STOP", first);
    job.until_stderr("worker process does not respond and was killed; starting it again");
    assert!(stopped.elapsed() < NOTICED_AT_LAST, "{:?}", stopped.elapsed());
    assert!(!lives(first));
    worker(&mut job, 2);
    comes_through(&mut nc, &trial, "two");
    stopped_well(job);
}

#[test]
fn worker_processes_die_with_their_supervisor() {
    let port = free_port();
    let (_nc, trial) = (Process::nc(port), job(port, ""));
    let mut job = trial.start(&[]);
    let only = worker(&mut job, 1);
    signal("KILL", job.id());
    until("the worker process is gone", || !lives(only));
    drop(job);
    // And one that stood still, too.
    let mut job = trial.start(&[]);
    let only = worker(&mut job, 1);
    signal("STOP", only);
    signal("KILL", job.id());
    until("the worker process is gone", || !lives(only));
}

#[test]
fn a_supervisor_that_stood_still_does_not_take_its_child_for_dead() {
    let port = free_port();
    let (mut nc, trial) = (Process::nc(port), job(port, ""));
    let mut job = trial.start(&[]);
    let only = worker(&mut job, 1);
    signal("STOP", job.id());
    let began = Instant::now();
    let mut lines = 0;
    // The job goes on meanwhile, for longer than a child may be silent.
    while began.elapsed() < NOTICED {
        lines += 1;
        comes_through(&mut nc, &trial, &format!("line {lines}"));
    }
    signal("CONT", job.id());
    comes_through(&mut nc, &trial, "last");
    assert_eq!(job.children(), [only]);
    let ended = stopped_well(job);
    assert!(!ended.stderr.contains("starting it again"), "{}", ended.stderr);
}

#[test]
fn signals_are_passed_on_and_none_comes_too_early() {
    let port = free_port();
    let (_nc, trial) = (Process::nc(port), job(port, ""));
    for arguments in [&[][..], &["--unsupervised"]] {
        for name in ["TERM", "INT"] {
            let mut job = trial.start(arguments);
            // As soon as the program itself runs (its `main` blocks signals): no line is on its outputs yet.
            until("signals are blocked", || blocks_signals(job.id()));
            job.signal(name);
            let ended = job.wait_within(Duration::from_secs(20));
            assert_eq!(ended.code, Some(0), "{name} {arguments:?}: {}", ended.stderr);
            assert!(ended.stderr.contains("stopping; finishing batches in flight"), "{}", ended.stderr);
            job = trial.start(arguments);
            until_connected(&mut job, 1);
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
fn a_second_signal_stops_at_once() {
    let port = free_port();
    let (mut nc, trial) = (Process::nc(port), job(port, r#"how = "loop""#));
    let mut job = trial.start(&["--set", "stages.passed.limits.time=0s"]);
    until_connected(&mut job, 1);
    nc.say("one\n");
    job.until_stderr("round and round");
    job.signal("INT");
    job.until_stderr("stopping; finishing batches in flight (again: stop immediately)");
    job.signal("INT");
    let ended = job.wait_within(Duration::from_secs(10));
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(!ended.stderr.contains("starting it again"), "{}", ended.stderr);
}

#[test]
fn what_a_restart_does_not_mend_is_not_restarted() {
    let port = free_port();
    let (mut nc, trial) = (Process::nc(port), job(port, r#"how = "error""#));
    let mut job = trial.start(&[]);
    until_connected(&mut job, 1);
    nc.say("one\n");
    let ended = job.wait();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("these rows are not to my liking").count(), 1, "{}", ended.stderr);
    assert!(!ended.stderr.contains("starting it again"), "{}", ended.stderr);
    // Nor what is wrong before the job runs.
    let ended = trial.run(&["--set", "stages.passed.plugin=nothing"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(!ended.stderr.contains("starting it again"), "{}", ended.stderr);
}

/// Rows through a `files` sink with these lines in its table, ended by an error: what was said, and how often it was started again.
fn of_rows(trial: &Trial) -> (String, usize) {
    let ended = trial.run(&["--timeout", "120s"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let restarts = ended.stderr.matches("starting it again").count();
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
fn rows_that_a_sink_can_never_hold_end_the_job_at_once() {
    let one = |value: String| format!("{{\"k0\":\"{value}\",\"n\":1}}");
    for roll in ["", "roll = { time = \"1h\" }"] {
        let (told, restarts) = of_rows(&dirs(1, (0..30_000).map(|number| one(format!("p{number}"))), roll));
        assert!(told.contains("sink `out`: batch ") && told.contains("more than 10000 folders"), "{told}");
        assert_eq!(restarts, 0, "{told}");
        let (told, restarts) = of_rows(&dirs(1, [one("x".repeat(300))].into_iter(), roll));
        assert!(told.contains("too long for the name of a folder"), "{told}");
        assert_eq!(restarts, 0, "{told}");
        // Each name fits, and all together do not.
        let all: String = (0..20).map(|column| format!("\"k{column}\":\"{}\",", "x".repeat(240))).collect();
        let trial = dirs(20, [format!("{{{all}\"n\":1}}")].into_iter(), roll);
        let (told, restarts) = of_rows(&trial);
        assert!(told.contains("is longer than 4095 bytes with the place"), "{told}");
        assert_eq!(restarts, 0, "{told}");
        // Nothing of it is committed, so a job that was changed takes the rows.
        trial.change("partition_by = ", "format = \"json\"\n# ");
        if roll.is_empty() {
            trial.run_well(&[]);
        }
    }
}

/// What an HTTP server says of what it was sent, and would say again.
#[test]
fn a_request_that_a_server_refuses_ends_the_job_at_once() {
    // What ClickHouse says of a row that a constraint forbids.
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
        assert_eq!(ended.stderr.contains("starting it again"), again, "{}", ended.stderr);
    }
}

/// A sink that remembers nothing commits them with each start.
#[test]
fn batches_that_are_committed_again_are_no_progress() {
    let trial = Trial::new(
        "clock = \"manual\"\n[checkpoint]\ndir = \"checkpoint\"\nevery = 1000\n[sources.in]\nkind = \"queue\"\n\
         path = \"in.jsonl\"\nschema = { n = \"int64\" }\n[sinks.shown]\nfrom = \"in\"\nkind = \"print\"\n[sinks.out]\n\
         from = \"in\"\nkind = \"files\"\npath = \"out\"\n",
    );
    trial.write("in.jsonl", "[[1]]\n");
    trial.run_well(&[]);
    // Somebody else has written what the next batch would be, so that it cannot be committed.
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
    // Not a batch in all the time of the test.
    let (_nc, trial) = (Process::nc(port), job(port, ""));
    let mut job = trial.start(&["--restarts-max", "2", "--set", "batch=1h"]);
    for time in 1..=3 {
        let id = worker(&mut job, time);
        signal("KILL", id);
        if time < 3 {
            job.until_stderr(&format!("({time} of 2)"));
        }
    }
    let ended = job.wait();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let told = "it was restarted 2 times without a committed batch, so the job has failed";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
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
        job.until_stderr(&format!("({time} of 10)"));
    }
    // The fifth pause takes 1.6 s.
    job.signal("TERM");
    let ended = job.wait();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("stopped; what was not committed comes when the job is started"), "{}", ended.stderr);
}

#[test]
fn the_time_of_timeout_counts_over_restarts() {
    let port = free_port();
    let (_nc, trial) = (Process::nc(port), job(port, ""));
    let began = Instant::now();
    let mut job = trial.start(&["--timeout", "9s"]);
    let id = worker(&mut job, 1);
    job.until("most of the time has passed", |_| began.elapsed() > Duration::from_secs(7));
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
    job.until("its worker process failed six times", |job| {
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

/// Two sources, of which each process receives one, that meet in a sink.
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
fn all_processes_come_back_together_when_one_dies_or_hangs() {
    for (name, victim) in [("KILL", 0), ("KILL", 1), ("STOP", 0), ("STOP", 1)] {
        let ports = [free_port(), free_port()];
        let mut servers = ports.map(Process::nc);
        let trial = shared_job(ports);
        let mut job = trial.start(&["--processes", "2", "--hosts", &two_hosts()]);
        until_connected(&mut job, 2);
        servers.iter_mut().for_each(|server| comes_through(server, &trial, "one"));
        let old = job.children();
        assert_eq!(old.len(), 2);
        let began = Instant::now();
        signal(name, old[victim]);
        job.until(&format!("all are gone after {name} of {victim}"), |_| !old.iter().any(|id| lives(*id)));
        let noticed = began.elapsed();
        assert!(noticed < NOTICED_AT_LAST, "{noticed:?} after {name} of {victim}");
        job.until_stderr("starting all 2 again from the last checkpoint in 0.1 s");
        until_connected(&mut job, 4);
        assert!(began.elapsed() < BACK, "{:?} after {name} of {victim}", began.elapsed());
        let [left, right] = &mut servers;
        comes_through(left, &trial, "from the left");
        comes_through(right, &trial, "from the right");
        let ended = stopped_well(job);
        assert_eq!(ended.stderr.matches("again from the last checkpoint").count(), 1, "{}", ended.stderr);
    }
}

#[test]
fn processes_with_supervisors_of_their_own_find_each_other_again() {
    for (name, victim) in [("KILL", 0), ("KILL", 1), ("STOP", 0), ("STOP", 1)] {
        let ports = [free_port(), free_port()];
        let mut servers = ports.map(Process::nc);
        let trial = shared_job(ports);
        let hosts = two_hosts();
        let mut jobs =
            ["0", "1"].map(|number| trial.start(&["--processes", "2", "--process", number, "--hosts", &hosts]));
        let old = jobs.each_mut().map(|job| worker(job, 1));
        servers.iter_mut().for_each(|server| comes_through(server, &trial, "one"));
        let began = Instant::now();
        signal(name, old[victim]);
        for job in &mut jobs {
            job.until("it is started again", |job| {
                // Its own process was lost, or the other one.
                let said = job.stderr();
                said.contains("starting it again from the last checkpoint")
                    || said.contains("starting the worker process again, which waits until all are there")
            });
        }
        let noticed = began.elapsed();
        assert!(noticed < NOTICED_AT_LAST, "{noticed:?} after {name} of {victim}");
        for job in &mut jobs {
            until_connected(job, 2);
        }
        assert!(began.elapsed() < BACK, "{:?} after {name} of {victim}", began.elapsed());
        let [left, right] = &mut servers;
        comes_through(left, &trial, "from the left");
        comes_through(right, &trial, "from the right");
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
    until_connected(&mut job, 2);
    servers[1].say("one\n");
    let ended = job.wait();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("these rows are not to my liking"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("starting all"), "{}", ended.stderr);
}

#[test]
fn forgetting_must_be_meant() {
    let port = free_port();
    let mut nc = Process::nc(port);
    let trial = job(port, "");
    // There is nothing to forget yet.
    let mut job = trial.start(&["--fresh"]);
    until_connected(&mut job, 1);
    comes_through(&mut nc, &trial, "one");
    stopped_well(job);
    let told = trial.refused(&["run", "job.toml", "--fresh"]);
    assert!(told.contains("--fresh discards batch "), "{told}");
    assert!(told.contains("add --yes to confirm"), "{told}");
    trial.remove_queue("out.jsonl");
    let mut job = trial.start(&["--fresh", "--yes"]);
    until_connected(&mut job, 1);
    stopped_well(job);
    let without = Trial::new(
        "[sources.in]\nkind = \"rate\"\nrows_per_second = 1\n[sinks.out]\nfrom = \"in\"\nkind = \"queue\"\npath = \
         \"out.jsonl\"\n",
    );
    for argument in ["--fresh", "--resume-from=1", "--drop-state=x"] {
        let told = without.refused(&["run", "job.toml", argument]);
        assert!(told.contains("the job has no [checkpoint]"), "{told}");
    }
    let told = without.refused(&["run", "job.toml", "--processes", "2"]);
    assert!(told.contains("--processes is 2, and --process is missing"), "{told}");
}
