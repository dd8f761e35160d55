//! A job of three machines, with a supervisor on each, in a network that fails. Links between two of them are cut in one
//! direction or both, slow or lossy. Machines are suspended, die, come back, and have clocks that are an hour off. All the while
//! files of rows arrive, which all three read, and a reader checks the output: no row duplicated or missing, and every account of
//! a key as if nothing had happened.
//!
//! `FAULTS` and `SEED` in the environment set the number of faults and the random seed; `make torture` runs more of them.

mod faults;
mod machines;
mod reader;

use faults::{Fault, matrix};
use machines::Machines;
use millstream_tests::Random;
use millstream_tests::network::Network;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::time::{Duration, Instant};

/// Faults of a network of namespaces, unless the environment sets another number: one of each kind at each machine or link.
const FAULTS: u64 = 36;
/// Faults of relays, which can simulate less.
const RELAY_FAULTS: u64 = 8;
/// After this many faults the job completes, and everything is compared; then another one begins.
const FAULTS_OF_A_JOB: u64 = 40;
const SEED: u64 = 1;
/// The maximum number of concurrent faults.
const AT_ONCE: usize = 3;

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, and must be a number")))
}

/// The counts of a loop.
#[derive(Default)]
struct Tally {
    /// How the network was implemented.
    network: &'static str,
    faults: BTreeMap<&'static str, u64>,
    /// From when all faults were over until rows came out again.
    back: Vec<Duration>,
    rows: u64,
    losses: u64,
}

impl Tally {
    fn count(&self) -> u64 {
        self.faults.values().sum()
    }

    fn add(&mut self, other: Tally) {
        self.network = other.network;
        other.faults.into_iter().for_each(|(kind, count)| *self.faults.entry(kind).or_default() += count);
        self.back.extend(other.back);
        self.rows += other.rows;
        self.losses += other.losses;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut back = self.back.clone();
        back.sort();
        let at = |of_100: usize| {
            back.get(back.len() * of_100 / 100).or(back.last()).copied().unwrap_or_default().as_secs_f64()
        };
        write!(
            f,
            "{} faults {:?}, {} lost connections told; {} rows compared; rows came again after {:.1} s (median), {:.1} s (90 of 100), {:.1} s (longest of {})",
            self.count(),
            self.faults,
            self.losses,
            self.rows,
            at(50),
            at(90),
            at(100),
            back.len()
        )
    }
}

/// Runs jobs, two at a time, until there were this many faults.
fn torture(make: impl Fn(u64) -> (Network, Option<String>) + Sync, faults: u64, first: u64) {
    let began = Instant::now();
    let lanes: Vec<_> = std::thread::scope(|scope| {
        let lane = |number: u64| {
            let make = &make;
            scope.spawn(move || torture_one(make, (faults + 1 - number) / 2, first + number, faults))
        };
        [lane(0), lane(1)].map(|lane| lane.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).into()
    });
    let mut tally = Tally::default();
    lanes.into_iter().for_each(|lane| tally.add(lane));
    let kind = tally.network;
    print_line(&format!("network of {kind}: {tally}; {:.0} s\n", began.elapsed().as_secs_f64()));
}

/// Repeats this lane's half of all kinds of faults.
fn torture_one(make: impl Fn(u64) -> (Network, Option<String>), faults: u64, lane: u64, of: u64) -> Tally {
    let seed = setting("SEED").unwrap_or(SEED);
    let mut random = Random::new(seed.wrapping_mul(4).wrapping_add(lane));
    let half = || matrix().into_iter().skip(lane as usize % 2).step_by(2).collect();
    let (mut tally, mut waiting) = (Tally::default(), Vec::new());
    while tally.count() < faults {
        let left = faults - tally.count();
        let (network, why) = make(random.number());
        if let Some(why) = why {
            print_line(&format!("network: no network namespaces ({why}); the faults are made by relays\n"));
        }
        tally.network = network.kind();
        if let Err(output) = trial(network, left.min(FAULTS_OF_A_JOB), &mut random, (&mut waiting, &half), &mut tally) {
            let repeat = format!("make torture FAULTS={of} SEED={seed}");
            panic!("{}: after {tally}: {output}\nrepeat it with: {repeat}", tally.network);
        }
    }
    tally
}

/// Writes directly, as the output of `print` would be captured.
fn print_line(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// A job from its start to its end.
fn trial(
    network: Network,
    faults: u64,
    random: &mut Random,
    (waiting, all): (&mut Vec<Fault>, &dyn Fn() -> Vec<Fault>),
    tally: &mut Tally,
) -> Result<(), String> {
    let mut machines = Machines::start(network, &[]);
    machines.wait_for_progress("the job begins")?;
    let mut left = faults;
    while left > 0 {
        let episode = choose((left as usize).min(AT_ONCE), random, waiting, all);
        left -= episode.len() as u64;
        for fault in &episode {
            *tally.faults.entry(fault.kind()).or_default() += 1;
        }
        let shown = format!("{episode:?}");
        let output = |error: String| format!("after {shown}: {error}");
        machines.run_faults(episode, random).map_err(output)?;
        // Some faults meet a job that has not recovered from those before.
        if left == 0 || random.from(1, 4) > 1 {
            tally.back.push(machines.wait_for_progress("rows are written again").map_err(output)?);
        }
    }
    tally.losses += machines.losses();
    tally.rows += machines.finish()?;
    Ok(())
}

/// Chooses some faults at different machines; faults that have not occurred yet come first.
fn choose(max: usize, random: &mut Random, waiting: &mut Vec<Fault>, all: &dyn Fn() -> Vec<Fault>) -> Vec<Fault> {
    let mut episode: Vec<Fault> = Vec::new();
    for _ in 0..random.from(1, max as u64) {
        if waiting.is_empty() {
            waiting.extend(all());
            for place in (1..waiting.len()).rev() {
                waiting.swap(place, random.from(0, place as u64) as usize);
            }
        }
        let fits = waiting.iter().position(|fault| episode.iter().all(|other| fault.is_compatible_with(other)));
        episode.extend(fits.map(|place| waiting.remove(place)));
    }
    episode
}

#[test]
fn no_network_fault_loses_or_duplicates_a_row() {
    let faults = setting("FAULTS").unwrap_or(FAULTS);
    torture(|seed| Network::new(3, seed), faults, 0);
}

/// As two of the processes cannot reach each other, none can work; but each lives, and waits, however often it is restarted.
#[test]
fn a_link_that_stays_cut_ends_no_process() {
    let mut machines = Machines::start(Network::new(3, 0).0, &["--restarts-max", "1"]);
    machines.wait_for_progress("the job begins").unwrap_or_else(|output| panic!("{output}"));
    machines.cut_for((1, 2), Duration::from_secs(5)).unwrap_or_else(|output| panic!("{output}"));
    machines.wait_for_progress("rows are written again").unwrap_or_else(|output| panic!("{output}"));
    machines.finish().unwrap_or_else(|output| panic!("{output}"));
}

/// As on a machine without namespaces.
#[test]
fn no_connection_fault_loses_or_duplicates_a_row() {
    let faults = setting("FAULTS").map_or(RELAY_FAULTS, |faults| faults.div_ceil(10));
    torture(|seed| (Network::of_relays(3, seed), None), faults, 2);
}
