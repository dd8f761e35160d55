//! `millstream top`: how a running job stands, on the whole terminal, once a second.
//!
//! ```text
//! processes of the job -> (control socket) page::poll -> page::record -> state -> draw -> screen
//! ```
//!
//! What the numbers mean is computed where the page has it from, in the same words.

mod details;
mod draw;
mod keys;
mod look;
mod rates;
mod screen;
mod state;
mod tree;

use super::run::signals;
use super::status;
use crate::page::Jobs;
use clap::Args;
use look::Ink;
use millstream_base::error::{Error, Result};
use millstream_base::fault;
use screen::Screen;
use state::{ShownJob, ViewState};
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How soon a signal, or something new, is seen.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long the first answer is waited for.
const FIRST_MAX: Duration = Duration::from_secs(6);
/// Whoever asks the job has an answer, or knows that there is none, within a few seconds.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Refused rows that are shown.
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

/// Shows the job until somebody has seen enough.
pub fn top(arguments: &TopArguments) -> Result<()> {
    let job = &arguments.job;
    if !io::stdout().is_terminal() {
        return Err(Error::job(format!(
            "`millstream top` needs a terminal on standard output; run `millstream status {0}`, or `millstream status {0} --json` for \
             programs",
            job.display()
        )));
    }
    // Before anything else starts a thread.
    signals::block().map_err(|error| Error::environment(format!("signals cannot be blocked: {error}")))?;
    // Said in words where it does not run.
    status::of(job)?;
    let ended = Arc::new(AtomicBool::new(false));
    let (signalled, unheard) = (ended.clone(), ended.clone());
    let failed = move |_| unheard.store(true, Ordering::Release);
    signals::watch(failed, move || {
        signalled.store(true, Ordering::Release);
        true
    })?;
    let jobs = Jobs::of_file(job, &[], false)?;
    jobs.poll()?;
    let mut look = ViewState::default();
    let began = Instant::now();
    while jobs.polls() == 0 && began.elapsed() < FIRST_MAX && !ended.load(Ordering::Acquire) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut screen = Screen::take()?;
    watch(&mut screen, &jobs, &mut look, &ended)
}

fn watch(screen: &mut Screen, jobs: &Jobs, look: &mut ViewState, ended: &AtomicBool) -> Result<()> {
    let failed = |error: io::Error| Error::environment(format!("the terminal is no longer usable: {error}"));
    let ink = Ink::of_environment();
    let (mut polls, mut size, mut changed) = (None, None, true);
    // For how long nothing was heard. Time in which this process stood still is not counted.
    let mut silence = Duration::ZERO;
    while !ended.load(Ordering::Acquire) {
        let looked = Instant::now();
        jobs.looked_at();
        let now = jobs.polls();
        if polls.replace(now) != Some(now) {
            fault::thread("millstream-top");
            look.take(told(jobs));
            silence = Duration::ZERO;
            changed = true;
        }
        if silence > SILENCE_MAX {
            return Err(Error::bug("the thread that polls the job has ended; start `millstream top` again"));
        }
        if std::mem::take(&mut changed) {
            let drawn = screen.terminal.draw(|frame| {
                let area = frame.area();
                draw::draw(look, ink, frame.buffer_mut(), area);
            });
            drawn.map_err(failed)?;
        }
        for key in screen.keyboard.keys(LOOK_EVERY).map_err(failed)? {
            if !look.press(key) {
                return Ok(());
            }
            changed = true;
        }
        let now = screen.terminal.size().map_err(failed)?;
        changed |= size.replace(now) != Some(now);
        silence += looked.elapsed().min(2 * LOOK_EVERY);
    }
    Ok(())
}

fn told(jobs: &Jobs) -> ShownJob {
    let told = jobs.only(|record| ShownJob {
        view: record.view.clone(),
        last: record.batches.last().cloned(),
        refused: record.refused.after(0, REFUSED_MAX).into_iter().map(|row| row.what).collect(),
    });
    told.unwrap_or_default()
}
