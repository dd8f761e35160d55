//! One column of a state table: one value per slot, in the memory that its type needs.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array,
    StringArray, TimestampMicrosecondArray, new_empty_array,
};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Field, Float64Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use millstream_rows::batch::keys::{bytes_of, nulls_of, of_bytes, offsets_of};
use millstream_rows::batch::types::ColumnType;
use std::sync::Arc;

/// A growable column with random access by slot.
#[derive(Clone)]
pub struct StateColumn {
    /// The bytes of values that are allocated outside the column.
    bytes: usize,
    kind: DataType,
    nullable: bool,
    valid: Vec<bool>,
    values: ColumnValues,
}

/// The values; those of nulls and of free slots have no meaning.
#[derive(Clone)]
enum ColumnValues {
    Words(Vec<u64>),
    /// Decimals.
    Wide(Vec<i128>),
    Bytes(Vec<Box<[u8]>>),
}

impl StateColumn {
    /// Creates an empty column for a field of a type that is [kept](ColumnType::is_kept).
    pub fn new(field: &Field) -> Result<StateColumn, ArrowError> {
        let values = match ColumnType::from_arrow(field.data_type()) {
            ColumnType::Text | ColumnType::Binary => ColumnValues::Bytes(Vec::new()),
            ColumnType::Arrow(DataType::Decimal128(..)) => ColumnValues::Wide(Vec::new()),
            // They are stored as bytes, encoded like keys.
            ColumnType::Arrow(DataType::Struct(_) | DataType::List(_)) => {
                drop(bytes_of(&new_empty_array(field.data_type()))?);
                ColumnValues::Bytes(Vec::new())
            }
            ColumnType::Arrow(other) if other != DataType::Date32 => {
                return Err(ArrowError::NotYetImplemented(format!("a state column of type {other}")));
            }
            _ => ColumnValues::Words(Vec::new()),
        };
        let kind = field.data_type().clone();
        Ok(StateColumn { bytes: 0, kind, nullable: field.is_nullable(), valid: Vec::new(), values })
    }

    /// Grows the column to this many slots.
    pub fn grow(&mut self, slots: usize) {
        if self.nullable {
            self.valid.resize(slots, false);
        }
        match &mut self.values {
            ColumnValues::Words(words) => words.resize(slots, 0),
            ColumnValues::Wide(values) => values.resize(slots, 0),
            ColumnValues::Bytes(bytes) => bytes.resize_with(slots, Default::default),
        }
    }

    /// Reserves memory for this many more slots.
    pub fn reserve(&mut self, slots: usize) {
        if self.nullable {
            self.valid.reserve(slots);
        }
        match &mut self.values {
            ColumnValues::Words(words) => words.reserve(slots),
            ColumnValues::Wide(values) => values.reserve(slots),
            ColumnValues::Bytes(bytes) => bytes.reserve(slots),
        }
    }

    /// Returns the memory that it takes.
    pub fn bytes(&self) -> usize {
        let slots = match &self.values {
            ColumnValues::Words(words) => words.capacity() * size_of::<u64>(),
            ColumnValues::Wide(values) => values.capacity() * size_of::<i128>(),
            // The allocator adds some bytes to each.
            ColumnValues::Bytes(bytes) => bytes.capacity() * (size_of::<Box<[u8]>>() + 16),
        };
        slots + self.valid.capacity() + self.bytes
    }

    /// Returns the bytes of the value of a slot.
    pub fn bytes_of(&self, slot: usize) -> usize {
        match &self.values {
            ColumnValues::Words(_) => size_of::<u64>(),
            ColumnValues::Wide(_) => size_of::<i128>(),
            ColumnValues::Bytes(bytes) => bytes.get(slot).map_or(0, |bytes| bytes.len() + size_of::<i32>()),
        }
    }

    /// Appends the value of a slot in the format that [`StateColumn::read`] parses.
    pub fn write(&self, slot: usize, out: &mut Vec<u8>) {
        if self.nullable {
            out.push(u8::from(self.valid[slot]));
        }
        match &self.values {
            ColumnValues::Words(words) => out.extend_from_slice(&words[slot].to_le_bytes()),
            ColumnValues::Wide(values) => out.extend_from_slice(&values[slot].to_le_bytes()),
            ColumnValues::Bytes(bytes) => {
                out.extend_from_slice(&(bytes[slot].len() as u32).to_le_bytes());
                out.extend_from_slice(&bytes[slot]);
            }
        }
    }

    /// Stores the value at the start of `from`, and advances `from` past it; `None` if there is no valid value.
    pub fn read(&mut self, slot: usize, from: &mut &[u8]) -> Option<()> {
        let valid = if self.nullable { *from.split_off_first()? != 0 } else { true };
        if self.nullable {
            self.valid[slot] = valid;
        }
        match &mut self.values {
            ColumnValues::Words(words) => words[slot] = u64::from_le_bytes(from.split_off(..8)?.try_into().ok()?),
            ColumnValues::Wide(values) => values[slot] = i128::from_le_bytes(from.split_off(..16)?.try_into().ok()?),
            ColumnValues::Bytes(bytes) => {
                let length = u32::from_le_bytes(from.split_off(..4)?.try_into().ok()?);
                let value = from.split_off(..usize::try_from(length).ok()?)?;
                put_into(bytes, &mut self.bytes)(slot, value);
            }
        }
        Some(())
    }

    /// Returns the memory of a slot, without the bytes of its value.
    pub fn slot_bytes(&self) -> usize {
        usize::from(self.nullable)
            + match &self.values {
                ColumnValues::Words(_) => size_of::<u64>(),
                ColumnValues::Wide(_) => size_of::<i128>(),
                // The allocator adds some bytes to each.
                ColumnValues::Bytes(_) => size_of::<Box<[u8]>>() + 16,
            }
    }

    /// Returns the bytes of the value of a slot if it is allocated outside the column.
    pub fn value_len(&self, slot: usize) -> usize {
        match &self.values {
            ColumnValues::Bytes(bytes) => bytes[slot].len(),
            ColumnValues::Words(_) | ColumnValues::Wide(_) => 0,
        }
    }

    /// Returns the bytes of all values that are allocated outside the column.
    pub fn value_bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the value of a slot if it has eight bytes.
    pub fn word(&self, slot: usize) -> Option<u64> {
        match &self.values {
            ColumnValues::Words(words) => words.get(slot).copied(),
            ColumnValues::Wide(_) | ColumnValues::Bytes(_) => None,
        }
    }

    /// Swaps the values of two slots.
    pub fn swap(&mut self, one: usize, other: usize) {
        if self.nullable {
            self.valid.swap(one, other);
        }
        match &mut self.values {
            ColumnValues::Words(words) => words.swap(one, other),
            ColumnValues::Wide(values) => values.swap(one, other),
            ColumnValues::Bytes(bytes) => bytes.swap(one, other),
        }
    }

    /// Truncates the column to this many slots. The slots after them must be empty.
    pub fn truncate(&mut self, slots: usize) {
        self.valid.truncate(slots);
        self.valid.shrink_to_fit();
        match &mut self.values {
            ColumnValues::Words(words) => {
                words.truncate(slots);
                words.shrink_to_fit();
            }
            ColumnValues::Wide(values) => {
                values.truncate(slots);
                values.shrink_to_fit();
            }
            ColumnValues::Bytes(bytes) => {
                bytes.truncate(slots);
                bytes.shrink_to_fit();
            }
        }
    }

    /// Clears the value of a slot.
    pub fn clear(&mut self, slot: usize) {
        if let ColumnValues::Bytes(bytes) = &mut self.values {
            self.bytes -= std::mem::take(&mut bytes[slot]).len();
        }
    }

    /// Stores row i of `array` in slot `slots[i]`, for the rows set in `kept`.
    pub fn scatter(&mut self, slots: &[u32], array: &ArrayRef, kept: &BooleanArray) {
        // Usually all rows are kept, or none, so the bits are read word by word.
        let rows = || kept.values().set_indices().filter_map(|row| Some((row, *slots.get(row)? as usize)));
        if self.nullable {
            rows().for_each(|(row, slot)| self.valid[slot] = array.is_valid(row));
        }
        match (&mut self.values, ColumnType::from_arrow(&self.kind)) {
            (ColumnValues::Words(words), ColumnType::Int64) => {
                let values = array.as_primitive::<Int64Type>().values();
                rows().for_each(|(row, slot)| words[slot] = values[row] as u64);
            }
            (ColumnValues::Words(words), ColumnType::Timestamp) => {
                let values = array.as_primitive::<TimestampMicrosecondType>().values();
                rows().for_each(|(row, slot)| words[slot] = values[row] as u64);
            }
            (ColumnValues::Words(words), ColumnType::Float64) => {
                let values = array.as_primitive::<Float64Type>().values();
                rows().for_each(|(row, slot)| words[slot] = values[row].to_bits());
            }
            (ColumnValues::Words(words), ColumnType::Arrow(_)) => {
                let values = array.as_primitive::<Date32Type>().values();
                rows().for_each(|(row, slot)| words[slot] = values[row] as u64);
            }
            (ColumnValues::Wide(wide), _) => {
                let values = array.as_primitive::<Decimal128Type>().values();
                rows().for_each(|(row, slot)| wide[slot] = values[row]);
            }
            (ColumnValues::Words(words), _) => {
                let values = array.as_boolean();
                rows().for_each(|(row, slot)| words[slot] = u64::from(values.value(row)));
            }
            (ColumnValues::Bytes(bytes), ColumnType::Text) => {
                let values = array.as_string::<i32>();
                let mut put = put_into(bytes, &mut self.bytes);
                rows().for_each(|(row, slot)| put(slot, values.value(row).as_bytes()));
            }
            (ColumnValues::Bytes(bytes), ColumnType::Arrow(_)) => {
                // `new` has checked the type.
                let Ok(write) = bytes_of(array) else { return };
                let mut value = Vec::new();
                let mut put = put_into(bytes, &mut self.bytes);
                rows().for_each(|(row, slot)| {
                    value.clear();
                    write(row, &mut value);
                    put(slot, &value);
                });
            }
            (ColumnValues::Bytes(bytes), _) => {
                let values = array.as_binary::<i32>();
                let mut put = put_into(bytes, &mut self.bytes);
                rows().for_each(|(row, slot)| put(slot, values.value(row)));
            }
        }
    }

    /// Returns the values of these slots. If `known` is false, the value is null, or zero if the column is not nullable.
    pub fn gather(&self, slots: &[u32], known: &BooleanArray) -> Result<ArrayRef, ArrowError> {
        let nulls = if self.nullable { self.nulls(slots, known) } else { None };
        self.gather_with(slots, known, nulls)
    }

    /// Returns the values of these slots; null if `known` is false, even if the column is not nullable.
    pub fn gather_or_null(&self, slots: &[u32], known: &BooleanArray) -> Result<ArrayRef, ArrowError> {
        self.gather_with(slots, known, self.nulls(slots, known))
    }

    fn nulls(&self, slots: &[u32], known: &BooleanArray) -> Option<NullBuffer> {
        let valid = |slot: usize| !self.nullable || self.valid[slot];
        let all = all(known);
        let known = |row: usize| all || known.value(row);
        nulls_of(slots.iter().enumerate().map(|(row, slot)| known(row) && valid(*slot as usize)).collect())
    }

    fn gather_with(
        &self,
        slots: &[u32],
        known: &BooleanArray,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef, ArrowError> {
        let all = all(known);
        let known = |row: usize| all || known.value(row);
        Ok(match &self.values {
            ColumnValues::Words(words) => {
                let value = |(row, slot): (usize, &u32)| if known(row) { words[*slot as usize] } else { 0 };
                let words = slots.iter().enumerate().map(value);
                match ColumnType::from_arrow(&self.kind) {
                    ColumnType::Int64 => Arc::new(Int64Array::new(words.map(|w| w as i64).collect(), nulls)),
                    ColumnType::Float64 => Arc::new(Float64Array::new(words.map(f64::from_bits).collect(), nulls)),
                    ColumnType::Bool => Arc::new(BooleanArray::new(words.map(|w| w != 0).collect(), nulls)),
                    ColumnType::Arrow(_) => Arc::new(Date32Array::new(words.map(|w| w as i32).collect(), nulls)),
                    _ => Arc::new(
                        TimestampMicrosecondArray::new(words.map(|w| w as i64).collect(), nulls).with_timezone("UTC"),
                    ),
                }
            }
            ColumnValues::Wide(wide) => {
                let value = |(row, slot): (usize, &u32)| if known(row) { wide[*slot as usize] } else { 0 };
                let values = Decimal128Array::new(slots.iter().enumerate().map(value).collect(), nulls);
                Arc::new(values.with_data_type(self.kind.clone()))
            }
            ColumnValues::Bytes(bytes) => {
                let none: &[u8] = &[];
                let value = |(row, slot): (usize, &u32)| if known(row) { &*bytes[*slot as usize] } else { none };
                let values: Vec<&[u8]> = slots.iter().enumerate().map(value).collect();
                if matches!(self.kind, DataType::Struct(_) | DataType::List(_)) {
                    return self.nested(&values, nulls);
                }
                let offsets = offsets_of(values.iter().map(|value| value.len()))?;
                let data = Buffer::from_vec(values.concat());
                if self.kind == DataType::Utf8 {
                    Arc::new(StringArray::try_new(offsets, data, nulls)?)
                } else {
                    Arc::new(BinaryArray::try_new(offsets, data, nulls)?)
                }
            }
        })
    }
}

/// Appends a value of an array by its row.
pub type WriteValue<'a> = Box<dyn Fn(usize, &mut Vec<u8>) + 'a>;

/// Returns a function that appends values of an array as [`StateColumn::write`] does once they are stored.
pub fn writer(array: &ArrayRef, nullable: bool) -> Result<WriteValue<'_>, ArrowError> {
    fn word<'a>(word: impl Fn(usize) -> u64 + 'a) -> WriteValue<'a> {
        Box::new(move |row, out| out.extend_from_slice(&word(row).to_le_bytes()))
    }
    fn bytes<'a>(value: impl Fn(usize) -> &'a [u8] + 'a) -> WriteValue<'a> {
        Box::new(move |row, out| {
            let value = value(row);
            out.extend_from_slice(&(value.len() as u32).to_le_bytes());
            out.extend_from_slice(value);
        })
    }
    let write = match ColumnType::from_arrow(array.data_type()) {
        ColumnType::Int64 => {
            let values = array.as_primitive::<Int64Type>().values();
            word(|row| values[row] as u64)
        }
        ColumnType::Timestamp => {
            let values = array.as_primitive::<TimestampMicrosecondType>().values();
            word(|row| values[row] as u64)
        }
        ColumnType::Float64 => {
            let values = array.as_primitive::<Float64Type>().values();
            word(|row| values[row].to_bits())
        }
        ColumnType::Bool => {
            let values = array.as_boolean();
            word(|row| u64::from(values.value(row)))
        }
        ColumnType::Text => {
            let values = array.as_string::<i32>();
            bytes(|row| values.value(row).as_bytes())
        }
        ColumnType::Binary => {
            let values = array.as_binary::<i32>();
            bytes(|row| values.value(row))
        }
        ColumnType::Arrow(DataType::Date32) => {
            let values = array.as_primitive::<Date32Type>().values();
            word(|row| values[row] as u64)
        }
        ColumnType::Arrow(DataType::Decimal128(..)) => {
            let values = array.as_primitive::<Decimal128Type>().values();
            Box::new(|row: usize, out: &mut Vec<u8>| out.extend_from_slice(&values[row].to_le_bytes()))
        }
        ColumnType::Arrow(_) => {
            let write = bytes_of(array)?;
            Box::new(move |row: usize, out: &mut Vec<u8>| {
                let start = out.len();
                out.extend_from_slice(&[0; 4]);
                write(row, out);
                let length = (out.len() - start - 4) as u32;
                if let Some(destination) = out.get_mut(start..start + 4) {
                    destination.copy_from_slice(&length.to_le_bytes());
                }
            })
        }
    };
    if !nullable {
        return Ok(write);
    }
    Ok(Box::new(move |row, out| {
        out.push(u8::from(array.is_valid(row)));
        write(row, out);
    }))
}

impl StateColumn {
    /// Decodes structs or lists.
    fn nested(&self, values: &[&[u8]], nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
        // A slot without a value yields an empty value, like zero for numbers.
        let empty = match &self.kind {
            DataType::Struct(members) => [&[1][..], &vec![0; members.len()]].concat(),
            _ => vec![1, 0, 0, 0, 0],
        };
        let is_null = |row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        let rows = values.iter().enumerate().map(|(row, bytes)| match (is_null(row), bytes.is_empty()) {
            (true, _) => &[][..],
            (false, true) => empty.as_slice(),
            (false, false) => bytes,
        });
        of_bytes(&Field::new("state", self.kind.clone(), true), rows)
    }
}

/// Returns a function that stores values in slots and maintains the sum of their bytes.
fn put_into<'a>(slots: &'a mut [Box<[u8]>], sum: &'a mut usize) -> impl FnMut(usize, &[u8]) + 'a {
    move |slot, value| {
        let before = std::mem::replace(&mut slots[slot], value.into());
        *sum = *sum + value.len() - before.len();
    }
}

/// Returns whether all flags are set, the usual case in which none needs to be checked.
pub(super) fn all(flags: &BooleanArray) -> bool {
    flags.true_count() == flags.len()
}
