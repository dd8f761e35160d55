//! The encoding of an entry. Numbers are varints (seven bits per byte, the lowest first); signed ones use zigzag encoding. Strings and bytes follow
//! their length. The head comes first, so that it is read without the chunks.
//!
//! `batch time source made_up | chunks: file start bytes row rows kept | moved: name offset mark`. Here `kept` is 0, or 1 and `bytes header ends
//! refused`, or 2 and rows that came as columns: an Arrow IPC stream after its length in four bytes. Ends are stored as the lengths of the records,
//! mostly one byte each.

use super::Head;
use crate::checkpoint::types::PlanEntry;
use bytes::Bytes;
use millstream_base::error::Error;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::owner::FORMAT_VERSION;
use millstream_rows::batch::chunk::PlannedChunk;
use millstream_rows::batch::chunk::{Chunk, RejectedRecord};
use millstream_rows::batch::position::{Extent, Position};
use millstream_rows::batch::ready::ReadyRows;
use millstream_rows::decode::varint;

/// The first version that records whether a batch was made up.
pub(super) const MADE_UP_VERSION: u32 = FORMAT_VERSION + 2;

/// Maximum bytes of a number.
const NUMBER_BYTES_MAX: usize = 10;
/// Maximum bytes of a 32-bit number.
const SHORT_BYTES_MAX: usize = 5;
/// Maximum elements for which memory is reserved before they are read: their number is not trusted.
const FIRST_ELEMENTS_MAX: usize = 1024;

/// Rows that are kept as records.
const RECORDS: u64 = 1;
/// Rows that are kept as columns.
const COLUMNS: u64 = 2;
/// Bytes of the length of columns.
const LENGTH_BYTES: usize = 4;
/// Bytes of a column without its values.
const COLUMN_BYTES: usize = 512;

/// Estimates the bytes that [`put`] appends; an upper bound for rows kept as records.
pub(super) fn bytes_max(entry: &PlanEntry) -> usize {
    let chunks = entry.chunks.iter().map(|chunk| {
        let kept = chunk.kept.as_ref().map_or(0, |kept| {
            let ready =
                kept.ready.as_ref().map_or(0, |ready| ready.bytes() + COLUMN_BYTES * (1 + ready.rows().num_columns()));
            let rejected = kept.rejected.iter().map(|record| 3 * NUMBER_BYTES_MAX + record.reason.len());
            let ends = kept.ends.len().saturating_mul(SHORT_BYTES_MAX);
            4 * NUMBER_BYTES_MAX + kept.bytes.len() + kept.header.len() + ends + rejected.sum::<usize>() + ready
        });
        7 * NUMBER_BYTES_MAX + chunk.extent.file.len() + kept
    });
    let moved = entry.moved.iter().map(|(name, _)| 3 * NUMBER_BYTES_MAX + name.len());
    6 * NUMBER_BYTES_MAX + entry.source.len() + chunks.sum::<usize>() + moved.sum::<usize>()
}

/// Appends an entry; after an error a part of it may have been appended.
pub(super) fn put(to: &mut Vec<u8>, entry: &PlanEntry) -> Result<(), Error> {
    put_number(to, entry.batch.0);
    put_signed(to, entry.time.0);
    put_bytes(to, entry.source.as_bytes());
    put_number(to, entry.made_up.into());
    put_number(to, entry.chunks.len() as u64);
    for chunk in &entry.chunks {
        put_bytes(to, chunk.extent.file.as_bytes());
        put_number(to, chunk.extent.start);
        put_number(to, chunk.extent.bytes);
        put_number(to, chunk.extent.row);
        put_number(to, chunk.rows.into());
        match chunk.kept.as_ref().map(|kept| (kept, &kept.ready)) {
            None => put_number(to, 0),
            Some((kept, None)) => put_records(to, kept),
            Some((_, Some(ready))) => put_ready(to, ready)?,
        }
    }
    put_number(to, entry.moved.len() as u64);
    for (name, position) in &entry.moved {
        put_bytes(to, name.as_bytes());
        put_number(to, position.offset);
        put_signed(to, position.mark);
    }
    Ok(())
}

fn put_ready(to: &mut Vec<u8>, ready: &ReadyRows) -> Result<(), Error> {
    put_number(to, COLUMNS);
    let start = to.len();
    to.extend([0; LENGTH_BYTES]);
    let begin = to.len();
    ready.write(to).map_err(Error::arrow)?;
    // Frames are shorter than the maximum; longer ones are rejected when the frame is written.
    let length = u32::try_from(to.len() - begin).unwrap_or(u32::MAX);
    to.iter_mut().skip(start).zip(length.to_le_bytes()).for_each(|(to, from)| *to = from);
    Ok(())
}

fn put_records(to: &mut Vec<u8>, kept: &Chunk) {
    put_number(to, RECORDS);
    put_bytes(to, &kept.bytes);
    put_bytes(to, &kept.header);
    put_number(to, kept.ends.len() as u64);
    let mut begin = 0u32;
    for end in &kept.ends {
        put_number(to, end.wrapping_sub(begin).into());
        begin = *end;
    }
    put_number(to, kept.rejected.len() as u64);
    for record in &kept.rejected {
        put_number(to, record.row.into());
        put_bytes(to, record.reason.as_bytes());
        put_number(to, record.dropped);
    }
}

fn put_number(to: &mut Vec<u8>, number: u64) {
    varint::write(number, to);
}

fn put_signed(to: &mut Vec<u8>, number: i64) {
    put_number(to, varint::zigzag(number));
}

fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    put_number(to, bytes.len() as u64);
    to.extend_from_slice(bytes);
}

/// Parses the head of an entry; the error says what is wrong.
pub(super) fn head(from: &Bytes, version: u32) -> Result<Head, String> {
    EntryReader { from, at: 0 }.head(version)
}

/// Parses an entry; the error says what is wrong. Its chunks share the memory of `from`.
pub(super) fn get(from: &Bytes, version: u32) -> Result<PlanEntry, String> {
    let mut fields = EntryReader { from, at: 0 };
    let Head { batch, time, source, made_up } = fields.head(version)?;
    let chunks = fields.list(EntryReader::chunk)?;
    let moved = fields.list(|fields| {
        let name = fields.text()?;
        Ok((name, Position { offset: fields.number()?, mark: fields.signed()? }))
    })?;
    if fields.at != from.len() {
        return Err("a frame continues after its entry".into());
    }
    Ok(PlanEntry { batch, time, source, made_up, chunks, moved })
}

/// Reads field by field.
struct EntryReader<'a> {
    from: &'a Bytes,
    at: usize,
}

impl EntryReader<'_> {
    fn head(&mut self, version: u32) -> Result<Head, String> {
        let (batch, time, source) = (BatchId(self.number()?), BatchTime(self.signed()?), self.text()?);
        let made_up = version >= MADE_UP_VERSION && self.number()? != 0;
        Ok(Head { batch, time, source, made_up })
    }

    fn chunk(&mut self) -> Result<PlannedChunk, String> {
        let (file, start, bytes, row) = (self.text()?, self.number()?, self.number()?, self.number()?);
        let extent = Extent { file, start, bytes, row };
        let rows = self.short()?;
        let kept = match self.number()? {
            0 => None,
            RECORDS => {
                let (bytes, header) = (self.bytes()?, self.bytes()?);
                let ends = self.read_ends(bytes.len())?;
                let rejected = self.list(EntryReader::rejected_record)?;
                Some(Chunk { bytes, ends, header, rejected, ready: None, extent: extent.clone() })
            }
            COLUMNS => Some(Chunk { extent: extent.clone(), ..Chunk::of_ready(self.ready()?) }),
            _ => return Err("a chunk has an invalid flag".into()),
        };
        Ok(PlannedChunk { extent, rows, kept })
    }

    fn rejected_record(&mut self) -> Result<RejectedRecord, String> {
        let (row, reason, dropped) = (self.short()?, self.text()?, self.number()?);
        Ok(RejectedRecord { row, reason, dropped })
    }

    fn ready(&mut self) -> Result<ReadyRows, String> {
        let rest = self.from.get(self.at..).unwrap_or_default();
        let (length, rest) = rest.split_first_chunk::<LENGTH_BYTES>().ok_or_else(cut_short)?;
        let length = u32::from_le_bytes(*length) as usize;
        let stream = rest.get(..length).ok_or_else(cut_short)?;
        self.at = self.at.saturating_add(LENGTH_BYTES).saturating_add(length);
        ReadyRows::read(stream).map_err(|why| format!("the columns of a chunk cannot be read: {why}"))
    }

    /// Reads the ends of records within this many bytes.
    fn read_ends(&mut self, bytes: usize) -> Result<Vec<u32>, String> {
        let count = self.count()?;
        let mut ends = Vec::with_capacity(count); // At least one byte each, see `count`.
        let mut end = 0u32;
        for _ in 0..count {
            let record = self.short()?;
            end =
                end.checked_add(record).filter(|end| *end as usize <= bytes).ok_or("a record ends after its chunk")?;
            ends.push(end);
        }
        Ok(ends)
    }

    fn list<T>(&mut self, mut element: impl FnMut(&mut Self) -> Result<T, String>) -> Result<Vec<T>, String> {
        let count = self.count()?;
        let mut list = Vec::with_capacity(count.min(FIRST_ELEMENTS_MAX));
        for _ in 0..count {
            list.push(element(self)?);
        }
        Ok(list)
    }

    /// Reads the number of elements that follow. Each takes at least one byte, so there cannot be more than bytes.
    fn count(&mut self) -> Result<usize, String> {
        let count = usize::try_from(self.number()?).ok();
        count.filter(|count| *count <= self.from.len().saturating_sub(self.at)).ok_or_else(cut_short)
    }

    fn text(&mut self) -> Result<String, String> {
        let bytes = self.bytes()?;
        std::str::from_utf8(&bytes).map(str::to_owned).map_err(|_| "a name is not UTF-8".into())
    }

    fn bytes(&mut self) -> Result<Bytes, String> {
        let count = self.count()?;
        let begin = self.at;
        self.at = begin.checked_add(count).filter(|end| *end <= self.from.len()).ok_or_else(cut_short)?;
        Ok(self.from.slice(begin..self.at))
    }

    fn short(&mut self) -> Result<u32, String> {
        u32::try_from(self.number()?).map_err(|_| "a number is too large".into())
    }

    fn signed(&mut self) -> Result<i64, String> {
        let folded = self.number()?;
        Ok(varint::unzigzag(folded))
    }

    fn number(&mut self) -> Result<u64, String> {
        let mut number = 0;
        for (digit, byte) in self.from.get(self.at..).unwrap_or_default().iter().take(NUMBER_BYTES_MAX).enumerate() {
            let bits = u64::from(byte & 0x7f);
            let shift = 7 * digit as u32;
            if bits > u64::MAX >> shift {
                return Err("a number is too large".into());
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                self.at = self.at.saturating_add(digit + 1);
                return Ok(number);
            }
        }
        Err(cut_short())
    }
}

fn cut_short() -> String {
    "a frame ends within its entry".into()
}
