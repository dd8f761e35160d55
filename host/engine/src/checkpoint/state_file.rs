//! Files of state tables: Arrow IPC files, as pyarrow, Polars and DuckDB read them, checked by checksum.
//!
//! Columns: the key, the state, [`TOUCHED`] where the stage has a timeout, and [`REMOVED`]. Rows are in the order of the
//! hashes of their keys; each key is there once.

use super::types::StateFile;
use crate::digest::checksum;
use crate::error::{Error, Result};
use crate::limits::STATE_SLICE_MAX;
use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::error::ArrowError;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::{FileDecoder, read_footer_length};
use arrow::ipc::writer::FileWriter;
use arrow::ipc::{Block, root_as_footer};
use bytes::Bytes;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// When the key last had rows: a timestamp, in microseconds.
pub const TOUCHED: &str = "millstream_touched";
/// Whether the key's state was removed: a boolean. Such a row has no state.
pub const REMOVED: &str = "millstream_removed";

/// Rows of one record batch of a file.
const ROWS_MAX: usize = STATE_SLICE_MAX.rows;
/// Bytes at the end of a file: the footer's length and the format's mark.
const TRAILER_BYTES: usize = 10;

/// A file with these rows, of which there is at least one slice. Each slice is given up when it is in the file.
pub fn encode(slices: Vec<RecordBatch>) -> Result<Bytes> {
    let Some(first) = slices.first() else { return Err(Error::bug("a file of a state table without a slice")) };
    let schema = first.schema();
    let mut bytes = Vec::with_capacity(slices.iter().map(RecordBatch::get_array_memory_size).sum());
    let mut writer = FileWriter::try_new(&mut bytes, &schema).map_err(Error::arrow)?;
    for rows in slices {
        for start in (0..rows.num_rows()).step_by(ROWS_MAX) {
            let part = rows.slice(start, ROWS_MAX.min(rows.num_rows() - start));
            writer.write(&part).map_err(Error::arrow)?;
        }
    }
    writer.finish().map_err(Error::arrow)?;
    drop(writer);
    Ok(bytes.into())
}

/// The rows of a file, after its length and checksum were compared with what the manifest says.
pub fn decode(file: &StateFile, bytes: &Bytes) -> Result<Vec<RecordBatch>> {
    let damaged = |why: &dyn fmt::Display| {
        Error::environment(format!(
            "{} is damaged: {why}. Restore it from a copy, or go back to an older checkpoint with `--resume-from`",
            file.path
        ))
    };
    if bytes.len() as u64 != file.bytes {
        return Err(damaged(&format_args!("it should have {} bytes and has {}", file.bytes, bytes.len())));
    }
    if checksum(bytes) != file.checksum {
        return Err(damaged(&"its checksum is not the one that the manifest tells"));
    }
    let batches = decode_unchecked(bytes).map_err(|error| damaged(&error))?;
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if rows as u64 != file.rows {
        return Err(damaged(&format_args!("it should have {} rows and has {rows}", file.rows)));
    }
    Ok(batches)
}

/// The rows of a file of which nothing is known. Some mistakes in a file make Arrow panic rather than tell.
fn decode_unchecked(bytes: &Bytes) -> Result<Vec<RecordBatch>, ArrowError> {
    let panicked = |_| Err(ArrowError::ParseError("it is not an Arrow file that can be read".into()));
    catch_unwind(AssertUnwindSafe(|| read_batches(bytes))).unwrap_or_else(panicked)
}

fn read_batches(bytes: &Bytes) -> Result<Vec<RecordBatch>, ArrowError> {
    let short = || ArrowError::ParseError("it is too short for its own footer".into());
    let footer_end = bytes.len().checked_sub(TRAILER_BYTES).ok_or_else(short)?;
    let trailer = bytes.get(footer_end..).and_then(|trailer| trailer.try_into().ok()).ok_or_else(short)?;
    let footer_start = footer_end.checked_sub(read_footer_length(trailer)?).ok_or_else(short)?;
    let footer = bytes.get(footer_start..footer_end).ok_or_else(short)?;
    let footer = root_as_footer(footer).map_err(|error| ArrowError::ParseError(error.to_string()))?;
    let missing = |what: &str| ArrowError::ParseError(format!("its footer has no {what}"));
    let schema = fb_to_schema(footer.schema().ok_or_else(|| missing("schema"))?);
    let mut decoder = FileDecoder::new(Arc::new(schema), footer.version());
    let whole = Buffer::from(bytes.clone());
    for block in footer.dictionaries().iter().flatten() {
        decoder.read_dictionary(block, &block_of(&whole, block)?)?;
    }
    let mut batches = Vec::new();
    for block in footer.recordBatches().ok_or_else(|| missing("list of batches"))? {
        batches.extend(decoder.read_record_batch(block, &block_of(&whole, block)?)?);
    }
    Ok(batches)
}

/// The bytes of a block, where they lie within the file.
fn block_of(whole: &Buffer, block: &Block) -> Result<Buffer, ArrowError> {
    let range = || {
        let start = usize::try_from(block.offset()).ok()?;
        let metadata = usize::try_from(block.metaDataLength()).ok()?;
        let length = usize::try_from(block.bodyLength()).ok()?.checked_add(metadata)?;
        (start.checked_add(length)? <= whole.len()).then_some((start, length))
    };
    let (start, length) = range().ok_or_else(|| ArrowError::ParseError("a block lies outside of it".into()))?;
    Ok(whole.slice_with_length(start, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::BatchId;
    use arrow::array::{
        ArrayRef, BinaryArray, BooleanArray, DictionaryArray, Float64Array, Int64Array, ListArray, StringArray,
        TimestampMicrosecondArray,
    };
    use arrow::compute::concat_batches;
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
        StateFile {
            path: "state/a.arrow".into(),
            batch: BatchId(1),
            group_first: 0,
            group_end: 4096,
            base: true,
            rows,
            bytes: bytes.len() as u64,
            checksum: checksum(bytes),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for count in [0, 1, 1000, ROWS_MAX as i64, ROWS_MAX as i64 * 2 + 1] {
            let rows = rows(count);
            let bytes = encode(vec![rows.clone()]).expect("it encodes");
            let batches = decode(&file(&bytes, count as u64), &bytes).expect("it decodes");
            assert_eq!(batches.len(), (count as usize).div_ceil(ROWS_MAX));
            assert!(batches.iter().all(|batch| batch.num_rows() <= ROWS_MAX));
            assert_eq!(concat_batches(&rows.schema(), &batches).expect("one schema"), rows);
        }
    }

    #[test]
    fn a_part_of_a_large_table_takes_no_more_room_than_its_rows() {
        let all = rows(100_000);
        let few = encode(vec![all.slice(50_000, 100)]).expect("it encodes");
        assert!(few.len() < 20_000, "{}", few.len());
        assert_eq!(decode(&file(&few, 100), &few).expect("it decodes"), [all.slice(50_000, 100)]);
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_noticed() {
        let bytes = encode(vec![rows(3)]).expect("it encodes");
        let whole = file(&bytes, 3);
        let truncations = (0..bytes.len()).map(|length| bytes.slice(..length));
        for damaged in truncations.chain(flipped(&bytes)) {
            let message = decode(&whole, &damaged).expect_err("it is damaged").message;
            assert!(message.starts_with("state/a.arrow is damaged: "), "{message}");
        }
        let message = decode(&StateFile { rows: 4, ..whole }, &bytes).expect_err("too few rows").message;
        assert!(message.contains("4 rows and has 3"), "{message}");
    }

    #[test]
    fn hostile_bytes_with_a_fitting_checksum_do_no_harm() {
        let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None]), None]);
        let words: DictionaryArray<Int32Type> = ["a", "b"].into_iter().collect();
        let nested: [(&str, ArrayRef); 2] = [("list", Arc::new(list)), ("word", Arc::new(words))];
        let nested = RecordBatch::try_from_iter(nested).expect("columns of one length");
        for rows in [rows(2), nested] {
            let bytes = encode(vec![rows.clone()]).expect("it encodes");
            let good = file(&bytes, 2);
            for damaged in (0..bytes.len()).map(|length| bytes.slice(..length)).chain(flipped(&bytes)) {
                let forged = StateFile { bytes: damaged.len() as u64, checksum: checksum(&damaged), ..good.clone() };
                // It may well decode; what it decodes to must be usable.
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
