//! Which files of a state table count for which key groups, and when a new base is due. Pure decisions.
//!
//! Files apply in order. A base holds all rows of the key groups of the worker that wrote it, so in these groups, and
//! only there, older files do not count. Another start may have had other workers, so ranges overlap in any way.

use super::types::StateFile;
use crate::batch::keys::{KEY_GROUPS, KeyHash, Keys};
use crate::ids::BatchId;
use crate::limits::STATE_DELTAS_MAX;
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::error::ArrowError;
use std::ops::Range;

/// The key groups of a worker, as [`KeyHash::worker`] assigns them: the first, and one behind the last.
pub fn group_range(worker: usize, peers: usize) -> (u32, u32) {
    let peers = (peers as u64).max(1);
    let begin = |worker: u64| (worker.min(peers) * KEY_GROUPS).div_ceil(peers) as u32;
    (begin(worker as u64), begin(worker as u64 + 1))
}

/// A file, and the key groups in which it counts.
#[derive(Debug)]
pub struct Live<'a> {
    /// The file.
    pub file: &'a StateFile,
    /// Its place among the table's files.
    pub place: usize,
    /// Key groups, in order.
    pub groups: Vec<Range<u32>>,
}

impl Live<'_> {
    /// Whether the file counts in all of its key groups, so that its rows need not be looked at.
    pub fn whole(&self) -> bool {
        matches!(&*self.groups, [only] if only.start <= self.file.group_first && only.end >= self.file.group_end)
    }

    /// About how many of the file's rows count, if they are spread evenly.
    fn rows(&self) -> u64 {
        let counts: u64 = self.groups.iter().map(|groups| u64::from(groups.end - groups.start)).sum();
        let all = u64::from(self.file.group_end.saturating_sub(self.file.group_first)).max(1);
        (u128::from(self.file.rows) * u128::from(counts) / u128::from(all)) as u64
    }
}

/// The files that count in some of these key groups, in the order in which they apply, with the groups in which they do.
pub fn live(files: &[StateFile], first: u32, end: u32) -> Vec<Live<'_>> {
    let mut live = Vec::new();
    // What no newer base covers, from the newest file to the oldest.
    let mut open: Vec<Range<u32>> = std::iter::once(first..end).collect();
    for (place, file) in files.iter().enumerate().rev() {
        let own = file.group_first..file.group_end;
        let groups: Vec<Range<u32>> = open.iter().map(|groups| both(groups, &own)).filter(|g| !g.is_empty()).collect();
        if groups.is_empty() {
            continue;
        }
        live.push(Live { file, place, groups });
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
    let within = |hash: KeyHash| groups.iter().any(|groups| groups.contains(&(hash.group() as u32)));
    // Rows without a key belong to the first worker.
    let hashes = match columns {
        [] => vec![KeyHash(0); rows.num_rows()],
        columns => Keys::encode(columns, rows.num_rows())?.hashes(),
    };
    filter_record_batch(rows, &hashes.into_iter().map(|hash| Some(within(hash))).collect::<BooleanArray>())
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
    });
    if base {
        *files = prune(std::mem::take(files));
    }
}

#[cfg(test)]
mod tests;
