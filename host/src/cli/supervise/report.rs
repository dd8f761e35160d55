//! The protocol between a worker process and its supervisor: one message per line, on a socket that is the worker's
//! standard input. The supervisor sends the key of the job's processes, and later [`WorkerOrder`]s. When its end
//! closes, the supervisor has exited, and the worker process exits with it.

use crate::program_limits::HEARTBEAT_MS;
use millstream_base::error::{Error, Kind, Result};
use millstream_base::fault;
use millstream_base::ids::BatchId;
use millstream_base::retry;
use millstream_base::threads;
use millstream_base::time;
use millstream_runtime::{ClusterKey, HandoverMessage, JobLayout, StandbyEvent, Stopper};
use serde::Serialize;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Passes the supervisor's process ID to its worker processes.
pub const SUPERVISOR_VARIABLE: &str = "MILLSTREAM_SUPERVISED";

/// How often progress is checked. It is short so that a process that dies after progress is not counted as one without.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(20);
/// The name of the thread that reports that its process is alive.
pub const BEAT_THREAD: &str = "millstream-beat";

/// A job that began no batch for this long, although it could, had no input.
const IDLE: Duration = Duration::from_secs(1);

/// A pause of this length is reported: other processes may be waiting because of it.
const PAUSE_REPORTED: Duration = Duration::from_secs(5);

/// A report of a worker process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerReport {
    /// It is alive.
    Beat,
    /// Its job has started.
    Running,
    /// The furthest batch that a sink has committed, or after which a checkpoint was published, in this startup.
    Progress(BatchId),
    /// Its job is about to end successfully, and is to be restarted from the checkpoint after this batch.
    Back(BatchId),
    /// It is a standby process, and has loaded the checkpoint after this batch.
    Loaded(BatchId),
    /// It is a standby process, and this many of the other processes wait at its port.
    Waiting(usize),
    /// The job runs on other machines than those this process was started with.
    Elsewhere(JobLayout),
    /// The supervisor on another machine sent this message.
    Received(HandoverMessage),
    /// The requested checkpoint, or a later one, exists: after this batch.
    Saved(BatchId),
    /// It took a job over, and began a batch at this time, in microseconds. If there was no input, this is when it
    /// could have begun one.
    Begins(i64),
    /// Its job is about to end for a handover. The value is when it began the last batch.
    Handed(i64),
    /// It has been waiting for a disk or a store that may recover, for this reason. Sent repeatedly while the pause
    /// lasts.
    Paused(String),
    /// Its job has ended. `None` means successfully.
    Ended(Option<Kind>),
}

/// An order of the supervisor to a worker process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerOrder {
    /// Make a checkpoint soon, since other processes load it.
    Save,
    /// End as for a stop, since other processes take the job over.
    HandOver,
    /// Take the job over: no other process runs it any longer.
    TakeOver,
    /// Send a message to the supervisors on other machines.
    Message(HandoverMessage),
}

const ORDERS: [(&str, WorkerOrder); 3] =
    [("save", WorkerOrder::Save), ("hand over", WorkerOrder::HandOver), ("take over", WorkerOrder::TakeOver)];
/// Maximum length of an order, including its end of line.
const ORDER_BYTES_MAX: u64 = 64 << 10;
/// Prefix of a message to forward.
const MESSAGE_PREFIX: &str = "tell ";

impl WorkerOrder {
    /// Returns the line that is sent.
    pub fn line(&self) -> String {
        if let WorkerOrder::Message(word) = self {
            return json_line(MESSAGE_PREFIX, word);
        }
        ORDERS.iter().find(|(_, order)| order == self).map_or_else(String::new, |(text, _)| format!("{text}\n"))
    }

    fn read(line: &str) -> Option<WorkerOrder> {
        let word = line
            .strip_prefix(MESSAGE_PREFIX)
            .and_then(|word| serde_json::from_str(word).ok())
            .map(WorkerOrder::Message);
        word.or_else(|| ORDERS.iter().find(|(text, _)| *text == line).map(|(_, order)| order.clone()))
    }
}

/// Returns a line with this prefix and the value as JSON, which contains no line break.
fn json_line(text: &str, value: &impl Serialize) -> String {
    serde_json::to_string(value).map_or_else(|_| String::new(), |value| format!("{text}{value}\n"))
}

/// Prefixes of the reports that have a value.
const PROGRESS_PREFIX: &str = "progress ";
const BACK_PREFIX: &str = "back ";
const LOADED_PREFIX: &str = "loaded ";
const WAITING_PREFIX: &str = "waiting ";
const ELSEWHERE: &str = "elsewhere ";
const RECEIVED_PREFIX: &str = "heard ";
const SAVED: &str = "saved ";
const BEGINS: &str = "begins ";
const HANDED: &str = "handed ";
const PAUSED: &str = "paused ";

const REPORT_TEXTS: [(&str, WorkerReport); 11] = [
    ("beat", WorkerReport::Beat),
    ("running", WorkerReport::Running),
    ("ended done", WorkerReport::Ended(None)),
    ("ended job", WorkerReport::Ended(Some(Kind::Job))),
    ("ended plugin", WorkerReport::Ended(Some(Kind::Plugin))),
    // When parsed, the text above wins: a supervisor treats both alike.
    ("ended plugin", WorkerReport::Ended(Some(Kind::TooLarge))),
    ("ended environment", WorkerReport::Ended(Some(Kind::Environment))),
    ("ended peer", WorkerReport::Ended(Some(Kind::Peer))),
    ("ended taken over", WorkerReport::Ended(Some(Kind::TakenOver))),
    ("ended memory", WorkerReport::Ended(Some(Kind::Memory))),
    ("ended bug", WorkerReport::Ended(Some(Kind::Bug))),
];

impl WorkerReport {
    /// Parses a line. Returns `None` if it is not a report.
    pub fn read(line: &str) -> Option<WorkerReport> {
        let batch = |word| line.strip_prefix(word)?.parse().ok().map(BatchId);
        let time = |word| line.strip_prefix(word)?.parse().ok();
        let numbered =
            batch(BACK_PREFIX).map(WorkerReport::Back).or_else(|| batch(PROGRESS_PREFIX).map(WorkerReport::Progress));
        let numbered = numbered.or_else(|| batch(LOADED_PREFIX).map(WorkerReport::Loaded));
        let numbered = numbered.or_else(|| batch(SAVED).map(WorkerReport::Saved));
        let waiting = || line.strip_prefix(WAITING_PREFIX)?.parse().ok().map(WorkerReport::Waiting);
        let elsewhere = || serde_json::from_str(line.strip_prefix(ELSEWHERE)?).ok().map(WorkerReport::Elsewhere);
        let heard = || serde_json::from_str(line.strip_prefix(RECEIVED_PREFIX)?).ok().map(WorkerReport::Received);
        let paused = || serde_json::from_str(line.strip_prefix(PAUSED)?).ok().map(WorkerReport::Paused);
        let numbered = numbered.or_else(waiting).or_else(elsewhere).or_else(heard).or_else(paused);
        let numbered = numbered.or_else(|| time(BEGINS).map(WorkerReport::Begins));
        let numbered = numbered.or_else(|| time(HANDED).map(WorkerReport::Handed));
        numbered.or_else(|| REPORT_TEXTS.iter().find(|(text, _)| *text == line).map(|(_, report)| report.clone()))
    }

    fn line(&self) -> String {
        match self {
            WorkerReport::Waiting(count) => return format!("{WAITING_PREFIX}{count}\n"),
            WorkerReport::Elsewhere(layout) => return json_line(ELSEWHERE, layout),
            WorkerReport::Received(word) => return json_line(RECEIVED_PREFIX, word),
            WorkerReport::Paused(why) => return json_line(PAUSED, why),
            WorkerReport::Back(batch) => return format!("{BACK_PREFIX}{batch}\n"),
            WorkerReport::Progress(batch) => return format!("{PROGRESS_PREFIX}{batch}\n"),
            WorkerReport::Loaded(batch) => return format!("{LOADED_PREFIX}{batch}\n"),
            WorkerReport::Saved(batch) => return format!("{SAVED}{batch}\n"),
            WorkerReport::Begins(at_us) => return format!("{BEGINS}{at_us}\n"),
            WorkerReport::Handed(at_us) => return format!("{HANDED}{at_us}\n"),
            WorkerReport::Beat | WorkerReport::Running | WorkerReport::Ended(_) => {}
        }
        REPORT_TEXTS.iter().find(|(_, report)| report == self).map_or_else(String::new, |(text, _)| format!("{text}\n"))
    }
}

/// The worker process's end of the protocol. It sends beats from its own thread.
#[derive(Clone)]
pub struct Reporter {
    socket: Arc<Mutex<UnixStream>>,
    job: Arc<Mutex<Option<Stopper>>>,
    orders: Arc<Orders>,
    /// The key that the supervisor passed.
    key: Option<ClusterKey>,
}

/// The orders received from the supervisor.
#[derive(Default)]
struct Orders {
    /// A checkpoint was requested, and is not reported yet.
    save: AtomicBool,
    /// The job is to be taken over.
    take_over: Mutex<bool>,
    ordered: Condvar,
}

/// Bytes of the length that precedes the key.
const KEY_LENGTH_BYTES: usize = 2;

/// Returns the key as it is passed to a worker process: its length in bytes, then the bytes.
pub fn encode_key(key: Option<&ClusterKey>) -> Vec<u8> {
    let bytes = key.map_or(&[][..], ClusterKey::bytes);
    // Keys are shorter than this limit.
    let length = u16::try_from(bytes.len()).unwrap_or(0);
    [&length.to_le_bytes()[..], bytes].concat()
}

/// Reads what [`encode_key`] wrote.
fn read_key(mut from: impl Read) -> io::Result<Option<ClusterKey>> {
    let mut length = [0; KEY_LENGTH_BYTES];
    from.read_exact(&mut length)?;
    let mut bytes = vec![0; u16::from_le_bytes(length).into()];
    from.read_exact(&mut bytes)?;
    Ok((!bytes.is_empty()).then(|| ClusterKey::from_bytes(&bytes)))
}

impl Reporter {
    /// Returns the reporter of a process that a supervisor started, or `None` for any other process.
    pub fn of_this_process() -> Result<Option<Reporter>> {
        let parent = std::os::unix::process::parent_id().to_string();
        // Another parent: either the variable was inherited by a program that a worker process started, or the
        // supervisor has exited. The socket shows which.
        let Some(supervisor) = std::env::var_os(SUPERVISOR_VARIABLE) else { return Ok(None) };
        if *supervisor != *parent {
            let text = format!("{SUPERVISOR_VARIABLE} is not the parent of this process; unset it");
            return Err(Error::job(text));
        }
        Reporter::start().map(Some).map_err(|error| Error::environment(format!("cannot report: {error}")))
    }

    fn start() -> io::Result<Reporter> {
        let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        let lifeline = socket.try_clone()?;
        let key = read_key(&lifeline)?;
        let reporter =
            Reporter { socket: Arc::new(Mutex::new(socket)), job: Arc::default(), orders: Arc::default(), key };
        let obeying = reporter.clone();
        let started = threads::start(
            "millstream-lifeline",
            "the thread that waits for the supervisor's end",
            |error| {
                tracing::error!("{error}");
                end_with_supervisor()
            },
            move || {
                let mut lines = BufReader::new(lifeline);
                let mut line = String::new();
                while matches!(lines.by_ref().take(ORDER_BYTES_MAX).read_line(&mut line), Ok(1..)) {
                    WorkerOrder::read(line.trim_end()).into_iter().for_each(|order| obeying.obey(order));
                    line.clear();
                }
                end_with_supervisor();
            },
        );
        started.map_err(io::Error::other)?;
        let (beating, failing) = (reporter.clone(), reporter.clone());
        let failed = move |error| failing.fail(error);
        let work = move || beating.beat();
        let started = threads::start(BEAT_THREAD, "the thread that reports to the supervisor", failed, work);
        started.map_err(io::Error::other)?;
        Ok(reporter)
    }

    /// Fails a job whose supervisor would receive no more reports.
    fn fail(&self, error: Error) {
        loop {
            if let Some(job) = &*self.job.lock().unwrap_or_else(PoisonError::into_inner) {
                return job.fail(error);
            }
            thread::sleep(PROGRESS_INTERVAL);
        }
    }

    fn obey(&self, order: WorkerOrder) {
        let job = self.job.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match (order, job) {
            (WorkerOrder::Save, Some(job)) => {
                fault::point("handover.save");
                job.save_soon();
                self.orders.save.store(true, Ordering::Release);
            }
            (WorkerOrder::HandOver, Some(job)) => {
                fault::point("handover.ending");
                // The other processes must know why the job ends before it does.
                match job.send_message(&HandoverMessage::HandOver) {
                    Ok(()) => job.hand_over(),
                    Err(error) => self.say(WorkerReport::Received(HandoverMessage::GiveUp(error.message))),
                }
            }
            (WorkerOrder::Message(word), Some(job)) => {
                // The sender of a cancellation is notified by other means.
                if let Err(error) = job.send_message(&word) {
                    self.say(WorkerReport::Received(HandoverMessage::Failed(error.message)));
                }
            }
            (WorkerOrder::TakeOver, _) => {
                *self.orders.take_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
                self.orders.ordered.notify_all();
            }
            // A process whose job has not started needs none of these.
            (WorkerOrder::Save | WorkerOrder::HandOver | WorkerOrder::Message(_), None) => {}
        }
    }

    /// Waits at most `time` for the order to take the job over. Returns whether it arrived.
    pub fn has_taken_over_within(&self, time: Duration) -> bool {
        let ordered = self.orders.take_over.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.orders.ordered.wait_timeout_while(ordered, time, |ordered| !*ordered);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Reports the status of a job that has not started yet.
    pub fn report_standby(&self, event: StandbyEvent) {
        self.say(match event {
            StandbyEvent::Loaded(batch) => WorkerReport::Loaded(batch),
            StandbyEvent::Waiting(count) => WorkerReport::Waiting(count),
        });
    }

    /// Reports that the job runs on these machines.
    pub fn report_layout(&self, layout: &JobLayout) {
        self.say(WorkerReport::Elsewhere(layout.clone()));
    }

    /// Reports that the job is about to end for a handover, and when it began its last batch.
    pub fn report_handed(&self, begun_us: i64) {
        self.say(WorkerReport::Handed(begun_us));
    }

    /// Reports the steps that were waited for. `since`: when the job that this process took over was loaded; `None`
    /// once batches begin.
    fn report_steps(&self, job: &Stopper, since: &mut Option<Instant>, begins: &mut bool) {
        if self.orders.save.load(Ordering::Acquire)
            && let Some(batch) = job.saved()
        {
            self.orders.save.store(false, Ordering::Release);
            self.say(WorkerReport::Saved(batch));
        }
        job.take_messages().into_iter().for_each(|word| self.say(WorkerReport::Received(word)));
        if *begins || !job.is_loaded() {
            return;
        }
        let loaded = *since.get_or_insert_with(Instant::now);
        let begun_us = job.begun_us().map(|(first_us, _)| first_us);
        let idle_us = || {
            (loaded.elapsed() >= IDLE).then(|| time::now().0 - i64::try_from(loaded.elapsed().as_micros()).unwrap_or(0))
        };
        if let Some(at_us) = begun_us.or_else(idle_us) {
            *begins = true;
            self.say(WorkerReport::Begins(at_us));
        }
    }

    fn beat(&self) {
        let (mut since, mut begins) = (None, false);
        let every = Duration::from_millis(HEARTBEAT_MS);
        // On a busy machine a sleep takes far longer than requested, so the elapsed time is measured.
        let (mut last, mut reported_at): (_, Option<Instant>) = (BatchId(0), None);
        loop {
            let job = self.job.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let progress = job.as_ref().map_or(last, Stopper::progress);
            job.iter().for_each(|job| self.report_steps(job, &mut since, &mut begins));
            if progress != last || reported_at.is_none_or(|reported_at| reported_at.elapsed() >= every) {
                self.say(if progress != last { WorkerReport::Progress(progress) } else { WorkerReport::Beat });
                retry::paused_for(PAUSE_REPORTED).into_iter().for_each(|why| self.say(WorkerReport::Paused(why)));
                (last, reported_at) = (progress, Some(Instant::now()));
            }
            thread::sleep(PROGRESS_INTERVAL);
        }
    }

    /// Returns the key of the job's processes, if there are several.
    pub fn key(&self) -> Option<ClusterKey> {
        self.key.clone()
    }

    /// Reports that the job has started, and keeps it.
    pub fn report_running(&self, job: Stopper) {
        *self.job.lock().unwrap_or_else(PoisonError::into_inner) = Some(job);
        self.say(WorkerReport::Running);
    }

    /// Reports that the job is to be restarted from the checkpoint after this batch.
    pub fn report_back(&self, batch: BatchId) {
        self.say(WorkerReport::Back(batch));
    }

    /// Reports the job's result.
    pub fn report_ended<T>(&self, result: &Result<T>) {
        self.say(WorkerReport::Ended(result.as_ref().err().map(|error| error.kind)));
    }

    fn say(&self, report: WorkerReport) {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        if socket.write_all(report.line().as_bytes()).is_err() {
            end_with_supervisor();
        }
    }
}

/// Exits immediately. Another supervisor may start the job as soon as this one has exited.
fn end_with_supervisor() -> ! {
    // SAFETY: `_exit` takes a number and does not return. Nothing may run on exit: this is equivalent to a kill.
    unsafe { libc::_exit(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> JobLayout {
        JobLayout { workers: Some(2), hosts: vec!["a:1".into(), "b:2".into()] }
    }

    #[test]
    fn a_supervisor_reads_what_worker_processes_write() {
        let kinds = [Kind::Job, Kind::Plugin, Kind::Environment, Kind::Peer, Kind::TakenOver, Kind::Memory, Kind::Bug];
        let kinds = kinds.map(|kind| WorkerReport::Ended(Some(kind)));
        let others = [WorkerReport::Back(BatchId(0)), WorkerReport::Back(BatchId(u64::MAX)), WorkerReport::Ended(None)];
        let of_handovers = [
            WorkerReport::Loaded(BatchId(7)),
            WorkerReport::Saved(BatchId(8)),
            WorkerReport::Begins(i64::MAX),
            WorkerReport::Handed(-1),
            WorkerReport::Waiting(3),
            WorkerReport::Elsewhere(layout()),
            WorkerReport::Received(HandoverMessage::Prepare(layout())),
            WorkerReport::Received(HandoverMessage::Failed("two\nlines".into())),
            WorkerReport::Paused("two\nlines".into()),
        ];
        let living = [WorkerReport::Beat, WorkerReport::Running, WorkerReport::Progress(BatchId(7))];
        for report in living.into_iter().chain(others).chain(of_handovers).chain(kinds) {
            let line = report.line();
            assert_eq!((line.lines().count(), WorkerReport::read(line.trim_end())), (1, Some(report)), "{line:?}");
        }
        assert_eq!((WorkerReport::read("ended"), WorkerReport::read("back x")), (None, None));
        let message_order = WorkerOrder::Message(HandoverMessage::GiveUp("why".into()));
        for order in ORDERS.into_iter().map(|(_, order)| order).chain([message_order]) {
            assert_eq!(WorkerOrder::read(order.line().trim_end()), Some(order));
        }
    }

    #[test]
    fn a_worker_process_gets_the_key_or_none() {
        let key = ClusterKey::generate().unwrap();
        let received = read_key(&encode_key(Some(&key))[..]).unwrap().unwrap();
        assert_eq!(received.bytes(), key.bytes());
        assert!(read_key(&encode_key(None)[..]).unwrap().is_none());
        assert!(read_key(&encode_key(Some(&key))[..20]).is_err());
    }
}
