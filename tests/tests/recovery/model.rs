//! The protocol of plans, commits, checkpoints and starts, checked in every possible order of events.
//!
//! The decisions are the program's own: `planned`, `resolve`, `claim`, `leftovers`, `commits`, `publish` and `garbage` are called
//! here as in the program. The model is of the world around them: a store, two sinks, the steps of a job, and what can fail
//! between any two of them.
//!
//! Workers' shares of one sink, each with its own marker, and starts with other workers have a separate model: `shares`. So do
//! processes that find each other: `pairs`; and rescaling: `handover`.
//!
//! **Job.** Two workers. Each has a source and writes its pieces: worker 0 reads a replayable source, worker 1 receives from a
//! socket. Each writes its own file of every checkpoint. There are three batches, two of them in flight. The number of rows in a
//! batch differs by generation, so that a batch that is planned again is a different batch. Checkpoints follow each batch, or
//! some batches; every other one is a base, those between are deltas.
//!
//! **Failures.** At any two moments, also in the middle of a start, another start begins. The previous process is dead, or only
//! seems so. In that case it may still do what it had in flight, at any later moment: append plans, write files, commit, replace
//! the manifest, list and delete objects. A write whose response was lost is a step taken just before the end; a request that
//! arrives late is a step of such a process.
//!
//! **State.** The content of a table is modelled by how much of each input it has absorbed, and the content of a sink by how much
//! was committed to it. So a batch whose input or state is not exactly the next one violates a property immediately.
//!
//! **Bounds.** One of the two crashes, either, leaves a process alive (of three crashes, none does). That process takes at most
//! [`OLD_STEPS_MAX`] steps after the crash, begins no further batch, and ends when a third process starts. A process takes its
//! own steps in every possible order, with exceptions. A job takes them in one order while an older process may still take some,
//! before the crash that none survives if the other is survived, and after the last crash. Those orders are covered without the
//! other process. Objects are deleted in the order of the listing. Sinks are alike, and so are the workers' files, so it does not
//! matter which of the two is first.

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

/// Steps that a process may take after another has replaced it: enough to replace the manifest, list the store and delete.
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
fn the_job_runs_in_the_end_whichever_process_dies_in_a_handover() {
    holds("model of handovers", Handovers { bug: None });
}

#[test]
fn every_rule_of_handovers_is_needed() {
    each_is_needed("model of handovers", HandoverBug::ALL, |bug| Handovers { bug });
}

/// Checks all reachable states, and prints their number.
fn holds<M>(what: &str, model: M)
where
    M: Model<State: Clone + Debug + Hash + PartialEq + Send + Sync, Action: Clone + Debug + PartialEq>
        + Send
        + Sync
        + 'static,
{
    let began = Instant::now();
    let checker = model.checker().threads(THREADS).spawn_bfs().join();
    print_line(&format!(
        "{what}: {} different states, {} steps between them, at most {} one after the other, in {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        began.elapsed().as_secs_f64()
    ));
    checker.assert_properties();
}

/// With each of these rules broken, a violation is found.
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

/// Checks that a violation was found with a rule broken.
fn is_broken<M>(what: &str, bug: impl Debug, checker: &impl Checker<M>)
where
    M: Model<State: Clone + PartialEq, Action: Clone + PartialEq + Debug>,
{
    let Some((name, actions)) = counterexample(checker) else { panic!("{bug:?}: no counterexample was found") };
    print_line(&format!("{what}: {bug:?} breaks `{name}`: {actions}"));
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
fn print_line(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn nothing_is_lost_or_duplicated_in_any_order_of_events() {
        holds("model", protocol(None, 2));
    }

    #[test]
    fn nothing_is_lost_or_duplicated_by_starts_that_are_killed_while_they_replay() {
        holds("model of three crashes", protocol(None, 3));
    }

    /// Rows left over by two starts, which a third does not record, are lost to a fourth.
    #[test]
    fn a_checkpoint_made_in_a_replay_must_record_leftover_rows() {
        each_is_needed("model of three crashes", [Bug::LeftoverUntold], |bug| protocol(bug, 3));
    }

    #[test]
    fn no_row_of_a_share_is_lost_or_duplicated_in_any_order_of_events() {
        holds("model of shares", Shares { bug: None });
    }
}
