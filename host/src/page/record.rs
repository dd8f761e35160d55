//! The record of a job: what its processes have reported so far. It outlives them.

use super::diagnosis;
use super::last_event::Shared;
use super::newest::Newest;
use super::view::{ActionRequest, JobState, JobView, Restart};
use millstream_base::ids::BatchId;
use millstream_base::log_lines::LogLine;
use millstream_base::time;
use millstream_metrics::batch_facts::BatchFacts;
use millstream_metrics::rejected_rows::RejectedRow;
use millstream_runtime::control::{KnownNumbers, ProcessView};
use std::collections::BTreeMap;

/// Maximum numbers of kept items.
pub const BATCHES_MAX: usize = 3_600;
pub const LOG_MAX: usize = 1_000;
pub const REFUSED_MAX: usize = 100;
const CHECKPOINTS_MAX: usize = 100;
const RESTARTS_MAX: usize = 100;
const UPGRADES_MAX: usize = 20;
const ASKED_MAX: usize = 20;

/// The record of a job.
pub struct Record {
    /// The status.
    pub view: JobView,
    /// Committed batches.
    pub batches: Newest<BatchFacts>,
    /// Lines of the log.
    pub log: Newest<LogLine>,
    /// Rejected and late rows.
    pub refused: Newest<RejectedRow>,
    /// The event shared by clients.
    pub shared: Shared,
    known: BTreeMap<usize, (u32, KnownNumbers)>,
}

impl Record {
    /// Creates the record of a job of which nothing is known.
    pub fn new(id: &str, file: &str, supervised: bool) -> Record {
        let view = JobView { id: id.into(), file: file.into(), supervised, ..JobView::default() };
        Record {
            view,
            batches: Newest::new(BATCHES_MAX),
            log: Newest::new(LOG_MAX),
            refused: Newest::new(REFUSED_MAX),
            shared: Shared::default(),
            known: BTreeMap::new(),
        }
    }

    /// Returns what a process has already reported.
    pub fn known_numbers(&self, process: usize) -> KnownNumbers {
        self.known.get(&process).map(|(_, known)| *known).unwrap_or_default()
    }

    /// Adds a log line of the process that serves the page.
    pub fn add_own_line(&mut self, line: LogLine) {
        self.log.add(std::process::id(), line);
    }

    /// Records that a supervisor restarts the job.
    pub fn record_restart(&mut self, at_us: i64, why: String) {
        self.view.restarts.push(Restart { at_us, why });
        let over = self.view.restarts.len().saturating_sub(RESTARTS_MAX);
        self.view.restarts.drain(..over);
    }

    /// Records the start of an action. Returns its number, unless another action is running.
    pub fn begin(&mut self, action: ActionRequest) -> Option<u64> {
        let all = &mut self.view.asked;
        if all.iter().any(|action| action.ended_us.is_none()) {
            return None;
        }
        let number = all.last().map_or(1, |last| last.number + 1);
        all.push(ActionRequest { number, ..action });
        all.drain(..all.len().saturating_sub(ASKED_MAX));
        Some(number)
    }

    /// Records the end of an action.
    pub fn ended(&mut self, number: u64, failed: bool, message: String) {
        if let Some(action) = self.view.asked.iter_mut().find(|action| action.number == number) {
            (action.ended_us, action.failed, action.words) = (Some(time::now().0), failed, message);
        }
    }

    /// Merges the current reports of the processes. `errors`: messages about those that did not respond.
    pub fn update(&mut self, now_us: i64, views: Vec<ProcessView>, errors: Vec<String>) {
        self.view.now_us = now_us;
        self.view.trouble = (!errors.is_empty()).then(|| errors.join("; "));
        let mut sum: Option<ProcessView> = None;
        let mut pids = Vec::new();
        for mut view in views {
            let (process, pid) = (view.process.process, view.process.pid);
            if self.known.get(&process).is_some_and(|(known, _)| *known != pid) {
                // The request was relative to the numbers of a previous process. Request everything from the start.
                self.known.insert(process, (pid, KnownNumbers::default()));
            } else {
                self.merge_view(process, pid, &mut view);
            }
            view.batches.committed.clear();
            view.batches.refused.clear();
            view.log.clear();
            pids.push(pid);
            match &mut sum {
                Some(sum) => sum.add(view),
                None => sum = Some(view),
            }
        }
        match sum {
            Some(sum) => self.take(now_us, pids, sum),
            None if self.view.state == JobState::Running => self.view.state = JobState::Silent,
            None => {}
        }
        self.view.diagnosis = diagnosis::diagnose(&self.view);
    }

    /// Adds batches, rows and lines that the process has not reported before.
    fn merge_view(&mut self, process: usize, pid: u32, view: &mut ProcessView) {
        let known = view.known_numbers(self.known_numbers(process));
        view.batches.committed.drain(..).for_each(|batch| self.batches.add(pid, batch));
        view.batches.refused.drain(..).for_each(|row| self.refused.add(pid, row));
        view.log.drain(..).for_each(|line| self.log.add(pid, line));
        self.known.insert(process, (pid, known));
    }

    fn take(&mut self, now_us: i64, pids: Vec<u32>, sum: ProcessView) {
        let view = &mut self.view;
        (view.state, view.answered_us, view.pids) = (JobState::Running, now_us, pids);
        (view.graph, view.parts, view.batches) = (sum.graph, sum.parts, sum.batches);
        view.status = sum.process.status;
        if let Some(upgrade) = view.status.upgrade.clone() {
            view.upgrades.retain(|known| known.id != upgrade.id);
            view.upgrades.push(upgrade);
            view.upgrades.drain(..view.upgrades.len().saturating_sub(UPGRADES_MAX));
        }
        let last = view.checkpoints.last().map_or((BatchId(0), 0), |last| (last.batch, last.published_us));
        let newer = sum.checkpoints.into_iter().filter(|checkpoint| checkpoint.published_us > last.1);
        view.checkpoints.extend(newer);
        let over = view.checkpoints.len().saturating_sub(CHECKPOINTS_MAX);
        view.checkpoints.drain(..over);
    }
}
