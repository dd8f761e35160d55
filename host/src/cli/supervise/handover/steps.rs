//! The decisions of a supervisor during a handover of the job to other processes. They are separate from processes and
//! clocks, so a test can try all orders of events.

use millstream_base::ids::BatchId;
use millstream_runtime::HandoverMessage;
use std::time::Duration;

/// How long the supervisor waits for the checkpoint before the last one. That checkpoint only shortens the pause.
pub const SAVE_MAX: Duration = Duration::from_secs(60);
/// If the new processes take longer than this to load a checkpoint, the old ones make another one.
pub const FOLLOW_MAX: Duration = Duration::from_secs(1);
/// Maximum number of checkpoints that the old processes make for the new ones.
const SAVES_MAX: u32 = 6;

/// The progress of a handover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The new processes load the newest checkpoint.
    Loading,
    /// The old processes make another checkpoint.
    Saving,
    /// The new processes load that checkpoint, which is after this batch.
    Following(BatchId),
    /// The old processes were ordered to end.
    Ending,
    /// The new processes were ordered to take over.
    TakingOver,
    /// A new process failed after the old ones were ordered to end. The same number of processes is restarted.
    Failed,
}

/// The next action of the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandoverStep {
    /// Order the old processes to make a checkpoint.
    Save,
    /// Order the old processes to end as for a stop, since other processes take the job over.
    HandOver,
    /// Do nothing.
    Wait,
}

/// What to start after the processes of a supervisor have exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AfterEnd {
    /// Decided by their exits, as without a handover.
    AsTheyWere,
    /// The old layout, however the processes exited: the new ones did not start to run the job here.
    TheOld,
    /// The new layout. Process 0 reports to it which processes run the job.
    TheNew,
}

/// Who decides when the next step is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum StepLeader {
    /// This supervisor. It waits for `others` processes on other machines.
    Own { others: usize, waiting: usize },
    /// The supervisor of process 0.
    Other,
}

/// The progress of a handover as known to the supervisor of one machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HandoverSteps {
    step: Step,
    /// For each new process on this machine: the checkpoint that it has loaded.
    loaded: Vec<Option<BatchId>>,
    lead: StepLeader,
    saves: u32,
    is_running: bool,
}

impl HandoverSteps {
    /// Creates the steps of the supervisor that leads. `children` new processes were started on this machine, and
    /// `others` are on other machines.
    pub fn leading(children: usize, others: usize) -> HandoverSteps {
        HandoverSteps::new(children, StepLeader::Own { others, waiting: 0 })
    }

    /// Creates the steps of a supervisor that follows the supervisor of process 0.
    pub fn following(children: usize) -> HandoverSteps {
        HandoverSteps::new(children, StepLeader::Other)
    }

    fn new(children: usize, lead: StepLeader) -> HandoverSteps {
        HandoverSteps { step: Step::Loading, loaded: vec![None; children], lead, saves: 0, is_running: false }
    }

    /// Returns the current step.
    pub fn step(&self) -> Step {
        self.step
    }

    /// Returns whether this supervisor leads.
    pub fn leads(&self) -> bool {
        matches!(self.lead, StepLeader::Own { .. })
    }

    /// Returns whether the handover can still be canceled: nothing has been ended for the new processes.
    pub fn can_cancel(&self) -> bool {
        matches!(self.step, Step::Loading | Step::Saving | Step::Following(_))
    }

    /// Records that the checkpoint requested from an old process exists.
    pub fn saved(&mut self, child: usize, batch: BatchId) {
        if child == 0 && self.step == Step::Saving {
            self.step = Step::Following(batch);
        }
    }

    /// Records that an old process is about to end for the new ones.
    pub fn handed(&mut self, child: usize) {
        if child == 0 && !self.leads() && self.can_cancel() {
            self.step = Step::Ending;
        }
    }

    /// Records that a new process has loaded the checkpoint after this batch.
    pub fn has_loaded(&mut self, child: usize, batch: BatchId) {
        self.loaded.iter_mut().skip(child).take(1).for_each(|loaded| *loaded = Some(batch));
    }

    /// Records that `count` of the processes on other machines are ready.
    pub fn waits(&mut self, count: usize) {
        if let StepLeader::Own { waiting, .. } = &mut self.lead {
            *waiting = count;
        }
    }

    /// Returns the oldest checkpoint that a new process of this machine has loaded, once each has loaded one.
    pub fn loaded_by_all(&self) -> Option<BatchId> {
        let loaded = self.loaded.iter().copied().collect::<Option<Vec<BatchId>>>()?;
        loaded.into_iter().min()
    }

    /// Records that a new process has exited before it was to take over. Returns whether the handover is canceled and
    /// the old processes continue.
    pub fn new_ended(&mut self) -> bool {
        let is_given_up = self.can_cancel();
        if !is_given_up {
            self.step = Step::Failed;
        }
        is_given_up
    }

    /// Returns how many processes are on other machines and how many of them are ready, if only these are missing.
    pub fn misses_others(&self) -> Option<(usize, usize)> {
        let StepLeader::Own { others, waiting } = self.lead else { return None };
        let is_due = waiting < others && self.loaded_by_all().is_some() && self.can_cancel();
        is_due.then_some((others, waiting))
    }

    /// Returns whether the handover ends when another supervisor, or a process that runs the job, sends this message.
    pub fn ends_at(&self, message: &HandoverMessage) -> bool {
        match (message, self.leads()) {
            // The leader's own process sends this if others were not notified that the job is about to end. The job
            // then continues.
            (HandoverMessage::GiveUp(_), true) => !matches!(self.step, Step::TakingOver | Step::Failed),
            (HandoverMessage::GiveUp(_), false) | (HandoverMessage::Failed(_), true) => self.can_cancel(),
            (HandoverMessage::Failed(_), false) | (HandoverMessage::Prepare(_) | HandoverMessage::HandOver, _) => false,
        }
    }

    /// Returns the next action, given the time since the last step.
    pub fn next(&mut self, since: Duration) -> HandoverStep {
        let are_others_ready = matches!(self.lead, StepLeader::Own { others, waiting } if waiting >= others);
        if !are_others_ready {
            return HandoverStep::Wait;
        }
        match self.step {
            Step::Loading if self.loaded_by_all().is_some() => self.save(),
            Step::Following(batch) if self.loaded_by_all().is_some_and(|loaded| loaded >= batch) => {
                // Since then more keys have changed. They take less time to load than the current checkpoint.
                match since >= FOLLOW_MAX && self.saves < SAVES_MAX {
                    true => self.save(),
                    false => self.end_old(),
                }
            }
            Step::Saving if since >= SAVE_MAX => self.end_old(),
            _ => HandoverStep::Wait,
        }
    }

    fn save(&mut self) -> HandoverStep {
        self.saves += 1;
        self.step = Step::Saving;
        HandoverStep::Save
    }

    fn end_old(&mut self) -> HandoverStep {
        self.step = Step::Ending;
        HandoverStep::HandOver
    }

    /// Records that the old processes of this machine have all ended successfully. Returns whether the new ones are to
    /// take over.
    pub fn take_over(&mut self) -> bool {
        let takes_over = self.step == Step::Ending;
        if takes_over {
            self.step = Step::TakingOver;
        }
        takes_over
    }

    /// Returns whether the new processes were ordered to take the job over.
    pub fn is_taking_over(&self) -> bool {
        self.step == Step::TakingOver
    }

    /// Records that the new processes run the job.
    pub fn runs(&mut self) {
        self.is_running = true;
    }

    /// Returns whether the new processes run the job.
    pub fn is_running(&self) -> bool {
        self.is_running
    }

    /// Returns what to start after all processes of a supervisor have exited. `all_done`: all succeeded. `handed`: they
    /// ended for a handover. This can be true even if the handover was canceled here, when the leading supervisor was
    /// notified of that too late.
    pub fn after_end(handover: Option<&HandoverSteps>, all_done: bool, handed: bool) -> AfterEnd {
        let Some(handover) = handover else {
            return if all_done && handed { AfterEnd::TheOld } else { AfterEnd::AsTheyWere };
        };
        match handover.step {
            _ if handover.is_running => AfterEnd::AsTheyWere,
            Step::Failed if all_done => AfterEnd::TheOld,
            Step::TakingOver if handover.leads() => AfterEnd::TheOld,
            Step::TakingOver => AfterEnd::TheNew,
            _ => AfterEnd::AsTheyWere,
        }
    }
}
