//! What a supervisor does about a handover: of its own, or of that of process 0 where there is one on each of several machines.

use super::child::WorkerProcess;
use super::decide::{self, WorkerEnd};
use super::handover::steps::{AfterEnd, HandoverStep, HandoverSteps};
use super::handover::{Handover, ScaleWish};
use super::layout::Layout;
use super::report::{WorkerOrder, WorkerReport};
use super::{ChildStart, Supervisor, all_done};
use millstream_base::error::{Error, Result};
use millstream_runtime::control::ScaleStep;
use millstream_runtime::{HandoverWord, JobLayout};

impl Supervisor<'_> {
    /// Process 0 runs the job on other machines than the children here were started with.
    pub(super) fn goes_to(&mut self, machines: &JobLayout) {
        match self.layout.on(machines, self.arguments) {
            Ok(Some(layout)) => {
                tracing::info!("process 0 runs the job on {}; this process goes there", machines.hosts.join(", "));
                self.layout = layout;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!("{error}"),
        }
    }

    /// Ends what is left of a handover, as the children that were watched have ended: why as many are to be started again as there were
    /// before, where the new ones failed.
    pub(super) fn without_handover(&mut self, ends: &[WorkerEnd]) -> Option<String> {
        let (all_done, stopping) = (all_done(ends), self.stopping || self.late());
        let mut handover = self.handover.take();
        let handed = std::mem::take(&mut self.handed);
        let after = HandoverSteps::after_end(handover.as_ref().map(Handover::steps), all_done, handed);
        let failed = || format!("of the new processes, {}", decide::in_words(ends));
        let why = match (after, &mut handover) {
            (AfterEnd::TheNew, Some(handover)) => {
                if let Some(layout) = handover.next_layout() {
                    self.layout = layout;
                }
                return (!stopping).then(|| format!("{}; starting them again", failed()));
            }
            (AfterEnd::TheOld, Some(handover)) if handover.is_taking_over() => {
                handover.has_not_taken_over(&failed());
                failed()
            }
            (AfterEnd::TheOld | AfterEnd::TheNew, _) => {
                "the processes that were to take the job over have failed".to_owned()
            }
            (AfterEnd::AsTheyWere, handover) => {
                let why = match handover {
                    Some(handover) if handover.is_running() => {
                        "the new processes took over the job and failed before their first batch; they are restarted"
                            .into()
                    }
                    _ if all_done => "the job has ended meanwhile".into(),
                    _ => format!("{}; the job restarts unchanged", decide::in_words(ends)),
                };
                handover.iter_mut().for_each(|handover| handover.give_up(&why));
                return None;
            }
        };
        (!stopping).then(|| format!("{why}; starting the previous number of processes from the last checkpoint"))
    }

    /// Somebody wants other workers.
    pub(super) fn scale(&mut self, wish: ScaleWish, children: &[WorkerProcess]) {
        let failed = |why: String| ScaleStep::Failed(why);
        if self.stopping || self.handover.is_some() {
            return self.desk.tell(failed("the job is about to end".into()));
        }
        let (layout, machines) = match self.scaled(wish) {
            Ok(scaled) => scaled,
            Err(error) => return self.desk.tell(failed(error.message)),
        };
        match self.start_beside(&layout) {
            Ok((new, round)) => {
                tracing::info!("starting new processes to take over the job");
                let others = machines.as_ref().map_or(0, |machines| machines.hosts.len().saturating_sub(1));
                let mut handover = Handover::new(layout, new, round, others, self.desk.clone());
                if let Some(machines) = machines {
                    handover.leaves_some = self.layout.hosts.iter().any(|host| machines.place_of(host).is_none());
                    let prepare = WorkerOrder::Tell(HandoverWord::Prepare(machines));
                    children.iter().for_each(|child| child.order(&prepare));
                }
                self.handover = Some(handover);
            }
            Err(error) => self.desk.tell(failed(format!("{}; the job continues unchanged", error.message))),
        }
    }

    /// The processes that are wanted; and the machines, where there is a supervisor on each.
    fn scaled(&self, wish: ScaleWish) -> Result<(Layout, Option<JobLayout>)> {
        let ScaleWish { workers, processes, hosts } = wish;
        let Some(number) = self.arguments.number() else {
            if !hosts.is_empty() {
                return Err(Error::job(
                    "all processes of this job are on this machine, and their supervisor cannot start processes on other machines; stop it \
                     (`millstream stop`) and start a process on each machine with --hosts and --process; it resumes from its checkpoint",
                ));
            }
            return Ok((self.layout.scaled(workers, processes)?, None));
        };
        if processes.is_some() {
            return Err(Error::job(
                "the processes of this job were started one by one; name their addresses with --hosts",
            ));
        }
        let machines = self.layout.machines(number, workers, hosts)?;
        let layout = self.layout.on(&machines, self.arguments)?;
        layout.map(|layout| (layout, Some(machines))).ok_or_else(|| Error::bug("process 0 is on none of the machines"))
    }

    /// Starts processes that stand by beside those that run.
    fn start_beside(&mut self, layout: &Layout) -> Result<(Vec<WorkerProcess>, u64)> {
        let (before, next) = (self.round, self.new_round());
        self.round = next;
        let started = self.start(layout, ChildStart::TakesOver);
        self.round = before;
        Ok((started?, next))
    }

    /// The supervisor on another machine said something of a handover.
    fn heard(&mut self, word: HandoverWord, children: &[WorkerProcess]) {
        match word {
            HandoverWord::Prepare(machines) => {
                if let Some(mut before) = self.handover.take() {
                    before.give_up("another one was begun");
                }
                match self.prepare(&machines) {
                    Ok(handover) => self.handover = handover,
                    Err(error) => {
                        let failed = WorkerOrder::Tell(HandoverWord::Failed(error.message));
                        children.iter().for_each(|child| child.order(&failed));
                    }
                }
            }
            HandoverWord::GiveUp(ref why) | HandoverWord::Failed(ref why) => {
                self.give_up_if(why, children, |handover| handover.ends_at(&word));
            }
            // A process does that by itself.
            HandoverWord::HandOver => {}
        }
    }

    /// Begins a handover that another supervisor leads; `None`: the job leaves this machine.
    fn prepare(&mut self, machines: &JobLayout) -> Result<Option<Handover>> {
        let first = |hosts: &[String]| hosts.first().cloned();
        if self.arguments.number().is_none_or(|number| number == 0)
            || first(&machines.hosts) != first(&self.layout.hosts)
        {
            return Err(Error::job("the machine of process 0 is another one here"));
        }
        let Some(layout) = self.layout.on(machines, self.arguments)? else {
            tracing::info!("the job will continue without this machine ({})", machines.hosts.join(", "));
            return Ok(None);
        };
        let (new, round) = self.start_beside(&layout)?;
        tracing::info!("another process is started, which is to take the job over on {}", machines.hosts.join(", "));
        Ok(Some(Handover::led(layout, new, round)))
    }

    /// Ends a handover of which this holds; where this supervisor leads, it tells the others.
    fn give_up_if(&mut self, why: &str, children: &[WorkerProcess], holds: impl Fn(&Handover) -> bool) {
        if let Some(mut handover) = self.handover.take_if(|handover| holds(handover)) {
            tracing::warn!("the job continues unchanged: {why}");
            handover.give_up(&format!("{why}; the job continues unchanged"));
            if !handover.leads() {
                return;
            }
            let give_up = WorkerOrder::Tell(HandoverWord::GiveUp(why.to_owned()));
            children.iter().filter(|_| self.layout.hosts.len() > 1).for_each(|child| child.order(&give_up));
        }
    }

    /// A process that runs the job, or was told to take it over, said something that a handover is about.
    pub(super) fn said(&mut self, child: usize, report: WorkerReport, children: &[WorkerProcess]) {
        match report {
            WorkerReport::Heard(word) => self.heard(word, children),
            WorkerReport::Elsewhere(machines) => self.elsewhere = Some(machines),
            report => {
                self.handed |= matches!(report, WorkerReport::Handed(_));
                self.handover_said(child, &report, children);
            }
        }
    }

    fn handover_said(&mut self, child: usize, report: &WorkerReport, children: &[WorkerProcess]) {
        let Some(handover) = &mut self.handover else { return };
        if !handover.is_taking_over() {
            handover.old_said(child, report);
            return self.paused(report, children);
        }
        match report {
            WorkerReport::Running if child == 0 => {
                if let Some(layout) = handover.runs() {
                    self.layout = layout;
                }
                if handover.leaves_some {
                    children.iter().for_each(|child| child.order(&WorkerOrder::Save));
                }
            }
            WorkerReport::Begins(at_us) if child == 0 => {
                tracing::info!("{}", handover.begins(*at_us));
                self.handover = None;
            }
            _ => {}
        }
    }

    /// A process that stands by said something.
    pub(super) fn new_said(&mut self, round: u64, child: usize, report: &WorkerReport, children: &[WorkerProcess]) {
        if let Some(handover) = self.handover.as_mut().filter(|handover| handover.round == round) {
            handover.new_said(child, report);
            self.paused(report, children);
        }
    }

    /// Where a process waits for room on a disk, those that stand by may be who takes it, and would wait for this one in turn.
    fn paused(&mut self, report: &WorkerReport, children: &[WorkerProcess]) {
        let are_there = self.handover.as_ref().is_some_and(|handover| !handover.children.is_empty());
        if let (WorkerReport::Paused(why), true) = (report, are_there) {
            self.new_failed(format!("a process waits: {why}"), children);
        }
    }

    /// A process that stands by has closed its end.
    pub(super) fn new_closed(&mut self, round: u64, child: usize, children: &[WorkerProcess]) {
        let Some(handover) = self.handover.as_mut().filter(|handover| handover.round == round) else { return };
        let Some(ended) = handover.children.get_mut(child) else { return };
        let why = decide::in_words(&[WorkerEnd { child, how: ended.wait() }]);
        self.new_failed(format!("of the new processes, {why}"), children);
    }

    /// The processes that stand by cannot take the job over.
    fn new_failed(&mut self, why: String, children: &[WorkerProcess]) {
        let Some(handover) = &mut self.handover else { return };
        tracing::warn!("{why}");
        let leads = handover.leads();
        if handover.new_ended(&why) {
            self.handover = None;
            let word = if leads {
                HandoverWord::GiveUp(why)
            } else {
                HandoverWord::Failed(format!("of process {}: {why}", self.arguments.number().unwrap_or(0)))
            };
            let word = WorkerOrder::Tell(word);
            children
                .iter()
                .filter(|_| self.layout.hosts.len() > 1 && self.arguments.number().is_some())
                .for_each(|child| child.order(&word));
        }
    }

    /// Takes the next step of a handover that is due.
    pub(super) fn follow_handover(&mut self, children: &mut [WorkerProcess]) {
        if let Some(why) = self.handover.as_mut().and_then(Handover::misses_others) {
            self.give_up_if(&why, children, Handover::can_be_given_up);
        }
        let Some(handover) = &mut self.handover else { return };
        // Those that are just started again would hear nothing of it.
        let step = if children.iter().all(WorkerProcess::is_running) { handover.next() } else { HandoverStep::Wait };
        match step {
            HandoverStep::Save => children.iter().for_each(|child| child.order(&WorkerOrder::Save)),
            HandoverStep::HandOver => children.iter().for_each(|child| child.order(&WorkerOrder::HandOver)),
            HandoverStep::Wait => {}
        }
        if handover.is_late() {
            children.iter_mut().for_each(WorkerProcess::kill);
        }
    }
}
