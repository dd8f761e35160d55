//! What may happen to machines and the ways between them.

use millstream_tests::network::Link;
use std::time::Duration;

/// A fault, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing passes between these two.
    Cut(usize, usize),
    /// Nothing arrives from the first at the second.
    OneWay(usize, usize),
    /// The machine is disconnected in both directions.
    Away(usize),
    /// Everything it sends and receives is delayed and reordered.
    Slow(usize),
    /// A part of what it sends and receives is lost.
    Lossy(usize),
    /// Its worker process is suspended, and resumes.
    Stopped(usize),
    /// All its processes are suspended, and resume.
    Frozen(usize),
    /// Its worker process dies.
    Killed(usize),
    /// Its supervisor dies, too, and is restarted later.
    Crashed(usize),
    /// It is disconnected, and dies meanwhile: the others have half-open connections.
    HalfOpen(usize),
    /// Its clock is set forward by an hour, and back.
    Ahead(usize),
    /// Its clock is set back by an hour, and forward.
    Behind(usize),
    /// Process 0 dies while process 1 waits for process 2.
    Waiting,
}

/// Every kind of fault at every machine or link.
pub fn matrix() -> Vec<Fault> {
    use Fault::*;
    let pairs = [(0, 1), (0, 2), (1, 2)];
    let of_pairs = pairs.into_iter().flat_map(|(a, b)| [Cut(a, b), OneWay(a, b), OneWay(b, a)]);
    let of_machines = [Away, Slow, Lossy, Stopped, Frozen, Killed, Crashed, HalfOpen];
    let of_machines = (0..3).flat_map(|machine| of_machines.map(|fault| fault(machine)));
    of_pairs.chain(of_machines).chain([Ahead(0), Behind(1), Waiting]).collect()
}

impl Fault {
    /// Its name without the machines.
    pub fn kind(&self) -> &'static str {
        match self {
            Fault::Cut(..) => "cut",
            Fault::OneWay(..) => "one way",
            Fault::Away(_) => "away",
            Fault::Slow(_) => "slow",
            Fault::Lossy(_) => "lossy",
            Fault::Stopped(_) => "stopped",
            Fault::Frozen(_) => "frozen",
            Fault::Killed(_) => "killed",
            Fault::Crashed(_) => "crashed",
            Fault::HalfOpen(_) => "half-open",
            Fault::Ahead(_) | Fault::Behind(_) => "clock",
            Fault::Waiting => "0 dies while 1 waits",
        }
    }

    /// Whether both may occur at the same time: a process cannot be suspended and killed.
    pub fn is_compatible_with(&self, other: &Fault) -> bool {
        match (self.machine(), other.machine()) {
            (Some(one), Some(other)) => one != other,
            _ => !matches!((self, other), (Fault::Waiting, _) | (_, Fault::Waiting)),
        }
    }

    /// The machine whose processes it is about.
    fn machine(&self) -> Option<usize> {
        match *self {
            Fault::Stopped(machine) | Fault::Frozen(machine) | Fault::Killed(machine) => Some(machine),
            Fault::Crashed(machine) | Fault::HalfOpen(machine) => Some(machine),
            Fault::Ahead(machine) | Fault::Behind(machine) => Some(machine),
            _ => None,
        }
    }

    /// Applies the fault to the link from one machine to another.
    pub fn changes(&self, from: usize, to: usize, link: &mut Link) {
        let of = |machine: usize| from == machine || to == machine;
        match *self {
            Fault::Cut(a, b) => link.cut |= of(a) && of(b),
            Fault::OneWay(a, b) => link.cut |= (from, to) == (a, b),
            Fault::Away(machine) | Fault::HalfOpen(machine) => link.cut |= of(machine),
            Fault::Slow(machine) if of(machine) => link.delay = Duration::from_millis(60),
            Fault::Lossy(machine) if of(machine) => link.lost_of_1000 = 150,
            _ => {}
        }
    }
}
