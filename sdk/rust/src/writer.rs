//! Builders of columns. Values are appended directly to Arrow buffers, so a row costs no allocation of its own.

use crate::bindings::transform::millstream::plugin::types::Column;
use crate::{Error, batch};

/// Builds the columns of a row type, or one column. `()` builds none, and `(A, B)` builds the columns of A followed by those of B,
/// so nested pairs build any row.
pub trait Writer<'a>: Sized {
    /// Creates a builder with memory for this many rows, and this many bytes in each text or binary column. Values that are parts
    /// of `source` are appended faster than others.
    fn with_capacity(rows: usize, bytes: usize, source: &'a [u8]) -> Self;
    /// Removes all rows from an index on.
    fn truncate(&mut self, rows: usize);
    /// Appends the finished columns.
    fn finish(self, columns: &mut Vec<Column>) -> Result<(), Error>;
}

impl Writer<'_> for () {
    fn with_capacity(_rows: usize, _bytes: usize, _source: &[u8]) -> Self {}

    fn truncate(&mut self, _rows: usize) {}

    fn finish(self, _columns: &mut Vec<Column>) -> Result<(), Error> {
        Ok(())
    }
}

impl<'a, A: Writer<'a>, B: Writer<'a>> Writer<'a> for (A, B) {
    fn with_capacity(rows: usize, bytes: usize, source: &'a [u8]) -> Self {
        (A::with_capacity(rows, bytes, source), B::with_capacity(rows, bytes, source))
    }

    fn truncate(&mut self, rows: usize) {
        self.0.truncate(rows);
        self.1.truncate(rows);
    }

    fn finish(self, columns: &mut Vec<Column>) -> Result<(), Error> {
        self.0.finish(columns)?;
        self.1.finish(columns)
    }
}

/// Values of eight bytes.
pub struct FixedWriter {
    data: Vec<u8>,
}

impl FixedWriter {
    #[inline]
    pub(crate) fn push(&mut self, value: [u8; 8]) {
        self.data.extend_from_slice(&value);
    }
}

impl Writer<'_> for FixedWriter {
    fn with_capacity(rows: usize, _bytes: usize, _source: &[u8]) -> Self {
        FixedWriter { data: Vec::with_capacity(rows * 8) }
    }

    fn truncate(&mut self, rows: usize) {
        self.data.truncate(rows * 8);
    }

    fn finish(self, columns: &mut Vec<Column>) -> Result<(), Error> {
        columns.push(Column { validity: None, offsets: None, data: self.data });
        Ok(())
    }
}

/// A bitmap: one bit per row, least significant bit first.
pub struct BitWriter {
    bits: Vec<u8>,
    rows: usize,
}

impl BitWriter {
    #[inline]
    pub(crate) fn push(&mut self, value: bool) {
        let bit = self.rows % 8;
        if bit == 0 {
            self.bits.push(0);
        }
        if let Some(last) = self.bits.last_mut() {
            *last |= u8::from(value) << bit;
        }
        self.rows += 1;
    }

    pub(crate) fn into_bits(self) -> Vec<u8> {
        self.bits
    }
}

impl Writer<'_> for BitWriter {
    fn with_capacity(rows: usize, _bytes: usize, _source: &[u8]) -> Self {
        BitWriter { bits: Vec::with_capacity(rows.div_ceil(8)), rows: 0 }
    }

    fn truncate(&mut self, rows: usize) {
        self.bits.truncate(rows.div_ceil(8));
        self.rows = rows;
        // Bits are set with `|=`: those after the last row must be clear.
        if let (Some(last), used @ 1..) = (self.bits.last_mut(), rows % 8) {
            *last &= (1 << used) - 1;
        }
    }

    fn finish(self, columns: &mut Vec<Column>) -> Result<(), Error> {
        columns.push(Column { validity: None, offsets: None, data: self.bits });
        Ok(())
    }
}

/// Values of variable length: text and binary.
pub struct BytesWriter<'a> {
    offsets: Vec<u8>,
    data: Vec<u8>,
    /// Where most values come from: a column of the input.
    source: &'a [u8],
}

/// A value of at most this length in `source` is copied as one piece of this length.
const PIECE: usize = 16;

impl BytesWriter<'_> {
    /// Appends a value. Copying a few bytes of unknown length is a call out of the sandbox, which costs more than all other work
    /// for a word. So a short value in `source` is copied together with the following bytes, in one piece of a fixed length; the
    /// next value overwrites the surplus.
    #[inline]
    pub(crate) fn push(&mut self, value: &[u8]) {
        let (before, rows) = (self.data.len(), self.offsets.len());
        let has_room = self.data.capacity() - before >= PIECE && self.offsets.capacity() - rows >= 4;
        // Far out of the source's range if the value is not a part of it.
        let at = (value.as_ptr() as usize).wrapping_sub(self.source.as_ptr() as usize);
        match self.source.get(at..).and_then(|rest| rest.first_chunk::<PIECE>()) {
            Some(piece) if value.len() <= PIECE && has_room => {
                let after = before + value.len();
                // SAFETY: there is room for `PIECE` bytes after `before`, of which `value.len()` are kept, and for four after
                // `rows`. The buffers do not overlap: those written to are borrowed mutably.
                unsafe {
                    piece.as_ptr().copy_to_nonoverlapping(self.data.as_mut_ptr().add(before), PIECE);
                    self.data.set_len(after);
                    self.offsets.as_mut_ptr().add(rows).cast::<[u8; 4]>().write((after as u32).to_le_bytes());
                    self.offsets.set_len(rows + 4);
                }
            }
            _ => self.append(value),
        }
    }

    #[cold]
    #[inline(never)]
    fn append(&mut self, value: &[u8]) {
        self.data.extend_from_slice(value);
        // May wrap for columns above 2 GiB, which `finish` rejects.
        self.offsets.extend_from_slice(&(self.data.len() as u32).to_le_bytes());
    }
}

impl<'a> Writer<'a> for BytesWriter<'a> {
    fn with_capacity(rows: usize, bytes: usize, source: &'a [u8]) -> Self {
        let mut offsets = Vec::with_capacity((rows + 1) * 4);
        offsets.extend_from_slice(&[0; 4]);
        BytesWriter { offsets, data: Vec::with_capacity(bytes + 64), source }
    }

    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate((rows + 1) * 4);
        self.data.truncate(batch::offset(&self.offsets, rows));
    }

    fn finish(self, columns: &mut Vec<Column>) -> Result<(), Error> {
        if i32::try_from(self.data.len()).is_err() {
            return Err(Error::internal("a column of text or binary grew above 2 GiB in one call"));
        }
        columns.push(Column { validity: None, offsets: Some(self.offsets), data: self.data });
        Ok(())
    }
}

/// Nullable values.
pub struct NullableWriter<W> {
    pub(crate) values: W,
    validity: BitWriter,
    nulls: bool,
}

impl<W> NullableWriter<W> {
    #[inline]
    pub(crate) fn mark(&mut self, valid: bool) {
        self.validity.push(valid);
        self.nulls |= !valid;
    }
}

impl<'a, W: Writer<'a>> Writer<'a> for NullableWriter<W> {
    fn with_capacity(rows: usize, bytes: usize, source: &'a [u8]) -> Self {
        NullableWriter {
            values: W::with_capacity(rows, bytes, source),
            validity: BitWriter::with_capacity(rows, 0, &[]),
            nulls: false,
        }
    }

    fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
        self.validity.truncate(rows);
    }

    fn finish(self, columns: &mut Vec<Column>) -> Result<(), Error> {
        self.values.finish(columns)?;
        if let (true, Some(column)) = (self.nulls, columns.last_mut()) {
            column.validity = Some(self.validity.into_bits());
        }
        Ok(())
    }
}
