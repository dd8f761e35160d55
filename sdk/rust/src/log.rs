//! Words for the operator. The host shows them with stage, plugin and batch, and drops what is above its limits. In
//! tests they go to standard error.
//!
//! What `println!`, `eprintln!` and `dbg!` print is logged as information, when the call ends.

use std::fmt::Display;

/// For whoever develops the plugin.
pub fn debug(message: impl Display) {
    write(Level::Debug, &message.to_string());
}

/// For whoever runs the job.
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
    // What was printed before stands before.
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
