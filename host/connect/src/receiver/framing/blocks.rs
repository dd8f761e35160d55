//! Cuts an Avro file into chunks, block by block. The records of a chunk are concatenated. Its header is that of the file, including the schema.
//!
//! A position is a block and the number of its records that were taken. Reading resumes there without looking at earlier blocks. The contents of a
//! chunk depend only on the file's bytes. A broken block is one rejected record, up to the next sync marker.

use super::{Counter, StreamCursor};
use crate::limits::AVRO_BLOCK_BYTES_MAX;
use bytes::Bytes;
use millstream_base::limits::{PART_BYTES_MAX, PART_ROWS_MAX};
use millstream_rows::batch::chunk::{Chunk, RejectedRecord};
use millstream_rows::batch::position::{Extent, short_object_id};
use millstream_rows::decode::avro::container::{BlockHead, Codec, Header, SYNC_BYTES, Scanned, record_ends};
use millstream_rows::decode::avro::schema::Schema;
use std::io::Read;

/// Maximum window of the zstd decoder, as a power of two.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Maximum expansion of a block compressed by Snappy: three bytes encode at most 64.
const SNAPPY_TIMES_MAX: usize = 64;

/// Cuts one Avro file into chunks.
pub struct BlockCutter {
    /// How many bytes of a rejected block are kept.
    rejected_bytes_max: usize,
    record_bytes_max: usize,
    header: Option<Bytes>,
    state: State,
    /// Number of records to skip: those before the position.
    skip: u64,
    /// The current block.
    block: Block,
    /// Bytes of the current chunk.
    bytes: Vec<u8>,
    ends: Vec<u32>,
    rejected: Vec<RejectedRecord>,
    start: u64,
    /// Number of the chunk's first record, relative to the block at `start`.
    row: u64,
    /// See [`short_object_id`].
    version_bits: u64,
    /// Whether a record reports that the end of the file is unreadable.
    reports_end: bool,
    /// Path of the file.
    path: String,
}

enum State {
    /// The header has not arrived.
    Header,
    Blocks {
        schema: Schema,
        codec: Codec,
        sync: [u8; SYNC_BYTES],
    },
    /// A block is broken: input is skipped until the next sync marker.
    Broken {
        sync: [u8; SYNC_BYTES],
        next: Box<State>,
        skipped_block: SkippedBlock,
    },
    /// The file is not readable Avro.
    Unreadable {
        skipped_block: SkippedBlock,
    },
}

/// Skipped bytes that are not a block, with the reason.
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
    /// The rejection of the unreadable rest after the last record.
    rejected: Option<RejectedRecord>,
    /// How many records were taken.
    taken: usize,
}

impl Block {
    fn rows(&self) -> usize {
        self.ends.len() + usize::from(self.rejected.is_some())
    }

    fn record(&self, row: usize) -> &[u8] {
        let start = row.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.bytes.get(start..self.ends.get(row).copied().unwrap_or(self.bytes.len())).unwrap_or_default()
    }
}

impl BlockCutter {
    /// Creates a cutter at the beginning of a file.
    pub fn new(record_bytes_max: usize) -> BlockCutter {
        BlockCutter {
            rejected_bytes_max: 0,
            record_bytes_max,
            header: None,
            state: State::Header,
            skip: 0,
            block: Block::default(),
            bytes: Vec::new(),
            ends: Vec::new(),
            rejected: Vec::new(),
            start: 0,
            row: 0,
            version_bits: 0,
            reports_end: false,
            path: String::new(),
        }
    }

    /// Sets how many bytes of rejected data are kept.
    pub fn keep_rejected(&mut self, bytes: usize) {
        self.rejected_bytes_max = bytes;
    }

    /// Sets how many records to skip.
    pub fn skip_records(&mut self, records: u64) {
        self.skip = records;
    }

    /// Sets the file's header, which was read before; empty if it had no readable one.
    pub fn after_header(&mut self, header: Bytes) {
        // If the file had no readable header, its rejected data began at its first byte, and is read again from there.
        if let Scanned::Complete(found) = Header::read(&header)
            && let Ok(found) = state(found)
        {
            self.state = found;
            self.header = Some(header);
        }
    }

    /// Returns whether the last record was rejected because of how the file ends.
    pub fn reports_end(&self) -> bool {
        self.reports_end
    }

    /// Returns the file's header once it has arrived.
    pub fn header(&self) -> Option<&Bytes> {
        self.header.as_ref()
    }

    /// Takes records from `buffer` after the first `consumed` bytes, and advances `consumed` and `cursor`. Returns a chunk that is full, or one with
    /// any records if `flush`. `ended`: no input follows the buffer.
    pub fn next(
        &mut self,
        buffer: &[u8],
        consumed: &mut usize,
        cursor: &mut StreamCursor,
        flush: bool,
        ended: bool,
    ) -> Option<Chunk> {
        self.version_bits = short_object_id(cursor.object_id);
        if self.path != cursor.path {
            self.path.clone_from(&cursor.path);
        }
        loop {
            if let Some(chunk) = self.fill_chunk(&cursor.file) {
                return Some(chunk);
            }
            let Counter::Bytes(at) = cursor.at else { return None };
            let rest = buffer.get(*consumed..).unwrap_or_default();
            let taken = self.step(rest, at, ended);
            *consumed += taken;
            cursor.at = Counter::Bytes(at.saturating_add(taken as u64));
            if taken == 0 && self.block.taken == self.block.rows() {
                break;
            }
        }
        ((flush || ended) && !self.ends.is_empty()).then(|| self.cut(&cursor.file))
    }

    /// Takes records of the current block. Returns the chunk if it is full.
    fn fill_chunk(&mut self, file: &str) -> Option<Chunk> {
        let rows = self.block.rows();
        if self.skip > 0 && self.block.taken < rows {
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(rows - self.block.taken);
            self.block.taken += skipped;
            self.skip -= skipped as u64;
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
            let rejected = (row == self.block.ends.len()).then(|| self.block.rejected.clone()).flatten();
            let too_long = record.len() > self.record_bytes_max && rejected.is_none();
            let too_long = too_long.then(|| RejectedRecord {
                row: 0,
                reason: format!("{} bytes, record_bytes_max is {}", record.len(), self.record_bytes_max),
                dropped: record.len().saturating_sub(self.rejected_bytes_max) as u64,
            });
            match rejected.or(too_long) {
                Some(rejected) => {
                    let kept = record.get(..self.rejected_bytes_max).unwrap_or(record);
                    self.bytes.extend_from_slice(kept);
                    self.rejected.push(RejectedRecord { row: self.ends.len() as u32, ..rejected });
                }
                None => self.bytes.extend_from_slice(record),
            }
            self.ends.push(self.bytes.len() as u32);
            self.block.taken += 1;
        }
        None
    }

    /// Moves the records so far into a chunk.
    fn cut(&mut self, file: &str) -> Chunk {
        let bytes = self.block.end.saturating_sub(self.start);
        Chunk {
            bytes: std::mem::take(&mut self.bytes).into(),
            ends: std::mem::take(&mut self.ends),
            header: self.header.clone().unwrap_or_default(),
            rejected: std::mem::take(&mut self.rejected),
            ready: None,
            extent: Extent {
                file: file.to_owned(),
                start: self.start,
                bytes: bytes | Extent::OF_BLOCKS,
                row: self.row | self.version_bits,
            },
        }
    }

    /// Reads the header or a block, or skips broken data. Returns how many bytes were taken; 0 if more are needed.
    fn step(&mut self, rest: &[u8], at: u64, ended: bool) -> usize {
        match std::mem::replace(&mut self.state, State::Header) {
            State::Header if rest.is_empty() => 0,
            State::Header => match Header::read(rest) {
                Scanned::Complete(header) => {
                    let bytes = header.bytes;
                    match state(header) {
                        Ok(blocks) => {
                            self.header = Some(Bytes::copy_from_slice(rest.get(..bytes).unwrap_or_default()));
                            self.state = blocks;
                            bytes
                        }
                        Err(why) => self.reject_file(why, at, rest, ended),
                    }
                }
                Scanned::More if !ended => 0,
                Scanned::More => self.reject_file("its header is cut short".into(), at, rest, ended),
                Scanned::Wrong(why) => self.reject_file(why, at, rest, ended),
            },
            State::Blocks { schema, codec, sync } => {
                let (taken, broken) = self.block(&schema, codec, &sync, rest, at, ended);
                self.state = State::Blocks { schema, codec, sync };
                if let Some(why) = broken {
                    let reason = self.with_path(why);
                    let next = Box::new(std::mem::replace(&mut self.state, State::Header));
                    let skipped_block = SkippedBlock { reason, start: at, kept: Vec::new(), bytes: 0 };
                    self.state = State::Broken { sync, next, skipped_block };
                    return self.step(rest, at, ended);
                }
                taken
            }
            State::Broken { sync, next, mut skipped_block } => {
                // The marker may be split between this input and the next.
                let found = memchr::memmem::find(rest, &sync).map(|mark| mark + SYNC_BYTES);
                let taken = found.unwrap_or(if ended { rest.len() } else { rest.len().saturating_sub(SYNC_BYTES - 1) });
                skipped_block.pass(rest.get(..taken).unwrap_or_default(), self.rejected_bytes_max);
                if found.is_some() || (ended && skipped_block.bytes > 0) {
                    self.reports_end |= found.is_none();
                    self.block = skipped_block.into_block(at + taken as u64);
                    self.state = *next;
                } else {
                    self.state = State::Broken { sync, next, skipped_block };
                }
                taken
            }
            State::Unreadable { mut skipped_block } => {
                skipped_block.pass(rest, self.rejected_bytes_max);
                if ended && skipped_block.bytes > 0 {
                    let reason = skipped_block.reason.clone();
                    let all = std::mem::replace(
                        &mut skipped_block,
                        SkippedBlock { reason, start: at, kept: Vec::new(), bytes: 0 },
                    );
                    self.block = all.into_block(at + rest.len() as u64);
                    self.reports_end = true;
                }
                self.state = State::Unreadable { skipped_block };
                rest.len()
            }
        }
    }

    /// Adds the path of the file to a reason.
    fn with_path(&self, why: String) -> String {
        if self.path.is_empty() { why } else { format!("`{}`: {why}", self.path) }
    }

    fn reject_file(&mut self, why: String, at: u64, rest: &[u8], ended: bool) -> usize {
        let reason = self.with_path(format!("not a readable Avro file: {why}"));
        self.state =
            State::Unreadable { skipped_block: SkippedBlock { reason, start: at, kept: Vec::new(), bytes: 0 } };
        self.step(rest, at, ended)
    }

    /// Reads the next block. Returns how many bytes it took, and why it is broken.
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
            Scanned::Complete(head) => head,
            Scanned::More => return cut_short(),
            Scanned::Wrong(why) => return (0, Some(why)),
        };
        let end = head.head + head.bytes as usize;
        let Some(mark) = rest.get(end..end + SYNC_BYTES) else { return cut_short() };
        if mark != sync {
            return (0, Some("a block that does not end with the file's sync marker".into()));
        }
        let compressed = rest.get(head.head..end).unwrap_or_default();
        let bytes = match decompress(codec, compressed) {
            Ok(bytes) => bytes,
            Err(why) => return (0, Some(format!("a block that cannot be decompressed: {why}"))),
        };
        let (ends, skipped_block) = record_ends(schema, &bytes, head.records);
        let taken = end + SYNC_BYTES;
        let rejected = skipped_block.map(|why| {
            let left = bytes.len() - ends.last().copied().unwrap_or(0);
            let reason = format!(
                "record {} of {} of a block: {why}; the rest of the block is not read",
                ends.len() + 1,
                head.records
            );
            RejectedRecord { row: 0, reason, dropped: left.saturating_sub(self.rejected_bytes_max) as u64 }
        });
        self.block = Block { start: at, end: at + taken as u64, bytes, ends, rejected, taken: 0 };
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

    /// Turns the skipped bytes into one rejected record.
    fn into_block(self, end: u64) -> Block {
        let SkippedBlock { reason, start, kept, bytes } = self;
        let dropped = bytes.saturating_sub(kept.len() as u64);
        let rejected = Some(RejectedRecord { row: 0, reason, dropped });
        Block { start, end, bytes: kept.into(), ends: Vec::new(), rejected, taken: 0 }
    }
}

/// Decompresses the records of a block.
fn decompress(codec: Codec, compressed: &[u8]) -> Result<Bytes, String> {
    let bytes_max = AVRO_BLOCK_BYTES_MAX;
    let all = |reader: &mut dyn Read| {
        let mut bytes = Vec::new();
        reader.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        if bytes.len() as u64 > bytes_max {
            Err(format!("it is longer than {bytes_max} bytes"))
        } else {
            Ok(Bytes::from(bytes))
        }
    };
    match codec {
        Codec::Null => Ok(Bytes::copy_from_slice(compressed)),
        Codec::Deflate => all(&mut flate2::read::DeflateDecoder::new(compressed)),
        Codec::Zstandard => {
            let mut decoder = zstd::stream::read::Decoder::new(compressed).map_err(|error| error.to_string())?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|error| error.to_string())?;
            all(&mut decoder)
        }
        Codec::Snappy => {
            let (compressed, sum) = compressed.split_last_chunk::<4>().ok_or("its checksum is missing")?;
            let length = snap::raw::decompress_len(compressed).map_err(|error| error.to_string())?;
            if length as u64 > bytes_max || length > compressed.len().saturating_mul(SNAPPY_TIMES_MAX) {
                return Err(format!("{} bytes cannot become {length}", compressed.len()));
            }
            let bytes = snap::raw::Decoder::new().decompress_vec(compressed).map_err(|error| error.to_string())?;
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
