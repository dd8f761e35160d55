//! A state for each key: kept, removed, timed out, with timers; and rejected rows of a key.

// Only builds as a component: a build of the workspace skips it.
#![cfg(target_arch = "wasm32")]

use millstream_sdk::{Context, KeyedOut, Row, Rows, Timers, Timestamp, update};

#[derive(Row)]
struct Payment<'a> {
    amount: i64,
    note: Option<&'a str>,
}

#[derive(Row)]
struct Total<'a> {
    total: i64,
    count: i64,
    note: Option<&'a str>,
    since: Timestamp,
}

#[derive(Row)]
struct Told<'a> {
    why: &'a str,
    total: i64,
    count: i64,
    note: Option<&'a str>,
    since: Timestamp,
    alarm: Option<Timestamp>,
}

const SECOND: i64 = 1_000_000;

/// Keeps a total of each key.
#[update]
fn totals<'a>(
    payments: Rows<'a, Payment>,
    old: Option<Total<'a>>,
    context: &Context,
    timers: &mut Timers,
    out: &mut KeyedOut<Told>,
) -> Result<Option<Total<'a>>, String> {
    let had = old.as_ref().map_or(0, |old| old.count);
    let mut new = old.unwrap_or(Total { total: 0, count: 0, note: None, since: context.time });
    let mut tell = |why, new: &Total, alarm| {
        out.push(Told { why, total: new.total, count: new.count, note: new.note, since: new.since, alarm });
    };
    let mut rows = 0;
    let mut closed = false;
    for payment in payments {
        rows += 1;
        new.total += payment.amount;
        new.count += 1;
        new.note = payment.note.or(new.note);
        tell("row", &new, None);
        match payment.note {
            Some("bad") => return Err(format!("a bad note after {had} payments")),
            Some("close") => closed = true,
            Some("alarm") => timers.set(Timestamp(context.time.0 + 2 * SECOND)),
            Some("calm") => timers.cancel(Timestamp(context.time.0 + SECOND)),
            _ => {}
        }
    }
    let mut alarms = 0;
    for at in timers.due() {
        alarms += 1;
        tell("alarm", &new, Some(at));
    }
    if context.timed_out {
        tell("timeout", &new, None);
    } else if rows == 0 && alarms == 0 {
        tell("call", &new, None);
    }
    Ok((!closed).then_some(new))
}
