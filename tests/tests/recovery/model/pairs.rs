//! Processes that find each other, die and restart, in every possible order of events. Processes of two starts never run
//! together, and in the end all run.
//!
//! The decision is the program's own, [`Generation::meets`]. The model is of `run/connect`: a process connects to those before
//! it, one after the other, and waits for those after it. Process 0 claims a generation when it begins, and each accepted process
//! receives it. The connections between two processes are one here.
//!
//! **Failures.** Processes are killed at any two moments. The others are notified immediately, as of any process that exits. Or
//! the machine died, and nothing closes the connections: then each of the others is notified at any later moment. A process that
//! loses one it needs restarts; one that still waits for others frees the index.
//!
//! **Bounds.** An immediate notification comes before any other event: it takes a packet, and a restart takes a process. (If
//! every end could be notified late, restarting processes could follow each other indefinitely: each would run with one that is
//! already over.)

use millstream::ids::{Generation, GenerationMeeting};
use stateright::{Model, Property};

const PROCESSES: usize = 3;
const KILLS: u8 = 3;
/// Each kill makes any process begin at most twice: because of it, and because it had met a process of the previous start.
const BEGINS_MAX: u8 = 1 + 2 * KILLS;

/// The protocol, with at most one rule broken.
pub struct Pairs {
    pub bug: Option<PairBug>,
}

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairBug {
    /// A process of any start is accepted.
    NoGeneration,
    /// A lost process keeps its index.
    NoPlace,
}

impl PairBug {
    pub const ALL: [PairBug; 2] = [PairBug::NoGeneration, PairBug::NoPlace];
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Phase {
    /// It is dead, and its machine restarts it.
    #[default]
    Down,
    /// It connects to those before it.
    Connects,
    /// It waits for those after it.
    Waits,
    Runs,
}

/// A process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Process {
    /// How often it has begun.
    begun: u8,
    phase: Phase,
    /// 0: not received yet.
    generation: u8,
    /// For each other process, the start of it that this one is connected to.
    links: [Option<u8>; PROCESSES],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Machines {
    claimed: u8,
    kills: u8,
    processes: [Process; PROCESSES],
    /// Which process, by how often it had begun, each kill took without a word.
    silent: [Option<(u8, u8)>; KILLS as usize],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Happens {
    Begins(usize),
    /// It connects to the first process that it has no connection with.
    Calls(usize),
    /// All processes that it waited for are there.
    Goes(usize),
    /// It is notified that its connection with another one is dead.
    Hears(usize, usize),
    /// Whether its machine closes its connections.
    Kill(usize, bool),
}

impl Machines {
    /// Whether a connection is alive at both ends.
    fn is_alive(&self, one: usize, other: usize) -> bool {
        let (a, b) = (&self.processes[one], &self.processes[other]);
        a.links[other] == Some(b.begun) && b.links[one] == Some(a.begun) && b.phase != Phase::Down
    }

    /// Whether a process has a dead connection, and whether it is notified of that immediately.
    fn dead(&self, one: usize, other: usize) -> Option<bool> {
        let begun = self.processes[one].links[other]?;
        let silent = self.silent.contains(&Some((other as u8, begun)));
        (!self.is_alive(one, other)).then_some(!silent)
    }

    /// All run, and with each other.
    fn is_complete(&self) -> bool {
        let all = || 0..PROCESSES;
        all().all(|one| self.processes[one].phase == Phase::Runs)
            && all().all(|one| all().all(|other| one == other || self.is_alive(one, other)))
    }

    fn end(&mut self, process: usize) {
        self.processes[process] = Process { begun: self.processes[process].begun, ..Process::default() };
    }
}

impl Pairs {
    fn meets(&self, own: u8, other: u8) -> GenerationMeeting {
        match self.bug {
            Some(PairBug::NoGeneration) => GenerationMeeting::Same,
            _ => Generation(own.into()).meets(Generation(other.into())),
        }
    }
}

/// The earlier processes that a process is not connected to.
fn missing(process: &Process, before: std::ops::Range<usize>) -> Option<usize> {
    before.into_iter().find(|other| process.links[*other].is_none())
}

impl Model for Pairs {
    type State = Machines;
    type Action = Happens;

    fn init_states(&self) -> Vec<Machines> {
        vec![Machines::default()]
    }

    fn actions(&self, world: &Machines, actions: &mut Vec<Happens>) {
        let all = || (0..PROCESSES).flat_map(|one| (0..PROCESSES).map(move |other| (one, other)));
        let hears = |at_once: bool| all().filter(move |(one, other)| world.dead(*one, *other) == Some(at_once));
        let hear = |at_once| hears(at_once).map(|(one, other)| Happens::Hears(one, other));
        let urgent = hear(true).filter(|action| self.next_state(world, *action).is_some());
        actions.extend(urgent);
        if !actions.is_empty() {
            return;
        }
        actions.extend(hear(false));
        for (number, process) in world.processes.iter().enumerate() {
            if process.phase == Phase::Down {
                actions.push(Happens::Begins(number));
                continue;
            }
            if world.kills < KILLS {
                actions.extend([true, false].map(|output| Happens::Kill(number, output)));
            }
            let called = missing(process, 0..number).filter(|_| process.phase == Phase::Connects);
            let waits = |other: &usize| {
                let other = &world.processes[*other];
                other.phase == Phase::Waits && other.links[number].is_none()
            };
            actions.extend(called.filter(waits).map(|_| Happens::Calls(number)));
            let goes = match process.phase {
                Phase::Connects => missing(process, 0..number).is_none(),
                Phase::Waits => missing(process, number + 1..PROCESSES).is_none(),
                _ => false,
            };
            let is_dead = |other| world.dead(number, other) == Some(true);
            actions.extend((goes && !(0..PROCESSES).any(is_dead)).then_some(Happens::Goes(number)));
        }
    }

    fn next_state(&self, last: &Machines, action: Happens) -> Option<Machines> {
        let mut world = *last;
        match action {
            Happens::Begins(number) => {
                world.claimed += u8::from(number == 0);
                let begun = world.processes[number].begun + 1;
                let (phase, generation) =
                    if number == 0 { (Phase::Waits, world.claimed) } else { (Phase::Connects, 0) };
                world.processes[number] = Process { begun, phase, generation, ..Process::default() };
            }
            Happens::Calls(number) => {
                let caller = world.processes[number];
                let other = missing(&caller, 0..number)?;
                let called = world.processes[other];
                if self.meets(called.generation, caller.generation) == GenerationMeeting::OwnIsOver {
                    world.end(other);
                    return Some(world);
                }
                world.processes[other].links[number] = Some(caller.begun);
                match self.meets(caller.generation, called.generation) {
                    GenerationMeeting::Same => {
                        world.processes[number].links[other] = Some(called.begun);
                        if caller.generation == 0 {
                            world.processes[number].generation = called.generation;
                        }
                    }
                    // It closes the connection and connects again.
                    GenerationMeeting::OtherIsOver => {}
                    GenerationMeeting::OwnIsOver => world.end(number),
                }
            }
            Happens::Goes(number) => {
                let waits = world.processes[number].phase == Phase::Connects && number + 1 < PROCESSES;
                world.processes[number].phase = if waits { Phase::Waits } else { Phase::Runs };
            }
            Happens::Hears(number, other) => {
                let waits = world.processes[number].phase == Phase::Waits;
                match waits && other > number {
                    true if self.bug == Some(PairBug::NoPlace) => return None,
                    true => world.processes[number].links[other] = None,
                    false => world.end(number),
                }
            }
            Happens::Kill(number, output) => {
                if !output {
                    world.silent[usize::from(world.kills)] = Some((number as u8, world.processes[number].begun));
                }
                world.kills += 1;
                world.end(number);
            }
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Pairs>> {
        vec![
            Property::always("who run together are of one start", |_, world: &Machines| {
                let runs = |number: &usize| world.processes[*number].phase == Phase::Runs;
                (0..PROCESSES).filter(runs).all(|one| {
                    (0..PROCESSES).filter(runs).filter(|other| *other != one && world.is_alive(one, *other)).all(
                        |other| {
                            world.processes[one].generation == world.processes[other].generation
                                && world.processes[one].generation > 0
                        },
                    )
                })
            }),
            Property::always("all run in the end", |pairs: &Pairs, world: &Machines| {
                let mut actions = Vec::new();
                pairs.actions(world, &mut actions);
                let goes_on = actions.iter().any(|action| pairs.next_state(world, *action).is_some());
                world.is_complete() || goes_on
            }),
            Property::always("nobody begins again and again", |_, world: &Machines| {
                world.processes.iter().all(|process| process.begun <= BEGINS_MAX)
            }),
            Property::sometimes("all run after all kills", |_, world: &Machines| {
                world.kills == KILLS && world.is_complete()
            }),
        ]
    }

    fn within_boundary(&self, world: &Machines) -> bool {
        world.processes.iter().all(|process| process.begun <= BEGINS_MAX + 1)
    }
}
