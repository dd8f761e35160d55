//! Sets timers as its rows say: a test of timers.

use millstream_sdk::{Context, KeyedOut, Row, Rows, Timers, Timestamp, update};

/// One row of the input: what to do, and for which second since 1970.
#[derive(Row)]
pub struct Order<'a> {
    /// `set`, `cancel`, or `end` the key's state; other words are refused, and with them all orders of the key.
    todo: &'a str,
    second: i64,
}

/// How often the key was called.
#[derive(Row)]
pub struct Calls {
    calls: i64,
}

/// A timer that was due.
#[derive(Row)]
pub struct Rung {
    /// The second that it was set for.
    second: i64,
    /// How often the key has been called, this call included, since its state began.
    calls: i64,
    /// Rows of the key in this batch.
    rows: i64,
    /// The watermark's second.
    watermark: Option<i64>,
}

const SECOND_US: i64 = 1_000_000;

/// Sets and cancels timers, and tells of those that are due.
#[update]
pub fn alarm(
    orders: Rows<Order>,
    state: Option<Calls>,
    context: &Context,
    timers: &mut Timers,
    out: &mut KeyedOut<Rung>,
) -> Result<Option<Calls>, String> {
    let calls = state.map_or(0, |state| state.calls) + 1;
    let (rows, watermark) = (orders.len() as i64, context.watermark.map(|watermark| watermark.0.div_euclid(SECOND_US)));
    for due in timers.due() {
        out.push(Rung { second: due.0 / SECOND_US, calls, rows, watermark });
    }
    let mut kept = true;
    for Order { todo, second } in orders {
        let at = Timestamp(second * SECOND_US);
        match todo {
            "set" => timers.set(at),
            "cancel" => timers.cancel(at),
            "end" => kept = false,
            other => return Err(format!("`{other}` is no order")),
        }
    }
    Ok(kept.then_some(Calls { calls }))
}
