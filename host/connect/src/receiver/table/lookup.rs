//! A table with an index by its key.

use super::content;
use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::error::ArrowError;
use arrow::util::display::array_value_to_string;
use bytes::Bytes;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use millstream_job::spec::EnrichSpec;
use millstream_rows::batch::keys::{self, Keys, TableSeeds};

/// A table in memory.
pub struct Lookup {
    rows: RecordBatch,
    keys: Keys,
    hashes: Vec<u64>,
    seeds: TableSeeds,
    index: HashTable<u32>,
}

impl Lookup {
    /// Reads a table. The error says what is wrong with the content: it does not decode, lacks a column, or has two rows of
    /// one key.
    pub fn read(enrich: &EnrichSpec, content: &Bytes) -> Result<Lookup, String> {
        let rows = content::rows(enrich, content)?;
        let mut columns: Vec<ArrayRef> = Vec::new();
        for (_, name) in &enrich.on {
            let column = rows.column_by_name(name);
            columns.push(column.cloned().ok_or_else(|| format!("the table has no column `{name}`"))?);
        }
        let keys = Keys::encode(&columns, rows.num_rows()).map_err(|error| error.to_string())?;
        let (view, seeds) = (keys.view(), TableSeeds::default());
        let hashes: Vec<u64> = (0..rows.num_rows()).map(|row| seeds.hash(view.get(row))).collect();
        let mut index = HashTable::with_capacity(rows.num_rows());
        for (row, hash) in (0_u32..).zip(&hashes) {
            // A null is equal to nothing.
            if columns.iter().any(|column| column.is_null(row as usize)) {
                continue;
            }
            let key = view.get(row as usize);
            let same = |other: &u32| keys::equal(view.get(*other as usize), key);
            match index.entry(*hash, same, |row| hashes.get(*row as usize).copied().unwrap_or_default()) {
                Entry::Vacant(vacant) => drop(vacant.insert(row)),
                Entry::Occupied(first) => {
                    let cell = |column: &ArrayRef| array_value_to_string(column, row as usize).unwrap_or_default();
                    let key = columns.iter().map(cell).collect::<Vec<_>>().join(", ");
                    let (first, second) = (first.get() + 1, row + 1);
                    return Err(format!(
                        "rows {first} and {second} have the same key, `{key}`; keys must be unique, so remove one"
                    ));
                }
            }
        }
        Ok(Lookup { rows, keys, hashes, seeds, index })
    }

    /// The table's rows.
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// Returns the row of the table for each row with these key columns; null if there is none.
    pub fn find(&self, columns: &[ArrayRef], rows: usize) -> Result<UInt32Array, ArrowError> {
        let wanted = Keys::encode(columns, rows)?;
        let (wanted, own) = (wanted.view(), self.keys.view());
        let find = |row: usize| {
            if columns.iter().any(|column| column.is_null(row)) {
                return None;
            }
            let key = wanted.get(row);
            let hash = self.seeds.hash(key);
            let same = |other: &u32| {
                self.hashes.get(*other as usize) == Some(&hash) && keys::equal(own.get(*other as usize), key)
            };
            self.index.find(hash, same).copied()
        };
        Ok((0..rows).map(find).collect())
    }
}
