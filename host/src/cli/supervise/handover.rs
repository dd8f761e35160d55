//! The handover of a job from the processes that run it to others with more or fewer workers.
//!
//! The new processes start next to the old ones and load the newest checkpoint. Then the old ones make another
//! checkpoint, so that the last one differs little. When the new processes have loaded that as well, the old ones
//! process the input that they have received, make the last checkpoint, and end. After all of them have exited, the new
//! processes take the job over like any start. If a new process fails earlier, the old ones continue. If the old ones
//! are about to end or have exited, the same number of processes is restarted.
//!
//! With several machines, each has a supervisor, and that of process 0 *leads*. The others start a standby process when
//! notified, and let it take over after their own process has ended for it. Process 0 alone decides which of both sets
//! runs: a process that connects with other machines receives the current ones.

pub mod steps;

use super::child::WorkerProcess;
use super::layout::Layout;
use super::report::{WorkerOrder, WorkerReport};
use millstream_runtime::HandoverMessage;
use millstream_runtime::control::{ScaleQuestion, ScaleResponse, ScaleStatus, ScaleStep};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use steps::{HandoverStep, HandoverSteps};

/// How long the new processes may take to run the job once they may take it over. They wait for unreachable servers.
const TAKE_OVER_MAX: Duration = Duration::from_secs(60);
/// How long the processes on other machines may be missing after process 0 has loaded the checkpoint.
const MISSING_MAX: Duration = Duration::from_secs(30);

/// A request for other workers. `None` keeps a value.
pub struct ScaleRequest {
    /// Workers per process.
    pub workers: Option<usize>,
    /// Number of processes on this machine.
    pub processes: Option<usize>,
    /// Alternatively, the machines, with one process on each.
    pub hosts: Vec<String>,
}

/// Status of the current rescaling, shared with control clients. Cheap to clone.
#[derive(Clone, Default)]
pub struct ScaleDesk(Arc<Mutex<DeskState>>);

#[derive(Default)]
struct DeskState {
    /// The status of the last request.
    status: Option<ScaleStatus>,
    /// Whether the job runs, so that a request is carried out immediately.
    runs: bool,
}

impl ScaleDesk {
    /// Answers a control request. Calls `begin` if a rescaling is to start.
    pub fn handle(&self, question: ScaleQuestion, begin: impl FnOnce(ScaleRequest)) -> ScaleResponse {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (question, &state.status) {
            (ScaleQuestion::Scale { .. }, Some(status)) if !status.step.is_over() => {
                ScaleResponse::Refused("rescaling is already in progress; wait until it has ended".into())
            }
            (ScaleQuestion::Scale { workers, processes, hosts }, last) => {
                // The process ID makes the number unique: no client can wait for the same number from an earlier
                // supervisor.
                let first = u64::from(std::process::id()) << 32;
                let id = last.as_ref().map_or(first, |last| last.id.saturating_add(1));
                let step = if state.runs { ScaleStep::Loading } else { ScaleStep::Waiting };
                let status = ScaleStatus { id, step };
                state.status = Some(status.clone());
                drop(state);
                begin(ScaleRequest { workers, processes, hosts });
                ScaleResponse::Scaling(status)
            }
            (ScaleQuestion::Scaling { id }, Some(status)) if status.id == id => ScaleResponse::Scaling(status.clone()),
            (ScaleQuestion::Scaling { .. }, _) => ScaleResponse::Unknown,
        }
    }

    /// Sets the step of the current request.
    pub fn set_step(&self, step: ScaleStep) {
        if let Some(status) = &mut self.0.lock().unwrap_or_else(PoisonError::into_inner).status {
            status.step = step;
        }
    }

    /// Sets whether the job runs.
    pub fn set_runs(&self, runs: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).runs = runs;
    }
}

/// A handover in progress.
pub struct Handover {
    /// The layout of the new processes.
    layout: Option<Layout>,
    /// The new processes. Empty once they run the job.
    pub children: Vec<WorkerProcess>,
    /// Identifies the new processes in events.
    pub round: u64,
    steps: HandoverSteps,
    since: Instant,
    /// Since when only processes on other machines are missing.
    missing: Option<Instant>,
    handed_us: Option<i64>,
    /// Whether the job is to have fewer machines, and the leaving ones wait for a checkpoint of the others.
    pub leaves_some: bool,
    desk: ScaleDesk,
}

impl Handover {
    /// Creates the handover that this supervisor leads. `children` were started; `others` more are on other machines.
    pub fn new(layout: Layout, children: Vec<WorkerProcess>, round: u64, others: usize, desk: ScaleDesk) -> Handover {
        let steps = HandoverSteps::leading(children.len(), others);
        Handover::with(steps, layout, children, round, desk)
    }

    /// Creates a handover that is led by the supervisor of process 0.
    pub fn following(layout: Layout, children: Vec<WorkerProcess>, round: u64) -> Handover {
        let steps = HandoverSteps::following(children.len());
        // This supervisor is not queried for the status.
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

    /// Returns whether this supervisor leads.
    pub fn leads(&self) -> bool {
        self.steps.leads()
    }

    /// Returns whether the handover can still be canceled: nothing has been ended for the new processes.
    pub fn can_cancel(&self) -> bool {
        self.steps.can_cancel()
    }

    /// Returns whether the handover ends when another supervisor, or a process that runs the job, sends this message.
    pub fn ends_at(&self, message: &HandoverMessage) -> bool {
        self.steps.ends_at(message)
    }

    /// Makes a decision, and updates the time of the last step if the step changes.
    fn decide<T>(&mut self, decision: impl FnOnce(&mut HandoverSteps) -> T) -> T {
        let before = self.steps.step();
        let decided = decision(&mut self.steps);
        if self.steps.step() != before {
            self.since = Instant::now();
        }
        decided
    }

    /// Handles a report of a process that runs the job.
    pub fn handle_old_report(&mut self, child: usize, report: &WorkerReport) {
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

    /// Handles a report of a new process.
    pub fn handle_new_report(&mut self, child: usize, report: &WorkerReport) {
        self.children.iter_mut().skip(child).take(1).for_each(|child| child.handle_report(report));
        match report {
            WorkerReport::Waiting(count) => self.steps.waits(*count),
            WorkerReport::Loaded(batch) => {
                self.steps.has_loaded(child, *batch);
                if let Some(batch) = self.steps.loaded_by_all().filter(|_| self.can_cancel()) {
                    self.desk.set_step(ScaleStep::Following { batch });
                }
            }
            _ => {}
        }
    }

    /// Handles the exit of a new process before it was to take over. Returns whether the handover is canceled and the
    /// old processes continue.
    pub fn new_ended(&mut self, why: &str) -> bool {
        self.end_children();
        let is_given_up = self.decide(HandoverSteps::new_ended);
        let outcome = if is_given_up { "the job continues unchanged" } else { "the job restarts unchanged" };
        self.desk.set_step(ScaleStep::Failed(format!("{why}; {outcome}")));
        is_given_up
    }

    /// Cancels the handover because the job has ended, or is about to, for another reason.
    pub fn give_up(&mut self, why: &str) {
        self.end_children();
        self.desk.set_step(ScaleStep::Failed(why.to_owned()));
    }

    fn end_children(&mut self) {
        for child in &mut self.children {
            child.kill();
            child.wait();
        }
        self.children.clear();
    }

    /// Returns why the handover cannot continue if processes on other machines do not arrive, or have exited.
    pub fn misses_others(&mut self) -> Option<String> {
        let Some((others, ready)) = self.steps.misses_others() else {
            self.missing = None;
            return None;
        };
        let since = *self.missing.get_or_insert_with(Instant::now);
        (since.elapsed() >= MISSING_MAX).then(|| {
            format!(
                "{ready} of {others} processes on other machines are ready; start the new ones with `millstream run \
                 --hosts … --process NUMBER --stand-by`, and check the logs of the processes"
            )
        })
    }

    /// Returns the next action.
    pub fn next(&mut self) -> HandoverStep {
        let since = self.since.elapsed();
        let step = self.decide(|steps| steps.next(since));
        if step == HandoverStep::HandOver {
            self.desk.set_step(ScaleStep::Ending);
        }
        step
    }

    /// Records that the new processes run the job. Returns their layout on the first call.
    pub fn runs(&mut self) -> Option<Layout> {
        self.steps.runs();
        self.layout.take()
    }

    /// Returns whether the new processes were ordered to take the job over.
    pub fn is_taking_over(&self) -> bool {
        self.steps.is_taking_over()
    }

    /// Returns the new processes, which are ordered to take the job over. The old ones have exited and handed it over.
    /// Empty if they failed.
    pub fn take_over(&mut self) -> Vec<WorkerProcess> {
        if !self.decide(HandoverSteps::take_over) {
            return Vec::new();
        }
        self.desk.set_step(ScaleStep::TakingOver);
        self.children.iter().for_each(|child| child.order(&WorkerOrder::TakeOver));
        std::mem::take(&mut self.children)
    }

    /// Returns whether the new processes take too long.
    pub fn is_late(&self) -> bool {
        let waits = self.leads() && self.is_taking_over() && !self.steps.is_running();
        waits && self.since.elapsed() >= TAKE_OVER_MAX
    }

    /// Returns the decisions made so far.
    pub fn steps(&self) -> &HandoverSteps {
        &self.steps
    }

    /// Returns the layout of the new processes, unless they are known to run.
    pub fn next_layout(&mut self) -> Option<Layout> {
        self.layout.take()
    }

    /// Returns whether the new processes run the job.
    pub fn is_running(&self) -> bool {
        self.steps.is_running()
    }

    /// Reports that the new processes were to take the job over, but did not run it.
    pub fn report_handover_failure(&self, why: &str) {
        self.desk.set_step(ScaleStep::Failed(format!("{why}; the job restarts unchanged")));
    }

    /// Records that batches begin again. Returns a message about the pause.
    pub fn begins(&self, at_us: i64) -> String {
        let pause_us = self.handed_us.map(|handed_us| at_us.saturating_sub(handed_us));
        self.desk.set_step(ScaleStep::Done { pause_us });
        let pause =
            pause_us.map_or_else(String::new, |us| format!("; pause between batches: {:.2} s", us as f64 / 1e6));
        format!("the job has new workers{pause}")
    }
}
