//! Packages of a built plugin: the same component in several versions.

use crate::{Ended, Process, Trial, plugin};
use std::path::Path;

/// Returns the component of a plugin of the project as another version, by adding a custom section. Of several sections, the last
/// one wins.
pub fn as_version(name: &str, version: &str) -> Vec<u8> {
    let mut component = std::fs::read(plugin(name).join(format!("{name}.wasm"))).expect("it is built");
    component.extend(custom_section("version", version.as_bytes()));
    component
}

/// A custom section of a component or module.
pub fn custom_section(name: &str, data: &[u8]) -> Vec<u8> {
    let content = [leb(name.len()), name.as_bytes().to_vec(), data.to_vec()].concat();
    [vec![0], leb(content.len()), content].concat()
}

fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// Runs the program in a trial's directory, with the trial's own settings and package store.
pub fn millstream_in(trial: &Trial, arguments: &[&str]) -> Ended {
    millstream_with(trial, &trial.path("store"), arguments)
}

/// The same with another package store, as on another machine.
pub fn millstream_with(trial: &Trial, store: &Path, arguments: &[&str]) -> Ended {
    let mut command = trial.command(arguments);
    command.env("MILLSTREAM_STORE", store).env("MILLSTREAM_CONFIG", trial.path("config"));
    Process::start(&mut command).wait()
}
