//! Trying until a batch is committed: one loop for all sinks that write to a server.

use super::waiting::pause_or_end;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::ids::BatchId;
use millstream_base::patience::longer;
use millstream_base::units;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// Why a server did not take a batch.
pub enum ServerFault {
    /// It may work later: the server is away, or is not ready.
    Passing(String),
    /// The same, after this time at least, as the server says.
    Busy(String, Duration),
    /// It does not pass by itself.
    Lasting(Error),
}

/// Who commits, and how long it is tried.
pub struct CommitRetry<'a> {
    /// The sink.
    pub sink: &'a str,
    /// The server; empty where the reasons say which it is.
    pub place: &'a str,
    /// For how long a server that is away is waited for.
    pub wait: Duration,
    /// Tells that the job has ended.
    pub failure: &'a Failure,
}

impl CommitRetry<'_> {
    /// Tries until the batch is committed, the job has ended, or something is wrong that does not pass.
    pub fn commit<T>(&self, batch: BatchId, attempt: impl FnMut() -> std::result::Result<T, ServerFault>) -> Result<T> {
        self.until_done(&format!("sink `{}`: batch {batch}", self.sink), attempt)
    }

    /// The same for what belongs to no batch.
    pub fn ask<T>(&self, attempt: impl FnMut() -> std::result::Result<T, ServerFault>) -> Result<T> {
        self.until_done(&format!("sink `{}`", self.sink), attempt)
    }

    fn until_done<T>(&self, who: &str, mut attempt: impl FnMut() -> std::result::Result<T, ServerFault>) -> Result<T> {
        let ended = || Error::environment(format!("{who}: the job has ended"));
        let place = if self.place.is_empty() { String::new() } else { format!("{}: ", self.place) };
        let (began, mut pause) = (Instant::now(), Duration::ZERO);
        loop {
            let (why, least) = match attempt() {
                Ok(done) => {
                    if !pause.is_zero() {
                        let server = if self.place.is_empty() { "it" } else { self.place };
                        tracing::info!("{who}: {server} accepts rows again; the job continues");
                    }
                    return Ok(done);
                }
                Err(ServerFault::Lasting(error)) => return Err(error),
                Err(ServerFault::Passing(why)) => (why, Duration::ZERO),
                Err(ServerFault::Busy(why, least)) => (why, least),
            };
            if self.failure.happened() {
                return Err(ended());
            }
            let left = self.wait.saturating_sub(began.elapsed());
            if left.is_zero() {
                let wait = units::show_time(self.wait);
                return Err(Error::environment(format!("{who}: {place}{why}; the job has waited for {wait} (`wait`)")));
            }
            if pause.is_zero() {
                tracing::warn!("{who}: {place}{why}; the job waits and retries until it works");
            }
            pause = longer(pause);
            if !pause_or_end(spread(pause).max(least).min(left), self.failure) {
                return Err(ended());
            }
        }
    }
}

/// Between a half of a pause and all of it: those who were turned away together do not come back together.
fn spread(pause: Duration) -> Duration {
    let share = RandomState::new().hash_one(0) % 1000;
    pause.mul_f64(0.5 + share as f64 / 2000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(failure: &Failure, wait: Duration) -> CommitRetry<'_> {
        CommitRetry { sink: "out", place: "db at h:1", wait, failure }
    }

    #[test]
    fn it_is_tried_until_it_works() {
        let failure = Failure::default();
        let mut tries = 0;
        let done = retry(&failure, Duration::from_secs(60)).ask(|| {
            tries += 1;
            match tries {
                1 => Err(ServerFault::Passing("away".into())),
                2 => Err(ServerFault::Busy("full".into(), Duration::from_millis(1))),
                tries => Ok(tries),
            }
        });
        assert_eq!(done.unwrap(), 3);
    }

    /// The last attempt is when the time is over, and not before.
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
            Err::<(), _>(ServerFault::Lasting(Error::plugin("no".to_owned())))
        });
        assert_eq!((error.unwrap_err().to_string().as_str(), tries), ("no", 1));
    }
}
