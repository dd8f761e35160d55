//! Key columns: their bytes, their hash, and the worker that owns a key.

mod nested;

pub use nested::{bytes_of, canonical_column, has_floats, of_bytes};

use crate::batch::types::ColumnType;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array,
    StringArray, TimestampMicrosecondArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Field, Float64Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, LazyLock};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Number of key groups, the unit in which keys are assigned to workers.
pub const KEY_GROUPS: u64 = 4096;
/// Number of hash bits below the key group.
pub const GROUP_SHIFT: u32 = 64 - KEY_GROUPS.ilog2();

/// The hash of a key's bytes. It decides the key group and the order of keyed output, so it is the same on every machine and must never change. Two
/// rounds of folded multiplication (as wyhash and rapidhash mix) for the [`ShortKey`] of at most 16 bytes, XXH3 for longer ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub u64);

impl KeyHash {
    /// Hashes a key's bytes.
    pub fn new(key: &[u8]) -> KeyHash {
        ShortKey::new(key).map_or_else(|| KeyHash(xxh3_64(key)), |short| short.hash(key.len()))
    }

    /// Returns the key group: the upper 12 bits.
    pub fn group(self) -> u64 {
        self.0 >> GROUP_SHIFT
    }

    /// Returns the worker that owns the key. Workers own ranges of key groups, so that their concatenated outputs are in the order of hashes for any
    /// number of workers.
    pub fn worker(self, peers: usize) -> usize {
        (self.group() * peers as u64 / KEY_GROUPS) as usize
    }
}

/// Returns the key groups of a worker, as [`KeyHash::worker`] assigns them: the first, and the end (exclusive).
pub fn group_range(worker: usize, peers: usize) -> (u32, u32) {
    let peers = (peers as u64).max(1);
    let begin = |worker: u64| (worker.min(peers) * KEY_GROUPS).div_ceil(peers) as u32;
    (begin(worker as u64), begin(worker as u64 + 1))
}

/// Seeds of hash tables, random per process: senders of keys cannot know which of them collide. [`KeyHash`] has no seed, as it decides order and
/// workers and never changes. Nothing that leaves a table depends on these seeds.
#[derive(Clone, Copy, Debug)]
pub struct TableSeeds([u64; 4]);

impl Default for TableSeeds {
    fn default() -> TableSeeds {
        static SEEDS: LazyLock<[u64; 4]> = LazyLock::new(|| {
            let random = RandomState::new();
            [0, 1, 2, 3].map(|index: u64| random.hash_one(index))
        });
        TableSeeds(*SEEDS)
    }
}

impl TableSeeds {
    /// Returns the hash of a key in a table.
    #[inline]
    pub fn hash(self, key: &[u8]) -> u64 {
        let TableSeeds([a, b, c, d]) = self;
        let length = key.len() as u64;
        let (first, last) = match key.len() {
            0 => (0, 0),
            1..4 => (u64::from(key[0]), u64::from(key[key.len() / 2]) << 8 | u64::from(key[key.len() - 1])),
            4..8 => {
                let word = |bytes: Option<&[u8; 4]>| bytes.map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)));
                (word(key.first_chunk()), word(key.last_chunk()))
            }
            8..=16 => {
                let word = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
                (word(key.first_chunk()), word(key.last_chunk()))
            }
            _ => return xxh3_64_with_seed(key, a),
        };
        fold(fold(first ^ a, last ^ b ^ length) ^ c, d ^ length)
    }
}

/// Combines both halves of a product.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// The keys of rows as byte strings: equal keys have equal bytes. A single text column is its own encoding and is not copied.
pub struct Keys {
    offsets: ScalarBuffer<i32>,
    data: Buffer,
}

/// A null in a single text column: a byte that UTF-8 never contains.
const NULL_TEXT: &[u8] = &[0xff];

impl Keys {
    /// Encodes the keys of all rows. The columns' types are [kept](ColumnType::is_kept); `rows` is their length.
    pub fn encode(columns: &[ArrayRef], rows: usize) -> Result<Keys, ArrowError> {
        match columns {
            [only] if only.data_type() == &DataType::Utf8 && only.null_count() == 0 => {
                let text = only.as_string::<i32>();
                Ok(Keys { offsets: text.offsets().inner().clone(), data: text.values().clone() })
            }
            [only] if only.data_type() == &DataType::Utf8 => {
                let text = only.as_string::<i32>();
                Keys::build(rows, |row, out| {
                    out.extend_from_slice(if text.is_null(row) { NULL_TEXT } else { text.value(row).as_bytes() });
                })
            }
            _ => {
                let writers = columns.iter().map(|column| writer(column, canonical)).collect::<Result<Vec<_>, _>>()?;
                Keys::build(rows, |row, out| writers.iter().for_each(|write| write(row, out)))
            }
        }
    }

    fn build(rows: usize, mut write: impl FnMut(usize, &mut Vec<u8>)) -> Result<Keys, ArrowError> {
        let mut data = Vec::with_capacity(rows * 10);
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        for row in 0..rows {
            write(row, &mut data);
            offsets.push(i32::try_from(data.len()).map_err(|_| ArrowError::OffsetOverflowError(data.len()))?);
        }
        Ok(Keys { offsets: offsets.into(), data: Buffer::from_vec(data) })
    }

    /// Returns the keys for loops over rows.
    pub fn view(&self) -> KeysView<'_> {
        KeysView { offsets: &self.offsets, data: &self.data }
    }

    /// Returns the hash of each row's key.
    pub fn hashes(&self) -> Vec<KeyHash> {
        let keys = self.view();
        (0..keys.rows()).map(|row| keys.short(row).1).collect()
    }
}

/// Size of the integer or time at the end of a key whose last column has such a type.
pub const NUMBER_BYTES: usize = size_of::<i64>();

/// Returns the number, or the time in microseconds, at the end of a key. Its last column must have such a type and never be null.
pub fn last_number(key: &[u8]) -> i64 {
    number_before(key, 0)
}

/// Returns the same of a column that is followed by `numbers` integer columns that are never null.
pub fn number_before(key: &[u8], numbers: usize) -> i64 {
    // Each of these is preceded by a byte that says that there is a value.
    let start = key.len().checked_sub(NUMBER_BYTES + numbers * (1 + NUMBER_BYTES));
    let bytes = start.and_then(|start| key.get(start..)).and_then(<[u8]>::first_chunk);
    bytes.map_or(i64::MIN, |bytes| i64::from_le_bytes(*bytes))
}

/// A key of at most 16 bytes as a number, padded with zeros. With the key's length it represents the complete key, so that short keys are hashed and
/// compared without a branch on their length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortKey(u128);

/// Masks of the key's bytes within 16 bytes, by the key's length.
const SHORT_MASKS: [u128; 17] = {
    let mut masks = [0; 17];
    let mut bytes = 1;
    while bytes <= 16 {
        masks[bytes] = u128::MAX >> (128 - 8 * bytes);
        bytes += 1;
    }
    masks
};

impl ShortKey {
    /// Maximum length.
    pub const BYTES_MAX: usize = 16;

    /// Returns the short key; `None` if the key is longer than 16 bytes.
    pub fn new(key: &[u8]) -> Option<ShortKey> {
        let mut bytes = [0; 16];
        bytes.get_mut(..key.len())?.copy_from_slice(key);
        Some(ShortKey(u128::from_le_bytes(bytes)))
    }

    /// Returns the hash of a key of this length.
    #[inline]
    fn hash(self, length: usize) -> KeyHash {
        // Digits of pi: numbers without a pattern.
        const SEEDS: [u64; 3] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0];
        let mixed = fold(self.0 as u64 ^ SEEDS[0], (self.0 >> 64) as u64 ^ SEEDS[1] ^ length as u64);
        KeyHash(fold(mixed ^ SEEDS[2], SEEDS[0] ^ length as u64))
    }
}

/// Keys as plain slices: the content of [`Keys`], without a call into another crate for every row.
#[derive(Clone, Copy)]
pub struct KeysView<'a> {
    offsets: &'a [i32],
    data: &'a [u8],
}

impl<'a> KeysView<'a> {
    /// Returns the number of rows.
    pub fn rows(self) -> usize {
        self.offsets.len() - 1
    }

    /// Returns the bytes of a row's key.
    #[inline]
    pub fn get(self, row: usize) -> &'a [u8] {
        &self.data[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }
}

impl KeysView<'_> {
    /// Returns a row's key as a short key (meaningless if the key is longer than that), and its hash.
    #[inline]
    pub fn short(self, row: usize) -> (ShortKey, KeyHash) {
        let (short, key) = (self.short_key(row), self.get(row));
        let is_short = key.len() <= ShortKey::BYTES_MAX;
        (short, if is_short { short.hash(key.len()) } else { KeyHash(xxh3_64(key)) })
    }

    /// Returns a row's key as a short key (meaningless if the key is longer than that).
    #[inline]
    pub fn short_key(self, row: usize) -> ShortKey {
        let key = self.get(row);
        if key.len() > ShortKey::BYTES_MAX {
            return ShortKey(0);
        }
        // The bytes after the key are readable, except for the last keys; they are masked off.
        let start = self.offsets[row] as usize;
        match self.data.get(start..).and_then(|rest| rest.first_chunk()) {
            Some(bytes) => ShortKey(u128::from_le_bytes(*bytes) & SHORT_MASKS[key.len()]),
            None => ShortKey::new(key).unwrap_or(ShortKey(0)),
        }
    }
}

/// Returns whether two keys are equal. Most keys are short; for these, two overlapping loads are faster than a call of `memcmp`.
#[inline]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match a.len() {
        0 => true,
        1..4 => a[0] == b[0] && a[a.len() / 2] == b[a.len() / 2] && a[a.len() - 1] == b[a.len() - 1],
        4..8 => a.first_chunk::<4>() == b.first_chunk::<4>() && a.last_chunk::<4>() == b.last_chunk::<4>(),
        8..=16 => a.first_chunk::<8>() == b.first_chunk::<8>() && a.last_chunk::<8>() == b.last_chunk::<8>(),
        _ => a == b,
    }
}

type KeyWriter<'a> = Box<dyn Fn(usize, &mut Vec<u8>) + 'a>;

/// Returns a function that appends one column's share of a row's key. That is a byte that says whether there is a value, then the value; text and
/// binary have their length in front. `float` maps a float to the one that represents it.
fn writer(column: &ArrayRef, float: fn(f64) -> f64) -> Result<KeyWriter<'_>, ArrowError> {
    fn sized(bytes: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(bytes);
    }
    Ok(match ColumnType::from_arrow(column.data_type()) {
        ColumnType::Bool => {
            let values = column.as_boolean();
            nullable(column, move |row, out| out.push(u8::from(values.value(row))))
        }
        ColumnType::Int64 => {
            let values = column.as_primitive::<Int64Type>();
            nullable(column, move |row, out| out.extend_from_slice(&values.value(row).to_le_bytes()))
        }
        ColumnType::Timestamp => {
            let values = column.as_primitive::<TimestampMicrosecondType>();
            nullable(column, move |row, out| out.extend_from_slice(&values.value(row).to_le_bytes()))
        }
        ColumnType::Float64 => {
            let values = column.as_primitive::<Float64Type>();
            nullable(column, move |row, out| out.extend_from_slice(&float(values.value(row)).to_le_bytes()))
        }
        ColumnType::Text => {
            let values = column.as_string::<i32>();
            nullable(column, move |row, out| sized(values.value(row).as_bytes(), out))
        }
        ColumnType::Binary => {
            let values = column.as_binary::<i32>();
            nullable(column, move |row, out| sized(values.value(row), out))
        }
        ColumnType::Arrow(DataType::Date32) => {
            let values = column.as_primitive::<Date32Type>();
            nullable(column, move |row, out| out.extend_from_slice(&values.value(row).to_le_bytes()))
        }
        ColumnType::Arrow(DataType::Decimal128(..)) => {
            let values = column.as_primitive::<Decimal128Type>();
            nullable(column, move |row, out| out.extend_from_slice(&values.value(row).to_le_bytes()))
        }
        ColumnType::Arrow(_) => nested::writer(column, float)?,
    })
}

fn nullable<'a>(column: &'a ArrayRef, write: impl Fn(usize, &mut Vec<u8>) + 'a) -> KeyWriter<'a> {
    Box::new(move |row, out| {
        let valid = column.is_valid(row);
        out.push(u8::from(valid));
        if valid {
            write(row, out);
        }
    })
}

/// Maps minus zero to zero and all NaNs to one, as each of these is one key.
fn canonical(value: f64) -> f64 {
    if value == 0.0 {
        0.0
    } else if value.is_nan() {
        f64::NAN
    } else {
        value
    }
}

/// Rebuilds key columns from keys' bytes. `fields` are the columns that were encoded.
pub fn decode<'a>(
    fields: &[Arc<Field>],
    keys: impl Iterator<Item = &'a [u8]> + Clone,
) -> Result<Vec<ArrayRef>, ArrowError> {
    if let [only] = fields
        && only.data_type() == &DataType::Utf8
    {
        check_bytes(keys.clone().map(<[u8]>::len))?;
        let values: StringArray =
            keys.map(|key| if key == NULL_TEXT { None } else { std::str::from_utf8(key).ok() }).collect();
        return Ok(vec![Arc::new(values)]);
    }
    let mut rest: Vec<&[u8]> = keys.collect();
    fields.iter().map(|field| decode_column(field, &mut rest)).collect()
}

/// Takes one column from the front of each key.
fn decode_column(field: &Field, rest: &mut [&[u8]]) -> Result<ArrayRef, ArrowError> {
    if matches!(field.data_type(), DataType::Struct(_) | DataType::List(_)) {
        return nested::decode(field, rest);
    }
    let damaged =
        || ArrowError::InvalidArgumentError(format!("the stored key of column `{}` is damaged", field.name()));
    let mut values: Vec<Option<&[u8]>> = Vec::with_capacity(rest.len());
    for key in rest.iter_mut() {
        let (valid, after) = key.split_first().ok_or_else(damaged)?;
        *key = after;
        let width = match (valid, ColumnType::from_arrow(field.data_type())) {
            (0, _) => {
                values.push(None);
                continue;
            }
            (_, ColumnType::Bool) => 1,
            (_, ColumnType::Arrow(DataType::Date32)) => 4,
            (_, ColumnType::Arrow(DataType::Decimal128(..))) => 16,
            (_, ColumnType::Text | ColumnType::Binary) => {
                let (length, after) = key.split_first_chunk::<4>().ok_or_else(damaged)?;
                *key = after;
                u32::from_le_bytes(*length) as usize
            }
            _ => 8,
        };
        let (value, after) = key.split_at_checked(width).ok_or_else(damaged)?;
        *key = after;
        values.push(Some(value));
    }
    if matches!(ColumnType::from_arrow(field.data_type()), ColumnType::Text | ColumnType::Binary) {
        check_bytes(values.iter().map(|value| value.map_or(0, <[u8]>::len)))?;
    }
    let word = |value: &[u8]| -> [u8; 8] { value.try_into().unwrap_or_default() };
    Ok(match ColumnType::from_arrow(field.data_type()) {
        ColumnType::Bool => Arc::new(values.iter().map(|v| v.map(|v| v == [1])).collect::<BooleanArray>()),
        ColumnType::Int64 => {
            Arc::new(values.iter().map(|v| v.map(|v| i64::from_le_bytes(word(v)))).collect::<Int64Array>())
        }
        ColumnType::Float64 => {
            Arc::new(values.iter().map(|v| v.map(|v| f64::from_le_bytes(word(v)))).collect::<Float64Array>())
        }
        ColumnType::Timestamp => Arc::new(
            values
                .iter()
                .map(|v| v.map(|v| i64::from_le_bytes(word(v))))
                .collect::<TimestampMicrosecondArray>()
                .with_timezone("UTC"),
        ),
        ColumnType::Binary => Arc::new(values.into_iter().collect::<BinaryArray>()),
        ColumnType::Text => {
            Arc::new(values.into_iter().map(|v| v.and_then(|v| std::str::from_utf8(v).ok())).collect::<StringArray>())
        }
        ColumnType::Arrow(DataType::Date32) => {
            let day = |value: &[u8]| i32::from_le_bytes(value.try_into().unwrap_or_default());
            Arc::new(values.iter().map(|v| v.map(day)).collect::<Date32Array>())
        }
        ColumnType::Arrow(kind @ DataType::Decimal128(..)) => {
            let number = |value: &[u8]| i128::from_le_bytes(value.try_into().unwrap_or_default());
            Arc::new(values.iter().map(|v| v.map(number)).collect::<Decimal128Array>().with_data_type(kind))
        }
        ColumnType::Arrow(_) => return Err(damaged()),
    })
}

/// Returns an offset buffer for these lengths, for variable-length columns that are gathered by hand. Fails if one column cannot hold them.
pub fn offsets_of(lengths: impl Iterator<Item = usize> + Clone) -> Result<OffsetBuffer<i32>, ArrowError> {
    check_bytes(lengths.clone())?;
    Ok(OffsetBuffer::from_lengths(lengths))
}

/// Fails if values of these lengths exceed one column, whose offsets have 32 bits.
fn check_bytes(lengths: impl Iterator<Item = usize>) -> Result<(), ArrowError> {
    let bytes = lengths.fold(0_usize, usize::saturating_add);
    if i32::try_from(bytes).is_ok() { Ok(()) } else { Err(ArrowError::OffsetOverflowError(bytes)) }
}

/// Returns a null buffer, or `None` if nothing is null.
pub fn nulls_of(valid: Vec<bool>) -> Option<NullBuffer> {
    let nulls = NullBuffer::from(valid);
    (nulls.null_count() > 0).then_some(nulls)
}

/// Returns keys that share one [`KeyHash`], for tests and benchmarks of a flood of them. A binary column whose last bytes make one factor of XXH3
/// zero, so that the eight that follow do not matter.
pub fn colliding_keys(rows: usize) -> ArrayRef {
    /// Bytes 16 to 24 of XXH3's public secret.
    const SECRET: [u8; 8] = [0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb];
    let key = |row: u64| [b"key".as_slice(), &SECRET, &row.to_le_bytes()].concat();
    Arc::new(BinaryArray::from_iter_values((0..rows as u64).map(key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn keys_that_are_made_to_collide_are_spread_in_tables() {
        let keys = Keys::encode(&[colliding_keys(10_000)], 10_000).unwrap();
        let hashes: BTreeSet<KeyHash> = keys.hashes().into_iter().collect();
        assert_eq!(hashes.len(), 1, "the attack works on the hash that has no seed");
        let (seeds, view) = (TableSeeds::default(), keys.view());
        let slots: BTreeSet<u64> = (0..10_000).map(|row| seeds.hash(view.get(row)) as u32 as u64).collect();
        assert!(slots.len() > 9_900, "{} places", slots.len());
    }

    #[test]
    fn keys_of_every_length_have_places_of_their_own() {
        let seeds = TableSeeds::default();
        let mut slots = BTreeSet::new();
        let mut keys = 0;
        for length in 0..40 {
            for index in 0..=length {
                let mut key = vec![0; length];
                key.get_mut(index).into_iter().for_each(|byte| *byte = 1);
                assert_eq!(seeds.hash(&key), TableSeeds::default().hash(&key), "one process has one seed");
                slots.insert(seeds.hash(&key));
                keys += 1;
            }
        }
        assert_eq!(slots.len(), keys);
    }
}
