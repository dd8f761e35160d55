//! Waiting until a store can do again what it could not.

use super::StoreError;
use crate::error::{Error, Result};
use crate::run::Failure;
use std::time::{Duration, Instant};

const TRY_EVERY: Duration = Duration::from_millis(200);

/// Tries again, as long as the job lives, while the reason why it does not work may pass; says so once, and once more
/// when it goes on. The job waits meanwhile.
pub fn patiently<T>(failure: &Failure, mut attempt: impl FnMut() -> Result<T, StoreError>) -> Result<T> {
    let mut paused: Option<Instant> = None;
    loop {
        let error = match attempt() {
            Ok(done) => {
                if let Some(since) = paused {
                    tracing::info!("goes on after a pause of {:.1} s", since.elapsed().as_secs_f32());
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
            tracing::warn!("paused: {error}; the job goes on by itself when {}", remedy(&error.reason));
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
    use super::super::io_failed;
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    fn full() -> StoreError {
        io_failed("write /x".into(), &io::Error::from_raw_os_error(libc::ENOSPC))
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged while `work` runs.
    fn logged(work: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
        tracing::subscriber::with_default(log, work);
        let bytes = lines.0.lock().expect("no panic").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn a_full_disk_pauses_and_says_so_once() {
        let mut left = 3;
        let log = logged(|| {
            let done = patiently(&Failure::default(), || {
                left -= 1;
                if left > 0 { Err(full()) } else { Ok("done") }
            });
            assert_eq!(done.expect("there is room in the end"), "done");
        });
        let paused = "paused: cannot write /x: No space left on device; the job goes on by itself when there is room";
        assert_eq!(log.matches(paused).count(), 1, "{log}");
        assert_eq!(log.matches("goes on after a pause").count(), 1, "{log}");
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
