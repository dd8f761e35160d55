//! Repeated measurements, and the job's binary as a child process.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often each thing is measured.
pub const RUNS: usize = 9;

/// Returns the median of some measurements.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Returns a quantile, for example 0.99.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share) as usize]
}

/// Returns the seconds that `work` takes.
pub fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// Measures several things in turn, [`RUNS`] times after one warm-up; returns the median of each. Taking turns spreads other load of the machine over
/// all of them.
pub fn in_turn(things: &mut [&mut dyn FnMut() -> f64]) -> Vec<f64> {
    in_turn_rounds(RUNS, things)
}

/// Does the same as [`in_turn`], with another number of rounds after the warm-up.
pub fn in_turn_rounds(rounds: usize, things: &mut [&mut dyn FnMut() -> f64]) -> Vec<f64> {
    let mut all = vec![Vec::new(); things.len()];
    for run in 0..=rounds {
        for (thing, values) in things.iter_mut().zip(&mut all) {
            let value = thing();
            if run > 0 {
                values.push(value);
            }
        }
    }
    all.into_iter().map(median).collect()
}

/// Prints a figure with its target.
pub fn figure(what: &str, value: String, target: &str) {
    println!("{what:<66} {value:>14}   {target}");
}

/// Returns the project's directory.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the project")
}

/// Returns the component of a plugin of the project.
pub fn component(plugin: &str) -> PathBuf {
    let name = Path::new(plugin).file_name().expect("a name").to_string_lossy().into_owned();
    let path = root().join(plugin).join(format!("{name}.wasm"));
    assert!(path.exists(), "{} is not built: run `make build`", path.display());
    path
}

/// Creates a directory for the files of a benchmark.
pub fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Writes a job file and returns its path.
pub fn job(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("job.toml");
    std::fs::write(&path, text).expect("the job file is written");
    path
}

/// Creates a directory on the disk that holds the build; temporary directories are often in memory.
pub fn dir_on_disk() -> tempfile::TempDir {
    let program = std::env::current_exe().expect("this program");
    tempfile::tempdir_in(program.parent().expect("its folder")).expect("a temporary folder")
}

/// Returns a command for the binary under test: `$MILLSTREAM_BIN`, or the one next to this program.
pub fn millstream(arguments: &[&str]) -> Command {
    let default_binary = || std::env::current_exe().expect("this program").with_file_name("millstream");
    let mut command = Command::new(std::env::var_os("MILLSTREAM_BIN").map_or_else(default_binary, PathBuf::from));
    command.args(arguments).env("MILLSTREAM_LOG", "error").stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Returns the seconds that a job takes from start to exit.
pub fn job_seconds(job: &Path, workers: usize) -> f64 {
    let workers = workers.to_string();
    seconds(|| {
        let status = millstream(&["run", &job.to_string_lossy(), "--workers", &workers]).status();
        assert!(status.is_ok_and(|status| status.success()), "the job failed");
    })
}

/// Prints how a job was run.
pub fn show(job: &str) {
    show_command("millstream run job.toml --workers N", job);
}

/// Prints a command and the job that it runs.
pub fn show_command(command: &str, job: &str) {
    let mut text = String::new();
    for line in job.lines() {
        let _ = writeln!(text, "    | {line}");
    }
    print!("  {command}, with\n{text}");
}

/// Returns the peak memory of a process in bytes, read while it runs; waits for its end.
pub fn peak_memory(mut child: Child) -> f64 {
    let path = format!("/proc/{}/status", child.id());
    let mut peak = 0.0_f64;
    while child.try_wait().expect("a child").is_none() {
        if let Ok(status) = std::fs::read_to_string(&path)
            && let Some(line) = status.lines().find(|line| line.starts_with("VmHWM:"))
        {
            let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok());
            peak = peak.max(kib.unwrap_or(0.0) * 1024.0);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    peak
}

/// Returns the processor time in seconds of the threads of a running process: of all, and of those whose names begin with one of `named`.
pub fn cpu_of(pid: u32, named: &[&str]) -> (f64, f64) {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let had = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        let seconds = text.split(' ').next()?.parse::<f64>().ok()? / 1e9;
        Some((seconds, if named.iter().any(|begin| name.starts_with(begin)) { seconds } else { 0.0 }))
    };
    tasks.filter_map(|task| had(task.ok()?)).fold((0.0, 0.0), |sum, had| (sum.0 + had.0, sum.1 + had.1))
}

/// Returns the resident memory of a running process in bytes.
pub fn resident_of(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<f64>().ok());
    kib.expect("what is resident") * 1024.0
}

/// Returns the processor time in seconds of all processes that this one has waited for; servers that still run are not included.
pub fn children_cpu() -> f64 {
    // SAFETY: all zeros is a value of this type, and the call fills the struct.
    let used = unsafe {
        let mut used: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut used);
        used
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(used.ru_utime) + seconds(used.ru_stime)
}
