//! What a supervisor decides on the way of a job to other processes: apart from these and from clocks, so that a test can try all orders
//! in which things can happen.

use millstream_base::ids::BatchId;
use millstream_runtime::HandoverWord;
use std::time::Duration;

/// How long the checkpoint before the last is waited for. It only makes the pause shorter.
pub const SAVE_MAX: Duration = Duration::from_secs(60);
/// Where the new processes take longer to load a checkpoint, the old ones make another one, this often at most.
pub const FOLLOWED_WITHIN: Duration = Duration::from_secs(1);
/// How often the old processes make a checkpoint for the new ones.
const SAVES_MAX: u32 = 6;

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandoverStep {
    /// Tells the old processes to make a checkpoint.
    Save,
    /// Tells them to end as the job does when it is stopped, since others take it over.
    HandOver,
    /// Nothing.
    Wait,
}

/// What is started when the processes that a supervisor watched have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AfterEnd {
    /// Their end says it, as where there is no handover.
    AsTheyWere,
    /// As many again as there were, however they ended: the new ones did not come to run the job here.
    TheOld,
    /// The new ones again, which hear from process 0 who is to run.
    TheNew,
}

/// Who says when the next step is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum StepLeader {
    /// This supervisor, which waits for so many processes on other machines.
    Own { others: usize, waiting: usize },
    /// That of process 0.
    Other,
}

/// How far a handover has come, as the supervisor of one machine knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HandoverSteps {
    step: Step,
    /// The checkpoint that each new process on this machine has loaded.
    loaded: Vec<Option<BatchId>>,
    lead: StepLeader,
    saves: u32,
    is_running: bool,
}

impl HandoverSteps {
    /// So many new processes were started on this machine, whose supervisor leads, and so many are on other machines.
    pub fn leading(children: usize, others: usize) -> HandoverSteps {
        HandoverSteps::new(children, StepLeader::Own { others, waiting: 0 })
    }

    /// As the supervisor of process 0 has said.
    pub fn led(children: usize) -> HandoverSteps {
        HandoverSteps::new(children, StepLeader::Other)
    }

    fn new(children: usize, lead: StepLeader) -> HandoverSteps {
        HandoverSteps { step: Step::Loading, loaded: vec![None; children], lead, saves: 0, is_running: false }
    }

    /// How far it has come.
    pub fn step(&self) -> Step {
        self.step
    }

    /// Whether this supervisor leads.
    pub fn leads(&self) -> bool {
        matches!(self.lead, StepLeader::Own { .. })
    }

    /// Whether nothing has ended yet for the new processes.
    pub fn can_be_given_up(&self) -> bool {
        matches!(self.step, Step::Loading | Step::Saving | Step::Following(_))
    }

    /// The checkpoint that an old process was asked for is there.
    pub fn saved(&mut self, child: usize, batch: BatchId) {
        if child == 0 && self.step == Step::Saving {
            self.step = Step::Following(batch);
        }
    }

    /// An old process is about to have ended for the new ones.
    pub fn handed(&mut self, child: usize) {
        if child == 0 && !self.leads() && self.can_be_given_up() {
            self.step = Step::Ending;
        }
    }

    /// A new process has loaded the checkpoint after this batch.
    pub fn has_loaded(&mut self, child: usize, batch: BatchId) {
        self.loaded.iter_mut().skip(child).take(1).for_each(|loaded| *loaded = Some(batch));
    }

    /// So many of the processes on other machines are ready.
    pub fn waits(&mut self, count: usize) {
        if let StepLeader::Own { waiting, .. } = &mut self.lead {
            *waiting = count;
        }
    }

    /// The oldest checkpoint that a new process of this machine has loaded, once each has loaded one.
    pub fn loaded_by_all(&self) -> Option<BatchId> {
        let loaded = self.loaded.iter().copied().collect::<Option<Vec<BatchId>>>()?;
        loaded.into_iter().min()
    }

    /// A new process has ended, before it was to take the job over: whether the new ones are given up, and the old ones go on.
    pub fn new_ended(&mut self) -> bool {
        let is_given_up = self.can_be_given_up();
        if !is_given_up {
            self.step = Step::Failed;
        }
        is_given_up
    }

    /// Of how many processes on other machines how many are ready, where nothing but these is missing.
    pub fn misses_others(&self) -> Option<(usize, usize)> {
        let StepLeader::Own { others, waiting } = self.lead else { return None };
        let is_due = waiting < others && self.loaded_by_all().is_some() && self.can_be_given_up();
        is_due.then_some((others, waiting))
    }

    /// Whether it ends where another supervisor, or a process that runs the job, says this.
    pub fn ends_at(&self, word: &HandoverWord) -> bool {
        match (word, self.leads()) {
            // Its own process says so where others did not hear that the job is about to end, so that it goes on.
            (HandoverWord::GiveUp(_), true) => !matches!(self.step, Step::TakingOver | Step::Failed),
            (HandoverWord::GiveUp(_), false) | (HandoverWord::Failed(_), true) => self.can_be_given_up(),
            (HandoverWord::Failed(_), false) | (HandoverWord::Prepare(_) | HandoverWord::HandOver, _) => false,
        }
    }

    /// What is to be done now, so long after the last step.
    pub fn next(&mut self, since: Duration) -> HandoverStep {
        let are_others_ready = matches!(self.lead, StepLeader::Own { others, waiting } if waiting >= others);
        if !are_others_ready {
            return HandoverStep::Wait;
        }
        match self.step {
            Step::Loading if self.loaded_by_all().is_some() => self.save(),
            Step::Following(batch) if self.loaded_by_all().is_some_and(|loaded| loaded >= batch) => {
                // Meanwhile more has changed, which takes less time to load than what is loaded now.
                match since >= FOLLOWED_WITHIN && self.saves < SAVES_MAX {
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

    /// The old processes of this machine have all ended well: whether the new ones are to take the job over.
    pub fn take_over(&mut self) -> bool {
        let takes_over = self.step == Step::Ending;
        if takes_over {
            self.step = Step::TakingOver;
        }
        takes_over
    }

    /// Whether the new processes were told to take the job over.
    pub fn is_taking_over(&self) -> bool {
        self.step == Step::TakingOver
    }

    /// The new processes run the job.
    pub fn runs(&mut self) {
        self.is_running = true;
    }

    /// Whether the new processes run the job.
    pub fn is_running(&self) -> bool {
        self.is_running
    }

    /// What is started, as all processes that a supervisor watched have ended: all well, or not. `handed`: they ended for others that take
    /// the job over, even where the handover was given up here, and the supervisor that leads heard of that too late.
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
