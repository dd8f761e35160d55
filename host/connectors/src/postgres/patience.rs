//! Waiting for a server that is away while a job starts: from the beginning, or in the middle of what it is asked.

use super::DatabaseError;
use millstream_base::patience::{ServerWait, longer};
use millstream_base::units;
use std::time::{Duration, Instant};

/// Waiting for a database.
pub(crate) trait AwaitDatabase {
    /// What the next thing to do about an error of this kind is, for its words.
    fn help(self, fault: &DatabaseError) -> &'static str;

    /// Asks until there is an answer, or something is wrong that does not pass, or `wait` is over. Every attempt begins anew,
    /// so it must do no harm where one before it came further than its answer. `who` and `place` are for the words.
    async fn out<T>(
        self,
        who: &str,
        place: &str,
        wait: Duration,
        ask: impl AsyncFnMut() -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError>;
}

impl AwaitDatabase for ServerWait {
    fn help(self, fault: &DatabaseError) -> &'static str {
        match (fault.passes(), self) {
            (false, _) => "",
            (true, ServerWait::No) => "; start the server, or check `url`",
            (true, ServerWait::Until(_)) => "; start the server, or check `url`, or raise `wait`",
        }
    }

    async fn out<T>(
        self,
        who: &str,
        place: &str,
        wait: Duration,
        mut ask: impl AsyncFnMut() -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        let ServerWait::Until(until) = self else { return ask().await };
        let left = || until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
        let (mut away, mut pause) = (None, Duration::ZERO);
        loop {
            let fault = match tokio::time::timeout(left(), ask()).await {
                Ok(Err(fault)) if fault.passes() => fault,
                Ok(done) => {
                    if away.is_some() && done.is_ok() {
                        tracing::info!("{who}: {place} is reachable; the job starts");
                    }
                    return done;
                }
                Err(_) => {
                    return Err(DatabaseError::passing(
                        "it did not respond within --timeout; the job was not started".into(),
                    ));
                }
            };
            let (shown, message) = (units::show_time(wait), fault.message);
            let since = match away {
                Some(since) => since,
                None if wait.is_zero() => return Err(DatabaseError::passing(message)),
                None => {
                    tracing::warn!("{who}: {place}: {message}; the job waits for up to {shown} (`wait`)");
                    *away.insert(Instant::now())
                }
            };
            if since.elapsed() >= wait {
                return Err(DatabaseError::passing(format!("{message}, for {shown}")));
            }
            pause = longer(pause);
            tokio::time::sleep(pause.min(wait.saturating_sub(since.elapsed())).min(left())).await;
        }
    }
}
