//! World `update`: first guilty groups are looked for, then the guilty rows of each, which is called with its old state
//! and all that is good of it.

use super::{RowFailure, Schemas, Trials, search_from, shifted};
use crate::plugin::counters::Counters;
use crate::plugin::groups::{DueTimes, Groups, TimerChange, Updated};
use crate::plugin::search::TriedRows;
use arrow::array::{BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat_batches, take};
use millstream_base::context::CallContext;
use millstream_base::error::{Error, Result};
use millstream_rows::batch::rejected::RejectedRow;
use std::ops::Range;

/// `known`: what the call on all groups said.
pub fn update(
    trials: &mut Trials<'_>,
    known: RowFailure,
    context: CallContext,
    groups: &Groups,
    schemas: &Schemas,
) -> Result<Updated> {
    trials.unbound();
    let found = search_from(groups.keys.num_rows(), known, |range| {
        let part = groups.subset(range);
        trials.call(part.rows.num_rows(), |attempts| attempts.update(context, &part))
    })?;
    let mut pieces: Vec<(usize, Updated)> = Vec::new();
    for (range, updated) in found.good {
        let rejections = shifted(updated.rejections, groups.rows_of(range.start).start).collect();
        pieces.push((range.start, Updated { rejections, ..updated }));
    }
    let mut rejected = Vec::new();
    for (group, failure) in found.bad {
        pieces.push((group, guilty_group(trials, failure, context, (groups, schemas), group, &mut rejected)?));
    }
    pieces.sort_by_key(|(group, _)| *group);
    joined(pieces, rejected, (groups, schemas))
}

/// Calls a group with its good rows; the others are rejected. Each call includes the rows known to be good, so that the last successful one
/// had all of them.
fn guilty_group(
    trials: &mut Trials<'_>,
    failure: RowFailure,
    context: CallContext,
    of: (&Groups, &Schemas),
    group: usize,
    rejected: &mut Vec<RejectedRow>,
) -> Result<Updated> {
    let (groups, _) = of;
    let rows = groups.rows_of(group);
    trials.bound(rows.len());
    let mut good: Vec<u32> = Vec::new();
    let mut last: Option<(Updated, Counters)> = None;
    let mut found = search_from(rows.len(), failure, |range| {
        let mut tried = good.clone();
        let count = range.len();
        tried.extend(range.map(|row| (rows.start + row) as u32));
        let part = groups.with_rows(group, &tried)?;
        let counters = Counters::default();
        Ok(match trials.try_call(count, &counters, |attempts| attempts.update(context, &part))? {
            TriedRows::Good(updated) => {
                good = tried;
                last = Some((updated, counters));
                TriedRows::Good(())
            }
            TriedRows::Bad(failure) => TriedRows::Bad(failure),
            TriedRows::Spent => TriedRows::Spent,
        })
    })?;
    rejected.extend(trials.refusals(&mut found, |row| (rows.start + row) as u32));
    let Some((updated, counters)) = last else { return without_rows(trials, context, of, group) };
    trials.attempts.counters().merge(context.batch, counters.snapshot());
    let original = |rejection: RejectedRow| Some(RejectedRow { row: *good.get(rejection.row as usize)?, ..rejection });
    Ok(Updated { rejections: updated.rejections.into_iter().filter_map(original).collect(), ..updated })
}

/// A group without rows: it is called if it would be called without rows, otherwise left unchanged.
fn without_rows(
    trials: &mut Trials<'_>,
    context: CallContext,
    of: (&Groups, &Schemas),
    group: usize,
) -> Result<Updated> {
    let (groups, schemas) = of;
    if groups.is_called_anyway(group) {
        let is_last = groups.timed_out.value(group) || groups.overdue.value(group);
        let part = Groups {
            rows: groups.rows.slice(0, 0),
            ends: UInt32Array::from(vec![0]),
            timed_out: BooleanArray::from(vec![is_last]),
            ..groups.subset(group..group + 1)
        };
        // It is called however many calls there were, as its timeout or its timer is not called again.
        let updated = trials.attempts.update(context, &part).map_err(Error::from)?;
        let kept = updated.kept.iter().map(|kept| Some(kept? && !is_last)).collect();
        return Ok(Updated { kept, emptied: vec![0], ..updated });
    }
    Ok(Updated {
        states: groups.states.slice(group, 1),
        kept: groups.known.slice(group, 1),
        output: RecordBatch::new_empty(schemas.output.clone()),
        rejections: Vec::new(),
        timers: Vec::new(),
        untouched: vec![0],
        emptied: vec![0],
    })
}

/// Joins pieces, each with the number of its first group; their rejections already have indexes among all rows.
fn joined(pieces: Vec<(usize, Updated)>, mut rejections: Vec<RejectedRow>, of: (&Groups, &Schemas)) -> Result<Updated> {
    let (groups, schemas) = of;
    let (mut states, mut kept, mut output) = (Vec::new(), Vec::new(), Vec::new());
    let (mut timers, mut untouched, mut emptied) = (Vec::new(), Vec::new(), Vec::new());
    for (start, piece) in pieces {
        let start = start as u32;
        states.push(piece.states);
        kept.extend(piece.kept.iter());
        output.push(piece.output);
        rejections.extend(piece.rejections);
        let moved = |change: TimerChange| TimerChange { group: change.group + start, ..change };
        timers.extend(piece.timers.into_iter().map(moved));
        untouched.extend(piece.untouched.into_iter().map(|group| group + start));
        emptied.extend(piece.emptied.into_iter().map(|group| group + start));
    }
    rejections.sort_by_key(|rejection| rejection.row);
    Ok(Updated {
        // With the schema of the old states, which are null for new keys.
        states: concat_batches(groups.states.schema_ref(), &states).map_err(Error::arrow)?,
        kept: BooleanArray::from_iter(kept),
        output: concat_batches(&schemas.output, &output).map_err(Error::arrow)?,
        rejections,
        timers,
        untouched,
        emptied,
    })
}

impl Groups {
    /// Some of the groups with all of their rows.
    pub(in crate::plugin) fn subset(&self, groups: Range<usize>) -> Groups {
        let (start, count) = (groups.start, groups.len());
        let first = self.rows_of(start).start;
        let end = groups.clone().next_back().map_or(first, |last| self.rows_of(last).end);
        Groups {
            keys: self.keys.slice(start, count),
            rows: self.rows.slice(first, end - first),
            ends: self
                .ends
                .slice(start, count)
                .iter()
                .flatten()
                .map(|end| end - first as u32)
                .collect::<Vec<_>>()
                .into(),
            states: self.states.slice(start, count),
            known: self.known.slice(start, count),
            timed_out: self.timed_out.slice(start, count),
            overdue: self.overdue.slice(start, count),
            timers: self.timers.get(groups.clone()).unwrap_or_default().to_vec(),
            due: self.due.slice(groups),
            all: self.all,
        }
    }

    /// One group with some of its rows, by index among all rows.
    fn with_rows(&self, group: usize, rows: &[u32]) -> Result<Groups> {
        let taken = take_rows(&self.rows, rows.to_vec())?;
        let ends = UInt32Array::from(vec![rows.len() as u32]);
        Ok(Groups { rows: taken, ends, ..self.subset(group..group + 1) })
    }

    /// The indexes of a group's rows.
    pub(super) fn rows_of(&self, group: usize) -> Range<usize> {
        let end = |group: usize| self.ends.values().get(group).map_or(0, |end| *end as usize);
        group.checked_sub(1).map_or(0, end)..end(group)
    }

    /// Whether a group is called though it has no rows.
    fn is_called_anyway(&self, group: usize) -> bool {
        let is_last = self.timed_out.value(group) || self.overdue.value(group);
        self.is_due(group) || is_last || (self.all && self.known.value(group))
    }

    /// Whether a group is called for a timer.
    pub(super) fn is_due(&self, group: usize) -> bool {
        !self.due.slice(group..group + 1).times_us.is_empty()
    }
}

/// Takes some of the rows, even if the plugin reads none of their columns.
pub(super) fn take_rows(rows: &RecordBatch, indexes: Vec<u32>) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(indexes.len()));
    let indexes = UInt32Array::from(indexes);
    let columns = rows.columns().iter().map(|column| take(column, &indexes, None)).collect::<Result<Vec<_>, _>>();
    let taken = columns.and_then(|columns| RecordBatch::try_new_with_options(rows.schema(), columns, &options));
    taken.map_err(Error::arrow)
}

impl DueTimes {
    /// The timers of some groups.
    fn slice(&self, groups: Range<usize>) -> DueTimes {
        let first = groups.start.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or_default();
        let ends = self.ends.get(groups).unwrap_or_default();
        let last = ends.last().copied().unwrap_or(first);
        let times_us = self.times_us.get(first as usize..last as usize).unwrap_or_default().to_vec();
        DueTimes { ends: ends.iter().map(|end| end - first).collect(), times_us: times_us.into() }
    }
}
