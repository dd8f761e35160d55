//! What is asked of a server before the job begins. One that is away is waited for, also where it goes away in the middle.

use crate::dial::Fault;
use crate::sink::commit_retry::ServerFault;
use millstream_base::error::{Error, Result};
use millstream_base::job::spec::SinkStart;
use millstream_base::patience::ServerWait;
use millstream_base::patience::longer;
use millstream_base::units;
use std::time::{Duration, Instant};

/// Asks until there is an answer, or something is wrong that does not pass, or `wait` is over. Every attempt begins anew, so it
/// must do no harm where one before it came further than its answer.
pub fn ask<T: Send>(
    start: SinkStart<'_>,
    wait: Duration,
    place: &str,
    mut question: impl FnMut() -> std::result::Result<T, ServerFault> + Send,
) -> Result<T> {
    let SinkStart { spec, origin, servers, .. } = start;
    let who = format!("{}sink `{}`", origin.at(&format!("sinks.{}.url", spec.name)), spec.name);
    let ServerWait::Until(until) = servers else {
        return apart(&mut question)?.map_err(|trouble| match trouble {
            ServerFault::Lasting(error) => error,
            ServerFault::Passing(why) | ServerFault::Busy(why, _) => {
                Error::environment(format!("{who}: {place}: {why}; start the server, or check `url`"))
            }
        });
    };
    let shown = units::show_time(wait);
    let (began, mut pause, mut told) = (Instant::now(), Duration::ZERO, false);
    loop {
        let why = match apart(&mut question)? {
            Ok(answer) => {
                if told {
                    tracing::info!("{who}: its server is reachable; the job starts");
                }
                return Ok(answer);
            }
            Err(ServerFault::Lasting(error)) => return Err(error),
            Err(ServerFault::Passing(why) | ServerFault::Busy(why, _)) => why,
        };
        if until.is_some_and(|until| Instant::now() >= until) {
            return Err(Error::environment(format!(
                "{who}: {place} did not respond within --timeout; the job was not started"
            )));
        }
        if began.elapsed() >= wait {
            let after = if told { format!(", for {shown}") } else { String::new() };
            return Err(Error::environment(format!(
                "{who}: {place}: {why}{after}; start the server, or check `url`, or raise `wait`"
            )));
        }
        if !told {
            told = true;
            tracing::warn!("{who}: {place}: {why}; the job waits for up to {shown} (`wait`)");
        }
        pause = longer(pause);
        let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
        std::thread::sleep(pause.min(wait.saturating_sub(began.elapsed())).min(left));
    }
}

/// Asks until somebody answers, whatever is said.
pub fn await_answer(
    start: SinkStart<'_>,
    wait: Duration,
    place: &str,
    mut question: impl FnMut() -> std::result::Result<(), Fault> + Send,
) -> Result<()> {
    ask(start, wait, place, || match question() {
        Err(Fault::Passing(why)) => Err(ServerFault::Passing(why)),
        _ => Ok(()),
    })
}

/// Speaks with a server on a thread of its own: the caller may be one of an async runtime, which must not wait for another.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    let done = std::thread::scope(|scope| scope.spawn(work).join());
    done.map_err(|_| Error::bug("a thread that spoke with a server panicked"))
}
