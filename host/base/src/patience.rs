//! What file systems and stores of checkpoints could not do, and waiting until they can.

use crate::error::{Error, Result};
use crate::failure::Failure;
use std::fmt;
use std::time::{Duration, Instant};

const TRY_EVERY: Duration = Duration::from_millis(200);

/// A store that could not do what it was asked.
#[derive(Clone, Debug)]
pub struct StoreError {
    /// What was to be done, and to what: `write checkpoints/state/….arrow`.
    pub what: String,
    /// Why it could not, for a person to read.
    pub reason: String,
    /// It may go away by itself or when somebody makes room: a full or read-only disk, a server that does not answer.
    pub passing: bool,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.what, self.reason)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Error {
        Error::environment(error)
    }
}

/// A failure of the file system, with what was to be done. A disk that is full or cannot be written may get better.
pub fn io_failed(what: String, error: &std::io::Error) -> StoreError {
    let passing = [libc::ENOSPC, libc::EDQUOT, libc::EROFS, libc::EACCES, libc::EPERM];
    let reason = error.to_string();
    // Rust appends the number, which tells people nothing.
    let reason = reason.split(" (os error").next().unwrap_or_default().to_owned();
    StoreError { what, reason, passing: error.raw_os_error().is_some_and(|code| passing.contains(&code)) }
}

/// Tries again, as long as the job lives, while the reason why it does not work may pass; says so once, and once more
/// when it goes on. The job waits meanwhile.
pub fn patiently<T>(failure: &Failure, attempt: impl FnMut() -> Result<T, StoreError>) -> Result<T> {
    wait_out(failure, attempt, |told| match told {
        Told::Paused(error) => {
            tracing::warn!("paused: {error}; the job goes on by itself when {}", remedy(&error.reason));
        }
        Told::GoesOn(pause) => tracing::info!("goes on after a pause of {:.1} s", pause.as_secs_f32()),
    })
}

/// What the operator hears.
enum Told<'a> {
    Paused(&'a StoreError),
    GoesOn(Duration),
}

fn wait_out<T>(
    failure: &Failure,
    mut attempt: impl FnMut() -> Result<T, StoreError>,
    mut tell: impl FnMut(Told<'_>),
) -> Result<T> {
    let mut paused: Option<Instant> = None;
    loop {
        let error = match attempt() {
            Ok(done) => {
                if let Some(since) = paused {
                    tell(Told::GoesOn(since.elapsed()));
                }
                return Ok(done);
            }
            Err(error) => error,
        };
        if !error.passing || failure.happened() {
            return Err(Error::environment(error));
        }
        if paused.is_none() {
            paused = Some(Instant::now());
            tell(Told::Paused(&error));
        }
        std::thread::sleep(TRY_EVERY);
    }
}

/// What the job waits for.
fn remedy(reason: &str) -> &'static str {
    let full = ["No space left", "quota exceeded"].iter().any(|words| reason.contains(words));
    if full { "there is room" } else { "this works again" }
}

#[cfg(test)]
mod tests {
    use super::*;
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
                Told::Paused(error) => format!("{error}; when {}", remedy(&error.reason)),
                Told::GoesOn(_) => "goes on".to_owned(),
            });
        });
        assert_eq!(done.expect("there is room in the end"), "done");
        assert_eq!(told, ["cannot write /x: No space left on device; when there is room", "goes on"]);
        assert_eq!(left, 0);
    }

    #[test]
    fn what_does_not_pass_and_a_failed_job_end_it() {
        let mut attempts = 0;
        let error = patiently(&Failure::default(), || {
            attempts += 1;
            Err::<(), _>(StoreError { passing: false, ..full() })
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
