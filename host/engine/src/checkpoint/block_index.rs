//! What a file of a large table has in its footer, so that rows of it can be looked up where they lie: where keys are by their
//! hashes, the checksum of each record batch, and a filter that tells which keys are not there.

use super::filter::Filter;
use crate::checkpoint::types::TOUCHED;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::error::ArrowError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millstream_base::batch::keys::{KeyHash, Keys};
use xxhash_rust::xxh3::xxh3_64;

/// The name of the index among the footer's metadata.
pub const NAME: &str = "millstream_index";
/// Of its bytes: how many key columns the hashes are of, how many blocks there are, the blocks, and the words of the filter.
const HEAD_WORDS: usize = 2;
/// Of a block: the hash of its first key, its checksum, its rows, and when the key was touched that was touched first.
const BLOCK_WORDS: usize = 4;
/// When a key was touched that never was.
const NEVER: i64 = i64::MIN;

/// The rows of a file by the hashes of their keys, in whose order they are.
#[derive(Debug)]
pub struct BlockIndex {
    /// How many of the columns the hashes are of.
    pub columns: usize,
    /// One for each record batch.
    pub blocks: Vec<IndexedBlock>,
    /// Of all hashes.
    pub filter: Filter,
}

/// What is known of a record batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexedBlock {
    /// The hash of its first key.
    pub first_hash: u64,
    /// XXH3-64 of its bytes in the file.
    pub checksum: u64,
    /// How many rows it has.
    pub rows: u32,
    /// When the key was touched that was touched first; `i64::MIN`: some never was.
    pub oldest: i64,
}

impl BlockIndex {
    /// Of a file of so many rows, whose order is that of the hashes of so many columns.
    pub fn new(columns: usize, rows: u64) -> BlockIndex {
        BlockIndex { columns, blocks: Vec::new(), filter: Filter::new(rows, 0) }
    }

    /// Adds the next record batch, which are these bytes of the file. `false`: its rows are not in order, so the file can have no
    /// index.
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

    /// The index as text, as [`BlockIndex::decode`] takes it.
    pub fn encode(&self) -> String {
        let blocks = self.blocks.iter();
        let blocks =
            blocks.flat_map(|block| [block.first_hash, block.checksum, block.rows.into(), block.oldest as u64]);
        let head = [self.columns as u64, self.blocks.len() as u64];
        let words = head.into_iter().chain(blocks).chain(self.filter.words().iter().copied());
        STANDARD.encode(words.flat_map(u64::to_le_bytes).collect::<Vec<u8>>())
    }

    /// The index of this text; `None` where it is none.
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
        let (columns, filter) = (usize::try_from(columns).ok()?, Filter::of_words(filter)?);
        is_in_order.then_some(BlockIndex { columns, blocks, filter })
    }
}
