//! Retries until a batch is committed: one loop for all sinks that write to a server.

use super::waiting::pause_or_end;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::ids::BatchId;
use millstream_base::retry::longer;
use millstream_base::units;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// Why a server did not accept a batch.
pub enum ServerFault {
    /// Transient: the server is unreachable or not ready.
    Transient(String),
    /// Transient, with the server's own minimum delay.
    Busy(String, Duration),
    /// Permanent.
    Permanent(Error),
}

/// A committing sink, and its retry limits.
pub struct CommitRetry<'a> {
    /// The sink.
    pub sink: &'a str,
    /// The server; empty if the reasons name it.
    pub server_name: &'a str,
    /// How long to wait for an unreachable server.
    pub wait: Duration,
    /// Signals that the job has ended.
    pub failure: &'a Failure,
}

impl CommitRetry<'_> {
    /// Retries until the batch is committed, the job has ended, or a permanent error occurs.
    pub fn commit<T>(&self, batch: BatchId, attempt: impl FnMut() -> std::result::Result<T, ServerFault>) -> Result<T> {
        self.until_done(&format!("sink `{}`: batch {batch}", self.sink), attempt)
    }

    /// The same for requests that belong to no batch.
    pub fn retry<T>(&self, attempt: impl FnMut() -> std::result::Result<T, ServerFault>) -> Result<T> {
        self.until_done(&format!("sink `{}`", self.sink), attempt)
    }

    fn until_done<T>(
        &self,
        context: &str,
        mut attempt: impl FnMut() -> std::result::Result<T, ServerFault>,
    ) -> Result<T> {
        let ended = || Error::environment(format!("{context}: the job has ended"));
        let server_name = if self.server_name.is_empty() { String::new() } else { format!("{}: ", self.server_name) };
        let (began, mut pause) = (Instant::now(), Duration::ZERO);
        loop {
            let (why, pause_min) = match attempt() {
                Ok(done) => {
                    if !pause.is_zero() {
                        let server = if self.server_name.is_empty() { "it" } else { self.server_name };
                        tracing::info!("{context}: {server} accepts rows again; the job continues");
                    }
                    return Ok(done);
                }
                Err(ServerFault::Permanent(error)) => return Err(error),
                Err(ServerFault::Transient(why)) => (why, Duration::ZERO),
                Err(ServerFault::Busy(why, pause_min)) => (why, pause_min),
            };
            if self.failure.happened() {
                return Err(ended());
            }
            let left = self.wait.saturating_sub(began.elapsed());
            if left.is_zero() {
                let wait = units::show_time(self.wait);
                return Err(Error::environment(format!(
                    "{context}: {server_name}{why}; the job has waited for {wait} (`wait`)"
                )));
            }
            if pause.is_zero() {
                tracing::warn!("{context}: {server_name}{why}; the job waits and retries until it works");
            }
            pause = longer(pause);
            if !pause_or_end(spread(pause).max(pause_min).min(left), self.failure) {
                return Err(ended());
            }
        }
    }
}

/// Returns between half and all of a pause: clients that were rejected together do not return together.
fn spread(pause: Duration) -> Duration {
    let share = RandomState::new().hash_one(0) % 1000;
    pause.mul_f64(0.5 + share as f64 / 2000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(failure: &Failure, wait: Duration) -> CommitRetry<'_> {
        CommitRetry { sink: "out", server_name: "db at h:1", wait, failure }
    }

    #[test]
    fn it_is_tried_until_it_works() {
        let failure = Failure::default();
        let mut tries = 0;
        let done = retry(&failure, Duration::from_secs(60)).retry(|| {
            tries += 1;
            match tries {
                1 => Err(ServerFault::Transient("away".into())),
                2 => Err(ServerFault::Busy("full".into(), Duration::from_millis(1))),
                tries => Ok(tries),
            }
        });
        assert_eq!(done.unwrap(), 3);
    }

    /// The last attempt is exactly when the time expires.
    #[test]
    fn no_pause_goes_past_the_end() {
        let failure = Failure::default();
        for wait in [Duration::ZERO, Duration::from_millis(30)] {
            let (began, mut tried) = (Instant::now(), Duration::ZERO);
            let error = retry(&failure, wait).commit(BatchId(7), || {
                tried = began.elapsed();
                Err::<(), _>(ServerFault::Busy("away".into(), Duration::from_secs(3600)))
            });
            let error = error.unwrap_err().to_string();
            assert!(error.starts_with("sink `out`: batch 7: db at h:1: away; the job has waited for "), "{error}");
            assert!(tried >= wait, "{tried:?}");
        }
    }

    #[test]
    fn what_does_not_pass_is_tried_once() {
        let failure = Failure::default();
        let mut tries = 0;
        let error = retry(&failure, Duration::from_secs(60)).commit(BatchId(1), || {
            tries += 1;
            Err::<(), _>(ServerFault::Permanent(Error::plugin("no".to_owned())))
        });
        assert_eq!((error.unwrap_err().to_string().as_str(), tries), ("no", 1));
    }
}
