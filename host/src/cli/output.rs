//! What commands print to standard output and standard error.

use crate::author::stale::StaleComponent;
use millstream_base::error::{Error, Result};
use millstream_base::{shown, terminal};
use std::io::{self, Write as _};

/// Standard error. If its reader has exited or its disk is full, lines are lost and the job continues: the log must not
/// stop it.
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

/// Warns about components that are older than their sources.
pub fn warn_of(stale: impl IntoIterator<Item = StaleComponent>) {
    for stale in stale {
        let _ = writeln!(LogOutput, "warning: {stale}");
    }
}

/// Writes to standard output. A reader that has exited, such as `head`, causes an error, not a panic.
pub fn show(text: &str) -> Result<()> {
    show_unescaped(&shown::text(text))
}

/// Writes Millstream's own text, which may contain terminal sequences.
pub fn show_unescaped(text: &str) -> Result<()> {
    terminal::Output.write_all(text.as_bytes()).map_err(|e| Error::environment(format!("output: {e}")))
}
