//! World `cogroup`: first guilty groups are looked for, then the guilty rows of each, those of the first input first.

use super::{RowFailure, Schemas, Trials, search_from, shifted};
use crate::plugin::counters::Counters;
use crate::plugin::groups::{Cogrouped, Cogroups};
use crate::plugin::search::TriedRows;
use arrow::array::UInt32Array;
use arrow::compute::{concat_batches, take_record_batch};
use millstream_base::context::CallContext;
use millstream_base::error::{Error, Result};
use millstream_rows::batch::rejected::RejectedRow;
use std::ops::Range;

/// `known`: what the call on all groups said.
pub fn cogroup(
    trials: &mut Trials<'_>,
    known: RowFailure,
    context: CallContext,
    groups: &Cogroups,
    schemas: &Schemas,
) -> Result<Cogrouped> {
    trials.unbound();
    let found = search_from(groups.keys.num_rows(), known, |range| {
        let part = groups.subset(range);
        let count = part.inputs.iter().map(|(rows, _)| rows.num_rows()).sum();
        trials.call(count, |attempts| attempts.cogroup(context, &part))
    })?;
    let mut rejections: Vec<Vec<RejectedRow>> = groups.inputs.iter().map(|_| Vec::new()).collect();
    let mut pieces = Vec::new();
    for (range, piece) in found.good {
        for (input, rejected) in piece.rejections.into_iter().enumerate() {
            rejections[input].extend(shifted(rejected, groups.rows_of(input, range.start).start));
        }
        pieces.push((range.start, piece.rows));
    }
    for (group, failure) in found.bad {
        let piece = guilty_group(trials, failure, context, groups, group, &mut rejections)?;
        pieces.extend(piece.map(|rows| (group, rows)));
    }
    pieces.sort_by_key(|(group, _)| *group);
    rejections.iter_mut().for_each(|rejected| rejected.sort_by_key(|rejection| rejection.row));
    let rows = concat_batches(&schemas.output, pieces.iter().map(|(_, rows)| rows)).map_err(Error::arrow)?;
    Ok(Cogrouped { rows, rejections })
}

/// Calls a group with its good rows, if there are any; the others are rejected. Each call includes the rows known to be good, so that the
/// last successful one had all of them.
fn guilty_group(
    trials: &mut Trials<'_>,
    failure: RowFailure,
    context: CallContext,
    groups: &Cogroups,
    group: usize,
    rejections: &mut [Vec<RejectedRow>],
) -> Result<Option<arrow::array::RecordBatch>> {
    let rows: Vec<(usize, u32)> = groups.all_rows_of(group).collect();
    trials.bound(rows.len());
    let mut good: Vec<(usize, u32)> = Vec::new();
    let mut last: Option<(Cogrouped, Counters)> = None;
    let mut found = search_from(rows.len(), failure, |range| {
        let mut tried = good.clone();
        let count = range.len();
        tried.extend_from_slice(&rows[range]);
        let part = groups.with_rows(group, &tried)?;
        let counters = Counters::default();
        Ok(match trials.try_call(count, &counters, |attempts| attempts.cogroup(context, &part))? {
            TriedRows::Good(piece) => {
                good = tried;
                last = Some((piece, counters));
                TriedRows::Good(())
            }
            TriedRows::Bad(failure) => TriedRows::Bad(failure),
            TriedRows::Spent => TriedRows::Spent,
        })
    })?;
    for rejection in trials.refusals(&mut found, |row| row as u32) {
        let (input, row) = rows[rejection.row as usize];
        rejections[input].push(RejectedRow { row, ..rejection });
    }
    let Some((piece, counters)) = last else { return Ok(None) };
    trials.attempts.counters().merge(context.batch, counters.snapshot());
    for (input, rejected) in piece.rejections.into_iter().enumerate() {
        let of_input: Vec<u32> = good.iter().filter(|(of, _)| *of == input).map(|(_, row)| *row).collect();
        let original =
            |rejection: RejectedRow| Some(RejectedRow { row: *of_input.get(rejection.row as usize)?, ..rejection });
        rejections[input].extend(rejected.into_iter().filter_map(original));
    }
    Ok(Some(piece.rows))
}

impl Cogroups {
    /// Some of the groups with all of their rows.
    fn subset(&self, groups: Range<usize>) -> Cogroups {
        let inputs = self.inputs.iter().enumerate().map(|(input, (rows, ends))| {
            let first = self.rows_of(input, groups.start).start;
            let end = groups.clone().next_back().map_or(first, |last| self.rows_of(input, last).end);
            let ends = ends.slice(groups.start, groups.len());
            let ends = ends.values().iter().map(|end| end - first as u32);
            (rows.slice(first, end - first), UInt32Array::from_iter_values(ends))
        });
        Cogroups { keys: self.keys.slice(groups.start, groups.len()), inputs: inputs.collect() }
    }

    /// One group with some of its rows, by input and index among all rows of the input.
    fn with_rows(&self, group: usize, rows: &[(usize, u32)]) -> Result<Cogroups> {
        let taken = self.inputs.iter().enumerate().map(|(input, (all, _))| {
            let indexes: UInt32Array =
                rows.iter().filter(|(of, _)| *of == input).map(|(_, row)| *row).collect::<Vec<_>>().into();
            let count = indexes.len() as u32;
            Ok((take_record_batch(all, &indexes).map_err(Error::arrow)?, UInt32Array::from(vec![count])))
        });
        Ok(Cogroups { keys: self.keys.slice(group, 1), inputs: taken.collect::<Result<_>>()? })
    }

    /// The indexes of a group's rows in an input.
    fn rows_of(&self, input: usize, group: usize) -> Range<usize> {
        let ends = self.inputs.get(input).map(|(_, ends)| ends.values().as_ref()).unwrap_or_default();
        let end = |group: usize| ends.get(group).map_or(0, |end: &u32| *end as usize);
        group.checked_sub(1).map_or(0, end)..end(group)
    }

    /// The rows of a group, by input and index.
    fn all_rows_of(&self, group: usize) -> impl Iterator<Item = (usize, u32)> {
        (0..self.inputs.len()).flat_map(move |input| self.rows_of(input, group).map(move |row| (input, row as u32)))
    }
}
