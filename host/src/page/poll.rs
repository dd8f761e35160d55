//! Polls the processes of jobs for their status: once per second while a client is active, rarely otherwise.

use super::record::Record;
use super::view::{ActionRequest, JobState};
use millstream_base::error::Result;
use millstream_base::log_lines;
use millstream_base::threads;
use millstream_base::time;
use millstream_job::plugin_part::PluginPart;
use millstream_runtime::control::{ControlResponse, job_id, jobs, view};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The polling intervals while a client is active, and otherwise.
const ACTIVE_POLL_INTERVAL: Duration = Duration::from_secs(1);
const IDLE_POLL_INTERVAL: Duration = Duration::from_secs(10);
/// A client is active for this long after its last request.
const ACTIVE_TIME: Duration = Duration::from_secs(30);
/// Responses are no older than this, unless a process is slow.
const AGE_MAX: Duration = Duration::from_millis(1_200);
const REFRESH_TIME_MAX: Duration = Duration::from_secs(6);
/// Maximum number of a user's jobs that are shown.
const JOBS_MAX: usize = 200;

/// The jobs that a page shows.
pub struct Jobs {
    poll_state: Mutex<PollState>,
    kicked: Condvar,
    polled: watch::Sender<u64>,
}

struct PollState {
    records: BTreeMap<String, Record>,
    /// Whether all jobs of the user are looked up.
    all: bool,
    /// Whether the log of this process belongs to the job.
    own_log: Option<u64>,
    looked: Instant,
    polled: Option<Instant>,
    /// Whether jobs are being polled, so that another poll is not needed.
    requesting: bool,
    kick: bool,
    actions: bool,
    /// Values that replace those of job files, as arguments.
    sets: Vec<OsString>,
}

impl Jobs {
    /// Returns the job of one file, which was started with these replaced values. `supervised`: its processes are not
    /// this one.
    pub fn of_file(file: &Path, sets: &[(String, String)], supervised: bool) -> Result<Arc<Jobs>> {
        let full = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
        let id = job_id(file)?;
        let record = Record::new(&id, &full.display().to_string(), supervised);
        let jobs = Jobs::new(BTreeMap::from([(id, record)]), false, supervised);
        jobs.lock().sets = sets.iter().map(|(key, value)| format!("--set={key}={value}").into()).collect();
        Ok(jobs)
    }

    /// Returns all jobs of the user that run on this machine.
    pub fn of_user() -> Arc<Jobs> {
        Jobs::new(BTreeMap::new(), true, false)
    }

    fn new(records: BTreeMap<String, Record>, all: bool, own_log: bool) -> Arc<Jobs> {
        let own_log = own_log.then_some(0);
        let looked = Instant::now();
        let poll_state = PollState {
            records,
            all,
            own_log,
            looked,
            polled: None,
            requesting: false,
            kick: false,
            actions: false,
            sets: Vec::new(),
        };
        Arc::new(Jobs { poll_state: Mutex::new(poll_state), kicked: Condvar::new(), polled: watch::Sender::new(0) })
    }

    /// Returns whether the page shows all jobs of a user.
    pub fn shows_all(&self) -> bool {
        self.lock().all
    }

    /// Enables actions of the page on jobs.
    pub fn allow_actions(&self) {
        self.lock().actions = true;
    }

    /// Records that the supervisor restarts the job for this reason.
    pub fn record_restart(&self, why: &str) {
        let now_us = time::now().0;
        self.lock().records.values_mut().for_each(|record| record.record_restart(now_us, why.to_owned()));
        self.poll_now();
    }

    /// Starts polling, on its own thread.
    pub fn poll(self: &Arc<Self>) -> Result<()> {
        let jobs = self.clone();
        let failed = |error| tracing::warn!("the page is no longer updated: {error}");
        threads::start("millstream-page-poll", "the thread that requests the page", failed, move || {
            loop {
                jobs.request_all();
                jobs.wait();
            }
        })
        .map(drop)
    }

    /// Returns a value from the record of a job, which is about one second old at most. `None` if there is no such job.
    pub async fn with<T>(&self, id: &str, what: impl FnOnce(&Record) -> T) -> Option<T> {
        self.freshen().await;
        self.lock().records.get(id).map(what)
    }

    /// Returns values from the records of all jobs.
    pub async fn each<T>(&self, mut what: impl FnMut(&Record) -> T) -> Vec<T> {
        self.freshen().await;
        self.lock().records.values().map(&mut what).collect()
    }

    /// Returns a value from the current record of the job of a file, however old it is.
    pub fn read_latest<T>(&self, what: impl FnOnce(&Record) -> T) -> Option<T> {
        self.lock().records.values().next().map(what)
    }

    /// Returns the number of polls.
    pub fn polls(&self) -> u64 {
        *self.polled.borrow()
    }

    /// Returns the file of a job.
    pub fn file(&self, id: &str) -> Option<PathBuf> {
        self.lock().records.get(id).map(|record| PathBuf::from(&record.view.file))
    }

    /// Returns the values that replace those of the job file, as arguments of a command.
    pub fn sets(&self) -> Vec<OsString> {
        self.lock().sets.clone()
    }

    /// Returns whether a job has responded and has this part.
    pub fn has_part(&self, id: &str, part: PluginPart<'_>) -> bool {
        let state = self.lock();
        let parts = state.records.get(id).map(|record| record.view.graph.parts.iter());
        parts.is_some_and(|mut parts| parts.any(|known| known.role == part.keyword() && known.name == part.name()))
    }

    /// Records the start of an action on a job. Returns its number, unless another action is running.
    pub fn begin(&self, id: &str, action: ActionRequest) -> Option<u64> {
        let number = self.lock().records.get_mut(id)?.begin(action)?;
        self.poll_now();
        Some(number)
    }

    /// Records the end of an action.
    pub fn ended(&self, id: &str, number: u64, failed: bool, message: String) {
        if let Some(record) = self.lock().records.get_mut(id) {
            record.ended(number, failed, message);
        }
        self.poll_now();
    }

    /// Returns a receiver that is notified after each poll.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.polled.subscribe()
    }

    /// Records that a client is active.
    pub fn mark_active(&self) {
        self.lock().looked = Instant::now();
    }

    /// Records that a client is active or about to be, as it has requested the page itself. Polls if the record is old,
    /// and returns whether it is.
    pub fn expect_look(&self) -> bool {
        let mut state = self.lock();
        state.looked = Instant::now();
        let old = state.polled.is_none_or(|polled| polled.elapsed() > AGE_MAX);
        if old && !state.requesting {
            state.kick = true;
            self.kicked.notify_all();
        }
        old
    }

    /// Waits until the record is recent enough.
    async fn freshen(&self) {
        let mut polled = self.subscribe();
        polled.mark_unchanged();
        if self.expect_look() {
            // If no process responds in time, the existing record is used.
            let _ = tokio::time::timeout(REFRESH_TIME_MAX, polled.changed()).await;
        }
    }

    fn poll_now(&self) {
        self.lock().kick = true;
        self.kicked.notify_all();
    }

    fn wait(&self) {
        let mut state = self.lock();
        let began = Instant::now();
        loop {
            let every = if state.looked.elapsed() < ACTIVE_TIME { ACTIVE_POLL_INTERVAL } else { IDLE_POLL_INTERVAL };
            let left = every.saturating_sub(began.elapsed());
            if std::mem::take(&mut state.kick) || left.is_zero() {
                return;
            }
            state = self.kicked.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn request_all(&self) {
        self.lock().requesting = true;
        if self.shows_all() {
            self.look_for_jobs();
        }
        let files: Vec<(String, PathBuf)> = {
            let state = self.lock();
            state.records.iter().map(|(id, record)| (id.clone(), PathBuf::from(&record.view.file))).collect()
        };
        for (id, file) in files {
            self.request(&id, &file);
        }
        {
            let mut state = self.lock();
            (state.polled, state.requesting) = (Some(Instant::now()), false);
        }
        self.polled.send_modify(|count| *count += 1);
    }

    fn look_for_jobs(&self) {
        let found = match jobs() {
            Ok(found) => found,
            Err(error) => return tracing::debug!("cannot look for jobs: {error}"),
        };
        let mut state = self.lock();
        for status in found {
            let file = PathBuf::from(&status.file);
            if let (Ok(id), true) = (job_id(&file), state.records.len() < JOBS_MAX) {
                state.records.entry(id.clone()).or_insert_with(|| Record::new(&id, &status.file, false));
            }
        }
    }

    fn request(&self, id: &str, file: &Path) {
        let known =
            |process| self.lock().records.get(id).map(|record| record.known_numbers(process)).unwrap_or_default();
        let (mut views, mut errors) = (Vec::new(), Vec::new());
        match view(file, known) {
            Ok(responses) => {
                for reply in responses {
                    match reply.response {
                        Ok(ControlResponse::View(view)) => views.push(*view),
                        Ok(ControlResponse::Error(message) | ControlResponse::Refused(message)) | Err(message) => {
                            errors.push(format!("process {}: {message}", reply.process));
                        }
                        Ok(_) => errors.push(format!("process {} sent an unexpected response", reply.process)),
                    }
                }
            }
            Err(error) => errors.push(error.to_string()),
        }
        let mut guard = self.lock();
        let PollState { records, own_log, actions, all, .. } = &mut *guard;
        let Some(record) = records.get_mut(id) else { return };
        record.view.actions = *actions;
        if let Some(last) = own_log {
            for line in log_lines::after(*last) {
                *last = line.number;
                record.add_own_line(line);
            }
        }
        record.update(time::now().0, views, errors);
        // A job that has ended is removed from the list of all.
        if *all && record.view.state == JobState::Silent && record.view.trouble.is_none() {
            records.remove(id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, PollState> {
        self.poll_state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
