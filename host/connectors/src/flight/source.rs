//! Streams of servers of Arrow Flight. A server says which parts a stream has, and gives each from its beginning on; they are partitions,
//! a few of which are read at a time, and where one was left off what was read is passed over. Rows stay columns where the job's can hold
//! them as they are (`columns`); others become lines of JSON of our own.

mod columns;
mod parts;
mod position;

pub use parts::Shared;

use super::limits::MESSAGE_BYTES_MAX;
use super::settings::FlightReads;
use crate::flight::grpc::{Connection, ResponseStream};
use crate::flight::messages::Data;
use crate::flight::{self, CallRefusal, Fault, Server};
use crate::receiver::arrow_stream::{Batches, IpcMessage};
use crate::receiver::parquet::columns::WantedRows;
use crate::receiver::polled::word;
use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use bytes::Bytes;
use columns::RowsDigest;
use millstream_base::batch::json;
use millstream_base::batch::reading::{Message, ReadContent, ReadPartition, ReadRows, ReadTrouble};
use millstream_base::batch::ready::ReadyRows;
use millstream_base::decode::parquet::refuse;
use millstream_base::job::spec::{Origin, SourceSpec};
use millstream_base::panics::caught;
use parts::{Parts, other_rows};
use position::FlightPosition;
use prost::Message as _;
use std::collections::BTreeMap;
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
pub fn check(reads: &FlightReads, source: &SourceSpec, origin: &Origin) -> Result<(), (&'static str, String)> {
    parts::patterns(reads)?;
    Server::of(&reads.url, reads.token.as_deref(), source.tls.as_ref(), &origin.folder).map(drop)
}

/// Reads one part of a stream.
pub struct Flight {
    shared: Arc<Shared>,
    open: Option<OpenFlightPart>,
}

/// A part that is read.
struct OpenFlightPart {
    number: usize,
    /// Where rows were left off; up to there they are passed over.
    left_off: Option<FlightPosition>,
    at: FlightPosition,
    /// `None`: there are no more rows.
    stream: Option<Stream>,
    /// Whether rows stay columns, once one has come.
    as_columns: Option<bool>,
    /// Of the rows so far, where they do.
    digest: RowsDigest,
    /// Rows that came and are not given out.
    next: NextRows,
}

/// Rows in one of the two forms.
enum NextRows {
    /// They are written.
    Lines(IntoIter<Bytes>),
    /// They are columns of the job. Some are refused, by their numbers behind those that were given out.
    Columns(RecordBatch, BTreeMap<usize, String>),
}

/// Whether rows were given to the batch.
enum HandOutResult {
    Some,
    /// There are none.
    None,
    /// They are not in the form of those that were given out before.
    InOtherForm,
}

/// Rows that are given out together, all in the same form.
#[derive(Default)]
struct HandedOutRows {
    lines: Vec<Message>,
    columns: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
}

impl HandedOutRows {
    fn add_line(&mut self, line: Bytes) {
        (self.rows, self.bytes) = (self.rows + 1, self.bytes + line.len());
        self.lines.push(Message { value: Some(line), ..Message::default() });
    }

    fn add_columns(&mut self, rows: RecordBatch) {
        (self.rows, self.bytes) = (self.rows + rows.num_rows(), self.bytes + ReadyRows::new(rows.clone()).bytes());
        self.columns.push(rows);
    }

    fn content(self) -> Result<ReadContent, PartFault> {
        if self.columns.is_empty() {
            return Ok(ReadContent::Messages(self.lines));
        }
        let rows = columns::alone(&self.columns);
        rows.map(ReadContent::Ready).map_err(unreadable)
    }
}

/// What a server answers.
struct Stream {
    server: Server,
    /// It ends when this is dropped.
    _connection: Connection,
    answers: ResponseStream,
    batches: Batches,
    /// For how long nothing came while somebody waited for it.
    silent: Duration,
    /// What it is a part of, and whether that was told just before.
    parts: Arc<Parts>,
    is_new: bool,
}

/// Why a part cannot be read.
enum PartFault {
    /// Of the server, or the way there.
    Server(CallRefusal),
    /// What it sends cannot be used.
    Content(String),
}

impl Flight {
    /// One who reads what this source names.
    pub fn new(shared: &Arc<Shared>) -> Flight {
        Flight { shared: shared.clone(), open: None }
    }

    fn told(&self, server: &Server, number: usize, trouble: PartFault) -> ReadTrouble {
        let fault = match trouble {
            PartFault::Server(CallRefusal { fault: Fault::Passing(why), .. }) => Fault::Passing(why),
            PartFault::Server(CallRefusal { fault: Fault::Lasting(why), .. }) | PartFault::Content(why) => {
                Fault::Lasting(format!("part {number}: {why}"))
            }
        };
        self.shared.trouble(server, fault)
    }

    /// Asks for the rows of a part.
    fn ask(&self, (parts, is_new): (Arc<Parts>, bool), number: usize) -> Result<Stream, ReadTrouble> {
        let shared = &self.shared;
        let content = |why: String| self.told(&shared.server, number, PartFault::Content(why));
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
        let (server, fault) = away.unwrap_or((shared.server.clone(), Fault::Passing("no server has it".into())));
        Err(self.told(&server, number, PartFault::Server(fault.into())))
    }

    /// Rows that come within this time; whether there may be more.
    fn read(
        &self,
        open: &mut OpenFlightPart,
        rows_max: usize,
        until: Instant,
    ) -> Result<(ReadContent, bool), PartFault> {
        let (mut taken, mut took) = (HandedOutRows::default(), false);
        while taken.rows < rows_max && taken.bytes < POLL_BYTES {
            let rows_left = rows_max - taken.rows;
            match open.give(&mut taken, rows_left, &self.shared)? {
                HandOutResult::Some => continue,
                HandOutResult::InOtherForm => break,
                HandOutResult::None => {}
            }
            let Some(stream) = &mut open.stream else { return Ok((taken.content()?, false)) };
            let most = if open.as_columns == Some(true) { rows_left } else { ROWS };
            if let Some(rows) = stream.batches.next(most).map_err(PartFault::Content)? {
                open.take(rows, &self.shared)?;
                // What is passed over takes its time, too.
                if Instant::now() >= until {
                    break;
                }
                continue;
            }
            let wait = until.saturating_duration_since(Instant::now());
            if wait.is_zero() && (took || taken.rows > 0) {
                break;
            }
            let answers = &mut stream.answers;
            let Ok(next) = self.shared.block_on(async { timeout(wait, answers.next()).await }) else {
                let stall = self.shared.reads.stall;
                stream.silent += wait;
                match stream.silent < stall {
                    true => break,
                    false => return Err(PartFault::Server(flight::stalled(stall).into())),
                }
            };
            (stream.silent, took) = (Duration::ZERO, true);
            match next.map_err(PartFault::Server)? {
                Some(message) => {
                    let data = Data::decode(message);
                    let data =
                        data.map_err(|error| PartFault::Content(format!("it sent an invalid message: {error}")))?;
                    let message = IpcMessage { header: data.header, body: data.body };
                    stream.batches.take(&message).map_err(PartFault::Content)?;
                }
                None => {
                    open.stream = None;
                    if let Some(before) = open.left_off.filter(|before| open.at.rows < before.rows) {
                        let (is, was) = (open.at.rows, before.rows);
                        return Err(PartFault::Content(other_rows(&format!("{is} rows, and the job has read {was}"))));
                    }
                    return Ok((taken.content()?, false));
                }
            }
        }
        Ok((taken.content()?, true))
    }
}

impl OpenFlightPart {
    fn ended(number: usize, at: FlightPosition) -> OpenFlightPart {
        OpenFlightPart { left_off: Some(at), ..OpenFlightPart::at(number, at) }
    }

    /// At a place of a part, of which nothing comes yet.
    fn at(number: usize, at: FlightPosition) -> OpenFlightPart {
        let next = NextRows::Lines(Vec::new().into_iter());
        OpenFlightPart {
            number,
            left_off: None,
            at,
            stream: None,
            as_columns: None,
            digest: RowsDigest::default(),
            next,
        }
    }

    /// Takes rows that came.
    fn take(&mut self, WantedRows { rows, refused }: WantedRows, shared: &Shared) -> Result<(), PartFault> {
        let ready = match self.as_columns {
            Some(false) => None,
            // What the library makes of hostile values is not always an error.
            _ => caught(|| columns::ready(&rows, &shared.source.schema))
                .map_err(|panic| PartFault::Content(format!("rows cannot be read: {panic}")))?,
        };
        if self.as_columns.is_none() && ready.is_some() {
            self.at = self.at.of_columns();
        }
        self.as_columns = Some(ready.is_some());
        self.next = match ready {
            Some(rows) => NextRows::Columns(rows.map_err(unreadable)?, refused),
            None => {
                let lines = lines(&rows, &refused, shared.reads.message_bytes_max).map_err(unwritable)?;
                NextRows::Lines(lines.into_iter())
            }
        };
        Ok(())
    }

    /// Gives out rows that came, at most so many, or passes over them.
    fn give(
        &mut self,
        taken: &mut HandedOutRows,
        rows_max: usize,
        shared: &Shared,
    ) -> Result<HandOutResult, PartFault> {
        let passed = self.left_off.filter(|before| self.at.rows < before.rows);
        match &mut self.next {
            NextRows::Lines(lines) => {
                let Some(line) = lines.next() else { return Ok(HandOutResult::None) };
                self.at.add(&line);
                match passed {
                    Some(before) => self.check(before)?,
                    None => taken.add_line(line),
                }
            }
            NextRows::Columns(rows, refused) => {
                let (count, row) = (rows.num_rows(), self.at.rows);
                if count == 0 {
                    return Ok(HandOutResult::None);
                }
                let most = match passed {
                    Some(before) => usize::try_from(before.rows - row).unwrap_or(usize::MAX),
                    None => rows_max.min(ReadyRows::new(rows.clone()).rows_within((POLL_BYTES - taken.bytes) as u64)),
                };
                // A row that is refused is a line of its own.
                let first_refused = refused.keys().next().copied().filter(|_| passed.is_none());
                let most = most.clamp(1, count).min(first_refused.map_or(count, |first| first.max(1)));
                let part = rows.slice(0, most);
                // A row that may be too long is looked at as the line that it is in its place.
                let is_long = columns::written_max(&part) as u64 > shared.source.record_bytes_max;
                let as_lines = is_long || first_refused == Some(0);
                if passed.is_none() && if as_lines { !taken.columns.is_empty() } else { !taken.lines.is_empty() } {
                    return Ok(HandOutResult::InOtherForm);
                }
                *rows = rows.slice(most, count - most);
                let left = refused.split_off(&most);
                let of_part =
                    std::mem::replace(refused, left.into_iter().map(|(row, why)| (row - most, why)).collect());
                self.digest.add(&part);
                (self.at.rows, self.at.digest) = (row + most as u64, self.digest.value());
                match passed {
                    Some(before) => self.check(before)?,
                    None if as_lines => {
                        let lines = lines(&part, &of_part, shared.reads.message_bytes_max).map_err(unwritable)?;
                        lines.into_iter().for_each(|line| taken.add_line(line));
                    }
                    None => taken.add_columns(part),
                }
            }
        }
        Ok(HandOutResult::Some)
    }

    /// Whether the rows so far are those that were read before.
    fn check(&self, before: FlightPosition) -> Result<(), PartFault> {
        // With other columns nothing can be said.
        if self.at.rows == before.rows && self.at.columns == before.columns && self.at.digest != before.digest {
            let rows = before.rows;
            return Err(PartFault::Content(other_rows(&format!(
                "the first {rows} are not those that the job has read"
            ))));
        }
        Ok(())
    }
}

fn unreadable(error: ArrowError) -> PartFault {
    PartFault::Content(format!("rows cannot be read: {error}"))
}

fn unwritable(error: io::Error) -> PartFault {
    PartFault::Content(format!("rows cannot be written: {error}"))
}

/// Rows as lines of JSON, each without its end. Behind those that are refused stands why.
fn lines(rows: &RecordBatch, refused: &BTreeMap<usize, String>, message_bytes_max: u64) -> io::Result<Vec<Bytes>> {
    // The names of columns stand in each line, however small messages are.
    let left = message_bytes_max.max(MESSAGE_BYTES_MAX).saturating_mul(WRITTEN_TIMES_MAX);
    let mut written = BoundedBuffer { bytes: Vec::new(), left };
    json::write(std::slice::from_ref(rows), &mut written)?;
    let mut written = Bytes::from(written.bytes);
    let mut lines = Vec::with_capacity(rows.num_rows());
    while let Some(end) = memchr::memchr(b'\n', &written) {
        let line = written.split_to(end + 1).slice(..end);
        let refusal = refused.get(&lines.len());
        lines.push(match refusal {
            None => line,
            Some(reason) => {
                let mut line = line.to_vec();
                refuse(&mut line, reason);
                line.into()
            }
        });
    }
    Ok(lines)
}

/// So many bytes at most: what takes little in a message may take much more when it is written for each row.
struct BoundedBuffer {
    bytes: Vec<u8>,
    left: u64,
}

impl io::Write for BoundedBuffer {
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
        let read = |(name, position): &(String, Vec<u8>)| Some((name.parse().ok()?, FlightPosition::parse(position)?));
        self.shared.remember(positions.iter().filter_map(read));
    }

    fn partitions(&mut self) -> Result<Vec<String>, ReadTrouble> {
        self.shared.names()
    }

    fn open(&mut self, partition: &str, position: Option<&[u8]>) -> Result<(), ReadTrouble> {
        let number: usize = partition.parse().unwrap_or(usize::MAX);
        let left_off = position.and_then(FlightPosition::parse);
        if let Some(at) = left_off.filter(|at| at.ended) {
            self.open = Some(OpenFlightPart::ended(number, at));
            return Ok(());
        }
        let (parts, is_new) = self.shared.parts()?;
        let count = parts.endpoints.len();
        let at = FlightPosition::beginning(count, &self.shared.source.schema);
        match left_off.filter(|before| before.parts != count) {
            Some(before) => {
                let what = other_rows(&format!("{count} parts, and there were {}", before.parts));
                return Err(self.shared.trouble(&self.shared.server, Fault::Lasting(what)));
            }
            None if count == 0 => self.open = Some(OpenFlightPart::at(number, at)),
            None => {
                let stream = Some(self.ask((parts, is_new), number)?);
                // The digest of rows that were read as lines says nothing of columns, so the rest of such a part is read so, too.
                let as_columns =
                    left_off.filter(|before| before.rows > 0 && before.columns == at.columns).map(|_| false);
                self.open = Some(OpenFlightPart { left_off, stream, as_columns, ..OpenFlightPart::at(number, at) });
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
        let (content, more) = match self.read(&mut open, rows_max as usize, Instant::now() + wait) {
            Ok(read) => read,
            Err(trouble) => {
                let Some(stream) = open.stream else {
                    return Err(self.told(&self.shared.server, open.number, trouble));
                };
                self.shared.forget(&stream.parts);
                let trouble = match trouble {
                    // A ticket is good for a while, and this one was told a while ago.
                    PartFault::Server(CallRefusal { fault: Fault::Lasting(why), status: Some(_) })
                        if !stream.is_new && !stream.batches.has_begun() =>
                    {
                        PartFault::Server(Fault::Passing(why).into())
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
        Ok(ReadRows { content, refused: Vec::new(), position, pause })
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
        assert_eq!(lines(&rows, &BTreeMap::new(), 2_048).unwrap().len(), ROWS);
    }
}
