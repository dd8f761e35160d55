//! Faults that tests plant. The environment variable `MILLSTREAM_TEST_FAULT` asks for them, as a list separated by commas.
//!
//! `kill@<point>:<n>` kills the process (SIGKILL) when it passes the point for the n-th time, `stop@<point>:<n>` stops it there
//! (SIGSTOP) until somebody lets it go on, `hold@<point>:<n>` lets only the thread that passes wait there, for ever or until there
//! is the file that `MILLSTREAM_TEST_GO` names, and `panic@<thread>:<n>` lets the n-th thread or task of this name panic. A process
//! may die, be stopped or wait at any moment anyway, so every build has these.
//!
//! `bug@<name>` plants a bug that the tests must find, and `lose-unsynced` makes local files forget what was not made
//! durable when the process dies. Both would break what the program promises, so only a build with the cargo feature
//! `planted-bugs` knows them: `make torture` makes one, beside the program that users get.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// How often a thread that waits looks whether it may go on.
const HOLD_LOOK_EVERY: Duration = Duration::from_millis(10);

/// What the environment asks for.
#[derive(Default)]
struct Faults {
    /// Passes that are left until the process dies, by point.
    kills: Mutex<BTreeMap<String, u64>>,
    /// The same until it is stopped.
    stops: Mutex<BTreeMap<String, u64>>,
    /// The same until the thread that passes waits.
    holds: Mutex<BTreeMap<String, u64>>,
    /// Starts that are left until a thread panics, by its name.
    panics: Mutex<BTreeMap<String, u64>>,
    /// All of the list.
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

/// A named step of plan, checkpoint or commit has been reached.
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

/// Whether a test wants the process to die, to stop or to wait at this step, some time: what is under way beside it may be waited for.
pub fn awaits(name: &str) -> bool {
    let faults = faults();
    let named = |counts: &Mutex<BTreeMap<String, u64>>| {
        counts.lock().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    };
    faults.any && (named(&faults.kills) || named(&faults.stops) || named(&faults.holds))
}

/// A thread or task of this name begins its work.
pub fn thread(name: &str) {
    let faults = faults();
    assert!(!faults.any || !is_due(&faults.panics, name), "a test wants the thread `{name}` to panic");
}

/// Counts one more, and says whether it is the one that a test wants.
fn is_due(counts: &Mutex<BTreeMap<String, u64>>, name: &str) -> bool {
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(left) = counts.get_mut(name).filter(|left| **left > 0) else { return false };
    *left -= 1;
    *left == 0
}

/// Whether a test planted this, as it stands in the list.
#[cfg(feature = "planted-bugs")]
pub fn is_planted(fault: &str) -> bool {
    faults().planted.iter().any(|planted| planted == fault)
}

/// Whether a test planted the bug of this name: never in the program that users get, which does not hold its name either.
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

/// Whether what was written and not made durable is to be lost when the process dies.
pub fn lose_unsynced() -> bool {
    #[cfg(feature = "planted-bugs")]
    return is_planted("lose-unsynced");
    #[cfg(not(feature = "planted-bugs"))]
    false
}

/// Ends the process as `kill -9` does.
fn die() -> ! {
    send(libc::SIGKILL);
    std::process::abort()
}

/// Sends this thread a signal, which is for the whole process: it goes no further. One that is sent to the process may be taken by
/// another thread, and until that gets a core this one would go on.
fn send(signal: libc::c_int) {
    // SAFETY: `raise` takes no memory of ours.
    unsafe { libc::raise(signal) };
}
