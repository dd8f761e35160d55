//! Variants of one component that behave differently, made without a compiler. The test plugins named `varied` read their
//! behavior from a string in their memory, which is overwritten in the file.

use crate::plugin;
use std::path::Path;

/// A feeder's line, `<word>,<n>`. Every number ends in 9, to which the variant `plus` adds one.
pub fn varied_line(number: u64) -> String {
    format!("w{},{}", number % 7, number % 5 * 10 + 9)
}

/// The string in the built component.
const BUILT: &[u8; 16] = b"way:same........";

/// Returns the component of a test plugin with this behavior.
pub fn varied(name: &str, way: &str) -> Vec<u8> {
    let file = plugin(name).join(format!("{name}.wasm"));
    let mut component = std::fs::read(&file).expect("the plugin is built");
    let places: Vec<usize> = component
        .windows(BUILT.len())
        .enumerate()
        .filter(|(_, bytes)| *bytes == BUILT)
        .map(|(place, _)| place)
        .collect();
    let [place] = places[..] else { panic!("{}: its way is written in {} places", file.display(), places.len()) };
    let mut written = format!("way:{way}").into_bytes();
    assert!(written.len() <= BUILT.len(), "`{way}` is too long");
    written.resize(BUILT.len(), b'.');
    component[place..place + BUILT.len()].copy_from_slice(&written);
    component
}

/// Writes such a component atomically: a concurrent reader sees the new or the previous one.
pub fn write_varied(name: &str, way: &str, file: &Path) {
    let half = file.with_extension("half");
    std::fs::write(&half, varied(name, way)).expect("a file can be written");
    std::fs::rename(half, file).expect("a file can be renamed");
}
