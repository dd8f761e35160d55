//! A job that is rescaled on two machines, in every possible order of events. Whoever dies during it, in the end the job runs on
//! both machines, and no process waits for a job that others have.
//!
//! The decisions are the program's own, `handover_steps`. The model is of the world around them, `cli/supervise` and `run`: a
//! supervisor on each machine, of which that of machine 0 leads; the process that each watches; and the standby process next to
//! it.
//!
//! **Processes.** The process of machine 1 meets that of machine 0 if both were started for the same workers. If not, it receives
//! the current workers and exits. Then both run until one has exited; the other is notified of that at any later moment. A
//! supervisor's orders go through its process, one after the other. Messages between supervisors go from process to process while
//! both run. Undelivered messages are lost when one of them exits.
//!
//! **Failures.** Processes die at any [`KILLS`] moments, running processes as well as standby processes. Everything that takes
//! long may take so long that the waiting side gives up. Supervisors live; the other models have restarted supervisors.

use millstream::ids::BatchId;
use millstream::internals::handover_steps::{AfterEnd, FOLLOW_MAX, HandoverStep, HandoverSteps, SAVE_MAX};
use millstream::run::{HandoverMessage, JobLayout};
use stateright::{Model, Property};
use std::time::Duration;

const MACHINES: usize = 2;
const KILLS: u8 = 3;
/// How often a client requests rescaling.
const WISHES: u8 = 2;
/// More checkpoints than this change nothing for standby processes.
const SAVED_MAX: u8 = 2;
/// How often a machine starts a process at most: at the beginning; for each request, when the new processes take over and when
/// they fail to; and after a kill twice, as processes of two layouts may meet before one receives the other's.
const STARTS_MAX: u8 = 1 + 2 * WISHES + 2 * KILLS;

/// The protocol, with at most one rule broken.
pub struct Handovers {
    pub bug: Option<HandoverBug>,
}

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandoverBug {
    /// A supervisor whose new process failed takes the good end of the old one for that of the job.
    EndsWithOld,
    /// The leader does not report that it gave up.
    GivesUpInSilence,
    /// A process with other workers than the current ones is not told so.
    StaysElsewhere,
}

impl HandoverBug {
    pub const ALL: [HandoverBug; 3] =
        [HandoverBug::EndsWithOld, HandoverBug::GivesUpInSilence, HandoverBug::StaysElsewhere];
}

/// The workers that a process was started for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Workers {
    #[default]
    Old,
    New,
}

/// The process that a supervisor watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Process {
    /// It looks for the process on the other machine.
    Starts(Workers),
    Runs(Workers),
    /// It has handed over its job; the supervisor has not received that.
    Hands,
    /// The supervisor has.
    Handed,
    /// It has exited, successfully or not.
    Ended {
        well: bool,
    },
}

/// A message on its way from a supervisor through its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Order {
    Save,
    HandOver,
    Prepare,
    GiveUp,
    Failed,
}

impl Order {
    /// The message that the other supervisor receives.
    fn keyword(self) -> HandoverMessage {
        match self {
            Order::GiveUp => HandoverMessage::GiveUp(String::new()),
            Order::Failed => HandoverMessage::Failed(String::new()),
            Order::Prepare => HandoverMessage::Prepare(JobLayout { workers: None, hosts: Vec::new() }),
            Order::Save | Order::HandOver => HandoverMessage::HandOver,
        }
    }
}

/// A standby process: the checkpoint that it has loaded, 0 for none.
type Standby = Option<u8>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Machine {
    process: Process,
    /// The workers with which the supervisor restarts it.
    layout: Workers,
    /// It reported that it has handed over its job.
    has_handed: bool,
    orders: Vec<Order>,
    handover: Option<HandoverSteps>,
    stand_by: Standby,
    /// The supervisor takes the job for done.
    is_gone: bool,
    starts: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cluster {
    machines: [Machine; MACHINES],
    /// The newest checkpoint that standby processes can load.
    saved: u8,
    kills: u8,
    wishes: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Happens {
    /// The processes of both machines meet.
    Meet,
    /// A client requests rescaling.
    Wish,
    /// An order reaches the process.
    Obeys(usize),
    /// A standby process has loaded the newest checkpoint.
    Loads(usize),
    /// The leader is notified whether the other standby process is ready.
    HearsOfOther,
    /// The leading supervisor checks, this long after the last step.
    Looks(Duration),
    /// It has waited too long for the other machine, or for the processes that take over.
    IsLate,
    /// The process reports that it has handed over its job.
    SaysHanded(usize),
    /// The process exits after that.
    Ends(usize),
    /// The process is notified that the other one has exited.
    HearsOfEnd(usize),
    /// The supervisor sees to what has ended.
    Follows(usize),
    /// The first batch of the processes that took over.
    Begins(usize),
    Kill(usize),
    KillsStandBy(usize),
}

impl Cluster {
    fn runs(&self, workers: Workers) -> bool {
        self.machines.iter().all(|machine| machine.process == Process::Runs(workers))
    }

    /// The job runs, and nothing is waited for.
    fn is_at_rest(&self) -> bool {
        let rests = |machine: &Machine| machine.handover.is_none() && machine.stand_by.is_none();
        (self.runs(Workers::Old) || self.runs(Workers::New)) && self.machines.iter().all(rests)
    }

    fn is_running(&self, number: usize) -> bool {
        matches!(self.machines[number].process, Process::Runs(_))
    }

    fn end(&mut self, number: usize, well: bool) {
        let machine = &mut self.machines[number];
        machine.process = Process::Ended { well };
        machine.orders.clear();
    }

    fn start(&mut self, number: usize, workers: Workers) {
        let machine = &mut self.machines[number];
        (machine.process, machine.layout) = (Process::Starts(workers), workers);
        machine.starts += 1;
    }

    /// A supervisor sends an order, which only a running process receives.
    fn order(&mut self, number: usize, order: Order) {
        if self.is_running(number) {
            self.machines[number].orders.push(order);
        }
    }

    /// A supervisor ends its handover.
    fn give_up(&mut self, number: usize) {
        (self.machines[number].handover, self.machines[number].stand_by) = (None, None);
    }
}

impl Handovers {
    /// The leading supervisor cancels the handover and reports that.
    fn gives_up(&self, cluster: &mut Cluster) {
        cluster.give_up(0);
        if self.bug != Some(HandoverBug::GivesUpInSilence) {
            cluster.order(0, Order::GiveUp);
        }
    }

    /// A supervisor receives a message of the other one, or of its own process.
    fn hears(&self, cluster: &mut Cluster, number: usize, order: Order) {
        if order == Order::Prepare {
            cluster.give_up(number);
            cluster.machines[number].handover = Some(HandoverSteps::following(1));
            cluster.machines[number].stand_by = Some(0);
            return;
        }
        let ends =
            cluster.machines[number].handover.as_ref().is_some_and(|handover| handover.ends_at(&order.keyword()));
        match (ends, number) {
            (true, 0) => self.gives_up(cluster),
            (true, _) => cluster.give_up(number),
            (false, _) => {}
        }
    }

    fn obeys(&self, cluster: &mut Cluster, number: usize) {
        let order = cluster.machines[number].orders.remove(0);
        let hears = cluster.is_running(1 - number);
        match order {
            Order::Save => {
                cluster.saved = SAVED_MAX.min(cluster.saved + 1);
                let saved = BatchId(cluster.saved.into());
                cluster.machines[number].handover.iter_mut().for_each(|handover| handover.saved(0, saved));
            }
            Order::HandOver if hears => {
                cluster.machines.iter_mut().for_each(|machine| machine.process = Process::Hands);
            }
            // The job continues.
            Order::HandOver => self.hears(cluster, number, Order::GiveUp),
            Order::Prepare | Order::GiveUp | Order::Failed if hears => self.hears(cluster, 1 - number, order),
            Order::Prepare | Order::GiveUp | Order::Failed => self.hears(cluster, number, Order::Failed),
        }
    }

    /// A supervisor sees to the end of its process.
    fn follows(&self, cluster: &mut Cluster, number: usize, well: bool) {
        let machine = &mut cluster.machines[number];
        if well && machine.handover.as_mut().is_some_and(HandoverSteps::take_over) {
            (machine.stand_by, machine.has_handed) = (None, false);
            // Until it runs, it is restarted as before.
            (machine.process, machine.starts) = (Process::Starts(Workers::New), machine.starts + 1);
            return;
        }
        let handed = std::mem::take(&mut machine.has_handed) && self.bug != Some(HandoverBug::EndsWithOld);
        let after = HandoverSteps::after_end(machine.handover.as_ref(), well, handed);
        let layout = machine.layout;
        cluster.give_up(number);
        match after {
            AfterEnd::TheNew => cluster.start(number, Workers::New),
            AfterEnd::TheOld => cluster.start(number, layout),
            AfterEnd::AsTheyWere if well => cluster.machines[number].is_gone = true,
            AfterEnd::AsTheyWere => cluster.start(number, layout),
        }
    }
}

impl Model for Handovers {
    type State = Cluster;
    type Action = Happens;

    fn init_states(&self) -> Vec<Cluster> {
        let machine = Machine {
            process: Process::Starts(Workers::Old),
            layout: Workers::Old,
            has_handed: false,
            orders: Vec::new(),
            handover: None,
            stand_by: None,
            is_gone: false,
            starts: 1,
        };
        vec![Cluster { machines: [machine.clone(), machine], saved: 1, kills: 0, wishes: 0 }]
    }

    fn actions(&self, cluster: &Cluster, actions: &mut Vec<Happens>) {
        let leader = &cluster.machines[0];
        let starts = |machine: &Machine| matches!(machine.process, Process::Starts(_));
        if cluster.machines.iter().all(starts) {
            actions.push(Happens::Meet);
        }
        let is_old = leader.layout == Workers::Old && leader.process == Process::Runs(Workers::Old);
        if is_old && leader.handover.is_none() && cluster.wishes < WISHES {
            actions.push(Happens::Wish);
        }
        if leader.process == Process::Runs(Workers::Old)
            && let Some(handover) = &leader.handover
        {
            let again = (cluster.saved < SAVED_MAX).then_some(FOLLOW_MAX);
            let waits = [Some(Duration::ZERO), again, Some(SAVE_MAX).filter(|_| again.is_none())];
            actions.extend(waits.into_iter().flatten().map(Happens::Looks));
            actions.extend(handover.misses_others().map(|_| Happens::IsLate));
        }
        if leader.handover.as_ref().is_some_and(|handover| handover.is_taking_over() && !handover.is_running())
            && starts(leader)
        {
            actions.push(Happens::IsLate);
        }
        if leader.stand_by.is_some() {
            actions.push(Happens::HearsOfOther);
        }
        for (number, machine) in cluster.machines.iter().enumerate().filter(|(_, machine)| !machine.is_gone) {
            let may_die = cluster.kills < KILLS;
            match machine.process {
                Process::Runs(workers) => {
                    actions.extend((!machine.orders.is_empty()).then_some(Happens::Obeys(number)));
                    let is_lost = !matches!(cluster.machines[1 - number].process, Process::Runs(_));
                    actions.extend(is_lost.then_some(Happens::HearsOfEnd(number)));
                    let begins = workers == Workers::New && machine.handover.is_some() && !is_lost;
                    actions.extend(begins.then_some(Happens::Begins(number)));
                }
                Process::Hands => actions.push(Happens::SaysHanded(number)),
                Process::Handed => actions.push(Happens::Ends(number)),
                Process::Ended { .. } => actions.push(Happens::Follows(number)),
                Process::Starts(_) => {}
            }
            let lives = !matches!(machine.process, Process::Ended { .. });
            actions.extend((may_die && lives).then_some(Happens::Kill(number)));
            if let Some(loaded) = machine.stand_by {
                actions.extend((loaded < cluster.saved).then_some(Happens::Loads(number)));
                actions.extend(may_die.then_some(Happens::KillsStandBy(number)));
            }
        }
    }

    fn next_state(&self, last: &Cluster, action: Happens) -> Option<Cluster> {
        let mut cluster = last.clone();
        match action {
            Happens::Meet => {
                let (Process::Starts(first), Process::Starts(second)) =
                    (cluster.machines[0].process, cluster.machines[1].process)
                else {
                    return None;
                };
                if first != second {
                    if self.bug == Some(HandoverBug::StaysElsewhere) {
                        return None;
                    }
                    // It is notified where the job runs before anything is decided about its end.
                    cluster.end(1, false);
                    cluster.machines[1].layout = first;
                    return Some(cluster);
                }
                for machine in &mut cluster.machines {
                    machine.process = Process::Runs(first);
                    if let Some(handover) = machine.handover.as_mut().filter(|handover| handover.is_taking_over()) {
                        handover.runs();
                        machine.layout = first;
                    }
                }
            }
            Happens::Wish => {
                cluster.wishes += 1;
                cluster.machines[0].handover = Some(HandoverSteps::leading(1, 1));
                cluster.machines[0].stand_by = Some(0);
                cluster.order(0, Order::Prepare);
            }
            Happens::Obeys(number) => self.obeys(&mut cluster, number),
            Happens::Loads(number) => {
                let saved = cluster.saved;
                let machine = &mut cluster.machines[number];
                machine.stand_by = Some(saved);
                machine.handover.iter_mut().for_each(|handover| handover.has_loaded(0, BatchId(saved.into())));
            }
            Happens::HearsOfOther => {
                let ready = usize::from(cluster.machines[1].stand_by.is_some_and(|loaded| loaded > 0));
                cluster.machines[0].handover.iter_mut().for_each(|handover| handover.waits(ready));
            }
            Happens::Looks(since) => match cluster.machines[0].handover.as_mut()?.next(since) {
                HandoverStep::Save => cluster.order(0, Order::Save),
                HandoverStep::HandOver => cluster.order(0, Order::HandOver),
                HandoverStep::Wait => return None,
            },
            Happens::IsLate => match cluster.machines[0].process {
                Process::Starts(_) => cluster.end(0, false),
                _ => self.gives_up(&mut cluster),
            },
            Happens::SaysHanded(number) => {
                let machine = &mut cluster.machines[number];
                (machine.process, machine.has_handed) = (Process::Handed, true);
                machine.handover.iter_mut().for_each(|handover| handover.handed(0));
            }
            Happens::Ends(number) => cluster.end(number, true),
            Happens::HearsOfEnd(number) => cluster.end(number, false),
            Happens::Follows(number) => {
                let Process::Ended { well } = cluster.machines[number].process else { return None };
                self.follows(&mut cluster, number, well);
            }
            Happens::Begins(number) => cluster.machines[number].handover = None,
            Happens::Kill(number) => {
                cluster.kills += 1;
                cluster.end(number, false);
            }
            Happens::KillsStandBy(number) => {
                cluster.kills += 1;
                cluster.machines[number].stand_by = None;
                if cluster.machines[number].handover.as_mut()?.new_ended() {
                    cluster.machines[number].handover = None;
                    cluster.order(number, [Order::GiveUp, Order::Failed][number]);
                }
            }
        }
        (cluster != *last).then_some(cluster)
    }

    fn properties(&self) -> Vec<Property<Handovers>> {
        vec![
            Property::always("no supervisor takes the job for done", |_, cluster: &Cluster| {
                cluster.machines.iter().all(|machine| !machine.is_gone)
            }),
            Property::always(
                "in the end the job runs, and nobody stands by",
                |model: &Handovers, cluster: &Cluster| {
                    let mut actions = Vec::new();
                    model.actions(cluster, &mut actions);
                    let is_fault = |action: &Happens| {
                        matches!(action, Happens::Kill(_) | Happens::KillsStandBy(_) | Happens::Wish)
                    };
                    let goes_on =
                        actions.iter().any(|action| !is_fault(action) && model.next_state(cluster, *action).is_some());
                    cluster.is_at_rest() || goes_on
                },
            ),
            Property::always("nobody starts again and again", |_, cluster: &Cluster| {
                cluster.machines.iter().all(|machine| machine.starts <= STARTS_MAX)
            }),
            Property::sometimes("the new ones run after all kills", |_, cluster: &Cluster| {
                cluster.kills == KILLS && cluster.is_at_rest() && cluster.runs(Workers::New)
            }),
            Property::sometimes("the old ones run when all wishes have come to nothing", |_, cluster: &Cluster| {
                cluster.wishes == WISHES && cluster.is_at_rest() && cluster.runs(Workers::Old)
            }),
        ]
    }

    fn within_boundary(&self, cluster: &Cluster) -> bool {
        cluster.machines.iter().all(|machine| machine.starts <= STARTS_MAX + 1)
    }
}
