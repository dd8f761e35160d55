//! How far a source was read, as a table of a checkpoint.

use super::fold;
use super::state_file::REMOVED;
use super::types::{Column, StateFile, Table, TableOf};
use crate::batch::keys::KEY_GROUPS;
use crate::batch::position::{Position, Positions, move_all};
use crate::checkpoint::changes::Changes;
use crate::error::{Error, Result};
use crate::fault;
use crate::ids::BatchId;
use crate::job::spec::{SourceKind, SourceSpec};
use arrow::array::{AsArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use std::collections::BTreeSet;
use std::sync::Arc;

/// All key groups: positions belong to whoever receives the source.
pub const ALL_GROUPS: (u32, u32) = (0, KEY_GROUPS as u32);

/// The positions of one source while the job runs.
#[derive(Default)]
pub struct PositionTable {
    positions: Positions,
    /// Names whose position no checkpoint holds yet.
    changed: BTreeSet<String>,
    files: Vec<StateFile>,
}

impl PositionTable {
    /// The positions that a checkpoint's files hold.
    pub fn new(positions: Positions, files: Vec<StateFile>) -> PositionTable {
        PositionTable { positions, changed: BTreeSet::new(), files }
    }

    /// All of them.
    pub fn positions(&self) -> &Positions {
        &self.positions
    }

    /// A batch moved some of them.
    pub fn apply(&mut self, moved: Vec<(String, Position)>) {
        self.changed.extend(moved.iter().map(|(name, _)| name.clone()));
        move_all(&mut self.positions, moved);
    }

    /// What the checkpoint after this batch has to hold of them; nothing where none moved.
    pub fn changes(&mut self, table: usize, after: BatchId) -> Result<Option<Changes>> {
        let changed = std::mem::take(&mut self.changed);
        if changed.is_empty() || (fault::bug!("position-lost") && !self.files.is_empty()) {
            return Ok(None);
        }
        let (first, end) = ALL_GROUPS;
        let rows = self.positions.len() as u64;
        let base = fold::base_due(&self.files, first, end, changed.len() as u64, rows);
        let rows = if base {
            rows_of(self.positions.iter().map(|(name, position)| (name, Some(position))))
        } else {
            rows_of(changed.iter().map(|name| (name, self.positions.get(name))))
        }?;
        fold::note(&mut self.files, after, ALL_GROUPS, base, rows.num_rows() as u64);
        Ok(Some(Changes::small(table, ALL_GROUPS, base, rows)))
    }
}

/// Without a position: the name is to be forgotten.
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

/// The positions that files hold, applied one after the other.
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
pub fn table_of(source: &SourceSpec) -> Table {
    let identity = match &source.kind {
        SourceKind::Socket { address } => format!("socket {address}"),
        SourceKind::RawSocket { address } => format!("raw-socket {address}"),
        SourceKind::Directory { path, .. } | SourceKind::Retry { path, .. } => format!("directory {}", path.display()),
        SourceKind::File { path } => format!("file {}", path.display()),
        SourceKind::Follow { path, .. } => format!("follow {}", path.display()),
        SourceKind::Rate { .. } => "rate".to_owned(),
        SourceKind::Queue { path } => format!("queue {}", path.display()),
        // From wherever it comes: what counts is whether it differs from what is in effect.
        SourceKind::Table(_) => "table".to_owned(),
    };
    let column = |name: &str, kind: &str| Column { name: name.into(), kind: kind.into(), nullable: kind != "text" };
    Table {
        of: TableOf::Source,
        name: source.name.clone(),
        identity,
        key: vec![column("file", "text")],
        sub: Vec::new(),
        state: vec![column("offset", "int64"), column("mark", "int64")],
        version: String::new(),
        files: Vec::new(),
    }
}

/// Whether rows that were received and are in no batch must be taken over by the next start. A table is read again.
pub fn keeps_leftovers(source: &SourceSpec) -> bool {
    keeps_rows(source) && !matches!(source.kind, SourceKind::Table(_))
}

/// Whether what a source sent cannot be read again, so that plans must keep the rows themselves.
pub fn keeps_rows(source: &SourceSpec) -> bool {
    matches!(source.kind, SourceKind::Socket { .. } | SourceKind::RawSocket { .. } | SourceKind::Table(_))
}
