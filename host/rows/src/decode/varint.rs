//! Integers as Avro and Protobuf write them: seven bits per byte, the lowest first, and one bit in each that says whether more follow.

/// Takes a number from the front of the bytes; `short` is the error if they are incomplete.
#[inline]
pub fn read(bytes: &mut &[u8], short: &str) -> Result<u64, String> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            if index == 9 && *byte > 1 {
                break;
            }
            *bytes = bytes.get(index + 1..).unwrap_or_default();
            return Ok(value);
        }
    }
    Err(if bytes.len() < 10 { short.into() } else { "a number of more than 64 bits".into() })
}

/// Appends a number.
#[inline]
pub fn write(value: u64, out: &mut Vec<u8>) {
    let mut left = value;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

/// Encodes the sign as the lowest bit.
#[inline]
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Decodes a number whose lowest bit is its sign.
#[inline]
pub fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
