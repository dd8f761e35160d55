//! Which rows make a call fail: a search in calls on fewer of them. A pure function over a call.
//!
//! A call on all rows is followed by calls on the halves of what fails, from the first row on, until the first guilty one
//! stands alone. What succeeds on the way is kept, so that no row is in two calls that succeed. One guilty row among n costs
//! about log2(n) calls, and guilty rows close to each other about one each: the next call is as wide as the last distance
//! between two of them makes it seem right.

use std::ops::Range;

#[cfg(test)]
mod tests;

/// What a call on some rows said.
pub enum TriedRows<T, F> {
    /// It succeeded.
    Good(T),
    /// It failed.
    Bad(F),
    /// It was not made: there were calls enough.
    Spent,
}

/// What a search found, in the order of the rows. `good`, `bad` and `rest` together are all rows, each once.
pub struct SearchResult<T, F> {
    /// Calls that succeeded.
    pub good: Vec<(Range<usize>, T)>,
    /// Rows that fail by themselves.
    pub bad: Vec<(usize, F)>,
    /// What was left when there were calls enough; may be empty.
    pub rest: Range<usize>,
}

/// Searches among so many rows; the first call is on all of them. Rows that fail together only, as for a limit on memory,
/// are in smaller calls that succeed. An error of a call ends the search.
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
        // A call up to `end` failed, so that there is a guilty row in `start..end` if each row stands for itself.
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
