//! `millstream top`: shows the status of a running job on the full terminal, once per second.
//!
//! ```text
//! processes of the job -> (control socket) page::poll -> page::record -> state -> draw -> screen
//! ```
//!
//! The values are computed by the page's code, and have the same labels.

mod details;
mod draw;
mod keys;
mod ink;
mod rates;
mod screen;
mod state;
mod tree;

use super::run::signals;
use super::status;
use crate::page::Jobs;
use clap::Args;
use ink::Ink;
use millstream_base::error::{Error, Result};
use millstream_base::fault;
use screen::Screen;
use state::{ShownJob, ViewState};
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often signals and new data are checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// How long to wait for the first response.
const FIRST_MAX: Duration = Duration::from_secs(6);
/// The poller has a response, or knows that there is none, within a few seconds.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum number of rejected rows shown.
const REFUSED_MAX: usize = 100;

/// The arguments of `millstream top`.
#[derive(Args)]
#[command(
    after_help = "Keys: q quits, arrows select a part, Enter shows its details, s sorts, ? shows help. The job must be running \
                        (otherwise the exit code is 1); the view continues when the job restarts. NO_COLOR=1 disables colors."
)]
pub struct TopArguments {
    /// Path of the job file
    job: PathBuf,
}

/// Shows the job until the user quits.
pub fn top(arguments: &TopArguments) -> Result<()> {
    let job = &arguments.job;
    if !io::stdout().is_terminal() {
        return Err(Error::job(format!(
            "`millstream top` needs a terminal on standard output; run `millstream status {0}`, or `millstream status {0} --json` for \
             programs",
            job.display()
        )));
    }
    // Before any other thread starts.
    signals::block().map_err(|error| Error::environment(format!("signals cannot be blocked: {error}")))?;
    // Fails with a message if the job is not running.
    status::query(job)?;
    let ended = Arc::new(AtomicBool::new(false));
    let (signalled, unheard) = (ended.clone(), ended.clone());
    let failed = move |_| unheard.store(true, Ordering::Release);
    signals::watch(failed, move || {
        signalled.store(true, Ordering::Release);
        true
    })?;
    let jobs = Jobs::of_file(job, &[], false)?;
    jobs.poll()?;
    let mut view_state = ViewState::default();
    let began = Instant::now();
    while jobs.polls() == 0 && began.elapsed() < FIRST_MAX && !ended.load(Ordering::Acquire) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut screen = Screen::take()?;
    watch(&mut screen, &jobs, &mut view_state, &ended)
}

fn watch(screen: &mut Screen, jobs: &Jobs, view_state: &mut ViewState, ended: &AtomicBool) -> Result<()> {
    let failed = |error: io::Error| Error::environment(format!("the terminal is no longer usable: {error}"));
    let ink = Ink::of_environment();
    let (mut polls, mut size, mut changed) = (None, None, true);
    // The time without a response. Time in which this process was suspended is not counted.
    let mut unresponsive_time = Duration::ZERO;
    while !ended.load(Ordering::Acquire) {
        let looked = Instant::now();
        jobs.mark_active();
        let now = jobs.polls();
        if polls.replace(now) != Some(now) {
            fault::thread("millstream-top");
            view_state.take(shown_job(jobs));
            unresponsive_time = Duration::ZERO;
            changed = true;
        }
        if unresponsive_time > TIMEOUT {
            return Err(Error::bug("the thread that polls the job has ended; start `millstream top` again"));
        }
        if std::mem::take(&mut changed) {
            let drawn = screen.terminal.draw(|frame| {
                let area = frame.area();
                draw::draw(view_state, ink, frame.buffer_mut(), area);
            });
            drawn.map_err(failed)?;
        }
        for key in screen.keyboard.keys(CHECK_INTERVAL).map_err(failed)? {
            if !view_state.press(key) {
                return Ok(());
            }
            changed = true;
        }
        let now = screen.terminal.size().map_err(failed)?;
        changed |= size.replace(now) != Some(now);
        unresponsive_time += looked.elapsed().min(2 * CHECK_INTERVAL);
    }
    Ok(())
}

fn shown_job(jobs: &Jobs) -> ShownJob {
    let shown_job = jobs.read_latest(|record| ShownJob {
        view: record.view.clone(),
        last: record.batches.last().cloned(),
        rejects: record.refused.after(0, REFUSED_MAX).into_iter().map(|row| row.what).collect(),
    });
    shown_job.unwrap_or_default()
}
