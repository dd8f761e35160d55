//! Where the sources resume.

use super::positions::PositionTable;
use super::types::PlanEntry;
use millstream_base::ids::BatchId;
use millstream_connect::receiver::replay;
use millstream_job::spec::{Origin, SourceSpec};
use millstream_rows::batch::chunk::Chunk;
use millstream_rows::batch::partition::{CLOCK_PREFIX, Share};
use millstream_rows::batch::position::{self, Position, Positions};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// Where one source resumes, or a process's share of its partitions.
pub struct SourceStart {
    /// The partitions that are received here.
    pub share: Share,
    /// Its positions at the checkpoint.
    pub table: PositionTable,
    /// Positions of partitions that other processes receive, so that the receiver can tell new partitions from existing ones.
    pub others: Positions,
    /// Whether it needs all of them, as the successor of a partition may be received in another process.
    needs_others: bool,
    /// The files that other processes read again.
    others_reread: BTreeSet<String>,
    /// Its plans for the batches to replay.
    pub entries: BTreeMap<BatchId, PlanEntry>,
    /// Rows that were received and are in no valid batch: they come first.
    pub leftovers: Vec<Chunk>,
    /// The positions that these change, in addition to that of the rows.
    pub leftovers_moved: Vec<(String, Position)>,
}

/// Where the receiver of a source resumes.
pub struct ReceiverStart {
    /// The positions up to which the source was read, including the leftover rows.
    pub positions: Positions,
    /// Rows that come before what it receives.
    pub leftovers: Vec<Chunk>,
    /// The positions that these change, in addition to that of the rows.
    pub leftovers_moved: Vec<(String, Position)>,
}

impl SourceStart {
    /// Resumes from the positions of the checkpoint.
    pub fn from(share: Share, table: PositionTable) -> SourceStart {
        SourceStart {
            share,
            table,
            others: Positions::new(),
            needs_others: false,
            others_reread: BTreeSet::new(),
            entries: BTreeMap::new(),
            leftovers: Vec::new(),
            leftovers_moved: Vec::new(),
        }
    }

    /// Sets that it needs all positions of other partitions.
    #[must_use]
    pub fn with_all_others(self) -> SourceStart {
        SourceStart { needs_others: true, ..self }
    }

    /// Records positions of another process.
    pub fn add_others(&mut self, process_positions: impl IntoIterator<Item = (String, Position)>) {
        let SourceStart { share, needs_others, .. } = self;
        let is_needed = |name: &str| !share.owns(name) && (*needs_others || name.starts_with(CLOCK_PREFIX));
        position::move_all(&mut self.others, process_positions.into_iter().filter(|(name, _)| is_needed(name)));
    }

    /// Adds the plan of a batch to replay, for everything that is received here. There is a plan for each process of the earlier run, and partitions
    /// may have moved since.
    pub fn add(&mut self, entry: PlanEntry) {
        let share = self.share;
        let PlanEntry { batch, time, source, made_up, chunks, moved } = entry;
        let (moved, others): (Vec<_>, Vec<_>) = moved.into_iter().partition(|(name, _)| share.owns(name));
        let none = || PlanEntry { batch, time, source, made_up, ..PlanEntry::default() };
        let own = self.entries.entry(batch).or_insert_with(none);
        let (chunks, chunks_of_others): (Vec<_>, Vec<_>) =
            chunks.into_iter().partition(|chunk| share.owns(&chunk.extent.file));
        own.chunks.extend(chunks);
        own.moved.extend(moved);
        if self.needs_others {
            self.others_reread.extend(chunks_of_others.into_iter().map(|chunk| chunk.extent.file));
        }
        self.add_others(others);
    }

    /// Checks the files of the batches to replay: files restored for the replay are not new.
    pub fn mark_reread_files(&mut self, source: &SourceSpec, origin: &Origin) {
        let chunks = self.entries.values().flat_map(|entry| &entry.chunks);
        let files: BTreeSet<String> = chunks.map(|chunk| chunk.extent.file.clone()).collect();
        let moved = self.entries.values_mut().flat_map(|entry| &mut entry.moved);
        replay::restored(source, origin, &files, moved);
        let again = std::mem::take(&mut self.others_reread);
        let of_others = self.others.iter().filter(|(name, _)| again.contains(*name));
        let mut of_others: Vec<(String, Position)> = of_others.map(|(name, at)| (name.clone(), *at)).collect();
        replay::restored(source, origin, &again, of_others.iter_mut());
        self.others.extend(of_others);
    }

    /// Returns its positions after the batches to replay.
    pub fn end(&self) -> Positions {
        let mut positions = self.table.positions().clone();
        position::move_all(&mut positions, self.entries.values().flat_map(|entry| entry.moved.iter().cloned()));
        positions
    }
}

/// Where each source resumes, by number; `None` for sources that another process receives. Each is first read by the source's receiver, and then
/// taken once by the worker that cuts its batches.
pub struct SourceStarts(Vec<Mutex<Option<SourceStart>>>);

impl SourceStarts {
    /// Creates it from the sources of a job, in order.
    pub fn new(starts: impl Iterator<Item = Option<SourceStart>>) -> SourceStarts {
        SourceStarts(starts.map(Mutex::new).collect())
    }

    /// Returns where the batches of a source resume; once.
    pub fn take(&self, number: usize) -> Option<SourceStart> {
        self.0.get(number)?.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Returns where the receiver of a source resumes. This removes the leftover rows.
    pub fn for_receiver(&self, number: usize) -> Option<ReceiverStart> {
        let mut start = self.0.get(number)?.lock().unwrap_or_else(PoisonError::into_inner);
        let start = start.as_mut()?;
        let mut positions = start.end();
        positions.extend(start.others.clone());
        let leftovers = std::mem::take(&mut start.leftovers);
        for chunk in &leftovers {
            let position = positions.entry(chunk.extent.file.clone()).or_default();
            position.offset = position.offset.saturating_add(chunk.rows() as u64);
        }
        let leftovers_moved = std::mem::take(&mut start.leftovers_moved);
        position::move_all(&mut positions, leftovers_moved.iter().cloned());
        Some(ReceiverStart { positions, leftovers, leftovers_moved })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_rows::batch::chunk::PlannedChunk;
    use millstream_rows::batch::position::Extent;

    fn entry(process: usize, partitions: &[&str]) -> PlanEntry {
        let extent = |name: &&str| Extent { file: (*name).to_owned(), ..Extent::default() };
        let chunk = |name: &&str| PlannedChunk { extent: extent(name), rows: 1, kept: None };
        let moved = partitions.iter().map(|name| ((*name).to_owned(), Position { offset: 7, mark: 0 }));
        let (chunks, source) = (partitions.iter().map(chunk).collect(), format!("in#{process}"));
        PlanEntry { batch: BatchId(3), source, chunks, moved: moved.collect(), ..PlanEntry::default() }
    }

    #[test]
    fn plans_of_other_processes_are_put_together_by_who_receives_the_partitions_now() {
        let names: Vec<String> = (0..9).map(|number| format!("t/{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (low, high) = names.split_at(4);
        let mut chunks = 0;
        for process in 0..3 {
            let share = Share::new(process, 3);
            let mut start = SourceStart::from(share, PositionTable::empty(share));
            start.add(entry(0, low));
            start.add(entry(1, high));
            let own = &start.entries[&BatchId(3)];
            assert!(own.chunks.iter().all(|chunk| share.owns(&chunk.extent.file)));
            assert_eq!(own.chunks.len(), own.moved.len());
            assert_eq!(start.end().len(), own.moved.len());
            chunks += own.chunks.len();
        }
        assert_eq!(chunks, names.len());
    }
}
