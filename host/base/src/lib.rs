//! The system kit of all Millstream crates: errors, identifiers, limits, files, memory, threads.

// What the crate `millstream` exports must be documented (`warn` below); the rest has docs where they help.
#![allow(missing_docs)]

pub mod addresses;
pub mod built;
pub mod context;
pub mod digest;
pub mod durable;
#[warn(missing_docs)]
pub mod error;
pub mod failure;
pub mod fault;
pub mod hex;
#[warn(missing_docs)]
pub mod ids;
#[warn(missing_docs)]
pub mod limits;
pub mod log_lines;
#[warn(missing_docs)]
pub mod memory;
pub mod owner;
pub mod package_name;
pub mod panics;
pub mod private;
pub mod progress;
pub mod random;
pub mod regular;
pub mod retry;
pub mod secrets;
pub mod shown;
pub mod suggest;
pub mod terminal;
pub mod threads;
pub mod time;
pub mod units;
pub mod zone;
