//! A process that a test started. Its output is collected, and it is killed when this is dropped.

use crate::{DEADLINE, holds_within, wait_until};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// A running process. Dropping it kills it.
pub struct Process {
    child: Child,
    shown: String,
    stdout: Output,
    stderr: Output,
    readers: Vec<JoinHandle<()>>,
}

/// The results of a process that has exited.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its complete standard output.
    pub stdout: String,
    /// Its complete standard error.
    pub stderr: String,
}

/// The output of a process so far, on one of its streams.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no reader panics")).into_owned()
    }

    fn gather(&self, mut from: impl Read + Send + 'static) -> JoinHandle<()> {
        let output = self.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                output.0.lock().expect("no reader panics").extend_from_slice(&buffer[..count]);
            }
        })
    }
}

impl From<process::Output> for Ended {
    fn from(output: process::Output) -> Ended {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let (code, signal) = (output.status.code(), output.status.signal());
        Ended { code, signal, stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Process {
    /// Starts a command. Its standard input is a pipe, see [`Process::say`].
    pub fn start(command: &mut Command) -> Process {
        let shown = format!("{command:?}");
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap_or_else(|e| panic!("cannot start {shown}: {e}"));
        let (stdout, stderr) = (Output::default(), Output::default());
        let readers = vec![
            stdout.gather(child.stdout.take().expect("it is piped")),
            stderr.gather(child.stderr.take().expect("it is piped")),
        ];
        Process { child, shown, stdout, stderr, readers }
    }

    /// Starts a real `nc -lk` on this port of 127.0.0.1. It sends to its clients what [`say`](Self::say) gets.
    pub fn nc(port: u16) -> Process {
        Process::start(Command::new("nc").args(["-lk", "127.0.0.1"]).arg(port.to_string()))
    }

    /// Its process ID.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has exited.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }

    /// The ids of its children that live.
    pub fn children(&self) -> Vec<u32> {
        Process::children_of(self.id())
    }

    /// The ids of the children of a process that live.
    pub fn children_of(id: u32) -> Vec<u32> {
        let threads = std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
        let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
        let all: Vec<u32> = lists.collect::<String>().split_whitespace().filter_map(|id| id.parse().ok()).collect();
        all.into_iter().filter(|id| is_alive(*id)).collect()
    }

    /// Its standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Its standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Writes to its standard input. A process that reads nothing does not hold up its test.
    #[track_caller]
    pub fn say(&mut self, text: &str) {
        let input = self.child.stdin.as_ref().expect("it is piped").as_fd().try_clone_to_owned();
        let (mut input, bytes) = (File::from(input.expect("a pipe can be cloned")), text.as_bytes().to_vec());
        let (sender, written) = mpsc::channel();
        std::thread::spawn(move || {
            let result = input.write_all(&bytes);
            drop(input);
            let _ = sender.send(result);
        });
        match written.recv_timeout(DEADLINE) {
            Ok(result) => result.expect("the process reads"),
            Err(_) => panic!("{} has not read its input within {DEADLINE:?}{}", self.shown, self.output_text()),
        }
    }

    /// Ends its standard input.
    pub fn hang_up(&mut self) {
        self.child.stdin.take();
    }

    /// Waits until `condition` is true; fails if the process exits before.
    pub fn wait_until(&mut self, what: &str, condition: impl FnMut(&Process) -> bool) {
        self.wait_until_within(DEADLINE, what, condition);
    }

    /// The same within this time.
    pub fn wait_until_within(&mut self, time: Duration, what: &str, mut condition: impl FnMut(&Process) -> bool) {
        let (mut ended, mut holds) = (None, false);
        holds_within(time, || {
            ended = self.child.try_wait().expect("a child can be waited for");
            holds = condition(self);
            holds || ended.is_some()
        });
        if !holds && ended.is_some() {
            // What a process did and wrote before it exited counts. Its last output may still be unread: a child that outlives it
            // keeps the pipe open.
            holds_within(Duration::from_secs(2), || self.readers.iter().all(JoinHandle::is_finished));
            holds = condition(self);
        }
        if !holds {
            panic!("{} did not get so far that {what} ({}){}", self.shown, describe_exit(ended), self.output_text());
        }
    }

    /// Waits until its standard error holds this text.
    pub fn wait_for_stderr(&mut self, text: &str) {
        self.wait_until(&format!("it says {text:?}"), |process| process.stderr().contains(text));
    }

    /// Sends it a signal, for example `TERM` or `INT`.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        signal(name, self.id());
    }

    /// Sends a signal again, a moment after the last one, as a person does. Sooner, both would be the same request.
    pub fn signal_again(&self, name: &str) {
        std::thread::sleep(Duration::from_millis(150));
        self.signal(name);
    }

    /// Stops a job as users do, checks that it succeeded and returns its standard error.
    #[track_caller]
    pub fn stop(self) -> String {
        self.signal("TERM");
        let ended = self.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.stderr
    }

    /// Waits until it has ended.
    pub fn wait(self) -> Ended {
        self.wait_within(DEADLINE)
    }

    /// Waits until it has ended, no longer than this.
    pub fn wait_within(mut self, time: Duration) -> Ended {
        let mut status = None;
        let ended = holds_within(time, || {
            status = self.child.try_wait().expect("a child can be waited for");
            status.is_some()
        });
        assert!(ended, "{} did not end within {time:?}{}", self.shown, self.output_text());
        let closed = holds_within(DEADLINE, || self.readers.iter().all(JoinHandle::is_finished));
        assert!(
            closed,
            "{} has ended, but a process that it started keeps its output open{}",
            self.shown,
            self.output_text()
        );
        self.readers.drain(..).for_each(|reader| reader.join().expect("no reader panics"));
        let (code, signal) = (status.and_then(|status| status.code()), status.and_then(|status| status.signal()));
        Ended { code, signal, stdout: self.stdout(), stderr: self.stderr() }
    }

    /// Kills it immediately.
    pub fn kill(mut self) {
        self.end();
    }

    /// Kills a supervisor and all processes that it started immediately, and waits until they have exited.
    pub fn kill_all(self) {
        let children = self.children();
        children.iter().copied().for_each(kill);
        self.kill();
        wait_until("its workers are gone", || children.iter().all(|child| !is_alive(*child)));
    }

    /// Resident memory, in bytes: `VmRSS` now and `VmHWM` at most.
    pub fn memory_bytes(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("the process lives");
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux has this line");
            line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number of KiB")
        };
        (kib("VmRSS:") * 1024, kib("VmHWM:") * 1024)
    }

    fn end(&mut self) {
        // It may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn output_text(&self) -> String {
        format!("\n--- stdout\n{}\n--- stderr\n{}", self.stdout(), self.stderr())
    }
}

/// Sends a process a signal, for example `TERM` or `INT`.
#[track_caller]
pub fn signal(name: &str, id: u32) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status();
    assert!(sent.expect("there is a shell").success(), "no signal {name} for process {id}");
}

/// Suspends a process for 30 of each 40 ms, so that it has a quarter of its speed, until a condition is true.
pub fn run_at_quarter_speed(id: u32, mut ended: impl FnMut() -> bool) {
    while !ended() {
        for (name, ms) in [("STOP", 30), ("CONT", 10)] {
            // It may have exited meanwhile.
            let _ = Command::new("kill").args([&format!("-{name}"), &id.to_string()]).stderr(Stdio::null()).status();
            std::thread::sleep(Duration::from_millis(ms));
        }
    }
}

/// Kills a process immediately, if it has not exited.
pub fn kill(id: u32) {
    let _ = Command::new("kill").args(["-KILL", &id.to_string()]).stderr(Stdio::null()).status();
}

/// Whether this process exists and is not a zombie.
pub fn is_alive(id: u32) -> bool {
    condition(id).is_some_and(|condition| !['Z', 'X'].contains(&condition))
}

/// Whether a signal has stopped a process.
pub fn stopped(id: u32) -> bool {
    condition(id) == Some('T')
}

/// Its state character in the list of processes.
fn condition(id: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn describe_exit(ended: Option<ExitStatus>) -> String {
    ended.map_or("it still runs".into(), |status| format!("it ended: {status}"))
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
