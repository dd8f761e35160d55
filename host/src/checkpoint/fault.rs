//! Faults that tests plant: deaths at named points, and bugs that the tests must find. Nothing happens unless the
//! environment variable `MILLSTREAM_TEST_FAULT` asks for it.
//!
//! Its value is a list of faults separated by commas: `kill@<point>:<n>` kills the process (SIGKILL) when it passes the
//! point for the n-th time; `bug@<name>` plants a bug; `lose-unsynced` makes local files forget what was not made durable
//! when the process dies.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};

/// What the environment asks for.
#[derive(Default)]
struct Faults {
    /// Passes that are left until the process dies, by point.
    kills: Mutex<BTreeMap<String, u64>>,
    bugs: Vec<String>,
    lose_unsynced: bool,
    any: bool,
}

fn faults() -> &'static Faults {
    static FAULTS: OnceLock<Faults> = OnceLock::new();
    FAULTS.get_or_init(|| parse(&std::env::var("MILLSTREAM_TEST_FAULT").unwrap_or_default()))
}

fn parse(text: &str) -> Faults {
    let mut faults = Faults { any: !text.is_empty(), ..Faults::default() };
    let mut kills = BTreeMap::new();
    for fault in text.split(',') {
        if let Some((point, passes)) = fault.strip_prefix("kill@").and_then(|kill| kill.rsplit_once(':')) {
            kills.insert(point.to_owned(), passes.parse().unwrap_or(1));
        } else if let Some(bug) = fault.strip_prefix("bug@") {
            faults.bugs.push(bug.to_owned());
        } else if fault == "lose-unsynced" {
            faults.lose_unsynced = true;
        }
    }
    faults.kills = Mutex::new(kills);
    faults
}

/// A named step of plan, checkpoint or commit has been reached.
pub fn point(name: &str) {
    let faults = faults();
    if !faults.any {
        return;
    }
    let mut kills = faults.kills.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(left) = kills.get_mut(name) {
        *left = left.saturating_sub(1);
        if *left == 0 {
            die();
        }
    }
}

/// Whether a test planted this bug.
pub fn bug(name: &str) -> bool {
    let faults = faults();
    faults.any && faults.bugs.iter().any(|bug| bug == name)
}

/// Whether what was written and not made durable is to be lost when the process dies.
pub fn lose_unsynced() -> bool {
    faults().lose_unsynced
}

/// Ends the process as `kill -9` does.
fn die() -> ! {
    // SAFETY: `kill` and `getpid` take no memory of ours.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    std::process::abort()
}
