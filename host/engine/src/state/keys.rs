//! Keys of a table, and the slots of their rows.

use arrow::array::ArrayRef;
use arrow::error::ArrowError;
use millstream_rows::batch::keys::{KeyHash, Keys};

/// The index of a row in the table; reused after its key was removed.
pub type Slot = u32;

/// A key outside its table: its hash and its bytes.
pub type OwnedKey = (KeyHash, Box<[u8]>);

/// Returns the hashes of keys: of all of these columns, or of the first `order_columns`.
pub fn hashes_of(columns: &[ArrayRef], keys: &Keys, order_columns: Option<usize>) -> Result<Vec<KeyHash>, ArrowError> {
    match order_columns.and_then(|count| columns.get(..count)) {
        Some(first) if first.len() < columns.len() => Ok(Keys::encode(first, keys.view().rows())?.hashes()),
        _ => Ok(keys.hashes()),
    }
}
