//! Cuts a stream of bytes into records: finds where each record ends and copies nothing per record.
//!
//! The cuts depend only on the stream's bytes: chunks are filled to their limits, and only `flush` cuts earlier.

mod blocks;
mod quotes;

use blocks::BlockCutter;
use bytes::Bytes;
use millstream_base::limits::{PART_BYTES_MAX, PART_ROWS_MAX, REJECTED_BYTES_MAX};
use millstream_rows::batch::chunk::{Chunk, FRAME_PREFIX_BYTES, RejectedRecord, UNCLOSED};
use millstream_rows::batch::position::{Extent, short_object_id};
use millstream_rows::decode::mark::{self, Mark};
use quotes::{QuoteState, SearchedQuotes, csv_line_end, is_half_line_end};

/// Maximum length of a record, whatever the job says: positions in a chunk are 32 bits wide.
pub const RECORD_BYTES_CEILING: u64 = 1 << 30;

/// How the end of a record is found.
#[derive(Clone, Debug, PartialEq)]
pub enum Framing {
    /// `\n` or `\r\n`; a last line without it is a record.
    Lines,
    /// `\n`, `\r\n` or `\r`, except within quoted cells (RFC 4180).
    Csv {
        /// The byte between cells.
        separator: u8,
    },
    /// Records of a fixed number of bytes.
    Fixed(usize),
    /// A four-byte big-endian length, then the record. The chunk keeps the four bytes with the record.
    Frames,
    /// A varint length, seven bits per byte, lowest first, then the record. The chunk keeps the length with the record.
    Varint,
    /// Blocks of Avro records.
    Blocks,
}

/// Cuts one stream (a file or a connection) into chunks.
pub struct Framer {
    framing: Framing,
    record_bytes_max: usize,
    /// How many bytes of a rejected record are kept.
    rejected_bytes_max: usize,
    buffer: Vec<u8>,
    /// Bytes before this offset in `buffer` are already in chunks. All positions below are relative to it.
    consumed: usize,
    /// Ends of the complete records found.
    ends: Vec<u32>,
    rejected: Vec<RejectedRecord>,
    header: Bytes,
    header_wanted: bool,
    /// The first bytes have not been checked for a byte order mark.
    mark_wanted: bool,
    /// The last record ended with a lone `\r`: a `\n` right after it belongs to it.
    half_line_end: bool,
    /// The header with its line end and its position, until a record follows.
    header_record: Option<(Counter, Vec<u8>)>,
    /// Why the stream broke off, until a record reports it.
    unreported: Option<String>,
    /// A complete record that belongs to the next chunk.
    next_end: Option<(usize, Option<RejectedRecord>)>,
    /// Where the search for a record end resumes.
    scanned: usize,
    /// Bytes of the current record that were dropped because it is too long.
    dropped: u64,
    quotes: QuoteState,
    /// The current CSV record ends with its line regardless of quotes, as it is already too long.
    line_only: bool,
    /// The result of an abandoned search for the end of a CSV record, so that no byte is searched twice for it.
    searched: Option<SearchedQuotes>,
    ended: bool,
    /// Why the stream broke off in the middle of its last record.
    broken: Option<String>,
    cursor: StreamCursor,
    /// Cuts Avro blocks. If set, only `buffer` and `consumed` are used of the above.
    blocks: Option<BlockCutter>,
}

/// The origin of a stream, and how far it was cut into chunks.
#[derive(Clone, Debug, Default)]
pub struct StreamCursor {
    /// Name of the file; empty if there is only one.
    pub file: String,
    /// Path of the file, for rejection reasons.
    pub path: String,
    /// Identity of immutable content; 0 for content that may be written to.
    pub object_id: u64,
    /// Input that can be read again is counted in bytes, other input in rows.
    pub at: Counter,
}

/// How far a stream was cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Counter {
    /// Bytes of the file, header included.
    Bytes(u64),
    /// Rows since the job's first start.
    Rows(u64),
}

impl Default for Counter {
    fn default() -> Counter {
        Counter::Bytes(0)
    }
}

impl Framer {
    /// Creates a framer at the beginning of a stream. If `header`, the first record names the columns. Records longer than `record_bytes_max` are
    /// rejected.
    pub fn new(framing: Framing, header: bool, record_bytes_max: u64) -> Framer {
        let record_bytes_max = record_bytes_max.min(RECORD_BYTES_CEILING) as usize;
        let blocks = (framing == Framing::Blocks).then(|| BlockCutter::new(record_bytes_max));
        Framer {
            blocks,
            header_wanted: header,
            mark_wanted: matches!(framing, Framing::Lines | Framing::Csv { .. }),
            half_line_end: false,
            header_record: None,
            unreported: None,
            record_bytes_max,
            rejected_bytes_max: REJECTED_BYTES_MAX as usize,
            framing,
            buffer: Vec::new(),
            consumed: 0,
            ends: Vec::new(),
            rejected: Vec::new(),
            header: Bytes::new(),
            next_end: None,
            scanned: 0,
            dropped: 0,
            quotes: QuoteState::default(),
            line_only: false,
            searched: None,
            ended: false,
            broken: None,
            cursor: StreamCursor::default(),
        }
    }

    /// Sets the position of the stream's beginning.
    #[must_use]
    pub fn with_cursor(mut self, cursor: StreamCursor) -> Framer {
        self.cursor = cursor;
        self
    }

    /// Sets how many bytes of a rejected record are kept.
    #[must_use]
    pub fn keep_rejected(mut self, rejected_bytes_max: u64) -> Framer {
        self.rejected_bytes_max = rejected_bytes_max.min(RECORD_BYTES_CEILING) as usize;
        self.blocks.iter_mut().for_each(|blocks| blocks.keep_rejected(self.rejected_bytes_max));
        self
    }

    /// Starts the stream after its header, which is given.
    #[must_use]
    pub fn after_header(mut self, header: Bytes) -> Framer {
        (self.header_wanted, self.mark_wanted) = (false, false);
        self.blocks.iter_mut().for_each(|blocks| blocks.after_header(header.clone()));
        self.header = header;
        self
    }

    /// Skips the first `records` records of a stream of blocks.
    #[must_use]
    pub fn skip_records(mut self, records: u64) -> Framer {
        self.blocks.iter_mut().for_each(|blocks| blocks.skip_records(records));
        self
    }

    /// Returns the header, or the byte order mark of a stream that is not UTF-8; empty if it has neither. `None`: not found yet.
    pub fn header(&self) -> Option<&Bytes> {
        match &self.blocks {
            Some(blocks) => blocks.header(),
            None => (!self.header_wanted && !self.mark_wanted).then_some(&self.header),
        }
    }

    /// Returns how far the stream was cut: the position after the last chunk and the header.
    pub fn counter(&self) -> Counter {
        self.cursor.at
    }

    /// Returns the buffer to append input to, with room for at least `bytes` more.
    pub fn buffer(&mut self, bytes: usize) -> &mut Vec<u8> {
        self.buffer.drain(..self.consumed);
        self.consumed = 0;
        // One very long record must not keep its memory allocated permanently.
        if self.buffer.capacity() > 4 * PART_BYTES_MAX && self.buffer.len() < PART_BYTES_MAX {
            self.buffer.shrink_to(PART_BYTES_MAX);
        }
        self.buffer.reserve(bytes);
        &mut self.buffer
    }

    /// Returns how many bytes to read so that a chunk can be filled.
    pub fn wanted(&self) -> usize {
        PART_BYTES_MAX.saturating_sub(self.buffer.len() - self.consumed).max(PART_BYTES_MAX / 16)
    }

    /// Ends the stream. The rest is its last record if the framing allows that.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Ends the stream prematurely: a remaining record is incomplete.
    pub fn break_off(&mut self, why: &str) {
        self.ended = true;
        self.broken = Some(why.to_owned());
    }

    /// Reports the unread rest of an ended stream as one rejected row without bytes. A record that was cut short may report it instead.
    pub fn reject_rest(&mut self, why: String) {
        self.unreported = Some(why);
    }

    /// Returns whether the stream has ended.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Returns the next chunk. With `flush` it need not be full.
    pub fn next(&mut self, flush: bool) -> Option<Chunk> {
        if let Some(blocks) = &mut self.blocks {
            let chunk = blocks.next(&self.buffer, &mut self.consumed, &mut self.cursor, flush, self.ended);
            return chunk.or_else(|| self.rejected_rest_of_blocks());
        }
        let full = self.scan();
        ((full || flush || self.ended) && !self.ends.is_empty()).then(|| self.cut())
    }

    /// Returns the unread rest after the last block as one rejected record without bytes.
    fn rejected_rest_of_blocks(&mut self) -> Option<Chunk> {
        let Counter::Bytes(start) = self.cursor.at else { return None };
        let reason = self.unreported.take_if(|_| self.ended)?;
        if self.blocks.as_ref().is_some_and(BlockCutter::reports_end) {
            return None;
        }
        let row = short_object_id(self.cursor.object_id);
        Some(Chunk {
            ends: vec![0],
            header: self.header().cloned().unwrap_or_default(),
            rejected: vec![RejectedRecord { row: 0, reason, dropped: 0 }],
            extent: Extent { file: self.cursor.file.clone(), start, bytes: Extent::OF_BLOCKS, row },
            ..Chunk::default()
        })
    }

    /// Turns a header that does not fit into a record if no record follows it, so that it is rejected: nothing else would report it. Call it after
    /// the stream has ended.
    pub fn reject_header_unless(&mut self, fits: impl FnOnce(&Bytes) -> bool) {
        while self.header_wanted && (!self.mark_wanted || self.take_mark()) {
            let Some((end, rejection)) = self.next_record(0) else { break };
            if let Some(rejection) = self.take_header(end, rejection) {
                self.push(end, Some(rejection));
            }
        }
        let alone = !self.header_wanted && self.rest().trim_ascii().is_empty();
        if let Some((at, record)) = self.header_record.take_if(|_| alone)
            && !fits(&self.header)
        {
            let taken = self.consumed.min(self.buffer.len());
            drop(self.buffer.splice(..taken, record));
            (self.consumed, self.scanned, self.cursor.at) = (0, 0, at);
        }
    }

    /// Checks the first bytes of the stream and skips a byte order mark. Returns false if there are too few bytes yet.
    fn take_mark(&mut self) -> bool {
        let Some(mark) = Mark::read(self.rest(), self.ended) else { return false };
        self.mark_wanted = false;
        if let Mark::Other(mark) = mark {
            (self.header, self.header_wanted) = (Bytes::from_static(mark), false);
        }
        self.pass(mark.bytes());
        true
    }

    /// Skips bytes that are in no chunk.
    fn pass(&mut self, bytes: usize) {
        self.consumed += bytes;
        self.scanned = self.scanned.saturating_sub(bytes);
        self.searched = self.searched.map(|searched| searched.moved(bytes));
        if let Counter::Bytes(offset) = &mut self.cursor.at {
            *offset = offset.saturating_add(bytes as u64);
        }
    }

    /// Adds a `\n` to the line end of the last record if it is the next byte.
    fn finish_line_end(&mut self) {
        let start = self.last_end();
        let Some(next) = self.rest().get(start).copied() else { return };
        self.half_line_end = false;
        match self.ends.last_mut() {
            _ if next != b'\n' => {}
            Some(end) => {
                *end += 1;
                self.scanned = start + 1;
            }
            None => self.pass(1),
        }
    }

    /// Returns whether a `\r` at the end of the input is a line end. Input that cannot be read again does not wait for a `\n` that may follow.
    fn is_line_end(&self) -> bool {
        self.ended || matches!(self.cursor.at, Counter::Rows(_))
    }

    /// Finds record ends until a chunk is full. Returns whether it is.
    fn scan(&mut self) -> bool {
        if self.mark_wanted && !self.take_mark() {
            return false;
        }
        if let Some((end, rejection)) = self.next_end.take()
            && self.push(end, rejection)
        {
            return true;
        }
        if self.half_line_end {
            self.finish_line_end();
        }
        while self.ends.len() < PART_ROWS_MAX {
            let start = self.last_end();
            let Some((end, rejection)) = self.next_record(start) else {
                self.drop_overlong(start);
                if let Some(reason) = self.unreported.take_if(|_| self.ended) {
                    return self.push(start, Some(RejectedRecord { row: 0, reason, dropped: 0 }));
                }
                return self.buffer.len() - self.consumed >= PART_BYTES_MAX && !self.ends.is_empty();
            };
            let rejection = match self.header_wanted {
                true => match self.take_header(end, rejection) {
                    None => continue,
                    rejected => rejected,
                },
                false => rejection,
            };
            if end > PART_BYTES_MAX && !self.ends.is_empty() {
                self.next_end = Some((end, rejection));
                return true;
            } else if self.push(end, rejection) {
                return true;
            }
        }
        true
    }

    /// Returns the end of the record that begins at `start`, and its rejection. `None`: its end has not arrived.
    fn next_record(&mut self, start: usize) -> Option<(usize, Option<RejectedRecord>)> {
        let (complete_end, unclosed) = self.find_end(start)?;
        self.searched = self.searched.filter(|searched| searched.to >= complete_end);
        self.half_line_end = self.ends_in_half_line_end(complete_end);
        let (end, rejection) = self.accept(start, complete_end, unclosed);
        self.searched = self.searched.map(|searched| searched.moved(complete_end - end));
        self.scanned = end;
        (self.quotes, self.line_only) = (QuoteState::default(), false);
        Some((end, rejection))
    }

    /// Adds a record to the current chunk. Returns whether it is the last of the chunk.
    fn push(&mut self, end: usize, rejection: Option<RejectedRecord>) -> bool {
        let last = rejection.as_ref().is_some_and(|rejection| rejection.reason == UNCLOSED);
        if let Some(rejection) = rejection {
            self.rejected.push(RejectedRecord { row: self.ends.len() as u32, ..rejection });
        }
        self.header_record = None;
        self.ends.push(end as u32);
        last
    }

    /// Returns whether the record was cut at a `\r` whose `\n` may follow.
    fn ends_in_half_line_end(&self, end: usize) -> bool {
        let csv = matches!(self.framing, Framing::Csv { .. }) && !self.ended;
        csv && end == self.rest().len() && is_half_line_end(self.rest())
    }

    fn last_end(&self) -> usize {
        self.ends.last().map_or(0, |end| *end as usize)
    }

    /// Returns the input that is not in a chunk yet.
    fn rest(&self) -> &[u8] {
        self.buffer.get(self.consumed..).unwrap_or_default()
    }

    /// Returns where the record that begins at `start` ends, including its delimiter, and whether it is a line with an unclosed quote. `None`: its
    /// end has not arrived.
    fn find_end(&mut self, start: usize) -> Option<(usize, bool)> {
        let last = self.is_line_end();
        let data = self.buffer.get(self.consumed..).unwrap_or_default();
        let found = match self.framing {
            Framing::Csv { separator } if !self.line_only => match self.find_csv_end(start, separator) {
                Some(found) => return Some(found),
                None => None,
            },
            Framing::Lines => {
                let rest = data.get(self.scanned..).unwrap_or_default();
                memchr::memchr(b'\n', rest).map(|offset| self.scanned + offset + 1)
            }
            Framing::Csv { .. } => csv_line_end(data, self.scanned, last),
            Framing::Fixed(bytes) => Some(start + bytes.max(1)).filter(|end| *end <= data.len()),
            // The block cutter handles these.
            Framing::Blocks => None,
            Framing::Frames | Framing::Varint => self.framed(data.get(start..).unwrap_or_default()).and_then(|total| {
                // Dropped bytes of a long frame count, though they are not in the buffer.
                let end = (start as u64).saturating_add(total).checked_sub(self.dropped)?;
                (end <= data.len() as u64).then_some(end as usize)
            }),
        };
        let bytes = self.buffer.len() - self.consumed;
        self.scanned = bytes - self.half_line_end_bytes(last);
        let cut_short = self.ended && start < bytes;
        found.or(cut_short.then_some(bytes)).map(|end| (end, false))
    }

    /// Like `find_end`, for CSV. If a record of several lines is too long or has no end, its first line is rejected. The following lines are then
    /// parsed on their own. This depends only on the bytes from the record on, not on how they arrived or what preceded them. So a reader that
    /// resumes there finds the same records.
    fn find_csv_end(&mut self, start: usize, separator: u8) -> Option<(usize, bool)> {
        let last = self.is_line_end();
        let open = self.half_line_end_bytes(last);
        let data = self.buffer.get(self.consumed..).unwrap_or_default();
        let line_end = || csv_line_end(data, start, last);
        if let Some(searched) = self.searched.filter(|searched| self.scanned < searched.to)
            && let Some(end) = line_end().filter(|end| *end <= searched.to)
        {
            let line = data.get(..end).unwrap_or_default();
            let within_quotes = QuoteState::default().find_end(line, start, start, separator, true).is_none();
            if within_quotes {
                (self.quotes, self.scanned) = (searched.quotes, searched.to);
            }
        }
        let found = self.quotes.find_end(data, start, self.scanned, separator, last);
        let too_long = |end: usize| end - start > self.record_bytes_max + 1;
        let is_abandoned = match found {
            Some(end) => too_long(end),
            None => too_long(data.len()) || (self.ended && self.quotes.inside && start < data.len()),
        };
        if !is_abandoned {
            return found.map(|end| (end, false));
        }
        let to = found.map_or(data.len() - open, |end| end - 1);
        self.searched = Some(SearchedQuotes { to, quotes: self.quotes });
        let Some(end) = line_end() else {
            self.line_only = !self.ended;
            return None;
        };
        Some((end, Some(end) != found && !too_long(end)))
    }

    /// Returns how many bytes at the end are searched again when more input arrives: a `\r` that may be the first half of a line end.
    fn half_line_end_bytes(&self, last: bool) -> usize {
        let csv = matches!(self.framing, Framing::Csv { .. }) && !last;
        usize::from(csv && is_half_line_end(self.rest()))
    }

    /// Accepts a complete record, or rejects it if it is too long or cut short, keeping only its first bytes. Returns its new end and its rejection,
    /// whose row number is not set yet.
    fn accept(&mut self, start: usize, end: usize, unclosed: bool) -> (usize, Option<RejectedRecord>) {
        let dropped = std::mem::take(&mut self.dropped);
        let data = self.buffer.get(self.consumed..).unwrap_or_default();
        let record = data.get(start..end).unwrap_or_default();
        if dropped == 0 && !self.ended && !unclosed && record.len() <= self.record_bytes_max {
            return (end, None);
        }
        let prefix = self.prefix_bytes(start);
        let delimiter = match self.framing {
            Framing::Lines | Framing::Csv { .. } => usize::from(self.ends_line(record)),
            Framing::Fixed(_) | Framing::Blocks => 0,
            Framing::Frames | Framing::Varint => prefix,
        };
        let bytes = (record.len() as u64 + dropped).saturating_sub(delimiter as u64);
        let last = self.ended && start + record.len() == data.len();
        let reason = unclosed.then(|| UNCLOSED.to_owned());
        let cut_short = if last { self.cut_short(record, dropped) } else { None };
        let reports_rest = cut_short.is_some();
        let reason = reason.or(cut_short).or_else(|| {
            (bytes > self.refused_above())
                .then(|| format!("{bytes} bytes, record_bytes_max is {}", self.record_bytes_max))
        });
        let Some(reason) = reason else { return (end, None) };
        let kept = end.min(start + prefix + self.rejected_bytes_max);
        self.unreported.take_if(|_| reports_rest);
        self.buffer.drain(self.consumed + kept..self.consumed + end);
        (kept, Some(RejectedRecord { row: 0, reason, dropped: dropped + (end - kept) as u64 }))
    }

    /// Returns the length above which records are rejected. Records of a fixed length never are.
    fn refused_above(&self) -> u64 {
        if matches!(self.framing, Framing::Fixed(_)) { u64::MAX } else { self.record_bytes_max as u64 }
    }

    /// Returns the bytes of the length prefix of the record that begins at `start`.
    fn prefix_bytes(&self, start: usize) -> usize {
        match self.framing {
            Framing::Frames => FRAME_PREFIX_BYTES,
            Framing::Varint => {
                let record = self.rest().get(start..).unwrap_or_default();
                record
                    .iter()
                    .take(VARINT_BYTES_MAX)
                    .position(|byte| byte & 0x80 == 0)
                    .map_or(record.len().min(VARINT_BYTES_MAX), |last| last + 1)
            }
            _ => 0,
        }
    }

    /// Returns the length of the frame that begins here, including its length prefix. `None`: the prefix has not arrived.
    fn framed(&self, data: &[u8]) -> Option<u64> {
        if self.framing == Framing::Varint { varint_bytes(data) } else { frame_bytes(data) }
    }

    /// Returns why the last record of a stream is incomplete.
    fn cut_short(&self, record: &[u8], dropped: u64) -> Option<String> {
        let bytes = record.len() as u64 + dropped;
        match self.framing {
            Framing::Fixed(total) if bytes < total as u64 => {
                Some(format!("cut short: {bytes} of the {total} bytes of a record"))
            }
            Framing::Varint => match varint_bytes(record) {
                None => Some(format!("cut short within the length of a record, after {bytes} bytes")),
                Some(total) if bytes < total => {
                    Some(format!("cut short: {bytes} of the {total} bytes of a record and its length"))
                }
                Some(_) => None,
            },
            Framing::Frames => match frame_bytes(record) {
                None => Some(format!("cut short: {bytes} of the {FRAME_PREFIX_BYTES} bytes of a frame's length")),
                Some(total) if bytes < total => {
                    let prefix = FRAME_PREFIX_BYTES as u64;
                    Some(format!("cut short: {} of the {} bytes of a frame", bytes - prefix, total - prefix))
                }
                Some(_) => None,
            },
            Framing::Lines | Framing::Csv { .. } if !self.ends_line(record) => {
                let why = self.broken.as_ref()?;
                Some(format!("cut short after {bytes} bytes: {why}"))
            }
            _ => None,
        }
    }

    /// Returns whether this record ends with a line end.
    fn ends_line(&self, record: &[u8]) -> bool {
        match record.last() {
            Some(b'\r') => matches!(self.framing, Framing::Csv { .. }),
            last => last == Some(&b'\n'),
        }
    }

    /// Keeps only the first bytes, and the last one, of an unfinished record that is already too long.
    fn drop_overlong(&mut self, start: usize) {
        let have = self.buffer.len() - self.consumed;
        let kept = start + self.prefix_bytes(start) + self.rejected_bytes_max;
        let bytes = have.saturating_sub(start) as u64 + self.dropped;
        let rejected = bytes > self.refused_above().saturating_add(self.prefix_bytes(start) as u64);
        // A CSV record stays complete until `find_csv_end` has abandoned it.
        let rejected = rejected && (self.line_only || !matches!(self.framing, Framing::Csv { .. }));
        if have > kept + 1 && rejected {
            self.dropped += (have - kept - 1) as u64;
            self.buffer.drain(self.consumed + kept..self.consumed + have - 1);
            self.scanned = kept + 1 - self.half_line_end_bytes(false);
            self.searched = None;
            self.line_only = true;
        }
    }

    /// Takes the first record that is not blank as the header. An incomplete one becomes a record with the returned rejection, and the stream has no
    /// header.
    fn take_header(&mut self, end: usize, rejection: Option<RejectedRecord>) -> Option<RejectedRecord> {
        let record = self.rest().get(..end).unwrap_or_default();
        let is_cut_short = self.broken.is_some() && !self.ends_line(record);
        if let Some(rejection) = rejection.filter(|rejection| rejection.dropped > 0 || is_cut_short) {
            self.header_wanted = false;
            return Some(rejection);
        }
        let names = trim_csv_line_end(record.get(self.prefix_bytes(0)..).unwrap_or_default());
        let names = names.strip_prefix(mark::UTF_8).unwrap_or(names);
        if !names.is_empty() {
            let header = Bytes::copy_from_slice(names);
            self.header_record = Some((self.cursor.at, record.to_vec()));
            (self.header, self.header_wanted) = (header, false);
        }
        self.pass(end);
        self.scanned = 0;
        None
    }

    /// Moves the records found into a chunk.
    fn cut(&mut self) -> Chunk {
        let end = self.last_end();
        let cut_end = self.consumed + end;
        let bytes = if self.consumed == 0 && end >= self.buffer.capacity() / 2 {
            let rest = self.buffer.get(end..).unwrap_or_default();
            // The capacity that the next chunk needs: a buffer that grows to twice that has to be copied when it is cut.
            let next = end.checked_next_power_of_two().unwrap_or(end).min(PART_BYTES_MAX);
            let mut next = Vec::with_capacity(if rest.is_empty() { 0 } else { next.max(rest.len()) });
            next.extend_from_slice(rest);
            self.buffer.truncate(end);
            Bytes::from(std::mem::replace(&mut self.buffer, next))
        } else {
            let bytes = Bytes::copy_from_slice(self.buffer.get(self.consumed..cut_end).unwrap_or_default());
            self.consumed = cut_end;
            bytes
        };
        self.scanned = self.scanned.saturating_sub(end);
        self.quotes = self.quotes.moved(end);
        self.searched = self.searched.map(|searched| searched.moved(end));
        if let Some((next_end, _)) = &mut self.next_end {
            *next_end -= end;
        }
        let capacity = self.ends.len();
        let mut chunk = Chunk {
            bytes,
            ends: std::mem::replace(&mut self.ends, Vec::with_capacity(capacity)),
            header: self.header.clone(),
            rejected: std::mem::take(&mut self.rejected),
            ready: None,
            extent: Extent { file: self.cursor.file.clone(), ..Extent::default() },
        };
        match &mut self.cursor.at {
            Counter::Bytes(offset) => {
                chunk.extent.start = *offset;
                chunk.extent.bytes = chunk.source_bytes();
                chunk.extent.row = self.cursor.object_id;
                *offset = offset.saturating_add(chunk.extent.bytes);
            }
            Counter::Rows(rows) => {
                chunk.extent.row = *rows;
                *rows = rows.saturating_add(chunk.rows() as u64);
            }
        }
        chunk
    }
}

/// Returns how many bytes a frame takes, including its prefix. `None`: the prefix has not arrived.
fn frame_bytes(data: &[u8]) -> Option<u64> {
    let prefix = data.first_chunk::<FRAME_PREFIX_BYTES>()?;
    Some(u64::from(u32::from_be_bytes(*prefix)) + FRAME_PREFIX_BYTES as u64)
}

/// Maximum bytes of a varint length, seven bits per byte.
const VARINT_BYTES_MAX: usize = 10;

/// Like `frame_bytes`, for a varint length. One of too many bytes means a record without an end.
fn varint_bytes(data: &[u8]) -> Option<u64> {
    let mut length = 0_u64;
    for (index, byte) in data.iter().take(VARINT_BYTES_MAX).enumerate() {
        length |= u64::from(byte & 0x7f).checked_shl(7 * index as u32).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Some(length.saturating_add(index as u64 + 1));
        }
    }
    (data.len() >= VARINT_BYTES_MAX).then_some(u64::MAX)
}

/// Returns a line without its `\n` or `\r\n`.
pub fn trim_line_end(line: &[u8]) -> &[u8] {
    match line {
        [text @ .., b'\r', b'\n'] | [text @ .., b'\n'] => text,
        text => text,
    }
}

/// Returns a line of CSV without its `\n`, `\r\n` or `\r`.
pub fn trim_csv_line_end(line: &[u8]) -> &[u8] {
    match line {
        [text @ .., b'\r', b'\n'] | [text @ .., b'\n' | b'\r'] => text,
        text => text,
    }
}

#[cfg(test)]
pub mod tests;
