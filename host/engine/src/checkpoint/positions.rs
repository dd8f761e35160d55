//! The positions of a source, as a table of a checkpoint.

use super::meaning::MeaningDigests;
use super::store::Store;
use super::types::{Column, REMOVED, StateFile, Table, TableOf};
use super::{fold, read};
use crate::checkpoint::changes::TableChanges;
use arrow::array::{AsArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use millstream_base::error::{Error, Result};
use millstream_base::fault;
use millstream_base::ids::BatchId;
use millstream_job::spec::{Origin, SourceSpec};
use millstream_rows::batch::keys::KEY_GROUPS;
use millstream_rows::batch::partition::Share;
use millstream_rows::batch::position::{Position, Positions, move_all};
use std::collections::BTreeSet;
use std::sync::Arc;

/// All key groups: positions belong to the process that receives the source.
pub const ALL_GROUPS: (u32, u32) = (0, KEY_GROUPS as u32);

/// The positions of one source while the job runs, or of those partitions that a process receives.
pub struct PositionTable {
    share: Share,
    positions: Positions,
    /// Names whose position no checkpoint holds yet.
    changed: BTreeSet<String>,
    files: Vec<StateFile>,
}

impl PositionTable {
    /// Creates a table without positions.
    pub fn empty(share: Share) -> PositionTable {
        PositionTable { share, positions: Positions::new(), changed: BTreeSet::new(), files: Vec::new() }
    }

    /// Loads the positions from a checkpoint's files.
    pub fn load(table: &Table, share: Share, store: &dyn Store) -> Result<PositionTable> {
        let rows = read::load_table(store, table, share.first, share.end, None)?;
        let mut positions = restore(&table.name, &rows)?;
        if fault::bug!("partition-lost") {
            let same = |file: &StateFile| (file.group_first, file.group_end) == (share.first, share.end);
            positions.retain(|_, _| table.files.iter().any(same));
        }
        Ok(PositionTable { positions, files: table.files.clone(), ..PositionTable::empty(share) })
    }

    /// Returns the positions of all files.
    pub fn positions(&self) -> &Positions {
        &self.positions
    }

    /// Applies the positions that a batch changed.
    pub fn apply(&mut self, moved: Vec<(String, Position)>) {
        self.changed.extend(moved.iter().map(|(name, _)| name.clone()));
        move_all(&mut self.positions, moved);
    }

    /// Returns what the checkpoint after this batch has to hold of them; nothing if none changed.
    pub fn changes(&mut self, table: usize, after: BatchId) -> Result<Option<TableChanges>> {
        let changed = std::mem::take(&mut self.changed);
        if changed.is_empty() || (fault::bug!("position-lost") && !self.files.is_empty()) {
            return Ok(None);
        }
        let Share { first, end } = self.share;
        let rows = self.positions.len() as u64;
        let base = fold::base_due(&self.files, first, end, changed.len() as u64, rows);
        let rows = if base {
            rows_of(self.positions.iter().map(|(name, position)| (name, Some(position))))
        } else {
            rows_of(changed.iter().map(|name| (name, self.positions.get(name))))
        }?;
        fold::add_file(&mut self.files, after, (first, end), base, rows.num_rows() as u64);
        Ok(Some(TableChanges::small(table, (first, end), base, rows)))
    }
}

/// Returns the rows of a state file. A name without a position is to be deleted.
fn rows_of<'a>(positions: impl Iterator<Item = (&'a String, Option<&'a Position>)>) -> Result<RecordBatch> {
    let (mut files, mut offsets, mut marks, mut removed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (name, position) in positions {
        files.push(name.as_str());
        offsets.push(position.map(|position| i64::try_from(position.offset).unwrap_or(i64::MAX)));
        marks.push(position.map(|position| position.mark));
        removed.push(position.is_none());
    }
    let removed = BooleanArray::from(removed);
    let schema = Schema::new(vec![
        Field::new("file", DataType::Utf8, false),
        Field::new("offset", DataType::Int64, true),
        Field::new("mark", DataType::Int64, true),
        Field::new(REMOVED, DataType::Boolean, false),
    ]);
    RecordBatch::try_new(
        Arc::new(schema),
        vec![
            Arc::new(StringArray::from(files)),
            Arc::new(Int64Array::from(offsets)),
            Arc::new(Int64Array::from(marks)),
            Arc::new(removed),
        ],
    )
    .map_err(Error::arrow)
}

/// Returns the positions in files, applied one after the other.
pub fn restore(table: &str, files: &[RecordBatch]) -> Result<Positions> {
    let mut positions = Positions::new();
    for rows in files {
        let column = |name: &str| {
            rows.column_by_name(name)
                .ok_or_else(|| Error::environment(format!("the positions of source `{table}` have no column `{name}`")))
        };
        let wrong = || Error::environment(format!("the positions of source `{table}` have columns of other types"));
        let names = column("file")?.as_string_opt::<i32>().ok_or_else(wrong)?;
        let offsets = column("offset")?.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?;
        let marks = column("mark")?.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?;
        let removed = column(REMOVED)?.as_boolean_opt().ok_or_else(wrong)?;
        for row in 0..rows.num_rows() {
            if removed.value(row) {
                positions.remove(names.value(row));
                continue;
            }
            let position = Position { offset: offsets.value(row).unsigned_abs(), mark: marks.value(row) };
            positions.insert(names.value(row).to_owned(), position);
        }
    }
    Ok(positions)
}

/// A source's table, without files.
pub fn table_of(source: &SourceSpec, origin: &Origin) -> Table {
    let written = |key: &str| origin.written.at(&format!("sources.{}.{key}", source.name));
    let column = |name: &str, kind: &str| Column { name: name.into(), kind: kind.into(), nullable: kind != "text" };
    Table {
        of: TableOf::Source,
        name: source.name.clone(),
        identity: source.kind.identity(&written),
        reads: String::new(),
        key: vec![column("file", "text")],
        sub: Vec::new(),
        state: vec![column("offset", "int64"), column("mark", "int64")],
        version: String::new(),
        meaning: MeaningDigests::default(),
        files: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_base::random::Random;
    use millstream_rows::batch::partition::clock_name;
    use std::collections::BTreeMap;

    /// A job that is restarted repeatedly, with another number of processes each time.
    #[test]
    fn each_partition_has_its_position_in_one_process_however_many_there_are() {
        for case in 0..300 {
            let mut random = Random(case);
            let mut table =
                Table { of: TableOf::Source, key: Vec::new(), ..Table::of_stage("in", "", Default::default()) };
            let mut stored: BTreeMap<String, Vec<RecordBatch>> = BTreeMap::new();
            let mut expected = Positions::new();
            for start in 0..6 {
                let processes = 1 + random.below(4) as usize;
                let mut tables: Vec<PositionTable> = Vec::new();
                let mut found = Positions::new();
                for process in 0..processes {
                    let share = Share::new(process, processes);
                    let mut rows = Vec::new();
                    let read = |file: &StateFile| Ok(stored[&file.path].clone());
                    let take = |part| {
                        rows.push(part);
                        Ok(())
                    };
                    read::load(&table, share.first, share.end, read, take).unwrap();
                    let positions = restore("in", &rows).unwrap();
                    for (name, position) in &positions {
                        assert!(share.owns(name), "case {case}: {name} is of another process");
                        assert_eq!(found.insert(name.clone(), *position), None, "case {case}: {name} twice");
                    }
                    tables.push(PositionTable { positions, files: table.files.clone(), ..PositionTable::empty(share) });
                }
                assert_eq!(found, expected, "case {case}: {processes} processes");
                for barrier in 0..1 + random.below(4) {
                    for (process, own) in tables.iter_mut().enumerate() {
                        let mut moved = Vec::new();
                        for number in 0..8 {
                            if random.below(3) > 0 {
                                continue;
                            }
                            let name = if number == 7 { clock_name("t/1") } else { format!("t/{number}") };
                            let gone = random.below(6) == 0;
                            let position =
                                if gone { Position::GONE } else { Position { offset: random.below(99), mark: 0 } };
                            if own.share.owns(&name) {
                                moved.push((name, position));
                            }
                        }
                        move_all(&mut expected, moved.clone());
                        own.apply(moved);
                        let batch = BatchId(start * 10 + barrier);
                        let Some(changes) = own.changes(0, batch).unwrap() else { continue };
                        let path = format!("{start}-{barrier}-{process}");
                        let file = StateFile {
                            path: path.clone(),
                            batch,
                            group_first: changes.groups.0,
                            group_end: changes.groups.1,
                            base: changes.base,
                            rows: changes.num_rows(),
                            bytes: 0,
                            checksum: String::new(),
                            footer: String::new(),
                        };
                        table.files.push(file);
                        stored.insert(path, changes.rows);
                    }
                    table.files = fold::prune(std::mem::take(&mut table.files));
                }
            }
        }
    }
}
