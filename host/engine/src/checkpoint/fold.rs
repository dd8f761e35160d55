//! Which files of a state table are valid for which key groups, and when a new base is due. Pure decisions.
//!
//! Files apply in order. A base holds all rows of the key groups of the worker that wrote it. In these groups, and only there, it supersedes older
//! files. Another run may have had another number of workers, so ranges overlap arbitrarily.

use super::types::StateFile;
use crate::limits::STATE_DELTAS_MAX;
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::error::ArrowError;
use millstream_base::ids::BatchId;
pub use millstream_rows::batch::keys::group_range;
use millstream_rows::batch::keys::{KEY_GROUPS, KeyHash, Keys};
use millstream_rows::batch::partition;
use std::ops::Range;

/// A file, and the key groups in which it is valid.
#[derive(Debug)]
pub struct LiveFile<'a> {
    /// The file.
    pub file: &'a StateFile,
    /// Its index among the table's files.
    pub index: usize,
    /// Key groups, in order.
    pub groups: Vec<Range<u32>>,
}

impl LiveFile<'_> {
    /// Returns whether the file is valid in all of its key groups, so that its rows need not be filtered.
    pub fn is_complete(&self) -> bool {
        matches!(&*self.groups, [rows_in_groups] if rows_in_groups.start <= self.file.group_first && rows_in_groups.end >= self.file.group_end)
    }

    /// Estimates how many of the file's rows are valid, assuming an even distribution.
    pub fn rows(&self) -> u64 {
        self.share_of(self.file.rows)
    }

    /// Estimates the share of these groups in an amount for the complete file.
    pub fn share_of(&self, all_of_it: u64) -> u64 {
        let counts: u64 = self.groups.iter().map(|groups| u64::from(groups.end - groups.start)).sum();
        let all = u64::from(self.file.group_end.saturating_sub(self.file.group_first)).max(1);
        (u128::from(all_of_it) * u128::from(counts) / u128::from(all)) as u64
    }
}

/// Returns the files that are valid in some of these key groups, in the order in which they apply, with those groups.
pub fn live(files: &[StateFile], first: u32, end: u32) -> Vec<LiveFile<'_>> {
    let mut live = Vec::new();
    // Groups not covered by a newer base, while going from the newest file to the oldest.
    let mut open: Vec<Range<u32>> = std::iter::once(first..end).collect();
    for (index, file) in files.iter().enumerate().rev() {
        let own = file.group_first..file.group_end;
        let groups: Vec<Range<u32>> = open.iter().map(|groups| both(groups, &own)).filter(|g| !g.is_empty()).collect();
        if groups.is_empty() {
            continue;
        }
        live.push(LiveFile { file, index, groups });
        if file.base {
            let sides =
                |groups: &Range<u32>| [groups.start..groups.end.min(own.start), groups.start.max(own.end)..groups.end];
            open = open.iter().flat_map(sides).filter(|groups| !groups.is_empty()).collect();
        }
    }
    live.reverse();
    live
}

fn both(a: &Range<u32>, b: &Range<u32>) -> Range<u32> {
    a.start.max(b.start)..a.end.min(b.end)
}

/// Returns the files that may hold rows of these key groups, in order, without those covered there by newer bases.
pub fn applicable(files: &[StateFile], first: u32, end: u32) -> Vec<&StateFile> {
    live(files, first, end).into_iter().map(|live| live.file).collect()
}

/// Returns whether a worker that owns these key groups is to write all of its rows now, not only the changes. That is so if the changes since the
/// last base would reach the number of rows in the table, if they are in too many files, or if some groups have no base yet.
pub fn base_due(files: &[StateFile], first: u32, end: u32, changed_rows: u64, table_rows: u64) -> bool {
    let live = live(files, first, end);
    let based = live.iter().filter(|live| live.file.base).flat_map(|live| &live.groups);
    let based: u64 = based.map(|groups| u64::from(groups.end - groups.start)).sum();
    if based < u64::from(end.saturating_sub(first)) {
        return true;
    }
    let deltas = live.iter().filter(|live| !live.file.base);
    let delta_rows = deltas.clone().fold(changed_rows, |rows, live| rows.saturating_add(live.rows()));
    changed_rows > 0 && (delta_rows >= table_rows || deltas.count() >= STATE_DELTAS_MAX)
}

/// Returns which of these key groups are to be rewritten next, if that is done part by part: those in which most files of changes are valid.
pub fn next_part(files: &[StateFile], first: u32, end: u32, parts: u32) -> Range<u32> {
    let step = end.saturating_sub(first).div_ceil(parts.max(1)).max(1);
    let ranges = (first..end).step_by(step as usize).map(|start| start..start.saturating_add(step).min(end));
    let changes = |part: &Range<u32>| live(files, part.start, part.end).iter().filter(|live| !live.file.base).count();
    // The first of those with the same number.
    ranges.rev().max_by_key(changes).unwrap_or(first..end)
}

/// Removes the files that are no longer valid anywhere.
pub fn prune(mut files: Vec<StateFile>) -> Vec<StateFile> {
    let mut counts = vec![false; files.len()];
    for live in live(&files, 0, KEY_GROUPS as u32) {
        if let Some(counts) = counts.get_mut(live.index) {
            *counts = true;
        }
    }
    let mut counts = counts.into_iter();
    files.retain(|_| counts.next() == Some(true));
    files
}

/// Returns the rows of a file in these key groups; the first `keys` columns are the key.
pub fn rows_in_groups(rows: &RecordBatch, keys: usize, groups: &[Range<u32>]) -> Result<RecordBatch, ArrowError> {
    let columns = rows.columns().get(..keys).ok_or_else(|| ArrowError::SchemaError("it lacks key columns".into()))?;
    // Rows without a key belong to the first worker.
    let hashes = match columns {
        [] => vec![KeyHash(0); rows.num_rows()],
        columns => Keys::encode(columns, rows.num_rows())?.hashes(),
    };
    within(rows, hashes.into_iter().map(|hash| hash.group() as u32), groups)
}

/// Does the same for positions, whose first column names partitions: these have their own key groups.
pub fn partition_rows_in_groups(rows: &RecordBatch, groups: &[Range<u32>]) -> Result<RecordBatch, ArrowError> {
    let names = rows.columns().first().and_then(|names| names.as_string_opt::<i32>());
    let names = names.ok_or_else(|| ArrowError::SchemaError("its first column is not text".into()))?;
    within(rows, names.iter().map(|name| partition::group_of(name.unwrap_or_default())), groups)
}

fn within(
    rows: &RecordBatch,
    of_rows: impl Iterator<Item = u32>,
    groups: &[Range<u32>],
) -> Result<RecordBatch, ArrowError> {
    let counts = of_rows.map(|group| Some(groups.iter().any(|groups| groups.contains(&group))));
    filter_record_batch(rows, &counts.collect::<BooleanArray>())
}

/// Adds a file about to be written to those that a worker knows of, with the facts that [`base_due`] uses.
pub fn add_file(files: &mut Vec<StateFile>, after: BatchId, (first, end): (u32, u32), base: bool, rows: u64) {
    files.push(StateFile {
        path: String::new(),
        batch: after,
        group_first: first,
        group_end: end,
        base,
        rows,
        bytes: 0,
        checksum: String::new(),
        footer: String::new(),
    });
    if base {
        *files = prune(std::mem::take(files));
    }
}

#[cfg(test)]
mod tests;
