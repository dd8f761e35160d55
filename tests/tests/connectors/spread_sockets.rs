//! A socket source with several servers, which are distributed over the processes of the job. Planned rows arrive once and in the
//! order of their connection, whatever dies. Each server has its own watermark, and the list may change between starts.

use millstream::internals::batch::partition::Share;
use millstream_tests::{DEADLINE, LineServer, Process, Random, Trial, holds_within, hosts, kill};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Stops a job, one of whose processes may just have been killed.
fn stop(job: Process) {
    job.signal("TERM");
    let ended = job.wait();
    assert!(ended.code == Some(0) || ended.stderr.contains("died (signal 9) while it stopped"), "{}", ended.stderr);
}

/// `address = [...]` of these servers.
fn list<'a>(servers: impl IntoIterator<Item = &'a LineServer>) -> String {
    let addresses: Vec<String> = servers.into_iter().map(|server| format!("\"{}\"", server.address())).collect();
    format!("address = [{}]", addresses.join(", "))
}

/// A job that reads these servers, with `more` keys of the source, followed by tables.
fn reading(address: &str, more: &str) -> Trial {
    Trial::new(&format!(
        r#"name = "sockets"
batch = "10ms"
[checkpoint]
dir = "checkpoint"
every = 5
[sources.in]
kind = "socket"
{address}
format = "json"
schema = {{ s = "int64", n = "int64", at = "timestamp(s)" }}
{more}
[sinks.out]
from = "in"
kind = "queue"
path = "out.jsonl"
"#
    ))
}

const WINDOWS: &str = r#"
[stages.counts]
from = "in"
key = "s"
aggregate = { n = "count(*)", sum = "sum(n)" }
time = "at"
window = { size = "10s" }
[sinks.windows]
from = "counts"
kind = "queue"
path = "windows.jsonl"
[sinks.missed]
from = "counts.late"
kind = "queue"
path = "late.jsonl"
"#;

/// This many rows of a server, starting with a number.
fn rows(server: usize, numbers: std::ops::Range<u64>) -> String {
    numbers.map(|n| json!({ "s": server, "n": n, "at": 1_600_000_000 + n }).to_string() + "\n").collect()
}

/// The rows of each server so far, in the order in which they arrived.
fn by_server(trial: &Trial) -> BTreeMap<u64, Vec<u64>> {
    let mut found: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for row in trial.rows("out.jsonl") {
        found.entry(row["s"].as_u64().unwrap()).or_default().push(row["n"].as_u64().unwrap());
    }
    found
}

/// Rows of each window that came out, by server and the number of the window.
fn windows(trial: &Trial) -> BTreeMap<(u64, u64), u64> {
    let rows = trial.rows("windows.jsonl");
    let numbers = |row: &Value| {
        let n = row["n"].as_u64().unwrap();
        let window = row["sum"].as_u64().unwrap() / n / 10;
        ((row["s"].as_u64().unwrap(), window), n)
    };
    let found: BTreeMap<(u64, u64), u64> = rows.iter().map(numbers).collect();
    assert_eq!(found.len(), rows.len(), "each window comes once: {rows:?}");
    found
}

/// The windows of these servers up to a number, of ten rows each.
fn all_windows(servers: std::ops::Range<u64>, end: u64) -> BTreeMap<(u64, u64), u64> {
    servers.flat_map(|server| (0..end).map(move |window| ((server, window), 10))).collect()
}

/// Returns servers such that the one with index `process` is read by that process.
fn one_for_each(processes: usize) -> Vec<LineServer> {
    let server =
        |process| LineServer::start_where(|port| Share::new(process, processes).owns(&format!("127.0.0.1:{port}")));
    (0..processes).map(server).collect()
}

/// The partitions of the source in `status`, by name.
fn partitions_of_status(trial: &Trial) -> BTreeMap<String, Value> {
    let ended = trial.run_command(&["status", "job.toml", "--json"]);
    let status: Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
    let partitions = status["sources"][0]["partitions"]["furthest"].as_array().cloned().unwrap_or_default();
    partitions.into_iter().map(|one| (one["name"].as_str().unwrap().to_owned(), one)).collect()
}

fn start_apart(trial: &Trial, processes: usize) -> Process {
    let (number, hosts) = (processes.to_string(), hosts(processes));
    let mut arguments = vec!["run", "job.toml", "--workers", "2"];
    if processes > 1 {
        arguments.extend(["--processes", &number, "--hosts", &hosts]);
    }
    Process::start(&mut trial.isolated_command(&arguments))
}

#[test]
fn servers_move_between_processes_and_each_row_arrives_once_and_in_order() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut random = Random::new(seed);
    let servers: Vec<LineServer> = (0..5).map(|_| LineServer::start()).collect();
    let trial = reading(&list(&servers), "rows_per_batch_max = 40\n");
    let connections = || -> Vec<usize> { servers.iter().map(LineServer::connections).collect() };
    let connected =
        |before: &[usize]| servers.iter().zip(before).for_each(|(server, n)| server.wait_for_connection(*n));
    let start = |random: &mut Random| {
        let before = connections();
        let job = trial.start_processes(random.from(1, 3) as usize, random.from(1, 2));
        connected(&before);
        job
    };
    let mut job = start(&mut random);
    let (mut next, mut all_came) = (vec![0_u64; servers.len()], vec![0_u64; servers.len()]);
    // It is unknown whether a plan had these.
    let mut doubtful: Vec<std::ops::Range<u64>> = vec![0..0; servers.len()];
    let mut lost = 0;
    for round in 0..9 {
        let quiet = round == 8 || random.from(0, 1) == 0;
        for (number, server) in servers.iter().enumerate() {
            let (from, count) = (next[number], random.from(1, 300));
            next[number] += count;
            server.send(rows(number, from..from + count));
            doubtful[number] = from..from + count;
        }
        let before: u64 = all_came.iter().sum();
        let last = |came: &BTreeMap<u64, Vec<u64>>, number: usize| {
            came.get(&(number as u64)).and_then(|numbers| numbers.last()).map_or(0, |last| last + 1)
        };
        if quiet {
            let came = || (0..servers.len()).all(|number| last(&by_server(&trial), number) == next[number]);
            assert!(holds_within(DEADLINE, came), "seed {seed}, round {round}\n{}", job.stderr());
        } else {
            // Plans have some of it, whatever died before.
            let some = before + random.from(1, doubtful.iter().map(|sent| sent.end - sent.start).sum::<u64>() / 2);
            let came = || trial.rows("out.jsonl").len() as u64 >= some;
            assert!(holds_within(DEADLINE, came), "seed {seed}, round {round}\n{}", job.stderr());
        }
        let came = by_server(&trial);
        for number in 0..servers.len() {
            let numbers = came.get(&(number as u64)).map_or(&[][..], Vec::as_slice);
            assert!(numbers.is_sorted_by(|a, b| a < b), "seed {seed}, round {round}, server {number}: {numbers:?}");
            if quiet {
                // All rows sent in this round, as nothing died meanwhile.
                let of_round = numbers.iter().filter(|n| doubtful[number].contains(n)).count() as u64;
                let sent = doubtful[number].end - doubtful[number].start;
                assert_eq!(of_round, sent, "seed {seed}, round {round}, server {number}");
            }
            all_came[number] = numbers.len() as u64;
        }
        if round == 8 {
            break;
        }
        lost += u64::from(!quiet);
        match random.from(0, 3) {
            0 => {
                // One process of the job; the supervisor restarts all of them.
                let (children, before) = (job.children(), connections());
                let chosen = random.from(0, children.len().max(1) as u64 - 1) as usize;
                children.get(chosen).into_iter().for_each(|child| kill(*child));
                connected(&before);
            }
            1 => {
                stop(job);
                job = start(&mut random);
            }
            _ => {
                job.kill_all();
                job = start(&mut random);
            }
        }
    }
    stop(job);
    assert!(lost > 0, "seed {seed}: nothing died while rows came");
    assert!(all_came.iter().all(|count| *count > 0), "seed {seed}: {all_came:?} of {next:?}");
}

/// With fewer watermarks the rows of those that lag behind would be late. If a server has not sent anything yet, because its
/// process or the server is down, there is no output.
#[test]
fn rows_in_order_within_their_connection_are_never_late() {
    for processes in [1, 2, 3] {
        let mut servers = one_for_each(processes.max(2));
        let count = servers.len() as u64;
        let trial = reading(&list(&servers), &format!("rows_per_batch_max = 60\n{WINDOWS}"));
        let behind = servers.pop().unwrap();
        let port = behind.port();
        drop(behind);
        let job = trial.start_processes(processes, 2);
        for (number, server) in servers.iter().enumerate() {
            server.wait_for_connection(0);
            server.send(rows(number, 0..400));
        }
        let came = |wanted: u64| {
            let all = || by_server(&trial).values().map(|numbers| numbers.len() as u64).sum::<u64>() >= wanted;
            assert!(holds_within(DEADLINE, all), "{processes} processes");
        };
        came((count - 1) * 400);
        let before: Vec<usize> = servers.iter().map(LineServer::connections).collect();
        job.kill_all();
        // The watermarks are the previous ones, in other processes.
        let job = trial.start_processes(1 + processes % 3, 1);
        servers.iter().zip(&before).for_each(|(server, before)| server.wait_for_connection(*before));
        for (number, server) in servers.iter().enumerate() {
            server.send(rows(number, 400..600));
        }
        came((count - 1) * 600);
        assert_eq!(windows(&trial), BTreeMap::new(), "{processes} processes: one server has shown nothing");
        let behind = LineServer::start_at(port);
        behind.wait_for_connection(0);
        behind.send(rows(servers.len(), 0..301));
        let wanted = all_windows(0..count, 30);
        let done = holds_within(DEADLINE, || windows(&trial) == wanted);
        assert!(done, "{processes} processes: {:?} of {wanted:?}\n{}", windows(&trial), job.stderr());
        behind.send(rows(servers.len(), 301..601));
        for (number, server) in servers.iter().enumerate() {
            server.send(rows(number, 600..601));
        }
        let wanted = all_windows(0..count, 60);
        let done = holds_within(DEADLINE, || windows(&trial) == wanted);
        assert!(done, "{processes} processes: {:?} of {wanted:?}\n{}", windows(&trial), job.stderr());
        stop(job);
        assert_eq!(trial.rows("late.jsonl"), [json!(null); 0], "{processes} processes");
    }
}

/// A server that is idle or unreachable is ignored after a while if the stage says so.
#[test]
fn an_idle_server_is_ignored_if_the_stage_says_so() {
    for processes in [1, 2] {
        let servers = one_for_each(2);
        let trial = reading(&list(&servers), &WINDOWS.replace("time = \"at\"", "time = \"at\"\nidle = \"200ms\""));
        let mut job = trial.start_processes(processes, 1);
        servers.iter().for_each(|server| server.wait_for_connection(0));
        servers[0].send(rows(0, 0..10));
        servers[1].send(rows(1, 0..10));
        job.wait_until("all rows", |_| trial.rows("out.jsonl").len() == 20);
        // It advances the time, and nothing else does.
        let mut at = 10;
        job.wait_until("windows without the silent one", |_| {
            servers[0].send(rows(0, at..at + 10));
            at += 10;
            windows(&trial).len() > 3
        });
        assert!(windows(&trial).keys().any(|(server, window)| *server == 0 && *window > 0));
        stop(job);
    }
}

/// A connection that breaks, or a server that disappears, does not hold up the others, and its counts continue.
#[test]
fn a_closed_connection_is_reopened_while_others_continue() {
    for processes in [1, 2] {
        let mut servers = one_for_each(2);
        let trial = reading(&list(&servers), WINDOWS);
        let mut job = start_apart(&trial, processes);
        servers.iter().for_each(|server| server.wait_for_connection(0));
        for (number, server) in servers.iter().enumerate() {
            server.send(rows(number, 0..20));
        }
        job.wait_until("the first rows", |_| trial.rows("out.jsonl").len() == 40);
        servers[1].hang_up();
        servers[1].wait_for_connection(1);
        servers[1].send(rows(1, 20..40));
        job.wait_until("rows of the second connection", |_| trial.rows("out.jsonl").len() == 60);
        // Permanently unreachable, as far as the job knows.
        let gone = servers.pop().unwrap();
        let (port, name) = (gone.port(), gone.address());
        drop(gone);
        job.wait_for_stderr(&format!("cannot connect to {name} (connection refused)"));
        servers[0].send(rows(0, 20..100));
        job.wait_until("rows of the other", |_| by_server(&trial)[&0].len() == 100);
        let again = LineServer::start_at(port);
        again.wait_for_connection(0);
        again.send(rows(1, 40..100));
        job.wait_until("all rows", |_| trial.rows("out.jsonl").len() == 200);
        job.wait_until("it is told", |_| {
            partitions_of_status(&trial).get(&name).is_some_and(|one| one["position"] == 100)
        });
        job.wait_until("windows", |_| windows(&trial) == all_windows(0..2, 9));
        stop(job);
        assert_eq!(by_server(&trial), [(0, (0..100).collect()), (1, (0..100).collect())].into());
        assert_eq!(trial.rows("late.jsonl"), [json!(null); 0]);
    }
}

/// The status shows which process reads which server, its position and its event time; `inspect` shows its position.
#[test]
fn a_status_lists_each_server() {
    let servers = one_for_each(2);
    let trial = reading(&list(&servers), WINDOWS);
    let mut job = start_apart(&trial, 2);
    servers.iter().for_each(|server| server.wait_for_connection(0));
    // Including servers that have sent nothing.
    job.wait_until("both are told of", |_| partitions_of_status(&trial).len() == 2);
    assert!(
        partitions_of_status(&trial).values().all(|one| one["position"] == 0 && one["rows"] == 0),
        "{:?}",
        partitions_of_status(&trial)
    );
    servers[0].send(rows(0, 0..30));
    servers[1].send(rows(1, 0..50));
    let wanted = |number: usize, rows: u64| {
        let time = (1_600_000_000 + rows - 1) * 1_000_000;
        let name = servers[number].address();
        (
            name.clone(),
            json!({ "name": name, "process": number, "position": rows, "rows": rows, "times_us": { "counts": time } }),
        )
    };
    let wanted: BTreeMap<String, Value> = [wanted(0, 30), wanted(1, 50)].into();
    let done = holds_within(DEADLINE, || partitions_of_status(&trial) == wanted);
    assert!(done, "{:?} of {wanted:?}", partitions_of_status(&trial));
    stop(job);
    let inspected = trial.run_command_ok(&["inspect", "checkpoint"]);
    for (server, rows) in servers.iter().zip([30, 50]) {
        assert!(inspected.contains(&format!("{} {rows} rows received", server.address())), "{inspected}");
    }
    assert!(inspected.contains("in (several sockets): "), "{inspected}");
    let inspected: Value = serde_json::from_str(&trial.run_command_ok(&["inspect", "checkpoint", "--json"])).unwrap();
    let received = servers.iter().zip([30, 50]).map(|(server, rows)| (format!("in {}", server.address()), json!(rows)));
    assert_eq!(inspected["received"], Value::Object(received.collect()));
    // Positions continue, and rows are those since the start.
    let mut job = start_apart(&trial, 1);
    servers.iter().for_each(|server| server.wait_for_connection(1));
    servers[0].send(rows(0, 30..40));
    let name = servers[0].address();
    job.wait_until("it goes on", |_| {
        partitions_of_status(&trial)
            .get(&name)
            .is_some_and(|one| one["position"] == 40 && one["rows"] == 10 && one["process"].is_null())
    });
    stop(job);
}

/// The list is different: positions of remaining servers continue, a removed one holds no window, and a new one does from the
/// beginning.
#[test]
fn a_job_resumes_with_another_list_of_servers() {
    for (before, after) in [(1, 1), (1, 2), (2, 1), (3, 2)] {
        let servers: Vec<LineServer> = (0..4).map(|_| LineServer::start()).collect();
        let trial = reading(&list(&servers[..3]), WINDOWS);
        let mut job = start_apart(&trial, before);
        servers[..3].iter().for_each(|server| server.wait_for_connection(0));
        for (number, count) in [(0, 31), (1, 101), (2, 101)] {
            servers[number].send(rows(number, 0..count));
        }
        job.wait_until("all rows", |_| trial.rows("out.jsonl").len() == 233);
        job.wait_until("windows up to the one behind", |_| windows(&trial).len() == 9);
        // Some of it is in plans alone.
        job.kill_all();
        trial.change(&list(&servers[..3]), &list(&servers[1..]));
        let mut job = start_apart(&trial, after);
        servers[1..3].iter().for_each(|server| server.wait_for_connection(1));
        servers[3].wait_for_connection(0);
        servers[1].send(rows(1, 101..121));
        servers[2].send(rows(2, 101..121));
        job.wait_until("all rows", |_| trial.rows("out.jsonl").len() == 273);
        let name = servers[1].address();
        job.wait_until("its position goes on", |_| {
            partitions_of_status(&trial).get(&name).is_some_and(|one| one["position"] == 121)
        });
        assert!(!partitions_of_status(&trial).contains_key(&servers[0].address()));
        // The new one lags behind, and holds up everything, from the beginning on.
        assert_eq!(windows(&trial).len(), 9, "{before} to {after}: {:?}", windows(&trial));
        servers[3].send(rows(3, 50..111));
        let mut wanted = all_windows(1..3, 11);
        wanted.extend((0..3).map(|window| ((0, window), 10)));
        // The last row of the removed server.
        wanted.insert((0, 3), 1);
        wanted.extend((5..11).map(|window| ((3, window), 10)));
        let done = holds_within(DEADLINE, || windows(&trial) == wanted);
        assert!(done, "{before} to {after}: {:?} of {wanted:?}\n{}", windows(&trial), job.stderr());
        stop(job);
        assert_eq!(trial.rows("late.jsonl"), [json!(null); 0], "{before} to {after}");
    }
}

/// A server that held up windows is removed from the list, and nothing else happens: these windows are output.
#[test]
fn windows_held_up_by_a_server_are_output_when_it_is_removed() {
    let servers: Vec<LineServer> = (0..2).map(|_| LineServer::start()).collect();
    let trial = reading(&list(&servers), WINDOWS);
    let mut job = start_apart(&trial, 1);
    servers.iter().for_each(|server| server.wait_for_connection(0));
    servers[0].send(rows(0, 0..50));
    job.wait_until("rows", |_| trial.rows("out.jsonl").len() == 50);
    stop(job);
    assert_eq!(windows(&trial), BTreeMap::new());
    trial.change(&list(&servers), &list(&servers[..1]));
    let mut job = start_apart(&trial, 2);
    job.wait_until("windows", |_| windows(&trial) == all_windows(0..1, 4));
    stop(job);
}

/// One server and a list are different; the checkpoint records which.
#[test]
fn a_list_does_not_resume_from_a_single_server() {
    let server = LineServer::start();
    let one = format!("address = \"{}\"", server.address());
    let trial = reading(&one, "");
    let mut job = trial.start_processes(1, 1);
    server.wait_for_connection(0);
    server.send(rows(0, 0..5));
    job.wait_until("rows", |_| trial.rows("out.jsonl").len() == 5);
    stop(job);
    trial.change(&one, &list([&server]));
    let output = trial.rejected_message(&["run", "job.toml"]);
    let text = format!("source `in` was socket {} and is now several sockets", server.address());
    assert!(output.contains(&text) && output.contains("--drop-state in"), "{output}");
    let mut job = trial.start(&["--drop-state", "in"]);
    server.wait_for_connection(1);
    server.send(rows(0, 5..9));
    job.wait_until("rows", |_| trial.rows("out.jsonl").len() == 9);
    stop(job);
}

/// A job that ends when its sources are idle waits for all servers, except unreachable ones; also if a process reads none.
#[test]
fn a_job_ends_when_all_servers_are_idle() {
    for processes in [1, 2, 3] {
        let servers = one_for_each(1);
        // All of them in one process.
        let share = Share::new(processes - 1, processes);
        let second = LineServer::start_where(|port| share.owns(&format!("127.0.0.1:{port}")));
        let away = LineServer::start();
        let addresses = list([&servers[0], &second, &away]);
        drop(away);
        let trial = reading(&addresses, "");
        let (number, hosts) = (processes.to_string(), hosts(processes));
        let together = ["--until-idle", "--processes", &number, "--hosts", &hosts];
        let job = trial.start(if processes == 1 { &["--until-idle"] } else { &together });
        servers[0].wait_for_connection(0);
        second.wait_for_connection(0);
        assert!(servers[0].send(rows(0, 0..100)) && second.send(rows(1, 0..100)));
        let ended = job.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(by_server(&trial), [(0, (0..100).collect()), (1, (0..100).collect())].into(), "{processes}");
    }
}

#[test]
fn a_limit_needs_a_single_process() {
    let servers: Vec<LineServer> = (0..2).map(|_| LineServer::start()).collect();
    let trial = reading(&list(&servers), "");
    let job = trial.start(&["--limit", "30"]);
    servers.iter().for_each(|server| server.wait_for_connection(0));
    servers[0].send(rows(0, 0..20));
    servers[1].send(rows(1, 0..20));
    assert_eq!(job.wait().code, Some(0));
    assert_eq!(trial.rows("out.jsonl").len(), 30);
    let ended = trial.run(&["--limit", "30", "--processes", "2", "--hosts", &hosts(2)]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("so its rows cannot be limited; start the job in one process"), "{}", ended.stderr);
}

/// Each connection names its columns, in an order of its own.
#[test]
fn each_connection_has_its_own_header() {
    let servers: Vec<LineServer> = (0..3).map(|_| LineServer::start()).collect();
    let trial = reading(&list(&servers), "header = true");
    trial.change("format = \"json\"", "format = \"csv\"");
    let mut job = trial.start_processes(2, 2);
    servers.iter().for_each(|server| server.wait_for_connection(0));
    for (number, (server, header)) in servers.iter().zip(["s,n,at", "at,n,s", "n,s,at"]).enumerate() {
        let line = |n: u64| {
            let cell = |name: &str| match name {
                "s" => number as u64,
                "n" => n,
                _ => 1_600_000_000 + n,
            };
            header.split(',').map(|name| cell(name).to_string()).collect::<Vec<_>>().join(",") + "\n"
        };
        server.send(format!("{header}\n{}", (0..40).map(line).collect::<String>()));
    }
    job.wait_until("all rows", |_| trial.rows("out.jsonl").len() == 120);
    stop(job);
    assert_eq!(by_server(&trial), (0..3).map(|server| (server, (0..40).collect())).collect());
}

/// Frames of raw sockets, and `validate`, `schema` and values of variables with lists.
#[test]
fn frames_of_several_servers_are_identified_by_their_names() {
    let servers: Vec<LineServer> = (0..2).map(|_| LineServer::start()).collect();
    let trial = reading("address = [\"${FIRST}\", \"${SECOND}\"]", WINDOWS);
    trial.change("kind = \"socket\"", "kind = \"raw-socket\"");
    let start = |first: &LineServer, second: &LineServer| {
        let hosts = hosts(2);
        let arguments = ["run", "job.toml", "--processes", "2", "--hosts", &hosts];
        let mut command = trial.isolated_command(&arguments);
        Process::start(command.env("FIRST", first.address()).env("SECOND", second.address()))
    };
    let frames = |server: usize, numbers: std::ops::Range<u64>| -> Vec<u8> {
        let lines = rows(server, numbers);
        lines.lines().flat_map(|line| [&(line.len() as u32).to_be_bytes()[..], line.as_bytes()].concat()).collect()
    };
    let status = |first: &str, second: &str| -> BTreeMap<String, Value> {
        let mut command = trial.isolated_command(&["status", "job.toml", "--json"]);
        let ended = Process::start(command.env("FIRST", first).env("SECOND", second)).wait();
        let status: Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
        let partitions = status["sources"][0]["partitions"]["furthest"].as_array().cloned().unwrap_or_default();
        partitions.into_iter().map(|one| (one["name"].as_str().unwrap().to_owned(), one["position"].clone())).collect()
    };
    let mut job = start(&servers[0], &servers[1]);
    servers.iter().for_each(|server| server.wait_for_connection(0));
    assert!(servers[0].send(frames(0, 0..30)) && servers[1].send(frames(1, 0..31)));
    job.wait_until("rows", |_| trial.rows("out.jsonl").len() == 61);
    let wanted = |first: u64, second: u64| {
        BTreeMap::from([("${FIRST}".to_owned(), json!(first)), ("${SECOND}".to_owned(), json!(second))])
    };
    let (first, second) = (servers[0].address(), servers[1].address());
    job.wait_until("both are told of", |_| status(&first, &second) == wanted(30, 31));
    stop(job);
    // Another value does not make it another server.
    let moved = LineServer::start();
    let mut job = start(&moved, &servers[1]);
    moved.wait_for_connection(0);
    servers[1].wait_for_connection(1);
    assert!(moved.send(frames(0, 30..51)) && servers[1].send(frames(1, 31..51)));
    job.wait_until("windows", |_| windows(&trial) == all_windows(0..2, 5));
    job.wait_until("positions go on", |_| status(&moved.address(), &second) == wanted(51, 51));
    stop(job);
    assert_eq!(trial.rows("late.jsonl"), [json!(null); 0]);
    let mut command = trial.command(&["inspect", "checkpoint"]);
    let output = Process::start(&mut command).wait().stdout;
    assert!(
        output.contains("in (several raw-sockets): ${FIRST} 51 rows received; ${SECOND} 51 rows received"),
        "{output}"
    );
    // Two names for one server are rejected, with a message that does not contain the value.
    let validate = |first: &str, second: &str| {
        let mut command = trial.command(&["validate", "job.toml"]);
        Process::start(command.env("FIRST", first).env("SECOND", second)).wait()
    };
    assert_eq!(validate("geheim:1", "geheim:2").code, Some(0));
    let ended = validate("geheim:1", "geheim:1");
    assert_eq!(ended.code, Some(2), "{}", ended.stdout);
    assert!(ended.stderr.contains("twice, but each server is its own partition; write it once"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("geheim"), "{}", ended.stderr);
}
