//! Batches, for plugins that accept any columns.

use crate::bindings::transform::millstream::plugin::types::{Batch as WireBatch, Column};
use crate::written::is_written;
use crate::{Cell, Error, Rejected, Row, Type};

/// Rows as columns. [`Stage::input`](crate::Stage::input) and [`Stage::key`](crate::Stage::key) have their names and types.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    rows: usize,
    columns: Vec<Column>,
}

impl Batch {
    pub(crate) fn from_wire(wire: WireBatch) -> Batch {
        Batch { rows: wire.rows as usize, columns: wire.columns }
    }

    pub(crate) fn into_wire(self) -> Result<WireBatch, Error> {
        let rows = u32::try_from(self.rows).map_err(|_| Error::internal("more than 4,294,967,295 rows in one call"))?;
        Ok(WireBatch { rows, columns: self.columns })
    }

    pub(crate) fn new(rows: usize, columns: Vec<Column>) -> Batch {
        Batch { rows, columns }
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the number of columns.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// Returns the size of the values in bytes, without offsets and validity.
    pub fn bytes(&self) -> usize {
        self.columns.iter().map(|column| column.data.len()).sum()
    }

    /// Returns whether a row of a column is null. Works for all types. False for columns that do not exist.
    pub fn is_null(&self, column: usize, row: usize) -> bool {
        let validity = self.columns.get(column).and_then(|column| column.validity.as_deref());
        validity.is_some_and(|validity| !bit(validity, row))
    }

    /// Reads a column as values of a type, which must be that of the column. This is checked for `text` and `binary`; bytes of other
    /// types are reinterpreted as `C`.
    pub fn column<C: Cell>(&self, index: usize) -> Result<Values<'_, C>, Error> {
        let wrong = |what: &str| Error::internal(format!("column {index}: {what}"));
        let column = self.columns.get(index).ok_or_else(|| wrong("the batch has no such column"))?;
        if matches!(C::column_type(), Type::Text) {
            check_text(column, self.rows).map_err(wrong)?;
        }
        Ok(Values { reader: C::reader(column, self.rows).map_err(wrong)?, rows: self.rows })
    }

    /// Returns the rows with these indexes, in this order; an index may occur any number of times. Returns an error if an index
    /// is not below [`rows`](Batch::rows), and for columns that reach plugins as an Arrow IPC stream.
    pub fn take(&self, rows: &[u32], types: &[Type]) -> Result<Batch, Error> {
        if rows.iter().any(|&row| row as usize >= self.rows) {
            return Err(Error::internal("a row was taken that the batch does not have"));
        }
        if types.len() != self.columns.len() {
            return Err(Error::internal(format!("{} types for {} columns", types.len(), self.columns.len())));
        }
        let columns = self.columns.iter().zip(types).map(|(column, type_)| take_column(column, self.rows, type_, rows));
        Ok(Batch { rows: rows.len(), columns: columns.collect::<Result<_, Error>>()? })
    }

    /// Returns these columns of the batch, in this order.
    pub fn select(mut self, columns: &[usize]) -> Result<Batch, Error> {
        let missing = || Error::internal("a column was selected that the batch does not have");
        let chosen = columns.iter().map(|&i| self.columns.get(i).cloned().ok_or_else(missing));
        self.columns = chosen.collect::<Result<_, Error>>()?;
        Ok(self)
    }

    /// Returns the columns of both batches, which must have the same number of rows.
    pub fn beside(mut self, other: Batch) -> Result<Batch, Error> {
        if self.rows != other.rows {
            return Err(Error::internal(format!("columns of {} and of {} rows", self.rows, other.rows)));
        }
        self.columns.extend(other.columns);
        Ok(self)
    }

    /// Returns the values of the largest column. Most strings that a plugin function pushes are parts of these.
    pub(crate) fn longest(&self) -> &[u8] {
        let texts = self.columns.iter().filter(|column| column.offsets.is_some());
        texts.map(|column| column.data.as_slice()).max_by_key(|data| data.len()).unwrap_or_default()
    }

    /// Returns the rows as structs of a row type. The columns must be those that [`crate::sink::columns`] names; otherwise it returns
    /// an error.
    pub fn each<R: Row>(&self) -> Result<impl Iterator<Item = R::Of<'_>>, Error> {
        let reader = self.reader::<R>()?;
        Ok((0..self.rows).map(move |row| R::read(&reader, row)))
    }

    pub(crate) fn reader<R: Row>(&self) -> Result<R::Reader<'_>, Error> {
        R::reader(&self.columns, self.rows)
    }

    /// Returns the rows with a null in a field without `Option`, in order.
    pub(crate) fn missing<R: Row>(&self) -> Vec<Rejected> {
        let mut missing: Vec<Rejected> = Vec::new();
        for (column, field) in self.columns.iter().zip(R::fields()) {
            let Some(validity) = column.validity.as_deref().filter(|_| !field.nullable) else { continue };
            let nulls = (0..self.rows).filter(|&row| !bit(validity, row));
            missing.extend(
                nulls.map(|row| Rejected {
                    row: row as u32,
                    rejection: format!("column `{}` is null", field.name).into(),
                }),
            );
        }
        missing.sort_by_key(|rejected| rejected.row);
        missing.dedup_by_key(|rejected| rejected.row);
        missing
    }
}

/// The values of one column.
pub struct Values<'x, C: Cell> {
    reader: C::Reader<'x>,
    rows: usize,
}

impl<'x, C: Cell> Values<'x, C> {
    /// Returns the value in a row, which must be below the number of rows.
    #[inline]
    pub fn get(&self, row: usize) -> C::Of<'x> {
        C::read(&self.reader, row)
    }

    /// Returns all values, in order.
    pub fn iter(&self) -> impl Iterator<Item = C::Of<'x>> {
        (0..self.rows).map(|row| self.get(row))
    }
}

/// Returns the offset of a row in an offsets buffer; 0 if it is too short.
pub(crate) fn offset(offsets: &[u8], row: usize) -> usize {
    offsets.as_chunks().0.get(row).map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize)
}

/// Returns a buffer as eight-byte values.
pub(crate) fn words(data: &[u8]) -> &[[u8; 8]] {
    data.as_chunks().0
}

/// Returns a bit of a bitmap; false after its end.
#[inline]
pub(crate) fn bit(bits: &[u8], row: usize) -> bool {
    bits.get(row / 8).is_some_and(|byte| byte >> (row % 8) & 1 == 1)
}

fn check_text(column: &Column, rows: usize) -> Result<(), &'static str> {
    let text = std::str::from_utf8(&column.data).map_err(|_| "it is not text")?;
    let offsets = column.offsets.as_deref().ok_or("it is not text")?;
    if (0..=rows).all(|row| text.is_char_boundary(offset(offsets, row))) { Ok(()) } else { Err("it is not text") }
}

fn take_column(column: &Column, rows: usize, type_: &Type, taken: &[u32]) -> Result<Column, Error> {
    let short = || Error::internal("a column is shorter than its batch");
    let bits = |bits: &Vec<u8>| take_bits(bits, rows, taken).ok_or_else(short);
    let validity = column.validity.as_ref().map(bits).transpose()?;
    let (offsets, data) = match type_ {
        Type::Bool => (None, bits(&column.data)?),
        Type::Int64 | Type::Float64 | Type::Timestamp => {
            let values = words(&column.data).get(..rows).ok_or_else(short)?;
            (None, taken.iter().flat_map(|&row| values[row as usize]).collect())
        }
        Type::Arrow(name) if !is_written(name) => {
            let message = format!("a column of type {name} cannot be taken apart by a plugin: cast or drop it before");
            return Err(Error::input(message));
        }
        Type::Text | Type::Binary | Type::Arrow(_) => {
            let (offsets, data) = take_bytes(column, rows, taken).ok_or_else(short)?;
            (Some(offsets), data)
        }
    };
    Ok(Column { validity, offsets, data })
}

fn take_bits(bits: &[u8], rows: usize, taken: &[u32]) -> Option<Vec<u8>> {
    let bits = bits.get(..rows.div_ceil(8))?;
    let byte =
        |rows: &[u32]| rows.iter().enumerate().fold(0, |byte, (i, &row)| byte | u8::from(bit(bits, row as usize)) << i);
    Some(taken.chunks(8).map(byte).collect())
}

fn take_bytes(column: &Column, rows: usize, taken: &[u32]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (offsets, _) = column.offsets.as_deref()?.as_chunks();
    if offsets.len() <= rows && rows > 0 {
        return None;
    }
    let at = |row: usize| u32::from_le_bytes(offsets[row]) as usize;
    let mut data = Vec::with_capacity(column.data.len().checked_mul(taken.len())? / rows.max(1));
    let mut ends = Vec::with_capacity((taken.len() + 1) * 4);
    ends.extend_from_slice(&[0; 4]);
    for &row in taken {
        data.extend_from_slice(column.data.get(at(row as usize)..at(row as usize + 1))?);
        ends.extend_from_slice(&i32::try_from(data.len()).ok()?.to_le_bytes());
    }
    Some((ends, data))
}
