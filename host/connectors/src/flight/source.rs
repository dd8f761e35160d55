//! The `flight` source. A server lists the parts of a stream, and returns each from its beginning. Parts are partitions, a few of which are
//! read concurrently. To resume a part, the rows that were read before are skipped. Rows stay columns if the job's columns can hold them as
//! they are (`columns`); others become JSON lines.

mod columns;
mod parts;
mod position;

pub use parts::Shared;

use super::limits::MESSAGE_BYTES_MAX;
use super::settings::FlightReads;
use crate::flight::grpc::{Connection, ResponseStream};
use crate::flight::messages::Data;
use crate::flight::{self, CallRefusal, Fault, Server};
use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use bytes::Bytes;
use columns::RowsDigest;
use millstream_base::panics::caught;
use millstream_connect::receiver::arrow_stream::{Batches, IpcMessage};
use millstream_connect::receiver::parquet::columns::WantedRows;
use millstream_connect::receiver::polled::position_field;
use millstream_job::spec::{Origin, SourceSpec};
use millstream_rows::batch::json;
use millstream_rows::batch::reading::{Message, ReadContent, ReadError, ReadPartition, ReadRows};
use millstream_rows::batch::ready::ReadyRows;
use millstream_rows::decode::parquet::reject;
use parts::{Parts, other_rows};
use position::FlightPosition;
use prost::Message as _;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::vec::IntoIter;
use tokio::time::timeout;

/// Approximate bytes of rows per poll.
const POLL_BYTES: usize = 1 << 20;
/// Rows that are encoded at a time.
const ROWS: usize = 1_024;
/// Maximum factor by which the JSON text exceeds the bytes of a message: a character may take six.
const JSON_FACTOR_MAX: u64 = 8;

/// Checks what can be checked without a request to the server.
pub fn check(reads: &FlightReads, source: &SourceSpec, origin: &Origin) -> Result<(), (&'static str, String)> {
    parts::patterns(reads)?;
    Server::new(&reads.url, reads.token.as_deref(), source.tls.as_ref(), &origin.dir).map(drop)
}

/// Reads one part of a stream.
pub struct Flight {
    shared: Arc<Shared>,
    open: Option<OpenFlightPart>,
}

/// A part that is being read.
struct OpenFlightPart {
    number: usize,
    /// The position to resume from; rows up to there are skipped.
    resume_from: Option<FlightPosition>,
    at: FlightPosition,
    /// `None`: the end of the rows.
    stream: Option<Stream>,
    /// Whether rows stay columns, once a row has come.
    as_columns: Option<bool>,
    /// The digest of the rows so far, if they do.
    digest: RowsDigest,
    /// Received rows that were not handed out yet.
    next: NextRows,
}

/// Rows in one of the two forms.
enum NextRows {
    /// Encoded rows.
    Lines(IntoIter<Bytes>),
    /// Rows as the job's columns. Some are rejected, by their indices after those that were handed out.
    Columns(RecordBatch, BTreeMap<usize, String>),
}

/// Whether rows were handed out to the batch.
enum HandOutResult {
    Some,
    /// No rows.
    None,
    /// They are not in the form of those that were handed out before.
    InOtherForm,
}

/// Rows that are handed out together, all in the same form.
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
        let rows = columns::concatenate(&self.columns);
        rows.map(ReadContent::Ready).map_err(unreadable_error)
    }
}

/// The response of a server.
struct Stream {
    server: Server,
    /// Dropping this ends the response.
    _connection: Connection,
    responses: ResponseStream,
    batches: Batches,
    /// How long nothing was received while it was awaited.
    idle_max: Duration,
    /// The parts of the stream, and whether they were queried just before.
    parts: Arc<Parts>,
    is_new: bool,
}

/// Why a part cannot be read.
enum PartFault {
    /// An error of the server or of the connection.
    Server(CallRefusal),
    /// Invalid content.
    Content(String),
}

impl Flight {
    /// Creates a reader of this source.
    pub fn new(shared: &Arc<Shared>) -> Flight {
        Flight { shared: shared.clone(), open: None }
    }

    fn part_error(&self, server: &Server, number: usize, part_fault: PartFault) -> ReadError {
        let fault = match part_fault {
            PartFault::Server(CallRefusal { fault: Fault::Transient(why), .. }) => Fault::Transient(why),
            PartFault::Server(CallRefusal { fault: Fault::Permanent(why), .. }) | PartFault::Content(why) => {
                Fault::Permanent(format!("part {number}: {why}"))
            }
        };
        self.shared.read_error(server, fault)
    }

    /// Requests the rows of a part.
    fn request_part(&self, (parts, is_new): (Arc<Parts>, bool), number: usize) -> Result<Stream, ReadError> {
        let shared = &self.shared;
        let content = |why: String| self.part_error(&shared.server, number, PartFault::Content(why));
        let endpoint = parts.endpoints.get(number).ok_or_else(|| content("the part does not exist".into()))?;
        let bytes_max = usize::try_from(shared.reads.message_bytes_max).unwrap_or(usize::MAX);
        let ticket = endpoint.ticket.clone().unwrap_or_default();
        let mut first_fault = None;
        for server in shared.holders(endpoint).map_err(content)? {
            let mut connection = match shared.block_on(server.connect()) {
                Ok(connection) => connection,
                Err(fault) => {
                    first_fault.get_or_insert((server, fault));
                    continue;
                }
            };
            let responses = connection.call_once("DoGet", &ticket, bytes_max);
            let batches = Batches::new(&shared.source.schema, bytes_max);
            let idle_max = Duration::ZERO;
            return Ok(Stream { server, _connection: connection, responses, batches, idle_max, parts, is_new });
        }
        shared.invalidate(&parts);
        let (server, fault) =
            first_fault.unwrap_or((shared.server.clone(), Fault::Transient("no server has it".into())));
        Err(self.part_error(&server, number, PartFault::Server(fault.into())))
    }

    /// Receives rows within this time. Returns whether there may be more.
    fn read(
        &self,
        open: &mut OpenFlightPart,
        rows_max: usize,
        until: Instant,
    ) -> Result<(ReadContent, bool), PartFault> {
        let (mut handed_out, mut any_taken) = (HandedOutRows::default(), false);
        while handed_out.rows < rows_max && handed_out.bytes < POLL_BYTES {
            let rows_left = rows_max - handed_out.rows;
            match open.give(&mut handed_out, rows_left, &self.shared)? {
                HandOutResult::Some => continue,
                HandOutResult::InOtherForm => break,
                HandOutResult::None => {}
            }
            let Some(stream) = &mut open.stream else { return Ok((handed_out.content()?, false)) };
            let max = if open.as_columns == Some(true) { rows_left } else { ROWS };
            if let Some(rows) = stream.batches.next(max).map_err(PartFault::Content)? {
                open.take(rows, &self.shared)?;
                // Skipping rows takes time, too.
                if Instant::now() >= until {
                    break;
                }
                continue;
            }
            let wait = until.saturating_duration_since(Instant::now());
            if wait.is_zero() && (any_taken || handed_out.rows > 0) {
                break;
            }
            let responses = &mut stream.responses;
            let Ok(next) = self.shared.block_on(async { timeout(wait, responses.next()).await }) else {
                let stall = self.shared.reads.stall;
                stream.idle_max += wait;
                match stream.idle_max < stall {
                    true => break,
                    false => return Err(PartFault::Server(flight::stalled(stall).into())),
                }
            };
            (stream.idle_max, any_taken) = (Duration::ZERO, true);
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
                    if let Some(before) = open.resume_from.filter(|before| open.at.rows < before.rows) {
                        let (is, was) = (open.at.rows, before.rows);
                        return Err(PartFault::Content(other_rows(&format!("{is} rows, and the job has read {was}"))));
                    }
                    return Ok((handed_out.content()?, false));
                }
            }
        }
        Ok((handed_out.content()?, true))
    }
}

impl OpenFlightPart {
    fn ended(number: usize, at: FlightPosition) -> OpenFlightPart {
        OpenFlightPart { resume_from: Some(at), ..OpenFlightPart::at(number, at) }
    }

    /// Opens a part at a position, without a stream yet.
    fn at(number: usize, at: FlightPosition) -> OpenFlightPart {
        let next = NextRows::Lines(Vec::new().into_iter());
        OpenFlightPart {
            number,
            resume_from: None,
            at,
            stream: None,
            as_columns: None,
            digest: RowsDigest::default(),
            next,
        }
    }

    /// Takes received rows.
    fn take(&mut self, WantedRows { rows, rejected }: WantedRows, shared: &Shared) -> Result<(), PartFault> {
        let ready = match self.as_columns {
            Some(false) => None,
            // The library may panic on hostile values.
            _ => caught(|| columns::convert(&rows, &shared.source.schema))
                .map_err(|panic| PartFault::Content(format!("rows cannot be read: {panic}")))?,
        };
        if self.as_columns.is_none() && ready.is_some() {
            self.at = self.at.of_columns();
        }
        self.as_columns = Some(ready.is_some());
        self.next = match ready {
            Some(rows) => NextRows::Columns(rows.map_err(unreadable_error)?, rejected),
            None => {
                let lines = lines(&rows, &rejected, shared.reads.message_bytes_max).map_err(unwritable)?;
                NextRows::Lines(lines.into_iter())
            }
        };
        Ok(())
    }

    /// Hands out received rows, at most this many, or skips them.
    fn give(
        &mut self,
        handed_out: &mut HandedOutRows,
        rows_max: usize,
        shared: &Shared,
    ) -> Result<HandOutResult, PartFault> {
        let skip_to = self.resume_from.filter(|before| self.at.rows < before.rows);
        match &mut self.next {
            NextRows::Lines(lines) => {
                let Some(line) = lines.next() else { return Ok(HandOutResult::None) };
                self.at.add(&line);
                match skip_to {
                    Some(before) => self.check(before)?,
                    None => handed_out.add_line(line),
                }
            }
            NextRows::Columns(rows, rejected) => {
                let (count, row) = (rows.num_rows(), self.at.rows);
                if count == 0 {
                    return Ok(HandOutResult::None);
                }
                let max = match skip_to {
                    Some(before) => usize::try_from(before.rows - row).unwrap_or(usize::MAX),
                    None => {
                        rows_max.min(ReadyRows::new(rows.clone()).rows_within((POLL_BYTES - handed_out.bytes) as u64))
                    }
                };
                // A rejected row is a line of its own.
                let first_rejected = rejected.keys().next().copied().filter(|_| skip_to.is_none());
                let max = max.clamp(1, count).min(first_rejected.map_or(count, |first| first.max(1)));
                let part = rows.slice(0, max);
                // A row that may be too long is checked in its JSON form.
                let is_long = columns::json_bytes_max(&part) as u64 > shared.source.record_bytes_max;
                let as_lines = is_long || first_rejected == Some(0);
                if skip_to.is_none()
                    && if as_lines { !handed_out.columns.is_empty() } else { !handed_out.lines.is_empty() }
                {
                    return Ok(HandOutResult::InOtherForm);
                }
                *rows = rows.slice(max, count - max);
                let left = rejected.split_off(&max);
                let of_part =
                    std::mem::replace(rejected, left.into_iter().map(|(row, why)| (row - max, why)).collect());
                self.digest.add(&part);
                (self.at.rows, self.at.digest) = (row + max as u64, self.digest.value());
                match skip_to {
                    Some(before) => self.check(before)?,
                    None if as_lines => {
                        let lines = lines(&part, &of_part, shared.reads.message_bytes_max).map_err(unwritable)?;
                        lines.into_iter().for_each(|line| handed_out.add_line(line));
                    }
                    None => handed_out.add_columns(part),
                }
            }
        }
        Ok(HandOutResult::Some)
    }

    /// Checks that the rows so far are those that were read before.
    fn check(&self, before: FlightPosition) -> Result<(), PartFault> {
        // With other columns the digests are not comparable.
        if self.at.rows == before.rows && self.at.columns == before.columns && self.at.digest != before.digest {
            let rows = before.rows;
            return Err(PartFault::Content(other_rows(&format!(
                "the first {rows} differ from the rows that the job has read"
            ))));
        }
        Ok(())
    }
}

fn unreadable_error(error: ArrowError) -> PartFault {
    PartFault::Content(format!("rows cannot be read: {error}"))
}

fn unwritable(error: io::Error) -> PartFault {
    PartFault::Content(format!("rows cannot be written: {error}"))
}

/// Encodes rows as JSON lines, without line ends. A rejected row is followed by its reason.
fn lines(rows: &RecordBatch, rejected: &BTreeMap<usize, String>, message_bytes_max: u64) -> io::Result<Vec<Bytes>> {
    // Column names are repeated in each line, however small messages are.
    let left = message_bytes_max.max(MESSAGE_BYTES_MAX).saturating_mul(JSON_FACTOR_MAX);
    let mut buffer = BoundedBuffer { bytes: Vec::new(), left };
    json::write(std::slice::from_ref(rows), &mut buffer)?;
    let mut encoded = Bytes::from(buffer.bytes);
    let mut lines = Vec::with_capacity(rows.num_rows());
    while let Some(end) = memchr::memchr(b'\n', &encoded) {
        let line = encoded.split_to(end + 1).slice(..end);
        let failure = rejected.get(&lines.len());
        lines.push(match failure {
            None => line,
            Some(reason) => {
                let mut line = line.to_vec();
                reject(&mut line, reason);
                line.into()
            }
        });
    }
    Ok(lines)
}

/// A buffer with a maximum size: compact data in a message may become large when it is encoded per row.
struct BoundedBuffer {
    bytes: Vec<u8>,
    left: u64,
}

impl io::Write for BoundedBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or_else(|| io::Error::other("they are much larger than `message_bytes_max`"))?;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ReadPartition for Flight {
    fn set_positions(&mut self, positions: &[(String, Vec<u8>)]) {
        let read = |(name, position): &(String, Vec<u8>)| Some((name.parse().ok()?, FlightPosition::parse(position)?));
        self.shared.add_read(positions.iter().filter_map(read));
    }

    fn partitions(&mut self) -> Result<Vec<String>, ReadError> {
        self.shared.names()
    }

    fn open(&mut self, partition: &str, position: Option<&[u8]>) -> Result<(), ReadError> {
        let number: usize = partition.parse().unwrap_or(usize::MAX);
        let resume_from = position.and_then(FlightPosition::parse);
        if let Some(at) = resume_from.filter(|at| at.ended) {
            self.open = Some(OpenFlightPart::ended(number, at));
            return Ok(());
        }
        let (parts, is_new) = self.shared.parts()?;
        let count = parts.endpoints.len();
        let at = FlightPosition::beginning(count, &self.shared.source.schema);
        match resume_from.filter(|before| before.parts != count) {
            Some(before) => {
                let what = other_rows(&format!("{count} parts, previously {}", before.parts));
                return Err(self.shared.read_error(&self.shared.server, Fault::Permanent(what)));
            }
            None if count == 0 => self.open = Some(OpenFlightPart::at(number, at)),
            None => {
                let stream = Some(self.request_part((parts, is_new), number)?);
                // A digest of lines cannot be compared with one of columns, so the rest of such a part is read as lines.
                let as_columns =
                    resume_from.filter(|before| before.rows > 0 && before.columns == at.columns).map(|_| false);
                self.open = Some(OpenFlightPart { resume_from, stream, as_columns, ..OpenFlightPart::at(number, at) });
            }
        }
        Ok(())
    }

    fn shown<'a>(&self, position: &'a str) -> &'a str {
        position_field(position, 0)
    }

    fn is_open(&self) -> bool {
        self.open.is_some()
    }

    fn poll(&mut self, rows_max: u32, wait: Duration) -> Result<ReadRows, ReadError> {
        let Some(mut open) = self.open.take() else { return Err(ReadError::Transient("it is not connected".into())) };
        let (content, more) = match self.read(&mut open, rows_max as usize, Instant::now() + wait) {
            Ok(read) => read,
            Err(part_fault) => {
                let Some(stream) = open.stream else {
                    return Err(self.part_error(&self.shared.server, open.number, part_fault));
                };
                self.shared.invalidate(&stream.parts);
                let part_fault = match part_fault {
                    // A ticket may expire, and this one is not fresh.
                    PartFault::Server(CallRefusal { fault: Fault::Permanent(why), status: Some(_) })
                        if !stream.is_new && !stream.batches.has_schema() =>
                    {
                        PartFault::Server(Fault::Transient(why).into())
                    }
                    part_fault => part_fault,
                };
                return Err(self.part_error(&stream.server, open.number, part_fault));
            }
        };
        if !more {
            open.at.ended = true;
            self.shared.ended(open.number);
        }
        let moved = open.resume_from.is_none_or(|before| open.at.rows > before.rows || !more);
        let position = moved.then(|| open.at.encode());
        self.open = Some(open);
        let pause = more.then_some(Duration::ZERO);
        Ok(ReadRows { content, rejected: Vec::new(), position, pause })
    }

    /// The end of the stream was not reached yet.
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
