//! The protocol of plans, commits, checkpoints and starts, checked in all the orders in which it can happen.
//!
//! The decisions are those of the program: `planned`, `resolve`, `claim`, `leftovers`, `commits`, `publish` and `garbage`
//! are called here as they are called there. What is modelled is the world around them: a store, two sinks, the steps of a
//! job, and what can go wrong between any two of them.
//!
//! What workers have of one sink, each with a marker of its own, and starts with other workers are a world of their own: `shares`. So are
//! processes that find each other: `pairs`; and a job on its way to other workers: `handover`.
//!
//! **Job.** Two workers. Each has a source and writes its pieces: worker 0 reads a source that can be read again, worker 1
//! receives from a socket. Each writes its own file of every checkpoint. Three batches, two of them in flight; how many
//! rows a batch takes differs by generation, so that a batch planned anew is another batch. Checkpoints follow on each
//! batch, or on some; every other one is a base, those between tell changes.
//!
//! **What goes wrong.** At any two moments, in the middle of a start too, another start begins. The process that ran until
//! then is dead, or only seems so: it may still do what it had in flight, at any later moment: append plans, write files,
//! commit, replace the manifest, list and delete objects. A write whose answer never came is a step that was taken just
//! before the end; a request that arrives late is a step of such a process.
//!
//! **State.** What a table holds is told by how much of each input it has absorbed, and what a sink holds by how much was
//! committed to it: a batch whose input, or whose state, is not just what follows breaks a property at once.
//!
//! **Bounds.** One of the two crashes, either, leaves a process alive (of three, none does); it takes at most [`OLD_STEPS_MAX`] steps after the
//! crash, begins no further batch, and ends when a third process starts. Whatever runs takes its own steps in every order
//! in which they can happen, but for these: a job takes them in one order while an older process still may take some,
//! before the crash that none survives if the other is survived, and after the last crash. Those orders are tried without
//! the rest. Objects are deleted in the order of the listing. Sinks are alike, and so are the workers' files, so that which
//! of the two is first does not count.

mod check;
mod handover;
mod objects;
mod pairs;
mod shares;
mod start;
mod state;
mod steps;

use handover::{HandoverBug, Handovers};
use pairs::{PairBug, Pairs};
use shares::{ShareBug, Shares};
use state::{Bug, Protocol};
use stateright::{Checker, Expectation, HasDiscoveries, Model};
use std::fmt::Debug;
use std::hash::Hash;
use std::io::Write;
use std::sync::Mutex;
use std::time::Instant;

/// Steps that a process may take after another has begun in its place: enough to replace the manifest, list the store and
/// delete.
const OLD_STEPS_MAX: u8 = 3;
/// Threads that search.
const THREADS: usize = 2;

#[test]
fn every_rule_is_needed() {
    for bug in Bug::ALL {
        let search = protocol(Some(bug), 2).checker().threads(THREADS).finish_when(HasDiscoveries::AnyFailures);
        is_broken("model", bug, &search.spawn_dfs().join());
    }
}

#[test]
fn every_rule_of_shares_is_needed() {
    each_is_needed("model of shares", ShareBug::ALL, |bug| Shares { bug });
}

#[test]
fn processes_of_two_starts_never_run_together_and_all_run_in_the_end() {
    holds("model of pairs", Pairs { bug: None });
}

#[test]
fn every_rule_of_pairs_is_needed() {
    each_is_needed("model of pairs", PairBug::ALL, |bug| Pairs { bug });
}

#[test]
fn whoever_dies_in_a_handover_the_job_runs_in_the_end() {
    holds("model of handovers", Handovers { bug: None });
}

#[test]
fn every_rule_of_handovers_is_needed() {
    each_is_needed("model of handovers", HandoverBug::ALL, |bug| Handovers { bug });
}

/// Looks at all states that there are, and says how many.
fn holds<M>(what: &str, model: M)
where
    M: Model<State: Clone + Debug + Hash + PartialEq + Send + Sync, Action: Clone + Debug + PartialEq>
        + Send
        + Sync
        + 'static,
{
    let began = Instant::now();
    let checker = model.checker().threads(THREADS).spawn_bfs().join();
    say(&format!(
        "{what}: {} different states, {} steps between them, at most {} one after the other, in {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        began.elapsed().as_secs_f64()
    ));
    checker.assert_properties();
}

/// With each of these rules broken something is found.
fn each_is_needed<B, M>(what: &str, bugs: impl IntoIterator<Item = B>, model: impl Fn(Option<B>) -> M)
where
    B: Copy + Debug,
    M: Model<State: Clone + Debug + Hash + PartialEq + Send + Sync, Action: Clone + Debug + PartialEq>
        + Send
        + Sync
        + 'static,
{
    for bug in bugs {
        let search = model(Some(bug)).checker().threads(THREADS).finish_when(HasDiscoveries::AnyFailures);
        is_broken(what, bug, &search.spawn_bfs().join());
    }
}

/// With a rule broken, something must have been found.
fn is_broken<M>(what: &str, bug: impl Debug, checker: &impl Checker<M>)
where
    M: Model<State: Clone + PartialEq, Action: Clone + PartialEq + Debug>,
{
    let Some((name, actions)) = counterexample(checker) else { panic!("{bug:?}: no counterexample was found") };
    say(&format!("{what}: {bug:?} breaks `{name}`: {actions}"));
}

/// A property that does not hold, and what leads there.
fn counterexample<M>(checker: &impl Checker<M>) -> Option<(&'static str, String)>
where
    M: Model<State: Clone + PartialEq, Action: Clone + PartialEq + Debug>,
{
    let must_hold = |name| checker.model().property(name).expectation != Expectation::Sometimes;
    let (name, path) = checker.discoveries().into_iter().find(|(name, _)| must_hold(name))?;
    let actions: Vec<_> = path.into_actions().iter().map(|action| format!("{action:?}")).collect();
    Some((name, actions.join(", ")))
}

fn protocol(bug: Option<Bug>, crashes: u8) -> Protocol {
    Protocol { bug, old_steps_max: OLD_STEPS_MAX, crashes, ends: Mutex::default() }
}

/// Says something that is shown although the test succeeds.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// What takes long: `make torture` runs it, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn nothing_is_lost_or_doubled_in_any_order_of_events() {
        holds("model", protocol(None, 2));
    }

    #[test]
    fn nothing_is_lost_or_doubled_by_starts_that_are_killed_while_they_replay() {
        holds("model of three crashes", protocol(None, 3));
    }

    /// What two starts leave over, and a third does not tell of, is lost to a fourth.
    #[test]
    fn a_checkpoint_made_in_a_replay_must_tell_of_rows_that_are_left_over() {
        each_is_needed("model of three crashes", [Bug::LeftoverUntold], |bug| protocol(bug, 3));
    }

    #[test]
    fn no_row_of_a_share_is_lost_or_doubled_in_any_order_of_events() {
        holds("model of shares", Shares { bug: None });
    }
}
