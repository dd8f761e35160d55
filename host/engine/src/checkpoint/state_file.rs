//! Files of state tables: Arrow IPC files that pyarrow, Polars and DuckDB can read, verified by checksum.
//!
//! Columns: the key, the state, [`TOUCHED`](super::types::TOUCHED) if the stage has a timeout, and [`REMOVED`](super::types::REMOVED). Rows are in
//! the order of the hashes of their keys, without duplicate keys. A base of a table that may be larger than memory has an index in its footer
//! ([`block_index`](super::block_index)), and small record batches.

use super::block_index::{self, BlockIndex};
use super::types::StateFile;
use crate::limits::STATE_SLICE_MAX;
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::buffer::Buffer;
use arrow::compute::concat_batches;
use arrow::error::ArrowError;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::{FileDecoder, read_footer_length};
use arrow::ipc::writer::FileWriter;
use arrow::ipc::{Block, root_as_footer};
use bytes::Bytes;
use millstream_base::digest::{self, checksum};
use millstream_base::error::{Error, Result};
use millstream_rows::batch::keys::KeyHash;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// Rows of one record batch of a file.
const ROWS_MAX: usize = STATE_SLICE_MAX.rows;
/// Bytes at the end of a file: the footer's length and the format's magic number.
pub const TRAILER_BYTES: usize = 10;

/// Approximate bytes of a record batch in a file with an index: one is read to find a key.
const BLOCK_BYTES: usize = 8 << 10;

/// Bytes read at a time when a file is only verified.
const CHECK_BYTES: usize = 1 << 20;

/// A file's bytes.
pub struct EncodedFile {
    /// All of them.
    pub bytes: Bytes,
    /// The checksum of its footer, see [`StateFile::footer`].
    pub footer: String,
}

/// Encodes a file with these rows, of which there is at least one slice. Each slice is dropped once it is encoded. `indexed_by`: the file gets an
/// index. The rows are then all rows of some key groups, in the order of the hashes of this many columns.
pub fn encode(slices: Vec<RecordBatch>, indexed_by: Option<usize>) -> Result<EncodedFile> {
    let Some(first) = slices.first() else { return Err(Error::bug("a file of a state table without a slice")) };
    let schema = first.schema();
    let rows: usize = slices.iter().map(RecordBatch::num_rows).sum();
    let mut index = indexed_by.filter(|_| rows > 0).map(|columns| (BlockIndex::new(columns, rows as u64), KeyHash(0)));
    let bytes = Vec::with_capacity(slices.iter().map(RecordBatch::get_array_memory_size).sum());
    let mut writer = FileWriter::try_new(bytes, &schema).map_err(Error::arrow)?;
    for rows in slices {
        let step = if index.is_some() { rows_of_block(&rows) } else { ROWS_MAX };
        for start in (0..rows.num_rows()).step_by(step) {
            let part = rows.slice(start, step.min(rows.num_rows() - start));
            let begin = writer.get_ref().len();
            writer.write(&part).map_err(Error::arrow)?;
            let block = writer.get_ref().get(begin..).unwrap_or_default();
            let added = index.as_mut().map(|(index, last)| index.add(&part, last, block)).transpose();
            if added.map_err(Error::arrow)? == Some(false) {
                index = None;
            }
        }
    }
    if let Some((index, _)) = &index {
        writer.write_metadata(block_index::NAME, index.encode());
    }
    writer.finish().map_err(Error::arrow)?;
    let bytes: Bytes = writer.into_inner().map_err(Error::arrow)?.into();
    let footer = index.map(|_| footer_range(&bytes, bytes.len()).map(|footer| checksum(&bytes.slice(footer.start..))));
    Ok(EncodedFile { footer: footer.transpose().map_err(Error::arrow)?.unwrap_or_default(), bytes })
}

/// Returns how many of these rows form a block.
fn rows_of_block(rows: &RecordBatch) -> usize {
    let bytes = |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or(usize::MAX);
    let bytes = rows.columns().iter().map(bytes).fold(0, usize::saturating_add);
    (BLOCK_BYTES / (bytes / rows.num_rows().max(1)).max(1)).clamp(1, ROWS_MAX)
}

/// Returns the error for a file that differs from what was written.
pub fn damaged(file: &StateFile, why: &dyn fmt::Display) -> Error {
    Error::environment(format!(
        "{} is damaged: {why}. Restore it from a copy, or go back to an older checkpoint with `--resume-from`",
        file.path
    ))
}

/// Compares a file's length and checksum with the manifest.
pub fn check(file: &StateFile, bytes: &Bytes) -> Result<()> {
    compare(file, bytes.len() as u64, &checksum(bytes))
}

fn compare(file: &StateFile, bytes: u64, checksum: &str) -> Result<()> {
    if bytes != file.bytes {
        return Err(damaged(file, &format_args!("it should have {} bytes and has {bytes}", file.bytes)));
    }
    if checksum != file.checksum {
        return Err(damaged(file, &"its checksum differs from the one in the manifest"));
    }
    Ok(())
}

/// Does the same for a file that is read in pieces.
pub fn check_file(entry: &StateFile, file: &File) -> Result<()> {
    let (mut sum, mut bytes, mut length) = (Xxh3::new(), vec![0; CHECK_BYTES], 0);
    loop {
        match file.read_at(&mut bytes, length) {
            Ok(0) => break,
            Ok(read) => {
                sum.update(bytes.get(..read).unwrap_or_default());
                length += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(damaged(entry, &format_args!("it cannot be read: {error}"))),
        }
    }
    compare(entry, length, &digest::in_hex(sum.digest()))
}

/// Decodes the rows of a file, after it was [verified](check).
pub fn decode(file: &StateFile, bytes: &Bytes) -> Result<Vec<RecordBatch>> {
    check(file, bytes)?;
    let batches = without_panic(|| read_batches(bytes)).map_err(|error| damaged(file, &error))?;
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if rows as u64 != file.rows {
        return Err(damaged(file, &format_args!("it should have {} rows and has {rows}", file.rows)));
    }
    Ok(batches)
}

/// Runs a read of an untrusted file. Some errors in a file make Arrow panic instead of returning an error.
pub fn without_panic<T>(read: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, ArrowError> {
    let panicked = |_| Err(ArrowError::ParseError("it is not an Arrow file that can be read".into()));
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(panicked)
}

/// Returns the position of the footer in a file of this length, given its last bytes.
pub fn footer_range(end: &[u8], length: usize) -> Result<Range<usize>, ArrowError> {
    let short = || ArrowError::ParseError("it is too short for its own footer".into());
    let trailer = end.last_chunk::<TRAILER_BYTES>().ok_or_else(short)?;
    let end = length.checked_sub(TRAILER_BYTES).ok_or_else(short)?;
    Ok(end.checked_sub(read_footer_length(*trailer)?).ok_or_else(short)?..end)
}

/// The contents of a footer.
pub struct Footer {
    /// The decoder of record batches.
    pub decoder: FileDecoder,
    /// The blocks of dictionaries.
    pub dictionaries: Vec<Block>,
    /// The blocks of record batches.
    pub blocks: Vec<Block>,
    /// The index, if it has one.
    pub index: Option<BlockIndex>,
}

impl Footer {
    /// Parses a footer.
    pub fn parse(bytes: &[u8]) -> Result<Footer, ArrowError> {
        let footer = root_as_footer(bytes).map_err(|error| ArrowError::ParseError(error.to_string()))?;
        let missing = |what: &str| ArrowError::ParseError(format!("its footer has no {what}"));
        let schema = fb_to_schema(footer.schema().ok_or_else(|| missing("schema"))?);
        let index = footer.custom_metadata().into_iter().flatten().find(|pair| pair.key() == Some(block_index::NAME));
        Ok(Footer {
            decoder: FileDecoder::new(Arc::new(schema), footer.version()),
            dictionaries: footer.dictionaries().iter().flatten().copied().collect(),
            blocks: footer.recordBatches().ok_or_else(|| missing("list of batches"))?.iter().copied().collect(),
            index: index.and_then(|pair| BlockIndex::decode(pair.value()?)),
        })
    }
}

fn read_batches(bytes: &Bytes) -> Result<Vec<RecordBatch>, ArrowError> {
    let footer = footer_range(bytes, bytes.len())?;
    let Footer { mut decoder, dictionaries, blocks, index } = Footer::parse(bytes.get(footer).unwrap_or_default())?;
    let file_bytes = Buffer::from(bytes.clone());
    for block in &dictionaries {
        decoder.read_dictionary(block, &block_of(&file_bytes, block)?)?;
    }
    let (mut batches, mut small, mut small_rows, mut small_bytes) = (Vec::new(), Vec::new(), 0, 0);
    for block in &blocks {
        let Some(batch) = decoder.read_record_batch(block, &block_of(&file_bytes, block)?)? else { continue };
        // Batches of a file with an index are small; readers of the complete file get as many rows at a time as for others.
        let bytes = usize::try_from(block.bodyLength()).unwrap_or(usize::MAX);
        let is_full =
            small_rows + batch.num_rows() > ROWS_MAX || bytes.saturating_add(small_bytes) > STATE_SLICE_MAX.bytes;
        if is_full || index.is_none() {
            batches.extend(concat(&mut small)?);
            (small_rows, small_bytes) = (0, 0);
        }
        small_rows += batch.num_rows();
        small_bytes = small_bytes.saturating_add(bytes);
        small.push(batch);
    }
    batches.extend(concat(&mut small)?);
    Ok(batches)
}

/// Combines these batches into one.
fn concat(batches: &mut Vec<RecordBatch>) -> Result<Option<RecordBatch>, ArrowError> {
    let Some(first) = batches.first() else { return Ok(None) };
    let all = if batches.len() == 1 { first.clone() } else { concat_batches(&first.schema(), &*batches)? };
    batches.clear();
    Ok(Some(all))
}

/// Returns the position of a block.
pub fn range_of(block: &Block) -> Option<Range<usize>> {
    let start = usize::try_from(block.offset()).ok()?;
    let metadata = usize::try_from(block.metaDataLength()).ok()?;
    let length = usize::try_from(block.bodyLength()).ok()?.checked_add(metadata)?;
    Some(start..start.checked_add(length)?)
}

/// Returns the bytes of a block if they are within the file.
fn block_of(file_bytes: &Buffer, block: &Block) -> Result<Buffer, ArrowError> {
    let range = range_of(block).filter(|range| range.end <= file_bytes.len());
    let range = range.ok_or_else(|| ArrowError::ParseError("a block lies outside of it".into()))?;
    Ok(file_bytes.slice_with_length(range.start, range.len()))
}

/// Returns the manifest entry of a base of all key groups.
#[cfg(test)]
pub fn base_entry(path: &str, rows: u64, bytes: &Bytes, footer: &str) -> StateFile {
    StateFile {
        path: path.into(),
        batch: millstream_base::ids::BatchId(1),
        group_first: 0,
        group_end: 4096,
        base: true,
        rows,
        bytes: bytes.len() as u64,
        checksum: checksum(bytes),
        footer: footer.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::types::{REMOVED, TOUCHED};
    use arrow::array::{
        ArrayRef, BinaryArray, BooleanArray, DictionaryArray, Float64Array, Int64Array, ListArray, StringArray,
        TimestampMicrosecondArray,
    };
    use arrow::datatypes::{Int32Type, Int64Type};

    fn rows(count: i64) -> RecordBatch {
        let some = |i: i64| (i % 3 != 0).then_some(i);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("key", Arc::new(StringArray::from_iter_values((0..count).map(|i| format!("key {i}"))))),
            ("count", Arc::new(Int64Array::from_iter((0..count).map(some)))),
            ("mean", Arc::new(Float64Array::from_iter((0..count).map(|i| some(i).map(|i| i as f64 / 7.0))))),
            ("raw", Arc::new(BinaryArray::from_iter((0..count).map(|i| some(i).map(|i| i.to_le_bytes()))))),
            (TOUCHED, Arc::new(TimestampMicrosecondArray::from_iter_values(0..count).with_timezone("UTC"))),
            (REMOVED, Arc::new(BooleanArray::from_iter((0..count).map(|i| Some(i % 5 == 0))))),
        ];
        RecordBatch::try_from_iter(columns).expect("columns of one length")
    }

    fn file(bytes: &Bytes, rows: u64) -> StateFile {
        base_entry("state/a.arrow", rows, bytes, "")
    }

    #[test]
    fn what_is_written_is_read() {
        for count in [0, 1, 1000, ROWS_MAX as i64, ROWS_MAX as i64 * 2 + 1] {
            let rows = rows(count);
            let bytes = encode(vec![rows.clone()], None).expect("it encodes").bytes;
            let batches = decode(&file(&bytes, count as u64), &bytes).expect("it decodes");
            assert_eq!(batches.len(), (count as usize).div_ceil(ROWS_MAX));
            assert!(batches.iter().all(|batch| batch.num_rows() <= ROWS_MAX));
            assert_eq!(concat_batches(&rows.schema(), &batches).expect("one schema"), rows);
        }
    }

    #[test]
    fn a_part_of_a_large_table_takes_no_more_room_than_its_rows() {
        let all = rows(100_000);
        let few = encode(vec![all.slice(50_000, 100)], None).expect("it encodes").bytes;
        assert!(few.len() < 20_000, "{}", few.len());
        assert_eq!(decode(&file(&few, 100), &few).expect("it decodes"), [all.slice(50_000, 100)]);
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_noticed() {
        let bytes = encode(vec![rows(3)], None).expect("it encodes").bytes;
        let file_bytes = file(&bytes, 3);
        let truncations = (0..bytes.len()).map(|length| bytes.slice(..length));
        for damaged in truncations.chain(flipped(&bytes)) {
            let message = decode(&file_bytes, &damaged).expect_err("it is damaged").message;
            assert!(message.starts_with("state/a.arrow is damaged: "), "{message}");
        }
        let message = decode(&StateFile { rows: 4, ..file_bytes }, &bytes).expect_err("too few rows").message;
        assert!(message.contains("4 rows and has 3"), "{message}");
    }

    #[test]
    fn hostile_bytes_with_a_fitting_checksum_do_no_harm() {
        let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None]), None]);
        let words: DictionaryArray<Int32Type> = ["a", "b"].into_iter().collect();
        let nested: [(&str, ArrayRef); 2] = [("list", Arc::new(list)), ("word", Arc::new(words))];
        let nested = RecordBatch::try_from_iter(nested).expect("columns of one length");
        for rows in [rows(2), nested] {
            let bytes = encode(vec![rows.clone()], None).expect("it encodes").bytes;
            let good = file(&bytes, 2);
            for damaged in (0..bytes.len()).map(|length| bytes.slice(..length)).chain(flipped(&bytes)) {
                let forged = StateFile { bytes: damaged.len() as u64, checksum: checksum(&damaged), ..good.clone() };
                // It may decode; the result must be usable.
                let _ = decode(&forged, &damaged).map(|batches| format!("{batches:?}"));
            }
        }
    }

    fn flipped(bytes: &Bytes) -> impl Iterator<Item = Bytes> {
        (0..bytes.len() * 8).map(move |bit| {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            damaged.into()
        })
    }
}
