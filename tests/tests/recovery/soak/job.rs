//! A copy of the job: its processes, how they are killed, and what they hold.

use super::check::{Checker, WINDOW_MS};
use super::feed::{CHARS_MAX, Fed, ORDERS, PAYMENTS, topic};
use millstream_tests::{Broker, Process, Trial, kill, plugin};
use std::fs;
use std::path::Path;

fn text(broker: &Broker, name: &str) -> String {
    let (brokers, python, accounts) = (broker.address(), plugin("count-char-py"), plugin("ledger"));
    let sink = |of: &str, key: &str| {
        format!(
            "[sinks.{of}]\nfrom = \"{of}\"\nkind = \"kafka\"\nbrokers = \"{brokers}\"\ntopic = \"{name}-{of}\"\nkey = \"{key}\"\n"
        )
    };
    format!(
        r#"name = "soak-{name}"
batch = "50ms"
workers = 2
[checkpoint]
dir = "checkpoint"
every = "1s"
[sources.orders]
kind = "kafka"
brokers = "{brokers}"
topic = "{ORDERS}"
format = "json"
schema = {{ n = "int64", buyer = "int64", text = "text", letter = "text", at = "timestamp(ms)" }}
[sources.payments]
kind = "kafka"
brokers = "{brokers}"
topic = "{PAYMENTS}"
format = "json"
schema = {{ n = "int64", paid_at = "timestamp(ms)" }}
[stages.counted]
from = "orders"
sql = "select n, buyer, at, count_e(text, letter) as letters from orders"
functions = {{ count_e = "{python}" }}
[stages.paid]
from = "counted"
join = {{ with = "payments", on = "n", type = "left", within = ["0s", "5s"] }}
time = ["at", "paid_at"]
[stages.totals]
from = "counted"
key = "buyer"
aggregate = {{ orders = "count(*)", letters = "sum(letters)" }}
window = {{ size = "{size}s", slide = "{size}s" }}
time = "at"
[stages.windows]
from = "totals"
sql = "select buyer, cast(date_part('epoch', window_start) as bigint) * 1000 as begin, orders, letters from totals"
[stages.accounts]
from = "counted"
key = "buyer"
plugin = "{accounts}"
[stages.falls]
from = "counted"
key = "buyer"
time = "at"
[stages.falls.pattern]
steps = "most next less{{2}} next none"
within = "2s"
define = {{ most = "letters = {CHARS_MAX}", less = "letters < prev.letters", none = "letters = 0" }}
measures = {{ first = "most.n", last = "n", between = "sum(less.letters)" }}
{}{}{}{}"#,
        sink("paid", "n"),
        sink("windows", "buyer"),
        sink("accounts", "buyer"),
        sink("falls", "buyer"),
        python = python.display(),
        accounts = accounts.display(),
        size = WINDOW_MS / 1000,
    )
}

/// The resources of a copy at one moment.
pub struct Held {
    /// The total of all its processes.
    pub memory_bytes: u64,
    pub open_files: u64,
    pub checkpoint_bytes: u64,
    pub checkpoint_files: u64,
}

/// A running copy of the job and its output.
pub struct JobCopy {
    pub name: &'static str,
    trial: Trial,
    process: Option<Process>,
    checker: Checker,
}

impl JobCopy {
    pub fn start(broker: &Broker, name: &'static str) -> JobCopy {
        let follow = |of: &str| {
            topic(broker, &format!("{name}-{of}"));
            broker.follow(&format!("{name}-{of}"))
        };
        let checker = Checker::new(["accounts", "paid", "windows", "falls"].map(follow));
        let mut job = JobCopy { name, trial: Trial::new(&text(broker, name)), process: None, checker };
        job.run();
        job
    }

    fn run(&mut self) {
        self.process = Some(self.trial.start(&["--no-ui"]));
    }

    /// Kills the worker process, which its supervisor restarts, or everything, and starts it again.
    pub fn kill(&mut self, all: bool) {
        let Some(process) = self.process.take() else { return };
        if all {
            process.kill_all();
            self.run();
        } else {
            process.children().into_iter().for_each(kill);
            self.process = Some(process);
        }
    }

    pub fn check(&mut self, fed: &Fed) {
        self.checker.check(fed);
        let ended = self.process.as_mut().is_none_or(Process::has_ended);
        assert!(!ended, "{} ended: {}", self.name, self.process.as_ref().map(Process::stderr).unwrap_or_default());
    }

    pub fn is_complete(&self, fed: &Fed) -> bool {
        self.checker.missing(fed).is_none()
    }

    pub fn what_is_missing(&self, fed: &Fed) -> String {
        let output = self.process.as_ref().map(Process::stderr).unwrap_or_default();
        format!("{}: {}\n{output}", self.name, self.checker.missing(fed).unwrap_or_default())
    }

    pub fn latencies(&mut self) -> Option<(i64, i64)> {
        self.checker.latencies()
    }

    /// Its current resources; `None` while it is being restarted.
    pub fn held(&self) -> Option<Held> {
        let supervisor = self.process.as_ref()?.id();
        let workers = Process::children_of(supervisor);
        if workers.is_empty() {
            return None;
        }
        let mut held = Held { memory_bytes: 0, open_files: 0, checkpoint_bytes: 0, checkpoint_files: 0 };
        for id in [&[supervisor][..], &workers].concat() {
            held.memory_bytes += resident_bytes(id)?;
            held.open_files += fs::read_dir(format!("/proc/{id}/fd")).ok()?.count() as u64;
        }
        add_files(&self.trial.path("checkpoint"), &mut held);
        Some(held)
    }
}

fn resident_bytes(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Files that disappear meanwhile are ignored.
fn add_files(dir: &Path, held: &mut Held) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(known) = entry.metadata() else { continue };
        if known.is_dir() {
            add_files(&entry.path(), held);
        } else {
            held.checkpoint_bytes += known.len();
            held.checkpoint_files += 1;
        }
    }
}
