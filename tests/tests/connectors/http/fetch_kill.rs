//! Sources that read from a server, in jobs that are killed in the middle and resume with one worker or two. What a server can
//! send again arrives once. What it cannot send again arrives once if it was planned.

use millstream_tests::{Exchange, Process, Random, StreamServer, Trial, free_port, queue_sink, wait_until};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const STEPS: [&str; 6] =
    ["plan.before", "plan.durable", "commit.before", "commit.written", "commit.after", "start.claim"];
const LAST: usize = 3000;
/// The time between two rows that cannot be requested again.
const PAUSE: Duration = Duration::from_millis(1);

fn job(port: u16, how: &str) -> Trial {
    Trial::new(&format!(
        "batch = \"5ms\"\n[checkpoint]\ndir = \"kept\"\nevery = 3\n[sources.in]\nkind = \"http\"\nurl = \"http://127.0.0.1:{port}/feed\"\n\
         format = \"json\"\nrows_per_batch_max = 40\n{how}\nschema = {{ n = \"int64\" }}\n{}",
        queue_sink("out", "in", "out")
    ))
}

fn start(trial: &Trial, workers: usize, fault: &str) -> Process {
    let workers = workers.to_string();
    let mut command = trial.command(&["run", "job.toml", "--unsupervised", "--workers", &workers]);
    Process::start(command.env("MILLSTREAM_TEST_FAULT", fault))
}

fn numbers(trial: &Trial) -> Vec<usize> {
    trial.rows("out.jsonl").iter().map(|row| row["n"].as_u64().unwrap() as usize).collect()
}

fn is_through(trial: &Trial) -> bool {
    numbers(trial).last().is_some_and(|last| *last >= LAST)
}

/// Kills the job at steps and at any moment until all rows are there. How often that was.
fn torture(trial: &Trial, seed: u64) -> usize {
    let mut random = Random::new(seed);
    let mut kills = 0;
    while !is_through(trial) {
        let step = STEPS[kills % STEPS.len()];
        let at = if step.starts_with("start") { 1 } else { random.from(1, 7) };
        let mut job =
            start(trial, 1 + kills % 2, &if kills % 4 == 3 { String::new() } else { format!("kill@{step}:{at}") });
        let more = numbers(trial).len() + random.from(1, 150) as usize;
        wait_until("it has come further, or is dead", || {
            let count = numbers(trial).len();
            count >= more || is_through(trial) || job.has_ended()
        });
        job.kill();
        kills += 1;
        assert!(kills < 500, "it gets no further than {:?}", numbers(trial).last());
    }
    kills
}

/// All numbers, once and in order.
fn expected() -> Vec<usize> {
    (1..=LAST).collect()
}

#[test]
fn events_with_ids_arrive_exactly_once_across_kills() {
    // Each response breaks off in the middle of an event, and the next one continues where the client says.
    let server = StreamServer::start(free_port(), |exchange: &mut Exchange| {
        let last = exchange.request.header("last-event-id").map_or(0, |id| id.parse::<usize>().unwrap());
        exchange.begin_body("text/event-stream")?;
        exchange.chunk("retry: 1\n\n")?;
        let end = (last + 400).min(LAST);
        // More than a batch may hold.
        for first in (last + 1..=end).step_by(100) {
            let events: String =
                (first..=end.min(first + 99)).map(|n| format!("id: {n}\ndata: {{\"n\":{n}}}\n\n")).collect();
            exchange.chunk(events)?;
            std::thread::yield_now();
        }
        if end < LAST {
            return exchange.chunk(format!("id: {}\ndata: {{\"n\":", end + 1));
        }
        exchange.silence()
    });
    let trial = job(server.port(), "stream = \"sse\"");
    let kills = torture(&trial, 3);
    assert_eq!(numbers(&trial), expected());
    assert!(kills > 8, "only {kills} kills");
    let mut job = start(&trial, 2, "");
    job.wait_for_stderr("connected to");
    job.stop();
    let inspected = trial.run_command_ok(&["inspect", "kept"]);
    assert!(inspected.contains("at:3000 is the next position"), "{inspected}");
    // With these a start knows which rows no batch has.
    assert!(inspected.contains("3000 rows received"), "{inspected}");
}

#[test]
fn rows_with_a_cursor_arrive_exactly_once_across_kills() {
    let server = StreamServer::start(free_port(), |exchange: &mut Exchange| {
        let line = exchange.request.line.clone();
        let since = line.split("since=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or("0");
        let since: usize = since.parse().unwrap();
        let rows: Vec<String> = (since + 1..=(since + 23).min(LAST)).map(|n| format!("{{\"n\":{n}}}")).collect();
        let answer = rows.join("\n");
        // Some responses break off in the number of the last row, or after it.
        let missing = if exchange.before % 5 == 3 { exchange.before % 3 + 1 } else { 0 };
        exchange.reply(200, "", answer.get(..answer.len().saturating_sub(missing)).unwrap_or_default())
    });
    let trial = job(server.port(), "every = \"5ms\"\ncursor = { parameter = \"since\", field = \"n\" }");
    let kills = torture(&trial, 4);
    assert_eq!(numbers(&trial), expected());
    assert!(kills > 8, "only {kills} kills");
}

/// Several pages per cursor, each of which names the next one.
#[test]
fn pages_arrive_exactly_once_across_kills() {
    let server = StreamServer::start(free_port(), |exchange: &mut Exchange| {
        let line = exchange.request.line.clone();
        let number = |name: &str| -> Option<usize> {
            line.split(['?', '&', ' ']).find_map(|part| part.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
        };
        // The pages cover what arrived after the cursor when the first one was requested.
        let since = number("since").unwrap_or(0);
        let (from, end) = (number("from").unwrap_or(since), number("to").unwrap_or((since + 110).min(LAST)));
        let rows: Vec<String> = (from + 1..=(from + 23).min(end)).map(|n| format!("{{\"n\":{n}}}")).collect();
        let link = match from + 23 < end {
            true => format!("Link: <?from={}&to={end}>; rel=\"next\"\r\n", from + 23),
            false => String::new(),
        };
        exchange.reply(200, &link, format!("{{\"data\":{{\"items\":[{}]}}}}", rows.join(",")))
    });
    let how =
        "every = \"5ms\"\ncursor = { parameter = \"since\", field = \"n\" }\nrows = \"data.items\"\npages = \"link\"";
    let trial = job(server.port(), how);
    let kills = torture(&trial, 6);
    assert_eq!(numbers(&trial), expected());
    assert!(kills > 8, "only {kills} kills");
}

/// A stream without a way back: rows are missing while nothing listens, and none is duplicated or out of order.
#[test]
fn planned_lines_arrive_once() {
    let next = AtomicUsize::new(1);
    let server = StreamServer::start(free_port(), move |exchange: &mut Exchange| -> io::Result<()> {
        exchange.begin_body("application/json")?;
        while !exchange.is_over() {
            exchange.chunk(format!("{{\"n\":{}}}\n", next.fetch_add(1, Ordering::AcqRel)))?;
            std::thread::sleep(PAUSE);
        }
        Ok(())
    });
    let trial = job(server.port(), "stream = \"lines\"");
    let kills = torture(&trial, 5);
    let found = numbers(&trial);
    assert!(found.is_sorted_by(|one, other| one < other), "twice, or in another order: {found:?}");
    assert!(kills >= 1 && found.len() > 50, "{kills} kills, {} rows", found.len());
}
