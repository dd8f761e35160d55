//! Reads standard input and cuts it into portions that can be processed separately. A portion is passed on when it is
//! full, or when no more input is waiting.

use arrow::array::RecordBatch;
use millstream_base::error::Error;
use millstream_connect::receiver::Framer;
use millstream_connect::receiver::arrow_stream::ArrowStream;
use millstream_rows::batch::chunk::Chunk;
use std::io::{self, ErrorKind, Read};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

/// Bytes read at a time.
const READ_BYTES: usize = 256 << 10;
/// The requested size of the pipe: the limit for users without further permissions. A portion has about this size.
#[cfg(target_os = "linux")]
const PIPE_BYTES: libc::c_int = 1 << 20;

/// A portion of the input.
pub enum Portion {
    /// Complete records, of which the first starts on this line.
    Chunk {
        /// The records.
        chunk: Chunk,
        /// The line, from 1.
        line: u64,
    },
    /// Rows.
    Rows(RecordBatch),
    /// The end of the input.
    End,
    /// The input cannot be read.
    Failed(Error),
}

/// Cuts bytes into portions.
pub enum Cutter {
    /// Lines. CSV records may span several.
    Lines(Box<Framer>),
    /// An Arrow IPC stream.
    Arrow(Box<ArrowStream>),
}

/// Standard input.
pub struct Input {
    buffer: Vec<u8>,
    /// Bytes that were read ahead and are to be read again.
    ahead: Vec<u8>,
    ended: bool,
}

impl Input {
    /// Creates the input before anything was read.
    pub fn of_standard_input() -> Input {
        // SAFETY: the call takes numbers. If standard input is not a pipe, or may not be larger, it changes nothing.
        #[cfg(target_os = "linux")]
        unsafe {
            libc::fcntl(libc::STDIN_FILENO, libc::F_SETPIPE_SZ, PIPE_BYTES)
        };
        Input { buffer: Vec::new(), ahead: Vec::new(), ended: false }
    }

    /// Waits for the next bytes and returns them. Empty at the end.
    fn read(&mut self) -> Result<&[u8], Error> {
        if !self.ahead.is_empty() {
            self.buffer = std::mem::take(&mut self.ahead);
            return Ok(&self.buffer);
        }
        if self.ended {
            return Ok(&[]);
        }
        self.buffer.resize(READ_BYTES, 0);
        loop {
            match io::stdin().lock().read(&mut self.buffer) {
                Ok(count) => {
                    self.ended = count == 0;
                    return Ok(self.buffer.get(..count).unwrap_or_default());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::environment(format!("standard input: {error}"))),
            }
        }
    }

    /// Returns whether more input, or the end, is available within this time.
    fn has_input_within(&self, time: Duration) -> bool {
        let mut input = libc::pollfd { fd: libc::STDIN_FILENO, events: libc::POLLIN, revents: 0 };
        let time_ms = libc::c_int::try_from(time.as_millis()).unwrap_or(libc::c_int::MAX);
        // SAFETY: it gets one such structure, which lives until the call returns.
        let ready = unsafe { libc::poll(&raw mut input, 1, time_ms) };
        // On an error, the next read reports it.
        ready != 0
    }

    /// Reads ahead while `wanted` returns `true` for the bytes so far. All of them are read again. Returns whether the
    /// input has ended. `late` is called once if nothing arrives for the given time.
    pub fn look_ahead(
        &mut self,
        mut wanted: impl FnMut(&[u8]) -> Result<bool, Error>,
        (retry, mut late): (Duration, impl FnMut()),
    ) -> Result<bool, Error> {
        let mut given = std::mem::take(&mut self.ahead);
        let (began, mut reported) = (Instant::now(), false);
        while wanted(&given)? && !self.ended {
            if !reported && !self.has_input_within(retry.saturating_sub(began.elapsed())) {
                reported = true;
                late();
            }
            given.extend_from_slice(self.read()?);
        }
        self.ahead = given;
        Ok(self.ended)
    }

    /// Drops the bytes that were read ahead.
    pub fn drop_ahead(&mut self) {
        self.ahead = Vec::new();
    }

    /// Returns the bytes that were read ahead.
    pub fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// Cuts the complete input, and sends the portions with their numbers, from 0.
    pub fn cut(mut self, mut cutter: Cutter, to: &SyncSender<(u64, Portion)>) {
        let mut numbers = 0_u64..;
        let mut send = |portion| numbers.next().is_some_and(|number| to.send((number, portion)).is_ok());
        let last = match self.cut_to_the_end(&mut cutter, &mut send) {
            // The receiver has been dropped.
            Ok(false) => return,
            Ok(true) => Portion::End,
            Err(error) => Portion::Failed(error),
        };
        send(last);
    }

    fn cut_to_the_end(&mut self, cutter: &mut Cutter, send: &mut impl FnMut(Portion) -> bool) -> Result<bool, Error> {
        let mut line = 1;
        loop {
            let read = self.read()?;
            let ended = read.is_empty();
            cutter.give(read);
            let idle = ended || !self.has_input_within(Duration::ZERO);
            while let Some(portion) = cutter.next(idle, &mut line)? {
                if !send(portion) {
                    return Ok(false);
                }
            }
            if ended {
                return cutter.end().map(|()| true);
            }
        }
    }
}

impl Cutter {
    /// Adds the next bytes. Empty bytes mark the end.
    fn give(&mut self, bytes: &[u8]) {
        match self {
            Cutter::Lines(framer) if bytes.is_empty() => framer.end(),
            Cutter::Lines(framer) => framer.buffer(bytes.len()).extend_from_slice(bytes),
            Cutter::Arrow(stream) => stream.add(bytes),
        }
    }

    /// Returns the next portion. `idle`: even if it is not full. `line` is its first line, and is advanced past it.
    fn next(&mut self, idle: bool, line: &mut u64) -> Result<Option<Portion>, Error> {
        match self {
            Cutter::Lines(framer) => {
                let Some(chunk) = framer.next(idle) else { return Ok(None) };
                let begins = *line + header_lines(&chunk);
                *line += lines(&chunk.bytes);
                Ok(Some(Portion::Chunk { chunk, line: begins }))
            }
            Cutter::Arrow(stream) => stream.next_rows().map(|rows| rows.map(Portion::Rows)).map_err(unreadable),
        }
    }

    fn end(&self) -> Result<(), Error> {
        match self {
            Cutter::Lines(_) => Ok(()),
            Cutter::Arrow(stream) => stream.end().map_err(unreadable),
        }
    }
}

/// Returns the number of lines before all records that the line of a chunk does not include.
fn header_lines(chunk: &Chunk) -> u64 {
    if chunk.header.is_empty() { 0 } else { lines(&chunk.header) + 1 }
}

/// Counts line ends.
pub fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Returns the error for an invalid Arrow IPC stream.
pub fn unreadable(what: String) -> Error {
    Error::environment(format!("standard input: {what}"))
}
