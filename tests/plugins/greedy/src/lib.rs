//! Uses as much of the host's memory as its rows say: a test of the budget.

mod deep;

use millstream_sdk::{Context, KeyedOut, Row, Rows, Timers, Timestamp, update};
use std::cell::RefCell;

/// One row of the input: what to do, and how much of it.
#[derive(Row)]
pub struct Order<'a> {
    /// `count`, `keep` so many bytes as state, `emit` so many rows, set `timers`, `hold` bytes in the instance, `refuse` with so
    /// many bytes of words, or `trap`.
    todo: &'a str,
    n: i64,
}

/// What is kept of a key.
#[derive(Row)]
pub struct Kept {
    calls: i64,
    text: String,
}

/// What comes out.
#[derive(Row)]
pub struct Told<'a> {
    n: i64,
    text: &'a str,
}

const PAGE: &str =
    "a row of some length, as rows are that people work with: it has a hundred bytes, or a few more than that";

thread_local! {
    static HELD: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Does what the rows say.
#[update]
pub fn greedy(
    orders: Rows<Order>,
    state: Option<Kept>,
    context: &Context,
    timers: &mut Timers,
    out: &mut KeyedOut<Told>,
) -> Result<Option<Kept>, String> {
    let mut kept = state.unwrap_or(Kept { calls: 0, text: String::new() });
    kept.calls += 1;
    for Order { todo, n } in orders {
        let many = usize::try_from(n).unwrap_or(0);
        match todo {
            "keep" => kept.text = "k".repeat(many),
            "emit" => (0..n).for_each(|n| out.push(Told { n, text: PAGE })),
            // Others than those that are set already.
            "timers" => {
                (0..n).for_each(|at| timers.set(Timestamp(context.batch as i64 * 1_000_000_000 + i64::MAX / 2 + at)))
            }
            "hold" => HELD.with_borrow_mut(|held| held.push(vec![1; many])),
            "refuse" => return Err("no ".repeat(many / 3)),
            "trap" => deep::trap(many),
            _ => out.push(Told { n: kept.calls, text: "counted" }),
        }
    }
    Ok(Some(kept))
}
