//! Packages made of a plugin that is built: the same component under other versions.

use crate::{Ended, Process, Trial, plugin};
use std::path::Path;

/// The component of a plugin of the project, as another version: a custom section more. Of several the last one counts.
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

/// Runs the program in a trial's folder, with settings and a store of packages that are the trial's own.
pub fn millstream_in(trial: &Trial, arguments: &[&str]) -> Ended {
    millstream_with(trial, &trial.path("store"), arguments)
}

/// The same with another store, as on another machine.
pub fn millstream_with(trial: &Trial, store: &Path, arguments: &[&str]) -> Ended {
    let mut command = trial.command(arguments);
    command.env("MILLSTREAM_STORE", store).env("MILLSTREAM_CONFIG", trial.path("config"));
    Process::start(&mut command).wait()
}
