//! Jobs that are killed again and again, at every named step and at random moments, and must put out what they put out
//! undisturbed: nothing lost, nothing twice, the rows of a key in order.
//!
//! With the feature `planted-bugs`, as `make torture` has it, the program is one that can be told to have bugs: to test
//! this test, each of them must be found, and the disk forgets what was not synced.
//!
//! `KILLS` and `SEED` in the environment say how many kills and which ones; `make torture` runs only this, for longer.

#[cfg(feature = "planted-bugs")]
mod bugs;
mod entries;
mod files;
mod moving;
mod nexmark;
mod scale;
mod table;
mod topic;
mod upgrade;
mod virtual_time;

use millstream_tests::{Broker, FORGETFUL, Killer, POINTS, Tally};
use std::io::Write;
use std::time::Instant;

/// Kills of all loops together, where the environment does not say.
const KILLS: u64 = 60;
const SEED: u64 = 1;
/// Kills of the loop with Kafka, where the environment does not say; else a tenth: each start waits for the broker.
const TOPIC_KILLS: u64 = 6;

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, and must be a number")))
}

/// The seed of the loop with this number.
fn seed(number: u64) -> u64 {
    setting("SEED").unwrap_or(SEED).wrapping_mul(4).wrapping_add(number)
}

/// Runs trials of a job, each to its end, until it was killed so many times.
fn torture(
    name: &str,
    mut killer: Killer,
    kills: u64,
    trial: impl Fn(&mut Killer, u64) -> Result<(), String>,
) -> Tally {
    killer.bugs = FORGETFUL.into();
    // The first is not disturbed.
    let mut wanted = 0;
    loop {
        if let Err(told) = trial(&mut killer, wanted) {
            let (seed, every) = (setting("SEED").unwrap_or(SEED), setting("KILLS").unwrap_or(KILLS));
            let (tally, repeat) = (&killer.tally, format!("make torture KILLS={every} SEED={seed}"));
            panic!("{name}: after {tally}: {told}\nrepeat it with: {repeat}");
        }
        if wanted > 0 && killer.is_done(kills) {
            return killer.tally;
        }
        wanted = kills;
    }
}

#[test]
fn no_kill_at_any_moment_loses_or_doubles_a_row() {
    let began = Instant::now();
    let kills = setting("KILLS").unwrap_or(KILLS).div_ceil(3);
    let killer = |number: usize| Killer::new(seed(number as u64), number);
    let mut all = Tally::default();
    std::thread::scope(|scope| {
        let files = scope.spawn(|| torture("files", killer(0), kills, files::trial));
        let table = scope.spawn(|| {
            table::with_server(|server| torture("table", killer(1), kills, |k, n| table::trial(server, k, n)))
        });
        let virtual_time = scope.spawn(|| torture("virtual time", killer(2), kills, virtual_time::trial));
        for part in [files, table, virtual_time] {
            all.add(&part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    });
    let said = format!("kill loop: {all}; {:.0} s\n", began.elapsed().as_secs_f64());
    // Not captured, as `print` would be.
    let _ = std::io::stderr().write_all(said.as_bytes());
    assert!(all.kills >= 3 * kills && all.inside * 3 >= all.kills, "{said}");
    let spared: Vec<_> = POINTS.iter().map(|point| point.name).filter(|name| !all.at.contains_key(name)).collect();
    assert!(spared.is_empty(), "nothing died at {spared:?}; {:?}", all.at);
}

#[test]
fn no_kill_across_an_upgrade_loses_or_doubles_a_row() {
    let began = Instant::now();
    let kills = setting("KILLS").unwrap_or(KILLS).div_ceil(3);
    let tally = torture("upgrades", Killer::of_upgrades(seed(3)), kills, upgrade::trial);
    let said = format!("kill loop across upgrades: {tally}; {:.0} s\n", began.elapsed().as_secs_f64());
    let _ = std::io::stderr().write_all(said.as_bytes());
    assert!(tally.kills >= kills, "{said}");
    for version in ["upgraded-2", "upgraded-3"] {
        assert!(tally.upgrades.contains_key(version), "no upgrade to {version}: {:?}", tally.upgrades);
    }
}

/// Kills of the loop of starts that run batches again, where the environment does not say.
const REPLAY_KILLS: u64 = 8;

#[test]
fn no_kill_while_batches_are_run_again_loses_or_doubles_a_row() {
    let began = Instant::now();
    let kills = setting("KILLS").map_or(REPLAY_KILLS, |kills| kills.div_ceil(3));
    let trial = |killer: &mut Killer, kills: u64| match killer.random.from(0, 1) {
        0 => files::trial(killer, kills),
        _ => virtual_time::trial(killer, kills),
    };
    let tally = torture("replays", Killer::of_replays(seed(8)), kills, trial);
    let said = format!("kill loop of replays: {tally}; {:.0} s\n", began.elapsed().as_secs_f64());
    let _ = std::io::stderr().write_all(said.as_bytes());
    assert!(tally.kills >= kills, "{said}");
}

/// Kills of the loop with queries of Nexmark, where the environment does not say.
const QUERY_KILLS: u64 = 0;

#[test]
fn queries_of_nexmark_put_out_what_another_database_makes_of_the_events() {
    nexmark::each_query(&(0..23).collect::<Vec<_>>());
    let kills = setting("KILLS").map_or(QUERY_KILLS, |kills| kills.div_ceil(3));
    if kills > 0 {
        let tally = torture("queries of nexmark", Killer::of_anything(seed(7)), kills, nexmark::trial);
        let said = format!("kill loop with queries of nexmark: {tally}\n");
        let _ = std::io::stderr().write_all(said.as_bytes());
    }
}

/// Kills of the loop that gives a job other workers, where the environment does not say; `cluster/scale.rs` kills at each step of that.
const SCALE_KILLS: u64 = 5;

#[test]
fn no_kill_on_the_way_to_other_workers_loses_or_doubles_a_row() {
    let began = Instant::now();
    let kills = setting("KILLS").map_or(SCALE_KILLS, |kills| kills.div_ceil(3));
    let tally = torture("scaling", Killer::of_scaling(seed(6)), kills, scale::trial);
    let said = format!("kill loop with other workers: {tally}; {:.0} s\n", began.elapsed().as_secs_f64());
    let _ = std::io::stderr().write_all(said.as_bytes());
    assert!(tally.kills >= kills && tally.upgrades.get("scaled").is_some_and(|times| *times > 0), "{said}");
}

/// Also in the middle of a transaction, with its rows and the marker on the broker.
#[test]
fn no_kill_in_a_transaction_loses_or_doubles_a_record() {
    let began = Instant::now();
    let kills = setting("KILLS").map_or(TOPIC_KILLS, |kills| kills.div_ceil(10));
    let broker = Broker::start();
    let tally = torture("topic", Killer::of_transactions(seed(4)), kills, |k, n| topic::trial(&broker, k, n));
    let said = format!("kill loop with transactions: {tally}; {:.0} s\n", began.elapsed().as_secs_f64());
    let _ = std::io::stderr().write_all(said.as_bytes());
    assert!(tally.kills >= kills, "{said}");
    // The rows were on the broker, and the marker with them, and nothing was committed.
    let within = ["commit.written", "commit.marked"];
    assert!(within.iter().all(|point| tally.at.contains_key(point)), "{said}; {:?}", tally.at);
}

/// Each life of the job has another number of processes, so that partitions move between them.
#[test]
fn no_kill_loses_or_doubles_a_row_of_a_partition_that_moves() {
    let began = Instant::now();
    let kills = setting("KILLS").map_or(TOPIC_KILLS, |kills| kills.div_ceil(10));
    let broker = Broker::start();
    let killer = Killer::of_anything(seed(5)).patient();
    let tally = torture("moving partitions", killer, kills, |k, n| moving::trial(&broker, k, n));
    let said = format!("kill loop with moving partitions: {tally}; {:.0} s\n", began.elapsed().as_secs_f64());
    let _ = std::io::stderr().write_all(said.as_bytes());
    assert!(tally.kills >= kills, "{said}");
}
