use super::{SearchResult, TriedRows, search};
use millstream_base::random::Random;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ops::Range;

/// Searches with a call that fails as `fails` says; also returns the calls, in order.
fn searched(rows: usize, fails: impl Fn(Range<usize>) -> bool) -> (SearchResult<(), Range<usize>>, Vec<Range<usize>>) {
    bounded(rows, usize::MAX, fails)
}

fn bounded(
    rows: usize,
    calls_max: usize,
    fails: impl Fn(Range<usize>) -> bool,
) -> (SearchResult<(), Range<usize>>, Vec<Range<usize>>) {
    let mut calls = Vec::new();
    let found: Result<_, Infallible> = search(rows, |range| {
        assert!(range.start < range.end && range.end <= rows, "{range:?}");
        if calls.len() == calls_max {
            return Ok(TriedRows::Spent);
        }
        calls.push(range.clone());
        Ok(if fails(range.clone()) { TriedRows::Bad(range) } else { TriedRows::Good(()) })
    });
    let Ok(found) = found;
    check_all_rows(rows, &found);
    (found, calls)
}

/// Checks that the result has all rows, each once and in order, and that each failing row failed in a call of its own.
fn check_all_rows(rows: usize, found: &SearchResult<(), Range<usize>>) {
    let mut all: Vec<Range<usize>> = found.good.iter().map(|(range, ())| range.clone()).collect();
    assert!(all.is_sorted_by_key(|range| range.start));
    for (row, failure) in &found.bad {
        assert_eq!(*failure, *row..row + 1, "its own failure");
        all.push(failure.clone());
    }
    all.push(found.rest.clone());
    all.sort_by_key(|range| (range.start, range.end));
    let end = all.iter().fold(0, |end, range| {
        assert_eq!(range.start, end, "{all:?}");
        range.end
    });
    assert_eq!(end, rows);
}

fn rows_of(found: &SearchResult<(), Range<usize>>) -> BTreeSet<usize> {
    found.bad.iter().map(|(row, _)| *row).collect()
}

fn any_in(poison: &BTreeSet<usize>) -> impl Fn(Range<usize>) -> bool + '_ {
    |range| poison.range(range).next().is_some()
}

#[test]
fn one_guilty_row_of_ten_thousand_costs_twenty_more_calls_at_most() {
    let mut most = 0;
    for row in 0..10_000 {
        let (found, calls) = searched(10_000, |range| range.contains(&row));
        assert_eq!(rows_of(&found), [row].into());
        most = most.max(calls.len() - 1);
    }
    assert!((14..=20).contains(&most), "{most}");
}

#[test]
fn many_guilty_rows_cost_a_few_calls_each() {
    let (found, calls) = searched(10_000, |_| true);
    assert_eq!(found.bad.len(), 10_000);
    assert!(calls.len() < 10_050, "{}", calls.len());
    for (every, most) in [(2, 4.0), (3, 5.0), (10, 6.5), (100, 11.0)] {
        let poison: BTreeSet<usize> = (0..10_000).filter(|row| row % every == every - 1).collect();
        let (found, calls) = searched(10_000, any_in(&poison));
        assert_eq!(rows_of(&found), poison);
        let each = calls.len() as f64 / poison.len() as f64;
        assert!(each <= most, "every {every}: {each} calls a guilty row");
    }
}

#[test]
fn no_guilty_row_costs_one_call_and_no_row_none() {
    assert_eq!(searched(10_000, |_| false).1, std::slice::from_ref(&(0..10_000)));
    assert!(searched(0, |_| true).1.is_empty());
}

/// Against a look at each row.
#[test]
fn guilty_rows_are_found_wherever_they_are() {
    let mut random = Random(11);
    for round in 0..3_000 {
        let rows = random.below(200) as usize;
        let (share, clustered) = (random.below(101), random.below(2) == 1);
        let mut poison = BTreeSet::new();
        let mut bad = false;
        for row in 0..rows {
            // Failing rows are isolated, or clustered.
            if !clustered || random.below(8) == 0 {
                bad = random.below(100) < share;
            }
            if bad {
                poison.insert(row);
            }
        }
        let (found, calls) = searched(rows, any_in(&poison));
        assert_eq!(rows_of(&found), poison, "round {round}");
        let succeeded: Vec<_> = calls.into_iter().filter(|range| !any_in(&poison)(range.clone())).collect();
        let kept: Vec<_> = found.good.into_iter().map(|(range, ())| range).collect();
        assert_eq!(succeeded, kept, "no call that succeeds is made for nothing");
    }
}

/// Rows that are only too many together are all kept; failing ones are found among them.
#[test]
fn rows_that_only_fail_together_all_survive() {
    let mut random = Random(12);
    for _ in 0..1_000 {
        let rows = 1 + random.below(500) as usize;
        let fits = 1 + random.below(60) as usize;
        let (found, calls) = searched(rows, |range| range.len() > fits);
        assert_eq!(rows_of(&found), BTreeSet::new());
        assert!(calls.len() <= 10 * rows.div_ceil(fits) + 10, "{} calls for {rows} rows, {fits} fit", calls.len());
        let poison: BTreeSet<usize> = (0..rows).filter(|_| random.below(20) == 0).collect();
        let (found, _) = searched(rows, |range| range.len() > fits || any_in(&poison)(range));
        assert_eq!(rows_of(&found), poison);
    }
}

/// Random failures, as of a plugin that is not a function of its rows: nothing is lost, and the search ends.
#[test]
fn a_call_that_fails_as_it_likes_loses_no_row() {
    let random = std::cell::RefCell::new(Random(13));
    for rows in 0..400 {
        let likely = random.borrow_mut().below(10);
        let (_, calls) = searched(rows, |_| random.borrow_mut().below(10) < likely);
        assert!(calls.len() <= 20 * rows + 1);
    }
}

#[test]
fn what_is_left_when_calls_run_out_is_the_rest() {
    let poison: BTreeSet<usize> = [10, 11, 12, 60].into();
    let complete = searched(100, any_in(&poison)).1.len();
    for calls_max in 0..complete {
        let (found, calls) = bounded(100, calls_max, any_in(&poison));
        assert_eq!(calls.len(), calls_max);
        assert!(!found.rest.is_empty() && found.rest.end == 100);
        assert!(rows_of(&found).is_subset(&poison));
    }
    assert!(bounded(100, complete, any_in(&poison)).0.rest.is_empty());
}

#[test]
fn an_error_ends_the_search() {
    let mut calls = 0;
    let found = search(8, |range| {
        calls += 1;
        if range.len() == 2 { Err("no more of this") } else { Ok(TriedRows::<(), ()>::Bad(())) }
    });
    assert_eq!((found.err(), calls), (Some("no more of this"), 3));
}
