//! Sources that are plugins: rows arrive once whatever dies, and errors are reported.

use millstream::internals::batch::partition;
use millstream_tests::{Process, Random, Trial, free_port, kill, plugin, signal};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// A server of numbered lines as `plugins/acked-lines` reads them, which drops acknowledged lines.
#[derive(Clone)]
pub(crate) struct Lines {
    port: u16,
    count: i64,
    /// Lines from this number on are held back.
    held_from: Arc<AtomicI64>,
    told: Arc<Mutex<ServerState>>,
}

/// What a server has received.
#[derive(Default)]
pub(crate) struct ServerState {
    /// Lines below this number are dropped.
    forgotten: i64,
    /// Lines below this number are no longer needed, according to the client.
    done: i64,
    /// The positions at which clients began, and what was dropped or done by then.
    pub(crate) opened: Vec<(i64, i64, i64)>,
}

impl Lines {
    /// This many lines at this rate; with `seed` it cuts its connections.
    pub(crate) fn start(port: u16, count: i64, lines_per_second: i64, seed: Option<u64>) -> Lines {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let (lines, begun) =
            (Lines { port, count, held_from: Arc::new(i64::MAX.into()), told: Arc::default() }, Instant::now());
        let serving = lines.clone();
        thread::spawn(move || {
            let mut random = seed.map(Random::new);
            for connection in listener.incoming() {
                let (serving, cut) = (serving.clone(), random.as_mut().map(|random| random.from(50, 3000)));
                thread::spawn(move || serving.serve(connection.unwrap(), begun, lines_per_second, cut));
            }
        });
        lines
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, ServerState> {
        self.told.lock().unwrap()
    }

    /// A line; every hundredth is invalid.
    fn line(&self, number: i64) -> String {
        match number % 100 {
            42 => format!("no line {number} of {}", self.port),
            _ => format!("{number} {}", self.text(number)),
        }
    }

    fn text(&self, number: i64) -> String {
        format!("line {number} of {}", self.port)
    }

    /// The expected rows and the expected rejected lines.
    fn expected(&self) -> (Vec<Value>, Vec<String>) {
        let (bad, good): (Vec<i64>, Vec<i64>) = (0..self.count).partition(|number| number % 100 == 42);
        let row = |number: i64| json!({ "seq": number, "text": self.text(number) });
        (good.into_iter().map(row).collect(), bad.into_iter().map(|number| self.line(number)).collect())
    }

    fn serve(&self, connection: TcpStream, begun: Instant, lines_per_second: i64, cut_ms: Option<u64>) {
        let (mut connection, mut received) = (connection.try_clone().unwrap(), BufReader::new(connection));
        let Some(mut next) = number(&mut received, "FROM ") else { return };
        {
            let mut told = self.state();
            let opened = (next, told.forgotten, told.done);
            told.opened.push(opened);
        }
        let hearing = self.clone();
        let listener = thread::spawn(move || hearing.hear(received));
        let until = cut_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
        while !listener.is_finished() {
            // In the middle of a line. Not after the last one: an acknowledgement sent then is not received, and the client does
            // not know it.
            if until.is_some_and(|until| Instant::now() > until) && next < self.count {
                let _ = connection.write_all(&self.line(next).as_bytes()[..2]);
                let _ = connection.shutdown(Shutdown::Both);
                return;
            }
            let there = begun.elapsed().as_millis() as i64 * lines_per_second / 1000;
            let there = there.min(self.count).min(self.held_from.load(Ordering::Acquire));
            let mut text: String = (next..there).map(|number| self.line(number) + "\n").collect();
            if there == self.count && next <= there {
                text += "END\n";
                next = there + 1;
            }
            next = next.max(there);
            if connection.write_all(text.as_bytes()).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn hear(&self, mut received: BufReader<TcpStream>) {
        let mut line = String::new();
        while received.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            let mut told = self.state();
            match line.trim().split_once(' ') {
                Some(("ACK", number)) => told.forgotten = told.forgotten.max(number.parse().unwrap()),
                Some(("DONE", number)) => told.done = told.done.max(number.parse().unwrap()),
                _ => panic!("{line:?}"),
            }
            line.clear();
        }
    }
}

fn number(received: &mut BufReader<TcpStream>, word: &str) -> Option<i64> {
    let mut line = String::new();
    received.read_line(&mut line).ok()?;
    line.trim().strip_prefix(word)?.parse().ok()
}

/// A job that reads these servers.
pub(crate) fn reading(ports: &[u16]) -> Trial {
    let addresses: Vec<String> = ports.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    let (addresses, plugin) = (addresses.join(", "), plugin("acked-lines").display().to_string());
    Trial::new(&format!(
        r#"
        name = "acked"
        batch = "50ms"
        [checkpoint]
        dir = "checkpoint"
        every = "500ms"
        [sources.lines]
        kind = "plugin"
        plugin = "{plugin}"
        config = {{ addresses = [{addresses}] }}
        grant = {{ tcp = [{addresses}] }}
        [sinks.out]
        from = "lines"
        kind = "queue"
        path = "out.jsonl"
        [sinks.bad]
        from = "lines.rejected"
        kind = "queue"
        path = "bad.jsonl"
        "#
    ))
}

/// The same with a count of lines per hundred seconds; the number of a line is its second.
fn counting_by_time(ports: &[u16]) -> Trial {
    let trial = reading(ports);
    count_by_time(&trial, "lines", "seq");
    trial
}

/// Has the job count the rows of a source by windows, by the column with their seconds.
fn count_by_time(trial: &Trial, source: &str, seconds: &str) {
    trial.change(
        &format!("[sinks.out]\n        from = \"{source}\""),
        &format!(
            r#"[stages.counts]
        from = "{source}"
        time = "to_timestamp({seconds})"
        window = {{ size = "100s", slide = "100s" }}
        aggregate = {{ lines = "count(*)" }}
        [sinks.out]
        from = "counts""#
        ),
    );
}

/// The number of lines in each output window.
fn counted(trial: &Trial) -> Vec<i64> {
    trial.rows("out.jsonl").iter().map(|row| row["lines"].as_i64().unwrap()).collect()
}

/// A job with the source of `tests/plugins/bad-source`.
pub(crate) fn counting(config: &str, more: &str) -> Trial {
    let plugin = plugin("bad-source").display().to_string();
    Trial::new(&format!(
        r#"
        name = "bad"
        batch = "50ms"
        [sources.n]
        kind = "plugin"
        plugin = "{plugin}"
        config = {{ {config} }}
        {more}
        [sinks.out]
        from = "n"
        kind = "queue"
        path = "out.jsonl"
        "#
    ))
}

const CHECKPOINT: &str = "[checkpoint]\ndir = \"checkpoint\"";

/// The job died, or its connections: only lines that were not acknowledged can be sent again, and each arrives once, also if each
/// start distributes the servers over another number of processes.
#[test]
fn lines_arrive_once_from_servers_that_drop_acknowledged_lines() {
    thread::scope(|scope| {
        for (seed, processes) in [(1, 1), (2, 2)] {
            scope.spawn(move || disturbed(seed, processes));
        }
    });
}

fn disturbed(seed: u64, processes: usize) {
    let (mut random, ports) = (Random::new(seed), [(); 4].map(|()| free_port()));
    let trial = reading(&ports);
    let servers = ports.map(|port| Lines::start(port, 4000, 400, Some(seed + u64::from(port))));
    let mut job = trial.start_processes(processes, 2);
    for _ in 0..12 {
        thread::sleep(Duration::from_millis(random.from(100, 900)));
        if job.has_ended() {
            break;
        }
        if random.from(0, 3) > 0 {
            job.children().iter().for_each(|child| kill(*child));
        } else {
            let children = job.children();
            job.kill();
            millstream_tests::wait_until("its workers are gone", || {
                children.iter().all(|child| !millstream_tests::is_alive(*child))
            });
            let processes = if processes == 1 { 1 } else { random.from(1, 3) as usize };
            job = trial.start_processes(processes, random.from(1, 2));
        }
    }
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "seed {seed}: {}", ended.stderr);
    check_arrived_once(&trial, &servers, &format!("seed {seed}"));
}

/// Checks that all lines of these servers arrived once, and no dropped line was requested.
#[track_caller]
pub(crate) fn check_arrived_once(trial: &Trial, servers: &[Lines], what: &str) {
    let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in trial.rows("out.jsonl") {
        let port = row["text"].as_str().unwrap().rsplit(' ').next().unwrap().to_owned();
        found.entry(port).or_default().push(row);
    }
    let mut refused: Vec<String> = trial.values("bad.jsonl");
    refused.sort();
    let mut refused_expected = Vec::new();
    for server in servers {
        let (rows, bad) = server.expected();
        // In the order of the server, too.
        assert_eq!(found.remove(&server.port.to_string()), Some(rows), "{what}");
        refused_expected.extend(bad);
        let told = server.state();
        assert_eq!(told.forgotten, server.count, "{what}: what came last is acknowledged before the job ends");
        for (from, forgotten, done) in &told.opened {
            assert!(from >= forgotten && from >= done, "{what}: asked for {from}, after {forgotten} and {done}");
        }
    }
    refused_expected.sort();
    assert_eq!((refused, found.len()), (refused_expected, 0), "{what}");
}

/// One process has planned lines, and their server has dropped them, when the other dies before it has planned the same batch.
/// The batch does not count, and its lines come with the next ones, in whichever process reads that server then.
#[test]
fn lines_planned_by_only_one_process_are_not_lost() {
    for processes in [2, 1, 3] {
        let ports = ports_of_two_processes();
        let trial = reading(&ports);
        let servers = ports.map(|port| Lines::start(port, 1500, 300, None));
        let hosts = millstream_tests::two_hosts();
        let process = |number, fault| {
            let place = ["--workers", "1", "--processes", "2", "--process", number, "--hosts", &hosts];
            let mut command = trial.command(&[&["run", "job.toml", "--unsupervised"], &place[..]].concat());
            Process::start(command.env("MILLSTREAM_TEST_FAULT", fault))
        };
        let (first, mut second) = (process("0", ""), process("1", "hold@plan.before:10"));
        // Its other threads continue, as the first process still waits for their messages about earlier batches.
        second.wait_for_stderr("wants this thread to wait at `plan.before`");
        let of_first = servers.iter().find(|server| process_of(server.port) == 0).unwrap();
        let committed = || {
            let port = format!(" of {}", of_first.port);
            trial.rows("out.jsonl").iter().filter(|row| row["text"].as_str().unwrap().ends_with(&port)).count()
        };
        // The good lines that had arrived by then.
        let forgotten = || (0..of_first.state().forgotten).filter(|number| number % 100 != 42).count();
        millstream_tests::wait_until("lines are forgotten that are not committed", || committed() < forgotten());
        // Meanwhile, batches that all have planned are committed.
        thread::sleep(Duration::from_secs(1));
        millstream_tests::wait_until("there still are such lines", || committed() < forgotten());
        first.kill();
        second.kill();
        let ended = trial.start_processes(processes, 1).wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        check_arrived_once(&trial, &servers, &format!("{processes} processes"));
    }
}

#[test]
fn an_unreachable_server_is_waited_for_and_reported_once() {
    let port = free_port();
    let trial = reading(&[port]);
    let mut job = trial.start(&[]);
    job.wait_for_stderr("retrying until it works");
    thread::sleep(Duration::from_millis(700));
    let server = Lines::start(port, 50, 1_000_000, None);
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("retrying until it works").count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("it works again"), "{}", ended.stderr);
    assert_eq!(trial.rows("out.jsonl"), server.expected().0);
}

/// Two ports whose servers are read in different processes, if there are two.
fn ports_of_two_processes() -> [u16; 2] {
    let first = free_port();
    let second = std::iter::repeat_with(free_port).find(|second| process_of(first) != process_of(*second));
    [first, second.unwrap()]
}

/// The process that reads such a server, of two.
fn process_of(port: u16) -> usize {
    let partition = format!("127.0.0.1:{port}");
    usize::from(!partition::Share::new(0, 2).owns(&partition))
}

/// One of two servers appears only when all of the other is read, and the job was killed in between: each has its own watermark,
/// whichever process reads it.
#[test]
fn lines_of_a_server_that_starts_later_are_not_late() {
    for (before, after) in [(1, 1), (2, 1), (1, 2), (2, 3), (2, 2)] {
        check_late_server(before, after);
    }
}

fn check_late_server(before: usize, after: usize) {
    let ports = ports_of_two_processes();
    let trial = counting_by_time(&ports);
    let first = Lines::start(ports[0], 1000, 1_000_000, None);
    let mut job = trial.start_processes(before, 1);
    job.wait_until("the lines of the first are safe", |_| first.state().forgotten == 1000);
    job.kill_all();
    let mut job = trial.start_processes(after, 2);
    job.wait_for_stderr("retrying until it works");
    let second = Lines::start(ports[1], 1000, 1_000_000, None);
    second.held_from.store(550, Ordering::Release);
    // The first is at its end, and holds up nothing.
    job.wait_until("five windows are complete", |_| counted(&trial).len() == 5);
    second.held_from.store(i64::MAX, Ordering::Release);
    let ended = job.wait();
    assert_eq!((ended.code, counted(&trial)), (Some(0), vec![198; 10]), "{}", ended.stderr);
}

/// A partition without any rows is waited for as long as it may have some, and not when it is at its end.
#[test]
fn an_ended_partition_without_rows_holds_up_nothing() {
    for (processes, empty) in [(1, 0), (2, 0), (2, 1)] {
        let ports = ports_of_two_processes();
        let trial = counting_by_time(&ports);
        let servers =
            ports.map(|port| Lines::start(port, if port == ports[empty] { 0 } else { 1000 }, 1_000_000, None));
        servers[1 - empty].held_from.store(550, Ordering::Release);
        let mut job = trial.start_processes(processes, 1);
        job.wait_until("five windows are complete", |_| counted(&trial).len() == 5);
        servers[1 - empty].held_from.store(i64::MAX, Ordering::Release);
        let ended = job.wait();
        assert_eq!((ended.code, counted(&trial)), (Some(0), vec![99; 10]), "{}", ended.stderr);
    }
}

/// Partitions have ended, and checkpoints were made before and after that. The next start does not repeat output since the last
/// one, whatever the watermarks of ended partitions in the checkpoints.
#[test]
fn ended_partitions_do_not_affect_replayed_batches() {
    // Enough that a worker loses all of its watermarks.
    let ports = [(); 6].map(|()| free_port());
    let trial = counting_by_time(&ports);
    trial.change("[checkpoint]", "at_end = \"keep\"\n        [checkpoint]");
    let servers: Vec<Lines> = ports
        .iter()
        .map(|port| Lines::start(*port, if *port == ports[0] { 2000 } else { 20 }, 1_000_000, None))
        .collect();
    let (going, ending) = (&servers[0], &servers[1..]);
    let held_from = |server: &Lines, line| server.held_from.store(line, Ordering::Release);
    held_from(going, 150);
    ending.iter().for_each(|server| held_from(server, 10));
    let mut job = trial.start_processes(1, 4);
    job.wait_until("a checkpoint has lines of all", |_| servers.iter().all(|server| server.state().done > 0));
    ending.iter().for_each(|server| held_from(server, i64::MAX));
    job.wait_until("a window is complete without those that ended", |_| counted(&trial).len() == 1);
    held_from(going, 160);
    job.wait_until("a checkpoint was made since", |_| going.state().done == 160);
    held_from(going, 350);
    job.wait_until("windows are complete", |_| counted(&trial).len() == 3);
    job.kill_all();
    held_from(going, 450);
    let mut job = trial.start_processes(1, 4);
    job.wait_until("the next is complete", |_| counted(&trial).len() >= 4);
    held_from(going, i64::MAX);
    let ended = job.wait();
    let mut expected = vec![99; 19];
    expected[0] += 5 * 20;
    assert_eq!((ended.code, counted(&trial)), (Some(0), expected), "{}", ended.stderr);
}

/// Partitions without positions have ended when their rows are in batches, not when these are read: a process with fewer of them
/// is ahead, and makes no row of the others late.
#[test]
fn partitions_without_positions_end_after_their_rows() {
    let trial = counting(
        "up_to = 3000, partitions = 4, fault = \"no-position\", slow = \"p1\"",
        &format!("rows_per_batch_max = 20\n{CHECKPOINT}"),
    );
    trial.change("batch = \"50ms\"", "batch = \"10ms\"");
    count_by_time(&trial, "n", "n");
    trial.change(
        "[sinks.out]",
        "[sinks.missed]\nfrom = \"counts.late\"\nkind = \"queue\"\npath = \"late.jsonl\"\n[sinks.out]",
    );
    trial.run_ok(&["--processes", "2", "--workers", "1", "--hosts", &millstream_tests::two_hosts()]);
    let late = trial.rows("late.jsonl").len();
    assert_eq!((late, counted(&trial)), (0, vec![400; 30]));
}

/// Each process reads its share of the partitions, and logs it.
#[test]
fn the_partitions_of_a_plugin_are_distributed_over_the_processes() {
    let trial = counting("up_to = 1000000000, partitions = 6", &format!("rows_per_batch_max = 100\n{CHECKPOINT}"));
    let job = trial.start_processes(2, 1);
    let mut status = Value::Null;
    let told = || {
        let Ok(told) = trial.command(&["status", "job.toml", "--json"]).output() else { return false };
        status = serde_json::from_slice(&told.stdout).unwrap_or_default();
        let partitions = &status["sources"][0]["partitions"];
        partitions["furthest"].as_array().is_some_and(|all| {
            all.len() == 6 && all.iter().all(|one| one["rows"].as_i64().is_some_and(|rows| rows > 0))
        })
    };
    millstream_tests::wait_until("six partitions are told", told);
    let mut by_process: BTreeMap<i64, Vec<&str>> = BTreeMap::new();
    for partition in status["sources"][0]["partitions"]["furthest"].as_array().unwrap() {
        by_process.entry(partition["process"].as_i64().unwrap()).or_default().push(partition["name"].as_str().unwrap());
    }
    assert_eq!(by_process.keys().copied().collect::<Vec<_>>(), [0, 1], "{status}");
    assert!(by_process.values().all(|names| names.len() >= 2), "{by_process:?}");
    job.kill_all();
    let alone = trial.start(&["--processes", "2", "--hosts", &millstream_tests::two_hosts(), "--limit", "5"]);
    let ended = alone.wait();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("its rows cannot be limited; start the job in one process"), "{}", ended.stderr);
}

/// A later start resumes after what an earlier one had read to the end.
#[test]
fn a_source_that_ended_resumes_at_its_position() {
    let trial = counting("up_to = 1000, partitions = 3", "");
    trial.change("[sources.n]", &format!("{CHECKPOINT}\n[sources.n]"));
    let counted = |trial: &Trial| {
        let mut counted: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for row in trial.rows("out.jsonl") {
            counted.entry(row["partition"].as_str().unwrap().into()).or_default().push(row["n"].as_i64().unwrap());
        }
        counted
    };
    let all = |up_to: i64| BTreeMap::from([0, 1, 2].map(|p| (format!("p{p}"), (0..up_to).collect::<Vec<_>>())));
    let ended = trial.run_ok(&[]);
    assert!(ended.stderr.contains("`n` counted numbers = 3000\n"), "{}", ended.stderr);
    assert_eq!(counted(&trial), all(1000));
    trial.run_ok(&["--processes", "2", "--workers", "1", "--hosts", &millstream_tests::two_hosts()]);
    assert_eq!(counted(&trial), all(1000), "nothing is left");
    trial.change("up_to = 1000", "up_to = 1200");
    trial.run_ok(&["--processes", "3", "--workers", "1", "--hosts", &millstream_tests::hosts(3)]);
    assert_eq!(counted(&trial), all(1200));
    trial.change("up_to = 1200", "up_to = 1500");
    let ended = trial.run_ok(&[]);
    assert!(ended.stderr.contains("p2 is opened at 1200"), "{}", ended.stderr);
    assert!(ended.stderr.contains("`n` counted numbers = 4500\n"), "a restart does not forget: {}", ended.stderr);
    assert_eq!(counted(&trial), all(1500));
}

#[test]
fn a_failing_source_ends_the_job_with_a_report() {
    // Config, more keys of the source, exit code, and parts of the message.
    let cases: &[(&str, &str, i32, &[&str])] = &[
        (
            "up_to = 9, fault = \"loop-in-poll\"",
            "limits = { time = \"300ms\" }",
            1,
            &["source `n`: plugin bad-source 0.1.0 failed in `poll`: it ran longer than its time limit of 300ms"],
        ),
        ("fault = \"loop-in-open\"", "limits = { time = \"300ms\" }", 1, &["failed in `open`", "time limit of 300ms"]),
        ("fault = \"loop-in-partitions\"", "limits = { time = \"300ms\" }", 1, &["failed in `partitions`"]),
        ("up_to = 9, at = 5, fault = \"panic\"", "", 1, &["number 5 is too much for me", "Fix the plugin; "]),
        ("fault = \"panic-in-open\"", "", 1, &["failed in `open`", "I cannot open"]),
        (
            "fault = \"too-many-rows\"",
            "",
            1,
            &["16385 rows, including rejected ones, but at most 16384 were requested"],
        ),
        ("fault = \"too-many-refused\"", "", 1, &["but at most 16384 were requested"]),
        ("fault = \"long-position\"", "", 1, &["a position of 1048576 bytes; at most 4096 are allowed"]),
        ("fault = \"memory\"", "", 1, &["more memory than its limit of 256 MiB", "`limits.memory` of the source"]),
        ("fault = \"config-in-open\"", "", 2, &["rejects its config in `open`: no partition can be opened"]),
        ("fault = \"config-in-poll\"", "", 2, &["rejects its config in `poll`: the config does not fit what came"]),
        ("fault = \"config-in-describe\"", "", 2, &["job.toml:6: source `n`", "I do not like this config"]),
        ("upto = 9", "", 2, &["source `n`", "unknown field `upto`"]),
        (
            "fault = \"connect-in-describe\", address = \"127.0.0.1:1\"",
            "grant = { tcp = [\"127.0.0.1:1\"] }",
            1,
            &["a connection to 127.0.0.1:1 is not allowed in `describe`"],
        ),
        (
            "up_to = 9, address = \"127.0.0.1:1\"",
            "",
            2,
            &["a connection to 127.0.0.1:1 is not granted; the job grants it with grant = "],
        ),
        ("partitions = 65, up_to = 9", "", 1, &["has more than 64 partitions"]),
        ("partitions = 2, same_name = true", "", 1, &["partition `p0` appears twice"]),
        ("up_to = 9", "schema = { n = \"int64\" }", 2, &["`schema` is not for kind `plugin`"]),
        ("up_to = 9", "grant = { tcp = [\"127.0.0.1\"] }", 2, &["`127.0.0.1` is not host:port"]),
    ];
    for (config, more, code, message) in cases {
        let ended = counting(config, more).run(&[]);
        assert_eq!(ended.code, Some(*code), "{config}: {}", ended.stderr);
        for word in *message {
            assert!(ended.stderr.contains(word), "{config}: {word} in {}", ended.stderr);
        }
        // Nothing is read if there are too many partitions.
        assert!(!config.contains("65") || !ended.stderr.contains("is opened"), "{}", ended.stderr);
    }
}

#[test]
fn transient_errors_are_retried_until_the_job_is_idle() {
    for (config, told) in [
        ("fault = \"error-in-open\"", "source `n`, partition `p0`: it is not open yet"),
        ("fault = \"error-in-partitions\"", "source `n`: nobody tells me which partitions there are"),
        ("partitions = 0", ""),
    ] {
        let ended = counting(config, "").run_ok(&["--until-idle"]);
        let times = usize::from(!told.is_empty());
        assert_eq!(ended.stderr.matches("retrying until it works").count(), times, "{}", ended.stderr);
        assert!(ended.stderr.contains(told), "{config}: {}", ended.stderr);
    }
}

/// Bytes of any kind, which count like rows. A position that advances without rows is not lost: a batch has only the position.
#[test]
fn a_position_without_rows_is_kept_before_the_next_rows() {
    let trial = counting("up_to = 1000000, at = 3, fault = \"silent\"", CHECKPOINT);
    trial.change("batch = \"50ms\"", "batch = \"0s\"");
    let mut job = trial.start(&[]);
    // One line per batch.
    job.wait_until("a batch has no rows", |_| trial.text("out.jsonl").contains("\"rows\":[]"));
    job.children().into_iter().for_each(|child| signal("KILL", child));
    let opened = |job: &Process| -> Vec<i64> {
        let told = job.stderr();
        let lines = told.lines().filter_map(|line| line.split("p0 is opened at ").nth(1));
        lines.filter_map(|rest| rest.split_whitespace().next()?.parse().ok()).collect()
    };
    job.wait_until("it is opened again", |job| opened(job).len() > 1);
    assert!(opened(&job)[1] > 3, "{}", job.stderr());
    assert!(job.stderr().contains(" source=\"n\" "), "it is no stage: {}", job.stderr());
    assert!(!job.stderr().contains(" stage="), "{}", job.stderr());
    stop(job);
}

#[test]
fn data_rejected_by_a_source_is_a_rejected_row() {
    let more = "[sinks.bad]\nfrom = \"n.rejected\"\nkind = \"queue\"\npath = \"bad.jsonl\"";
    let trial = counting("up_to = 100, fault = \"refuse\"", more);
    trial.run_ok(&[]);
    let numbers: Vec<i64> = trial.rows("out.jsonl").iter().map(|row| row["n"].as_i64().unwrap()).collect();
    assert_eq!(numbers, (0..100).filter(|n| n % 10 != 7).collect::<Vec<_>>());
    let bad = trial.rows("bad.jsonl");
    assert_eq!(bad.len(), 10);
    assert!(bad.iter().all(|row| row["reason"] == "a seven"), "{bad:?}");
    assert_eq!(bad[1]["value"], "17\n\0ÿ");
}

#[test]
fn datagrams_are_rows() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let trial = counting(&format!("listen = \"{address}\""), &format!("grant = {{ udp = [\"{address}\"] }}"));
    let job = trial.start(&[]);
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    millstream_tests::wait_until("datagrams are rows", || {
        // Before the plugin listens they are rejected, or lost.
        match sender.send_to(b"four", &address) {
            Err(error) if error.kind() != ErrorKind::ConnectionRefused => panic!("{error}"),
            _ => {}
        }
        thread::sleep(Duration::from_millis(20));
        !trial.rows("out.jsonl").is_empty()
    });
    let status = trial.run_command(&["status", "job.toml"]);
    assert_eq!(status.code, Some(0), "{}", status.stderr);
    for message in ["    plugin  bad-source 0.1.0, sha256:", "    calls   ", "    memory  "] {
        assert!(status.stdout.contains(message), "{message} in {}", status.stdout);
    }
    stop(job);
    let own = sender.local_addr().unwrap().to_string();
    assert!(trial.rows("out.jsonl").iter().all(|row| *row == json!({ "n": 4, "partition": own })));
}

fn stop(job: Process) {
    let printed = job.stop();
    assert!(!printed.contains("error"), "{printed}");
}

#[test]
fn validate_shows_the_columns_of_a_source() {
    let trial = counting("up_to = 9", "");
    let shown = trial.run_command_ok(&["validate", "job.toml"]);
    assert!(shown.contains("n int64, partition text"), "{shown}");
    // No other world is a source.
    trial.change(&plugin("bad-source").display().to_string(), &plugin("sum").display().to_string());
    let ended = trial.run_command(&["validate", "job.toml"]);
    assert!(ended.stderr.contains("but a source needs a plugin of world source"), "{}", ended.stderr);
    assert_eq!(ended.code, Some(2));
}
