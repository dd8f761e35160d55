//! What a worker process tells its supervisor: a word a line on a socket that is its standard input. The supervisor
//! sends the key of the job's processes, and nothing else; when its end closes, it is gone, and the worker process ends
//! with it.

use crate::error::{Error, Kind, Result};
use crate::ids::BatchId;
use crate::limits::HEARTBEAT_MS;
use crate::run::{ClusterKey, Stopper};
use crate::threads;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Names the supervisor's process id to its worker processes.
pub const VARIABLE: &str = "MILLSTREAM_SUPERVISED";

/// How soon progress is told: a process that dies after it must not be taken for one that achieved nothing.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a worker process says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerReport {
    /// It lives.
    Beat,
    /// Its job is started.
    Running,
    /// Batches were committed or a checkpoint was written since it said so last.
    Progress,
    /// Its job is about to have ended well, and is to be started again from the checkpoint after this batch.
    Back(BatchId),
    /// Its job has ended; `None`: well.
    Ended(Option<Kind>),
}

/// In front of the batch of [`WorkerReport::Back`].
const BACK: &str = "back ";

const WORDS: [(&str, WorkerReport); 10] = [
    ("beat", WorkerReport::Beat),
    ("running", WorkerReport::Running),
    ("progress", WorkerReport::Progress),
    ("ended done", WorkerReport::Ended(None)),
    ("ended job", WorkerReport::Ended(Some(Kind::Job))),
    ("ended plugin", WorkerReport::Ended(Some(Kind::Plugin))),
    // What is read is the one above: a supervisor treats both alike.
    ("ended plugin", WorkerReport::Ended(Some(Kind::TooLarge))),
    ("ended environment", WorkerReport::Ended(Some(Kind::Environment))),
    ("ended memory", WorkerReport::Ended(Some(Kind::Memory))),
    ("ended bug", WorkerReport::Ended(Some(Kind::Bug))),
];

impl WorkerReport {
    /// `None`: a line that says nothing.
    pub fn read(line: &str) -> Option<WorkerReport> {
        if let Some(batch) = line.strip_prefix(BACK) {
            return batch.parse().ok().map(|batch| WorkerReport::Back(BatchId(batch)));
        }
        WORDS.iter().find(|(words, _)| *words == line).map(|(_, report)| *report)
    }

    fn line(self) -> String {
        if let WorkerReport::Back(batch) = self {
            return format!("{BACK}{batch}\n");
        }
        WORDS.iter().find(|(_, report)| *report == self).map_or_else(String::new, |(words, _)| format!("{words}\n"))
    }
}

/// A worker process's end: beats from a thread of its own.
#[derive(Clone)]
pub struct Reporter {
    socket: Arc<Mutex<UnixStream>>,
    job: Arc<Mutex<Option<Stopper>>>,
    /// As the supervisor passed it.
    key: Option<ClusterKey>,
}

/// Bytes of the number in front of the key.
const KEY_LENGTH_BYTES: usize = 2;

/// The key as it is passed to a worker process: how many bytes it has, and the bytes.
pub fn passed(key: Option<&ClusterKey>) -> Vec<u8> {
    let bytes = key.map_or(&[][..], ClusterKey::bytes);
    // Keys are shorter than that.
    let length = u16::try_from(bytes.len()).unwrap_or(0);
    [&length.to_le_bytes()[..], bytes].concat()
}

/// Reads what [`passed`] made.
fn receive(mut from: impl Read) -> io::Result<Option<ClusterKey>> {
    let mut length = [0; KEY_LENGTH_BYTES];
    from.read_exact(&mut length)?;
    let mut bytes = vec![0; u16::from_le_bytes(length).into()];
    from.read_exact(&mut bytes)?;
    Ok((!bytes.is_empty()).then(|| ClusterKey::from_bytes(&bytes)))
}

impl Reporter {
    /// Of a process that a supervisor started; `None` otherwise.
    pub fn of_this_process() -> Result<Option<Reporter>> {
        let parent = std::os::unix::process::parent_id().to_string();
        // Another parent: the variable was inherited by a program that a worker process started, or the supervisor is
        // gone, which the socket tells.
        let Some(supervisor) = std::env::var_os(VARIABLE) else { return Ok(None) };
        if *supervisor != *parent {
            let words = format!("{VARIABLE} names another process than the one that started this; unset it");
            return Err(Error::job(words));
        }
        Reporter::start().map(Some).map_err(|error| Error::environment(format!("cannot report: {error}")))
    }

    fn start() -> io::Result<Reporter> {
        let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        let mut lifeline = socket.try_clone()?;
        let key = receive(&lifeline)?;
        let started = threads::start(
            "millstream-lifeline",
            "the thread that waits for the supervisor's end",
            |error| {
                tracing::error!("{error}");
                end_with_supervisor()
            },
            move || {
                while matches!(lifeline.read(&mut [0]), Ok(1..)) {}
                end_with_supervisor();
            },
        );
        started.map_err(io::Error::other)?;
        let reporter = Reporter { socket: Arc::new(Mutex::new(socket)), job: Arc::default(), key };
        let (beating, failing) = (reporter.clone(), reporter.clone());
        let failed = move |error| failing.fail(error);
        let work = move || beating.beat();
        let started =
            threads::start("millstream-beat", "the thread that tells the supervisor of this process", failed, work);
        started.map_err(io::Error::other)?;
        Ok(reporter)
    }

    /// A job whose supervisor would hear nothing more of it ends.
    fn fail(&self, error: Error) {
        loop {
            if let Some(job) = &*self.job.lock().unwrap_or_else(PoisonError::into_inner) {
                return job.fail(error);
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    fn beat(&self) {
        let every = Duration::from_millis(HEARTBEAT_MS);
        let (mut last, mut quiet) = (0, every);
        loop {
            let job = self.job.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let progress = job.map_or(last, |job| job.progress());
            if progress != last || quiet >= every {
                self.say(if progress != last { WorkerReport::Progress } else { WorkerReport::Beat });
                (last, quiet) = (progress, Duration::ZERO);
            }
            thread::sleep(LOOK_EVERY);
            quiet += LOOK_EVERY;
        }
    }

    /// The key of the job's processes, where there are several.
    pub fn key(&self) -> Option<ClusterKey> {
        self.key.clone()
    }

    /// The job is started.
    pub fn running(&self, job: Stopper) {
        *self.job.lock().unwrap_or_else(PoisonError::into_inner) = Some(job);
        self.say(WorkerReport::Running);
    }

    /// The job is to be started again from the checkpoint after this batch.
    pub fn goes_back(&self, batch: BatchId) {
        self.say(WorkerReport::Back(batch));
    }

    /// The job has ended so.
    pub fn ended<T>(&self, result: &Result<T>) {
        self.say(WorkerReport::Ended(result.as_ref().err().map(|error| error.kind)));
    }

    fn say(&self, report: WorkerReport) {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        if socket.write_all(report.line().as_bytes()).is_err() {
            end_with_supervisor();
        }
    }
}

/// Another supervisor may start the job as soon as this one's is gone.
fn end_with_supervisor() -> ! {
    // SAFETY: it takes a number and does not return. Nothing may run on exit: the job is as good as killed.
    unsafe { libc::_exit(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_reads_what_worker_processes_write() {
        let kinds = [Kind::Job, Kind::Plugin, Kind::Environment, Kind::Memory, Kind::Bug];
        let kinds = kinds.map(|kind| WorkerReport::Ended(Some(kind)));
        let others = [WorkerReport::Back(BatchId(0)), WorkerReport::Back(BatchId(u64::MAX)), WorkerReport::Ended(None)];
        let living = [WorkerReport::Beat, WorkerReport::Running, WorkerReport::Progress];
        for report in living.into_iter().chain(others).chain(kinds) {
            let line = report.line();
            assert_eq!((line.lines().count(), WorkerReport::read(line.trim_end())), (1, Some(report)), "{line:?}");
        }
        assert_eq!((WorkerReport::read("ended"), WorkerReport::read("back x")), (None, None));
    }

    #[test]
    fn a_worker_process_gets_the_key_or_none() {
        let key = ClusterKey::generate().unwrap();
        let received = receive(&passed(Some(&key))[..]).unwrap().unwrap();
        assert_eq!(received.bytes(), key.bytes());
        assert!(receive(&passed(None)[..]).unwrap().is_none());
        assert!(receive(&passed(Some(&key))[..20]).is_err());
    }
}
