//! What a worker process tells its supervisor: a word a line on a socket that is its standard input. The supervisor
//! sends the key of the job's processes, and later perhaps some [`WorkerOrder`]s; when its end closes, it is gone, and the worker
//! process ends with it.

use crate::program_limits::HEARTBEAT_MS;
use millstream_base::error::{Error, Kind, Result};
use millstream_base::fault;
use millstream_base::ids::BatchId;
use millstream_base::patience;
use millstream_base::threads;
use millstream_base::time;
use millstream_runtime::{ClusterKey, HandoverWord, JobLayout, StandByNews, Stopper};
use serde::Serialize;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Names the supervisor's process id to its worker processes.
pub const VARIABLE: &str = "MILLSTREAM_SUPERVISED";

/// How soon progress is told: a process that dies after it must not be taken for one that achieved nothing.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The thread that tells the supervisor that its process lives.
pub const BEATING: &str = "millstream-beat";

/// A job that began no batch for so long, since it could, had nothing for one.
const IDLE: Duration = Duration::from_secs(1);

/// A pause that lasts for so long is told: others may be what it waits for.
const PAUSE_TOLD: Duration = Duration::from_secs(5);

/// What a worker process says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerReport {
    /// It lives.
    Beat,
    /// Its job is started.
    Running,
    /// The furthest batch that a sink has committed, or after which a checkpoint is published, in this start.
    Progress(BatchId),
    /// Its job is about to have ended well, and is to be started again from the checkpoint after this batch.
    Back(BatchId),
    /// It stands by, and has loaded the checkpoint after this batch.
    Loaded(BatchId),
    /// It stands by, and so many of the other processes wait at its port.
    Waiting(usize),
    /// The job runs on other machines than this process was started with.
    Elsewhere(JobLayout),
    /// The supervisor on another machine said this.
    Heard(HandoverWord),
    /// The checkpoint that it was asked for is there, or a later one: after this batch.
    Saved(BatchId),
    /// It took a job over, and began a batch at this time (or could have, had there been anything for one), in microseconds.
    Begins(i64),
    /// Its job is about to have ended for others that take it over; when it began the last batch.
    Handed(i64),
    /// For some time it has waited for a disk or a store that may be back, for this reason. Told again and again while that lasts.
    Paused(String),
    /// Its job has ended; `None`: well.
    Ended(Option<Kind>),
}

/// What its supervisor tells a worker process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerOrder {
    /// To make a checkpoint soon, since others load it.
    Save,
    /// To end as the job does when it is stopped, since others take it over.
    HandOver,
    /// To take the job over: nobody runs it any more.
    TakeOver,
    /// To tell the supervisors on other machines something.
    Tell(HandoverWord),
}

const ORDERS: [(&str, WorkerOrder); 3] =
    [("save", WorkerOrder::Save), ("hand over", WorkerOrder::HandOver), ("take over", WorkerOrder::TakeOver)];
/// An order, with its end of line.
const ORDER_BYTES_MAX: u64 = 64 << 10;
/// In front of what is to be told.
const TELL: &str = "tell ";

impl WorkerOrder {
    /// As it is sent.
    pub fn line(&self) -> String {
        if let WorkerOrder::Tell(word) = self {
            return written(TELL, word);
        }
        ORDERS.iter().find(|(_, order)| order == self).map_or_else(String::new, |(words, _)| format!("{words}\n"))
    }

    fn read(line: &str) -> Option<WorkerOrder> {
        let word = line.strip_prefix(TELL).and_then(|word| serde_json::from_str(word).ok()).map(WorkerOrder::Tell);
        word.or_else(|| ORDERS.iter().find(|(words, _)| *words == line).map(|(_, order)| order.clone()))
    }
}

/// A line of these words and something as JSON, which has no end of line in it.
fn written(words: &str, value: &impl Serialize) -> String {
    serde_json::to_string(value).map_or_else(|_| String::new(), |value| format!("{words}{value}\n"))
}

/// In front of the numbers of reports that have one.
const PROGRESS: &str = "progress ";
const BACK: &str = "back ";
const LOADED: &str = "loaded ";
const WAITING: &str = "waiting ";
const ELSEWHERE: &str = "elsewhere ";
const HEARD: &str = "heard ";
const SAVED: &str = "saved ";
const BEGINS: &str = "begins ";
const HANDED: &str = "handed ";
const PAUSED: &str = "paused ";

const WORDS: [(&str, WorkerReport); 11] = [
    ("beat", WorkerReport::Beat),
    ("running", WorkerReport::Running),
    ("ended done", WorkerReport::Ended(None)),
    ("ended job", WorkerReport::Ended(Some(Kind::Job))),
    ("ended plugin", WorkerReport::Ended(Some(Kind::Plugin))),
    // What is read is the one above: a supervisor treats both alike.
    ("ended plugin", WorkerReport::Ended(Some(Kind::TooLarge))),
    ("ended environment", WorkerReport::Ended(Some(Kind::Environment))),
    ("ended peer", WorkerReport::Ended(Some(Kind::Peer))),
    ("ended taken over", WorkerReport::Ended(Some(Kind::TakenOver))),
    ("ended memory", WorkerReport::Ended(Some(Kind::Memory))),
    ("ended bug", WorkerReport::Ended(Some(Kind::Bug))),
];

impl WorkerReport {
    /// `None`: a line that says nothing.
    pub fn read(line: &str) -> Option<WorkerReport> {
        let batch = |word| line.strip_prefix(word)?.parse().ok().map(BatchId);
        let time = |word| line.strip_prefix(word)?.parse().ok();
        let numbered = batch(BACK).map(WorkerReport::Back).or_else(|| batch(PROGRESS).map(WorkerReport::Progress));
        let numbered = numbered.or_else(|| batch(LOADED).map(WorkerReport::Loaded));
        let numbered = numbered.or_else(|| batch(SAVED).map(WorkerReport::Saved));
        let waiting = || line.strip_prefix(WAITING)?.parse().ok().map(WorkerReport::Waiting);
        let elsewhere = || serde_json::from_str(line.strip_prefix(ELSEWHERE)?).ok().map(WorkerReport::Elsewhere);
        let heard = || serde_json::from_str(line.strip_prefix(HEARD)?).ok().map(WorkerReport::Heard);
        let paused = || serde_json::from_str(line.strip_prefix(PAUSED)?).ok().map(WorkerReport::Paused);
        let numbered = numbered.or_else(waiting).or_else(elsewhere).or_else(heard).or_else(paused);
        let numbered = numbered.or_else(|| time(BEGINS).map(WorkerReport::Begins));
        let numbered = numbered.or_else(|| time(HANDED).map(WorkerReport::Handed));
        numbered.or_else(|| WORDS.iter().find(|(words, _)| *words == line).map(|(_, report)| report.clone()))
    }

    fn line(&self) -> String {
        match self {
            WorkerReport::Waiting(count) => return format!("{WAITING}{count}\n"),
            WorkerReport::Elsewhere(layout) => return written(ELSEWHERE, layout),
            WorkerReport::Heard(word) => return written(HEARD, word),
            WorkerReport::Paused(why) => return written(PAUSED, why),
            WorkerReport::Back(batch) => return format!("{BACK}{batch}\n"),
            WorkerReport::Progress(batch) => return format!("{PROGRESS}{batch}\n"),
            WorkerReport::Loaded(batch) => return format!("{LOADED}{batch}\n"),
            WorkerReport::Saved(batch) => return format!("{SAVED}{batch}\n"),
            WorkerReport::Begins(at_us) => return format!("{BEGINS}{at_us}\n"),
            WorkerReport::Handed(at_us) => return format!("{HANDED}{at_us}\n"),
            WorkerReport::Beat | WorkerReport::Running | WorkerReport::Ended(_) => {}
        }
        WORDS.iter().find(|(_, report)| report == self).map_or_else(String::new, |(words, _)| format!("{words}\n"))
    }
}

/// A worker process's end: beats from a thread of its own.
#[derive(Clone)]
pub struct Reporter {
    socket: Arc<Mutex<UnixStream>>,
    job: Arc<Mutex<Option<Stopper>>>,
    orders: Arc<Orders>,
    /// As the supervisor passed it.
    key: Option<ClusterKey>,
}

/// What the supervisor has ordered.
#[derive(Default)]
struct Orders {
    /// A checkpoint was asked for, and is not told yet.
    save: AtomicBool,
    /// The job is to be taken over.
    take_over: Mutex<bool>,
    ordered: Condvar,
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
        let lifeline = socket.try_clone()?;
        let key = receive(&lifeline)?;
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
        let started = threads::start(BEATING, "the thread that tells the supervisor of this process", failed, work);
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
                // The others must know why the job ends before it does.
                match job.tell(&HandoverWord::HandOver) {
                    Ok(()) => job.hand_over(),
                    Err(error) => self.say(WorkerReport::Heard(HandoverWord::GiveUp(error.message))),
                }
            }
            (WorkerOrder::Tell(word), Some(job)) => {
                // Whoever gave up hears of it by itself.
                if let Err(error) = job.tell(&word) {
                    self.say(WorkerReport::Heard(HandoverWord::Failed(error.message)));
                }
            }
            (WorkerOrder::TakeOver, _) => {
                *self.orders.take_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
                self.orders.ordered.notify_all();
            }
            // Nothing of it is asked of a process whose job is not started.
            (WorkerOrder::Save | WorkerOrder::HandOver | WorkerOrder::Tell(_), None) => {}
        }
    }

    /// Waits until the job is to be taken over, no longer than this: whether it is.
    pub fn takes_over_within(&self, time: Duration) -> bool {
        let ordered = self.orders.take_over.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.orders.ordered.wait_timeout_while(ordered, time, |ordered| !*ordered);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// How it stands with a job that is not started yet.
    pub fn stands_by(&self, news: StandByNews) {
        self.say(match news {
            StandByNews::Loaded(batch) => WorkerReport::Loaded(batch),
            StandByNews::Waiting(count) => WorkerReport::Waiting(count),
        });
    }

    /// The job runs on these machines.
    pub fn elsewhere(&self, layout: &JobLayout) {
        self.say(WorkerReport::Elsewhere(layout.clone()));
    }

    /// The job is about to have ended for others, and this is when it began its last batch.
    pub fn handed(&self, begun_us: i64) {
        self.say(WorkerReport::Handed(begun_us));
    }

    /// Tells what was waited for. `since`: when the job was loaded that this process took over, until batches begin.
    fn tell_steps(&self, job: &Stopper, since: &mut Option<Instant>, begins: &mut bool) {
        if self.orders.save.load(Ordering::Acquire)
            && let Some(batch) = job.saved()
        {
            self.orders.save.store(false, Ordering::Release);
            self.say(WorkerReport::Saved(batch));
        }
        job.heard().into_iter().for_each(|word| self.say(WorkerReport::Heard(word)));
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
        // On a machine with much to do a sleep takes many times as long as it says: what counts is the time that has passed.
        let (mut last, mut said): (_, Option<Instant>) = (BatchId(0), None);
        loop {
            let job = self.job.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let progress = job.as_ref().map_or(last, Stopper::progress);
            job.iter().for_each(|job| self.tell_steps(job, &mut since, &mut begins));
            if progress != last || said.is_none_or(|said| said.elapsed() >= every) {
                self.say(if progress != last { WorkerReport::Progress(progress) } else { WorkerReport::Beat });
                patience::paused_for(PAUSE_TOLD).into_iter().for_each(|why| self.say(WorkerReport::Paused(why)));
                (last, said) = (progress, Some(Instant::now()));
            }
            thread::sleep(LOOK_EVERY);
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
            WorkerReport::Heard(HandoverWord::Prepare(layout())),
            WorkerReport::Heard(HandoverWord::Failed("two\nlines".into())),
            WorkerReport::Paused("two\nlines".into()),
        ];
        let living = [WorkerReport::Beat, WorkerReport::Running, WorkerReport::Progress(BatchId(7))];
        for report in living.into_iter().chain(others).chain(of_handovers).chain(kinds) {
            let line = report.line();
            assert_eq!((line.lines().count(), WorkerReport::read(line.trim_end())), (1, Some(report)), "{line:?}");
        }
        assert_eq!((WorkerReport::read("ended"), WorkerReport::read("back x")), (None, None));
        let told = WorkerOrder::Tell(HandoverWord::GiveUp("why".into()));
        for order in ORDERS.into_iter().map(|(_, order)| order).chain([told]) {
            assert_eq!(WorkerOrder::read(order.line().trim_end()), Some(order));
        }
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
