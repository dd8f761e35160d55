//! What may happen to machines and the ways between them.

use millstream_tests::network::Link;
use std::time::Duration;

/// A fault, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing passes between these two.
    Cut(usize, usize),
    /// Nothing that the first sends the second arrives.
    OneWay(usize, usize),
    /// Nothing comes from this machine, and nothing to it.
    Away(usize),
    /// Whatever it sends and hears is late, and overtakes what was sent before.
    Slow(usize),
    /// Of whatever it sends and hears a part is lost.
    Lossy(usize),
    /// Its worker process is stopped, and goes on.
    Stopped(usize),
    /// All of it stands still, and goes on.
    Frozen(usize),
    /// Its worker process dies.
    Killed(usize),
    /// Its supervisor dies, too, and is started again later.
    Crashed(usize),
    /// It is away, and dies meanwhile: the others have connections with nobody.
    HalfOpen(usize),
    /// Its clock is set forward by an hour, and back.
    Ahead(usize),
    /// Its clock is set back by an hour, and forward.
    Behind(usize),
    /// Process 0 dies while process 1 waits for process 2.
    Waiting,
}

/// Each of them at each place.
pub fn matrix() -> Vec<Fault> {
    use Fault::*;
    let pairs = [(0, 1), (0, 2), (1, 2)];
    let of_pairs = pairs.into_iter().flat_map(|(a, b)| [Cut(a, b), OneWay(a, b), OneWay(b, a)]);
    let of_machines = [Away, Slow, Lossy, Stopped, Frozen, Killed, Crashed, HalfOpen];
    let of_machines = (0..3).flat_map(|machine| of_machines.map(|fault| fault(machine)));
    of_pairs.chain(of_machines).chain([Ahead(0), Behind(1), Waiting]).collect()
}

impl Fault {
    /// Its name without its place.
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

    /// Whether both may be there at once: a process cannot be stopped and killed.
    pub fn goes_with(&self, other: &Fault) -> bool {
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

    /// What it makes of what one machine sends another.
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
