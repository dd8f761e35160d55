//! The whole terminal: taken, drawn on, and put back as it was on every way out.

use super::keys::Keyboard;
use millstream_base::error::{Error, Result};
use millstream_base::terminal::{self, Hold};
use ratatui_core::backend::{Backend, ClearType, WindowSize};
use ratatui_core::buffer::Cell;
use ratatui_core::layout::{Position, Size};
use ratatui_core::style::{Color, Modifier};
use ratatui_core::terminal::Terminal;
use std::io::{self, Write};
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Another screen, with nothing on it and without a cursor; and back.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[2J\x1b[?25l";
const LEAVE: &[u8] = b"\x1b[0m\x1b[?25h\x1b[?1049l";

/// The terminal that was taken, and how it was before.
static TAKEN: Mutex<Option<(OwnedFd, libc::termios)>> = Mutex::new(None);

/// The terminal, until it is dropped.
pub struct Screen {
    pub terminal: Terminal<Ansi>,
    pub keyboard: Keyboard,
    /// What is logged meanwhile is shown behind it.
    _hold: Hold,
}

impl Screen {
    /// Takes the terminal.
    pub fn take() -> Result<Screen> {
        let failed = |error: io::Error| Error::environment(format!("the terminal cannot be used: {error}"));
        let hold = terminal::hold();
        put_back_before_a_panic_is_told();
        // SAFETY: the function takes nothing, and what it does is allowed when a process ends.
        unsafe { libc::atexit(leave_at_exit) };
        let taken = Keyboard::open().and_then(|keyboard| {
            take_keys(keyboard.terminal()?)?;
            write(ENTER)?;
            Ok((Terminal::new(Ansi::default())?, keyboard))
        });
        match taken {
            Ok((terminal, keyboard)) => Ok(Screen { terminal, keyboard, _hold: hold }),
            Err(error) => {
                leave();
                Err(failed(error))
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// From now on each key comes as it is typed, unseen.
fn take_keys(terminal: OwnedFd) -> io::Result<()> {
    // SAFETY: all bytes zero are a valid `termios`.
    let mut before: libc::termios = unsafe { mem::zeroed() };
    // SAFETY: the call writes to the `termios` alone.
    if unsafe { libc::tcgetattr(terminal.as_raw_fd(), &mut before) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut keys = before;
    // SAFETY: it changes the `termios` alone.
    unsafe { libc::cfmakeraw(&mut keys) };
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the `termios` is valid, and only read.
    if unsafe { libc::tcsetattr(terminal.as_raw_fd(), libc::TCSADRAIN, &keys) } != 0 {
        return Err(io::Error::last_os_error());
    }
    *taken = Some((terminal, before));
    Ok(())
}

/// Puts the terminal back, if it is not yet.
fn leave() {
    let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((terminal, before)) = taken {
        // Who has no terminal any more needs none put back.
        let _ = write(LEAVE);
        // SAFETY: the `termios` is valid, and only read.
        unsafe { libc::tcsetattr(terminal.as_raw_fd(), libc::TCSADRAIN, &before) };
    }
}

extern "C" fn leave_at_exit() {
    leave();
}

/// What a panic says is of no use on a screen that is about to go. Other threads than this one go without it.
fn put_back_before_a_panic_is_told() {
    let (usual, own) = (panic::take_hook(), thread::current().id());
    panic::set_hook(Box::new(move |told| {
        if thread::current().id() == own {
            leave();
        }
        usual(told);
    }));
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush())
}

/// What a terminal is told, gathered and written at once.
#[derive(Default)]
pub struct Ansi {
    gathered: Vec<u8>,
    looks: (Color, Modifier),
}

impl Ansi {
    fn look(&mut self, cell: &Cell) {
        if self.looks == (cell.fg, cell.modifier) {
            return;
        }
        self.looks = (cell.fg, cell.modifier);
        let colour = match cell.fg {
            Color::Red => ";31",
            Color::Green => ";32",
            Color::Yellow => ";33",
            Color::Cyan => ";36",
            Color::DarkGray => ";90",
            _ => "",
        };
        self.gathered.extend_from_slice(b"\x1b[0");
        for (modifier, sign) in [(Modifier::BOLD, ";1"), (Modifier::DIM, ";2"), (Modifier::REVERSED, ";7")] {
            if cell.modifier.contains(modifier) {
                self.gathered.extend_from_slice(sign.as_bytes());
            }
        }
        self.gathered.extend_from_slice(colour.as_bytes());
        self.gathered.push(b'm');
    }

    fn go(&mut self, x: u16, y: u16) -> io::Result<()> {
        write!(self.gathered, "\x1b[{};{}H", u32::from(y) + 1, u32::from(x) + 1)
    }
}

impl Backend for Ansi {
    type Error = io::Error;

    fn draw<'a, I: Iterator<Item = (u16, u16, &'a Cell)>>(&mut self, content: I) -> io::Result<()> {
        let mut next = None;
        for (x, y, cell) in content {
            if next != Some((x, y)) {
                self.go(x, y)?;
            }
            self.look(cell);
            self.gathered.extend_from_slice(cell.symbol().as_bytes());
            // Behind anything but ASCII a terminal may stand elsewhere than one would think.
            next = cell.symbol().is_ascii().then(|| (x.saturating_add(1), y));
        }
        Ok(())
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        self.gathered.extend_from_slice(b"\x1b[?25l");
        Ok(())
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        self.gathered.extend_from_slice(b"\x1b[?25h");
        Ok(())
    }

    /// Only views within other text need to know it.
    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Ok(Position::ORIGIN)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        let Position { x, y } = position.into();
        self.go(x, y)
    }

    fn clear(&mut self) -> io::Result<()> {
        self.looks = Default::default();
        self.gathered.extend_from_slice(b"\x1b[0m\x1b[2J");
        Ok(())
    }

    fn clear_region(&mut self, _: ClearType) -> io::Result<()> {
        self.clear()
    }

    fn size(&self) -> io::Result<Size> {
        let (width, height) = terminal::size(libc::STDOUT_FILENO).unwrap_or((80, 24));
        Ok(Size { width, height })
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize { columns_rows: self.size()?, pixels: Size::default() })
    }

    fn flush(&mut self) -> io::Result<()> {
        let gathered = std::mem::take(&mut self.gathered);
        write(&gathered)
    }
}
