//! What a durable plan of every batch adds to the time until the batch is visible, at `batch = "100ms"`.

use crate::measure::{dir_on_disk, figure, job, millstream, quantile, show_command};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const ROUNDS: usize = 2;
/// Batches of a run that are not counted.
const WARM_UP: usize = 5;
const INTERVAL_MS: f64 = 100.0;
const ROWS_PER_MS: usize = 10;
const LOOK_EVERY: Duration = Duration::from_micros(100);

#[derive(Clone, Copy)]
struct Case {
    source: &'static str,
    sink: &'static str,
    target: &'static str,
}

/// Runs this part.
pub fn run() {
    let dir = dir_on_disk();
    super::show_disk(dir.path());
    println!(
        "  millstream run job.toml --timeout 3s --workers 2; from a batch's time, a multiple of 100 ms, until a reader \
         sees its rows;\n  10,000 rows a second; alternating, medians over the batches of {ROUNDS} runs"
    );
    let target = "target: at most 5";
    let cases = [
        Case { source: "rate", sink: "queue", target },
        Case { source: "socket", sink: "queue", target },
        Case { source: "rate", sink: "files", target },
    ];
    for case in cases {
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            without.extend(latencies(&dir.path().join(format!("without-{round}")), case, false, round == 0));
            with.extend(latencies(&dir.path().join(format!("with-{round}")), case, true, round == 0));
        }
        let name = format!("{} to {}", case.source, case.sink);
        let (plain, kept) = (quantile(&mut without, 0.5), quantile(&mut with, 0.5));
        figure(&format!("{name}, without [checkpoint], ms"), format!("{plain:.2}"), "");
        figure("  with [checkpoint], ms", format!("{kept:.2}"), "");
        figure("  added, ms", format!("{:.2}", kept - plain), case.target);
        let (plain, kept) = (quantile(&mut without, 0.9), quantile(&mut with, 0.9));
        figure("  90 of 100 within, without and with, ms", format!("{plain:.2}, {kept:.2}"), "");
    }
}

/// Returns the milliseconds until the batches of a run are visible.
fn latencies(dir: &Path, case: Case, kept: bool, show: bool) -> Vec<f64> {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir).expect("a directory");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let checkpoint = if kept { "[checkpoint]\ndir = \"kept\"\nevery = \"1s\"\n" } else { "" };
    let source = match case.source {
        "socket" => format!("kind = \"socket\"\naddress = \"{address}\""),
        _ => format!("kind = \"rate\"\nrows_per_second = {}", ROWS_PER_MS * 1000),
    };
    let sink = match case.sink {
        "files" => "kind = \"files\"\npath = \"out\"\nformat = \"json\"",
        _ => "kind = \"queue\"\npath = \"out\"",
    };
    let text = format!(
        "name = \"durable\"\nbatch = \"100ms\"\n{checkpoint}[sources.rows]\n{source}\n[sinks.out]\nfrom = \
         \"rows\"\n{sink}\n"
    );
    if show && kept {
        show_command(&format!("{} to {}", case.source, case.sink), &text);
    }
    let path = job(dir, &text);
    let arguments = ["run", &path.to_string_lossy(), "--timeout", "3s", "--workers", "2"];
    let job = millstream(&arguments).spawn().expect("the job starts");
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        if case.source == "socket" {
            scope.spawn(|| send(&listener, &ended));
        }
        let seen = watch(&dir.join("out"), case.sink == "files", job);
        ended.store(true, Ordering::Relaxed);
        seen.into_iter().skip(WARM_UP).collect()
    })
}

/// Sends rows until the job has ended.
fn send(listener: &TcpListener, ended: &AtomicBool) {
    let (mut peer, _) = listener.accept().expect("the job connects");
    peer.set_nodelay(true).expect("no delay");
    let start = Instant::now();
    let mut sent_ms = 0;
    let rows = b"to be or not to be\n".repeat(ROWS_PER_MS);
    while !ended.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(sent_ms).saturating_sub(start.elapsed()));
        if peer.write_all(&rows).is_err() {
            return;
        }
        sent_ms += 1;
    }
}

/// Returns how far the clock was past a multiple of the interval, in milliseconds, whenever a batch appeared.
fn watch(out: &Path, is_dir: bool, mut job: Child) -> Vec<f64> {
    let (mut seen, mut known) = (Vec::new(), 0);
    let mut file = None;
    let mut lines = 0;
    while job.try_wait().expect("a child").is_none() {
        let there = if is_dir {
            parts(out)
        } else {
            file = file.or_else(|| File::open(out).ok());
            lines += file.as_mut().map_or(0, new_lines);
            lines
        };
        if there > known {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_micros() as f64 / 1e3;
            seen.extend(std::iter::repeat_n(now % INTERVAL_MS, there - known));
            known = there;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    assert!(known > WARM_UP, "the job has committed {known} batches");
    seen
}

fn parts(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("part-")).count()
}

/// Returns the lines added to a file since the last call.
fn new_lines(file: &mut File) -> usize {
    let mut new = Vec::new();
    file.read_to_end(&mut new).expect("the lines are read");
    new.iter().filter(|byte| **byte == b'\n').count()
}
