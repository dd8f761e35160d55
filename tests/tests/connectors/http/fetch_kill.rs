//! Sources that read from a server, in jobs that are killed in the middle and go on with one worker or two: what a server can give
//! again comes once, and what was planned of what it cannot give again comes once as well.

use millstream_tests::{Asking, Process, Random, StreamServer, Trial, free_port, queue_sink, until};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const STEPS: [&str; 6] =
    ["plan.before", "plan.durable", "commit.before", "commit.written", "commit.after", "start.claim"];
const LAST: usize = 3000;
/// Between two rows that nobody can ask for again.
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
        until("it has come further, or is dead", || {
            let count = numbers(trial).len();
            count >= more || is_through(trial) || job.ended()
        });
        job.kill();
        kills += 1;
        assert!(kills < 500, "it gets no further than {:?}", numbers(trial).last());
    }
    kills
}

/// All numbers, each once and in order.
fn expected() -> Vec<usize> {
    (1..=LAST).collect()
}

#[test]
fn events_with_ids_come_exactly_once_whenever_the_job_is_killed() {
    // Each answer breaks off in the middle of an event, and goes on where the client says.
    let server = StreamServer::start(free_port(), |asking: &mut Asking| {
        let last = asking.request.header("last-event-id").map_or(0, |id| id.parse::<usize>().unwrap());
        asking.begin("text/event-stream")?;
        asking.chunk("retry: 1\n\n")?;
        let end = (last + 400).min(LAST);
        // More than a batch may hold.
        for first in (last + 1..=end).step_by(100) {
            let events: String =
                (first..=end.min(first + 99)).map(|n| format!("id: {n}\ndata: {{\"n\":{n}}}\n\n")).collect();
            asking.chunk(events)?;
            std::thread::yield_now();
        }
        if end < LAST {
            return asking.chunk(format!("id: {}\ndata: {{\"n\":", end + 1));
        }
        asking.silence()
    });
    let trial = job(server.port(), "stream = \"sse\"");
    let kills = torture(&trial, 3);
    assert_eq!(numbers(&trial), expected());
    assert!(kills > 8, "only {kills} kills");
    let mut job = start(&trial, 2, "");
    job.until_stderr("connected to");
    job.stop();
    let inspected = trial.well(&["inspect", "kept"]);
    assert!(inspected.contains("at:3000 is the next position"), "{inspected}");
    // By these a start knows which rows no batch has.
    assert!(inspected.contains("3000 rows received"), "{inspected}");
}

#[test]
fn what_a_cursor_tells_comes_exactly_once_whenever_the_job_is_killed() {
    let server = StreamServer::start(free_port(), |asking: &mut Asking| {
        let line = asking.request.line.clone();
        let since = line.split("since=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or("0");
        let since: usize = since.parse().unwrap();
        let rows: Vec<String> = (since + 1..=(since + 23).min(LAST)).map(|n| format!("{{\"n\":{n}}}")).collect();
        let answer = rows.join("\n");
        // Some answers break off in the number of the last row, or behind it.
        let missing = if asking.before % 5 == 3 { asking.before % 3 + 1 } else { 0 };
        asking.reply(200, "", answer.get(..answer.len().saturating_sub(missing)).unwrap_or_default())
    });
    let trial = job(server.port(), "every = \"5ms\"\ncursor = { parameter = \"since\", field = \"n\" }");
    let kills = torture(&trial, 4);
    assert_eq!(numbers(&trial), expected());
    assert!(kills > 8, "only {kills} kills");
}

/// Several pages behind each cursor, of which each is told by the one before.
#[test]
fn pages_come_exactly_once_whenever_the_job_is_killed() {
    let server = StreamServer::start(free_port(), |asking: &mut Asking| {
        let line = asking.request.line.clone();
        let number = |name: &str| -> Option<usize> {
            line.split(['?', '&', ' ']).find_map(|part| part.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
        };
        // A page is of what came behind the cursor when the first one was asked for.
        let since = number("since").unwrap_or(0);
        let (from, end) = (number("from").unwrap_or(since), number("to").unwrap_or((since + 110).min(LAST)));
        let rows: Vec<String> = (from + 1..=(from + 23).min(end)).map(|n| format!("{{\"n\":{n}}}")).collect();
        let link = match from + 23 < end {
            true => format!("Link: <?from={}&to={end}>; rel=\"next\"\r\n", from + 23),
            false => String::new(),
        };
        asking.reply(200, &link, format!("{{\"data\":{{\"items\":[{}]}}}}", rows.join(",")))
    });
    let how =
        "every = \"5ms\"\ncursor = { parameter = \"since\", field = \"n\" }\nrows = \"data.items\"\npages = \"link\"";
    let trial = job(server.port(), how);
    let kills = torture(&trial, 6);
    assert_eq!(numbers(&trial), expected());
    assert!(kills > 8, "only {kills} kills");
}

/// A stream that nobody can go back in: rows go missing while nobody listens, and none comes twice or out of order.
#[test]
fn lines_that_were_planned_come_once() {
    let next = AtomicUsize::new(1);
    let server = StreamServer::start(free_port(), move |asking: &mut Asking| -> io::Result<()> {
        asking.begin("application/json")?;
        while !asking.over() {
            asking.chunk(format!("{{\"n\":{}}}\n", next.fetch_add(1, Ordering::AcqRel)))?;
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
