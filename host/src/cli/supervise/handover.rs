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

pub mod steps;

use super::child::WorkerProcess;
use super::layout::Layout;
use super::report::{WorkerOrder, WorkerReport};
use millstream_runtime::HandoverWord;
use millstream_runtime::control::{ScaleAnswer, ScaleQuestion, ScaleStatus, ScaleStep};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use steps::{HandoverStep, HandoverSteps};

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
pub struct ScaleDesk(Arc<Mutex<DeskState>>);

#[derive(Default)]
struct DeskState {
    /// Of the last request.
    status: Option<ScaleStatus>,
    /// The job runs, so that a request is carried out at once.
    runs: bool,
}

impl ScaleDesk {
    /// Answers a question; `begin` is called with what is wanted where it is to be begun.
    pub fn answer(&self, question: ScaleQuestion, begin: impl FnOnce(ScaleWish)) -> ScaleAnswer {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (question, &held.status) {
            (ScaleQuestion::Scale { .. }, Some(status)) if !status.step.is_over() => {
                ScaleAnswer::Refused("rescaling is already in progress; wait until it has ended".into())
            }
            (ScaleQuestion::Scale { workers, processes, hosts }, last) => {
                // No other supervisor of the job has given it to anybody who still waits.
                let first = u64::from(std::process::id()) << 32;
                let id = last.as_ref().map_or(first, |last| last.id.saturating_add(1));
                let step = if held.runs { ScaleStep::Loading } else { ScaleStep::Waiting };
                let status = ScaleStatus { id, step };
                held.status = Some(status.clone());
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
        if let Some(status) = &mut self.0.lock().unwrap_or_else(PoisonError::into_inner).status {
            status.step = step;
        }
    }

    /// Whether the job runs.
    pub fn set_runs(&self, runs: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).runs = runs;
    }
}

/// A job on its way.
pub struct Handover {
    /// Of the new processes.
    layout: Option<Layout>,
    /// The new processes; none once they run the job.
    pub children: Vec<WorkerProcess>,
    /// By which what they say is known.
    pub round: u64,
    steps: HandoverSteps,
    since: Instant,
    /// Since when processes on other machines are all that is missing.
    missing: Option<Instant>,
    handed_us: Option<i64>,
    /// The job is to have fewer machines, and those that leave wait for a checkpoint of the others.
    pub leaves_some: bool,
    desk: ScaleDesk,
}

impl Handover {
    /// The new processes were started; so many more are on other machines.
    pub fn new(layout: Layout, children: Vec<WorkerProcess>, round: u64, others: usize, desk: ScaleDesk) -> Handover {
        let steps = HandoverSteps::leading(children.len(), others);
        Handover::with(steps, layout, children, round, desk)
    }

    /// As the supervisor of process 0 has said.
    pub fn led(layout: Layout, children: Vec<WorkerProcess>, round: u64) -> Handover {
        let steps = HandoverSteps::led(children.len());
        // Nobody asks this one how far it has come.
        Handover::with(steps, layout, children, round, ScaleDesk::default())
    }

    fn with(
        steps: HandoverSteps,
        layout: Layout,
        children: Vec<WorkerProcess>,
        round: u64,
        desk: ScaleDesk,
    ) -> Handover {
        let (layout, since) = (Some(layout), Instant::now());
        Handover { layout, children, round, steps, since, missing: None, handed_us: None, leaves_some: false, desk }
    }

    /// Whether this supervisor leads.
    pub fn leads(&self) -> bool {
        self.steps.leads()
    }

    /// Whether nothing has ended yet for the new processes.
    pub fn can_be_given_up(&self) -> bool {
        self.steps.can_be_given_up()
    }

    /// Whether it ends where another supervisor, or a process that runs the job, says this.
    pub fn ends_at(&self, word: &HandoverWord) -> bool {
        self.steps.ends_at(word)
    }

    /// Decides something; the time of the last step is that of the change.
    fn decide<T>(&mut self, decision: impl FnOnce(&mut HandoverSteps) -> T) -> T {
        let before = self.steps.step();
        let decided = decision(&mut self.steps);
        if self.steps.step() != before {
            self.since = Instant::now();
        }
        decided
    }

    /// A process that runs the job said something.
    pub fn old_said(&mut self, child: usize, report: &WorkerReport) {
        match report {
            WorkerReport::Saved(batch) => self.decide(|steps| steps.saved(child, *batch)),
            WorkerReport::Handed(begun_us) => {
                if child == 0 {
                    self.handed_us = Some(*begun_us).filter(|begun_us| *begun_us > 0);
                }
                self.decide(|steps| steps.handed(child));
            }
            _ => {}
        }
    }

    /// A new process said something.
    pub fn new_said(&mut self, child: usize, report: &WorkerReport) {
        self.children.iter_mut().skip(child).take(1).for_each(|child| child.said(report));
        match report {
            WorkerReport::Waiting(count) => self.steps.waits(*count),
            WorkerReport::Loaded(batch) => {
                self.steps.has_loaded(child, *batch);
                if let Some(batch) = self.steps.loaded_by_all().filter(|_| self.can_be_given_up()) {
                    self.desk.tell(ScaleStep::Following { batch });
                }
            }
            _ => {}
        }
    }

    /// A new process has ended, before it was to take the job over: whether the new ones are given up, and the old ones go on.
    pub fn new_ended(&mut self, why: &str) -> bool {
        self.end_children();
        let is_given_up = self.decide(HandoverSteps::new_ended);
        let words = if is_given_up { "the job continues unchanged" } else { "the job restarts unchanged" };
        self.desk.tell(ScaleStep::Failed(format!("{why}; {words}")));
        is_given_up
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
        let Some((others, ready)) = self.steps.misses_others() else {
            self.missing = None;
            return None;
        };
        let since = *self.missing.get_or_insert_with(Instant::now);
        (since.elapsed() >= MISSING_MAX).then(|| {
            format!(
                "of {others} processes on other machines, {ready} are ready; start the new ones with `millstream run --hosts … \
                 --process NUMBER --stand-by`, and check the logs of the others"
            )
        })
    }

    /// What is to be done now.
    pub fn next(&mut self) -> HandoverStep {
        let since = self.since.elapsed();
        let step = self.decide(|steps| steps.next(since));
        if step == HandoverStep::HandOver {
            self.desk.tell(ScaleStep::Ending);
        }
        step
    }

    /// The new processes run the job: how they are laid out, once.
    pub fn runs(&mut self) -> Option<Layout> {
        self.steps.runs();
        self.layout.take()
    }

    /// Whether the new processes were told to take the job over.
    pub fn is_taking_over(&self) -> bool {
        self.steps.is_taking_over()
    }

    /// The old processes are gone, and have handed the job over: the new ones, which are told to take it. None where they failed.
    pub fn take_over(&mut self) -> Vec<WorkerProcess> {
        if !self.decide(HandoverSteps::take_over) {
            return Vec::new();
        }
        self.desk.tell(ScaleStep::TakingOver);
        self.children.iter().for_each(|child| child.order(&WorkerOrder::TakeOver));
        std::mem::take(&mut self.children)
    }

    /// Whether the new ones take too long.
    pub fn is_late(&self) -> bool {
        let waits = self.leads() && self.is_taking_over() && !self.steps.is_running();
        waits && self.since.elapsed() >= TAKE_OVER_MAX
    }

    /// What was decided up to now.
    pub fn steps(&self) -> &HandoverSteps {
        &self.steps
    }

    /// How the new processes were laid out, where they are not known to run.
    pub fn next_layout(&mut self) -> Option<Layout> {
        self.layout.take()
    }

    /// Whether the new processes run the job.
    pub fn is_running(&self) -> bool {
        self.steps.is_running()
    }

    /// The new ones were to take the job over, and did not come to run it.
    pub fn has_not_taken_over(&self, why: &str) {
        self.desk.tell(ScaleStep::Failed(format!("{why}; the job restarts unchanged")));
    }

    /// Batches begin again: in words.
    pub fn begins(&self, at_us: i64) -> String {
        let pause_us = self.handed_us.map(|handed_us| at_us.saturating_sub(handed_us));
        self.desk.tell(ScaleStep::Done { pause_us });
        let pause =
            pause_us.map_or_else(String::new, |us| format!("; pause between batches: {:.2} s", us as f64 / 1e6));
        format!("the job has new workers{pause}")
    }
}
