//! Random input for everything that reads data returned by a guest, and for the loading of components. No input may make the host
//! panic, hang or grow, and whatever it accepts must be valid.
//!
//! `make test` runs a fixed number of inputs of a fixed seed. With `FUZZ_SECONDS` each target runs for that long, with the seed
//! `SEED` or one from the clock. A failure writes its input to a file and prints its name; `FUZZ_INPUT=<file>` runs only that.

mod checked;
mod driver;
mod image;
mod mutants;
mod output;
mod smith;

use super::calls;
use driver::{Target, drive};

/// A guest whose memory and result are random, or valid but for a few bytes, in every world.
#[test]
fn guest_output() {
    drive(Target { test: "plugins::fuzz::guest_output", runs: 20_000, input_bytes: 1024 }, output::target);
}

/// Valid plugins with bits flipped, pieces cut, doubled, swapped and spliced.
#[test]
fn mutated_components() {
    drive(Target { test: "plugins::fuzz::mutated_components", runs: 150, input_bytes: 256 }, mutants::target);
}

/// Modules of wasm-smith in a plugin, and as files of their own.
#[test]
fn made_up_modules() {
    drive(Target { test: "plugins::fuzz::made_up_modules", runs: 300, input_bytes: 4096 }, smith::target);
}
