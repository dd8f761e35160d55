//! Commands of the program that the page runs, each in its own process with limits on time, memory and output. So no
//! command costs the page or the job more than that, and each has the same checks as in a terminal.

use millstream_base::error::{Error, Result};
use millstream_plugins::child::limits::signals_as_usual;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Maximum bytes of the error output.
const ERRORS_BYTES_MAX: u64 = 16 << 10;
/// Memory limit of the process, in KiB.
const MEMORY_KIB_MAX: u64 = 2 << 20;
/// How often its end is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// How long a process may take to clean up after it was asked to end.
const END_TIME: Duration = Duration::from_secs(5);

/// A command of the program.
pub struct Order {
    /// The arguments of the program.
    pub arguments: Vec<OsString>,
    /// The time limit.
    pub time_max: Duration,
    /// The limit of the output.
    pub output_bytes_max: u64,
}

/// The outcome of a command.
pub struct CommandOutcome {
    /// The exit status, or `None` if the time limit was exceeded.
    pub status: Option<ExitStatus>,
    /// The output.
    pub output: String,
    /// The error output.
    pub errors: String,
    /// Whether the output exceeded its limit.
    pub too_much: bool,
}

/// Runs a command and waits for its end.
pub fn run(order: &Order) -> Result<CommandOutcome> {
    let program = std::env::current_exe().map_err(Error::environment)?;
    // The shell sets the limits for itself and then executes the program.
    let limits = format!("ulimit -d {MEMORY_KIB_MAX}; ulimit -t {}; exec \"$0\" \"$@\"", order.time_max.as_secs() + 1);
    let mut command = Command::new("sh");
    command.arg("-c").arg(limits).arg(program).args(&order.arguments).env("MILLSTREAM_LOG", "off");
    // The command must receive the signals that the job has blocked for itself.
    // SAFETY: between fork and exec only system calls are made, and no memory is allocated.
    unsafe { command.pre_exec(signals_as_usual) };
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| Error::environment(format!("cannot start the command: {error}")))?;
    let output = read(child.stdout.take(), order.output_bytes_max);
    let errors = read(child.stderr.take(), ERRORS_BYTES_MAX);
    let status = wait_for_exit(&mut child, order.time_max);
    if status.is_none() {
        // SAFETY: it is a child that was not waited for, so its ID was not reused.
        unsafe { libc::kill(child.id().cast_signed(), libc::SIGTERM) };
        let _ = wait_for_exit(&mut child, END_TIME);
    }
    // It may already have exited.
    let _ = child.kill();
    let _ = child.wait();
    let (output, errors) = (output.join().unwrap_or_default(), errors.join().unwrap_or_default());
    let too_much = output.len() as u64 >= order.output_bytes_max;
    let errors = errors.trim().trim_start_matches("error: ").to_owned();
    Ok(CommandOutcome { status, output, errors, too_much })
}

fn wait_for_exit(child: &mut Child, time_max: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + time_max;
    loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < deadline => std::thread::sleep(POLL_INTERVAL),
            Ok(status) => return status,
            Err(_) => return None,
        }
    }
}

/// Reads the output of a process up to `bytes_max`, on its own thread. Further output breaks its pipe, and so ends the
/// process.
fn read(from: Option<impl Read + Send + 'static>, bytes_max: u64) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(from) = from {
            // Keep what was read before the pipe broke.
            let _ = from.take(bytes_max).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
