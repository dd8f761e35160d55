//! Standard input, cut into portions that can be worked on by themselves. A portion goes on when it is full, or when nothing more waits.

use arrow::array::RecordBatch;
use millstream_base::batch::chunk::Chunk;
use millstream_base::error::Error;
use millstream_connectors::receiver::Framer;
use millstream_connectors::receiver::arrow_stream::ArrowStream;
use std::io::{self, ErrorKind, Read};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

/// Bytes that are read at a time.
const READ_BYTES: usize = 256 << 10;
/// How much a pipe is asked to hold: what users may ask for without further rights. A portion is made of about that.
#[cfg(target_os = "linux")]
const PIPE_BYTES: libc::c_int = 1 << 20;

/// What was cut out of the input.
pub enum Portion {
    /// Whole records, of which the first stands in this line.
    Chunk {
        /// The records.
        chunk: Chunk,
        /// The line, from 1 on.
        line: u64,
    },
    /// Rows.
    Rows(RecordBatch),
    /// There is no more.
    End,
    /// What comes cannot be read.
    Failed(Error),
}

/// What cuts portions out of bytes.
pub enum Cutter {
    /// Lines; of csv records may have several.
    Lines(Box<Framer>),
    /// A stream of Arrow IPC.
    Arrow(Box<ArrowStream>),
}

/// Standard input.
pub struct Input {
    buffer: Vec<u8>,
    /// What was read ahead and is to be given again.
    ahead: Vec<u8>,
    ended: bool,
}

impl Input {
    /// Standard input, of which nothing was read.
    pub fn of_standard_input() -> Input {
        // SAFETY: the call takes numbers, and where standard input is no pipe, or may not be larger, it changes nothing.
        #[cfg(target_os = "linux")]
        unsafe {
            libc::fcntl(libc::STDIN_FILENO, libc::F_SETPIPE_SZ, PIPE_BYTES)
        };
        Input { buffer: Vec::new(), ahead: Vec::new(), ended: false }
    }

    /// The next bytes, for which it waits; none: it is at its end.
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

    /// Whether more can be read, or the end, without waiting for longer than this.
    fn comes_within(&self, time: Duration) -> bool {
        let mut input = libc::pollfd { fd: libc::STDIN_FILENO, events: libc::POLLIN, revents: 0 };
        let time_ms = libc::c_int::try_from(time.as_millis()).unwrap_or(libc::c_int::MAX);
        // SAFETY: it is given one such structure, which lives until it returns.
        let ready = unsafe { libc::poll(&raw mut input, 1, time_ms) };
        // Where it cannot be said, whoever reads finds out.
        ready != 0
    }

    /// Reads on while `wanted` says so of what was read so far, all of which is given again; whether that is all there is. `late` is
    /// called once, where nothing comes for so long.
    pub fn look_ahead(
        &mut self,
        mut wanted: impl FnMut(&[u8]) -> Result<bool, Error>,
        (patience, mut late): (Duration, impl FnMut()),
    ) -> Result<bool, Error> {
        let mut given = std::mem::take(&mut self.ahead);
        let (began, mut told) = (Instant::now(), false);
        while wanted(&given)? && !self.ended {
            if !told && !self.comes_within(patience.saturating_sub(began.elapsed())) {
                told = true;
                late();
            }
            given.extend_from_slice(self.read()?);
        }
        self.ahead = given;
        Ok(self.ended)
    }

    /// What was read ahead is of no use any more.
    pub fn forget_ahead(&mut self) {
        self.ahead = Vec::new();
    }

    /// What was read ahead.
    pub fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// Cuts all of it, and sends the portions with their numbers, from 0 on.
    pub fn cut(mut self, mut cutter: Cutter, to: &SyncSender<(u64, Portion)>) {
        let mut numbers = 0_u64..;
        let mut send = |portion| numbers.next().is_some_and(|number| to.send((number, portion)).is_ok());
        let last = match self.cut_to_the_end(&mut cutter, &mut send) {
            // Whoever takes portions has gone.
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
            let idle = ended || !self.comes_within(Duration::ZERO);
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
    /// These bytes come next; none: it is the end.
    fn give(&mut self, bytes: &[u8]) {
        match self {
            Cutter::Lines(framer) if bytes.is_empty() => framer.end(),
            Cutter::Lines(framer) => framer.buffer(bytes.len()).extend_from_slice(bytes),
            Cutter::Arrow(stream) => stream.give(bytes),
        }
    }

    /// The next portion; `idle`: also one that is not full. `line` is where it begins, and is moved behind it.
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

/// Lines before all records that the line of a chunk does not count.
fn header_lines(chunk: &Chunk) -> u64 {
    if chunk.header.is_empty() { 0 } else { lines(&chunk.header) + 1 }
}

/// Ends of lines.
pub fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// The error of a stream of Arrow IPC.
pub fn unreadable(what: String) -> Error {
    Error::environment(format!("standard input: {what}"))
}
