//! The terminal of a command: a changing line at its end, with rows and log lines above it.
//!
//! Only the command line [starts](start) this. Elsewhere, and if standard error is not a terminal, nothing is drawn, and output is passed on
//! unchanged. All output of this program to standard output and standard error goes through here. The line is wiped, the text written, and the line
//! redrawn, in one write if possible.
//!
//! Other processes may write to the same terminal: those of a job and their supervisor. Each wipes the line before its text, whichever process drew
//! it ([`share`]), and only one of them draws.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Moves to the beginning of the line, and clears it.
const WIPE: &[u8] = b"\r\x1b[K";
/// Maximum bytes that are kept for the end of a [`Hold`]; the rest is lost.
const SUSPENDED_BYTES_MAX: usize = 256 << 10;
/// Width of a terminal that does not report it.
const COLUMNS: usize = 80;

/// Whether a line can be drawn.
static DRAWS: AtomicBool = AtomicBool::new(false);
static SCREEN: Mutex<Screen> = Mutex::new(Screen::EMPTY);

struct Screen {
    /// The job's status.
    job: Option<String>,
    /// Long operations, each with its number: the last of them is shown instead of `job`.
    work: Vec<(u64, String)>,
    works: u64,
    /// Whether the line is on the screen.
    drawn: bool,
    /// The line as last drawn, if nothing was written since.
    last: Vec<u8>,
    /// Whether the last text did not end its line.
    within: bool,
    /// Whether other processes write here as well.
    shared: bool,
    /// Whether other processes draw the line.
    mute: bool,
    /// Whether this process is in a process group of its own: then that of its parent decides.
    of_parent: bool,
    /// Output that waits for the end of a [`Hold`].
    suspended_output: Option<Vec<u8>>,
}

/// Enables drawing if standard error is a terminal that can wipe lines, and no other program writes this program's output to it, as at the end of a
/// pipe.
pub fn start() {
    let term = std::env::var("TERM").unwrap_or_default();
    let good = io::stderr().is_terminal() && !matches!(term.as_str(), "" | "dumb") && !is_pipe(&io::stdout());
    // SAFETY: the function takes nothing, and what it does is allowed when a process exits.
    if good && unsafe { libc::atexit(wipe_at_exit) } == 0 {
        DRAWS.store(true, Ordering::Release);
    }
}

/// Disables drawing in this process.
pub fn stop() {
    let mut screen = lock();
    if DRAWS.swap(false, Ordering::AcqRel) && screen.drawn {
        screen.drawn = false;
        let _ = io::stderr().write_all(WIPE);
    }
}

/// Returns whether lines are drawn.
pub fn draws() -> bool {
    DRAWS.load(Ordering::Acquire)
}

/// Other processes write to this terminal too, and may draw. `of_parent`: this process has its own process group, so a shell puts its parent into
/// the background.
pub fn share_output(of_parent: bool) {
    let mut screen = lock();
    (screen.shared, screen.of_parent) = (true, of_parent);
}

/// Leaves drawing to other processes. Output of this process still appears above their line.
pub fn mute() {
    let mut screen = lock();
    screen.mute = true;
    screen.redraw();
}

/// Shows the job's status in one line, or removes it.
pub fn set_job(line: Option<String>) {
    if draws() {
        let mut screen = lock();
        screen.job = line;
        screen.redraw();
    }
}

/// Begins a long operation, shown in one line; the last begun one is shown, before [`set_job`]. Returns its number.
pub fn begin_work() -> u64 {
    let mut screen = lock();
    screen.works += 1;
    screen.works
}

/// Sets the text of the operation with this number; empty: nothing.
pub fn set_work(number: u64, line: String) {
    let mut screen = lock();
    match screen.work.iter_mut().find(|(other, _)| *other == number) {
        Some((_, shown)) if !line.is_empty() => *shown = line,
        None if !line.is_empty() => screen.work.push((number, line)),
        _ => screen.work.retain(|(other, _)| *other != number),
    }
    screen.redraw();
}

/// Writes to standard error.
pub fn write_error(text: &[u8]) -> io::Result<()> {
    let mut screen = lock();
    if let Some(suspended_output) = &mut screen.suspended_output {
        let room = SUSPENDED_BYTES_MAX.saturating_sub(suspended_output.len());
        suspended_output.extend_from_slice(text.get(..room).unwrap_or(text));
        return Ok(());
    }
    if !draws() {
        drop(screen);
        return io::stderr().lock().write_all(text);
    }
    let mut all = screen.wipe();
    all.extend_from_slice(text);
    screen.within = !text.ends_with(b"\n") && (screen.within || !text.is_empty());
    all.extend(screen.line());
    io::stderr().write_all(&all)
}

/// Standard output, in complete lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct Output;

impl Write for Output {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.write_all(text)?;
        Ok(text.len())
    }

    fn write_all(&mut self, text: &[u8]) -> io::Result<()> {
        if !draws() {
            let mut out = io::stdout().lock();
            return out.write_all(text).and_then(|()| out.flush());
        }
        let mut screen = lock();
        let mut out = io::stdout().lock();
        if !out.is_terminal() {
            return out.write_all(text).and_then(|()| out.flush());
        }
        let mut all = screen.wipe();
        all.extend_from_slice(text);
        screen.within = !text.ends_with(b"\n") && (screen.within || !text.is_empty());
        all.extend(screen.line());
        out.write_all(&all).and_then(|()| out.flush())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

/// While it lives, another program owns the terminal: output to standard error waits for its end.
pub struct Hold(());

/// Takes the complete terminal.
pub fn hold() -> Hold {
    lock().suspended_output.get_or_insert_default();
    Hold(())
}

impl Drop for Hold {
    fn drop(&mut self) {
        let state = lock().suspended_output.take().unwrap_or_default();
        let _ = write_error(&state);
    }
}

/// Returns the number of columns of the terminal at standard error.
pub fn columns() -> usize {
    size(libc::STDERR_FILENO).map_or(COLUMNS, |(columns, _)| columns.into())
}

/// Returns the number of columns and lines that a terminal reports.
pub fn size(terminal: libc::c_int) -> Option<(u16, u16)> {
    // SAFETY: all bytes zero are a valid `winsize`.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes only to the `winsize`.
    let result = unsafe { libc::ioctl(terminal, libc::TIOCGWINSZ, &mut size) };
    (result == 0 && size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// Cuts text to `columns` columns, with `…` at the cut. The text has no control characters.
pub fn truncate(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let (mut fitted, mut used) = (String::new(), 1);
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > columns {
            break;
        }
        fitted.push(c);
    }
    if columns > 0 {
        fitted.push('…');
    }
    fitted
}

/// Returns whether to use colors: they are not disabled, and the terminal supports them.
pub fn has_colours() -> bool {
    let disabled = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !disabled && std::env::var("TERM").is_ok_and(|term| !matches!(term.as_str(), "" | "dumb"))
}

impl Screen {
    /// Before anything is drawn.
    const EMPTY: Screen = Screen {
        job: None,
        work: Vec::new(),
        works: 0,
        drawn: false,
        last: Vec::new(),
        within: false,
        shared: false,
        mute: false,
        of_parent: false,
        suspended_output: None,
    };

    /// Returns the bytes that wipe the line, if there may be one.
    fn wipe(&mut self) -> Vec<u8> {
        let drawn = std::mem::replace(&mut self.drawn, false);
        if drawn || (self.shared && !self.within) { WIPE.to_vec() } else { Vec::new() }
    }

    /// Returns the line to draw after the output.
    fn line(&mut self) -> Vec<u8> {
        let shown = self.work.last().map(|(_, line)| line).or(self.job.as_ref());
        let may = !self.within && !self.mute && self.suspended_output.is_none();
        let Some(shown) = shown.filter(|_| may && in_sight(self.of_parent)) else { return Vec::new() };
        self.drawn = true;
        // The last column is left free: a terminal that wraps a full line would leave a line behind.
        truncate(shown, columns().saturating_sub(1)).into_bytes()
    }

    fn redraw(&mut self) {
        if !draws() || self.within || self.suspended_output.is_some() {
            return;
        }
        let drawn = self.drawn;
        let mut all = self.wipe();
        let before = std::mem::take(&mut self.last);
        let line = self.line();
        if drawn && !self.shared && before == line {
            // Redrawing would remove a selection made with the mouse.
            (self.drawn, self.last) = (true, line);
            return;
        }
        self.last.clone_from(&line);
        if !line.is_empty() && all.is_empty() {
            all.extend_from_slice(WIPE);
        }
        all.extend(line);
        if drawn || self.drawn {
            // A failed write is no reason for the job to fail.
            let _ = io::stderr().write_all(&all);
        }
    }
}

fn lock() -> MutexGuard<'static, Screen> {
    SCREEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns whether the shell runs this job in the foreground; true without job control.
fn in_sight(of_parent: bool) -> bool {
    // SAFETY: these take and return numbers.
    unsafe {
        let front = libc::tcgetpgrp(libc::STDERR_FILENO);
        front < 0 || front == libc::getpgrp() || (of_parent && front == libc::getpgid(libc::getppid()))
    }
}

fn is_pipe(file: &impl AsFd) -> bool {
    use std::os::fd::AsRawFd;
    // SAFETY: all bytes zero are a valid `stat`.
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes only to the `stat`.
    let result = unsafe { libc::fstat(file.as_fd().as_raw_fd(), &mut found) };
    result == 0 && matches!(found.st_mode & libc::S_IFMT, libc::S_IFIFO | libc::S_IFSOCK)
}

/// Wipes the line for the last message of an exiting process. It may be called in the middle of anything, so it waits for no lock, and allocates
/// nothing.
pub fn wipe_at_once() {
    if SCREEN.try_lock().is_ok_and(|screen| screen.drawn) {
        // SAFETY: the length matches the bytes. Whether they are written or not, the process exits.
        unsafe { libc::write(libc::STDERR_FILENO, WIPE.as_ptr().cast(), WIPE.len()) };
    }
}

extern "C" fn wipe_at_exit() {
    wipe_at_once();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_by_what_it_takes_on_the_screen() {
        let cases =
            [("", 0, ""), ("abc", 3, "abc"), ("abcd", 3, "ab…"), ("日本語", 6, "日本語"), ("日本語", 5, "日本…")];
        for (text, columns, expected) in cases.into_iter().chain([("日本", 2, "…"), ("a", 0, ""), ("ab", 1, "…")])
        {
            assert_eq!(truncate(text, columns), expected);
            assert!(truncate(text, columns).width() <= columns);
        }
    }

    #[test]
    fn the_work_that_began_last_is_seen_and_gives_way_when_it_is_done() {
        let mut screen = Screen { job: Some("job".into()), ..Screen::EMPTY };
        assert_eq!(screen.line(), b"job");
        assert_eq!(screen.wipe(), WIPE);
        assert!(screen.wipe().is_empty(), "nothing is there any more");
        screen.work = vec![(1, "one".into()), (2, "two".into())];
        assert_eq!(screen.line(), b"two");
        screen.within = true;
        assert!(screen.line().is_empty(), "the line that is being written is not this one");
        screen.within = false;
        screen.suspended_output = Some(Vec::new());
        assert!(screen.line().is_empty());
        screen.shared = true;
        screen.drawn = false;
        assert_eq!(screen.wipe(), WIPE, "another process may have drawn");
    }
}
