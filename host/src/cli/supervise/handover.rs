//! A job on its way from the processes that run it to others with more or fewer workers.
//!
//! The new ones start beside the old ones and load the newest checkpoint. Once they have, the old ones make another one, so that
//! little is left for the last; when that is loaded as well, they work on what they have received, make the last one, and end. Then,
//! and not before all of them are gone, the new ones take the job over as any start does. Where a new one fails before, the old ones
//! go on; where they are about to end or gone, as many are started again as there were.
//!
//! On several machines each has a supervisor, and that of process 0 *leads*: the others start a process that stands by when they are told,
//! and let it take over when their own has ended for it. Which of both sets runs is decided by process 0 alone: whoever comes to it
//! with other machines hears which ones there are.

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
/// How long the processes on other machines may be missing once process 0 has loaded the checkpoint.
const MISSING_MAX: Duration = Duration::from_secs(30);

/// What somebody wants; what is not said stays.
pub struct ScaleWish {
    /// Workers of each process.
    pub workers: Option<usize>,
    /// Processes on this machine.
    pub processes: Option<usize>,
    /// Or the machines, with a process on each.
    pub hosts: Vec<String>,
}

/// What others are told of it. Cheap to clone.
#[derive(Clone, Default)]
pub struct ScaleDesk(Arc<Mutex<Option<ScaleStatus>>>);

impl ScaleDesk {
    /// Answers a question; `begin` is called with what is wanted where it is to be begun.
    pub fn answer(&self, question: ScaleQuestion, begin: impl FnOnce(ScaleWish)) -> ScaleAnswer {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (question, &*held) {
            (ScaleQuestion::Scale { .. }, Some(status)) if !status.step.is_over() => {
                ScaleAnswer::Refused("the job is on its way to other workers already; wait until it is there".into())
            }
            (ScaleQuestion::Scale { workers, processes, hosts }, last) => {
                // No other supervisor of the job has given it to anybody who still waits.
                let first = u64::from(std::process::id()) << 32;
                let id = last.as_ref().map_or(first, |last| last.id.saturating_add(1));
                let status = ScaleStatus { id, step: ScaleStep::Loading };
                *held = Some(status.clone());
                drop(held);
                begin(ScaleWish { workers, processes, hosts });
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandoverStep {
    /// Tells the old processes something.
    Order(WorkerOrder),
    /// Gives up the new ones; the old ones go on.
    GiveUp,
    /// Nothing.
    Wait,
}

/// Who says when the next step is due.
enum Lead {
    /// This supervisor, which waits for so many processes on other machines.
    Own { others: usize, waiting: usize, missing: Option<Instant> },
    /// That of process 0.
    Other,
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
    lead: Lead,
    /// The job is to have fewer machines, and those that leave wait for a checkpoint of the others.
    pub leaves_some: bool,
    /// How often the old ones made a checkpoint for the new ones.
    saves: u32,
    desk: ScaleDesk,
}

impl Handover {
    /// The new processes were started; so many more are on other machines.
    pub fn new(layout: Layout, children: Vec<WorkerProcess>, round: u64, others: usize, desk: ScaleDesk) -> Handover {
        let loaded = vec![None; children.len()];
        let (step, since, handed_us) = (Step::Loading, Instant::now(), None);
        let layout = Some(layout);
        let lead = Lead::Own { others, waiting: 0, missing: None };
        let (is_running, leaves_some, saves) = (false, false, 0);
        Handover { layout, children, round, step, is_running, since, loaded, handed_us, lead, leaves_some, saves, desk }
    }

    /// As the supervisor of process 0 has said.
    pub fn led(layout: Layout, children: Vec<WorkerProcess>, round: u64) -> Handover {
        // Nobody asks this one how far it has come.
        Handover { lead: Lead::Other, ..Handover::new(layout, children, round, 0, ScaleDesk::default()) }
    }

    /// Whether this supervisor leads.
    pub fn leads(&self) -> bool {
        matches!(self.lead, Lead::Own { .. })
    }

    /// Whether nothing has ended yet for the new processes.
    pub fn can_be_given_up(&self) -> bool {
        matches!(self.step, Step::Loading | Step::Saving | Step::Following(_))
    }

    fn goes_to(&mut self, step: Step) {
        (self.step, self.since) = (step, Instant::now());
    }

    /// A process that runs the job said something.
    pub fn old_said(&mut self, child: usize, report: &WorkerReport) {
        match (report, self.step) {
            (WorkerReport::Saved(batch), Step::Saving) if child == 0 => self.goes_to(Step::Following(*batch)),
            (WorkerReport::Handed(begun_us), _) if child == 0 => {
                self.handed_us = Some(*begun_us).filter(|begun_us| *begun_us > 0);
                if !self.leads() {
                    self.goes_to(Step::Ending);
                }
            }
            _ => {}
        }
    }

    /// A new process said something.
    pub fn new_said(&mut self, child: usize, report: &WorkerReport) {
        self.children.iter_mut().skip(child).take(1).for_each(|child| child.said(report));
        if let (WorkerReport::Waiting(count), Lead::Own { waiting, .. }) = (report, &mut self.lead) {
            *waiting = *count;
        }
        if let (WorkerReport::Loaded(batch), Some(loaded)) = (report, self.loaded.get_mut(child)) {
            *loaded = Some(*batch);
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

    /// Why the handover cannot go on, where processes on other machines do not come, or have gone.
    pub fn misses_others(&mut self) -> Option<String> {
        let (has_loaded, can_be_given_up) = (self.loaded_by_all().is_some(), self.can_be_given_up());
        let Lead::Own { others, waiting, missing } = &mut self.lead else { return None };
        if *waiting >= *others || !has_loaded || !can_be_given_up {
            *missing = None;
            return None;
        }
        let since = *missing.get_or_insert_with(Instant::now);
        (since.elapsed() >= MISSING_MAX).then(|| {
            format!(
                "of {others} processes on other machines {waiting} are ready; start those that are new with `millstream run --hosts … \
                 --process NUMBER --stand-by`, and see what the others say"
            )
        })
    }

    fn all_there(&self) -> bool {
        match self.lead {
            Lead::Own { others, waiting, .. } => waiting >= others,
            Lead::Other => false,
        }
    }

    /// What is to be done now.
    pub fn next(&mut self) -> HandoverStep {
        if !self.all_there() {
            return HandoverStep::Wait;
        }
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
        self.children.iter().for_each(|child| child.order(&WorkerOrder::TakeOver));
        std::mem::take(&mut self.children)
    }

    /// Whether the new ones take too long.
    pub fn is_late(&self) -> bool {
        self.leads() && self.step == Step::TakingOver && !self.is_running && self.since.elapsed() >= TAKE_OVER_MAX
    }

    /// What became of the new ones where another supervisor leads and they did not come to run the job: they are started again, and hear from
    /// process 0 which ones are to run.
    pub fn next_layout(&mut self) -> Option<Layout> {
        if self.leads() { None } else { self.layout.take() }
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
