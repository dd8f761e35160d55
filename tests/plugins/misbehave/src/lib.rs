//! A plugin that misbehaves as its config says: `{ "how": "panic" }`. It implements the interface itself, because the SDK would
//! not let it return most of this. Without `how` it returns its rows unchanged.

// Its exports have names that only a component can have.
#![cfg(target_arch = "wasm32")]

use bindings::exports::millstream::plugin::transformer::{Guest, Output};
use bindings::millstream::plugin::types::{Batch, Column, Context, Rejection};
use millstream_sdk::bindings::transform as bindings;
use millstream_sdk::{Description, Error, Field, Schema, Type, counter, log};
use std::hint::black_box;

struct Misbehave;

impl Guest for Misbehave {
    fn describe(config: String, _input: Schema) -> Result<Description, Error> {
        std::panic::set_hook(Box::new(|panic| log::error(panic)));
        match how(&config).as_str() {
            "describe-panic" => panic!("no words for myself"),
            "describe-loop" => forever(),
            "describe-twice" => return Ok(described(&["value", "value"])),
            "refuse-config" => return Err(Error::config("`how` must not be refuse-config")),
            "refuse-input" => return Err(Error::input("not this input")),
            _ => {}
        }
        Ok(described(&["value"]))
    }

    fn process(context: Context, input: Batch) -> Result<Output, Error> {
        std::panic::set_hook(Box::new(|panic| log::error(panic)));
        let Batch { rows, mut columns } = input;
        let mut rejections = Vec::new();
        let mut rows_returned = rows;
        let column = &mut columns[0];
        match how(&context.config).as_str() {
            "panic" => give_up(context.batch),
            "loop" => {
                log::info("round and round");
                forever()
            }
            "slow" => work(&context.config),
            "recurse" => {
                recurse(u64::from(rows));
            }
            "memory" => hoard(),
            "error" => return Err(Error::internal("these rows are not to my liking")),
            "output" => *column = text(rows, &"x".repeat(4 << 20)),
            "not-utf8" => column.data.fill(0xff),
            "offsets" => column.offsets.iter_mut().flatten().for_each(|byte| *byte = !*byte),
            "no-offsets" => column.offsets = None,
            "rows" => rows_returned += 1,
            "columns" => columns.clear(),
            "rejection" => rejections.push(Rejection { row: rows, reason: "there is no such row".into() }),
            "reject" => rejections.extend((0..rows).map(|row| Rejection { row, reason: format!("row {row} is bad") })),
            "log" => (0..1000).for_each(|line| log::info(format!("line {line} {}\u{1b}[31m", "x".repeat(10_000)))),
            "count" => counter::add("rows_seen", u64::from(rows)),
            _ => {}
        }
        Ok(Output { rows: Batch { rows: rows_returned, columns }, rejections })
    }
}

bindings::export_transform!(Misbehave with_types_in bindings);

fn how(config: &str) -> String {
    let config: serde_json::Value = serde_json::from_str(config).unwrap_or_default();
    config["how"].as_str().unwrap_or_default().to_owned()
}

fn described(columns: &[&str]) -> Description {
    let mut description = Description::new("misbehave", env!("CARGO_PKG_VERSION"), "Misbehaves.");
    description.input.fields = vec![Field::required("value", Type::Text)];
    description.output.fields = columns.iter().map(|name| Field::required(*name, Type::Text)).collect();
    description
}

#[inline(never)]
fn give_up(batch: u64) -> ! {
    panic!("I give up on batch {batch}")
}

#[inline(never)]
fn forever() -> ! {
    let mut turns = 0u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// Works for a while, or for `turns` loops, and ends.
fn work(config: &str) {
    let config: serde_json::Value = serde_json::from_str(config).unwrap_or_default();
    let (mut turns, all) = (0u64, config["turns"].as_u64().unwrap_or(20_000_000));
    while turns < all {
        turns = black_box(turns + 1);
    }
}

#[inline(never)]
#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    let here = black_box([depth; 64]);
    1 + black_box(recurse(here[0] + 1)) + here[1]
}

/// Allocates memory until there is no more, writing to all of it.
fn hoard() {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(black_box(vec![1; 1 << 20]));
    }
}

fn text(rows: u32, value: &str) -> Column {
    let ends = (0..=rows).flat_map(|row| (row * value.len() as u32).to_le_bytes()).collect();
    Column { validity: None, offsets: Some(ends), data: value.repeat(rows as usize).into_bytes() }
}
