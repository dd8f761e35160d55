//! Streams of servers of Arrow Flight. A server says which parts a stream has, and gives each from its beginning on; they are partitions,
//! a few of which are read at a time, and where one was left off what was read is passed over. Rows are lines of JSON of our own.

mod batches;
mod fits;
mod parts;
mod place;

pub use parts::Shared;

use super::word;
use crate::batch::json;
use crate::batch::reading::{Message, ReadContent, ReadPartition, ReadRows, ReadTrouble};
use crate::flight::grpc::{Answers, Connection};
use crate::flight::messages::Data;
use crate::flight::{self, Fault, Refused, Server};
use crate::job::spec::{FlightReads, Origin, ServerSourceSpec, SourceSpec};
use crate::limits::FLIGHT_MESSAGE_BYTES_MAX;
use crate::receiver::parquet::columns::as_wanted;
use arrow::array::RecordBatch;
use batches::Batches;
use bytes::Bytes;
use parts::{Parts, other_rows};
use place::At;
use prost::Message as _;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::vec::IntoIter;
use tokio::time::timeout;

/// About how many bytes of rows are taken together.
const POLL_BYTES: usize = 1 << 20;
/// Rows that are written at a time.
const ROWS: usize = 1_024;
/// Rows that are written out take so many times the bytes of a message at most: a letter may take six.
const WRITTEN_TIMES_MAX: u64 = 8;

/// Checks what can be checked without asking the server.
pub fn check(
    server: &ServerSourceSpec,
    reads: &FlightReads,
    source: &SourceSpec,
    origin: &Origin,
) -> Result<(), (&'static str, String)> {
    parts::patterns(reads)?;
    Server::of(&server.url, reads.token.as_deref(), source.tls.as_ref(), &origin.folder).map(drop)
}

/// Reads one part of a stream.
pub struct Flight {
    shared: Arc<Shared>,
    open: Option<Open>,
}

/// A part that is read.
struct Open {
    number: usize,
    /// Where rows were left off; up to there they are passed over.
    left_off: Option<At>,
    at: At,
    /// `None`: there are no more rows.
    stream: Option<Stream>,
    /// Rows that are written and not given out.
    lines: IntoIter<Bytes>,
}

/// What a server answers.
struct Stream {
    server: Server,
    /// It ends when this is dropped.
    _connection: Connection,
    answers: Answers,
    batches: Batches,
    /// For how long nothing came while somebody waited for it.
    silent: Duration,
    /// What it is a part of, and whether that was told just before.
    parts: Arc<Parts>,
    is_new: bool,
}

/// Why a part cannot be read.
enum Trouble {
    /// Of the server, or the way there.
    Server(Refused),
    /// What it sends cannot be used.
    Content(String),
}

impl Flight {
    /// One who reads what this source names.
    pub fn new(shared: &Arc<Shared>) -> Flight {
        Flight { shared: shared.clone(), open: None }
    }

    fn told(&self, server: &Server, number: usize, trouble: Trouble) -> ReadTrouble {
        let fault = match trouble {
            Trouble::Server(Refused { fault: Fault::Passing(why), .. }) => Fault::Passing(why),
            Trouble::Server(Refused { fault: Fault::Lasting(why), .. }) | Trouble::Content(why) => {
                Fault::Lasting(format!("part {number}: {why}"))
            }
        };
        self.shared.trouble(server, fault)
    }

    /// Asks for the rows of a part.
    fn ask(&self, (parts, is_new): (Arc<Parts>, bool), number: usize) -> Result<Stream, ReadTrouble> {
        let shared = &self.shared;
        let content = |why: String| self.told(&shared.server, number, Trouble::Content(why));
        let endpoint = parts.endpoints.get(number).ok_or_else(|| content("there is no such part".into()))?;
        let bytes_max = usize::try_from(shared.reads.message_bytes_max).unwrap_or(usize::MAX);
        let ticket = endpoint.ticket.clone().unwrap_or_default();
        let mut away = None;
        for server in shared.holders(endpoint).map_err(content)? {
            let mut connection = match shared.block_on(server.connect()) {
                Ok(connection) => connection,
                Err(fault) => {
                    away.get_or_insert((server, fault));
                    continue;
                }
            };
            let answers = connection.ask("DoGet", &ticket, bytes_max);
            let batches = Batches::new(&shared.source.schema, bytes_max);
            let silent = Duration::ZERO;
            return Ok(Stream { server, _connection: connection, answers, batches, silent, parts, is_new });
        }
        shared.forget(&parts);
        let (server, fault) = away.unwrap_or((shared.server.clone(), Fault::Passing("nobody has it".into())));
        Err(self.told(&server, number, Trouble::Server(fault.into())))
    }

    /// Rows that come within this time; whether there may be more.
    fn read(&self, open: &mut Open, rows_max: usize, until: Instant) -> Result<(Vec<Message>, bool), Trouble> {
        let (mut messages, mut bytes, mut took) = (Vec::new(), 0, false);
        while messages.len() < rows_max && bytes < POLL_BYTES {
            if let Some(line) = open.lines.next() {
                open.at.add(&line);
                match open.left_off {
                    Some(before) if open.at.rows <= before.rows => open.check(before)?,
                    _ => {
                        bytes += line.len();
                        messages.push(Message { value: Some(line), ..Message::default() });
                    }
                }
                continue;
            }
            let Some(stream) = &mut open.stream else { return Ok((messages, false)) };
            if let Some(rows) = stream.batches.next(ROWS).map_err(Trouble::Content)? {
                let made = lines(&rows, self.shared.reads.message_bytes_max);
                open.lines = made.map_err(|error| Trouble::Content(format!("rows cannot be written: {error}")))?;
                // What is passed over takes its time, too.
                if Instant::now() >= until {
                    break;
                }
                continue;
            }
            let wait = until.saturating_duration_since(Instant::now());
            if wait.is_zero() && (took || !messages.is_empty()) {
                break;
            }
            let answers = &mut stream.answers;
            let Ok(next) = self.shared.block_on(async { timeout(wait, answers.next()).await }) else {
                let stall = self.shared.reads.stall;
                stream.silent += wait;
                match stream.silent < stall {
                    true => break,
                    false => return Err(Trouble::Server(flight::stalled(stall).into())),
                }
            };
            (stream.silent, took) = (Duration::ZERO, true);
            match next.map_err(Trouble::Server)? {
                Some(message) => {
                    let data = Data::decode(message);
                    let data =
                        data.map_err(|error| Trouble::Content(format!("it sends what is no message: {error}")))?;
                    stream.batches.take(&data).map_err(Trouble::Content)?;
                }
                None => {
                    open.stream = None;
                    if let Some(before) = open.left_off.filter(|before| open.at.rows < before.rows) {
                        let (is, was) = (open.at.rows, before.rows);
                        return Err(Trouble::Content(other_rows(&format!("{is} rows, and the job has read {was}"))));
                    }
                    return Ok((messages, false));
                }
            }
        }
        Ok((messages, true))
    }
}

impl Open {
    fn ended(number: usize, at: At) -> Open {
        Open { number, left_off: Some(at), at, stream: None, lines: Vec::new().into_iter() }
    }

    /// Whether the rows so far are those that were read before.
    fn check(&self, before: At) -> Result<(), Trouble> {
        // With other columns nothing can be said.
        if self.at.rows == before.rows && self.at.columns == before.columns && self.at.digest != before.digest {
            let rows = before.rows;
            return Err(Trouble::Content(other_rows(&format!("the first {rows} are not those that the job has read"))));
        }
        Ok(())
    }
}

/// Rows as lines of JSON, each without its end.
fn lines(rows: &RecordBatch, message_bytes_max: u64) -> io::Result<IntoIter<Bytes>> {
    // The names of columns stand in each line, however small messages are.
    let left = message_bytes_max.max(FLIGHT_MESSAGE_BYTES_MAX).saturating_mul(WRITTEN_TIMES_MAX);
    let mut written = Written { bytes: Vec::new(), left };
    json::write(std::slice::from_ref(rows), &mut written)?;
    let mut written = Bytes::from(written.bytes);
    let mut lines = Vec::with_capacity(rows.num_rows());
    while let Some(end) = memchr::memchr(b'\n', &written) {
        let line = written.split_to(end + 1);
        lines.push(line.slice(..end));
    }
    Ok(lines.into_iter())
}

/// So many bytes at most: what takes little in a message may take much more when it is written for each row.
struct Written {
    bytes: Vec<u8>,
    left: u64,
}

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or_else(|| io::Error::other("they are many times as large as `message_bytes_max`"))?;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ReadPartition for Flight {
    fn known(&mut self, positions: &[(String, Vec<u8>)]) {
        let read = |(name, position): &(String, Vec<u8>)| Some((name.parse().ok()?, At::parse(position)?));
        self.shared.remember(positions.iter().filter_map(read));
    }

    fn partitions(&mut self) -> Result<Vec<String>, ReadTrouble> {
        self.shared.names()
    }

    fn open(&mut self, partition: &str, position: Option<&[u8]>) -> Result<(), ReadTrouble> {
        let number: usize = partition.parse().unwrap_or(usize::MAX);
        let left_off = position.and_then(At::parse);
        if let Some(at) = left_off.filter(|at| at.ended) {
            self.open = Some(Open::ended(number, at));
            return Ok(());
        }
        let (parts, is_new) = self.shared.parts()?;
        let count = parts.endpoints.len();
        let at = At::beginning(count, &self.shared.source.schema);
        match left_off.filter(|before| before.parts != count) {
            Some(before) => {
                let what = other_rows(&format!("{count} parts, and there were {}", before.parts));
                return Err(self.shared.trouble(&self.shared.server, Fault::Lasting(what)));
            }
            None if count == 0 => self.open = Some(Open { left_off: None, ..Open::ended(number, at) }),
            None => {
                let stream = Some(self.ask((parts, is_new), number)?);
                self.open = Some(Open { number, left_off, at, stream, lines: Vec::new().into_iter() });
            }
        }
        Ok(())
    }

    fn shown<'a>(&self, position: &'a str) -> &'a str {
        word(position, 0)
    }

    fn is_open(&self) -> bool {
        self.open.is_some()
    }

    fn poll(&mut self, rows_max: u32, wait: Duration) -> Result<ReadRows, ReadTrouble> {
        let Some(mut open) = self.open.take() else { return Err(ReadTrouble::Passing("it is not connected".into())) };
        let (messages, more) = match self.read(&mut open, rows_max as usize, Instant::now() + wait) {
            Ok(read) => read,
            Err(trouble) => {
                let Some(stream) = open.stream else {
                    return Err(self.told(&self.shared.server, open.number, trouble));
                };
                self.shared.forget(&stream.parts);
                let trouble = match trouble {
                    // A ticket is good for a while, and this one was told a while ago.
                    Trouble::Server(Refused { fault: Fault::Lasting(why), status: Some(_) })
                        if !stream.is_new && !stream.batches.has_begun() =>
                    {
                        Trouble::Server(Fault::Passing(why).into())
                    }
                    trouble => trouble,
                };
                return Err(self.told(&stream.server, open.number, trouble));
            }
        };
        if !more {
            open.at.ended = true;
            self.shared.ended(open.number);
        }
        let moved = open.left_off.is_none_or(|before| open.at.rows > before.rows || !more);
        let position = moved.then(|| open.at.written());
        self.open = Some(open);
        let pause = more.then_some(Duration::ZERO);
        Ok(ReadRows { content: ReadContent::Messages(messages), refused: Vec::new(), position, pause })
    }

    /// A stream has an end, and it was not there.
    fn has_more(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.stream.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int8Array};
    use std::sync::Arc;

    #[test]
    fn rows_of_small_messages_may_have_long_names() {
        let name = "a".repeat(100);
        let values: ArrayRef = Arc::new(Int8Array::from(vec![1; ROWS]));
        let rows = RecordBatch::try_from_iter([(name.as_str(), values)]).unwrap();
        assert_eq!(lines(&rows, 2_048).unwrap().count(), ROWS);
    }
}
