//! The cost of packages and upgrades: a cached package compared with a local file, the pause of an upgrade, and a shadow.

use crate::measure::{component, dir, figure, in_turn, job, median, millstream, root, seconds, show, show_command};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Upgrades whose pauses are measured, alternating between two components.
const UPGRADES: usize = 9;
/// The interval of the job that is upgraded.
const BATCH_MS: f64 = 100.0;
/// Rounds with and without a shadow.
const ROUNDS: usize = 5;
/// How long processor time is counted in each.
const COUNTED: Duration = Duration::from_secs(2);

/// Runs this part.
pub fn run() {
    start();
    pause();
    shadow();
}

/// Measures the time to the first batch: with a plugin by its path, and with the same as a package in the store.
fn start() {
    let dir = dir();
    fs::write(dir.path().join("text.txt"), "to be or not to be\n").expect("the text is written");
    let text = |plugin: &str| {
        format!(
            r#"name = "start"
batch = "0s"
[sources.lines]
kind = "file"
path = "text.txt"
[stages.words]
from = "lines"
plugin = "{plugin}"
[sinks.screen]
from = "words"
kind = "print"
"#
        )
    };
    let registry = root().join("plugins").display().to_string();
    let local = dir.path().join("local");
    let packaged = dir.path().join("packaged");
    let path_of = |dir: &Path, plugin: &str| {
        fs::create_dir(dir).expect("a directory");
        fs::write(dir.join("text.txt"), "to be or not to be\n").expect("the text is written");
        job(dir, &text(plugin))
    };
    let local = path_of(&local, &root().join("plugins/split-words").display().to_string());
    let packaged = path_of(&packaged, "split-words@0.1.0");
    show_command(
        &format!("millstream add split-words@0.1.0 --registry {registry} --job job.toml && millstream run job.toml"),
        &text("split-words@0.1.0"),
    );
    let with_store = |arguments: &[&str]| {
        let mut command = millstream(arguments);
        command.env("MILLSTREAM_STORE", dir.path().join("store"));
        command.env("MILLSTREAM_CONFIG", dir.path().join("config"));
        command
    };
    let first_line = |path: &Path| seconds(|| print_first_line(with_store(&["run", &path.to_string_lossy()]))) * 1e3;
    let added = |path: &Path| {
        let add = ["add", "split-words@0.1.0", "--registry", &registry, "--job", &path.to_string_lossy()];
        let adding = seconds(|| {
            let status = with_store(&add).status();
            assert!(status.is_ok_and(|status| status.success()), "the package is not added");
        });
        adding * 1e3 + first_line(path)
    };
    added(&packaged);
    let times = in_turn(&mut [&mut || first_line(&local), &mut || first_line(&packaged), &mut || added(&packaged)]);
    let [local_ms, packaged_ms, added_ms] = times[..] else { return };
    figure("from start to the first batch, local file, ms", format!("{local_ms:.0}"), "");
    figure("  a locked package", format!("{packaged_ms:.0}"), "");
    figure("  a cached package is added before", format!("{added_ms:.0}"), "");
    figure("  what adding costs", format!("{:.0}", added_ms - local_ms), "target: at most 50");
}

/// Starts a job, waits for its first line and stops it.
fn print_first_line(mut command: Command) {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("output")).read_line(&mut line).expect("a line");
    child.kill().ok();
    child.wait().expect("it ends");
    assert!(!line.is_empty(), "the job printed nothing");
}

/// A running job, and its directory.
struct Running {
    child: Child,
    dir: tempfile::TempDir,
    job: PathBuf,
}

impl Running {
    /// Starts it in a directory whose plugin is `a.wasm`; `b.wasm` is the same with other bytes.
    fn start(text: &str, plugin: &str) -> Running {
        let dir = dir();
        let bytes = fs::read(component(plugin)).expect("the component");
        for name in ["a", "b"] {
            // An additional custom section: another digest.
            let other = [&bytes[..], &[0, 2, 1, name.as_bytes()[0]]].concat();
            fs::write(dir.path().join(format!("{name}.wasm")), other).expect("the component is written");
        }
        let job = job(dir.path(), text);
        let child = millstream(&["run", &job.to_string_lossy()]).spawn().expect("the job starts");
        let running = Running { child, dir, job };
        running.wait_until("it runs", || running.command(&["status"]).is_some());
        running
    }

    /// Returns the output of a command about this job; `None`: it failed.
    fn command(&self, arguments: &[&str]) -> Option<String> {
        let (first, rest) = arguments.split_first().expect("a command");
        let job = self.job.to_string_lossy();
        let all = [&[*first, &job], rest].concat();
        let output = millstream(&all).stdout(Stdio::piped()).stderr(Stdio::null()).output().expect("it starts");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let begun = Instant::now();
        while !condition() {
            assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns the processor time of its threads, in seconds.
    fn processor(&self) -> f64 {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it lives").flatten();
        let ns = threads.filter_map(|thread| {
            let pauses_ms = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            pauses_ms.split(' ').next()?.parse::<f64>().ok()
        });
        ns.sum::<f64>() / 1e9
    }
}

impl Running {
    /// Returns how many rows its source has put into batches.
    fn rows(&self) -> f64 {
        let status = self.command(&["status", "--json"]).expect("it tells how it stands");
        let sources = status.split_once("\"sources\":").expect("its sources").1;
        number_after(sources, "\"rows\":").expect("their rows")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Measures how long an upgraded job begins no batch: as it reports itself, and as the times of its batches show.
fn pause() {
    let text = format!(
        r#"name = "pause"
batch = "{BATCH_MS}ms"
[checkpoint]
dir = "checkpoint"
[sources.numbers]
kind = "rate"
rows_per_second = 100000
[stages.keys]
from = "numbers"
select = "value % 10000 as key"
[stages.totals]
from = "keys"
key = "key"
plugin = "a.wasm"
[stages.some]
from = "totals"
filter = "key = 0"
[sinks.out]
from = "some"
kind = "queue"
path = "out.jsonl"
"#
    );
    show_command(
        "millstream upgrade job.toml totals b.wasm --json, and back, while millstream run job.toml runs",
        &text,
    );
    let running = Running::start(&text, "plugins/running-count");
    let (output, stop) = (running.dir.path().join("out.jsonl"), Arc::new(AtomicBool::new(false)));
    let stopped = stop.clone();
    let watching = std::thread::spawn(move || arrivals_ms(&output, &stopped));
    let mut pauses_ms = Vec::new();
    for upgrade in 0..UPGRADES {
        let to = running.dir.path().join(if upgrade % 2 == 0 { "b.wasm" } else { "a.wasm" });
        let response =
            running.command(&["upgrade", "totals", &to.to_string_lossy(), "--json"]).expect("it is upgraded");
        let pause_us: f64 = number_after(&response, "\"pause_us\":").expect("it tells the pause");
        pauses_ms.push(pause_us / 1e3);
        // Some batches in between separate the pauses.
        std::thread::sleep(Duration::from_millis(5 * BATCH_MS as u64));
    }
    stop.store(true, Ordering::Release);
    let arrivals = watching.join().expect("the output is there");
    let mut gaps: Vec<f64> = arrivals.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_by(f64::total_cmp);
    let longest = gaps.split_off(gaps.len().saturating_sub(UPGRADES));
    figure(
        "an upgrade with state and checkpoint: no batch begins for, ms",
        format!("{:.0}", median(pauses_ms)),
        "target: at most 200",
    );
    figure("  between two batches in the sink, median, ms", format!("{:.0}", median(gaps)), "");
    figure(
        "  the longest of these times, one for each upgrade, median",
        format!("{:.0}", median(longest)),
        "target: at most 300",
    );
}

/// Returns when a file grew, in milliseconds since this began.
fn arrivals_ms(file: &Path, stop: &AtomicBool) -> Vec<f64> {
    let (mut arrivals, mut length, began) = (Vec::new(), 0, Instant::now());
    while !stop.load(Ordering::Acquire) {
        let now = fs::metadata(file).map_or(0, |file| file.len());
        if now > length {
            length = now;
            arrivals.push(began.elapsed().as_secs_f64() * 1e3);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    arrivals
}

/// Returns the number after a text.
fn number_after(text: &str, before: &str) -> Option<f64> {
    let rest = text.split_once(before)?.1.trim_start();
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Measures the processor time of a job whose plugin does nearly all of its work, with a shadow and without.
fn shadow() {
    let text = r#"name = "shadow"
batch = "50ms"
workers = 1
[sources.numbers]
kind = "rate"
rows_per_second = 5000
[stages.points]
from = "numbers"
select = "value * 0 + 500750 as n"
[stages.steps]
from = "points"
plugin = "a.wasm"
[sinks.out]
from = "steps"
kind = "queue"
path = "/dev/null"
"#;
    show(text);
    println!("  millstream upgrade job.toml steps b.wasm --shadow 100000 --promote never");
    let running = Running::start(text, "host/benches/compute");
    let next_component = running.dir.path().join("b.wasm").display().to_string();
    let counted = || {
        let (before, rows) = (running.processor(), running.rows());
        std::thread::sleep(COUNTED);
        (running.processor() - before) * 1e6 / (running.rows() - rows)
    };
    let (mut alone, mut shadowed) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let without = counted();
        let job = running.job.to_string_lossy();
        let arguments = ["upgrade", &job, "steps", &next_component, "--shadow", "100000", "--promote", "never"];
        let mut upgrade = millstream(&arguments).spawn().expect("it starts");
        running.wait_until("the shadow runs", || {
            running.command(&["status", "--json"]).is_some_and(|status| status.contains("\"shadowing\""))
        });
        let with = counted();
        // When the client exits, the shadow ends.
        Command::new("kill").args(["-INT", &upgrade.id().to_string()]).status().expect("there is a program `kill`");
        upgrade.wait().expect("it ends");
        running.wait_until("the shadow is gone", || {
            running.command(&["status", "--json"]).is_some_and(|status| !status.contains("\"shadowing\""))
        });
        if round > 0 {
            alone.push(without);
            shadowed.push(with);
        }
    }
    let (alone, shadowed) = (median(alone), median(shadowed));
    figure("a plugin alone, µs of processor a row", format!("{alone:.2}"), "");
    figure("  with a shadow", format!("{shadowed:.2}"), "");
    figure("  ratio", format!("{:.2}", shadowed / alone), "target: at most 2.0");
}
