//! Faults that tests plant. The environment variable `MILLSTREAM_TEST_FAULT` lists them, separated by commas.
//!
//! `kill@<point>:<n>` kills the process (SIGKILL) when it passes the point for the n-th time. `stop@<point>:<n>` stops it there (SIGSTOP) until it
//! receives SIGCONT. `hold@<point>:<n>` makes only the passing thread wait there, indefinitely or until the file that `MILLSTREAM_TEST_GO` names
//! exists. `panic@<thread>:<n>` makes the n-th thread or task of this name panic. A process may die, be stopped or wait at any moment anyway, so
//! every build supports these.
//!
//! `bug@<name>` plants a bug that the tests must find, and `lose-unsynced` makes local files lose what was not durable when the process dies. Both
//! would break the guarantees of the program, so they require a build with the cargo feature `planted-bugs`: `make torture` builds one, next to the
//! program for users.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// How often a waiting thread checks whether it may continue.
const HOLD_LOOK_EVERY: Duration = Duration::from_millis(10);

/// The faults that the environment requests.
#[derive(Default)]
struct Faults {
    /// Remaining passes until the process dies, by point.
    kills: Mutex<BTreeMap<String, u64>>,
    /// Remaining passes until it is stopped.
    stops: Mutex<BTreeMap<String, u64>>,
    /// Remaining passes until the passing thread waits.
    holds: Mutex<BTreeMap<String, u64>>,
    /// Remaining starts until a thread panics, by its name.
    panics: Mutex<BTreeMap<String, u64>>,
    /// The complete list.
    #[cfg(feature = "planted-bugs")]
    planted: Vec<String>,
    any: bool,
}

fn faults() -> &'static Faults {
    static FAULTS: OnceLock<Faults> = OnceLock::new();
    FAULTS.get_or_init(|| parse(&std::env::var("MILLSTREAM_TEST_FAULT").unwrap_or_default()))
}

fn parse(text: &str) -> Faults {
    let counts = |word: &str| {
        let faults = text.split(',').filter_map(|fault| fault.strip_prefix(word)?.rsplit_once(':'));
        Mutex::new(faults.map(|(name, count)| (name.to_owned(), count.parse().unwrap_or(1))).collect())
    };
    Faults {
        kills: counts("kill@"),
        stops: counts("stop@"),
        holds: counts("hold@"),
        panics: counts("panic@"),
        #[cfg(feature = "planted-bugs")]
        planted: text.split(',').map(str::to_owned).collect(),
        any: !text.is_empty(),
    }
}

/// Marks that a named step of plan, checkpoint or commit has been reached.
pub fn point(name: &str) {
    let faults = faults();
    if !faults.any {
        return;
    }
    if is_due(&faults.kills, name) {
        die();
    }
    if is_due(&faults.stops, name) {
        send(libc::SIGSTOP);
    }
    if is_due(&faults.holds, name) {
        tracing::warn!("a test wants this thread to wait at `{name}`");
        let go = std::env::var_os("MILLSTREAM_TEST_GO").map(PathBuf::from);
        while !go.as_ref().is_some_and(|go| go.exists()) {
            std::thread::sleep(HOLD_LOOK_EVERY);
        }
    }
}

/// Returns whether a test wants the process to die, stop or wait at this step at some time: concurrent work may be waited for.
pub fn awaits(name: &str) -> bool {
    let faults = faults();
    let named = |counts: &Mutex<BTreeMap<String, u64>>| {
        counts.lock().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    };
    faults.any && (named(&faults.kills) || named(&faults.stops) || named(&faults.holds))
}

/// Marks that a thread or task of this name begins its work.
pub fn thread(name: &str) {
    let faults = faults();
    assert!(!faults.any || !is_due(&faults.panics, name), "a test wants the thread `{name}` to panic");
}

/// Counts one more pass; returns whether it is the one that a test wants.
fn is_due(counts: &Mutex<BTreeMap<String, u64>>, name: &str) -> bool {
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(left) = counts.get_mut(name).filter(|left| **left > 0) else { return false };
    *left -= 1;
    *left == 0
}

/// Returns whether a test planted this fault, as written in the list.
#[cfg(feature = "planted-bugs")]
pub fn is_planted(fault: &str) -> bool {
    faults().planted.iter().any(|planted| planted == fault)
}

/// Returns whether a test planted the bug of this name. Always false in the program for users, which does not even contain the name.
#[cfg(feature = "planted-bugs")]
#[macro_export]
macro_rules! bug {
    ($name:literal) => {
        $crate::fault::is_planted(concat!("bug@", $name))
    };
}
#[cfg(not(feature = "planted-bugs"))]
#[macro_export]
macro_rules! bug {
    ($name:literal) => {
        false
    };
}
pub use crate::bug;

/// Returns whether data that was written and not made durable is lost when the process dies.
pub fn lose_unsynced() -> bool {
    #[cfg(feature = "planted-bugs")]
    return is_planted("lose-unsynced");
    #[cfg(not(feature = "planted-bugs"))]
    false
}

/// Ends the process like `kill -9`.
fn die() -> ! {
    send(libc::SIGKILL);
    std::process::abort()
}

/// Sends this thread a signal for the whole process and stops here. A signal sent to the process may be taken by another thread, and until that gets
/// a core this one would continue.
fn send(signal: libc::c_int) {
    // SAFETY: `raise` does not access our memory.
    unsafe { libc::raise(signal) };
}
