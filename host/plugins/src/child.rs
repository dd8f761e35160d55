//! Processes of Millstream itself that do for it what must be stoppable, as compiling or talking to a registry: each has
//! limits on time, memory and output, and dies with the process that started it.

pub mod limits;
mod program;

pub use program::Program;

use crate::limits::PLUGIN_WORDS_BYTES_MAX;
use crate::shown::printable;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// How often it is looked whether a process that closed its output is gone.
const GOING_LOOK_EVERY: Duration = Duration::from_millis(1);

/// What a process is to do.
pub struct Task<'a> {
    /// Its command line.
    pub arguments: Vec<OsString>,
    /// All of its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Its standard input.
    pub input: &'a [u8],
    /// How much it may write to standard output.
    pub output_bytes_max: u64,
    /// How long it may take.
    pub time_max: Duration,
}

/// What came of it.
pub struct Ended {
    /// What it wrote to standard output.
    pub output: Vec<u8>,
    /// What it wrote to standard error.
    pub words: String,
    /// How it ended.
    pub end: End,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Exit(i32),
    /// By a signal.
    Signal(i32),
    /// It took too long and was killed.
    Late,
    /// It wrote too much and was killed.
    TooLarge,
}

/// Runs a process until it has ended, or its time has passed. It is dead and waited for when this returns.
pub fn run(program: &Path, task: &Task<'_>) -> io::Result<Ended> {
    let Task { arguments, environment, input, output_bytes_max, time_max } = task;
    let deadline = Instant::now().checked_add(*time_max);
    let mut command = Command::new(program);
    // In a group of its own it does not get the terminal's Ctrl-C, and no story of a crash is told: it dies with us.
    command.args(arguments).env_clear().envs(environment.iter().cloned()).current_dir("/").process_group(0);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        // All three pipes are served at once, so that neither side waits for the other.
        scope.spawn(move || {
            // A process that does not read all of it says itself why.
            stdin.map(|mut stdin| stdin.write_all(input))
        });
        let words = scope.spawn(move || read(stderr, PLUGIN_WORDS_BYTES_MAX as u64).unwrap_or_default());
        let (sender, output) = channel();
        scope.spawn(move || sender.send(read(stdout, output_bytes_max.saturating_add(1))));
        let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
        let output = output.recv_timeout(left);
        let killed = match &output {
            Err(_) => Some(End::Late),
            Ok(Ok(output)) if output.len() as u64 > *output_bytes_max => Some(End::TooLarge),
            Ok(_) => None,
        };
        if killed.is_some() {
            child.kill()?;
        }
        let end = wait(&mut child, deadline)?;
        let words = words.join().unwrap_or_default();
        Ok(Ended {
            output: output.unwrap_or_else(|_| Ok(Vec::new()))?,
            // It may repeat what somebody else chose.
            words: printable(&String::from_utf8_lossy(&words), PLUGIN_WORDS_BYTES_MAX),
            end: killed.unwrap_or(end),
        })
    })
}

fn read(pipe: Option<impl Read>, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pipe.map(|pipe| pipe.take(bytes_max).read_to_end(&mut bytes)).transpose()?;
    Ok(bytes)
}

/// Waits for a process that has nothing more to do, or is killed.
fn wait(child: &mut Child, deadline: Option<Instant>) -> io::Result<End> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(End::of(status));
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            child.kill()?;
            child.wait()?;
            return Ok(End::Late);
        }
        thread::sleep(GOING_LOOK_EVERY);
    }
}

/// What Rust's allocator and the system say when there is no more.
pub fn is_out_of_memory(words: &str) -> bool {
    ["memory allocation of", "Cannot allocate memory", "Resource temporarily unavailable"]
        .iter()
        .any(|said| words.contains(said))
}

impl End {
    fn of(status: ExitStatus) -> End {
        match (status.code(), status.signal()) {
            (Some(code), _) => End::Exit(code),
            (None, signal) => End::Signal(signal.unwrap_or_default()),
        }
    }
}
