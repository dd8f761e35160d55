//! Finds the row or key that makes a call fail, if a stage does not reject rows: the job fails, and the error shows the row. Calls on halves
//! of the input, in new instances, find the first row that fails alone: a binary search.

use super::attempt::Attempts;
use super::counters::Counters;
use super::failure::CallFailure;
use super::trap::Trap;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::util::display::array_value_to_string;
use millstream_base::shown::printable;
use std::ops::Range;

/// Columns of a row that are shown, and bytes of a value.
const COLUMNS_SHOWN_MAX: usize = 12;
const VALUE_BYTES_MAX: usize = 80;

/// Adds to a failure the first row (or key) that fails alone. `what` names rows or keys, `parts` is their number, `call` makes a call with
/// some of them, and `shown` formats one. Unchanged if a limit was exceeded, because each call may take as long again, and if none fails
/// alone.
pub fn named(
    attempts: &mut Attempts,
    failure: CallFailure,
    (what, parts): (&str, usize),
    call: impl Fn(&mut Attempts, Range<usize>) -> Result<(), CallFailure>,
    shown: impl Fn(usize) -> String,
) -> CallFailure {
    let looks = matches!(failure.trap, Some(Trap::Trap | Trap::Error | Trap::Invalid | Trap::Stack));
    if !looks || parts == 0 || attempts.makes_calls() {
        return failure;
    }
    // These calls count nothing, and do not repeat log lines.
    let own = attempts.count_for(Counters::default());
    attempts.instances.set_quiet(true);
    let found = first(parts, |range| call(attempts, range));
    attempts.instances.set_quiet(false);
    attempts.count_for(own);
    match found {
        Some(index) => {
            failure.with_culprit(&format!("the {what}: {} ({} of {parts} in the call)", shown(index), index + 1))
        }
        None => failure,
    }
}

/// Finds the first part that makes a call fail, if all parts together fail; `None` if it does not fail alone.
fn first(parts: usize, mut call: impl FnMut(Range<usize>) -> Result<(), CallFailure>) -> Option<usize> {
    let (mut range, mut known) = (0..parts, true);
    while range.len() > 1 {
        let middle = range.start + range.len() / 2;
        match call(range.start..middle) {
            Ok(()) => (range, known) = (middle..range.end, false),
            Err(failure) if failure.trap.is_some() => (range, known) = (range.start..middle, true),
            Err(_) => return None,
        }
    }
    // That the first half went well does not say that the second fails.
    (known || call(range.clone()).is_err_and(|failure| failure.trap.is_some())).then_some(range.start)
}

/// Formats a row: `user = ann, amount = -3`.
pub fn describe_row(rows: &RecordBatch, row: usize) -> String {
    let schema = rows.schema();
    let value = |(name, column): (&String, &ArrayRef)| {
        let value = array_value_to_string(column.as_ref(), row).unwrap_or_default();
        format!("{name} = {}", printable(&value, VALUE_BYTES_MAX))
    };
    let names = schema.fields().iter().map(|field| field.name());
    let mut values: Vec<String> = names.zip(rows.columns()).take(COLUMNS_SHOWN_MAX).map(value).collect();
    if rows.num_columns() > COLUMNS_SHOWN_MAX {
        values.push("…".into());
    }
    if values.is_empty() { "without columns".into() } else { values.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_base::error::Error;

    fn failing() -> CallFailure {
        CallFailure { trap: Some(Trap::Trap), ..CallFailure::from_error(Error::plugin("it failed")) }
    }

    #[test]
    fn the_first_part_that_fails_by_itself_is_found() {
        for parts in 1..40 {
            for bad in 0..parts {
                let mut calls = 0;
                let found = first(parts, |range| {
                    calls += 1;
                    let fails = range.contains(&bad) || range.contains(&(parts - 1));
                    if fails { Err(failing()) } else { Ok(()) }
                });
                assert_eq!(found, Some(bad), "{bad} of {parts}");
                assert!(calls <= 7, "{calls} calls for {parts}");
            }
        }
    }

    #[test]
    fn what_does_not_fail_alone_is_not_named() {
        assert_eq!(first(8, |range| if range.len() > 3 { Err(failing()) } else { Ok(()) }), None);
        assert_eq!(first(8, |_| Err(CallFailure::from_error(Error::plugin("no machine")))), None);
    }
}
