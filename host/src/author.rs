//! Tools for plugin authors: create, build, test and inspect a plugin.

pub mod build;
pub mod cases;
pub mod componentize;
pub mod doctor;
pub mod inspect;
pub mod language;
pub mod new;
pub mod project;
pub mod stale;
pub mod tools;
pub mod watch;

use millstream_base::error::Error;
use millstream_base::terminal;

/// Writes to standard error. Failures are ignored.
fn say(text: &str) {
    let _ = terminal::write_error(text.as_bytes());
}

fn failed(verb: &str, path: &std::path::Path, error: &std::io::Error) -> Error {
    Error::environment(format!("cannot {verb} {}: {error}", path.display()))
}
