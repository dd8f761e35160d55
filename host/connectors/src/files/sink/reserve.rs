//! The rows of one batch in a small file of their own, as long as parts are open that they belong to: a stream of Arrow IPC behind
//! its checksum, as these rows are committed and nowhere else.

use super::Share;
use super::open_part::hidden_folder;
use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::StreamWriter;
use millstream_base::ids::{BatchId, Generation};
use millstream_base::panics::caught;
use std::io;
use xxhash_rust::xxh3::xxh3_64;

/// What a reserve begins with. One without it is of an earlier version, which had no checksum.
const BEGIN: &[u8; 8] = b"MLSTRSV1";
/// What such a stream begins with.
const OF_ARROW: &[u8] = &[0xff; 4];

/// Where it is.
pub fn path(share: Share, generation: Generation, batch: BatchId) -> String {
    format!("{}/{:06}-{:012}.rows", hidden_folder(share), generation.0, batch.0)
}

/// The batch of a reserve of this start, by its name within its folder.
pub fn batch_of(name: &str, by: Generation) -> Option<BatchId> {
    let batch = name.strip_suffix(".rows")?.strip_prefix(&format!("{:06}-", by.0))?;
    batch.parse().ok().map(BatchId)
}

/// What it holds.
pub fn bytes_of(rows: &[RecordBatch]) -> io::Result<Vec<u8>> {
    let mut bytes = BEGIN.to_vec();
    bytes.extend_from_slice(&[0; 8]);
    if let Some(first) = rows.first() {
        let mut writer = StreamWriter::try_new(bytes, &first.schema()).map_err(io::Error::other)?;
        for part in rows {
            writer.write(part).map_err(io::Error::other)?;
        }
        bytes = writer.into_inner().map_err(io::Error::other)?;
    }
    let (head, body) = bytes.split_at_mut(BEGIN.len() + 8);
    head[BEGIN.len()..].copy_from_slice(&xxh3_64(body).to_le_bytes());
    Ok(bytes)
}

/// The rows in it. The error says what is wrong with it.
pub fn rows_of(bytes: &[u8]) -> Result<Vec<RecordBatch>, String> {
    let body = match bytes.strip_prefix(BEGIN).and_then(|rest| rest.split_first_chunk()) {
        Some((sum, body)) if xxh3_64(body) == u64::from_le_bytes(*sum) => body,
        None if bytes.starts_with(OF_ARROW) => bytes,
        _ => return Err("its checksum is not that of its rows".into()),
    };
    // Some mistakes in a stream make Arrow panic rather than tell.
    let rows = caught(|| batches_of(body)).map_err(|_| "its rows cannot be read".to_owned())?;
    rows.map_err(|error| error.to_string())
}

/// Takes memory for what is there, whatever lengths the stream tells.
fn batches_of(stream: &[u8]) -> Result<Vec<RecordBatch>, ArrowError> {
    let (mut decoder, mut left, mut batches) = (StreamDecoder::new(), Buffer::from(stream), Vec::new());
    while let Some(batch) = decoder.decode(&mut left)? {
        batches.push(batch);
    }
    decoder.finish()?;
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn no_bit_of_a_reserve_can_change_unseen() {
        let columns: [(&str, ArrayRef); 2] = [
            ("n", Arc::new(Int64Array::from(vec![1, 2, 3]))),
            ("word", Arc::new(StringArray::from(vec![Some("a"), None, Some("bc")]))),
        ];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let bytes = bytes_of(&[rows.clone(), rows.slice(1, 1)]).unwrap();
        assert_eq!(rows_of(&bytes).unwrap(), [rows.clone(), rows.slice(1, 1)]);
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(rows_of(&other).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(rows_of(&bytes[..length]).is_err(), "{length} bytes");
        }
        // As an earlier version wrote it.
        let old = &bytes[BEGIN.len() + 8..];
        assert_eq!(rows_of(old).unwrap().len(), 2);
        for byte in 4..old.len() {
            let mut other = old.to_vec();
            other[byte] ^= 0x40;
            let _ = rows_of(&other);
        }
    }

    #[test]
    fn reserves_are_told_by_their_names() {
        let path = path(Some(3), Generation(7), BatchId(12));
        let name = path.rsplit('/').next().unwrap();
        assert_eq!(batch_of(name, Generation(7)), Some(BatchId(12)));
        assert_eq!(batch_of(name, Generation(8)), None);
    }
}
