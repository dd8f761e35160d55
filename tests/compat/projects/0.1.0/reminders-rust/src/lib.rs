//! A plugin with timers as it was written for the first release: event time did not end with the input of a case.

use millstream_sdk::{KeyedOut, Row, Rows, Timers, Timestamp, update};

/// When to remind, in seconds since 1970.
#[derive(Row)]
pub struct Order {
    second: i64,
}

/// How many reminders there were.
#[derive(Row)]
pub struct Count {
    reminders: i64,
}

/// A reminder.
#[derive(Row)]
pub struct Reminder {
    second: i64,
}

/// Reminds of what is due.
#[update]
pub fn reminders_rust(
    orders: Rows<Order>,
    count: Option<Count>,
    timers: &mut Timers,
    out: &mut KeyedOut<Reminder>,
) -> Option<Count> {
    let mut count = count.unwrap_or(Count { reminders: 0 });
    for due in timers.due() {
        count.reminders += 1;
        out.push(Reminder { second: due.0 / 1_000_000 });
    }
    for order in orders {
        timers.set(Timestamp(order.second * 1_000_000));
    }
    Some(count)
}
