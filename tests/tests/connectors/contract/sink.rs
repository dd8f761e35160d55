//! The cases of a sink.

use super::connector::{Case, GUESS, Promise, Sink, Target};
use super::job::Job;
use super::link::Link;
use super::run::{Tests, run};
use super::stranger::with_stranger;
use millstream_tests::Process;
use std::collections::BTreeSet;

/// The most memory that a job may need while a link stalls.
const MEMORY_MAX: u64 = 700 << 20;

/// Runs all cases; the failures.
#[must_use]
pub fn check(sink: &dyn Sink) -> Vec<String> {
    let tests: Tests<'_> = vec![
        (Case::Kill, Box::new(|| kills_at(sink, "kill", &sink.kill_points()))),
        (Case::Stall, Box::new(|| a_stall(sink))),
        (Case::Outage, Box::new(|| an_outage(sink))),
        (Case::LateServer, Box::new(|| a_late_server(sink))),
        (Case::Order, Box::new(|| [1, 2].into_iter().for_each(|workers| order(sink, workers)))),
        (Case::Gone, Box::new(|| panic!("a sink has no position"))),
        (Case::TooLong, Box::new(|| a_long_row(sink))),
        (Case::Password, Box::new(|| a_wrong_password(sink))),
        (Case::Certificate, Box::new(|| a_wrong_certificate(sink))),
        (Case::Secret, Box::new(|| secrets(sink))),
    ];
    run("sink", sink, tests)
}

fn text(sink: &dyn Sink, target: &Target, source: &str, key: &str) -> String {
    let (kind, location, lines, [n, k]) = (sink.kind(), &target.location, sink.lines(target), sink.columns());
    format!(
        r#"name = "writer-{location}"
batch = "20ms"
[checkpoint]
dir = "kept"
every = 3
[sources.in]
kind = "rate"
{source}
[stages.rows]
from = "in"
select = "value as {n}, {key} as {k}"
[sinks.out]
from = "rows"
kind = "{kind}"
{lines}
"#
    )
}

/// A job that writes rows, at the server or at a link.
struct Writer<'a> {
    sink: &'a dyn Sink,
    location: String,
    job: Job,
    /// How many rows it writes; `None`: until it is stopped.
    rows: Option<u64>,
}

impl<'a> Writer<'a> {
    fn at(sink: &'a dyn Sink, location: &str, port: u16, rows: Option<u64>) -> Writer<'a> {
        sink.create(location);
        let target = Target { location: location.to_owned(), port, ca: None };
        let rows_max = rows.map_or(String::new(), |rows| format!("rows_max = {rows}\n"));
        let source = format!("rows_per_second = 1000\n{rows_max}rows_per_batch_max = 20");
        let text = text(sink, &target, &source, "concat('k', value % 3)");
        Writer { sink, location: location.to_owned(), job: Job::new(sink, &target, &text), rows }
    }

    fn start(&self, faults: &str, arguments: &[&str]) -> Process {
        self.sink.listen(&self.location);
        self.job.start_with_faults(faults, arguments)
    }

    /// Waits until a client has received this many rows, and stops the job.
    fn until_received(&self, rows: usize, mut process: Process) {
        let what = format!("a client has received {rows} rows");
        process.wait_until(&what, |_| self.sink.read(&self.location).len() >= rows);
        self.job.stop(process);
    }

    /// Waits until other rows come than those that may be sent again.
    fn until_more(&self, process: &mut Process) {
        let last = || self.sink.read(&self.location).into_iter().max();
        let before = last();
        process.wait_until("rows come again", |_| last() > before);
    }

    fn until_some(&self, process: &mut Process) {
        process.wait_until("some rows are there", |_| !self.sink.read(&self.location).is_empty());
    }

    /// All rows are there, as often as the sink promises.
    fn check(&self, promise: Promise) {
        let mut found = self.sink.read(&self.location);
        let rows = self.rows.unwrap_or_else(|| found.iter().max().map_or(0, |last| last + 1));
        let expected: Vec<u64> = (0..rows).collect();
        match promise {
            Promise::ExactlyOnce => {
                if !self.sink.is_ordered() {
                    found.sort_unstable();
                }
                assert_eq!(found, expected);
            }
            Promise::AtLeastOnce => {
                assert_eq!(found.into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>(), expected);
            }
            Promise::AtMostOnce => {
                let first = found.first().copied().unwrap_or_default();
                assert_eq!(found, (first..first + found.len() as u64).collect::<Vec<_>>());
            }
        }
    }
}

fn order(sink: &dyn Sink, workers: usize) {
    let rows = (!sink.is_live()).then_some(300);
    let writer = Writer::at(sink, &format!("order{workers}"), sink.port(), rows);
    let mut process = writer.start("", &["--workers", &workers.to_string()]);
    if sink.is_live() {
        writer.until_received(300, process);
        writer.check(Promise::AtMostOnce);
        return;
    }
    writer.until_some(&mut process);
    let ended = writer.job.wait(process);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    writer.check(Promise::ExactlyOnce);
}

/// The job dies at each of these steps, while it writes.
pub fn kills_at(sink: &dyn Sink, location: &str, points: &[&str]) {
    let writer = Writer::at(sink, location, sink.port(), (!sink.is_live()).then_some(400));
    for point in points {
        let ended = writer.job.wait(writer.start(&format!("kill@{point}"), &[]));
        assert_eq!(ended.code, None, "it does not come to {point}: {}", ended.stderr);
    }
    let process = writer.start("", &[]);
    if sink.is_live() {
        writer.until_received(100, process);
    } else {
        writer.job.wait_well(process);
    }
    writer.check(sink.promise());
}

fn a_late_server(sink: &dyn Sink) {
    let link = sink.link("late");
    let writer = Writer::at(sink, "late", link.port(), Some(100));
    let mut process = writer.job.start(&[]);
    process.wait_for_stderr(sink.waits_at_start());
    let told = process.stderr();
    assert!(sink.names(&told) && told.contains("refused"), "{told}");
    assert!(told.contains(&format!("127.0.0.1:{}", link.port())), "no address: {told}");
    link.open();
    writer.job.wait_well(process);
    writer.check(Promise::ExactlyOnce);
}

fn an_outage(sink: &dyn Sink) {
    let link = sink.link("outage");
    let writer = Writer::at(sink, "outage", link.port(), None);
    link.open();
    let mut process = writer.job.start(&[]);
    writer.until_some(&mut process);
    // First a reply is lost: the server has done what the job asked for, and the job does not know. Then a request is lost.
    for (outages, stall) in [Link::stall_replies, Link::stall].into_iter().enumerate() {
        stall(&link);
        process.wait_until("the link holds something", |_| link.holds_bytes());
        link.cut();
        let what = format!("it says {:?} in outage {outages}", sink.waits());
        process.wait_until(&what, |process| process.stderr().matches(sink.waits()).count() > outages);
        link.open();
        writer.until_more(&mut process);
    }
    writer.job.stop(process);
    writer.check(sink.promise());
}

fn a_stall(sink: &dyn Sink) {
    let link = sink.link("stall");
    let writer = Writer::at(sink, "stall", link.port(), None);
    link.open();
    let mut process = writer.job.start(&[]);
    writer.until_some(&mut process);
    link.stall();
    process.wait_until("the link holds something", |_| link.holds_bytes());
    writer.job.check_status();
    let (_, most) = process.memory_bytes();
    assert!(most < MEMORY_MAX, "it needs {most} bytes");
    link.open();
    writer.until_more(&mut process);
    writer.job.stop(process);
    writer.check(sink.promise());
}

fn a_long_row(sink: &dyn Sink) {
    sink.create("long");
    let target = Target { location: "long".into(), port: sink.port(), ca: None };
    let (bytes, message) = sink.too_long();
    let source = "rows_per_second = 1000\nrows_max = 3";
    let text = text(sink, &target, source, &format!("repeat('x', value * {bytes})"));
    let told = Job::new(sink, &target, &text).fails();
    assert!(told.contains("sink `out`") && told.contains(message), "{told}");
}

fn a_wrong_password(sink: &dyn Sink) {
    sink.create("password");
    let target = Target { location: "password".into(), port: sink.port(), ca: None };
    let text = text(sink, &target, "rows_per_second = 1000\nrows_max = 3", "'k'");
    let told = Job::with_password(sink, &target, &text, GUESS).fails();
    assert!(told.contains("sink `out`") && told.contains(sink.denied()), "{told}");
    assert!(told.contains(&format!("127.0.0.1:{}", sink.port())), "no address: {told}");
}

fn a_wrong_certificate(sink: &dyn Sink) {
    with_stranger(sink, |port, ca| {
        let target = Target { location: "certificate".into(), port, ca: Some(ca) };
        let text = text(sink, &target, "rows_per_second = 1000\nrows_max = 3", "'k'");
        let job = Job::new(sink, &target, &text);
        let told = if sink.awaits_certificate() {
            let mut process = job.start(&[]);
            process.wait_for_stderr(sink.misnamed());
            let told = process.stderr();
            job.check_secrets(&told);
            told
        } else {
            job.fails()
        };
        assert!(sink.names(&told) && told.contains(sink.misnamed()), "{told}");
    });
}

/// A job that is rejected for its file shows nothing of a password in it.
fn secrets(sink: &dyn Sink) {
    let target = Target { location: "secret".into(), port: sink.port(), ca: None };
    let text = text(sink, &target, "rows_per_second = 1000\nrows_max = 3", "'k'");
    let told = Job::new(sink, &target, &format!("{text}unknown = \"${{PW}}\"\n")).fails();
    assert!(told.contains("unknown"), "{told}");
}
