//! Where the sources go on after a start.

use super::positions::PositionTable;
use super::types::PlanEntry;
use millstream_base::batch::chunk::Chunk;
use millstream_base::batch::partition::{CLOCK_PREFIX, Share};
use millstream_base::batch::position::{self, Position, Positions};
use millstream_base::ids::BatchId;
use millstream_base::job::spec::{Origin, SourceSpec};
use millstream_connectors::receiver::replay;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// Where one source goes on, or what a process has of its partitions.
pub struct SourceStart {
    /// The partitions that are received here.
    pub share: Share,
    /// Its positions at the checkpoint.
    pub table: PositionTable,
    /// Positions of partitions that other processes receive, as far as a receiver has to know of them: which there are, so that it
    /// knows those that are new.
    pub others: Positions,
    /// Whether it has to know all: what follows upon a partition may be received in another process.
    needs_others: bool,
    /// The files that others read again.
    others_again: BTreeSet<String>,
    /// What the plans of the batches to run again say of it.
    pub entries: BTreeMap<BatchId, PlanEntry>,
    /// Rows that were received and are in no batch that counts: they come first.
    pub leftovers: Vec<Chunk>,
    /// The positions that these move beside that of the rows.
    pub leftovers_moved: Vec<(String, Position)>,
}

/// Where the receiver of a source goes on.
pub struct ReceiverStart {
    /// The source is read up to there, with the rows that come first.
    pub positions: Positions,
    /// Rows that come before what it receives, and what they move.
    pub leftovers: Vec<Chunk>,
    /// The positions that these move beside that of the rows.
    pub leftovers_moved: Vec<(String, Position)>,
}

impl SourceStart {
    /// Goes on from the positions of the checkpoint.
    pub fn from(share: Share, table: PositionTable) -> SourceStart {
        SourceStart {
            share,
            table,
            others: Positions::new(),
            needs_others: false,
            others_again: BTreeSet::new(),
            entries: BTreeMap::new(),
            leftovers: Vec::new(),
            leftovers_moved: Vec::new(),
        }
    }

    /// The same, which has to know all that is known of other partitions.
    #[must_use]
    pub fn knowing_others(self) -> SourceStart {
        SourceStart { needs_others: true, ..self }
    }

    /// Some process has these positions.
    pub fn know_others(&mut self, told: impl IntoIterator<Item = (String, Position)>) {
        let SourceStart { share, needs_others, .. } = self;
        let is_needed = |name: &str| !share.owns(name) && (*needs_others || name.starts_with(CLOCK_PREFIX));
        position::move_all(&mut self.others, told.into_iter().filter(|(name, _)| is_needed(name)));
    }

    /// What the plan of a batch to run again says, of all that is received here: there is a plan for each process that there
    /// was, and partitions may have moved since.
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
            self.others_again.extend(chunks_of_others.into_iter().map(|chunk| chunk.extent.file));
        }
        self.know_others(others);
    }

    /// The files that the batches to run again read are looked at: what was brought back for them is not new.
    pub fn know_again(&mut self, source: &SourceSpec, origin: &Origin) {
        let chunks = self.entries.values().flat_map(|entry| &entry.chunks);
        let files: BTreeSet<String> = chunks.map(|chunk| chunk.extent.file.clone()).collect();
        let moved = self.entries.values_mut().flat_map(|entry| &mut entry.moved);
        replay::brought_back(source, origin, &files, moved);
        let again = std::mem::take(&mut self.others_again);
        let of_others = self.others.iter().filter(|(name, _)| again.contains(*name));
        let mut of_others: Vec<(String, Position)> = of_others.map(|(name, at)| (name.clone(), *at)).collect();
        replay::brought_back(source, origin, &again, of_others.iter_mut());
        self.others.extend(of_others);
    }

    /// Its positions after the batches to run again.
    pub fn end(&self) -> Positions {
        let mut positions = self.table.positions().clone();
        position::move_all(&mut positions, self.entries.values().flat_map(|entry| entry.moved.iter().cloned()));
        positions
    }
}

/// Where each source goes on, by number; nothing is there for a source that another process receives. Each is read by the
/// source's receiver first, and then taken once by the worker that cuts its batches.
pub struct SourceStarts(Vec<Mutex<Option<SourceStart>>>);

impl SourceStarts {
    /// Of the sources of a job, in order.
    pub fn new(starts: impl Iterator<Item = Option<SourceStart>>) -> SourceStarts {
        SourceStarts(starts.map(Mutex::new).collect())
    }

    /// Where the batches of a source go on; once.
    pub fn take(&self, number: usize) -> Option<SourceStart> {
        self.0.get(number)?.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Where the receiver of a source goes on. The rows that come before what it receives are taken out.
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
    use millstream_base::batch::chunk::PlannedChunk;
    use millstream_base::batch::position::Extent;

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
            let share = Share::of(process, 3);
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
