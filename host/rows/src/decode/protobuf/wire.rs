//! A cursor over the untrusted bytes of a message.

use crate::decode::varint;

/// Maximum nesting of messages, as in Google's implementation.
pub const DEPTH_MAX: usize = 100;

/// A position in a message.
#[derive(Clone, Copy)]
pub struct Wire<'a> {
    bytes: &'a [u8],
}

/// An encoded field of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Raw<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
    /// A group: the fields between its two marks.
    Group(&'a [u8]),
}

const SHORT: &str = "the message is cut short";

impl<'a> Wire<'a> {
    /// Creates a cursor at the beginning.
    pub fn new(bytes: &'a [u8]) -> Wire<'a> {
        Wire { bytes }
    }

    /// Returns the remaining bytes.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// Reads the next field with its number; `None` at the end.
    #[inline]
    pub fn field(&mut self) -> Result<Option<(u32, Raw<'a>)>, String> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        self.tagged(0).map(Some)
    }

    fn tagged(&mut self, depth: usize) -> Result<(u32, Raw<'a>), String> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| (1..1 << 29).contains(number));
        let number = number.ok_or_else(|| format!("{} is not a field number; the message is invalid", tag >> 3))?;
        let raw = match tag & 7 {
            0 => Raw::Varint(self.varint()?),
            1 => Raw::Fixed64(self.fixed64()?),
            2 => {
                let length = self.varint()?;
                Raw::Bytes(self.take(usize::try_from(length).map_err(|_| SHORT)?)?)
            }
            3 => Raw::Group(self.group(number, depth)?),
            5 => Raw::Fixed32(self.fixed32()?),
            other => return Err(format!("{other} is not a wire type; the message is invalid")),
        };
        Ok((number, raw))
    }

    /// Skips a group and the mark of its end.
    fn group(&mut self, number: u32, depth: usize) -> Result<&'a [u8], String> {
        if depth >= DEPTH_MAX {
            return Err(too_deep());
        }
        let begin = self.bytes;
        loop {
            let within = begin.len() - self.bytes.len();
            let mut ahead = *self;
            let tag = ahead.varint()?;
            if tag & 7 == 4 {
                *self = ahead;
                let good = tag >> 3 == u64::from(number);
                let good = good.then(|| begin.get(..within).unwrap_or_default());
                return good.ok_or_else(|| "a group ends that did not begin".into());
            }
            self.tagged(depth + 1)?;
        }
    }

    /// Checks that these are the fields of a message, whatever their content.
    pub fn check(mut self) -> Result<(), String> {
        while self.field()?.is_some() {}
        Ok(())
    }

    #[inline]
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(SHORT)?;
        self.bytes = rest;
        Ok(taken)
    }

    /// Reads a number of seven bits per byte, the lowest first.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, String> {
        varint::read(&mut self.bytes, SHORT)
    }

    /// Reads a signed number (zigzag).
    pub fn zigzag(&mut self) -> Result<i64, String> {
        self.varint().map(varint::unzigzag)
    }

    #[inline]
    pub fn fixed64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into().map_err(|_| SHORT)?))
    }

    #[inline]
    pub fn fixed32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().map_err(|_| SHORT)?))
    }
}

/// Returns why a message with too much nesting is rejected.
pub fn too_deep() -> String {
    format!("nested deeper than {DEPTH_MAX} levels")
}
