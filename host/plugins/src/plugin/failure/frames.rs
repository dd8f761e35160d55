//! The functions that were being called when a call failed.

use crate::limits::PLUGIN_FRAMES_MAX;
use millstream_base::shown::printable;
use wasmtime::WasmBacktrace;

/// Names of the guest's functions, demangled, each repeated call once. The crate that demangles is wasmtime's own,
/// reached by its `Display`.
pub fn frames(backtrace: &WasmBacktrace) -> Vec<String> {
    let printed = backtrace.to_string();
    let names = printed.lines().filter_map(|line| {
        let (number, name) = line.trim_start().split_once(": ")?;
        number.parse::<u32>().ok()?;
        let name = name.split_once(" - ").filter(|(at, _)| at.trim().starts_with("0x")).map_or(name, |(_, name)| name);
        Some(without_hashes(&printable(name.trim(), 300)))
    });
    let mut frames: Vec<(String, u32)> = Vec::new();
    for name in names.take(PLUGIN_FRAMES_MAX) {
        match frames.last_mut() {
            Some((last, times)) if *last == name => *times += 1,
            _ => frames.push((name, 1)),
        }
    }
    let shown = |(name, times)| if times == 1 { name } else { format!("{name} ({times} times)") };
    frames.into_iter().map(shown).collect()
}

/// A demangled name without the hashes of its crates: `std[761429072ce02672]::panicking` is `std::panicking`. Older names
/// end with one of the function: `std::panicking::h761429072ce02672`.
fn without_hashes(name: &str) -> String {
    let is_hash = |hash: &str| hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    let name = name.rsplit_once("::h").filter(|(_, hash)| is_hash(hash)).map_or(name, |(name, _)| name);
    let mut parts = name.split('[');
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(']') {
            Some((hash, rest)) if hash.len() > 8 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => clean.push_str(rest),
            _ => {
                clean.push('[');
                clean.push_str(part);
            }
        }
    }
    clean
}
