//! A job on its way from the processes that run it to others with more or fewer workers.
//!
//! The new ones start beside the old ones and load the newest checkpoint. Once they have, the old ones make another one, so that
//! little is left for the last; when that is loaded as well, they work on what they have received, make the last one, and end. Then,
//! and not before all of them are gone, the new ones take the job over as any start does. Where a new one fails before, the old ones
//! go on; where they are about to end or gone, as many are started again as there were.

use super::child::WorkerProcess;
use super::layout::Layout;
use super::report::{WorkerOrder, WorkerReport};
use crate::ids::BatchId;
use crate::run::control::{ScaleAnswer, ScaleQuestion, ScaleStatus, ScaleStep};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the checkpoint before the last is waited for. It only makes the pause shorter.
const SAVE_MAX: Duration = Duration::from_secs(60);
/// Where the new processes take longer to load a checkpoint, the old ones make another one, this often at most.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(1);
const SAVES_MAX: u32 = 6;
/// How long the new processes may take from when they may take the job over until they run it. Servers that are away are waited for.
const TAKE_OVER_MAX: Duration = Duration::from_secs(60);

/// What others are told of it. Cheap to clone.
#[derive(Clone, Default)]
pub struct ScaleDesk(Arc<Mutex<Option<ScaleStatus>>>);

impl ScaleDesk {
    /// Answers a question; `begin` is called with what is wanted where it is to be begun.
    pub fn answer(&self, question: ScaleQuestion, begin: impl FnOnce(Option<usize>, Option<usize>)) -> ScaleAnswer {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (question, &*held) {
            (ScaleQuestion::Scale { .. }, Some(status)) if !status.step.is_over() => {
                ScaleAnswer::Refused("the job is on its way to other workers already; wait until it is there".into())
            }
            (ScaleQuestion::Scale { workers, processes }, last) => {
                // No other supervisor of the job has given it to anybody who still waits.
                let first = u64::from(std::process::id()) << 32;
                let id = last.as_ref().map_or(first, |last| last.id.saturating_add(1));
                let status = ScaleStatus { id, step: ScaleStep::Loading };
                *held = Some(status.clone());
                drop(held);
                begin(workers, processes);
                ScaleAnswer::Scaling(status)
            }
            (ScaleQuestion::Scaling { id }, Some(status)) if status.id == id => ScaleAnswer::Scaling(status.clone()),
            (ScaleQuestion::Scaling { .. }, _) => ScaleAnswer::Unknown,
        }
    }

    /// It has come so far.
    pub fn tell(&self, step: ScaleStep) {
        if let Some(status) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            status.step = step;
        }
    }
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The new processes load the newest checkpoint.
    Loading,
    /// The old ones make another one.
    Saving,
    /// The new ones load that, which is after this batch.
    Following(BatchId),
    /// The old ones were told to end.
    Ending,
    /// The new ones were told to take over.
    TakingOver,
    /// A new one has failed, and the old ones were told to end: as many are started again.
    Failed,
}

/// What the supervisor does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandoverStep {
    /// Tells the old processes something.
    Order(WorkerOrder),
    /// Gives up the new ones; the old ones go on.
    GiveUp,
    /// Nothing.
    Wait,
}

/// A job on its way.
pub struct Handover {
    /// Of the new processes.
    layout: Option<Layout>,
    /// The new processes; none once they run the job.
    pub children: Vec<WorkerProcess>,
    /// By which what they say is known.
    pub round: u64,
    step: Step,
    is_running: bool,
    since: Instant,
    loaded: Vec<Option<BatchId>>,
    handed_us: Option<i64>,
    /// How often the old ones made a checkpoint for the new ones.
    saves: u32,
    desk: ScaleDesk,
}

impl Handover {
    /// The new processes were started.
    pub fn new(layout: Layout, children: Vec<WorkerProcess>, round: u64, desk: ScaleDesk) -> Handover {
        let loaded = vec![None; children.len()];
        let (step, since, handed_us) = (Step::Loading, Instant::now(), None);
        let layout = Some(layout);
        Handover { layout, children, round, step, is_running: false, since, loaded, handed_us, saves: 0, desk }
    }

    fn goes_to(&mut self, step: Step) {
        (self.step, self.since) = (step, Instant::now());
    }

    /// A process that runs the job said something.
    pub fn old_said(&mut self, child: usize, report: WorkerReport) {
        match (report, self.step) {
            (WorkerReport::Saved(batch), Step::Saving) if child == 0 => self.goes_to(Step::Following(batch)),
            (WorkerReport::Handed(begun_us), _) if child == 0 => self.handed_us = Some(begun_us),
            _ => {}
        }
    }

    /// A new process said something.
    pub fn new_said(&mut self, child: usize, report: WorkerReport) {
        self.children.iter_mut().skip(child).take(1).for_each(|child| child.said(report));
        if let (WorkerReport::Loaded(batch), Some(loaded)) = (report, self.loaded.get_mut(child)) {
            *loaded = Some(batch);
            if let (Step::Loading | Step::Saving | Step::Following(_), Some(batch)) = (self.step, self.loaded_by_all())
            {
                self.desk.tell(ScaleStep::Following { batch });
            }
        }
    }

    fn loaded_by_all(&self) -> Option<BatchId> {
        let loaded = self.loaded.iter().copied().collect::<Option<Vec<BatchId>>>()?;
        loaded.into_iter().min()
    }

    /// A new process has ended, before it was to take the job over.
    pub fn new_ended(&mut self, why: &str) -> HandoverStep {
        self.end_children();
        let (words, step) = match self.step {
            Step::Ending | Step::TakingOver | Step::Failed => ("it is started again as it was", HandoverStep::Wait),
            Step::Loading | Step::Saving | Step::Following(_) => ("the job goes on as it was", HandoverStep::GiveUp),
        };
        self.desk.tell(ScaleStep::Failed(format!("{why}; {words}")));
        if step == HandoverStep::Wait {
            self.goes_to(Step::Failed);
        }
        step
    }

    /// The job has ended, or is about to, for another reason.
    pub fn give_up(&mut self, why: &str) {
        self.end_children();
        self.desk.tell(ScaleStep::Failed(why.to_owned()));
    }

    fn end_children(&mut self) {
        for child in &mut self.children {
            child.kill();
            child.wait();
        }
        self.children.clear();
    }

    /// What is to be done now.
    pub fn next(&mut self) -> HandoverStep {
        let late = |since: Instant, most: Duration| since.elapsed() >= most;
        match self.step {
            Step::Loading if self.loaded_by_all().is_some() => self.save(),
            Step::Following(batch) if self.loaded_by_all().is_some_and(|loaded| loaded >= batch) => {
                // Meanwhile more has changed, which takes less time to load than what is loaded now.
                match self.since.elapsed() >= FOLLOWED_WITHIN && self.saves < SAVES_MAX {
                    true => self.save(),
                    false => self.end_old(),
                }
            }
            Step::Saving if late(self.since, SAVE_MAX) => self.end_old(),
            _ => HandoverStep::Wait,
        }
    }

    fn save(&mut self) -> HandoverStep {
        self.saves += 1;
        self.goes_to(Step::Saving);
        HandoverStep::Order(WorkerOrder::Save)
    }

    fn end_old(&mut self) -> HandoverStep {
        self.goes_to(Step::Ending);
        self.desk.tell(ScaleStep::Ending);
        HandoverStep::Order(WorkerOrder::HandOver)
    }

    /// The new processes run the job: how they are laid out, once.
    pub fn runs(&mut self) -> Option<Layout> {
        self.is_running = true;
        self.layout.take()
    }

    /// Whether the new processes run the job.
    pub fn is_running(&self) -> bool {
        self.is_running
    }

    /// Whether the new processes were told to take the job over.
    pub fn is_taking_over(&self) -> bool {
        self.step == Step::TakingOver
    }

    /// Whether the new ones failed after the old ones were told to end.
    pub fn has_failed(&self) -> bool {
        self.step == Step::Failed
    }

    /// The old processes are gone, and have handed the job over: the new ones, which are told to take it. None where they failed.
    pub fn take_over(&mut self) -> Vec<WorkerProcess> {
        if self.step != Step::Ending {
            return Vec::new();
        }
        self.goes_to(Step::TakingOver);
        self.desk.tell(ScaleStep::TakingOver);
        self.children.iter().for_each(|child| child.order(WorkerOrder::TakeOver));
        std::mem::take(&mut self.children)
    }

    /// Whether the new ones take too long.
    pub fn is_late(&self) -> bool {
        self.step == Step::TakingOver && !self.is_running && self.since.elapsed() >= TAKE_OVER_MAX
    }

    /// The new ones were to take the job over, and did not come to run it.
    pub fn has_not_taken_over(&self, why: &str) {
        self.desk.tell(ScaleStep::Failed(format!("{why}; the job is started again as it was")));
    }

    /// Batches begin again: in words.
    pub fn begins(&self, at_us: i64) -> String {
        let pause_us = self.handed_us.map(|handed_us| at_us.saturating_sub(handed_us));
        self.desk.tell(ScaleStep::Done { pause_us });
        let pause = pause_us.map_or_else(String::new, |us| format!("; no batch began for {:.2} s", us as f64 / 1e6));
        format!("the job has other workers now{pause}")
    }
}
