//! Log lines for the operator. The host shows them with stage, plugin and batch, and drops lines above its limits. In tests they
//! go to standard error.
//!
//! The output of `println!`, `eprintln!` and `dbg!` is logged as information when the call ends.

use std::fmt::Display;

/// For the plugin's developer.
pub fn debug(message: impl Display) {
    write(Level::Debug, &message.to_string());
}

/// For the job's operator.
pub fn info(message: impl Display) {
    write(Level::Info, &message.to_string());
}

/// Something that the operator should look at.
pub fn warn(message: impl Display) {
    write(Level::Warn, &message.to_string());
}

/// Something that went wrong.
pub fn error(message: impl Display) {
    write(Level::Error, &message.to_string());
}

pub(crate) use crate::bindings::transform::millstream::plugin::log::Level;

fn write(level: Level, message: &str) {
    // Earlier printed output comes first.
    crate::printed::flush();
    write_line(level, message);
}

#[cfg(target_arch = "wasm32")]
pub(crate) fn write_line(level: Level, message: &str) {
    crate::bindings::transform::millstream::plugin::log::write(level, message);
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn write_line(level: Level, message: &str) {
    eprintln!("{level:?}: {message}");
}
