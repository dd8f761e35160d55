//! Requests to a server before the job begins. They wait for an unreachable server, even if it fails midway.

use crate::dial::Fault;
use crate::sink::commit_retry::ServerFault;
use millstream_base::error::{Error, Result};
use millstream_base::retry::StartupRetry;
use millstream_base::retry::longer;
use millstream_base::units;
use millstream_job::spec::SinkStart;
use std::time::{Duration, Instant};

/// Retries `attempt` until it succeeds, fails permanently or `wait` expires. Attempts must be idempotent, as an earlier one may have
/// succeeded without a response.
pub fn retry_at_start<T: Send>(
    start: SinkStart<'_>,
    wait: Duration,
    server_name: &str,
    mut attempt: impl FnMut() -> std::result::Result<T, ServerFault> + Send,
) -> Result<T> {
    let SinkStart { spec, origin, servers, .. } = start;
    let context = format!("{}sink `{}`", origin.at(&format!("sinks.{}.url", spec.name)), spec.name);
    let StartupRetry::Until(until) = servers else {
        return run_blocking(&mut attempt)?.map_err(|fault| match fault {
            ServerFault::Permanent(error) => error,
            ServerFault::Transient(why) | ServerFault::Busy(why, _) => {
                Error::environment(format!("{context}: {server_name}: {why}; start the server, or check `url`"))
            }
        });
    };
    let shown = units::show_time(wait);
    let (began, mut pause, mut warned) = (Instant::now(), Duration::ZERO, false);
    loop {
        let why = match run_blocking(&mut attempt)? {
            Ok(response) => {
                if warned {
                    tracing::info!("{context}: its server is reachable; the job starts");
                }
                return Ok(response);
            }
            Err(ServerFault::Permanent(error)) => return Err(error),
            Err(ServerFault::Transient(why) | ServerFault::Busy(why, _)) => why,
        };
        if until.is_some_and(|until| Instant::now() >= until) {
            return Err(Error::environment(format!(
                "{context}: {server_name} did not respond within --timeout; the job was not started"
            )));
        }
        if began.elapsed() >= wait {
            let after = if warned { format!(", for {shown}") } else { String::new() };
            return Err(Error::environment(format!(
                "{context}: {server_name}: {why}{after}; start the server, or check `url`, or raise `wait`"
            )));
        }
        if !warned {
            warned = true;
            tracing::warn!("{context}: {server_name}: {why}; the job waits for up to {shown} (`wait`)");
        }
        pause = longer(pause);
        let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
        std::thread::sleep(pause.min(wait.saturating_sub(began.elapsed())).min(left));
    }
}

/// Retries until the server responds, whatever it replies.
pub fn await_response(
    start: SinkStart<'_>,
    wait: Duration,
    server_name: &str,
    mut attempt: impl FnMut() -> std::result::Result<(), Fault> + Send,
) -> Result<()> {
    retry_at_start(start, wait, server_name, || match attempt() {
        Err(Fault::Transient(why)) => Err(ServerFault::Transient(why)),
        _ => Ok(()),
    })
}

/// Runs `work` on another thread: the caller may be a thread of an async runtime, which must not block on another runtime.
fn run_blocking<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    let done = std::thread::scope(|scope| scope.spawn(work).join());
    done.map_err(|_| Error::bug("a thread that used a server connection panicked"))
}
