//! The cost of checkpoints. They are on the disk that holds the build; its own speed is printed for comparison.

pub mod latency;
pub mod state;
pub mod words;

use crate::measure::{figure, median};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

const SYNCS: usize = 51;
/// As in a job, which does not do it all the time.
const PAUSE: Duration = Duration::from_millis(20);

/// Prints how many milliseconds the disk takes to make a few bytes durable.
fn show_disk(dir: &Path) {
    let mut file = File::create(dir.join("disk")).expect("a file");
    let append = |file: &mut File| {
        std::thread::sleep(PAUSE);
        let start = Instant::now();
        file.write_all(&[b'x'; 300]).expect("it is written");
        file.sync_data().expect("it is durable");
        start.elapsed().as_secs_f64() * 1e3
    };
    let took = median((0..SYNCS).map(|_| append(&mut file)).collect());
    figure("the disk itself: fdatasync of an append of 300 bytes, ms", format!("{took:.2}"), "");
}
