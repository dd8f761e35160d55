//! Commands of the program that the page gives: each in a process of its own, with bounds on its time, memory and output, so that none
//! costs the page or the job more than that, and each checks what it does as if somebody had typed it.

use millstream_base::error::{Error, Result};
use millstream_plugins::child::limits::signals_as_usual;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What it says of mistakes.
const WORDS_BYTES_MAX: u64 = 16 << 10;
/// Memory that the process may have, in KiB.
const MEMORY_KIB_MAX: u64 = 2 << 20;
/// How often it is looked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// One that is asked to end has so long to put things in order.
const END_TIME: Duration = Duration::from_secs(5);

/// A command of the program.
pub struct Order {
    /// What stands behind the program's name.
    pub arguments: Vec<OsString>,
    /// It has so long.
    pub time_max: Duration,
    /// It puts out so many bytes at most.
    pub output_bytes_max: u64,
}

/// What became of a command.
pub struct CommandOutcome {
    /// How it ended; `None`: it had not when its time was over.
    pub status: Option<ExitStatus>,
    /// What it put out.
    pub output: String,
    /// What it said of a mistake.
    pub words: String,
    /// It had more to put out than it may.
    pub too_much: bool,
}

/// Runs a command and waits for its end.
pub fn run(order: &Order) -> Result<CommandOutcome> {
    let program = std::env::current_exe().map_err(Error::environment)?;
    // The shell sets the limits for itself and becomes the program.
    let limits = format!("ulimit -d {MEMORY_KIB_MAX}; ulimit -t {}; exec \"$0\" \"$@\"", order.time_max.as_secs() + 1);
    let mut command = Command::new("sh");
    command.arg("-c").arg(limits).arg(program).args(&order.arguments).env("MILLSTREAM_LOG", "off");
    // The signals that the job has blocked for itself are for the command as well.
    // SAFETY: between fork and exec only system calls are made, and no memory is allocated.
    unsafe { command.pre_exec(signals_as_usual) };
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| Error::environment(format!("cannot start the command: {error}")))?;
    let output = read(child.stdout.take(), order.output_bytes_max);
    let words = read(child.stderr.take(), WORDS_BYTES_MAX);
    let status = ended(&mut child, order.time_max);
    if status.is_none() {
        // SAFETY: it is a child that was not waited for, so the number is still its own.
        unsafe { libc::kill(child.id().cast_signed(), libc::SIGTERM) };
        let _ = ended(&mut child, END_TIME);
    }
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
    let (output, words) = (output.join().unwrap_or_default(), words.join().unwrap_or_default());
    let too_much = output.len() as u64 >= order.output_bytes_max;
    let words = words.trim().trim_start_matches("error: ").to_owned();
    Ok(CommandOutcome { status, output, words, too_much })
}

fn ended(child: &mut Child, time_max: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + time_max;
    loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < deadline => std::thread::sleep(LOOK_EVERY),
            Ok(status) => return status,
            Err(_) => return None,
        }
    }
}

/// What a process says, up to so many bytes, on a thread of its own. What comes after breaks its pipe, and so ends it.
fn read(from: Option<impl Read + Send + 'static>, bytes_max: u64) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(from) = from {
            // What was read before it broke is what there is.
            let _ = from.take(bytes_max).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
