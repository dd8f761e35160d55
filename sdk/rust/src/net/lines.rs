//! Lines read from a connection.

use super::{Connection, Fault};
use std::time::Duration;

/// The maximum size of one read.
const READ_BYTES: usize = 1 << 16;

/// A connection whose other side sends lines.
pub struct Lines {
    connection: Connection,
    /// Received data that was not returned yet.
    buffer: Vec<u8>,
    /// The start of the next line in it.
    start: usize,
    /// The position before which there is no line end.
    searched: usize,
    line_bytes_max: usize,
}

impl Lines {
    /// Returns lines of at most `line_bytes_max` bytes: a longer one is a [`Fault::Failed`].
    pub fn new(connection: Connection, line_bytes_max: usize) -> Lines {
        Lines { connection, buffer: Vec::new(), start: 0, searched: 0, line_bytes_max }
    }

    /// The connection, to write to it.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Returns the next line without its end (`\n` or `\r\n`), and waits for it no longer than `timeout`. A part of a line that
    /// has arrived by then is kept for the next call; a part before the end of the connection is not a line.
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
            // There is no clock here: only the first wait is a long one.
            timeout = Duration::ZERO;
        }
    }
}
