//! Which files of a state table count for which key groups, and when a new base is due. Pure decisions.
//!
//! Files apply in order. A base holds all rows of the key groups of the worker that wrote it, so in these groups, and
//! only there, older files do not count. Another start may have had other workers, so ranges overlap in any way.

use super::types::StateFile;
use crate::limits::STATE_DELTAS_MAX;
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::error::ArrowError;
pub use millstream_base::batch::keys::group_range;
use millstream_base::batch::keys::{KEY_GROUPS, KeyHash, Keys};
use millstream_base::batch::partition;
use millstream_base::ids::BatchId;
use std::ops::Range;

/// A file, and the key groups in which it counts.
#[derive(Debug)]
pub struct LiveFile<'a> {
    /// The file.
    pub file: &'a StateFile,
    /// Its place among the table's files.
    pub place: usize,
    /// Key groups, in order.
    pub groups: Vec<Range<u32>>,
}

impl LiveFile<'_> {
    /// Whether the file counts in all of its key groups, so that its rows need not be looked at.
    pub fn whole(&self) -> bool {
        matches!(&*self.groups, [only] if only.start <= self.file.group_first && only.end >= self.file.group_end)
    }

    /// About how many of the file's rows count, if they are spread evenly.
    pub fn rows(&self) -> u64 {
        self.share_of(self.file.rows)
    }

    /// How much of what the file has so much of belongs to these groups, about.
    pub fn share_of(&self, all_of_it: u64) -> u64 {
        let counts: u64 = self.groups.iter().map(|groups| u64::from(groups.end - groups.start)).sum();
        let all = u64::from(self.file.group_end.saturating_sub(self.file.group_first)).max(1);
        (u128::from(all_of_it) * u128::from(counts) / u128::from(all)) as u64
    }
}

/// The files that count in some of these key groups, in the order in which they apply, with the groups in which they do.
pub fn live(files: &[StateFile], first: u32, end: u32) -> Vec<LiveFile<'_>> {
    let mut live = Vec::new();
    // What no newer base covers, from the newest file to the oldest.
    let mut open: Vec<Range<u32>> = std::iter::once(first..end).collect();
    for (place, file) in files.iter().enumerate().rev() {
        let own = file.group_first..file.group_end;
        let groups: Vec<Range<u32>> = open.iter().map(|groups| both(groups, &own)).filter(|g| !g.is_empty()).collect();
        if groups.is_empty() {
            continue;
        }
        live.push(LiveFile { file, place, groups });
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

/// The files that may hold rows of these key groups, in order, without those that newer bases cover there.
pub fn applicable(files: &[StateFile], first: u32, end: u32) -> Vec<&StateFile> {
    live(files, first, end).into_iter().map(|live| live.file).collect()
}

/// Whether a worker that owns these key groups is to write all of its rows now, and not only those that changed: when
/// the changes since the last base would be as many rows as the table has, when they lie in too many files, or when
/// there is no base yet for some of the groups.
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

/// Which of these key groups should be written whole next, where that is done a part at a time: those in which most files of changes
/// count.
pub fn next_part(files: &[StateFile], first: u32, end: u32, parts: u32) -> Range<u32> {
    let step = end.saturating_sub(first).div_ceil(parts.max(1)).max(1);
    let ranges = (first..end).step_by(step as usize).map(|start| start..start.saturating_add(step).min(end));
    let changes = |part: &Range<u32>| live(files, part.start, part.end).iter().filter(|live| !live.file.base).count();
    // The first of those that have as many.
    ranges.rev().max_by_key(changes).unwrap_or(first..end)
}

/// Drops the files that count nowhere any more.
pub fn prune(mut files: Vec<StateFile>) -> Vec<StateFile> {
    let mut counts = vec![false; files.len()];
    for live in live(&files, 0, KEY_GROUPS as u32) {
        if let Some(counts) = counts.get_mut(live.place) {
            *counts = true;
        }
    }
    let mut counts = counts.into_iter();
    files.retain(|_| counts.next() == Some(true));
    files
}

/// Of a file's rows those in these key groups; the first `keys` columns are the key.
pub fn only(rows: &RecordBatch, keys: usize, groups: &[Range<u32>]) -> Result<RecordBatch, ArrowError> {
    let columns = rows.columns().get(..keys).ok_or_else(|| ArrowError::SchemaError("it lacks key columns".into()))?;
    // Rows without a key belong to the first worker.
    let hashes = match columns {
        [] => vec![KeyHash(0); rows.num_rows()],
        columns => Keys::encode(columns, rows.num_rows())?.hashes(),
    };
    within(rows, hashes.into_iter().map(|hash| hash.group() as u32), groups)
}

/// The same of positions, whose first column names partitions: these lie in key groups of their own.
pub fn only_partitions(rows: &RecordBatch, groups: &[Range<u32>]) -> Result<RecordBatch, ArrowError> {
    let names = rows.columns().first().and_then(|names| names.as_string_opt::<i32>());
    let names = names.ok_or_else(|| ArrowError::SchemaError("its first column is no text".into()))?;
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

/// Adds a file that is to be written to those that a worker knows of, as far as [`base_due`] looks at it.
pub fn note(files: &mut Vec<StateFile>, after: BatchId, (first, end): (u32, u32), base: bool, rows: u64) {
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
