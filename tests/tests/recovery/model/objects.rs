//! Objects as bits, as paths and as logs.

use super::state::{BATCHES, CRASHES_MAX, State, Store};
use millstream::ids::{BatchId, BatchTime, Generation};
use millstream::internals::checkpoint::plan::{Head, LogName};
use millstream::internals::checkpoint::types::{Column, Manifest, StateFile, Table, TableOf};
use std::collections::BTreeMap;

/// The names of the sources, of worker 0 and worker 1.
pub const SOURCES: [&str; 2] = ["file", "socket"];

/// The bit of a file of state, or of a piece of a plan, of a worker.
pub fn bit(generation: u8, batch: u8, worker: usize) -> u32 {
    1 << ((u32::from(generation) - 1) * 8 + u32::from(batch) * 2 + worker as u32)
}

/// The generation and the batch of a bit.
pub fn who(bit: u32) -> (u8, u8) {
    let place = bit.trailing_zeros() as u8;
    (place / 8 + 1, place % 8 / 2)
}

/// All bits and what they represent.
fn bits() -> impl Iterator<Item = (u32, u8, u8, usize)> {
    (1..=CRASHES_MAX + 1).flat_map(|generation| {
        (0..=BATCHES).flat_map(move |batch| {
            (0..2).map(move |worker| (bit(generation, batch, worker), generation, batch, worker))
        })
    })
}

pub fn state_path(generation: u8, batch: u8, worker: usize) -> String {
    format!("state/{generation:06}-{batch:012}-{worker:03}-totals.arrow")
}

fn log_path(generation: u8, after: u8, process: usize) -> String {
    format!("plans/{generation:06}-{process:03}-{after:012}.log")
}

/// The log that a piece is in: each checkpoint starts a new one.
fn log_of(state: &State, generation: u8, batch: u8) -> u8 {
    let after = state.store.content(generation).after;
    (after + 1..batch).rev().find(|barrier| state.barriers & (1 << barrier) != 0).unwrap_or(after)
}

/// The files that a manifest names.
pub fn named(manifest: &Manifest) -> u32 {
    let paths: Vec<&String> = manifest
        .checkpoints
        .iter()
        .flat_map(|checkpoint| &checkpoint.tables)
        .flat_map(|table| &table.files)
        .map(|file| &file.path)
        .collect();
    bits()
        .filter(|(_, generation, batch, worker)| paths.contains(&&state_path(*generation, *batch, *worker)))
        .fold(0, |files, (bit, ..)| files | bit)
}

/// An object of a listing.
#[derive(Clone, Copy)]
pub enum Object {
    /// The bit of a file of state.
    File(u32),
    /// The bit of a log: generation, batch that it follows, process.
    Log(u32),
}

/// All objects, by path.
pub fn list(state: &State) -> BTreeMap<String, Object> {
    let mut objects = BTreeMap::new();
    for (bit, generation, batch, worker) in bits() {
        if state.store.files & bit != 0 {
            objects.insert(state_path(generation, batch, worker), Object::File(bit));
        }
        if state.store.pieces & bit != 0 {
            let after = log_of(state, generation, batch);
            objects.insert(log_path(generation, after, worker), Object::Log(self::bit(generation, after, worker)));
        }
    }
    objects
}

/// The pieces that a log holds.
pub fn pieces_of(state: &State, log: u32) -> u32 {
    bits()
        .filter(|(piece, generation, batch, worker)| {
            state.store.pieces & piece != 0 && bit(*generation, log_of(state, *generation, *batch), *worker) == log
        })
        .fold(0, |pieces, (bit, ..)| pieces | bit)
}

/// The logs as a start reads them.
pub fn logs(state: &State) -> Vec<(LogName, Vec<Head>)> {
    let mut logs: BTreeMap<(u8, usize, u8), Vec<Head>> = BTreeMap::new();
    for (bit, generation, batch, process) in bits() {
        if state.store.pieces & bit != 0 {
            let after = log_of(state, generation, batch);
            let head = Head {
                batch: BatchId(batch.into()),
                time: BatchTime(0),
                source: SOURCES[process].into(),
                made_up: false,
            };
            logs.entry((generation, process, after)).or_default().push(head);
        }
    }
    let name = |generation: u8, process: usize, after: u8| LogName {
        generation: Generation(generation.into()),
        process: process as u32,
        after: BatchId(after.into()),
    };
    logs.into_iter().map(|((generation, process, after), heads)| (name(generation, process, after), heads)).collect()
}

/// The stored pieces of the socket: generation, batch.
pub fn received(store: &Store) -> Vec<(u8, u8)> {
    let pieces = bits().filter(|(bit, _, _, worker)| *worker == 1 && store.pieces & bit != 0);
    pieces.map(|(_, generation, batch, _)| (generation, batch)).collect()
}

/// A state file. Its content is encoded in numbers that the decisions do not use: how far each source had been read by the
/// checkpoint that it extends (the key groups) and by its own (rows and bytes).
pub fn state_file(generation: u8, batch: u8, worker: usize, from: [u8; 2], to: [u8; 2]) -> StateFile {
    StateFile {
        path: state_path(generation, batch, worker),
        batch: BatchId(batch.into()),
        group_first: from[0].into(),
        group_end: from[1].into(),
        base: from == [0, 0],
        rows: to[0].into(),
        bytes: to[1].into(),
        checksum: worker.to_string(),
        footer: String::new(),
    }
}

/// The tables of the job; `files` are those of its state.
pub fn tables(files: Vec<StateFile>) -> Vec<Table> {
    let column = |name: &str, kind: &str| Column { name: name.into(), kind: kind.into(), nullable: false };
    let table = |of, name: &str, files| Table {
        of,
        name: name.into(),
        identity: name.into(),
        reads: String::new(),
        sub: Vec::new(),
        key: vec![column("word", "text")],
        state: vec![column("n", "int64")],
        version: String::new(),
        meaning: Default::default(),
        files,
    };
    vec![
        table(TableOf::Stage, "totals", files),
        table(TableOf::Source, SOURCES[0], Vec::new()),
        table(TableOf::Source, SOURCES[1], Vec::new()),
    ]
}
