//! What checkpoints cost. They lie on the disk that holds the build, whose own speed is printed beside.

pub mod latency;
pub mod state;
pub mod words;

use crate::measure::{figure, median, seconds};
use std::fs::File;
use std::io::Write;
use std::path::Path;

const SYNCS: usize = 51;

/// Prints how long the disk takes to make a few bytes durable, in milliseconds.
fn show_disk(folder: &Path) {
    let mut file = File::create(folder.join("disk")).expect("a file");
    let append = |file: &mut File| {
        file.write_all(&[b'x'; 300]).expect("it is written");
        file.sync_data().expect("it is durable");
    };
    let took = median((0..SYNCS).map(|_| seconds(|| append(&mut file)) * 1e3).collect());
    figure("the disk itself: fdatasync of an append of 300 bytes, ms", format!("{took:.2}"), "");
}
