//! Sets the budget of a job, and starts a thread that watches it: much memory becomes resident without an allocation at that time.

use super::budget::{self, CLAIMED_FOR, confirm, look, note_tight, state, tight, turn_claims};
use super::{addresses, give_back, machine, resident};
use crate::error::{Error, Result};
use crate::limits::{MEMORY_BYTES_DEFAULT_PERCENT, MEMORY_BYTES_MIN};
use crate::threads;
use crate::units::mib;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The longest time between two checks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Minimum and maximum time between two returns of freed memory to the system: they cost time, and may not help.
const GIVE_BACK_EVERY: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];
/// How long a budget that is smaller than the previous one waits for memory that is just being freed.
const SETTLES_WITHIN: Duration = Duration::from_secs(5);
/// How often tight memory is logged.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// A check takes microseconds, and must not wait for the threads that fill the memory.
const NICENESS: libc::c_int = -10;

type ErrorHandler = Box<dyn Fn(Error) + Send>;
/// Receives the error of an exceeded budget: the job that was started last.
static JOB: Mutex<Option<ErrorHandler>> = Mutex::new(None);
static WATCHED: AtomicBool = AtomicBool::new(false);

/// Sets the memory limit of this process: its share of `wanted`, or of the machine's memory, if `sharing` processes of the job run on it.
pub fn limit(wanted: Option<u64>, sharing: usize) -> Result<()> {
    if let Err(error) = resident::open() {
        let cause = format!("the job has no memory budget: the memory of this process is unknown ({error})");
        match wanted {
            Some(_) => return Err(Error::environment(format!("{cause}; remove `memory` to run without one"))),
            None => tracing::debug!("{cause}"),
        }
        return Ok(());
    }
    let there = machine::memory();
    if let (Some(wanted), Some(there)) = (wanted, there)
        && wanted > there
    {
        tracing::warn!("`memory` of the job is {}, but this machine has only {} for it", mib(wanted), mib(there));
    }
    let usual = there.map(|there| (there / 100).saturating_mul(MEMORY_BYTES_DEFAULT_PERCENT));
    let Some(all) = wanted.or(usual) else { return Ok(()) };
    let max = all / (sharing.max(1) as u64);
    if max < MEMORY_BYTES_MIN && wanted.is_some() {
        return Err(Error::job(format!(
            "`memory` of the job is {}, for {sharing} processes on this machine; each needs at least {}",
            mib(all),
            mib(MEMORY_BYTES_MIN)
        )));
    }
    // More is mapped than is resident.
    let mapped = addresses::limit().filter(|_| wanted.is_none()).map(|bytes| bytes / 2);
    let max = mapped.map_or(max, |mapped| max.min(mapped)).max(MEMORY_BYTES_MIN);
    let until = Instant::now() + SETTLES_WITHIN;
    while resident::bytes() > budget::tight_at(max) && Instant::now() < until {
        give_back();
        thread::sleep(LOOK_EVERY);
    }
    budget::set(max);
    if WATCHED.swap(true, Ordering::AcqRel) {
        return Ok(());
    }
    threads::start("millstream-memory", "the thread that watches the memory", report_to_job, watch).map(drop)
}

/// Returns how many of these addresses, `host:port`, are on the same machine as the one at index `own`, as far as their text shows.
pub fn on_this_machine(hosts: &[String], own: usize) -> usize {
    let name = |host: &String| host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name).to_owned();
    let own = hosts.get(own).map(name);
    hosts.iter().filter(|host| own.as_ref() == Some(&name(host))).count().max(1)
}

/// Sets the handler that is called when the budget is exceeded.
pub fn set_limit_handler(handler: impl Fn(Error) + Send + 'static) {
    *JOB.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(handler));
}

fn report_to_job(error: Error) {
    match &*JOB.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(handler) => handler(error),
        None => tracing::error!("{error}"),
    }
}

fn watch() {
    let [shortest, longest] = GIVE_BACK_EVERY;
    let (mut gave_back, mut every) = (None::<Instant>, shortest);
    let mut last_logged = None::<Instant>;
    let mut turned = Instant::now();
    let mut ending = false;
    // SAFETY: it takes numbers, and affects only this thread. If it is not allowed, checks come later on a busy machine.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS) };
    loop {
        if turned.elapsed() > CLAIMED_FOR {
            turn_claims();
            turned = Instant::now();
        }
        let before = look();
        if is_high(before) && gave_back.is_none_or(|at| at.elapsed() > every) {
            give_back();
            let helped = before.saturating_sub(look()) > before / 20;
            every = if helped { shortest } else { every.saturating_mul(2).min(longest) };
            gave_back = Some(Instant::now());
        }
        if note_tight() && tight() && last_logged.is_none_or(|at| at.elapsed() > LOG_EVERY) {
            let (max, now) = state();
            tracing::warn!(
                "memory is low: this process uses {} of its {}; until it uses less, sources wait, and batches are \
                 smaller and run one at a time",
                mib(now),
                mib(max)
            );
            last_logged = Some(Instant::now());
        }
        if !budget::is_over() {
            ending = false;
        } else if !ending && let Err(error) = confirm(0) {
            // The job ends now, needs no second error, and may still exceed the budget further before it does.
            ending = true;
            report_to_job(error);
        }
        thread::sleep(budget::pause(LOOK_EVERY));
    }
}

fn is_high(now: u64) -> bool {
    let (max, _) = state();
    max > 0 && now > budget::tight_at(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_of_a_machine_share_it() {
        let hosts = ["a:1", "a:2", "b:1", "[::1]:1"].map(str::to_owned);
        let sharing: Vec<usize> = (0..5).map(|own| on_this_machine(&hosts, own)).collect();
        assert_eq!(sharing, [2, 2, 1, 1, 1]);
        assert_eq!(on_this_machine(&[], 0), 1);
    }
}
