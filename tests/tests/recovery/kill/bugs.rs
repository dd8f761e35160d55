//! Bugs that are planted in the program, each of which the kill loop must find.

use super::files::{self, Setting};
use super::moving;
use super::table;
use super::topic;
use super::upgrade;
use super::virtual_time;
use millstream_tests::{Broker, Killer, Point};

/// A bug that shows only if the process dies at the right moment may stay hidden for this many tries.
const TRIES: u64 = 12;
const KILLS: u64 = 5;

const FILES: Setting = Setting { rows: 1500, batch: "5ms", every: "3", consumes: false, parts: "batch", roll: "" };

const fn at(name: &'static str, first: u64, last: u64) -> Point {
    Point { name, passes: (first, last), inside: false }
}

/// Runs trials with the bug until one fails.
fn found(bug: &str, points: &[Point], trial: impl Fn(&mut Killer) -> Result<(), String>) {
    for seed in 1..=TRIES {
        let mut killer = Killer::at(seed, points, bug);
        if let Err(output) = trial(&mut killer) {
            println!("found in try {seed}, after {}: {output}", killer.tally);
            return;
        }
    }
    panic!("the bug {bug} was not found in {TRIES} tries");
}

fn found_in_files(bug: &str, points: &[Point], setting: Setting) {
    found(bug, points, |killer| files::trial_of(killer, KILLS, setting));
}

fn found_in_virtual_time(bug: &str, points: &[Point]) {
    found(bug, points, |killer| virtual_time::trial_of(killer, KILLS, "3"));
}

/// The part becomes visible before the sink records it.
#[test]
fn a_marker_after_the_part_is_found() {
    found_in_files("bug@marker-late", &[at("commit.unmarked", 2, 12)], Setting { consumes: true, ..FILES });
}

/// The rows are committed, and then the marker in another transaction.
#[test]
fn a_marker_after_the_transaction_is_found() {
    table::with_server(|server| {
        // The sinks take turns; in the first, a row can be duplicated.
        let points = [3, 5, 7].map(|pass| at("commit.unmarked", pass, pass));
        let setting = ("5ms", "4");
        found("bug@marker-late", &points, |killer| table::trial_of(server, killer, KILLS, setting));
    });
}

/// The same with a broker: the marker has its own transaction.
#[test]
fn a_marker_after_the_transaction_of_a_topic_is_found() {
    let broker = Broker::start();
    let points = [3, 5, 7].map(|pass| at("commit.unmarked", pass, pass));
    let setting = topic::Setting { batch: "5ms", every: "4", parts: "batch" };
    found("bug@marker-late", &points, |killer| {
        let mut patient = killer.clone().patient();
        let ran = topic::trial_of(&broker, &mut patient, KILLS, setting);
        killer.tally = patient.tally;
        ran
    });
}

/// A process takes over partitions without their positions.
#[test]
fn a_partition_that_is_lost_while_it_moves_is_found() {
    let broker = Broker::start();
    let points = [at("commit.after", 3, 25), at("checkpoint.published", 2, 4)];
    found("bug@partition-lost", &points, |killer| {
        let mut patient = killer.clone().patient();
        let ran = moving::trial(&broker, &mut patient, KILLS);
        killer.tally = patient.tally;
        ran
    });
}

#[test]
fn unsynced_data_is_missed() {
    found_in_files("lose-unsynced,bug@skip-fsync", &[at("commit.after", 3, 12)], FILES);
}

/// Batches are committed before it is durable what they hold.
#[test]
fn a_late_plan_is_found() {
    // A checkpoint in between would hold what the plan lacks.
    found_in_files("bug@plan-late", &[at("plan.before", 2, 4)], Setting { every: "1000", ..FILES });
}

#[test]
fn a_lost_delta_is_found() {
    found_in_files("bug@delta-lost", &[at("checkpoint.published", 4, 7)], FILES);
}

#[test]
fn a_lost_removal_is_found() {
    found_in_files("bug@removed-lost", &[at("checkpoint.published", 4, 7)], FILES);
}

#[test]
fn a_lost_position_is_found() {
    let slow = Setting { batch: "40ms", every: "1", rows: 400, ..FILES };
    found_in_files("bug@position-lost", &[at("checkpoint.published", 3, 6)], slow);
}

/// The manifest names files that are not written yet.
#[test]
fn state_that_is_written_after_the_manifest_is_found() {
    found_in_files("bug@state-late", &[at("checkpoint.published", 2, 5)], FILES);
}

/// A log is removed that is still needed.
#[test]
fn an_eager_collector_is_found() {
    found_in_files("bug@gc-eager", &[at("commit.after", 20, 40)], FILES);
}

#[test]
fn a_sink_that_skips_nothing_is_found() {
    found_in_files("bug@no-skip", &[at("commit.after", 2, 12)], FILES);
}

/// One of two workers has committed a batch. The other has not, but takes the first one's marker for its own.
#[test]
fn a_marker_ahead_that_counts_for_all_workers_is_found() {
    let shared = Setting { parts: "worker", ..FILES };
    found_in_files("bug@marker-of-others", &[at("commit.after", 3, 25)], shared);
}

/// The same with a broker, where each worker has its own transaction.
#[test]
fn a_marker_ahead_that_counts_for_all_workers_of_a_topic_is_found() {
    let broker = Broker::start();
    let setting = topic::Setting { batch: "5ms", every: "8", parts: "worker" };
    found("bug@marker-of-others", &[at("commit.after", 3, 25)], |killer| {
        let mut patient = killer.clone().patient();
        let ran = topic::trial_of(&broker, &mut patient, KILLS, setting);
        killer.tally = patient.tally;
        ran
    });
}

/// The state does not record when its keys had their last rows.
#[test]
fn lost_times_of_keys_are_found() {
    found_in_virtual_time("bug@touched-lost", &[at("checkpoint.published", 4, 20)]);
}

#[test]
fn a_replay_at_other_times_is_found() {
    found_in_virtual_time("bug@wrong-times", &[at("plan.durable", 3, 40)]);
}

/// Batches begin while the plugin is being replaced.
#[test]
fn a_batch_of_two_versions_is_found() {
    found("bug@begin-early", &[at("upgrade.swapped", 1, 1)], |killer| upgrade::trial(killer, KILLS));
}
