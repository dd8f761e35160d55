//! The full terminal: switched to raw mode, drawn on, and restored on every exit.

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

/// The sequences to switch to the alternate screen, empty and without a cursor, and back.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[2J\x1b[?25l";
const LEAVE: &[u8] = b"\x1b[0m\x1b[?25h\x1b[?1049l";

/// The terminal in use, and its previous mode.
static TAKEN: Mutex<Option<(OwnedFd, libc::termios)>> = Mutex::new(None);

/// The terminal, until it is dropped.
pub struct Screen {
    pub terminal: Terminal<Ansi>,
    pub keyboard: Keyboard,
    /// Holds back log lines, which are shown afterwards.
    _hold: Hold,
}

impl Screen {
    /// Switches the terminal to raw mode and the alternate screen.
    pub fn take() -> Result<Screen> {
        let failed = |error: io::Error| Error::environment(format!("the terminal cannot be used: {error}"));
        let hold = terminal::hold();
        restore_before_panic_message();
        // SAFETY: the function has no parameters, and does only what is allowed at exit.
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

/// Enables raw mode: each key arrives as it is typed, without echo.
fn take_keys(terminal: OwnedFd) -> io::Result<()> {
    // SAFETY: a zeroed `termios` is valid.
    let mut before: libc::termios = unsafe { mem::zeroed() };
    // SAFETY: the call writes only to the `termios`.
    if unsafe { libc::tcgetattr(terminal.as_raw_fd(), &mut before) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut keys = before;
    // SAFETY: it changes only the `termios`.
    unsafe { libc::cfmakeraw(&mut keys) };
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the `termios` is valid, and only read.
    if unsafe { libc::tcsetattr(terminal.as_raw_fd(), libc::TCSADRAIN, &keys) } != 0 {
        return Err(io::Error::last_os_error());
    }
    *taken = Some((terminal, before));
    Ok(())
}

/// Restores the terminal, if not done yet.
fn leave() {
    let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((terminal, before)) = taken {
        // If the terminal is gone, there is nothing to restore.
        let _ = write(LEAVE);
        // SAFETY: the `termios` is valid, and only read.
        unsafe { libc::tcsetattr(terminal.as_raw_fd(), libc::TCSADRAIN, &before) };
    }
}

extern "C" fn leave_at_exit() {
    leave();
}

/// Restores the terminal before a panic message, which would be lost with the screen. Panics of other threads leave the
/// screen.
fn restore_before_panic_message() {
    let (usual, own) = (panic::take_hook(), thread::current().id());
    panic::set_hook(Box::new(move |info| {
        if thread::current().id() == own {
            leave();
        }
        usual(info);
    }));
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush())
}

/// Collects terminal output and writes it in one call.
#[derive(Default)]
pub struct Ansi {
    buffer: Vec<u8>,
    style: (Color, Modifier),
}

impl Ansi {
    fn set_style(&mut self, cell: &Cell) {
        if self.style == (cell.fg, cell.modifier) {
            return;
        }
        self.style = (cell.fg, cell.modifier);
        let colour = match cell.fg {
            Color::Red => ";31",
            Color::Green => ";32",
            Color::Yellow => ";33",
            Color::Cyan => ";36",
            Color::DarkGray => ";90",
            _ => "",
        };
        self.buffer.extend_from_slice(b"\x1b[0");
        for (modifier, sign) in [(Modifier::BOLD, ";1"), (Modifier::DIM, ";2"), (Modifier::REVERSED, ";7")] {
            if cell.modifier.contains(modifier) {
                self.buffer.extend_from_slice(sign.as_bytes());
            }
        }
        self.buffer.extend_from_slice(colour.as_bytes());
        self.buffer.push(b'm');
    }

    fn move_cursor(&mut self, x: u16, y: u16) -> io::Result<()> {
        write!(self.buffer, "\x1b[{};{}H", u32::from(y) + 1, u32::from(x) + 1)
    }
}

impl Backend for Ansi {
    type Error = io::Error;

    fn draw<'a, I: Iterator<Item = (u16, u16, &'a Cell)>>(&mut self, content: I) -> io::Result<()> {
        let mut next = None;
        for (x, y, cell) in content {
            if next != Some((x, y)) {
                self.move_cursor(x, y)?;
            }
            self.set_style(cell);
            self.buffer.extend_from_slice(cell.symbol().as_bytes());
            // After a non-ASCII character the cursor position of terminals may differ.
            next = cell.symbol().is_ascii().then(|| (x.saturating_add(1), y));
        }
        Ok(())
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        self.buffer.extend_from_slice(b"\x1b[?25l");
        Ok(())
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        self.buffer.extend_from_slice(b"\x1b[?25h");
        Ok(())
    }

    /// Only inline views need the position.
    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Ok(Position::ORIGIN)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        let Position { x, y } = position.into();
        self.move_cursor(x, y)
    }

    fn clear(&mut self) -> io::Result<()> {
        self.style = Default::default();
        self.buffer.extend_from_slice(b"\x1b[0m\x1b[2J");
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
        let buffer = std::mem::take(&mut self.buffer);
        write(&buffer)
    }
}
