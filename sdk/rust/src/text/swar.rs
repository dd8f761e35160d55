//! Eight bytes of text in one number, compared at the same time (SWAR).

/// Size of a piece in bytes.
pub const WIDTH: usize = 8;
/// The bits per byte in the results: the highest bit of a marked byte is set.
pub const BITS: usize = 8;

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// A piece of a text.
#[derive(Clone, Copy)]
pub struct Piece(u64);

impl Piece {
    #[inline]
    pub fn new(bytes: &[u8; WIDTH]) -> Piece {
        Piece(u64::from_le_bytes(*bytes))
    }

    #[inline]
    pub fn is_ascii(self) -> bool {
        self.0 & HIGH == 0
    }

    /// Marks the bytes that equal this one, which is ASCII.
    #[inline]
    pub fn equal(self, byte: u8) -> u64 {
        let different = Piece((self.0 & !HIGH) ^ (LOW * u64::from(byte))).at_least(1);
        // Without its highest bit, a byte that is not ASCII could equal this one.
        !different & HIGH & !self.0
    }

    /// Marks the bytes from `first` to `last`. The piece must be ASCII.
    #[inline]
    pub fn between(self, first: u8, last: u8) -> u64 {
        self.at_least(first) & !self.at_least(last + 1)
    }

    /// Marks the bytes that are at least `least`. The piece must be ASCII, so that no sum carries to the next byte.
    #[inline]
    fn at_least(self, least: u8) -> u64 {
        self.0.wrapping_add(LOW * u64::from(0x80 - least)) & HIGH
    }
}
