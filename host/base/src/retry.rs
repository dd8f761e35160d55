//! Errors of file systems and of checkpoint stores, and retries of transient ones.

use crate::error::{Error, Result};
use crate::failure::Failure;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const TRY_EVERY: Duration = Duration::from_millis(200);
/// Pauses between attempts to reach an unavailable server: they double from the first to the last.
const PAUSE_MS_MIN: u64 = 100;
const PAUSE_MS_MAX: u64 = 5_000;

/// An operation of a store that failed.
#[derive(Clone, Debug)]
pub struct StoreError {
    /// The failed operation: `write checkpoints/state/….arrow`.
    pub what: String,
    /// Why it failed, for people.
    pub reason: String,
    /// Whether a retry helps.
    pub kind: StoreErrorKind,
}

/// Whether a retry of a failed store operation helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// Transient, or until someone makes room: a full or read-only disk, a server that does not respond.
    Transient,
    /// Someone has to fix something.
    Permanent,
    /// A part of the requested data was deleted. Callers that do not need it continue.
    Incomplete,
    /// Another start of the job has taken over, so this process must not write any longer.
    TakenOver,
    /// The data can never be written: a name that is too long.
    ConversionError,
}

impl StoreErrorKind {
    /// Returns the kind of a transient or permanent error.
    pub fn of_transient(transient: bool) -> StoreErrorKind {
        if transient { StoreErrorKind::Transient } else { StoreErrorKind::Permanent }
    }
}

/// The cause of an [`std::io::Error`] if another start of the job has taken over the output of a process.
#[derive(Clone, Debug)]
pub struct TakenOver(String);

impl TakenOver {
    /// Wraps it as an error of a file operation.
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
            StoreErrorKind::Transient | StoreErrorKind::Permanent | StoreErrorKind::Incomplete => {
                Error::environment(error)
            }
            StoreErrorKind::TakenOver => Error::taken_over(error),
            StoreErrorKind::ConversionError => Error::plugin(error),
        }
    }
}

/// Creates the error of a failed file operation. A full or read-only disk is transient.
pub fn io_failed(what: String, error: &std::io::Error) -> StoreError {
    let transient_codes = [libc::ENOSPC, libc::EDQUOT, libc::EROFS, libc::EACCES, libc::EPERM];
    let kind = match error.get_ref() {
        Some(cause) if cause.is::<TakenOver>() => StoreErrorKind::TakenOver,
        _ if error.raw_os_error() == Some(libc::ENAMETOOLONG) => StoreErrorKind::ConversionError,
        _ => StoreErrorKind::of_transient(error.raw_os_error().is_some_and(|code| transient_codes.contains(&code))),
    };
    let reason = error.to_string();
    // Rust appends the error number, which does not help people.
    let reason = reason.split(" (os error").next().unwrap_or_default().to_owned();
    StoreError { what, reason, kind }
}

/// Returns the pause before the next attempt to reach a server.
pub fn longer(pause: Duration) -> Duration {
    (pause * 2).clamp(Duration::from_millis(PAUSE_MS_MIN), Duration::from_millis(PAUSE_MS_MAX))
}

/// Retries a transient failure for as long as the job lives; logs it once, and again on recovery. The job waits meanwhile.
pub fn retry_transient<T>(failure: &Failure, attempt: impl FnMut() -> Result<T, StoreError>) -> Result<T> {
    wait_out(failure, attempt, |notice| match notice {
        PauseNotice::Paused(error) => {
            tracing::warn!("paused: {error}; the job resumes automatically when {}", remedy(&error.reason));
        }
        PauseNotice::Recovered(pause) => tracing::info!("resumed after a pause of {:.1} s", pause.as_secs_f32()),
    })
}

/// The current pauses of this process: since when, and why.
static PAUSES: Mutex<Vec<(Instant, String)>> = Mutex::new(Vec::new());

/// A pause. It ends when this is dropped.
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

/// Returns why something in this process is being retried, if that has taken at least `min_duration`.
pub fn paused_for(min_duration: Duration) -> Option<String> {
    let pauses = PAUSES.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, why) =
        pauses.iter().min_by_key(|(since, _)| *since).filter(|(since, _)| since.elapsed() >= min_duration)?;
    Some(why.clone())
}

/// The log messages of a pause.
enum PauseNotice<'a> {
    Paused(&'a StoreError),
    Recovered(Duration),
}

fn wait_out<T>(
    failure: &Failure,
    mut attempt: impl FnMut() -> Result<T, StoreError>,
    mut notify: impl FnMut(PauseNotice<'_>),
) -> Result<T> {
    let mut paused: Option<Pause> = None;
    loop {
        let error = match attempt() {
            Ok(done) => {
                if let Some(Pause(since)) = &paused {
                    notify(PauseNotice::Recovered(since.elapsed()));
                }
                return Ok(done);
            }
            Err(error) => error,
        };
        if error.kind != StoreErrorKind::Transient || failure.happened() {
            return Err(error.into());
        }
        if paused.is_none() {
            paused = Some(Pause::begin(&error));
            notify(PauseNotice::Paused(&error));
        }
        std::thread::sleep(TRY_EVERY);
    }
}

/// Returns what the job waits for.
fn remedy(reason: &str) -> &'static str {
    let full = ["No space left", "quota exceeded"].iter().any(|phrase| reason.contains(phrase));
    if full { "there is room" } else { "this works again" }
}

/// Whether to wait for unreachable servers.
#[derive(Clone, Copy, Debug, Default)]
pub enum StartupRetry {
    /// No: a command only reads what exists.
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
        let (mut left, mut notices) = (3, Vec::new());
        let attempt = || {
            left -= 1;
            if left > 0 { Err(full()) } else { Ok("done") }
        };
        let done = wait_out(&Failure::default(), attempt, |what| {
            notices.push(match what {
                PauseNotice::Paused(error) => {
                    assert_eq!(paused_for(Duration::ZERO).as_deref(), Some("cannot write /x: No space left on device"));
                    format!("{error}; when {}", remedy(&error.reason))
                }
                PauseNotice::Recovered(_) => "goes on".to_owned(),
            });
        });
        assert_eq!(done.expect("there is room in the end"), "done");
        assert_eq!(notices, ["cannot write /x: No space left on device; when there is room", "goes on"]);
        assert_eq!(left, 0);
    }

    #[test]
    fn a_job_that_was_taken_over_is_not_started_again() {
        let lost = io_failed("write /x".into(), &TakenOver::error("another start has it".into()));
        assert_eq!(lost.kind, StoreErrorKind::TakenOver);
        let error = retry_transient(&Failure::default(), || Err::<(), _>(lost.clone())).expect_err("it does not pass");
        assert_eq!((error.kind, &*error.message), (Kind::TakenOver, "cannot write /x: another start has it"));
    }

    #[test]
    fn what_does_not_pass_and_a_failed_job_end_it() {
        let mut attempts = 0;
        let error = retry_transient(&Failure::default(), || {
            attempts += 1;
            Err::<(), _>(StoreError { kind: StoreErrorKind::Permanent, ..full() })
        });
        assert_eq!(error.expect_err("it does not pass").message, "cannot write /x: No space left on device");
        assert_eq!(attempts, 1);

        let failure = Failure::default();
        let error = retry_transient(&failure, || {
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
