//! How a supervisor handles a handover: its own, or that of process 0 if each machine has a supervisor.

use super::child::WorkerProcess;
use super::decide::{self, WorkerEnd};
use super::handover::steps::{AfterEnd, HandoverStep, HandoverSteps};
use super::handover::{Handover, ScaleRequest};
use super::layout::Layout;
use super::report::{WorkerOrder, WorkerReport};
use super::{ChildStart, Supervisor, all_succeeded};
use millstream_base::error::{Error, Result};
use millstream_runtime::control::ScaleStep;
use millstream_runtime::{HandoverMessage, JobLayout};

impl Supervisor<'_> {
    /// Moves to the machines on which process 0 runs the job, which differ from those the children were started with.
    pub(super) fn move_to(&mut self, machines: &JobLayout) {
        match self.layout.on(machines, self.arguments) {
            Ok(Some(layout)) => {
                tracing::info!("process 0 runs the job on {}; this process moves there", machines.hosts.join(", "));
                self.layout = layout;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!("{error}"),
        }
    }

    /// Cleans up a handover after the watched children have exited. If the new processes failed, returns why the
    /// previous ones are to be restarted.
    pub(super) fn without_handover(&mut self, ends: &[WorkerEnd]) -> Option<String> {
        let (all_succeeded, stopping) = (all_succeeded(ends), self.stopping || self.is_timed_out());
        let mut handover = self.handover.take();
        let handed = std::mem::take(&mut self.handed);
        let after = HandoverSteps::after_end(handover.as_ref().map(Handover::steps), all_succeeded, handed);
        let failed = || format!("of the new processes, {}", decide::describe_failure(ends));
        let why = match (after, &mut handover) {
            (AfterEnd::TheNew, Some(handover)) => {
                if let Some(layout) = handover.next_layout() {
                    self.layout = layout;
                }
                return (!stopping).then(|| format!("{}; restarting them", failed()));
            }
            (AfterEnd::TheOld, Some(handover)) if handover.is_taking_over() => {
                handover.report_handover_failure(&failed());
                failed()
            }
            (AfterEnd::TheOld | AfterEnd::TheNew, _) => {
                "the processes that should take over the job have failed".to_owned()
            }
            (AfterEnd::AsTheyWere, handover) => {
                let why = match handover {
                    Some(handover) if handover.is_running() => {
                        "the new processes took over the job and failed before their first batch; they are restarted"
                            .into()
                    }
                    _ if all_succeeded => "the job has ended meanwhile".into(),
                    _ => format!("{}; the job restarts unchanged", decide::describe_failure(ends)),
                };
                handover.iter_mut().for_each(|handover| handover.give_up(&why));
                return None;
            }
        };
        (!stopping).then(|| format!("{why}; starting the previous number of processes from the last checkpoint"))
    }

    /// Begins a handover to the requested workers, or reports why that is not possible.
    pub(super) fn scale(&mut self, request: ScaleRequest, children: &[WorkerProcess]) {
        let failed = |why: String| ScaleStep::Failed(why);
        if self.stopping || self.handover.is_some() {
            return self.desk.set_step(failed("the job is about to end".into()));
        }
        let (layout, machines) = match self.requested_layout(request) {
            Ok(scaled) => scaled,
            Err(error) => return self.desk.set_step(failed(error.message)),
        };
        match self.start_standby(&layout) {
            Ok((new, round)) => {
                tracing::info!("starting new processes to take over the job");
                let others = machines.as_ref().map_or(0, |machines| machines.hosts.len().saturating_sub(1));
                let mut handover = Handover::new(layout, new, round, others, self.desk.clone());
                if let Some(machines) = machines {
                    handover.leaves_some = self.layout.hosts.iter().any(|host| machines.index_of_host(host).is_none());
                    let prepare = WorkerOrder::Message(HandoverMessage::Prepare(machines));
                    children.iter().for_each(|child| child.order(&prepare));
                }
                self.handover = Some(handover);
            }
            Err(error) => self.desk.set_step(failed(format!("{}; the job continues unchanged", error.message))),
        }
    }

    /// Returns the requested layout, and the machines if each has a supervisor.
    fn requested_layout(&self, request: ScaleRequest) -> Result<(Layout, Option<JobLayout>)> {
        let ScaleRequest { workers, processes, hosts } = request;
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

    /// Starts standby processes in addition to those that run.
    fn start_standby(&mut self, layout: &Layout) -> Result<(Vec<WorkerProcess>, u64)> {
        let (before, next) = (self.round, self.new_round());
        self.round = next;
        let started = self.start(layout, ChildStart::TakesOver);
        self.round = before;
        Ok((started?, next))
    }

    /// Handles a message of the supervisor on another machine.
    fn handle_message(&mut self, message: HandoverMessage, children: &[WorkerProcess]) {
        match message {
            HandoverMessage::Prepare(machines) => {
                if let Some(mut before) = self.handover.take() {
                    before.give_up("another one was started");
                }
                match self.prepare(&machines) {
                    Ok(handover) => self.handover = handover,
                    Err(error) => {
                        let failed = WorkerOrder::Message(HandoverMessage::Failed(error.message));
                        children.iter().for_each(|child| child.order(&failed));
                    }
                }
            }
            HandoverMessage::GiveUp(ref why) | HandoverMessage::Failed(ref why) => {
                self.give_up_if(why, children, |handover| handover.ends_at(&message));
            }
            // A process handles this message without its supervisor.
            HandoverMessage::HandOver => {}
        }
    }

    /// Begins a handover led by another supervisor. Returns `None` if the job leaves this machine.
    fn prepare(&mut self, machines: &JobLayout) -> Result<Option<Handover>> {
        let first = |hosts: &[String]| hosts.first().cloned();
        if self.arguments.number().is_none_or(|number| number == 0)
            || first(&machines.hosts) != first(&self.layout.hosts)
        {
            return Err(Error::job("process 0 has another machine here"));
        }
        let Some(layout) = self.layout.on(machines, self.arguments)? else {
            tracing::info!("the job will continue without this machine ({})", machines.hosts.join(", "));
            return Ok(None);
        };
        let (new, round) = self.start_standby(&layout)?;
        tracing::info!("starting another process to take over the job on {}", machines.hosts.join(", "));
        Ok(Some(Handover::following(layout, new, round)))
    }

    /// Cancels the handover if the condition holds for it. If this supervisor leads, it notifies the others.
    fn give_up_if(&mut self, why: &str, children: &[WorkerProcess], holds: impl Fn(&Handover) -> bool) {
        if let Some(mut handover) = self.handover.take_if(|handover| holds(handover)) {
            tracing::warn!("the job continues unchanged: {why}");
            handover.give_up(&format!("{why}; the job continues unchanged"));
            if !handover.leads() {
                return;
            }
            let give_up = WorkerOrder::Message(HandoverMessage::GiveUp(why.to_owned()));
            children.iter().filter(|_| self.layout.hosts.len() > 1).for_each(|child| child.order(&give_up));
        }
    }

    /// Handles a report of a process that runs the job, or was ordered to take it over.
    pub(super) fn handle_report(&mut self, child: usize, report: WorkerReport, children: &[WorkerProcess]) {
        match report {
            WorkerReport::Received(message) => self.handle_message(message, children),
            WorkerReport::Elsewhere(machines) => self.elsewhere = Some(machines),
            report => {
                self.handed |= matches!(report, WorkerReport::Handed(_));
                self.pass_to_handover(child, &report, children);
            }
        }
    }

    fn pass_to_handover(&mut self, child: usize, report: &WorkerReport, children: &[WorkerProcess]) {
        let Some(handover) = &mut self.handover else { return };
        if !handover.is_taking_over() {
            handover.handle_old_report(child, report);
            return self.handle_pause(report, children);
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

    /// Handles a report of a standby process.
    pub(super) fn handle_new_report(
        &mut self,
        round: u64,
        child: usize,
        report: &WorkerReport,
        children: &[WorkerProcess],
    ) {
        if let Some(handover) = self.handover.as_mut().filter(|handover| handover.round == round) {
            handover.handle_new_report(child, report);
            self.handle_pause(report, children);
        }
    }

    /// If a process waits for disk space, the standby processes may occupy that space. They would wait for this process
    /// in turn, so the handover is canceled.
    fn handle_pause(&mut self, report: &WorkerReport, children: &[WorkerProcess]) {
        let has_standby = self.handover.as_ref().is_some_and(|handover| !handover.children.is_empty());
        if let (WorkerReport::Paused(why), true) = (report, has_standby) {
            self.new_failed(format!("a process waits: {why}"), children);
        }
    }

    /// Handles a standby process that has closed its end.
    pub(super) fn new_closed(&mut self, round: u64, child: usize, children: &[WorkerProcess]) {
        let Some(handover) = self.handover.as_mut().filter(|handover| handover.round == round) else { return };
        let Some(ended) = handover.children.get_mut(child) else { return };
        let why = decide::describe_failure(&[WorkerEnd { child, how: ended.wait() }]);
        self.new_failed(format!("of the new processes, {why}"), children);
    }

    /// Ends the handover because the standby processes cannot take the job over.
    fn new_failed(&mut self, why: String, children: &[WorkerProcess]) {
        let Some(handover) = &mut self.handover else { return };
        tracing::warn!("{why}");
        let leads = handover.leads();
        if handover.new_ended(&why) {
            self.handover = None;
            let message = if leads {
                HandoverMessage::GiveUp(why)
            } else {
                HandoverMessage::Failed(format!("of process {}: {why}", self.arguments.number().unwrap_or(0)))
            };
            let message = WorkerOrder::Message(message);
            children
                .iter()
                .filter(|_| self.layout.hosts.len() > 1 && self.arguments.number().is_some())
                .for_each(|child| child.order(&message));
        }
    }

    /// Takes the next step of a handover if it is due.
    pub(super) fn follow_handover(&mut self, children: &mut [WorkerProcess]) {
        if let Some(why) = self.handover.as_mut().and_then(Handover::misses_others) {
            self.give_up_if(&why, children, Handover::can_cancel);
        }
        let Some(handover) = &mut self.handover else { return };
        // Processes that have just restarted would not receive an order.
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
