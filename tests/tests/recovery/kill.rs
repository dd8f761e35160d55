//! Jobs that are killed repeatedly, at every named step and at random moments, and must write the same output as undisturbed:
//! nothing lost, nothing duplicated, the rows of a key in order.
//!
//! With the feature `planted-bugs`, as in `make torture`, the program can be told to have bugs. To test this test, each bug must
//! be found, and the disk loses unsynced data.
//!
//! `KILLS` and `SEED` in the environment set the number of kills and the random seed; `make torture` runs only this, for longer.

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

/// Kills of all loops together, unless the environment sets another number.
const KILLS: u64 = 60;
const SEED: u64 = 1;
/// Kills of the loop with Kafka, unless the environment sets another number; then a tenth of it: each start waits for the broker.
const TOPIC_KILLS: u64 = 6;

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, and must be a number")))
}

/// The seed of the loop with this number.
fn seed(number: u64) -> u64 {
    setting("SEED").unwrap_or(SEED).wrapping_mul(4).wrapping_add(number)
}

/// Runs trials of a job, each to its end, until it was killed this many times.
fn torture(
    name: &str,
    mut killer: Killer,
    kills: u64,
    trial: impl Fn(&mut Killer, u64) -> Result<(), String>,
) -> Tally {
    killer.bugs = FORGETFUL.into();
    // The first is not disturbed.
    let mut expected = 0;
    loop {
        if let Err(output) = trial(&mut killer, expected) {
            let (seed, every) = (setting("SEED").unwrap_or(SEED), setting("KILLS").unwrap_or(KILLS));
            let (tally, repeat) = (&killer.tally, format!("make torture KILLS={every} SEED={seed}"));
            panic!("{name}: after {tally}: {output}\nrepeat it with: {repeat}");
        }
        if expected > 0 && killer.is_done(kills) {
            return killer.tally;
        }
        expected = kills;
    }
}

#[test]
fn no_kill_at_any_moment_loses_or_duplicates_a_row() {
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
    let printed = format!("kill loop: {all}; {:.0} s\n", began.elapsed().as_secs_f64());
    // Written directly, as the output of `print` would be captured.
    let _ = std::io::stderr().write_all(printed.as_bytes());
    assert!(all.kills >= 3 * kills && all.inside * 3 >= all.kills, "{printed}");
    let spared: Vec<_> = POINTS.iter().map(|point| point.name).filter(|name| !all.at.contains_key(name)).collect();
    assert!(spared.is_empty(), "nothing died at {spared:?}; {:?}", all.at);
}

#[test]
fn no_kill_across_an_upgrade_loses_or_duplicates_a_row() {
    let began = Instant::now();
    let kills = setting("KILLS").unwrap_or(KILLS).div_ceil(3);
    let tally = torture("upgrades", Killer::of_upgrades(seed(3)), kills, upgrade::trial);
    let printed = format!("kill loop across upgrades: {tally}; {:.0} s\n", began.elapsed().as_secs_f64());
    let _ = std::io::stderr().write_all(printed.as_bytes());
    assert!(tally.kills >= kills, "{printed}");
    for version in ["upgraded-2", "upgraded-3"] {
        assert!(tally.upgrades.contains_key(version), "no upgrade to {version}: {:?}", tally.upgrades);
    }
}

/// Kills of the loop of starts that replay batches, unless the environment sets another number.
const REPLAY_KILLS: u64 = 8;

#[test]
fn no_kill_while_batches_are_replayed_loses_or_duplicates_a_row() {
    let began = Instant::now();
    let kills = setting("KILLS").map_or(REPLAY_KILLS, |kills| kills.div_ceil(3));
    let trial = |killer: &mut Killer, kills: u64| match killer.random.from(0, 1) {
        0 => files::trial(killer, kills),
        _ => virtual_time::trial(killer, kills),
    };
    let tally = torture("replays", Killer::of_replays(seed(8)), kills, trial);
    let printed = format!("kill loop of replays: {tally}; {:.0} s\n", began.elapsed().as_secs_f64());
    let _ = std::io::stderr().write_all(printed.as_bytes());
    assert!(tally.kills >= kills, "{printed}");
}

/// Kills of the loop with Nexmark queries, unless the environment sets another number.
const QUERY_KILLS: u64 = 0;

#[test]
fn queries_of_nexmark_give_the_results_of_another_database() {
    nexmark::each_query(&(0..23).collect::<Vec<_>>());
    let kills = setting("KILLS").map_or(QUERY_KILLS, |kills| kills.div_ceil(3));
    if kills > 0 {
        let tally = torture("queries of nexmark", Killer::of_anything(seed(7)), kills, nexmark::trial);
        let printed = format!("kill loop with queries of nexmark: {tally}\n");
        let _ = std::io::stderr().write_all(printed.as_bytes());
    }
}

/// Kills of the loop that rescales a job, unless the environment sets another number; `cluster/scale.rs` kills at each step of
/// that.
const SCALE_KILLS: u64 = 5;

#[test]
fn no_kill_while_rescaling_loses_or_duplicates_a_row() {
    let began = Instant::now();
    let kills = setting("KILLS").map_or(SCALE_KILLS, |kills| kills.div_ceil(3));
    let tally = torture("scaling", Killer::of_scaling(seed(6)), kills, scale::trial);
    let printed = format!("kill loop with other workers: {tally}; {:.0} s\n", began.elapsed().as_secs_f64());
    let _ = std::io::stderr().write_all(printed.as_bytes());
    assert!(tally.kills >= kills && tally.upgrades.get("scaled").is_some_and(|times| *times > 0), "{printed}");
}

/// Also in the middle of a transaction, with its rows and the marker on the broker.
#[test]
fn no_kill_in_a_transaction_loses_or_duplicates_a_record() {
    let began = Instant::now();
    let kills = setting("KILLS").map_or(TOPIC_KILLS, |kills| kills.div_ceil(10));
    let broker = Broker::start();
    let tally = torture("topic", Killer::of_transactions(seed(4)), kills, |k, n| topic::trial(&broker, k, n));
    let printed = format!("kill loop with transactions: {tally}; {:.0} s\n", began.elapsed().as_secs_f64());
    let _ = std::io::stderr().write_all(printed.as_bytes());
    assert!(tally.kills >= kills, "{printed}");
    // The rows and the marker were on the broker, and nothing was committed.
    let within = ["commit.written", "commit.marked"];
    assert!(within.iter().all(|point| tally.at.contains_key(point)), "{printed}; {:?}", tally.at);
}

/// Each life of the job has another number of processes, so that partitions move between them.
#[test]
fn no_kill_loses_or_duplicates_a_row_of_a_moving_partition() {
    let began = Instant::now();
    let kills = setting("KILLS").map_or(TOPIC_KILLS, |kills| kills.div_ceil(10));
    let broker = Broker::start();
    let killer = Killer::of_anything(seed(5)).patient();
    let tally = torture("moving partitions", killer, kills, |k, n| moving::trial(&broker, k, n));
    let printed = format!("kill loop with moving partitions: {tally}; {:.0} s\n", began.elapsed().as_secs_f64());
    let _ = std::io::stderr().write_all(printed.as_bytes());
    assert!(tally.kills >= kills, "{printed}");
}
