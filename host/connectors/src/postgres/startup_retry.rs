//! Waiting for an unreachable server while a job starts, at the first request or a later one.

use super::DatabaseError;
use millstream_base::retry::{StartupRetry, longer};
use millstream_base::units;
use std::time::{Duration, Instant};

/// Waiting for a database.
pub(crate) trait AwaitDatabase {
    /// Returns what to do about an error of this kind, for messages.
    fn help(self, fault: &DatabaseError) -> &'static str;

    /// Retries `attempt` until it succeeds, fails permanently or `wait` expires. Attempts must be idempotent, as an earlier one may have
    /// succeeded without a response. `context` and `server_name` are for messages.
    async fn run<T>(
        self,
        context: &str,
        server_name: &str,
        wait: Duration,
        attempt: impl AsyncFnMut() -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError>;
}

impl AwaitDatabase for StartupRetry {
    fn help(self, fault: &DatabaseError) -> &'static str {
        match (fault.is_transient(), self) {
            (false, _) => "",
            (true, StartupRetry::No) => "; start the server, or check `url`",
            (true, StartupRetry::Until(_)) => "; start the server, or check `url`, or raise `wait`",
        }
    }

    async fn run<T>(
        self,
        context: &str,
        server_name: &str,
        wait: Duration,
        mut attempt: impl AsyncFnMut() -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        let StartupRetry::Until(until) = self else { return attempt().await };
        let left = || until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
        let (mut unreachable, mut pause) = (None, Duration::ZERO);
        loop {
            let fault = match tokio::time::timeout(left(), attempt()).await {
                Ok(Err(fault)) if fault.is_transient() => fault,
                Ok(done) => {
                    if unreachable.is_some() && done.is_ok() {
                        tracing::info!("{context}: {server_name} is reachable; the job starts");
                    }
                    return done;
                }
                Err(_) => {
                    return Err(DatabaseError::transient(
                        "it did not respond within --timeout; the job was not started".into(),
                    ));
                }
            };
            let (shown, message) = (units::show_time(wait), fault.message);
            let since = match unreachable {
                Some(since) => since,
                None if wait.is_zero() => return Err(DatabaseError::transient(message)),
                None => {
                    tracing::warn!("{context}: {server_name}: {message}; the job waits for up to {shown} (`wait`)");
                    *unreachable.insert(Instant::now())
                }
            };
            if since.elapsed() >= wait {
                return Err(DatabaseError::transient(format!("{message}, for {shown}")));
            }
            pause = longer(pause);
            tokio::time::sleep(pause.min(wait.saturating_sub(since.elapsed())).min(left())).await;
        }
    }
}
