//! Asks the processes of jobs how they stand: once a second while somebody looks, seldom otherwise.

use super::record::Record;
use super::view::{ActionRequest, JobState};
use millstream_base::error::Result;
use millstream_base::job::plugin_part::PluginPart;
use millstream_base::log_lines;
use millstream_base::threads;
use millstream_base::time;
use millstream_runtime::control::{ControlAnswer, job_id, jobs, view};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often jobs are asked while somebody looks, and otherwise.
const POLL_EVERY: Duration = Duration::from_secs(1);
const POLL_SELDOM: Duration = Duration::from_secs(10);
/// For so long after the last request somebody looks.
const LOOKED_AT: Duration = Duration::from_secs(30);
/// Whoever asks for an answer gets one that is no older, unless a process takes its time.
const FRESH: Duration = Duration::from_millis(1_200);
const FRESH_WAIT_MAX: Duration = Duration::from_secs(6);
/// Jobs of a user that are shown.
const JOBS_MAX: usize = 200;

/// The jobs that a page is about.
pub struct Jobs {
    held: Mutex<PollState>,
    kicked: Condvar,
    polled: watch::Sender<u64>,
}

struct PollState {
    records: BTreeMap<String, Record>,
    /// All jobs of the user are looked for.
    all: bool,
    /// The log of this process belongs to the job.
    own_log: Option<u64>,
    looked: Instant,
    polled: Option<Instant>,
    /// Jobs are being asked: whoever wants news need not have them asked again.
    asking: bool,
    kick: bool,
    actions: bool,
    /// Values that job files have not, as arguments.
    sets: Vec<OsString>,
}

impl Jobs {
    /// The job of one file, which was started with these values in the place of its own. `supervised`: its processes are others than
    /// this one.
    pub fn of_file(file: &Path, sets: &[(String, String)], supervised: bool) -> Result<Arc<Jobs>> {
        let whole = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
        let id = job_id(file)?;
        let record = Record::new(&id, &whole.display().to_string(), supervised);
        let jobs = Jobs::new(BTreeMap::from([(id, record)]), false, supervised);
        jobs.lock().sets = sets.iter().map(|(key, value)| format!("--set={key}={value}").into()).collect();
        Ok(jobs)
    }

    /// All jobs of the user that run on this machine.
    pub fn of_user() -> Arc<Jobs> {
        Jobs::new(BTreeMap::new(), true, false)
    }

    fn new(records: BTreeMap<String, Record>, all: bool, own_log: bool) -> Arc<Jobs> {
        let own_log = own_log.then_some(0);
        let looked = Instant::now();
        let held = PollState {
            records,
            all,
            own_log,
            looked,
            polled: None,
            asking: false,
            kick: false,
            actions: false,
            sets: Vec::new(),
        };
        Arc::new(Jobs { held: Mutex::new(held), kicked: Condvar::new(), polled: watch::Sender::new(0) })
    }

    /// Whether the page is one of all jobs of a user.
    pub fn are_all(&self) -> bool {
        self.lock().all
    }

    /// The page may do something to jobs.
    pub fn allow_actions(&self) {
        self.lock().actions = true;
    }

    /// The supervisor of the job starts it again, for this reason.
    pub fn restarted(&self, why: &str) {
        let now_us = time::now().0;
        self.lock().records.values_mut().for_each(|record| record.restarted(now_us, why.to_owned()));
        self.kick();
    }

    /// Starts to ask, on a thread of its own.
    pub fn poll(self: &Arc<Self>) -> Result<()> {
        let jobs = self.clone();
        let failed = |error| tracing::warn!("the page is no longer updated: {error}");
        threads::start("millstream-page-poll", "the thread that asks for the page", failed, move || {
            loop {
                jobs.ask_all();
                jobs.wait();
            }
        })
        .map(drop)
    }

    /// What is known of a job, no older than a second or so; `None`: there is no such job.
    pub async fn with<T>(&self, id: &str, what: impl FnOnce(&Record) -> T) -> Option<T> {
        self.freshen().await;
        self.lock().records.get(id).map(what)
    }

    /// The same of all jobs.
    pub async fn each<T>(&self, mut what: impl FnMut(&Record) -> T) -> Vec<T> {
        self.freshen().await;
        self.lock().records.values().map(&mut what).collect()
    }

    /// What is known now of the job of a file, however old that is.
    pub fn only<T>(&self, what: impl FnOnce(&Record) -> T) -> Option<T> {
        self.lock().records.values().next().map(what)
    }

    /// How often jobs were asked.
    pub fn polls(&self) -> u64 {
        *self.polled.borrow()
    }

    /// The file of a job.
    pub fn file(&self, id: &str) -> Option<PathBuf> {
        self.lock().records.get(id).map(|record| PathBuf::from(&record.view.file))
    }

    /// Values that the job was started with in the place of those in its file, as arguments of a command.
    pub fn sets(&self) -> Vec<OsString> {
        self.lock().sets.clone()
    }

    /// Whether a job has answered and has this stage.
    pub fn has_part(&self, id: &str, part: PluginPart<'_>) -> bool {
        let held = self.lock();
        let parts = held.records.get(id).map(|record| record.view.graph.parts.iter());
        parts.is_some_and(|mut parts| parts.any(|known| known.role == part.word() && known.name == part.name()))
    }

    /// Something is to be done to a job: its number, unless something else is being done.
    pub fn begin(&self, id: &str, asked: ActionRequest) -> Option<u64> {
        let number = self.lock().records.get_mut(id)?.begin(asked)?;
        self.kick();
        Some(number)
    }

    /// It is done.
    pub fn ended(&self, id: &str, number: u64, failed: bool, words: String) {
        if let Some(record) = self.lock().records.get_mut(id) {
            record.ended(number, failed, words);
        }
        self.kick();
    }

    /// Tells when something was asked.
    pub fn watched(&self) -> watch::Receiver<u64> {
        self.polled.subscribe()
    }

    /// Somebody still looks.
    pub fn looked_at(&self) {
        self.lock().looked = Instant::now();
    }

    /// Somebody looks, or is about to, as the page itself was asked for: what is known is made new where it is old. Whether it is.
    pub fn expect_look(&self) -> bool {
        let mut held = self.lock();
        held.looked = Instant::now();
        let old = held.polled.is_none_or(|polled| polled.elapsed() > FRESH);
        if old && !held.asking {
            held.kick = true;
            self.kicked.notify_all();
        }
        old
    }

    /// Waits until what is known is no older than it may be.
    async fn freshen(&self) {
        let mut polled = self.watched();
        polled.mark_unchanged();
        if self.expect_look() {
            // What there is will do where nobody answers in time.
            let _ = tokio::time::timeout(FRESH_WAIT_MAX, polled.changed()).await;
        }
    }

    fn kick(&self) {
        self.lock().kick = true;
        self.kicked.notify_all();
    }

    fn wait(&self) {
        let mut held = self.lock();
        let began = Instant::now();
        loop {
            let every = if held.looked.elapsed() < LOOKED_AT { POLL_EVERY } else { POLL_SELDOM };
            let left = every.saturating_sub(began.elapsed());
            if std::mem::take(&mut held.kick) || left.is_zero() {
                return;
            }
            held = self.kicked.wait_timeout(held, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn ask_all(&self) {
        self.lock().asking = true;
        if self.are_all() {
            self.look_for_jobs();
        }
        let files: Vec<(String, PathBuf)> = {
            let held = self.lock();
            held.records.iter().map(|(id, record)| (id.clone(), PathBuf::from(&record.view.file))).collect()
        };
        for (id, file) in files {
            self.ask(&id, &file);
        }
        {
            let mut held = self.lock();
            (held.polled, held.asking) = (Some(Instant::now()), false);
        }
        self.polled.send_modify(|count| *count += 1);
    }

    fn look_for_jobs(&self) {
        let found = match jobs() {
            Ok(found) => found,
            Err(error) => return tracing::debug!("cannot look for jobs: {error}"),
        };
        let mut held = self.lock();
        for status in found {
            let file = PathBuf::from(&status.file);
            if let (Ok(id), true) = (job_id(&file), held.records.len() < JOBS_MAX) {
                held.records.entry(id.clone()).or_insert_with(|| Record::new(&id, &status.file, false));
            }
        }
    }

    fn ask(&self, id: &str, file: &Path) {
        let known = |process| self.lock().records.get(id).map(|record| record.known(process)).unwrap_or_default();
        let (mut views, mut silent) = (Vec::new(), Vec::new());
        match view(file, known) {
            Ok(answers) => {
                for said in answers {
                    match said.answer {
                        Ok(ControlAnswer::View(view)) => views.push(*view),
                        Ok(ControlAnswer::Error(words) | ControlAnswer::Refused(words)) | Err(words) => {
                            silent.push(format!("process {}: {words}", said.process));
                        }
                        Ok(_) => silent.push(format!("process {} sent an unexpected response", said.process)),
                    }
                }
            }
            Err(error) => silent.push(error.to_string()),
        }
        let mut held = self.lock();
        let PollState { records, own_log, actions, all, .. } = &mut *held;
        let Some(record) = records.get_mut(id) else { return };
        record.view.actions = *actions;
        if let Some(last) = own_log {
            for line in log_lines::after(*last) {
                *last = line.number;
                record.own_line(line);
            }
        }
        record.told(time::now().0, views, silent);
        // A job that ended is gone from the list of all.
        if *all && record.view.state == JobState::Silent && record.view.trouble.is_none() {
            records.remove(id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, PollState> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
