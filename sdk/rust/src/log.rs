//! Log messages for operators. The host adds stage, plugin and batch, and drops messages above its limits. In tests, they go to
//! standard error.
//!
//! The output of `println!`, `eprintln!` and `dbg!` is logged as information when the call ends.

use std::fmt::Display;

/// Logs a message for the plugin's developers.
pub fn debug(message: impl Display) {
    write(Level::Debug, &message.to_string());
}

/// Logs a message for the job's operators.
pub fn info(message: impl Display) {
    write(Level::Info, &message.to_string());
}

/// Logs a problem that operators should look at.
pub fn warn(message: impl Display) {
    write(Level::Warn, &message.to_string());
}

/// Logs an error.
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
