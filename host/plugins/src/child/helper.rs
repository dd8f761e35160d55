//! Runs an external program with limits on its time and output. It is ended with all processes of its group; processes that left the group
//! are not waited for.

use super::GOING_LOOK_EVERY;
use std::io::{self, Error, ErrorKind, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// The result of an external program.
#[derive(Debug)]
pub struct HelperEnd {
    /// Its standard output.
    pub output: Vec<u8>,
    /// Whether its exit code was 0.
    pub succeeded: bool,
}

/// Starts a program, found through `PATH`, writes `input` to it, and waits until it exits. Its standard error is dropped.
///
/// # Errors
/// It could not be started, took too long (`TimedOut`), or wrote too much.
pub fn run_helper(
    program: &str,
    arguments: &[&str],
    input: &[u8],
    output_bytes_max: u64,
    time_max: Duration,
) -> io::Result<HelperEnd> {
    let deadline = Instant::now() + time_max;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let child = command.spawn().map_err(|error| Error::new(error.kind(), format!("does not start: {error}")))?;
    let mut group = Group(child);
    let (stdin, stdout) = (group.0.stdin.take(), group.0.stdout.take());
    let input = input.to_vec();
    // These threads are not joined: a process that left the group may keep the pipes open.
    thread::Builder::new().spawn(move || stdin.map(|mut stdin| stdin.write_all(&input)))?;
    let (sender, output) = channel();
    thread::Builder::new().spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.map(|stdout| stdout.take(output_bytes_max.saturating_add(1)).read_to_end(&mut bytes));
        let _ = sender.send(read.transpose().map(|_| bytes));
    })?;
    let late = || Error::from(ErrorKind::TimedOut);
    let output = output.recv_timeout(time_max).map_err(|_| late())??;
    if output.len() as u64 > output_bytes_max {
        return Err(Error::other(format!("replied with more than {} KiB", output_bytes_max >> 10)));
    }
    loop {
        if let Some(status) = group.0.try_wait()? {
            return Ok(HelperEnd { output, succeeded: status.success() });
        }
        if Instant::now() >= deadline {
            return Err(late());
        }
        thread::sleep(GOING_LOOK_EVERY);
    }
}

/// A process and its process group, which is killed on drop.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        if let Ok(group) = libc::pid_t::try_from(self.0.id()) {
            // SAFETY: the call touches no memory. The group id belongs to our child until it is waited for and its group is empty.
            unsafe { libc::kill(-group, libc::SIGKILL) };
        }
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, ms: u64) -> io::Result<HelperEnd> {
        run_helper("sh", &["-c", script], b"question\n", 1 << 10, Duration::from_millis(ms))
    }

    #[test]
    fn a_program_is_asked() {
        let ended = shell("read line; echo \"$line?\"", 30_000).unwrap();
        assert_eq!((ended.output.as_slice(), ended.succeeded), (&b"question?\n"[..], true));
        assert!(!shell("exit 3", 30_000).unwrap().succeeded);
        assert!(run_helper("there-is-no-such-program", &[], b"", 1, Duration::from_secs(1)).is_err());
    }

    #[test]
    fn one_that_never_ends_is_ended_with_those_that_it_started() {
        let began = Instant::now();
        for script in ["sleep 1000", "sleep 1000 & echo $!; wait", "sleep 1000 & exit 0", "exec >&-; sleep 1000"] {
            assert_eq!(shell(script, 100).unwrap_err().kind(), ErrorKind::TimedOut, "{script}");
        }
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn one_that_never_stops_writing_is_ended() {
        let shell_error = shell("yes", 30_000).unwrap_err();
        assert_eq!(shell_error.to_string(), "replied with more than 1 KiB");
    }
}
