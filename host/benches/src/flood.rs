//! A flood of colliding keys, compared with the same number of random ones: grouping, and a state table.

use crate::measure::{figure, in_turn_rounds};
use arrow::array::{ArrayRef, BinaryArray};
use arrow::datatypes::{DataType, Field, Schema};
use millstream::internals::batch::group::Grouper;
use millstream::internals::batch::keys::{Keys, colliding_keys};
use millstream::internals::state::StateTable;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

const KEYS: usize = 200_000;
const ROUNDS: usize = 5;

/// Runs this part.
pub fn run() {
    let random: ArrayRef = Arc::new(BinaryArray::from_iter_values((0..KEYS as u64).map(|key| {
        let mixed = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        [mixed.to_le_bytes(), key.to_le_bytes(), mixed.to_be_bytes()].concat().split_off(5)
    })));
    let encode = |column: ArrayRef| Keys::encode(&[column], KEYS).expect("keys");
    let (random, crafted) = (encode(random), encode(colliding_keys(KEYS)));
    println!("  {KEYS} keys of 19 bytes; crafted: all of one key hash, so of one worker");
    let seconds = |work: &dyn Fn()| {
        let begun = Instant::now();
        work();
        begun.elapsed().as_secs_f64()
    };
    for (name, work) in [("grouping", group as fn(&Keys)), ("state table", store)] {
        let of_random = &mut || seconds(&|| work(&random));
        let of_crafted = &mut || seconds(&|| work(&crafted));
        let [random_s, crafted_s] = in_turn_rounds(ROUNDS, &mut [of_random, of_crafted])[..] else { return };
        figure(
            &format!("{name}: crafted keys against random ones"),
            format!("{:.2}", crafted_s / random_s),
            "target: at most 2",
        );
    }
}

fn group(keys: &Keys) {
    let grouped = Grouper::default().group(keys);
    black_box(grouped.sorted(keys));
}

fn store(keys: &Keys) {
    let key = vec![Arc::new(Field::new("key", DataType::Binary, true))];
    let mut table = StateTable::new(key, Arc::new(Schema::empty()), None).expect("a table");
    let view = keys.view();
    let mut slots: Vec<u32> =
        keys.hashes().into_iter().enumerate().map(|(row, hash)| table.slot(view.get(row), hash)).collect();
    table.sort(&mut slots);
    black_box(slots);
}
