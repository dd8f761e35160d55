//! Rows from a socket through a stateful plugin into two tables of a real PostgreSQL: one that grows, and one with the last row
//! of each key. The sender cannot know which rows arrived, so after a kill it runs `millstream inspect`.

use super::entries::{Entry, compare, expected, keys};
use millstream_tests::{Killer, Postgres, Process, Trial, Victim, free_port, plugin};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const ROWS: u64 = 3000;
/// The sender sends this many rows at once, then pauses.
const ROWS_AT_ONCE: usize = 12;
const PAUSE: Duration = Duration::from_millis(4);

const JOB: &str = r#"name = "table"
batch = "BATCH"
[checkpoint]
dir = "checkpoint"
every = EVERY
[sources.rows]
kind = "socket"
address = "127.0.0.1:PORT"
format = "json"
schema = { n = "int64", k = "text" }
# With two processes, the second one receives this: a batch is planned when both have planned it.
[sources.ticks]
kind = "rate"
rows_per_second = 10
[stages.entries]
from = "rows"
key = "k"
plugin = "PLUGIN"
[sinks.all]
from = "entries"
kind = "postgres"
url = "URL"
table = "entries"
[sinks.last]
from = "entries"
kind = "postgres"
url = "URL"
table = "accounts"
mode = "upsert"
key = "k"
"#;

/// Runs something with a server of its own.
pub fn with_server<T>(run: impl FnOnce(&Postgres) -> T) -> T {
    run(&Postgres::start())
}

/// A trial with a setting of the killer's choice.
pub fn trial(server: &Postgres, killer: &mut Killer, kills: u64) -> Result<(), String> {
    let batch = *killer.random.one_of(&["0s", "5ms", "20ms"]);
    let every = *killer.random.one_of(&["4", "\"50ms\"", "\"150ms\""]);
    let setting = (batch, every);
    trial_of(server, killer, kills, setting).map_err(|output| format!("batch {batch}, every {every}: {output}"))
}

/// Runs the job until all rows have arrived, killed this many times, and compares.
pub fn trial_of(
    server: &Postgres,
    killer: &mut Killer,
    kills: u64,
    (batch, every): (&str, &str),
) -> Result<(), String> {
    server.sql("set client_min_messages = warning; drop table if exists entries, accounts");
    let keys = keys(ROWS, &mut killer.random);
    let expected = expected(&keys);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it has an address").port();
    let text = JOB.replace("BATCH", batch).replace("EVERY", every).replace("PORT", &port.to_string());
    let text = text.replace("PLUGIN", &plugin("ledger").display().to_string()).replace("URL", &server.url());
    let (seen, starts) = (AtomicU64::new(0), AtomicU64::new(0));
    let job = Table { trial: Trial::new(&text), rows: ROWS, seen, starts };
    let stop = AtomicBool::new(false);
    let (ran, read) = std::thread::scope(|scope| {
        scope.spawn(|| Sender { listener, keys: &keys, trial: &job.trial, stop: &stop }.serve());
        let reader = scope.spawn(|| {
            let read = read(server, &job.seen, &stop);
            // After an error there is nothing to wait for.
            job.seen.store(u64::MAX, Ordering::Release);
            read
        });
        let ran = killer.run(&job, kills);
        stop.store(true, Ordering::Release);
        (ran, reader.join().expect("the reader does not panic"))
    });
    read?;
    ran?;
    let rows = compare("table", &rows(&server.sql("select n, k, place, digest from entries order by n")), &expected)?;
    let last: BTreeMap<&str, &Entry> = expected.iter().map(|entry| (entry.k.as_str(), entry)).collect();
    let accounts = self::rows(&server.sql("select n, k, place, digest from accounts order by k collate \"C\""));
    if !accounts.iter().eq(last.values().copied()) {
        return Err("the last rows of keys are not those that came last".into());
    }
    killer.tally.rows += rows + accounts.len() as u64;
    Ok(())
}

struct Table {
    trial: Trial,
    rows: u64,
    /// Rows that the reader has seen.
    seen: AtomicU64,
    starts: AtomicU64,
}

impl Victim for Table {
    fn dir(&self) -> &Path {
        self.trial.dir()
    }

    fn start(&self, workers: u64, faults: &str) -> Process {
        let mut command = self.trial.command(&["run", "job.toml", "--workers", &workers.to_string()]);
        let number = self.starts.fetch_add(1, Ordering::Relaxed);
        // Two processes at every fourth start, otherwise one.
        if number % 4 == 3 {
            let hosts = format!("127.0.0.1:{},127.0.0.1:{}", free_port(), free_port());
            command.args(["--processes", "2", "--hosts", &hosts]);
        }
        Process::start(command.env("MILLSTREAM_TEST_FAULT", faults).env("PW", Postgres::PASSWORD))
    }

    fn done(&self) -> bool {
        self.seen.load(Ordering::Acquire) >= self.rows
    }
}

/// Rows as `psql` prints them.
fn rows(text: &str) -> Vec<Entry> {
    let entry = |line: &str| {
        let [n, k, place, digest] = line.split('|').collect::<Vec<_>>()[..] else { panic!("not a row: {line}") };
        let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("not a row: {line}"));
        Entry { n: number(n), k: k.into(), place: number(place), digest: number(digest) }
    };
    text.lines().map(entry).collect()
}

/// Reads the tables until it is stopped. Rows arrive in the order of their numbers, in complete batches. So the visible rows are
/// always the first ones, each once, and the value of a key never goes back.
fn read(server: &Postgres, seen: &AtomicU64, stop: &AtomicBool) -> Result<(), String> {
    let mut before = 0;
    let mut accounts: BTreeMap<String, i64> = BTreeMap::new();
    loop {
        let last = stop.load(Ordering::Acquire);
        if server.sql("select to_regclass('entries') is not null and to_regclass('accounts') is not null") == "t" {
            let counts = server.sql("select count(*), count(distinct n), coalesce(max(n), 0) from entries");
            let counts: Vec<u64> = counts.split('|').map(|count| count.parse().expect("a number")).collect();
            if counts.iter().any(|count| *count != counts[0]) || counts[0] < before {
                return Err(format!(
                    "reader: there were {before} rows, and now rows, different ones, last: {counts:?}"
                ));
            }
            before = counts[0];
            for row in rows(&server.sql("select n, k, place, digest from accounts")) {
                if accounts.insert(row.k.clone(), row.n).is_some_and(|before| before > row.n) {
                    return Err(format!("reader: key {} went back to row {}", row.k, row.n));
                }
            }
            seen.store(before, Ordering::Release);
        }
        if last {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// Sends the rows to each client, from the first row that was not received durably.
struct Sender<'a> {
    listener: TcpListener,
    keys: &'a [String],
    trial: &'a Trial,
    stop: &'a AtomicBool,
}

impl Sender<'_> {
    fn serve(&self) {
        self.listener.set_nonblocking(true).expect("a listener need not wait");
        while !self.stop.load(Ordering::Acquire) {
            match self.listener.accept() {
                // The connection may belong to a process that was killed meanwhile.
                Ok((client, _)) => drop(self.send(client)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(2)),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Sends until the other side has closed.
    fn send(&self, mut client: TcpStream) -> std::io::Result<()> {
        client.set_nonblocking(false)?;
        client.set_nodelay(true)?;
        client.set_read_timeout(Some(PAUSE))?;
        let mut rows = (1..).zip(self.keys).skip(self.received());
        while !self.stop.load(Ordering::Acquire) {
            let some = rows.by_ref().take(ROWS_AT_ONCE).map(|(n, k)| format!("{{\"n\":{n},\"k\":\"{k}\"}}\n"));
            client.write_all(some.collect::<String>().as_bytes())?;
            // The job never sends anything, so this only waits, or notices that it has exited.
            match client.read(&mut [0]) {
                Ok(_) => return Ok(()),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Queries until two results agree: a running job moves its files.
    fn received(&self) -> usize {
        let mut before = None;
        loop {
            let ended = Process::start(&mut self.trial.command(&["inspect", "checkpoint", "--json"])).wait();
            let facts: Option<Value> = serde_json::from_str(&ended.stdout).ok();
            let facts = facts.filter(|facts| facts["problems"].as_array().is_some_and(Vec::is_empty));
            let printed =
                facts.map(|facts| (facts["received"]["rows"].as_u64().unwrap_or(0), facts["positions"].to_string()));
            if let (Some((rows, _)), true) = (&printed, printed == before) {
                return *rows as usize;
            }
            if self.stop.load(Ordering::Acquire) {
                return self.keys.len();
            }
            before = printed;
        }
    }
}
