//! A network of a few machines whose links can be cut, slow and lossy, in each direction between any two. If this machine
//! permits, each machine is a network namespace with a tun device as its network card, and all packets go through a switch in
//! this process (`cards`). Otherwise all machines are this one, and their connections go through relays (`relays`).

mod cards;
mod relays;

use crate::{Random, free_port};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The condition of the link from one machine to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Nothing arrives and no error is reported.
    pub cut: bool,
    /// Delay of each packet; the actual delay is up to twice as long.
    pub delay: Duration,
    /// Packets lost per 1,000.
    pub lost_of_1000: u64,
}

/// The machines and the ways between them.
pub struct Network {
    ways: Arc<Ways>,
    form: Form,
}

enum Form {
    Cards(cards::Cards),
    Relays(relays::Relays),
}

/// The links by sender and receiver, and what has passed.
struct Ways {
    machines: usize,
    links: Mutex<Vec<Link>>,
    random: Mutex<Random>,
    passed: AtomicU64,
}

/// What to do with data in transit.
enum Fate {
    Lost,
    Arrives(Duration),
}

impl Ways {
    fn link(&self, from: usize, to: usize) -> Link {
        self.links.lock().unwrap()[from * self.machines + to]
    }

    /// Decides the fate of a packet, or of a piece of a connection.
    fn fate(&self, from: usize, to: usize) -> Fate {
        let Link { cut, delay, lost_of_1000 } = self.link(from, to);
        let mut random = self.random.lock().unwrap();
        if cut || (lost_of_1000 > 0 && random.from(1, 1000) <= lost_of_1000) {
            return Fate::Lost;
        }
        self.passed.fetch_add(1, Ordering::Relaxed);
        let delay_us = delay.as_micros() as u64;
        Fate::Arrives(if delay_us == 0 {
            Duration::ZERO
        } else {
            Duration::from_micros(random.from(delay_us, 2 * delay_us))
        })
    }
}

impl Network {
    /// Creates namespaces if this machine permits, otherwise relays; also returns the reason.
    pub fn new(machines: usize, seed: u64) -> (Network, Option<String>) {
        let ways = Network::ways(machines, seed);
        match cards::Cards::new(&ways) {
            Ok(cards) => (Network { ways, form: Form::Cards(cards) }, None),
            Err(why) => (Network::of_relays(machines, seed), Some(why.to_string())),
        }
    }

    /// Relays, wherever we are.
    pub fn of_relays(machines: usize, seed: u64) -> Network {
        let ways = Network::ways(machines, seed);
        let ports: Vec<u16> = (0..machines).map(|_| free_port()).collect();
        let relays = relays::Relays::new(&ways, ports);
        Network { ways, form: Form::Relays(relays) }
    }

    fn ways(machines: usize, seed: u64) -> Arc<Ways> {
        let links = Mutex::new(vec![Link::default(); machines * machines]);
        Arc::new(Ways { machines, links, random: Mutex::new(Random::new(seed)), passed: AtomicU64::new(0) })
    }

    /// The number of machines.
    pub fn machines(&self) -> usize {
        self.ways.machines
    }

    /// Returns `--hosts` for a machine: the addresses at which it reaches the others.
    pub fn hosts(&self, machine: usize) -> String {
        let host = |other: usize| match &self.form {
            Form::Cards(_) => format!("{}:2101", cards::address(other)),
            Form::Relays(relays) => format!("127.0.0.1:{}", relays.port(machine, other)),
        };
        (0..self.machines()).map(host).collect::<Vec<_>>().join(",")
    }

    /// Makes this command run on a machine.
    pub fn place(&self, machine: usize, command: &mut Command) {
        if let Form::Cards(cards) = &self.form {
            cards.place(machine, command);
        }
    }

    /// Sets the link from `from` to `to`.
    pub fn set(&self, from: usize, to: usize, link: Link) {
        self.ways.links.lock().unwrap()[from * self.machines() + to] = link;
    }

    /// Removes all faults.
    pub fn heal(&self) {
        self.ways.links.lock().unwrap().fill(Link::default());
    }

    /// Packets, or pieces of connections, that have arrived.
    pub fn passed(&self) -> u64 {
        self.ways.passed.load(Ordering::Relaxed)
    }

    /// How the network is implemented.
    pub fn kind(&self) -> &'static str {
        match &self.form {
            Form::Cards(_) => "network namespaces",
            Form::Relays(_) => "relays",
        }
    }
}
