//! Runs the cases of a connector side by side, and names those that fail.

use super::connector::{Case, Connector};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread;

/// How many cases run at the same time.
const AT_ONCE: usize = 3;
/// Limits a run to one case, for whoever works on it: `CONTRACT_CASE=Kill`.
const ONLY: &str = "CONTRACT_CASE";

/// Cases with what each does.
pub type Tests<'a> = Vec<(Case, Box<dyn FnOnce() + Send + 'a>)>;

/// Runs these cases of a source or sink; the failures.
#[must_use]
pub fn run(role: &str, connector: &dyn Connector, tests: Tests<'_>) -> Vec<String> {
    connector.skips().iter().for_each(|(case, why)| assert!(why.len() > 10, "{role}: why not {case:?}?"));
    let only = std::env::var(ONLY).ok();
    let skipped: BTreeSet<Case> = connector.skips().into_iter().map(|(case, _)| case).collect();
    let known: BTreeSet<Case> = tests.iter().map(|(case, _)| *case).collect();
    assert!(known.len() == Case::ALL.len(), "{role}: a case is missing: {known:?}");
    let mut left: Vec<_> = tests.into_iter().filter(|(case, _)| !skipped.contains(case)).collect();
    left.retain(|(case, _)| only.as_ref().is_none_or(|only| format!("{case:?}") == *only));
    left.reverse();
    let (left, failures) = (Mutex::new(left), Mutex::new(Vec::new()));
    let next = || left.lock().expect("nobody panics with it").pop();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((case, test)) = next() {
                    let start = std::time::Instant::now();
                    let ended = catch_unwind(AssertUnwindSafe(test));
                    println!("{} {role}: {case:?}: {:.1} s", connector.kind(), start.elapsed().as_secs_f64());
                    if let Err(panic) = ended {
                        let text = panic.downcast_ref::<String>().cloned();
                        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                        let failure = format!("{} {role}: {case:?}: {}", connector.kind(), text.unwrap_or_default());
                        failures.lock().expect("nobody panics with it").push(failure);
                    }
                }
            });
        }
    });
    failures.into_inner().expect("nobody panics with it")
}
