//! Calls that fail in every way, and requests to the runtime.

// Only builds as a component: a build of the workspace skips it.
#![cfg(target_arch = "wasm32")]

use millstream_sdk::{Context, Row, files, log, transform};
use std::collections::HashSet;
use std::hint::black_box;

#[derive(Row)]
struct Order<'a> {
    value: &'a str,
}

#[derive(Row)]
struct Done {
    value: String,
}

/// Fails, loops or prints as its rows request.
#[transform]
fn failing(order: Order, context: &Context) -> Result<Done, String> {
    let value = match order.value {
        "fail" => {
            println!("about to fail");
            panic!("cannot go on with `fail`");
        }
        "divide" => (black_box(1) / black_box(0_i64)).to_string(),
        "loop" => forever(),
        "recurse" => deeper(1).to_string(),
        "memory" => more().to_string(),
        "print" => {
            println!("printed: äöü €\nthe second line");
            log::error("whispered: 日本");
            eprint!("dbg! and ");
            eprintln!("its kin: {}", dbg!(1 + 1));
            "printed".into()
        }
        "refuse" => return Err("rejected on demand".into()),
        "file" => read(),
        // A Rust plugin has no other clock, and no random numbers.
        "clock" => (context.time.0 / 1_000_000).to_string(),
        "random" => "none".into(),
        "order" => {
            let keys: HashSet<String> = (0..64).map(|n| format!("key {n}")).collect();
            keys.into_iter().collect::<Vec<_>>().join(" ")
        }
        value => value.into(),
    };
    Ok(Done { value })
}

fn read() -> String {
    let bytes = files::read_all("notes").unwrap_or_else(|words| panic!("{words}"));
    String::from_utf8(bytes).unwrap_or_else(|error| panic!("{error}"))
}

fn forever() -> String {
    let mut n = 0_u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

fn deeper(n: i64) -> i64 {
    if n == black_box(0) { n } else { deeper(black_box(n + 1)) + black_box(1) }
}

fn more() -> usize {
    let mut all = Vec::new();
    while all.len() < black_box(usize::MAX) {
        all.push(black_box(vec![1_u8; 1 << 20]));
    }
    all.len()
}
