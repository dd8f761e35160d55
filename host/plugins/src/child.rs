//! Runs child processes for work that must be stoppable, such as compiling a component or talking to a registry. Each has
//! limits on time, memory and output, and dies with the process that started it.

pub mod helper;
pub mod limits;
mod program;

pub use program::Program;

use crate::limits::PLUGIN_MESSAGE_BYTES_MAX;
use millstream_base::shown::printable;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// Interval for checking whether a process that closed its output has exited.
const GOING_LOOK_EVERY: Duration = Duration::from_millis(1);

/// A process to run.
pub struct Task<'a> {
    /// The command line.
    pub arguments: Vec<OsString>,
    /// The complete environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The standard input.
    pub input: &'a [u8],
    /// Maximum bytes of standard output.
    pub output_bytes_max: u64,
    /// Maximum duration.
    pub time_max: Duration,
}

/// The result of a process.
pub struct ProcessOutput {
    /// Its standard output.
    pub output: Vec<u8>,
    /// Its standard error, safe to print.
    pub error_text: String,
    /// How the process ended.
    pub end: ProcessEnd,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessEnd {
    /// It exited with this code.
    Exit(i32),
    /// By a signal.
    Signal(i32),
    /// It took too long and was killed.
    Late,
    /// It wrote too much and was killed.
    TooLarge,
    /// It exceeded its memory limit and failed.
    OutOfMemory,
}

/// How often a process is started that is killed from outside. The pause before a restart doubles.
const TRIES: u32 = 5;
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 200 });

/// Like [`run`], but restarts a process that was killed from outside, as the system does when it runs out of memory. Its work may be done
/// twice. `what` describes the process.
pub fn run_to_its_end(what: &str, program: &Path, task: &Task<'_>) -> io::Result<ProcessOutput> {
    let mut pause = TRY_AGAIN_AFTER;
    for tries in 1..TRIES {
        let ended = run(program, task)?;
        let Some(signal) = ended.end.killed_by() else { return Ok(ended) };
        tracing::warn!("{what} was killed by signal {signal}; restarting it ({tries} of {})", TRIES - 1);
        thread::sleep(pause);
        pause *= 2;
    }
    run(program, task)
}

/// Runs a process until it has ended, or its time has passed. It is dead and waited for when this returns.
pub fn run(program: &Path, task: &Task<'_>) -> io::Result<ProcessOutput> {
    let Task { arguments, environment, input, output_bytes_max, time_max } = task;
    let deadline = Instant::now().checked_add(*time_max);
    let mut command = Command::new(program);
    // In its own process group it does not receive the terminal's Ctrl-C, and reports no crash: it ends with us.
    command.args(arguments).env_clear().envs(environment.iter().cloned()).current_dir("/").process_group(0);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        // All three pipes are served concurrently, so that neither side blocks the other.
        scope.spawn(move || {
            // A process that does not read all of it says itself why.
            stdin.map(|mut stdin| stdin.write_all(input))
        });
        let error_text = scope.spawn(move || read(stderr, PLUGIN_MESSAGE_BYTES_MAX as u64).unwrap_or_default());
        let (sender, output) = channel();
        scope.spawn(move || sender.send(read(stdout, output_bytes_max.saturating_add(1))));
        let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
        let output = output.recv_timeout(left);
        let killed = match &output {
            Err(_) => Some(ProcessEnd::Late),
            Ok(Ok(output)) if output.len() as u64 > *output_bytes_max => Some(ProcessEnd::TooLarge),
            Ok(_) => None,
        };
        if killed.is_some() {
            child.kill()?;
        }
        let end = wait(&mut child, deadline)?;
        let error_text = error_text.join().unwrap_or_default();
        // It may contain text that an attacker chose.
        let error_text = printable(&String::from_utf8_lossy(&error_text), PLUGIN_MESSAGE_BYTES_MAX);
        Ok(ProcessOutput {
            output: output.unwrap_or_else(|_| Ok(Vec::new()))?,
            end: killed.unwrap_or_else(|| end.or_out_of_memory(&error_text)),
            error_text,
        })
    })
}

fn read(pipe: Option<impl Read>, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pipe.map(|pipe| pipe.take(bytes_max).read_to_end(&mut bytes)).transpose()?;
    Ok(bytes)
}

/// Waits for a process that has nothing more to do, or is killed.
fn wait(child: &mut Child, deadline: Option<Instant>) -> io::Result<ProcessEnd> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(ProcessEnd::from_status(status));
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            child.kill()?;
            child.wait()?;
            return Ok(ProcessEnd::Late);
        }
        thread::sleep(GOING_LOOK_EVERY);
    }
}

/// What Rust's allocator prints before it aborts, and what the system reports when there is no more memory or no more threads.
const OUT_OF_MEMORY: [&str; 3] = ["memory allocation of", "Cannot allocate memory", "Resource temporarily unavailable"];

impl ProcessEnd {
    /// The signal with which it was killed from outside.
    pub fn killed_by(self) -> Option<i32> {
        match self {
            ProcessEnd::Signal(signal @ (libc::SIGKILL | libc::SIGTERM | libc::SIGINT | libc::SIGHUP)) => Some(signal),
            _ => None,
        }
    }

    fn from_status(status: ExitStatus) -> ProcessEnd {
        match (status.code(), status.signal()) {
            (Some(code), _) => ProcessEnd::Exit(code),
            (None, signal) => ProcessEnd::Signal(signal.unwrap_or_default()),
        }
    }

    /// Recognizes a lack of memory by its text: a process without memory can do little more, and no exit code or signal shows it.
    fn or_out_of_memory(self, error_text: &str) -> ProcessEnd {
        let failed = match self {
            ProcessEnd::Exit(code) => code != 0,
            ProcessEnd::Signal(signal) => signal != libc::SIGXCPU,
            _ => false,
        };
        let has_message = OUT_OF_MEMORY.iter().any(|part| error_text.contains(part));
        if failed && has_message { ProcessEnd::OutOfMemory } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    const THIS_IS_THE_CHILD: &str = "MILLSTREAM_TEST_CHILD_WITHOUT_MEMORY";

    /// The child process of the next test, which needs more memory than it may have.
    #[test]
    fn child_without_memory() {
        if std::env::var_os(THIS_IS_THE_CHILD).is_some() {
            let limits = limits::Limits { seconds: 60, memory_bytes_max: 256 << 20, files_max: 64 };
            limits::take_on(&limits).unwrap();
            black_box(vec![1_u8; black_box(1 << 30)]);
        }
    }

    /// Runs a shell script until its end.
    fn to_its_end(script: &str) -> ProcessOutput {
        let arguments = ["-c", script].map(OsString::from).into();
        let (output_bytes_max, time_max) = (1 << 20, Duration::from_secs(60));
        let task = Task { arguments, environment: Vec::new(), input: &[], output_bytes_max, time_max };
        run_to_its_end("a test", Path::new("/bin/sh"), &task).unwrap()
    }

    #[test]
    fn a_process_that_is_killed_is_started_again_and_not_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("starts");
        let starts = || std::fs::read_to_string(&file).unwrap().len();
        let start = format!("printf . >> {0}; ", file.display());
        let ended = to_its_end(&format!("{start} [ $(wc -c < {}) -gt 2 ] || kill -KILL $$; echo done", file.display()));
        assert_eq!((ended.end, ended.output.as_slice(), starts()), (ProcessEnd::Exit(0), &b"done\n"[..], 3));
        std::fs::remove_file(&file).unwrap();
        let ended = to_its_end(&format!("{start} kill -TERM $$"));
        assert_eq!((ended.end, starts()), (ProcessEnd::Signal(libc::SIGTERM), TRIES as usize));
        // A crash is its own.
        std::fs::remove_file(&file).unwrap();
        let ended = to_its_end(&format!("{start} kill -SEGV $$"));
        assert_eq!((ended.end, starts()), (ProcessEnd::Signal(libc::SIGSEGV), 1));
    }

    #[test]
    fn a_process_that_runs_out_of_memory_is_known_by_what_it_says() {
        let task = Task {
            arguments: ["--exact", "child::tests::child_without_memory", "--nocapture"].map(OsString::from).into(),
            environment: vec![(THIS_IS_THE_CHILD.into(), "1".into())],
            input: &[],
            output_bytes_max: 1 << 20,
            time_max: Duration::from_secs(60),
        };
        let ended = run(&std::env::current_exe().unwrap(), &task).unwrap();
        assert_eq!(ended.end, ProcessEnd::OutOfMemory, "{}", ended.error_text);
        for code in [libc::ENOMEM, libc::EAGAIN] {
            let error_text = io::Error::from_raw_os_error(code).to_string();
            assert_eq!(ProcessEnd::Exit(1).or_out_of_memory(&error_text), ProcessEnd::OutOfMemory, "{error_text}");
        }
        assert_eq!(ProcessEnd::Exit(1).or_out_of_memory("no such file"), ProcessEnd::Exit(1));
        assert_eq!(ProcessEnd::Exit(0).or_out_of_memory(OUT_OF_MEMORY[0]), ProcessEnd::Exit(0));
    }
}
