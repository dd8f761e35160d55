//! Cutting a file of Avro records into chunks, block by block. The records of a chunk stand behind each other without
//! anything between them, and its header is that of the file, schema included.
//!
//! A position is a block and how many records from its beginning on were taken, so that a file is read on or again from there
//! without a look at what is before. What a chunk holds depends on the file's bytes alone. A block that is broken is one
//! refused record, up to the next mark of the file.

use super::{Counter, StreamCursor};
use crate::limits::AVRO_BLOCK_BYTES_MAX;
use bytes::Bytes;
use millstream_base::batch::chunk::{Chunk, RefusedRecord};
use millstream_base::batch::position::{Extent, known_shortly};
use millstream_base::decode::avro::container::{BlockHead, Codec, Header, SYNC_BYTES, Scanned, record_ends};
use millstream_base::decode::avro::schema::Schema;
use millstream_base::limits::{PART_BYTES_MAX, PART_ROWS_MAX};
use std::io::Read;

/// How far back in what it made a zstd decoder may have to look, as a power of two.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// How many times as long as it is a block compressed by snappy can be: three bytes stand for 64 at most.
const SNAPPY_TIMES_MAX: usize = 64;

/// Cuts one file.
pub struct BlockCutter {
    /// How much of a block that is refused stays.
    rejected_bytes_max: usize,
    record_bytes_max: usize,
    header: Option<Bytes>,
    by: State,
    /// Records that are not wanted: those before the position.
    skip: u64,
    /// The block whose records are being taken.
    block: Block,
    /// The chunk that grows.
    bytes: Vec<u8>,
    ends: Vec<u32>,
    refused: Vec<RefusedRecord>,
    start: u64,
    /// The first record of the chunk, counted from the block at `start`.
    row: u64,
    /// See [`known_shortly`].
    known: u64,
    /// What is at the end of the file cannot be read, and a record says so.
    reports_end: bool,
    /// Where the file is.
    path: String,
}

enum State {
    /// The header has not come yet.
    Begin,
    Blocks {
        schema: Schema,
        codec: Codec,
        sync: [u8; SYNC_BYTES],
    },
    /// A block is broken: what is read is passed over until the next mark.
    Broken {
        sync: [u8; SYNC_BYTES],
        next: Box<State>,
        wrong: SkippedBlock,
    },
    /// It is no file that can be read.
    Foreign {
        wrong: SkippedBlock,
    },
}

/// Bytes that are no block and are passed over, with the reason.
struct SkippedBlock {
    reason: String,
    start: u64,
    kept: Vec<u8>,
    bytes: u64,
}

/// Records of a block that are not in a chunk yet.
#[derive(Default)]
struct Block {
    start: u64,
    end: u64,
    bytes: Bytes,
    ends: Vec<usize>,
    /// Why what is behind the last of them cannot be read.
    refused: Option<RefusedRecord>,
    /// How many were taken.
    taken: usize,
}

impl Block {
    fn rows(&self) -> usize {
        self.ends.len() + usize::from(self.refused.is_some())
    }

    fn record(&self, row: usize) -> &[u8] {
        let start = row.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.bytes.get(start..self.ends.get(row).copied().unwrap_or(self.bytes.len())).unwrap_or_default()
    }
}

impl BlockCutter {
    /// At the beginning of a file.
    pub fn new(record_bytes_max: usize) -> BlockCutter {
        BlockCutter {
            rejected_bytes_max: 0,
            record_bytes_max,
            header: None,
            by: State::Begin,
            skip: 0,
            block: Block::default(),
            bytes: Vec::new(),
            ends: Vec::new(),
            refused: Vec::new(),
            start: 0,
            row: 0,
            known: 0,
            reports_end: false,
            path: String::new(),
        }
    }

    /// So many bytes of what is refused stay.
    pub fn keeping(&mut self, bytes: usize) {
        self.rejected_bytes_max = bytes;
    }

    /// Leaves out so many records.
    pub fn skipping(&mut self, records: u64) {
        self.skip = records;
    }

    /// The file's header, which came before; empty where it has none that can be read.
    pub fn behind_header(&mut self, header: Bytes) {
        // Where the file had none, what was refused of it began at its first byte, and is read again from there.
        if let Scanned::Whole(found) = Header::read(&header)
            && let Ok(found) = state(found)
        {
            self.by = found;
            self.header = Some(header);
        }
    }

    /// Whether the last record is refused because the file ends as it does.
    pub fn reports_end(&self) -> bool {
        self.reports_end
    }

    /// The file's header, once it is there.
    pub fn header(&self) -> Option<&Bytes> {
        self.header.as_ref()
    }

    /// Takes from `buffer`, of which `begin` bytes were taken before, and moves `begin` and `place` on. A chunk that is full, or,
    /// with `flush`, one with any records; `ended`: nothing comes behind the buffer.
    pub fn next(
        &mut self,
        buffer: &[u8],
        begin: &mut usize,
        place: &mut StreamCursor,
        flush: bool,
        ended: bool,
    ) -> Option<Chunk> {
        self.known = known_shortly(place.known_by);
        if self.path != place.path {
            self.path.clone_from(&place.path);
        }
        loop {
            if let Some(chunk) = self.fill_chunk(&place.file) {
                return Some(chunk);
            }
            let Counter::Bytes(at) = place.at else { return None };
            let rest = buffer.get(*begin..).unwrap_or_default();
            let taken = self.step(rest, at, ended);
            *begin += taken;
            place.at = Counter::Bytes(at.saturating_add(taken as u64));
            if taken == 0 && self.block.taken == self.block.rows() {
                break;
            }
        }
        ((flush || ended) && !self.ends.is_empty()).then(|| self.cut(&place.file))
    }

    /// Takes records of the block at hand; a chunk, if it is full.
    fn fill_chunk(&mut self, file: &str) -> Option<Chunk> {
        let rows = self.block.rows();
        if self.skip > 0 && self.block.taken < rows {
            let passed = usize::try_from(self.skip).unwrap_or(usize::MAX).min(rows - self.block.taken);
            self.block.taken += passed;
            self.skip -= passed as u64;
        }
        while self.block.taken < rows {
            let row = self.block.taken;
            let record = self.block.record(row);
            let full = self.ends.len() >= PART_ROWS_MAX || self.bytes.len() + record.len() > PART_BYTES_MAX;
            if full && !self.ends.is_empty() {
                return Some(self.cut(file));
            }
            if self.ends.is_empty() {
                (self.start, self.row) = (self.block.start, row as u64);
            }
            let refused = (row == self.block.ends.len()).then(|| self.block.refused.clone()).flatten();
            let too_long = record.len() > self.record_bytes_max && refused.is_none();
            let too_long = too_long.then(|| RefusedRecord {
                row: 0,
                reason: format!("{} bytes, record_bytes_max is {}", record.len(), self.record_bytes_max),
                dropped: record.len().saturating_sub(self.rejected_bytes_max) as u64,
            });
            match refused.or(too_long) {
                Some(refused) => {
                    let kept = record.get(..self.rejected_bytes_max).unwrap_or(record);
                    self.bytes.extend_from_slice(kept);
                    self.refused.push(RefusedRecord { row: self.ends.len() as u32, ..refused });
                }
                None => self.bytes.extend_from_slice(record),
            }
            self.ends.push(self.bytes.len() as u32);
            self.block.taken += 1;
        }
        None
    }

    /// The records so far as a chunk.
    fn cut(&mut self, file: &str) -> Chunk {
        let bytes = self.block.end.saturating_sub(self.start);
        Chunk {
            bytes: std::mem::take(&mut self.bytes).into(),
            ends: std::mem::take(&mut self.ends),
            header: self.header.clone().unwrap_or_default(),
            refused: std::mem::take(&mut self.refused),
            ready: None,
            extent: Extent {
                file: file.to_owned(),
                start: self.start,
                bytes: bytes | Extent::OF_BLOCKS,
                row: self.row | self.known,
            },
        }
    }

    /// Reads the header or a block, or passes over what is broken; how many bytes that took, 0 where more are needed.
    fn step(&mut self, rest: &[u8], at: u64, ended: bool) -> usize {
        match std::mem::replace(&mut self.by, State::Begin) {
            State::Begin if rest.is_empty() => 0,
            State::Begin => match Header::read(rest) {
                Scanned::Whole(header) => {
                    let bytes = header.bytes;
                    match state(header) {
                        Ok(blocks) => {
                            self.header = Some(Bytes::copy_from_slice(rest.get(..bytes).unwrap_or_default()));
                            self.by = blocks;
                            bytes
                        }
                        Err(why) => self.give_up_file(why, at, rest, ended),
                    }
                }
                Scanned::More if !ended => 0,
                Scanned::More => self.give_up_file("its header is cut short".into(), at, rest, ended),
                Scanned::Wrong(why) => self.give_up_file(why, at, rest, ended),
            },
            State::Blocks { schema, codec, sync } => {
                let (taken, broken) = self.block(&schema, codec, &sync, rest, at, ended);
                self.by = State::Blocks { schema, codec, sync };
                if let Some(why) = broken {
                    let reason = self.of_file(why);
                    let next = Box::new(std::mem::replace(&mut self.by, State::Begin));
                    let wrong = SkippedBlock { reason, start: at, kept: Vec::new(), bytes: 0 };
                    self.by = State::Broken { sync, next, wrong };
                    return self.step(rest, at, ended);
                }
                taken
            }
            State::Broken { sync, next, mut wrong } => {
                // The mark may begin in what has come and end in what will.
                let found = memchr::memmem::find(rest, &sync).map(|mark| mark + SYNC_BYTES);
                let taken = found.unwrap_or(if ended { rest.len() } else { rest.len().saturating_sub(SYNC_BYTES - 1) });
                wrong.pass(rest.get(..taken).unwrap_or_default(), self.rejected_bytes_max);
                if found.is_some() || (ended && wrong.bytes > 0) {
                    self.reports_end |= found.is_none();
                    self.block = wrong.into_block(at + taken as u64);
                    self.by = *next;
                } else {
                    self.by = State::Broken { sync, next, wrong };
                }
                taken
            }
            State::Foreign { mut wrong } => {
                wrong.pass(rest, self.rejected_bytes_max);
                if ended && wrong.bytes > 0 {
                    let reason = wrong.reason.clone();
                    let all =
                        std::mem::replace(&mut wrong, SkippedBlock { reason, start: at, kept: Vec::new(), bytes: 0 });
                    self.block = all.into_block(at + rest.len() as u64);
                    self.reports_end = true;
                }
                self.by = State::Foreign { wrong };
                rest.len()
            }
        }
    }

    /// A reason with the file that it is about.
    fn of_file(&self, why: String) -> String {
        if self.path.is_empty() { why } else { format!("`{}`: {why}", self.path) }
    }

    fn give_up_file(&mut self, why: String, at: u64, rest: &[u8], ended: bool) -> usize {
        let reason = self.of_file(format!("no Avro file that can be read: {why}"));
        self.by = State::Foreign { wrong: SkippedBlock { reason, start: at, kept: Vec::new(), bytes: 0 } };
        self.step(rest, at, ended)
    }

    /// The next block; how many bytes it took, and why it is broken.
    fn block(
        &mut self,
        schema: &Schema,
        codec: Codec,
        sync: &[u8; SYNC_BYTES],
        rest: &[u8],
        at: u64,
        ended: bool,
    ) -> (usize, Option<String>) {
        if rest.is_empty() {
            return (0, None);
        }
        let cut_short = || (0, ended.then(|| "cut short: the file ends within a block".to_owned()));
        let head = match BlockHead::read(rest, AVRO_BLOCK_BYTES_MAX) {
            Scanned::Whole(head) => head,
            Scanned::More => return cut_short(),
            Scanned::Wrong(why) => return (0, Some(why)),
        };
        let end = head.head + head.bytes as usize;
        let Some(mark) = rest.get(end..end + SYNC_BYTES) else { return cut_short() };
        if mark != sync {
            return (0, Some("a block that does not end with the mark of the file".into()));
        }
        let packed = rest.get(head.head..end).unwrap_or_default();
        let bytes = match unpacked(codec, packed) {
            Ok(bytes) => bytes,
            Err(why) => return (0, Some(format!("a block that cannot be decompressed: {why}"))),
        };
        let (ends, wrong) = record_ends(schema, &bytes, head.records);
        let taken = end + SYNC_BYTES;
        let refused = wrong.map(|why| {
            let left = bytes.len() - ends.last().copied().unwrap_or(0);
            let reason = format!(
                "record {} of {} of a block: {why}; the rest of the block is not read",
                ends.len() + 1,
                head.records
            );
            RefusedRecord { row: 0, reason, dropped: left.saturating_sub(self.rejected_bytes_max) as u64 }
        });
        self.block = Block { start: at, end: at + taken as u64, bytes, ends, refused, taken: 0 };
        (taken, None)
    }
}

fn state(header: Header) -> Result<State, String> {
    let schema = Schema::parse(&header.schema).map_err(|why| format!("its schema cannot be used: {why}"))?;
    Ok(State::Blocks { schema, codec: header.codec, sync: header.sync })
}

impl SkippedBlock {
    fn pass(&mut self, bytes: &[u8], keep: usize) {
        let room = keep.saturating_sub(self.kept.len()).min(bytes.len());
        self.kept.extend_from_slice(bytes.get(..room).unwrap_or_default());
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
    }

    /// All of it as one refused record.
    fn into_block(self, end: u64) -> Block {
        let SkippedBlock { reason, start, kept, bytes } = self;
        let dropped = bytes.saturating_sub(kept.len() as u64);
        let refused = Some(RefusedRecord { row: 0, reason, dropped });
        Block { start, end, bytes: kept.into(), ends: Vec::new(), refused, taken: 0 }
    }
}

/// The records of a block.
fn unpacked(codec: Codec, packed: &[u8]) -> Result<Bytes, String> {
    let most = AVRO_BLOCK_BYTES_MAX;
    let all = |reader: &mut dyn Read| {
        let mut bytes = Vec::new();
        reader.take(most + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        if bytes.len() as u64 > most { Err(format!("it is longer than {most} bytes")) } else { Ok(Bytes::from(bytes)) }
    };
    match codec {
        Codec::Null => Ok(Bytes::copy_from_slice(packed)),
        Codec::Deflate => all(&mut flate2::read::DeflateDecoder::new(packed)),
        Codec::Zstandard => {
            let mut decoder = zstd::stream::read::Decoder::new(packed).map_err(|error| error.to_string())?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|error| error.to_string())?;
            all(&mut decoder)
        }
        Codec::Snappy => {
            let (packed, sum) = packed.split_last_chunk::<4>().ok_or("its checksum is missing")?;
            let length = snap::raw::decompress_len(packed).map_err(|error| error.to_string())?;
            if length as u64 > most || length > packed.len().saturating_mul(SNAPPY_TIMES_MAX) {
                return Err(format!("{} bytes cannot become {length}", packed.len()));
            }
            let bytes = snap::raw::Decoder::new().decompress_vec(packed).map_err(|error| error.to_string())?;
            let mut crc = flate2::Crc::new();
            crc.update(&bytes);
            if crc.sum() != u32::from_be_bytes(*sum) {
                return Err("its checksum is wrong".into());
            }
            Ok(bytes.into())
        }
    }
}

#[cfg(test)]
mod tests;
