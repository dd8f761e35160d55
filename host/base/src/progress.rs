//! Shows the progress of long operations, in a line on the [terminal](crate::terminal) of the command line. Elsewhere all of this does nothing.

use crate::{shown, terminal};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shorter operations are not shown.
const SHOWN_AFTER: Duration = Duration::from_millis(250);
const TICK: Duration = Duration::from_millis(125);
/// Maximum characters of the description.
const DESCRIPTION_CHARS_MAX: usize = 120;
/// More than any line has: a long line is cut when it is drawn, and must be one line for the library.
const COLUMNS: u16 = 400;
const SIGNS: &str = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ";
const SOME: &str = "{spinner} {msg} ({elapsed})";
const OF_ALL: &str = "{spinner} {bar:12} {human_pos} of {human_len} {msg} ({elapsed})";

/// A long operation. It ends when this is dropped.
pub struct Progress(Option<ProgressBar>);

/// Starts an operation of unknown length.
pub fn start(what: &str) -> Progress {
    Progress::new(what, None)
}

/// Starts an operation of `steps` steps: `what` is the unit, for example `cases`.
pub fn of_steps(what: &str, steps: u64) -> Progress {
    Progress::new(what, Some(steps))
}

impl Progress {
    fn new(what: &str, steps: Option<u64>) -> Progress {
        if !terminal::draws() {
            return Progress(None);
        }
        let target = ProgressDrawTarget::term_like(Box::new(Line::new()));
        let bar = ProgressBar::with_draw_target(steps, target);
        if let Ok(style) = ProgressStyle::with_template(if steps.is_some() { OF_ALL } else { SOME }) {
            bar.set_style(style.tick_chars(SIGNS).progress_chars("━╸ "));
        }
        bar.set_message(shown::harmless(what, DESCRIPTION_CHARS_MAX));
        bar.enable_steady_tick(TICK);
        Progress(Some(bar))
    }

    /// Sets the number of completed steps.
    pub fn at(&self, steps: u64) {
        self.0.iter().for_each(|bar| bar.set_position(steps));
    }

    /// Adds to the number of completed steps.
    pub fn add(&self, steps: u64) {
        self.0.iter().for_each(|bar| bar.inc(steps));
    }

    /// Sets the description of the current step.
    pub fn say(&self, what: &str) {
        self.0.iter().for_each(|bar| bar.set_message(shown::harmless(what, DESCRIPTION_CHARS_MAX)));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.iter().for_each(ProgressBar::finish_and_clear);
    }
}

/// The terminal on which the library draws: one line, which is ours.
#[derive(Debug)]
struct Line {
    number: u64,
    since: Instant,
    text: Mutex<String>,
}

impl Line {
    fn new() -> Line {
        Line { number: terminal::begin_work(), since: Instant::now(), text: Mutex::default() }
    }

    fn change(&self, change: impl FnOnce(&mut String)) -> io::Result<()> {
        change(&mut self.text.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }
}

impl TermLike for Line {
    fn width(&self) -> u16 {
        COLUMNS
    }

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.change(|line| line.push_str(text.trim_end()))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.change(String::clear)
    }

    fn flush(&self) -> io::Result<()> {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if text.is_empty() || self.since.elapsed() >= SHOWN_AFTER {
            terminal::set_work(self.number, text);
        }
        Ok(())
    }
}
