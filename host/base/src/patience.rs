//! Errors of file systems and of stores of checkpoints, and waiting until one that may pass is over.

use crate::error::{Error, Result};
use crate::failure::Failure;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const TRY_EVERY: Duration = Duration::from_millis(200);
/// Pauses between attempts to reach a server that is away: they double from the first to the last.
const PAUSE_MS_MIN: u64 = 100;
const PAUSE_MS_MAX: u64 = 5_000;

/// A store that could not do what it was asked.
#[derive(Clone, Debug)]
pub struct StoreError {
    /// What was to be done, and to what: `write checkpoints/state/….arrow`.
    pub what: String,
    /// Why it could not, for a person to read.
    pub reason: String,
    /// Whether it helps to try again.
    pub kind: StoreErrorKind,
}

/// Whether it helps to try again what a store could not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// It may go away by itself or when somebody makes room: a full or read-only disk, a server that does not answer.
    Passing,
    /// Somebody has to mend something.
    Lasting,
    /// A part of what was asked for is gone. Who does not need it goes on.
    Incomplete,
    /// Another start of the job has taken it over, so this process must not write any more.
    TakenOver,
    /// What is to be written cannot be, whatever is tried: a name that is too long.
    Unfit,
}

impl StoreErrorKind {
    /// The kind of something that may go away by itself, or not.
    pub fn passing(passing: bool) -> StoreErrorKind {
        if passing { StoreErrorKind::Passing } else { StoreErrorKind::Lasting }
    }
}

/// The cause of an [`std::io::Error`] where another start of the job has taken over what a process writes.
#[derive(Clone, Debug)]
pub struct TakenOver(String);

impl TakenOver {
    /// As an error of a file operation.
    pub fn error(message: String) -> std::io::Error {
        std::io::Error::other(TakenOver(message))
    }
}

impl fmt::Display for TakenOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TakenOver {}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.what, self.reason)
    }
}

impl std::error::Error for StoreError {}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Error {
        match error.kind {
            StoreErrorKind::Passing | StoreErrorKind::Lasting | StoreErrorKind::Incomplete => Error::environment(error),
            StoreErrorKind::TakenOver => Error::taken_over(error),
            StoreErrorKind::Unfit => Error::plugin(error),
        }
    }
}

/// A failure of the file system, with what was to be done. A disk that is full or cannot be written may get better.
pub fn io_failed(what: String, error: &std::io::Error) -> StoreError {
    let passing = [libc::ENOSPC, libc::EDQUOT, libc::EROFS, libc::EACCES, libc::EPERM];
    let kind = match error.get_ref() {
        Some(cause) if cause.is::<TakenOver>() => StoreErrorKind::TakenOver,
        _ if error.raw_os_error() == Some(libc::ENAMETOOLONG) => StoreErrorKind::Unfit,
        _ => StoreErrorKind::passing(error.raw_os_error().is_some_and(|code| passing.contains(&code))),
    };
    let reason = error.to_string();
    // Rust appends the number, which tells people nothing.
    let reason = reason.split(" (os error").next().unwrap_or_default().to_owned();
    StoreError { what, reason, kind }
}

/// The pause before the next attempt to reach a server.
pub fn longer(pause: Duration) -> Duration {
    (pause * 2).clamp(Duration::from_millis(PAUSE_MS_MIN), Duration::from_millis(PAUSE_MS_MAX))
}

/// Tries again, as long as the job lives, while the reason why it does not work may pass; says so once, and once more
/// when it goes on. The job waits meanwhile.
pub fn patiently<T>(failure: &Failure, attempt: impl FnMut() -> Result<T, StoreError>) -> Result<T> {
    wait_out(failure, attempt, |told| match told {
        PauseNotice::Paused(error) => {
            tracing::warn!("paused: {error}; the job resumes automatically when {}", remedy(&error.reason));
        }
        PauseNotice::GoesOn(pause) => tracing::info!("resumed after a pause of {:.1} s", pause.as_secs_f32()),
    })
}

/// The pauses of this process that last: since when, and why.
static PAUSES: Mutex<Vec<(Instant, String)>> = Mutex::new(Vec::new());

/// A pause. It has ended when this is dropped.
struct Pause(Instant);

impl Pause {
    fn begin(error: &StoreError) -> Pause {
        let since = Instant::now();
        PAUSES.lock().unwrap_or_else(PoisonError::into_inner).push((since, error.to_string()));
        Pause(since)
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        let mut pauses = PAUSES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = pauses.iter().position(|(since, _)| *since == self.0) {
            pauses.swap_remove(own);
        }
    }
}

/// Why something in this process waits patiently, where that has lasted for so long.
pub fn paused_for(least: Duration) -> Option<String> {
    let pauses = PAUSES.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, why) = pauses.iter().min_by_key(|(since, _)| *since).filter(|(since, _)| since.elapsed() >= least)?;
    Some(why.clone())
}

/// What the operator hears.
enum PauseNotice<'a> {
    Paused(&'a StoreError),
    GoesOn(Duration),
}

fn wait_out<T>(
    failure: &Failure,
    mut attempt: impl FnMut() -> Result<T, StoreError>,
    mut tell: impl FnMut(PauseNotice<'_>),
) -> Result<T> {
    let mut paused: Option<Pause> = None;
    loop {
        let error = match attempt() {
            Ok(done) => {
                if let Some(Pause(since)) = &paused {
                    tell(PauseNotice::GoesOn(since.elapsed()));
                }
                return Ok(done);
            }
            Err(error) => error,
        };
        if error.kind != StoreErrorKind::Passing || failure.happened() {
            return Err(error.into());
        }
        if paused.is_none() {
            paused = Some(Pause::begin(&error));
            tell(PauseNotice::Paused(&error));
        }
        std::thread::sleep(TRY_EVERY);
    }
}

/// What the job waits for.
fn remedy(reason: &str) -> &'static str {
    let full = ["No space left", "quota exceeded"].iter().any(|words| reason.contains(words));
    if full { "there is room" } else { "this works again" }
}

/// Whether servers that are away are waited for.
#[derive(Clone, Copy, Debug, Default)]
pub enum ServerWait {
    /// They are not: a command only wants to know what is there.
    #[default]
    No,
    /// As long as the job file allows (`wait`), and not longer than until then.
    Until(Option<Instant>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use std::io;

    fn full() -> StoreError {
        io_failed("write /x".into(), &io::Error::from_raw_os_error(libc::ENOSPC))
    }

    #[test]
    fn a_full_disk_pauses_and_says_so_once() {
        let (mut left, mut told) = (3, Vec::new());
        let attempt = || {
            left -= 1;
            if left > 0 { Err(full()) } else { Ok("done") }
        };
        let done = wait_out(&Failure::default(), attempt, |what| {
            told.push(match what {
                PauseNotice::Paused(error) => {
                    assert_eq!(paused_for(Duration::ZERO).as_deref(), Some("cannot write /x: No space left on device"));
                    format!("{error}; when {}", remedy(&error.reason))
                }
                PauseNotice::GoesOn(_) => "goes on".to_owned(),
            });
        });
        assert_eq!(done.expect("there is room in the end"), "done");
        assert_eq!(told, ["cannot write /x: No space left on device; when there is room", "goes on"]);
        assert_eq!(left, 0);
    }

    #[test]
    fn a_job_that_was_taken_over_is_not_started_again() {
        let lost = io_failed("write /x".into(), &TakenOver::error("another start has it".into()));
        assert_eq!(lost.kind, StoreErrorKind::TakenOver);
        let error = patiently(&Failure::default(), || Err::<(), _>(lost.clone())).expect_err("it does not pass");
        assert_eq!((error.kind, &*error.message), (Kind::TakenOver, "cannot write /x: another start has it"));
    }

    #[test]
    fn what_does_not_pass_and_a_failed_job_end_it() {
        let mut attempts = 0;
        let error = patiently(&Failure::default(), || {
            attempts += 1;
            Err::<(), _>(StoreError { kind: StoreErrorKind::Lasting, ..full() })
        });
        assert_eq!(error.expect_err("it does not pass").message, "cannot write /x: No space left on device");
        assert_eq!(attempts, 1);

        let failure = Failure::default();
        let error = patiently(&failure, || {
            attempts += 1;
            if attempts == 3 {
                failure.set(Error::bug("elsewhere"));
            }
            Err::<(), _>(full())
        });
        assert!(error.is_err());
        assert_eq!(attempts, 3);
    }
}
