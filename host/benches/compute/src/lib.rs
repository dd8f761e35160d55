//! Computes how many steps a point takes to leave the Mandelbrot set: a short loop of float arithmetic. Special rows make it fail, to measure the
//! cost of failures.

// Its functions are only called by a component's exports.
#![cfg(target_arch = "wasm32")]

use millstream_sdk::{Out, Row, transform};
use std::hint::black_box;

#[derive(Row)]
struct Point {
    n: i64,
}

#[derive(Row)]
struct Steps {
    steps: i64,
}

/// A row that makes it panic.
const PANIC: i64 = -1;
/// A row that makes it loop forever.
const LOOP: i64 = -2;
/// A row that makes it allocate all available memory.
const MEMORY: i64 = -3;

/// Counts the steps of each point.
#[transform]
fn compute(point: Point, out: &mut Out<Steps>) {
    match point.n {
        PANIC => panic!("no such point"),
        LOOP => forever(),
        MEMORY => hoard(),
        n => out.push(Steps { steps: steps(n) }),
    }
}

fn steps(n: i64) -> i64 {
    let (x0, y0) = ((n % 1000) as f64 / 500.0 - 1.5, (n / 1000 % 1000) as f64 / 1000.0 - 0.5);
    let (mut x, mut y, mut steps) = (0.0, 0.0, 0);
    while x * x + y * y < 4.0 && steps < 1000 {
        (x, y) = (x * x - y * y + x0, 2.0 * x * y + y0);
        steps += 1;
    }
    steps
}

fn forever() {
    let mut turns = 0_u64;
    while black_box(turns) < u64::MAX {
        turns += 1;
    }
}

fn hoard() {
    let mut all: Vec<Vec<u8>> = Vec::new();
    loop {
        all.push(black_box(vec![1; 1 << 20]));
    }
}
