//! A cursor over the untrusted bytes of an Avro record.

use crate::decode::varint;

/// A position in a record.
#[derive(Clone, Copy)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
}

const SHORT: &str = "the record is cut short";

impl<'a> Cursor<'a> {
    /// Creates a cursor at the beginning.
    pub fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes }
    }

    /// Returns the number of remaining bytes.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// Takes `count` bytes.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(SHORT)?;
        self.bytes = rest;
        Ok(taken)
    }

    /// Reads an integer: seven bits per byte, the lowest first, signs interleaved (zigzag).
    #[inline]
    pub fn long(&mut self) -> Result<i64, String> {
        varint::read(&mut self.bytes, SHORT).map(varint::unzigzag)
    }

    /// Reads a length and that many bytes.
    #[inline]
    pub fn sized(&mut self) -> Result<&'a [u8], String> {
        let length = self.long()?;
        let length = usize::try_from(length).map_err(|_| format!("a length of {length} bytes"))?;
        self.take(length)
    }

    /// Reads text.
    #[inline]
    pub fn text(&mut self) -> Result<&'a str, String> {
        let bytes = self.sized()?;
        std::str::from_utf8(bytes).map_err(|error| format!("text that is not UTF-8 at byte {}", error.valid_up_to()))
    }

    /// Reads a byte that is 0 or 1.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, String> {
        match self.take(1)? {
            [0] => Ok(false),
            [1] => Ok(true),
            other => Err(format!("byte {} is not a boolean", other.first().copied().unwrap_or_default())),
        }
    }

    /// Reads a 32-bit float.
    #[inline]
    pub fn float(&mut self) -> Result<f32, String> {
        Ok(f32::from_le_bytes(self.take(4)?.try_into().map_err(|_| SHORT)?))
    }

    /// Reads a 64-bit float.
    #[inline]
    pub fn double(&mut self) -> Result<f64, String> {
        Ok(f64::from_le_bytes(self.take(8)?.try_into().map_err(|_| SHORT)?))
    }

    /// Reads the head of a block of an array or map: the number of items and, if given, their size in bytes. 0 items mean the end.
    pub fn items(&mut self) -> Result<(u64, Option<usize>), String> {
        let count = self.long()?;
        if count >= 0 {
            return Ok((count.unsigned_abs(), None));
        }
        let bytes = self.long()?;
        let bytes = usize::try_from(bytes).map_err(|_| format!("a block of {bytes} bytes"))?;
        Ok((count.unsigned_abs(), Some(bytes)))
    }
}

/// Maximum items without bytes in an array or map that are read.
const EMPTY_ITEMS_MAX: u64 = 10_000;

/// Calls a function for each item of an array or map.
pub fn each<'a>(
    cursor: &mut Cursor<'a>,
    mut read: impl FnMut(&mut Cursor<'a>) -> Result<(), String>,
) -> Result<(), String> {
    let mut empty = 0;
    loop {
        let (count, _) = cursor.items()?;
        if count == 0 {
            return Ok(());
        }
        for _ in 0..count {
            let before = cursor.remaining();
            read(cursor)?;
            empty += u64::from(cursor.remaining() == before);
            if empty > EMPTY_ITEMS_MAX {
                return Err(format!("an array of more than {EMPTY_ITEMS_MAX} items of no bytes"));
            }
        }
    }
}
