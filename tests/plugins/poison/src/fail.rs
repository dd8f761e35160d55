//! Ways to fail, by word. Other words do nothing.

use std::hint::black_box;

/// Fails as the word says.
pub fn on(word: &str) {
    match word {
        "panic" => give_up(),
        "abort" => std::process::abort(),
        "loop" => forever(),
        "memory" => hoard(),
        "stack" => {
            recurse(0);
        }
        _ => {}
    }
}

#[inline(never)]
fn give_up() -> ! {
    panic!("not this row")
}

#[inline(never)]
fn forever() -> ! {
    let mut turns = 0u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// Allocates memory until there is no more, writing to all of it.
#[inline(never)]
fn hoard() -> ! {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(black_box(vec![1; 1 << 20]));
    }
}

#[inline(never)]
#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    let here = black_box([depth; 64]);
    1 + black_box(recurse(here[0] + 1)) + here[1]
}
