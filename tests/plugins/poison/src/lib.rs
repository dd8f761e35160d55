//! Passes its rows on, and fails on rows that say so. It implements the interface itself, because the SDK would not let it return
//! some of this.

// Its exports have names that only a component can have.
#![cfg(target_arch = "wasm32")]

mod fail;

use bindings::exports::millstream::plugin::transformer::{Guest, Output};
use bindings::millstream::plugin::types::{Batch, Column, Context, Rejection};
use millstream_sdk::bindings::transform as bindings;
use millstream_sdk::{Description, Error, Field, Schema, Type, counter, log};

/// Rows that may be in one call where one of them says `crowd`.
const CROWD: u32 = 4;

struct Poison;

impl Guest for Poison {
    fn describe(_config: String, _input: Schema) -> Result<Description, Error> {
        let mut description = Description::new("poison", env!("CARGO_PKG_VERSION"), "Fails on rows that say so.");
        description.input.fields = vec![Field::required("value", Type::Text)];
        description.output.fields = description.input.fields.clone();
        Ok(description)
    }

    fn process(_context: Context, input: Batch) -> Result<Output, Error> {
        std::panic::set_hook(Box::new(|panic| log::error(panic)));
        let mut rejections = Vec::new();
        let mut passed = Vec::new();
        let mut is_valid = true;
        counter::add("rows", input.rows.into());
        for row in 0..input.rows {
            match value(&input, row) {
                "refuse" => rejections.push(Rejection { row, reason: "refused by itself".into() }),
                "error" => return Err(Error::internal("these rows are not to my liking")),
                "input" => return Err(Error::input("not this input")),
                "config" => return Err(Error::config("not this config")),
                "invalid" => is_valid = false,
                "crowd" if input.rows > CROWD => panic!("{} rows are a crowd", input.rows),
                word => {
                    fail::on(word);
                    passed.push(word);
                }
            }
        }
        // From the last one on, so that they are not in order.
        rejections.reverse();
        let columns = if is_valid { vec![text(&passed)] } else { Vec::new() };
        Ok(Output { rows: Batch { rows: passed.len() as u32, columns }, rejections })
    }
}

bindings::export_transform!(Poison with_types_in bindings);

fn text(values: &[&str]) -> Column {
    let mut offsets = 0u32.to_le_bytes().to_vec();
    let mut end = 0;
    for value in values {
        end += value.len() as u32;
        offsets.extend(end.to_le_bytes());
    }
    Column { validity: None, offsets: Some(offsets), data: values.concat().into_bytes() }
}

fn value(rows: &Batch, row: u32) -> &str {
    let column = &rows.columns[0];
    let offsets = column.offsets.as_deref().unwrap_or_default();
    let offset = |place: u32| {
        let at = place as usize * 4;
        u32::from_le_bytes(offsets[at..at + 4].try_into().unwrap_or_default()) as usize
    };
    std::str::from_utf8(&column.data[offset(row)..offset(row + 1)]).unwrap_or_default()
}
