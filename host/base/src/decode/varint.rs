//! Whole numbers as Avro and Protobuf write them: seven bits a byte, the lowest first, and a bit in each that says whether more
//! follow.

/// Takes a number from the beginning of the bytes; `short` says that they end within it.
#[inline]
pub fn read(bytes: &mut &[u8], short: &str) -> Result<u64, String> {
    let mut value = 0_u64;
    for (place, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            if place == 9 && *byte > 1 {
                break;
            }
            *bytes = bytes.get(place + 1..).unwrap_or_default();
            return Ok(value);
        }
    }
    Err(if bytes.len() < 10 { short.into() } else { "a number of more than 64 bits".into() })
}

/// Adds a number.
#[inline]
pub fn write(value: u64, out: &mut Vec<u8>) {
    let mut left = value;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

/// The number that has this one's sign as its lowest bit.
#[inline]
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The number whose sign is its lowest bit.
#[inline]
pub fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
