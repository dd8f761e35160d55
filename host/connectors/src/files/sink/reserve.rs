//! Reserves: the rows of one batch in a small file of their own, kept while the parts they belong to are open. A reserve is an Arrow IPC
//! stream after its checksum, as it is the only copy of these committed rows.

use super::Share;
use super::open_part::hidden_dir;
use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::StreamWriter;
use millstream_base::ids::{BatchId, Generation};
use millstream_base::panics::caught;
use std::io;
use xxhash_rust::xxh3::xxh3_64;

/// The first bytes of a reserve. Earlier versions wrote none, and no checksum.
const MAGIC: &[u8; 8] = b"MLSTRSV1";
/// The first bytes of an Arrow IPC stream.
const ARROW_MAGIC: &[u8] = &[0xff; 4];

/// Returns the path of a reserve.
pub fn path(share: Share, generation: Generation, batch: BatchId) -> String {
    format!("{}/{:06}-{:012}.rows", hidden_dir(share), generation.0, batch.0)
}

/// Returns the batch of this run's reserve with this file name.
pub fn batch_of(name: &str, by: Generation) -> Option<BatchId> {
    let batch = name.strip_suffix(".rows")?.strip_prefix(&format!("{:06}-", by.0))?;
    batch.parse().ok().map(BatchId)
}

/// Encodes a reserve.
pub fn bytes_of(rows: &[RecordBatch]) -> io::Result<Vec<u8>> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&[0; 8]);
    if let Some(first) = rows.first() {
        let mut writer = StreamWriter::try_new(bytes, &first.schema()).map_err(io::Error::other)?;
        for part in rows {
            writer.write(part).map_err(io::Error::other)?;
        }
        bytes = writer.into_inner().map_err(io::Error::other)?;
    }
    let (head, body) = bytes.split_at_mut(MAGIC.len() + 8);
    head[MAGIC.len()..].copy_from_slice(&xxh3_64(body).to_le_bytes());
    Ok(bytes)
}

/// Decodes the rows of a reserve. The error says what is wrong with it.
pub fn rows_of(bytes: &[u8]) -> Result<Vec<RecordBatch>, String> {
    let body = match bytes.strip_prefix(MAGIC).and_then(|rest| rest.split_first_chunk()) {
        Some((sum, body)) if xxh3_64(body) == u64::from_le_bytes(*sum) => body,
        None if bytes.starts_with(ARROW_MAGIC) => bytes,
        _ => return Err("its checksum does not match its rows".into()),
    };
    // Some errors in a stream make Arrow panic.
    let rows = caught(|| batches_of(body)).map_err(|_| "its rows cannot be read".to_owned())?;
    rows.map_err(|error| error.to_string())
}

/// Decodes a stream. Allocates memory for the bytes that exist, whatever lengths the stream declares.
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
        let old = &bytes[MAGIC.len() + 8..];
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
