//! The protocol of plans, commits, checkpoints and starts, checked in all the orders in which it can happen.
//!
//! The decisions are those of the program: `planned`, `resolve`, `claim`, `leftovers`, `commits`, `publish` and `garbage`
//! are called here as they are called there. What is modelled is the world around them: a store, two sinks, the steps of a
//! job, and what can go wrong between any two of them.
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
//! **Bounds.** Besides the above: an older process ends when a third starts, and takes at most [`model::state::OLD_STEPS_MAX`]
//! steps after the second began; the job after the last crash takes its own steps in one order, since all their orders
//! were tried before the crashes. Objects are deleted in the order of the listing.

mod model {
    pub mod check;
    pub mod objects;
    pub mod start;
    pub mod state;
    pub mod steps;
}

use model::state::{Bug, Protocol};
use stateright::{Checker, HasDiscoveries, Model};
use std::sync::Mutex;
use std::time::Instant;

/// Threads that search.
const THREADS: usize = 2;

#[test]
fn nothing_is_lost_or_doubled_in_any_order_of_events() {
    let began = Instant::now();
    let checker = protocol(None).checker().threads(THREADS).spawn_bfs().report(&mut stateright::report::WriteReporter::new(&mut std::io::stderr()));
    println!(
        "{} states, {} of them different, {} steps deep, in {:.1} s",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        began.elapsed().as_secs_f64()
    );
    checker.assert_properties();
}

#[test]
fn every_rule_is_needed() {
    for bug in Bug::ALL {
        let began = Instant::now();
        let checker = protocol(Some(bug))
            .checker()
            .threads(THREADS)
            .finish_when(HasDiscoveries::AnyFailures)
            .spawn_bfs()
            .join();
        let broken = checker.discoveries().into_iter().find(|(name, _)| {
            checker.model().properties().iter().any(|property| {
                property.name == *name && property.expectation != stateright::Expectation::Sometimes
            })
        });
        let Some((name, path)) = broken else { panic!("{bug:?}: no counterexample was found") };
        let actions: Vec<_> = path.into_actions().iter().map(|action| format!("{action:?}")).collect();
        println!(
            "{bug:?}: not `{name}` after {} steps, in {:.1} s: {}",
            actions.len(),
            began.elapsed().as_secs_f64(),
            actions.join(", ")
        );
    }
}

fn protocol(bug: Option<Bug>) -> Protocol {
    let number = |name: &str, default| std::env::var(name).map_or(default, |n| n.parse().unwrap());
    Protocol { bug, old_steps_max: number("OLD", 3), ends: Mutex::default() }
}
