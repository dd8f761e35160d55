//! The process that compiles, as the one that needs the code sees it.

use super::Order;
use crate::limits::{COMPILED_BYTES_MAX, PLUGIN_WORDS_BYTES_MAX};
use crate::plugin::failure::printable;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// How often it is looked whether a process that closed its output is gone.
const GOING_LOOK_EVERY: Duration = Duration::from_millis(1);

/// What came of it.
pub struct Ended {
    /// What it wrote to standard output.
    pub code: Vec<u8>,
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

/// Runs `millstream compile-component` until it has ended, or the order's time has passed. It is dead and waited for when
/// this returns.
pub fn run(program: &Path, order: &Order, bytes: &[u8]) -> io::Result<Ended> {
    let deadline = Instant::now().checked_add(order.time_max);
    let mut command = Command::new(program);
    // In a group of its own it does not get the terminal's Ctrl-C, and no story of a crash is told: it dies with us.
    command.args(order.arguments()).env_clear().current_dir("/").process_group(0);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        // All three pipes are served at once, so that neither side waits for the other.
        scope.spawn(move || {
            // A process that does not read all of it says itself why.
            stdin.map(|mut stdin| stdin.write_all(bytes))
        });
        let words = scope.spawn(move || read(stderr, PLUGIN_WORDS_BYTES_MAX as u64).unwrap_or_default());
        let (sender, code) = channel();
        scope.spawn(move || sender.send(read(stdout, COMPILED_BYTES_MAX + 1)));
        let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
        let code = code.recv_timeout(left);
        let killed = match &code {
            Err(_) => Some(End::Late),
            Ok(Ok(code)) if code.len() as u64 > COMPILED_BYTES_MAX => Some(End::TooLarge),
            Ok(_) => None,
        };
        if killed.is_some() {
            child.kill()?;
        }
        let end = wait(&mut child, deadline)?;
        let words = words.join().unwrap_or_default();
        Ok(Ended {
            code: code.unwrap_or_else(|_| Ok(Vec::new()))?,
            // A compiler repeats names that the component's author chose.
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

impl End {
    fn of(status: ExitStatus) -> End {
        match (status.code(), status.signal()) {
            (Some(code), _) => End::Exit(code),
            (None, signal) => End::Signal(signal.unwrap_or_default()),
        }
    }
}
