//! Reads lines from a connection.

use super::{Connection, Fault};
use std::time::Duration;

/// The maximum size of one read.
const READ_BYTES: usize = 1 << 16;

/// A connection whose peer sends lines.
pub struct Lines {
    connection: Connection,
    /// Received data that was not returned yet.
    buffer: Vec<u8>,
    /// Start of the next line in the buffer.
    start: usize,
    /// Index up to which the buffer is searched for a line end.
    searched: usize,
    line_bytes_max: usize,
}

impl Lines {
    /// Returns a reader of lines. A line of more than `line_bytes_max` bytes is a [`Fault::Failed`].
    pub fn new(connection: Connection, line_bytes_max: usize) -> Lines {
        Lines { connection, buffer: Vec::new(), start: 0, searched: 0, line_bytes_max }
    }

    /// Returns the connection, for writing.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Returns the next line without its end (`\n` or `\r\n`). Waits at most `timeout` for more bytes. A partial line is kept for
    /// the next call. If the connection ends within a line, that line is dropped.
    pub fn next(&mut self, timeout: Duration) -> Result<&[u8], Fault> {
        let mut timeout = timeout;
        loop {
            let rest = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(at) = rest.iter().position(|&byte| byte == b'\n') {
                let (start, end) = (self.start, self.searched + at);
                (self.start, self.searched) = (end + 1, end + 1);
                let line = self.buffer.get(start..end).unwrap_or_default();
                return Ok(line.strip_suffix(b"\r").unwrap_or(line));
            }
            self.searched = self.buffer.len();
            if self.searched - self.start > self.line_bytes_max {
                return Err(Fault::Failed(format!("a line of more than {} bytes", self.line_bytes_max)));
            }
            let more = self.connection.read(READ_BYTES, timeout)?;
            self.buffer.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
            self.buffer.extend_from_slice(&more);
            // There is no clock here, so only the first wait uses the timeout.
            timeout = Duration::ZERO;
        }
    }
}
