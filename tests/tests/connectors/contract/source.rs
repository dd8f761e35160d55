//! The cases of a source.

use super::connector::{Case, GUESS, KEYS, Promise, Source, Target};
use super::job::Job;
use super::run::{Tests, run};
use super::stranger::with_stranger;
use millstream_tests::Process;
use std::collections::BTreeSet;

/// Bytes that a record may have in the case [`Case::TooLong`].
const RECORD_BYTES_MAX: usize = 1000;
/// The most memory that a job may need while a link stalls.
const MEMORY_MAX: u64 = 700 << 20;
/// The key of rows that only show that the job has subscribed.
const FIRST: &str = "first";

/// Runs all cases; the failures.
#[must_use]
pub fn check(source: &dyn Source) -> Vec<String> {
    let tests: Tests<'_> = vec![
        (Case::Kill, Box::new(|| kills(source))),
        (Case::Stall, Box::new(|| a_stall(source))),
        (Case::Outage, Box::new(|| an_outage(source))),
        (Case::LateServer, Box::new(|| a_late_server(source))),
        (Case::Order, Box::new(|| [1, 2].into_iter().for_each(|workers| order(source, workers)))),
        (Case::Gone, Box::new(|| deleted_rows(source))),
        (Case::TooLong, Box::new(|| a_long_record(source))),
        (Case::Password, Box::new(|| a_wrong_password(source))),
        (Case::Certificate, Box::new(|| a_wrong_certificate(source))),
        (Case::Secret, Box::new(|| secrets(source))),
    ];
    run("source", source, tests)
}

fn text(lines: &str, kind: &str) -> String {
    format!(
        r#"name = "reader-{{place}}"
batch = "20ms"
[checkpoint]
dir = "kept"
every = 3
[sources.in]
kind = "{kind}"
{lines}
[sinks.out]
from = "in"
kind = "queue"
path = "out.jsonl"
[sinks.bad]
from = "in.rejected"
kind = "queue"
path = "bad.jsonl"
"#
    )
}

/// A job that reads what a case has, at the server or at a link.
struct Reader<'a> {
    source: &'a dyn Source,
    location: String,
    job: Job,
    sent: u64,
}

impl<'a> Reader<'a> {
    fn at(source: &'a dyn Source, location: &str, port: u16) -> Reader<'a> {
        source.create(location);
        Reader::of(source, location, port, "")
    }

    /// The same, which reads what was created before.
    fn of(source: &'a dyn Source, location: &str, port: u16, more: &str) -> Reader<'a> {
        let target = Target { location: location.to_owned(), port, ca: None };
        let lines = source.lines(&target) + more;
        let text = text(&lines, source.kind()).replace("{place}", location);
        Reader { source, location: location.to_owned(), job: Job::new(source, &target, &text), sent: 0 }
    }

    /// Starts it; rows that are sent from then on come.
    fn start(&self, arguments: &[&str]) -> Process {
        let mut process = self.job.start(arguments);
        self.subscribe(&mut process);
        process
    }

    fn subscribe(&self, process: &mut Process) {
        if !self.source.subscribes() {
            return;
        }
        process.wait_until("it has subscribed", |_| {
            self.source.send_records(&self.location, vec![(0, format!("{{\"n\":0,\"k\":\"{FIRST}\"}}"))]);
            !self.rows("out.jsonl").is_empty()
        });
    }

    fn send(&mut self, rows: u64) {
        self.source.send(&self.location, self.sent..self.sent + rows);
        self.sent += rows;
    }

    fn rows(&self, name: &str) -> Vec<(u64, String)> {
        self.job.trial().rows(name).iter().map(|row| self.source.row(row)).collect()
    }

    /// The numbers of the rows that came.
    fn numbers(&self) -> Vec<u64> {
        self.rows("out.jsonl").into_iter().filter(|(_, k)| k != FIRST).map(|(n, _)| n).collect()
    }

    /// How many of the rows came, each counted once.
    fn count(&self) -> u64 {
        self.numbers().into_iter().collect::<BTreeSet<_>>().len() as u64
    }

    fn until_all(&self, process: &mut Process) {
        let sent = self.sent;
        process.wait_until(&format!("all {sent} rows came"), |_| self.count() >= sent);
    }

    /// Waits until a row comes that is sent from now on, by a server that keeps nothing for a job that is not connected.
    fn until_new(&self, process: &mut Process) {
        process.wait_until("a new row comes", |_| {
            self.source.send(&self.location, self.sent..self.sent + 1);
            self.numbers().contains(&self.sent)
        });
    }

    /// All rows came, as often as the source promises, and those of a key in order.
    fn check(&self, promise: Promise) {
        let rows: Vec<(u64, String)> = self.rows("out.jsonl").into_iter().filter(|(_, k)| k != FIRST).collect();
        let ours = |name: &str| (0..self.sent).filter(|n| format!("k{}", n % KEYS) == name).collect::<Vec<_>>();
        for key in (0..KEYS).map(|key| format!("k{key}")) {
            let found: Vec<u64> = rows.iter().filter(|(_, k)| *k == key).map(|(n, _)| *n).collect();
            let expected = ours(&key);
            match promise {
                Promise::ExactlyOnce => assert_eq!(found, expected, "key {key}"),
                Promise::AtLeastOnce => {
                    let found: BTreeSet<u64> = found.into_iter().collect();
                    assert_eq!(found.into_iter().collect::<Vec<_>>(), expected, "key {key}");
                }
                Promise::AtMostOnce => {
                    assert!(found.is_sorted_by(|a, b| a < b), "key {key}: {found:?}");
                    assert!(found.iter().all(|n| expected.contains(n)), "key {key}: {found:?}");
                }
            }
        }
        let bad = self.job.trial().rows("bad.jsonl");
        assert!(bad.is_empty(), "{bad:?}");
    }
}

fn order(source: &dyn Source, workers: usize) {
    let mut reader = Reader::at(source, &format!("order{workers}"), source.port());
    let mut process = reader.start(&["--workers", &workers.to_string()]);
    for _ in 0..4 {
        reader.send(50);
        reader.until_all(&mut process);
    }
    reader.job.check_status();
    reader.job.stop(process);
    reader.check(Promise::ExactlyOnce);
}

fn kills(source: &dyn Source) {
    kills_at(source, "kill", &["plan.before:2", "plan.durable:2", "commit.before:2", "commit.after:2"]);
}

/// The job dies at each of these steps, while rows come.
pub fn kills_at(source: &dyn Source, location: &str, points: &[&str]) {
    let mut reader = Reader::at(source, location, source.port());
    // The first life has read rows, so the others resume at a position.
    let mut process = reader.start(&[]);
    if source.promise() == Promise::AtMostOnce {
        reader.job.stop(process);
    } else {
        reader.send(10);
        reader.until_all(&mut process);
        reader.send(10);
        process.kill();
    }
    for point in points {
        let mut process = reader.job.start_with_faults(&format!("kill@{point}"), &[]);
        millstream_tests::wait_until(&format!("the job dies at {point}"), || {
            if reader.count() >= reader.sent || source.promise() == Promise::AtMostOnce {
                reader.send(10);
            }
            process.has_ended()
        });
        let ended = reader.job.wait(process);
        assert_eq!(ended.code, None, "it does not come to {point}: {}", ended.stderr);
    }
    let mut process = reader.start(&[]);
    if source.promise() == Promise::AtMostOnce {
        reader.check(Promise::AtMostOnce);
        reader.until_new(&mut process);
        reader.job.stop(process);
        return;
    } else {
        reader.send(10);
        reader.until_all(&mut process);
    }
    reader.job.stop(process);
    reader.check(source.promise());
}

fn a_late_server(source: &dyn Source) {
    let link = source.link("late");
    let mut reader = Reader::at(source, "late", link.port());
    let mut process = reader.job.start(&[]);
    process.wait_for_stderr(source.waits());
    let told = process.stderr();
    assert!(source.names(&told) && told.contains("refused"), "{told}");
    assert!(told.contains(&format!("127.0.0.1:{}", link.port())), "no address: {told}");
    link.open();
    reader.subscribe(&mut process);
    reader.send(30);
    reader.until_all(&mut process);
    reader.job.stop(process);
    reader.check(Promise::ExactlyOnce);
}

fn an_outage(source: &dyn Source) {
    let link = source.link("outage");
    let mut reader = Reader::at(source, "outage", link.port());
    link.open();
    let mut process = reader.start(&[]);
    reader.send(30);
    reader.until_all(&mut process);
    link.cut();
    if source.promise() != Promise::AtMostOnce {
        reader.send(30);
    }
    process.wait_for_stderr(source.waits());
    link.open();
    if source.promise() == Promise::AtMostOnce {
        // Nothing is kept for a job that is not connected.
        reader.until_new(&mut process);
        reader.job.stop(process);
        return;
    }
    reader.until_all(&mut process);
    reader.send(30);
    reader.until_all(&mut process);
    reader.job.stop(process);
    reader.check(source.promise());
}

fn a_stall(source: &dyn Source) {
    let link = source.link("stall");
    let mut reader = Reader::at(source, "stall", link.port());
    link.open();
    let mut process = reader.start(&[]);
    reader.send(30);
    reader.until_all(&mut process);
    link.stall();
    reader.send(300);
    process.wait_until("the link holds something", |_| link.holds_bytes());
    link.open();
    reader.until_all(&mut process);
    let (_, most) = process.memory_bytes();
    assert!(most < MEMORY_MAX, "it needs {most} bytes");
    reader.job.stop(process);
    reader.check(source.promise());
}

fn a_wrong_password(source: &dyn Source) {
    source.create("password");
    let target = Target { location: "password".into(), port: source.port(), ca: None };
    let text = text(&source.lines(&target), source.kind()).replace("{place}", "password");
    let job = Job::with_password(source, &target, &text, GUESS);
    let told = job.fails();
    assert!(told.contains("source `in`") && told.contains(source.denied()), "{told}");
    assert!(told.contains(&format!("127.0.0.1:{}", source.port())), "no address: {told}");
}

fn deleted_rows(source: &dyn Source) {
    let mut reader = Reader::at(source, "gone", source.port());
    let mut process = reader.start(&[]);
    reader.send(20);
    reader.until_all(&mut process);
    reader.job.stop(process);
    source.lose(&reader.location, &reader.job.trial().path("kept"));
    let told = reader.job.fails();
    assert!(told.contains("source `in`") && told.contains(source.gone()), "{told}");
    reader.check(Promise::ExactlyOnce);
}

fn a_long_record(source: &dyn Source) {
    source.create("long");
    let more = format!("record_bytes_max = {RECORD_BYTES_MAX}\n");
    let mut reader = Reader::of(source, "long", source.port(), &more);
    let mut process = reader.start(&[]);
    reader.send(3);
    let long = format!("{{\"n\":99,\"k\":\"{}\"}}", "x".repeat(RECORD_BYTES_MAX));
    source.send_records(&reader.location, vec![(2, long)]);
    reader.send(3);
    reader.until_all(&mut process);
    process.wait_until("the long record is rejected", |_| !reader.job.trial().rows("bad.jsonl").is_empty());
    reader.job.stop(process);
    let (found, bad) = (reader.numbers(), reader.job.trial().rows("bad.jsonl"));
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), (0..6).collect::<BTreeSet<_>>());
    assert_eq!(bad.len(), 1, "{bad:?}");
    assert!(bad[0]["reason"].as_str().is_some_and(|reason| reason.contains("record_bytes_max is 1000")), "{bad:?}");
}

fn a_wrong_certificate(source: &dyn Source) {
    with_stranger(source, |port, ca| {
        let target = Target { location: "certificate".into(), port, ca: Some(ca) };
        let text = text(&source.lines(&target), source.kind()).replace("{place}", "certificate");
        let job = Job::new(source, &target, &text);
        // A source of kind `http` also retries what only an administrator can correct.
        let mut process = job.start(&[]);
        process.wait_for_stderr(source.misnamed());
        let told = process.stderr();
        assert!(told.contains("source `in`") && job.trial().rows("out.jsonl").is_empty(), "{told}");
        job.check_secrets(&told);
    });
}

/// A job that is rejected for its file shows nothing of a password in it.
fn secrets(source: &dyn Source) {
    let target = Target { location: "secret".into(), port: source.port(), ca: None };
    let lines = source.lines(&target) + "unknown = \"${PW}\"\n";
    let text = text(&lines, source.kind()).replace("{place}", "secret");
    let told = Job::new(source, &target, &text).fails();
    assert!(told.contains("unknown"), "{told}");
}
