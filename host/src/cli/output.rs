//! What commands print, and what they say on standard error.

use crate::author::stale::StaleComponent;
use millstream_base::error::{Error, Result};
use millstream_base::{shown, terminal};
use std::io::{self, Write as _};

/// Standard error. Where nobody reads it any more, or its disk is full, lines are lost and the job goes on: the log must
/// not decide about it.
pub struct LogOutput;

impl io::Write for LogOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = terminal::write_error(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Tells of components that are older than their sources.
pub fn warn_of(stale: impl IntoIterator<Item = StaleComponent>) {
    for stale in stale {
        let _ = writeln!(LogOutput, "warning: {stale}");
    }
}

/// Writes to standard output. A reader that went away, as `head` does, is an error and no panic.
pub fn show(text: &str) -> Result<()> {
    show_as_it_is(&shown::text(text))
}

/// The same for what Millstream says by itself, to a terminal.
pub fn show_as_it_is(text: &str) -> Result<()> {
    terminal::Output.write_all(text.as_bytes()).map_err(|e| Error::environment(format!("output: {e}")))
}
