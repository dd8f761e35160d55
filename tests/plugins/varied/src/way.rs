//! The variant of a plugin. A test makes another version of the built component by overwriting this string, see `varied` in the
//! tests' crate.

static WAY: [u8; 16] = *b"way:same........";

/// The way, as `same`.
pub fn way() -> &'static str {
    // The compiler must not assume the content.
    let way: &'static [u8; 16] = std::hint::black_box(&WAY);
    std::str::from_utf8(way).unwrap_or_default().trim_start_matches("way:").trim_end_matches('.')
}
