//! Sixteen bytes of text in one vector.

use std::arch::wasm32::{u8x16_bitmask, u8x16_eq, u8x16_le, u8x16_splat, u8x16_sub, v128, v128_load};

/// Size of a piece in bytes.
pub const WIDTH: usize = 16;
/// Bits per byte in the results.
pub const BITS: usize = 1;

/// A piece of a text.
#[derive(Clone, Copy)]
pub struct Piece(v128);

impl Piece {
    #[inline]
    pub fn new(bytes: &[u8; WIDTH]) -> Piece {
        // SAFETY: reads sixteen bytes, which need no alignment and exist.
        Piece(unsafe { v128_load(bytes.as_ptr().cast()) })
    }

    #[inline]
    pub fn is_ascii(self) -> bool {
        u8x16_bitmask(self.0) == 0
    }

    /// Marks the bytes that equal this one.
    #[inline]
    pub fn equal(self, byte: u8) -> u64 {
        u64::from(u8x16_bitmask(u8x16_eq(self.0, u8x16_splat(byte))))
    }

    /// Marks the bytes from `first` to `last`.
    #[inline]
    pub fn between(self, first: u8, last: u8) -> u64 {
        let above = u8x16_sub(self.0, u8x16_splat(first));
        u64::from(u8x16_bitmask(u8x16_le(above, u8x16_splat(last - first))))
    }
}
