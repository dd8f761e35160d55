//! From a socket to a sink, at 10,000 rows/s and `batch = "0s"`; and the same while ten clients view the page.

use crate::measure::{cpu_of, dir, figure, job, millstream, quantile, resident_of};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

const ROWS: usize = 50_000;
const ROWS_PER_MS: usize = 10;
const WARM_UP_ROWS: usize = 10_000;

/// Clients that view the page.
pub const VIEWERS: usize = 10;
const TOKEN: &str = "0123456789abcdefgh";

/// Names of threads, truncated as by the system.
const PAGE_THREADS: [&str; 2] = ["millstream-page", "millstream-cont"];

/// Whether the job has a page, and the number of its viewers.
#[derive(Clone, Copy)]
pub enum Page {
    /// It has none.
    None,
    /// The number of viewers.
    Served(usize),
}

/// The measurements of a run, after its warm-up.
pub struct RunMeasures {
    /// The latency of each row, in milliseconds.
    pub latencies: Vec<f64>,
    /// The processor time of the job, in seconds per second.
    pub cpu: f64,
    /// The processor time of the threads that request and serve the page.
    pub page_cpu: f64,
    /// Its resident memory at the end, in bytes.
    pub resident: f64,
}

/// Runs this part.
pub fn run() {
    let mut alone = measured(Page::Served(0), true).latencies;
    let p99 = quantile(&mut alone, 0.99);
    figure(
        "latency at 10,000 rows a second, median, ms",
        format!("{:.2}", quantile(&mut alone, 0.5)),
        "target: at most 0.5",
    );
    figure("  99th percentile, ms", format!("{p99:.2}"), "target: at most 3");
    let looked_at = quantile(&mut measured(Page::Served(VIEWERS), false).latencies, 0.99);
    figure(
        "  99th percentile while ten look at the page, times that without",
        format!("{:.2}", looked_at / p99),
        "target: about 1",
    );
}

/// Views the page like a browser: requests the updates, and reads them until there are no more. Returns their number.
fn look(port: u16) -> std::io::Result<usize> {
    let get = |path: &str| -> std::io::Result<BufReader<TcpStream>> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
        )?;
        Ok(BufReader::new(stream))
    };
    let mut jobs = String::new();
    get("/api/v1/jobs")?.read_to_string(&mut jobs)?;
    let id = jobs.split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    let lines = get(&format!("/api/v1/jobs/{id}/events"))?.lines();
    Ok(lines.map_while(Result::ok).filter(|line| line.starts_with("event: news")).count())
}

/// Returns the token of the page, from a private file.
fn token(dir: &Path) -> String {
    let path = dir.join("page.token");
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
    file.and_then(|mut file| file.write_all(TOKEN.as_bytes())).expect("a token");
    path.to_string_lossy().into_owned()
}

/// Runs the job; `show`: prints it.
pub fn measured(page: Page, show: bool) -> RunMeasures {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let dir = dir();
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
    if show {
        crate::measure::show(&text);
    }
    let path = job(dir.path(), &text);
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let (served, token) = (format!("127.0.0.1:{port}"), token(dir.path()));
    let (viewers, arguments) = match page {
        Page::None => (0, vec!["--no-ui"]),
        Page::Served(viewers) => (viewers, vec!["--ui", &served, "--ui-token-file", &token]),
    };
    let mut child = millstream(&[&["run", &path.to_string_lossy()], &arguments[..]].concat())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the job starts");
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
    let mut looking = Vec::new();
    let mut warm = None;
    for line in output.lines() {
        let line = line.expect("a line");
        let now = began.elapsed().as_nanos();
        for word in line.split("\"word\":\"").skip(1) {
            let sent: u128 = word.split('"').next().and_then(|word| word.parse().ok()).expect("a time");
            latencies.push((now - sent) as f64 / 1e6);
        }
        if looking.is_empty() {
            looking.extend((0..viewers).map(|_| std::thread::spawn(move || look(port))));
        }
        if latencies.len() >= WARM_UP_ROWS {
            warm.get_or_insert_with(|| (Instant::now(), cpu_of(child.id(), &PAGE_THREADS)));
        }
        if latencies.len() >= ROWS + WARM_UP_ROWS {
            break;
        }
    }
    let (since, before) = warm.expect("rows came");
    let (now, seconds) = (cpu_of(child.id(), &PAGE_THREADS), since.elapsed().as_secs_f64());
    let (cpu, page_cpu) = ((now.0 - before.0) / seconds, (now.1 - before.1) / seconds);
    let resident = resident_of(child.id());
    child.kill().expect("the job is stopped");
    child.wait().expect("it ends");
    drop(sender.join());
    for viewer in looking {
        let updates = viewer.join().expect("no viewer panics").expect("the page answers");
        assert!(updates >= 3, "a viewer got {updates} news");
    }
    RunMeasures { latencies: latencies.split_off(WARM_UP_ROWS), cpu, page_cpu, resident }
}
