//! A terminal that a test sits at: a program runs on it, and what its screen shows is read, key by key.

use crate::{DEADLINE, holds_within};
use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use vt100::Parser;

/// A terminal with a program on it. The program is killed when this is dropped.
pub struct Screen {
    child: Child,
    shown: String,
    /// The emulated screen, and all bytes that were written to it.
    made: Arc<Mutex<(Parser, Vec<u8>)>>,
    keys: File,
    /// The program's side of the terminal, kept open so that its last output can be read.
    terminal: OwnedFd,
}

impl Screen {
    /// Starts a command on a terminal with this size and with colors.
    pub fn start(command: &mut Command, columns: u16, rows: u16) -> Screen {
        Screen::with(command, columns, rows, |command| command)
    }

    /// The same for a command whose outputs, input or environment `prepare` changes.
    pub fn with(
        command: &mut Command,
        columns: u16,
        rows: u16,
        prepare: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Screen {
        let (own, terminal) = pair(columns, rows);
        let shown = format!("{command:?}");
        let end = || File::from(terminal.try_clone().expect("an open file"));
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR").stdin(end()).stdout(end()).stderr(end());
        prepare(command);
        Screen::on(command, own, terminal, shown, columns, rows)
    }

    fn on(command: &mut Command, own: OwnedFd, terminal: OwnedFd, shown: String, columns: u16, rows: u16) -> Screen {
        let controlling = terminal.as_raw_fd();
        let take = move || {
            // A shell that runs the tests in the background makes them ignore Ctrl-C, and their children would inherit that.
            // SAFETY: these are system calls with numbers as arguments.
            unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
            // SAFETY: as before.
            let taken = unsafe { libc::setsid() >= 0 && libc::ioctl(controlling, libc::TIOCSCTTY, 0) >= 0 };
            if taken { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        };
        // SAFETY: only system calls are made between fork and exec.
        unsafe { command.pre_exec(take) };
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
        let made = Arc::new(Mutex::new((Parser::new(some(rows), some(columns), 500), Vec::new())));
        let mut from = File::from(own.try_clone().expect("an open file"));
        let making = made.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 8192];
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                let mut made = making.lock().expect("no reader panics");
                made.0.process(&bytes[..count]);
                made.1.extend_from_slice(&bytes[..count]);
            }
        });
        Screen { child, shown, made, keys: File::from(own), terminal }
    }

    /// Its process ID.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The rows of the screen, without trailing spaces.
    pub fn rows(&self) -> Vec<String> {
        let made = self.made.lock().expect("no reader panics");
        let (_, columns) = made.0.screen().size();
        made.0.screen().rows(0, columns.get()).map(|row| row.trim_end().to_owned()).collect()
    }

    /// The same in one string.
    pub fn text(&self) -> String {
        self.rows().join("\n")
    }

    /// All bytes that were ever written to it, including escape sequences.
    pub fn bytes(&self) -> String {
        String::from_utf8_lossy(&self.made.lock().expect("no reader panics").1).into_owned()
    }

    /// Whether the program uses the alternate screen or has hidden the cursor.
    pub fn is_taken(&self) -> bool {
        let made = self.made.lock().expect("no reader panics");
        made.0.screen().alternate_screen() || made.0.screen().hide_cursor()
    }

    /// Whether echo and line mode are on, as a shell leaves them.
    pub fn is_restored(&self) -> bool {
        // SAFETY: all bytes zero are a valid `termios`, and the call writes to it alone.
        let settings = unsafe {
            let mut settings: libc::termios = std::mem::zeroed();
            assert_eq!(libc::tcgetattr(self.terminal.as_raw_fd(), &mut settings), 0);
            settings
        };
        let expected = libc::ICANON | libc::ECHO | libc::ISIG;
        settings.c_lflag & expected == expected && settings.c_oflag & libc::OPOST != 0
    }

    /// Types.
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("somebody may type");
    }

    /// Makes the terminal larger or smaller.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.made.lock().expect("no reader panics").0.screen_mut().set_size(some(rows), some(columns));
        set_size(&self.terminal, columns, rows);
    }

    /// Waits until the screen is so.
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, mut so: impl FnMut(&str) -> bool) -> String {
        let mut text = String::new();
        let came = holds_within(DEADLINE, || {
            text = self.text();
            so(&text)
        });
        assert!(came, "waited in vain until {what}: {}\n--- the screen\n{text}\n---", self.shown);
        text
    }

    /// Waits until the screen shows this.
    #[track_caller]
    pub fn wait_until_shows(&mut self, message: &str) -> String {
        self.wait_until(&format!("it shows {message:?}"), |text| text.contains(message))
    }

    /// Waits until the program has ended; its exit code.
    #[track_caller]
    pub fn wait(&mut self) -> Option<i32> {
        let mut status = None;
        let ended = holds_within(DEADLINE, || {
            status = self.child.try_wait().expect("a child can be waited for");
            status.is_some()
        });
        assert!(ended, "{} does not end\n--- the screen\n{}\n---", self.shown, self.text());
        // All output has been read once a zero byte written after it arrives; it shows nothing.
        let behind = File::from(self.terminal.try_clone().expect("an open file")).write_all(&[0]);
        let read = holds_within(DEADLINE, || {
            let bytes = &mut self.made.lock().expect("no reader panics").1;
            bytes.iter().position(|byte| *byte == 0).map(|at| bytes.remove(at)).is_some()
        });
        assert!(behind.is_ok() && read, "{}: nobody reads what is written to the terminal", self.shown);
        status.and_then(|status| status.code())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A new terminal: our end, and that of programs.
fn pair(columns: u16, rows: u16) -> (OwnedFd, OwnedFd) {
    let (mut own, mut terminal) = (0, 0);
    // SAFETY: the two numbers are written, all else may be null.
    let opened = unsafe {
        libc::openpty(&mut own, &mut terminal, std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut())
    };
    assert_eq!(opened, 0, "a terminal can be opened");
    // SAFETY: both were just opened and have no other owner. Programs get copies.
    let (own, terminal) = unsafe {
        libc::fcntl(own, libc::F_SETFD, libc::FD_CLOEXEC);
        libc::fcntl(terminal, libc::F_SETFD, libc::FD_CLOEXEC);
        (OwnedFd::from_raw_fd(own), OwnedFd::from_raw_fd(terminal))
    };
    set_size(&terminal, columns, rows);
    (own, terminal)
}

fn some(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).expect("a terminal has a size")
}

fn set_size(terminal: &OwnedFd, columns: u16, rows: u16) {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the size is read only.
    let set = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &size) };
    assert_eq!(set, 0, "a terminal has a size");
}
