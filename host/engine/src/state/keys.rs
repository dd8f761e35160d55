//! Keys of a table, and the places of their rows.

use arrow::array::ArrayRef;
use arrow::error::ArrowError;
use millstream_base::batch::keys::{KeyHash, Keys};

/// A place in the table; reused after its key was removed.
pub type Slot = u32;

/// A key outside of its table: its hash and its bytes.
pub type OwnedKey = (KeyHash, Box<[u8]>);

/// The hashes of keys, which are those of these columns or of so many of them.
pub fn hashes_of(columns: &[ArrayRef], keys: &Keys, order_columns: Option<usize>) -> Result<Vec<KeyHash>, ArrowError> {
    match order_columns.and_then(|count| columns.get(..count)) {
        Some(first) if first.len() < columns.len() => Ok(Keys::encode(first, keys.view().rows())?.hashes()),
        _ => Ok(keys.hashes()),
    }
}
