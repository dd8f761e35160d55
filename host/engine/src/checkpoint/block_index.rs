//! The index in the footer of a file of a large table, for looking up rows in place: positions of keys by their hashes, the checksum of each record
//! batch, and a filter of the keys that are missing.

use super::filter::Filter;
use crate::checkpoint::types::TOUCHED;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::error::ArrowError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millstream_rows::batch::keys::{KeyHash, Keys};
use xxhash_rust::xxh3::xxh3_64;

/// The name of the index in the footer's metadata.
pub const NAME: &str = "millstream_index";
/// Words of the header: the number of key columns that are hashed, and the number of blocks. The blocks and the words of the filter follow.
const HEAD_WORDS: usize = 2;
/// Words of a block: the hash of its first key, its checksum, its number of rows, and the oldest touch of a key.
const BLOCK_WORDS: usize = 4;
/// The time of a key that was never touched.
const NEVER: i64 = i64::MIN;

/// The rows of a file by the hashes of their keys, which determine their order.
#[derive(Debug)]
pub struct BlockIndex {
    /// How many of the columns are hashed.
    pub columns: usize,
    /// One entry per record batch.
    pub blocks: Vec<IndexedBlock>,
    /// The filter of all hashes.
    pub filter: Filter,
}

/// The index entry of a record batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexedBlock {
    /// The hash of its first key.
    pub first_hash: u64,
    /// XXH3-64 of its bytes in the file.
    pub checksum: u64,
    /// The number of its rows.
    pub rows: u32,
    /// The oldest touch of a key; `i64::MIN`: some key was never touched.
    pub oldest: i64,
}

impl BlockIndex {
    /// Creates the index of a file of this many rows, ordered by the hashes of this many columns.
    pub fn new(columns: usize, rows: u64) -> BlockIndex {
        BlockIndex { columns, blocks: Vec::new(), filter: Filter::new(rows, 0) }
    }

    /// Adds the next record batch, with its bytes in the file. Returns `false` if its rows are not in order, so that the file cannot have an index.
    pub fn add(&mut self, rows: &RecordBatch, last: &mut KeyHash, bytes: &[u8]) -> Result<bool, ArrowError> {
        let columns = rows.columns().get(..self.columns).unwrap_or_default();
        let hashes = Keys::encode(columns, rows.num_rows())?.hashes();
        for hash in &hashes {
            if hash < last {
                return Ok(false);
            }
            *last = *hash;
            self.filter.add(hash.0);
        }
        let touched = rows.column_by_name(TOUCHED).and_then(|at| at.as_primitive_opt::<TimestampMicrosecondType>());
        let oldest = touched.map_or(i64::MAX, |times| match times.null_count() {
            0 => times.values().iter().copied().min().unwrap_or(i64::MAX),
            _ => NEVER,
        });
        let (first_hash, rows) = (hashes.first().map_or(last.0, |hash| hash.0), rows.num_rows() as u32);
        self.blocks.push(IndexedBlock { first_hash, checksum: xxh3_64(bytes), rows, oldest });
        Ok(true)
    }

    /// Returns the index as a string for [`BlockIndex::decode`].
    pub fn encode(&self) -> String {
        let blocks = self.blocks.iter();
        let blocks =
            blocks.flat_map(|block| [block.first_hash, block.checksum, block.rows.into(), block.oldest as u64]);
        let head = [self.columns as u64, self.blocks.len() as u64];
        let words = head.into_iter().chain(blocks).chain(self.filter.words().iter().copied());
        STANDARD.encode(words.flat_map(u64::to_le_bytes).collect::<Vec<u8>>())
    }

    /// Parses the index; `None` if it is invalid.
    pub fn decode(text: &str) -> Option<BlockIndex> {
        let bytes = STANDARD.decode(text).ok()?;
        let (words, rest) = bytes.as_chunks();
        let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let (head, words) = words.split_at_checked(HEAD_WORDS)?;
        let [columns, blocks] = head.try_into().ok()?;
        let blocks = usize::try_from(blocks).ok()?.checked_mul(BLOCK_WORDS)?;
        let (blocks, filter) = words.split_at_checked(blocks)?;
        let block = |[first_hash, checksum, rows, oldest]: &[u64; BLOCK_WORDS]| {
            let (rows, oldest) = (u32::try_from(*rows).ok()?, *oldest as i64);
            Some(IndexedBlock { first_hash: *first_hash, checksum: *checksum, rows, oldest })
        };
        let blocks: Vec<IndexedBlock> = blocks.as_chunks().0.iter().map(block).collect::<Option<_>>()?;
        let is_in_order = blocks.is_sorted_by_key(|block| block.first_hash) && rest.is_empty();
        let (columns, filter) = (usize::try_from(columns).ok()?, Filter::from_blocks(filter)?);
        is_in_order.then_some(BlockIndex { columns, blocks, filter })
    }
}
