//! Strings that a plugin hands to imports. wasmtime would look at all of a string, however long, before a limit could cut
//! it; a string of gigabytes at each line of a log would hold the worker up.

use crate::limits::PLUGIN_LOG_LINE_BYTES_MAX;
use wasmtime::component::__internal::wasmtime_environ::component::StringEncoding;
use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext};
use wasmtime::component::{ComponentType, Lift};
use wasmtime::{Result, ValRaw, bail};

/// Bytes of a guest's memory that are looked at: one more than are shown, so that it shows where something is cut.
const BYTES_MAX: usize = PLUGIN_LOG_LINE_BYTES_MAX + 4;
/// In the length of a string that is Latin-1 or UTF-16, the bit that says which.
const UTF16_TAG: usize = 1 << 31;

/// The beginning of a string. What is not Unicode in it is replaced.
#[derive(Debug)]
pub struct GuestText(pub String);

// SAFETY: the layout is that of `str`, whose `ComponentType` it repeats.
unsafe impl ComponentType for GuestText {
    type Lower = <str as ComponentType>::Lower;
    const ABI: CanonicalAbiInfo = <str as ComponentType>::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        <str as ComponentType>::typecheck(ty, types)
    }
}

// SAFETY: both ways to lift read the pointer and the length that a string consists of, and memory within its bounds only.
unsafe impl Lift for GuestText {
    fn linear_lift_from_flat(cx: &mut LiftContext<'_>, _: InterfaceType, source: &[ValRaw; 2]) -> Result<GuestText> {
        lift(cx, source[0].get_u32(), source[1].get_u32())
    }

    fn linear_lift_from_memory(cx: &mut LiftContext<'_>, _: InterfaceType, bytes: &[u8]) -> Result<GuestText> {
        let pairs = bytes.as_chunks::<4>().0;
        let [start, length] = pairs else { bail!("a string is a pointer and a length") };
        lift(cx, u32::from_le_bytes(*start), u32::from_le_bytes(*length))
    }
}

fn lift(cx: &mut LiftContext<'_>, start: u32, length: u32) -> Result<GuestText> {
    let (start, length) = (usize::try_from(start)?, usize::try_from(length)?);
    read(cx.memory(), cx.options().string_encoding, start, length).map(GuestText)
}

fn read(memory: &[u8], encoding: StringEncoding, start: usize, length: usize) -> Result<String> {
    let (is_wide, units) = match encoding {
        StringEncoding::CompactUtf16 => (length & UTF16_TAG != 0, length & !UTF16_TAG),
        StringEncoding::Utf16 => (true, length),
        StringEncoding::Utf8 => (false, length),
    };
    let bytes = units.saturating_mul(if is_wide { 2 } else { 1 });
    let bytes_of = start.checked_add(bytes).and_then(|end| memory.get(start..end));
    let Some(bytes_of) = bytes_of else { bail!("string pointer/length out of bounds of memory") };
    let seen = bytes_of.get(..BYTES_MAX).unwrap_or(bytes_of);
    Ok(match encoding {
        _ if is_wide => {
            let units = seen.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit));
            char::decode_utf16(units).map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        }
        StringEncoding::CompactUtf16 => seen.iter().copied().map(char::from).collect(),
        _ => String::from_utf8_lossy(seen).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_string_is_read_within_bounds() {
        let utf8 = StringEncoding::Utf8;
        let memory = "häuser".as_bytes();
        assert_eq!(read(memory, utf8, 0, memory.len()).unwrap(), "häuser");
        assert_eq!(read(memory, utf8, 0, 2).unwrap(), "h\u{fffd}", "cut within a character");
        assert_eq!(read(memory, utf8, memory.len(), 0).unwrap(), "");
        for (start, length) in [(0, 8), (8, 0), (usize::MAX, 1), (1, usize::MAX), (0, u32::MAX as usize)] {
            assert!(read(memory, utf8, start, length).is_err(), "{start} and {length}");
            assert!(read(memory, StringEncoding::Utf16, start, length).is_err(), "{start} and {length}");
        }
        let wide: Vec<u8> = "hä\u{1f600}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(read(&wide, StringEncoding::Utf16, 0, 4).unwrap(), "hä\u{1f600}");
        assert_eq!(read(&wide, StringEncoding::Utf16, 0, 3).unwrap(), "hä\u{fffd}", "half a pair");
        assert_eq!(read(&wide, StringEncoding::CompactUtf16, 0, 4 | UTF16_TAG).unwrap(), "hä\u{1f600}");
        assert_eq!(read(b"h\xe4", StringEncoding::CompactUtf16, 0, 2).unwrap(), "hä");
    }

    #[test]
    fn only_the_beginning_of_a_long_string_is_read() {
        let memory = vec![b'x'; 1 << 20];
        let read = read(&memory, StringEncoding::Utf8, 0, memory.len()).unwrap();
        assert!((PLUGIN_LOG_LINE_BYTES_MAX + 1..PLUGIN_LOG_LINE_BYTES_MAX + 10).contains(&read.len()));
    }
}
