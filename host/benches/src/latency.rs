//! From a socket to a sink, at 10,000 rows a second and `batch = "0s"`.

use crate::measure::{figure, folder, job, millstream, quantile};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

const ROWS: usize = 50_000;
const ROWS_PER_MS: usize = 10;
const WARM_UP_ROWS: usize = 10_000;

/// Runs this part.
pub fn run() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let folder = folder();
    let text = format!(
        r#"name = "latency"
batch = "0s"
[sources.lines]
kind = "socket"
address = "{address}"
[stages.words]
from = "lines"
plugin = "{}"
[sinks.out]
from = "words"
kind = "queue"
path = "/dev/stdout"
"#,
        crate::measure::root().join("plugins/split-words").display()
    );
    crate::measure::show(&text);
    let path = job(folder.path(), &text);
    let mut child =
        millstream(&["run", &path.to_string_lossy()]).stdout(Stdio::piped()).spawn().expect("the job starts");
    let output = BufReader::new(child.stdout.take().expect("its output"));
    let began = Instant::now();
    // The row is the time at which it was sent.
    let sender = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().expect("the job connects");
        peer.set_nodelay(true).expect("no delay");
        let start = Instant::now();
        for burst in 0..(ROWS + WARM_UP_ROWS) / ROWS_PER_MS {
            let due = Duration::from_millis(burst as u64);
            std::thread::sleep(due.saturating_sub(start.elapsed()));
            let now = began.elapsed().as_nanos();
            peer.write_all(format!("{now}\n").repeat(ROWS_PER_MS).as_bytes()).expect("the job reads");
        }
        peer
    });
    let mut latencies = Vec::new();
    for line in output.lines() {
        let line = line.expect("a line");
        let now = began.elapsed().as_nanos();
        for word in line.split("\"word\":\"").skip(1) {
            let sent: u128 = word.split('"').next().and_then(|word| word.parse().ok()).expect("a time");
            latencies.push((now - sent) as f64 / 1e6);
        }
        if latencies.len() >= ROWS + WARM_UP_ROWS {
            break;
        }
    }
    child.kill().expect("the job is stopped");
    child.wait().expect("it ends");
    drop(sender.join());
    let measured = &mut latencies[WARM_UP_ROWS..];
    figure(
        "latency at 10,000 rows a second, median, ms",
        format!("{:.2}", quantile(measured, 0.5)),
        "target: at most 0.5",
    );
    figure("  99th percentile, ms", format!("{:.2}", quantile(measured, 0.99)), "target: at most 3");
}
