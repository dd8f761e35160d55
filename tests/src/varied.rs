//! Versions of one component that work in different ways, made without a compiler: the test plugins called `varied` read how to
//! work from a place in their memory, over which another way is written.

use crate::plugin;
use std::path::Path;

/// A line of a feeder, `<word>,<n>`, where every number ends in 9: the way `plus` counts one more.
pub fn varied_line(number: u64) -> String {
    format!("w{},{}", number % 7, number % 5 * 10 + 9)
}

/// What stands there when it is built.
const BUILT: &[u8; 16] = b"way:same........";

/// The component of a test plugin that works in this way.
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

/// Writes such a component as a whole: whoever reads the file at the same time sees it or the one before.
pub fn write_varied(name: &str, way: &str, file: &Path) {
    let half = file.with_extension("half");
    std::fs::write(&half, varied(name, way)).expect("a file can be written");
    std::fs::rename(half, file).expect("a file can be renamed");
}
