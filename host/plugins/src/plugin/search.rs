//! Finds the rows that make a call fail, with calls on fewer of them. A pure function over a call.
//!
//! After a call on all rows, calls on halves of what fails follow, from the first row on, until the first failing row is alone. Successful
//! results on the way are kept, so that no row is in two successful calls. One failing row among n costs about log2(n) calls. Adjacent
//! failing rows cost about one call each: the next call is as wide as the last distance between two of them suggests.

use std::ops::Range;

#[cfg(test)]
mod tests;

/// The result of a call on some rows.
pub enum TriedRows<T, F> {
    /// The call succeeded.
    Good(T),
    /// The call failed.
    Bad(F),
    /// The call was not made, because the limit of calls was reached.
    Spent,
}

/// The result of a search, in the order of the rows. `good`, `bad` and `rest` together have each row once.
pub struct SearchResult<T, F> {
    /// Calls that succeeded.
    pub good: Vec<(Range<usize>, T)>,
    /// Rows that fail alone.
    pub bad: Vec<(usize, F)>,
    /// Rows left when the limit of calls was reached; may be empty.
    pub rest: Range<usize>,
}

/// Searches among this many rows; the first call is on all of them. Rows that only fail together, for example by a memory limit, are in
/// smaller calls that succeed. An error of a call ends the search.
pub fn search<T, F, E>(
    rows: usize,
    mut call: impl FnMut(Range<usize>) -> Result<TriedRows<T, F>, E>,
) -> Result<SearchResult<T, F>, E> {
    let mut found = SearchResult { good: Vec::new(), bad: Vec::new(), rest: rows..rows };
    let (mut start, mut width) = (0, rows);
    while start < rows {
        let mut end = start.saturating_add(width).min(rows);
        let mut alone = match call(start..end)? {
            TriedRows::Good(result) => {
                found.good.push((start..end, result));
                start = end;
                width = width.saturating_mul(2);
                continue;
            }
            TriedRows::Bad(failure) => (end - start == 1).then_some(failure),
            TriedRows::Spent => return Ok(SearchResult { rest: start..rows, ..found }),
        };
        // A call up to `end` failed, so there is a failing row in `start..end` if rows are independent.
        let mut widest = 1;
        while start < end && alone.is_none() {
            let middle = start + (end - start).div_ceil(2);
            match call(start..middle)? {
                TriedRows::Good(result) => {
                    found.good.push((start..middle, result));
                    widest = widest.max(middle - start);
                    start = middle;
                }
                TriedRows::Bad(failure) => {
                    alone = (middle - start == 1).then_some(failure);
                    end = middle;
                }
                TriedRows::Spent => return Ok(SearchResult { rest: start..rows, ..found }),
            }
        }
        width = match alone {
            None => widest,
            Some(failure) => {
                let between = found.bad.last().map(|(before, _)| start - before - 1);
                found.bad.push((start, failure));
                start += 1;
                between.map_or(rows, |between| between.saturating_mul(2)).max(1)
            }
        };
    }
    Ok(found)
}
