//! What processes take.

use crate::{Ended, Process};
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Resident memory of this process, in bytes.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has this file");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has this line");
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().expect("it is a number of KiB");
    kib * 1024
}

/// The memory without freed memory that the C library keeps. That is as much as the process once needed, not what it uses.
pub fn held_bytes() -> u64 {
    // SAFETY: it takes a number, and locks of the allocator only.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::malloc_trim(0)
    };
    resident_bytes()
}

/// Threads of this process.
pub fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").expect("Linux has this folder").count()
}

/// A process that has ended, and what it took.
#[derive(Debug)]
pub struct Measured {
    /// How the process ended.
    pub ended: Ended,
    /// The most resident memory that it had at a time, or one of the processes that it started and waited for, in bytes.
    pub peak_bytes: u64,
}

/// Names the directory with the command, in the process that measures.
const ORDER: &str = "MILLSTREAM_TEST_MEASURE";
/// The test of a program that uses [`measured`] which calls [`measure`].
const TEST: &str = "operators::memory::measuring";

/// Runs a command to its end, for at most `time`. The peak memory of a process starts at that of its parent, so a small process
/// starts it: this program, again. Its test `measuring` calls [`measure`].
pub fn measured(command: &Command, time: Duration) -> Measured {
    let dir = tempfile::TempDir::new().expect("a temporary folder");
    let strings = std::iter::once(command.get_program()).chain(command.get_args());
    let strings: Vec<&str> = strings.map(|word| word.to_str().expect("plain words")).collect();
    let here = command.get_current_dir().expect("a folder to run in").to_str().expect("a plain path");
    std::fs::write(dir.path().join("order"), serde_json::json!({ "words": strings, "here": here }).to_string())
        .expect("a file can be written");
    let this = std::env::current_exe().expect("a test knows its path");
    let mut small = Command::new(this);
    small.args(["--exact", TEST, "--nocapture", "--test-threads=1"]).env(ORDER, dir.path());
    let ended = Process::start(&mut small).wait_within(time);
    let text = |name: &str| {
        let bytes = std::fs::read(dir.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let taken = text("taken");
    let (code, peak) = taken.split_once(' ').unwrap_or_else(|| panic!("{command:?} was not measured: {ended:?}"));
    let peak_kib: u64 = peak.parse().expect("a number");
    let ended = Ended { code: code.parse().ok(), signal: None, stdout: text("stdout"), stderr: text("stderr") };
    Measured { ended, peak_bytes: peak_kib * 1024 }
}

/// Measures, in the process that was started for it. Does nothing in others.
#[expect(clippy::zombie_processes, reason = "`wait4` waits for it, and says how much memory it took")]
pub fn measure() {
    let Some(dir) = std::env::var_os(ORDER).map(PathBuf::from) else { return };
    let order = std::fs::read_to_string(dir.join("order")).expect("there is an order");
    let order: serde_json::Value = serde_json::from_str(&order).expect("it is JSON");
    let mut strings = order["words"].as_array().expect("words").iter().map(|word| word.as_str().expect("a word"));
    let file = |name: &str| File::create(dir.join(name)).expect("a file can be made");
    let mut command = Command::new(strings.next().expect("a program"));
    command.args(strings).current_dir(order["here"].as_str().expect("a directory")).env_remove(ORDER);
    command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr"));
    let child = command.spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
    let id = libc::pid_t::try_from(child.id()).expect("a process id");
    let mut status = 0;
    // SAFETY: all zeros are a usage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the child is this process's own, nothing else waits for it, and both pointers are valid.
    let gone = unsafe { libc::wait4(id, &raw mut status, 0, &raw mut usage) };
    assert_eq!(gone, id);
    let code = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status).to_string() } else { "none".into() };
    std::fs::write(dir.join("taken"), format!("{code} {}", usage.ru_maxrss)).expect("a file can be written");
}
