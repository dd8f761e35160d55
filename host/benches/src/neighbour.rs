//! A well-behaved job next to one whose plugin panics, loops and hoards memory all the time, in one process. Throughput and latency are measured in
//! turn: alone, next to a busy well-behaved neighbor, next to the hostile one, and next to an unrelated process. That process takes the processor and
//! memory in the hostile one's rhythm. It shows the effect of the machine itself on a job whose threads wake up while another thread computes.

use crate::measure::{component, dir, figure, median, quantile, seconds};
use millstream::connectors::files::source::settings::FileReads;
use millstream::connectors::queue::sink::settings::QueueWrites;
use millstream::connectors::rate::RateReads;
use millstream::connectors::socket::settings::SocketReads;
use millstream::job::spec::{JobSpec, OnError, PluginLimits, PluginSpec, SinkSpec, SourceSpec, StageSpec};
use millstream::run::{Job, Options, Stop};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Rounds of each, alone and with the other job.
const ROUNDS: usize = 7;
const TEXT_LINES: usize = 400_000;
const ROWS: usize = 20_000;
const WARM_UP_ROWS: usize = 3_000;
const ROWS_PER_MS: usize = 10;

/// The argument that starts this program as a process that takes the processor.
const OWN_PART: &str = "--neighbour-takes";
/// The time limit of a call of the hostile job; below, its memory limit.
const LOOP: Duration = Duration::from_millis(20);
const MEMORY_BYTES: usize = 32 << 20;
/// In this time the hostile job has three hostile rows, one of each kind.
const RHYTHM: Duration = Duration::from_millis(100);

/// Takes the processor, if this program was started for that.
pub fn own_part(arguments: &[String]) -> bool {
    if !matches!(arguments, [only] if only == OWN_PART) {
        return false;
    }
    loop {
        let began = Instant::now();
        while began.elapsed() < LOOP {
            std::hint::spin_loop();
        }
        std::hint::black_box(vec![1_u8; MEMORY_BYTES]);
        std::thread::sleep(RHYTHM.saturating_sub(began.elapsed()));
    }
}

/// Runs this part.
pub fn run() {
    println!(
        "  in one process: a job with plugins/split-words and one worker; its neighbour has one worker as well, and a"
    );
    println!(
        "  plugin that panics, loops (limits.time = \"20ms\") and takes memory (limits.memory = \"32MiB\") on every tenth row,"
    );
    println!(
        "  with on_error = \"reject\"; the busy neighbour has the same plugin, and rows that keep it busy; the process"
    );
    println!("  is none of Millstream's, loops for 20 ms and fills 32 MiB every 100 ms");
    let dir = dir();
    let text = dir.path().join("text");
    std::fs::write(&text, "to be or not to be that is the question\n".repeat(TEXT_LINES)).expect("the text");
    let neighbours =
        [None, Some(Neighbour::busy as fn() -> Neighbour), Some(Neighbour::hostile), Some(Neighbour::process)];
    let mut throughput = neighbours.map(|_| Vec::new());
    let mut latency = neighbours.map(|_| Vec::new());
    for round in 0..=ROUNDS {
        for (index, start) in neighbours.iter().enumerate() {
            let neighbour = start.map(|start| start());
            let took = seconds(|| count(&text));
            let p99 = p99_ms(dir.path());
            if let Some(neighbour) = neighbour {
                neighbour.stop();
            }
            if round > 0 {
                throughput[index].push(TEXT_LINES as f64 / took / 1e6);
                latency[index].push(p99);
            }
        }
    }
    let [alone, busy, hostile, process] = throughput.map(median);
    figure("throughput alone, million lines a second", format!("{alone:.2}"), "");
    figure("  beside a busy job", format!("{busy:.2}"), "");
    figure("  beside a hostile job", format!("{hostile:.2}"), "");
    figure(
        "  share that is left beside the hostile one, of alone",
        format!("{:.2}", hostile / alone),
        "target: at least 0.80",
    );
    figure("  of beside the busy one", format!("{:.2}", hostile / busy), "");
    figure("  of beside the process", format!("{:.2}", hostile / process), "");
    let [alone, busy, hostile, process] = latency.map(median);
    figure("latency alone at 10,000 rows a second, 99th percentile, ms", format!("{alone:.2}"), "");
    figure("  beside a busy job", format!("{busy:.2}"), "");
    figure("  beside a hostile job", format!("{hostile:.2}"), "");
    figure("  beside the process", format!("{process:.2}"), "");
    figure("  ratio of hostile to alone", format!("{:.2}", hostile / alone), "target: at most 1.20");
    figure("  of hostile to busy", format!("{:.2}", hostile / busy), "");
    figure("  of hostile to the process", format!("{:.2}", hostile / process), "");
}

/// What runs next to the job.
enum Neighbour {
    Job(Box<Job>),
    Process(Child),
}

impl Neighbour {
    fn hostile() -> Neighbour {
        let query =
            "select case value % 30 when 0 then -1 when 10 then -2 when 20 then -3 else value end as n from numbers";
        Neighbour::start(300, query)
    }

    /// Returns a job with more rows than one core can process, each of a thousand steps.
    fn busy() -> Neighbour {
        Neighbour::start(400_000, "select value * 0 + 500750 as n from numbers")
    }

    fn start(rows_per_second: u64, query: &str) -> Neighbour {
        let limits = PluginLimits { memory_bytes_max: MEMORY_BYTES as u64, time_max: LOOP, ..PluginLimits::default() };
        let plugin = PluginSpec::new(component("host/benches/compute")).limits(limits).on_error(OnError::Reject);
        let spec = JobSpec::new("neighbour")
            .batch(Duration::from_millis(100))
            .workers(1)
            .source(SourceSpec::from_config("numbers", RateReads { rows_per_second, rows_max: None }))
            .stage(StageSpec::sql("points", ["numbers"], query))
            .stage(StageSpec::plugin("steps", ["points"], plugin))
            .sink(SinkSpec::new("out", ["steps"], QueueWrites::new("/dev/null")));
        let mut job = Job::new(spec, Options::default());
        job.start().expect("the other job starts");
        Neighbour::Job(Box::new(job))
    }

    fn process() -> Neighbour {
        let program = std::env::current_exe().expect("this program");
        Neighbour::Process(Command::new(program).arg(OWN_PART).spawn().expect("it starts again"))
    }

    fn stop(self) {
        match self {
            Neighbour::Job(mut job) => {
                job.stop(Stop::Now).expect("it is started");
                job.await_termination(None).expect("failing calls do not end it");
            }
            Neighbour::Process(mut process) => {
                process.kill().expect("it runs");
                process.wait().expect("it ends");
            }
        }
    }
}

fn split() -> PluginSpec {
    PluginSpec::new(component("plugins/split-words"))
}

/// Splits and counts a text.
fn count(text: &Path) {
    let counts = StageSpec::aggregate("counts", ["words"], &[("n", "count(*)")]).expect("an aggregate").key(["word"]);
    let spec = JobSpec::new("count")
        .batch(Duration::ZERO)
        .workers(1)
        .source(SourceSpec::from_config("lines", FileReads { path: text.into() }))
        .stage(StageSpec::plugin("words", ["lines"], split()))
        .stage(counts)
        .sink(SinkSpec::new("out", ["counts"], QueueWrites::new("/dev/null")));
    let mut job = Job::new(spec, Options::default());
    job.start().expect("the job starts");
    job.await_termination(None).expect("the job ends");
}

/// Returns the 99th percentile of the latency from a socket to a sink.
fn p99_ms(dir: &Path) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let pipe = dir.join("pipe");
    let _ = std::fs::remove_file(&pipe);
    assert!(Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()), "a pipe");
    let address = listener.local_addr().expect("its address").to_string();
    let spec = JobSpec::new("latency")
        .batch(Duration::ZERO)
        .workers(1)
        .source(SourceSpec::from_config("lines", SocketReads::lines(address)))
        .stage(StageSpec::plugin("words", ["lines"], split()))
        .sink(SinkSpec::new("out", ["words"], QueueWrites::new(&pipe)));
    let began = Instant::now();
    let reading = std::thread::spawn(move || read(&pipe, began));
    let mut job = Job::new(spec, Options::default());
    job.start().expect("the job starts");
    let (mut peer, _) = listener.accept().expect("the job connects");
    peer.set_nodelay(true).expect("no delay");
    let start = Instant::now();
    for burst in 0..(ROWS + WARM_UP_ROWS) / ROWS_PER_MS {
        std::thread::sleep(Duration::from_millis(burst as u64).saturating_sub(start.elapsed()));
        // The row is the time at which it was sent.
        let now = began.elapsed().as_nanos();
        peer.write_all(format!("{now}\n").repeat(ROWS_PER_MS).as_bytes()).expect("the job reads");
    }
    let mut latencies = reading.join().expect("all rows come");
    job.stop(Stop::Now).expect("it is started");
    job.await_termination(None).expect("it ends");
    quantile(&mut latencies, 0.99)
}

/// Returns the milliseconds since each row was sent.
fn read(pipe: &Path, began: Instant) -> Vec<f64> {
    let mut latencies = Vec::new();
    for line in BufReader::new(File::open(pipe).expect("the pipe")).lines() {
        let line = line.expect("a line");
        let now = began.elapsed().as_nanos();
        for word in line.split("\"word\":\"").skip(1) {
            let sent: u128 = word.split('"').next().and_then(|word| word.parse().ok()).expect("a time");
            latencies.push(now.saturating_sub(sent) as f64 / 1e6);
        }
        if latencies.len() >= ROWS + WARM_UP_ROWS {
            break;
        }
    }
    latencies.split_off(WARM_UP_ROWS.min(latencies.len()))
}
