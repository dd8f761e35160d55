//! A PostgreSQL server that becomes unreachable in the middle of a start: the job waits for it and retries, as if it had been
//! unreachable from the beginning.

use millstream_tests::{Postgres, Process, Trial};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const COLUMNS: &str = "k = \"text\", n = \"int64\"";
const INPUT: &str = "[[\"a\",1],[\"b\",2]]\n[[\"a\",3]]\n";

/// A proxy between a job and its server. It counts the requests, and ends a connection at one of them.
#[derive(Default)]
struct Between {
    question_count: AtomicUsize,
    /// The request, from 1; 0: none.
    ends_at: AtomicUsize,
    /// The server receives it, and the response is lost.
    heard: AtomicBool,
}

impl Between {
    /// Listens for jobs on a port.
    fn listen(server: u16) -> (Arc<Between>, u16) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let between = Arc::new(Between::default());
        let shared = between.clone();
        thread::spawn(move || {
            for job in listener.incoming().flatten() {
                let shared = shared.clone();
                thread::spawn(move || {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { return };
                    let (mut from, mut to) = (server.try_clone().unwrap(), job.try_clone().unwrap());
                    let answers = thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                    let _ = shared.pass(job, server);
                    answers.join().unwrap();
                });
            }
        });
        (between, port)
    }

    /// From now on this is counted, and ended.
    fn end_at(&self, question: usize, heard: bool) {
        self.question_count.store(0, Ordering::SeqCst);
        self.heard.store(heard, Ordering::SeqCst);
        self.ends_at.store(question, Ordering::SeqCst);
    }

    /// Forwards the job's messages one by one.
    fn pass(&self, mut job: TcpStream, mut server: TcpStream) -> std::io::Result<()> {
        let message = |job: &mut TcpStream, kind: usize| {
            let mut message = vec![0; kind + 4];
            job.read_exact(&mut message)?;
            let length = u32::from_be_bytes(message[kind..].try_into().unwrap()) as usize;
            let start = message.len();
            message.resize(kind + length, 0);
            job.read_exact(&mut message[start..]).map(|()| message)
        };
        // The first one has no kind.
        server.write_all(&message(&mut job, 0)?)?;
        loop {
            let message = match message(&mut job, 1) {
                Ok(message) => message,
                Err(error) => {
                    let _ = server.shutdown(Shutdown::Write);
                    return Err(error);
                }
            };
            // A query, or the end of the parts of one.
            let is_question = matches!(message[0], b'Q' | b'S');
            if is_question
                && self.question_count.fetch_add(1, Ordering::SeqCst) + 1 == self.ends_at.load(Ordering::SeqCst)
            {
                job.shutdown(Shutdown::Both)?;
                if self.heard.load(Ordering::SeqCst) {
                    server.write_all(&message)?;
                    return server.shutdown(Shutdown::Write);
                }
                return server.shutdown(Shutdown::Both);
            }
            server.write_all(&message)?;
        }
    }
}

/// A job with a table of a stage and a sink in the same database.
fn job(url: &str, sink: &str, more: &str) -> Trial {
    let trial = Trial::new(&format!(
        r#"clock = "manual"
[sources.in]
kind = "queue"
path = "input.jsonl"
schema = {{ {COLUMNS} }}
[stages.coloured]
from = "in"
enrich = {{ url = "{url}", query = "select k, colour from colours", on = "k", poll = "1h" }}
[sinks.out]
from = "coloured"
kind = "postgres"
url = "{url}"
{sink}
{more}
"#
    ));
    trial.write("input.jsonl", INPUT);
    trial
}

fn run(trial: &Trial) -> String {
    let ended = Process::start(trial.command(&["run", "job.toml"]).env("PW", Postgres::PASSWORD)).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stderr
}

fn colours(server: &Postgres) {
    server.sql("create table colours (k text, colour text); insert into colours values ('a', 'red')");
}

/// The number of servers tested in parallel: most of the time is the jobs' wait before a retry.
const SIDE_BY_SIDE: usize = 4;

/// Ends a start at every [`SIDE_BY_SIDE`]th of its requests, from this one on. Returns the number of requests, and how often jobs
/// logged that they wait.
fn end_at_questions(first: usize, sink: &str, more: &str) -> (usize, usize) {
    let server = Postgres::start();
    colours(&server);
    let (between, port) = Between::listen(server.port());
    let url = format!("{}?sslmode=disable", server.url().replace(&server.port().to_string(), &port.to_string()));
    let (mut question, mut warned) = (first, 0);
    loop {
        let trial = job(&url, sink, more);
        // A start from a checkpoint sends more requests.
        let starts: &[bool] = if more.is_empty() { &[false] } else { &[false, true] };
        for &again in starts {
            between.end_at(question, (question / SIDE_BY_SIDE) % 2 == usize::from(again));
            let output = run(&trial);
            let came_to_it = between.question_count.load(Ordering::SeqCst) >= question;
            warned += output.matches("the job waits").count();
            if came_to_it {
                assert!(output.matches("the job waits").count() <= 1, "told once: {output}");
            }
            let rows = server.sql("select k, n, colour from t order by n");
            let expected = "a|1|red\nb|2|\na|3|red";
            assert_eq!(rows, expected, "question {question} of {sink}, again: {again}: {output}");
        }
        server.sql("drop table t; drop table if exists millstream_commits");
        if between.question_count.load(Ordering::SeqCst) < question {
            return (question, warned);
        }
        question += SIDE_BY_SIDE;
    }
}

#[test]
fn a_server_that_restarts_repeatedly_is_waited_for() {
    let mut server = Postgres::start();
    colours(&server);
    let url = server.url();
    let trials = [job(&url, "table = \"t\"", ""), job(&url, "table = \"t\"", "[checkpoint]\ndir = \"checkpoint\"")];
    let over = AtomicBool::new(false);
    let runs = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let arguments: &[&str] =
                    if runs.load(Ordering::SeqCst).is_multiple_of(2) { &[] } else { &["--fresh", "--yes"] };
                let trial = &trials[runs.load(Ordering::SeqCst) % 2];
                let all = [&["run", "job.toml"], arguments].concat();
                let ended = Process::start(trial.command(&all).env("PW", Postgres::PASSWORD)).wait();
                assert_eq!(ended.code, Some(0), "{}", ended.stderr);
                runs.fetch_add(1, Ordering::SeqCst);
            }
        });
        let began = Instant::now();
        let mut pause = 7;
        while runs.load(Ordering::SeqCst) < 8 && began.elapsed() < Duration::from_secs(40) {
            pause = pause * 31 % 397;
            thread::sleep(Duration::from_millis(pause));
            server.stop();
            thread::sleep(Duration::from_millis(pause / 4));
            server.start_again();
        }
        over.store(true, Ordering::SeqCst);
    });
    let runs = runs.load(Ordering::SeqCst);
    assert_eq!(server.sql("select count(*) from t"), (runs * 3).to_string());
    assert_eq!(server.sql("select sum(n) from t"), (runs * 6).to_string());
}

#[test]
fn a_query_that_never_works_is_not_waited_for() {
    let server = Postgres::start();
    colours(&server);
    for (query, text) in [
        ("select k, colour from colours where k = $1", "the query has parameters"),
        (
            "insert into colours values ('x', 'y') returning k, colour",
            "cannot execute INSERT in a read-only transaction",
        ),
        ("copy colours to stdout", "the query returns no columns"),
        ("select", "the query returns no columns"),
    ] {
        let trial = job(&server.url(), "table = \"t\"", "");
        trial.change("select k, colour from colours", query);
        let ended = Process::start(trial.command(&["run", "job.toml"]).env("PW", Postgres::PASSWORD)).wait();
        assert_eq!(ended.code, Some(2), "{query}: {}", ended.stderr);
        assert!(ended.stderr.contains(text) && !ended.stderr.contains("waits"), "{query}: {}", ended.stderr);
    }
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn a_connection_lost_at_any_request_of_a_start_is_reopened() {
        let checkpoint = "[checkpoint]\ndir = \"checkpoint\"";
        for (sink, more) in
            [("table = \"t\"", ""), ("table = \"t\"\nmode = \"upsert\"\nkey = [\"k\", \"n\"]", checkpoint)]
        {
            let ended = thread::scope(|scope| {
                let question_count = |first| scope.spawn(move || end_at_questions(first, sink, more));
                let side_by_side: Vec<_> = (1..=SIDE_BY_SIDE).map(question_count).collect();
                side_by_side.into_iter().map(|strand| strand.join().unwrap()).collect::<Vec<_>>()
            });
            let warned: usize = ended.iter().map(|(_, warned)| warned).sum();
            // The minimum of a start: the table's columns and indexes, the columns of the query.
            assert!(ended.iter().all(|(question, _)| *question > 15) && warned > 15, "{ended:?}");
        }
    }
}
