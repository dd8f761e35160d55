//! Cutting a stream of bytes into records: finds where each record ends and copies nothing per record.
//!
//! How a stream is cut depends on its bytes alone: chunks are filled to their bounds, and only `flush` cuts earlier.

mod blocks;
mod quotes;

use blocks::BlockCutter;
use bytes::Bytes;
use millstream_base::batch::chunk::{Chunk, FRAME_PREFIX_BYTES, RefusedRecord, UNCLOSED};
use millstream_base::batch::position::{Extent, known_shortly};
use millstream_base::decode::mark::{self, Mark};
use millstream_base::limits::{PART_BYTES_MAX, PART_ROWS_MAX, REJECTED_BYTES_MAX};
use quotes::{QuoteState, SearchedQuotes, csv_line_end, is_half_line_end};

/// No record may be longer, whatever the job says: positions in a chunk are 32 bits wide.
pub const RECORD_BYTES_CEILING: u64 = 1 << 30;

/// What ends a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Framing {
    /// `\n` or `\r\n`; a last line without it counts.
    Lines,
    /// `\n`, `\r\n` or `\r` alone, but not within cells in quotes (RFC 4180).
    Csv {
        /// The byte between cells.
        separator: u8,
    },
    /// Records of so many bytes.
    Fixed(usize),
    /// Four bytes, big-endian, and as many bytes of record. The four bytes stay with the record in its chunk.
    Frames,
    /// The length in seven bits a byte, the lowest first, and as many bytes of record; the length stays with the record.
    Varint,
    /// Blocks of Avro records.
    Blocks,
}

/// Cuts one stream (a file or a connection) into chunks.
pub struct Framer {
    framing: Framing,
    record_bytes_max: usize,
    /// How much of a refused record stays.
    rejected_bytes_max: usize,
    buffer: Vec<u8>,
    /// What comes before in `buffer` is in chunks already. All positions below count from here.
    begin: usize,
    /// Ends of the whole records found.
    ends: Vec<u32>,
    refused: Vec<RefusedRecord>,
    header: Bytes,
    header_wanted: bool,
    /// The stream's first bytes have not been looked at: they may be a byte order mark.
    mark_wanted: bool,
    /// The last record ended with a `\r` that came alone: a `\n` right after it belongs to it.
    half_line_end: bool,
    /// The header with its line end, and where it stands, as long as no record followed.
    header_record: Option<(Counter, Vec<u8>)>,
    /// The stream broke off, and no record says so yet.
    unreported: Option<String>,
    /// A record that was found but belongs to the next chunk.
    next_end: Option<(usize, Option<RefusedRecord>)>,
    /// Where the search for an end goes on.
    scanned: usize,
    /// Bytes of the record at hand that were dropped because it is too long.
    dropped: u64,
    quotes: QuoteState,
    /// The csv record at hand ends with its line, whatever quotes it has: it is too long already.
    line_only: bool,
    /// What the search for the end of a csv record that was given up has seen, so that no byte is searched twice for that.
    searched: Option<SearchedQuotes>,
    ended: bool,
    /// The stream broke off in the middle of its last record.
    broken: Option<String>,
    place: StreamCursor,
    /// What cuts blocks; then nothing above but `buffer` and `begin` is used.
    blocks: Option<BlockCutter>,
}

/// Where a stream comes from and how far it was cut into chunks.
#[derive(Clone, Debug, Default)]
pub struct StreamCursor {
    /// Name of the file; empty where there is only one.
    pub file: String,
    /// Where the file is, for the reasons of what is refused.
    pub path: String,
    /// What the file is known by, where nobody can write to it; else 0.
    pub known_by: u64,
    /// What can be read again is counted in bytes, the rest in rows.
    pub at: Counter,
}

/// How far.
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
    /// A framer at the beginning of a stream. `header`: its first record names the columns. Records longer than
    /// `record_bytes_max` are refused.
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
            begin: 0,
            ends: Vec::new(),
            refused: Vec::new(),
            header: Bytes::new(),
            next_end: None,
            scanned: 0,
            dropped: 0,
            quotes: QuoteState::default(),
            line_only: false,
            searched: None,
            ended: false,
            broken: None,
            place: StreamCursor::default(),
        }
    }

    /// The stream begins at this place.
    #[must_use]
    pub fn at(mut self, place: StreamCursor) -> Framer {
        self.place = place;
        self
    }

    /// So many bytes of a refused record stay.
    #[must_use]
    pub fn keeping(mut self, rejected_bytes_max: u64) -> Framer {
        self.rejected_bytes_max = rejected_bytes_max.min(RECORD_BYTES_CEILING) as usize;
        self.blocks.iter_mut().for_each(|blocks| blocks.keeping(self.rejected_bytes_max));
        self
    }

    /// The stream begins behind its header, which is this.
    #[must_use]
    pub fn behind_header(mut self, header: Bytes) -> Framer {
        (self.header_wanted, self.mark_wanted) = (false, false);
        self.blocks.iter_mut().for_each(|blocks| blocks.behind_header(header.clone()));
        self.header = header;
        self
    }

    /// Of a stream that is cut by blocks: so many records behind its beginning are left out.
    #[must_use]
    pub fn skipping(mut self, records: u64) -> Framer {
        self.blocks.iter_mut().for_each(|blocks| blocks.skipping(records));
        self
    }

    /// The header, or the byte order mark of a stream that is not UTF-8; `None`: it has not been found yet. Empty where there is
    /// neither.
    pub fn header(&self) -> Option<&Bytes> {
        match &self.blocks {
            Some(blocks) => blocks.header(),
            None => (!self.header_wanted && !self.mark_wanted).then_some(&self.header),
        }
    }

    /// How far the stream was cut: behind the last chunk, and behind the header.
    pub fn counter(&self) -> Counter {
        self.place.at
    }

    /// Where to append what is read next, with room for at least `bytes` more.
    pub fn buffer(&mut self, bytes: usize) -> &mut Vec<u8> {
        self.buffer.drain(..self.begin);
        self.begin = 0;
        // One very long record must not make the stream take its memory for good.
        if self.buffer.capacity() > 4 * PART_BYTES_MAX && self.buffer.len() < PART_BYTES_MAX {
            self.buffer.shrink_to(PART_BYTES_MAX);
        }
        self.buffer.reserve(bytes);
        &mut self.buffer
    }

    /// How many bytes to read so that a chunk can be filled.
    pub fn wanted(&self) -> usize {
        PART_BYTES_MAX.saturating_sub(self.buffer.len() - self.begin).max(PART_BYTES_MAX / 16)
    }

    /// The stream has ended: what is left counts as its last record where the framing allows that.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// The stream broke off: a record that is left is not whole.
    pub fn break_off(&mut self, why: &str) {
        self.ended = true;
        self.broken = Some(why.to_owned());
    }

    /// What was not read of a stream that has ended becomes one rejected row of no bytes, unless a record that was cut short says so
    /// already.
    pub fn refuse_rest(&mut self, why: String) {
        self.unreported = Some(why);
    }

    /// Whether the stream has ended.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// The next chunk. `flush`: also one that is not full.
    pub fn next(&mut self, flush: bool) -> Option<Chunk> {
        if let Some(blocks) = &mut self.blocks {
            let chunk = blocks.next(&self.buffer, &mut self.begin, &mut self.place, flush, self.ended);
            return chunk.or_else(|| self.refused_rest_of_blocks());
        }
        let full = self.scan();
        ((full || flush || self.ended) && !self.ends.is_empty()).then(|| self.cut())
    }

    /// What was not read behind the last block, as one refused record of no bytes.
    fn refused_rest_of_blocks(&mut self) -> Option<Chunk> {
        let Counter::Bytes(start) = self.place.at else { return None };
        let reason = self.unreported.take_if(|_| self.ended)?;
        if self.blocks.as_ref().is_some_and(BlockCutter::reports_end) {
            return None;
        }
        let row = known_shortly(self.place.known_by);
        Some(Chunk {
            ends: vec![0],
            header: self.header().cloned().unwrap_or_default(),
            refused: vec![RefusedRecord { row: 0, reason, dropped: 0 }],
            extent: Extent { file: self.place.file.clone(), start, bytes: Extent::OF_BLOCKS, row },
            ..Chunk::default()
        })
    }

    /// A header that does not fit, with no record after it, becomes a record, so that it is rejected: nothing else would report it.
    /// For a stream that has ended.
    pub fn reject_header_unless(&mut self, fits: impl FnOnce(&Bytes) -> bool) {
        while self.header_wanted && (!self.mark_wanted || self.take_mark()) {
            let Some((end, refusal)) = self.next_record(0) else { break };
            if let Some(refusal) = self.take_header(end, refusal) {
                self.push(end, Some(refusal));
            }
        }
        let alone = !self.header_wanted && self.rest().trim_ascii().is_empty();
        if let Some((at, record)) = self.header_record.take_if(|_| alone)
            && !fits(&self.header)
        {
            let taken = self.begin.min(self.buffer.len());
            drop(self.buffer.splice(..taken, record));
            (self.begin, self.scanned, self.place.at) = (0, 0, at);
        }
    }

    /// Looks at the first bytes of the stream, and passes over a byte order mark. `false`: too few are here.
    fn take_mark(&mut self) -> bool {
        let Some(mark) = Mark::of(self.rest(), self.ended) else { return false };
        self.mark_wanted = false;
        if let Mark::Other(mark) = mark {
            (self.header, self.header_wanted) = (Bytes::from_static(mark), false);
        }
        self.pass(mark.bytes());
        true
    }

    /// Passes over bytes that are in no chunk.
    fn pass(&mut self, bytes: usize) {
        self.begin += bytes;
        self.scanned = self.scanned.saturating_sub(bytes);
        self.searched = self.searched.map(|searched| searched.moved(bytes));
        if let Counter::Bytes(offset) = &mut self.place.at {
            *offset = offset.saturating_add(bytes as u64);
        }
    }

    /// The line end of the last record goes on with the first byte that came behind it.
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

    /// Whether a `\r` at the end of what is here is a line end: what is not read a second time need not wait for the `\n` that may
    /// follow.
    fn is_line_end(&self) -> bool {
        self.ended || matches!(self.place.at, Counter::Rows(_))
    }

    /// Finds record ends until a chunk is full; whether it is.
    fn scan(&mut self) -> bool {
        if self.mark_wanted && !self.take_mark() {
            return false;
        }
        if let Some((end, refusal)) = self.next_end.take()
            && self.push(end, refusal)
        {
            return true;
        }
        if self.half_line_end {
            self.finish_line_end();
        }
        while self.ends.len() < PART_ROWS_MAX {
            let start = self.last_end();
            let Some((end, refusal)) = self.next_record(start) else {
                self.drop_overlong(start);
                if let Some(reason) = self.unreported.take_if(|_| self.ended) {
                    return self.push(start, Some(RefusedRecord { row: 0, reason, dropped: 0 }));
                }
                return self.buffer.len() - self.begin >= PART_BYTES_MAX && !self.ends.is_empty();
            };
            let refusal = match self.header_wanted {
                true => match self.take_header(end, refusal) {
                    None => continue,
                    refused => refused,
                },
                false => refusal,
            };
            if end > PART_BYTES_MAX && !self.ends.is_empty() {
                self.next_end = Some((end, refusal));
                return true;
            } else if self.push(end, refusal) {
                return true;
            }
        }
        true
    }

    /// The record that begins at `start`: where it ends, and its refusal. `None`: its end is not here yet.
    fn next_record(&mut self, start: usize) -> Option<(usize, Option<RefusedRecord>)> {
        let (whole_end, unclosed) = self.find_end(start)?;
        self.searched = self.searched.filter(|searched| searched.to >= whole_end);
        self.half_line_end = self.ends_in_half_line_end(whole_end);
        let (end, refusal) = self.accept(start, whole_end, unclosed);
        self.searched = self.searched.map(|searched| searched.moved(whole_end - end));
        self.scanned = end;
        (self.quotes, self.line_only) = (QuoteState::default(), false);
        Some((end, refusal))
    }

    /// Adds a record to the chunk at hand; whether the chunk ends with it.
    fn push(&mut self, end: usize, refusal: Option<RefusedRecord>) -> bool {
        let last = refusal.as_ref().is_some_and(|refusal| refusal.reason == UNCLOSED);
        if let Some(refusal) = refusal {
            self.refused.push(RefusedRecord { row: self.ends.len() as u32, ..refusal });
        }
        self.header_record = None;
        self.ends.push(end as u32);
        last
    }

    /// Whether the record that ends here was cut before its line end was seen as a whole.
    fn ends_in_half_line_end(&self, end: usize) -> bool {
        let csv = matches!(self.framing, Framing::Csv { .. }) && !self.ended;
        csv && end == self.rest().len() && is_half_line_end(self.rest())
    }

    fn last_end(&self) -> usize {
        self.ends.last().map_or(0, |end| *end as usize)
    }

    /// What is not in a chunk yet.
    fn rest(&self) -> &[u8] {
        self.buffer.get(self.begin..).unwrap_or_default()
    }

    /// Where the record that begins at `start` ends, its delimiter included, and whether it is a line with a quote that
    /// nothing closes; `None`: not here yet.
    fn find_end(&mut self, start: usize) -> Option<(usize, bool)> {
        let last = self.is_line_end();
        let data = self.buffer.get(self.begin..).unwrap_or_default();
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
            // These have a cutter of their own.
            Framing::Blocks => None,
            Framing::Frames | Framing::Varint => self.framed(data.get(start..).unwrap_or_default()).and_then(|total| {
                // What was dropped of a long frame counts, though it is no longer here.
                let end = (start as u64).saturating_add(total).checked_sub(self.dropped)?;
                (end <= data.len() as u64).then_some(end as usize)
            }),
        };
        let bytes = self.buffer.len() - self.begin;
        self.scanned = bytes - self.half_line_end_bytes(last);
        let cut_short = self.ended && start < bytes;
        found.or(cut_short.then_some(bytes)).map(|end| (end, false))
    }

    /// The same for csv. A record of several lines that is too long, or has no end, is given up: its first line is refused,
    /// and what is behind is read by itself. That depends on the bytes from the record on alone: neither on how they came nor
    /// on what was before, so that who reads on or again from there finds the same.
    fn find_csv_end(&mut self, start: usize, separator: u8) -> Option<(usize, bool)> {
        let last = self.is_line_end();
        let open = self.half_line_end_bytes(last);
        let data = self.buffer.get(self.begin..).unwrap_or_default();
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
        let given_up = match found {
            Some(end) => too_long(end),
            None => too_long(data.len()) || (self.ended && self.quotes.inside && start < data.len()),
        };
        if !given_up {
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

    /// Bytes at the end of what is here that are looked at again when more has come: a `\r` that may be the first half of a line end.
    fn half_line_end_bytes(&self, last: bool) -> usize {
        let csv = matches!(self.framing, Framing::Csv { .. }) && !last;
        usize::from(csv && is_half_line_end(self.rest()))
    }

    /// A whole record: refused if it is too long or cut short, and then only its first bytes stay. Returns where it
    /// ends now, and its refusal, in which the row is not known yet.
    fn accept(&mut self, start: usize, end: usize, unclosed: bool) -> (usize, Option<RefusedRecord>) {
        let dropped = std::mem::take(&mut self.dropped);
        let data = self.buffer.get(self.begin..).unwrap_or_default();
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
        let tells_of_rest = cut_short.is_some();
        let reason = reason.or(cut_short).or_else(|| {
            (bytes > self.refused_above())
                .then(|| format!("{bytes} bytes, record_bytes_max is {}", self.record_bytes_max))
        });
        let Some(reason) = reason else { return (end, None) };
        let kept = end.min(start + prefix + self.rejected_bytes_max);
        self.unreported.take_if(|_| tells_of_rest);
        self.buffer.drain(self.begin + kept..self.begin + end);
        (kept, Some(RefusedRecord { row: 0, reason, dropped: dropped + (end - kept) as u64 }))
    }

    /// Records of more bytes than this are refused; those of a fixed length never are.
    fn refused_above(&self) -> u64 {
        if matches!(self.framing, Framing::Fixed(_)) { u64::MAX } else { self.record_bytes_max as u64 }
    }

    /// Bytes of the length in front of the record that begins at `start`.
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

    /// How many bytes the frame takes that begins here, its length included; `None`: that is not here yet.
    fn framed(&self, data: &[u8]) -> Option<u64> {
        if self.framing == Framing::Varint { varint_bytes(data) } else { frame_bytes(data) }
    }

    /// Whether the last record of a stream is incomplete, and why.
    fn cut_short(&self, record: &[u8], dropped: u64) -> Option<String> {
        let bytes = record.len() as u64 + dropped;
        match self.framing {
            Framing::Fixed(whole) if bytes < whole as u64 => {
                Some(format!("cut short: {bytes} of the {whole} bytes of a record"))
            }
            Framing::Varint => match varint_bytes(record) {
                None => Some(format!("cut short within the length of a record, after {bytes} bytes")),
                Some(whole) if bytes < whole => {
                    Some(format!("cut short: {bytes} of the {whole} bytes of a record and its length"))
                }
                Some(_) => None,
            },
            Framing::Frames => match frame_bytes(record) {
                None => Some(format!("cut short: {bytes} of the {FRAME_PREFIX_BYTES} bytes of a frame's length")),
                Some(whole) if bytes < whole => {
                    let prefix = FRAME_PREFIX_BYTES as u64;
                    Some(format!("cut short: {} of the {} bytes of a frame", bytes - prefix, whole - prefix))
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

    /// Whether this record has its line end.
    fn ends_line(&self, record: &[u8]) -> bool {
        match record.last() {
            Some(b'\r') => matches!(self.framing, Framing::Csv { .. }),
            last => last == Some(&b'\n'),
        }
    }

    /// Of an unfinished record that is too long already, only the first bytes stay, and the last one.
    fn drop_overlong(&mut self, start: usize) {
        let have = self.buffer.len() - self.begin;
        let kept = start + self.prefix_bytes(start) + self.rejected_bytes_max;
        let bytes = have.saturating_sub(start) as u64 + self.dropped;
        let refused = bytes > self.refused_above().saturating_add(self.prefix_bytes(start) as u64);
        // A csv record stays whole until `find_csv_end` has given it up.
        let refused = refused && (self.line_only || !matches!(self.framing, Framing::Csv { .. }));
        if have > kept + 1 && refused {
            self.dropped += (have - kept - 1) as u64;
            self.buffer.drain(self.begin + kept..self.begin + have - 1);
            self.scanned = kept + 1 - self.half_line_end_bytes(false);
            self.searched = None;
            self.line_only = true;
        }
    }

    /// The first record that is not blank names the columns and is no row. One that is not here as a whole names nothing: it becomes
    /// a record with the refusal that is given back, and the stream has no header.
    fn take_header(&mut self, end: usize, refusal: Option<RefusedRecord>) -> Option<RefusedRecord> {
        let record = self.rest().get(..end).unwrap_or_default();
        let is_cut_short = self.broken.is_some() && !self.ends_line(record);
        if let Some(refusal) = refusal.filter(|refusal| refusal.dropped > 0 || is_cut_short) {
            self.header_wanted = false;
            return Some(refusal);
        }
        let names = trim_csv_line_end(record.get(self.prefix_bytes(0)..).unwrap_or_default());
        let names = names.strip_prefix(mark::UTF_8).unwrap_or(names);
        if !names.is_empty() {
            let header = Bytes::copy_from_slice(names);
            self.header_record = Some((self.place.at, record.to_vec()));
            (self.header, self.header_wanted) = (header, false);
        }
        self.pass(end);
        self.scanned = 0;
        None
    }

    /// Takes the records found out as a chunk.
    fn cut(&mut self) -> Chunk {
        let end = self.last_end();
        let behind = self.begin + end;
        let bytes = if self.begin == 0 && end >= self.buffer.capacity() / 2 {
            let rest = self.buffer.get(end..).unwrap_or_default();
            // As much as the next chunk needs: what grows to twice that has to be copied when it is cut.
            let next = end.checked_next_power_of_two().unwrap_or(end).min(PART_BYTES_MAX);
            let mut next = Vec::with_capacity(if rest.is_empty() { 0 } else { next.max(rest.len()) });
            next.extend_from_slice(rest);
            self.buffer.truncate(end);
            Bytes::from(std::mem::replace(&mut self.buffer, next))
        } else {
            let bytes = Bytes::copy_from_slice(self.buffer.get(self.begin..behind).unwrap_or_default());
            self.begin = behind;
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
            refused: std::mem::take(&mut self.refused),
            ready: None,
            extent: Extent { file: self.place.file.clone(), ..Extent::default() },
        };
        match &mut self.place.at {
            Counter::Bytes(offset) => {
                chunk.extent.start = *offset;
                chunk.extent.bytes = chunk.source_bytes();
                chunk.extent.row = self.place.known_by;
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

/// How many bytes a frame takes, its prefix included; `None`: the prefix is not here yet.
fn frame_bytes(data: &[u8]) -> Option<u64> {
    let prefix = data.first_chunk::<FRAME_PREFIX_BYTES>()?;
    Some(u64::from(u32::from_be_bytes(*prefix)) + FRAME_PREFIX_BYTES as u64)
}

/// Bytes that a length takes at most, seven bits a byte.
const VARINT_BYTES_MAX: usize = 10;

/// The same of a length in seven bits a byte. One of too many bytes stands for a record without an end.
fn varint_bytes(data: &[u8]) -> Option<u64> {
    let mut length = 0_u64;
    for (place, byte) in data.iter().take(VARINT_BYTES_MAX).enumerate() {
        length |= u64::from(byte & 0x7f).checked_shl(7 * place as u32).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Some(length.saturating_add(place as u64 + 1));
        }
    }
    (data.len() >= VARINT_BYTES_MAX).then_some(u64::MAX)
}

/// A line without its `\n` or `\r\n`.
pub fn trim_line_end(line: &[u8]) -> &[u8] {
    match line {
        [text @ .., b'\r', b'\n'] | [text @ .., b'\n'] => text,
        text => text,
    }
}

/// A line of csv without its `\n`, `\r\n` or `\r`.
pub fn trim_csv_line_end(line: &[u8]) -> &[u8] {
    match line {
        [text @ .., b'\r', b'\n'] | [text @ .., b'\n' | b'\r'] => text,
        text => text,
    }
}

#[cfg(test)]
pub mod tests;
