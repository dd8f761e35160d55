//! Reads the tables of a checkpoint as rows, for a worker that takes over its key groups.

use super::fold::{self, LiveFile};
use super::indexed_file::IndexedFile;
use super::state_file;
use super::store::Store;
use super::types::{Column, StateFile, Table, TableOf};
use arrow::array::RecordBatch;
use arrow::datatypes::Field;
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchId;
use millstream_rows::batch::types::ColumnType;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Returns the rows of these key groups, file by file in the order in which they apply, without those superseded by newer bases. An error names the
/// file that is missing or damaged. It also names `older`, if set: the last batch of an older checkpoint that can still be reached.
pub fn load_table(
    store: &dyn Store,
    table: &Table,
    first: u32,
    end: u32,
    older: Option<BatchId>,
) -> Result<Vec<RecordBatch>> {
    let mut all = Vec::new();
    let loaded = load(
        table,
        first,
        end,
        |file| read_file(store, file),
        |rows| {
            all.push(rows);
            Ok(())
        },
    );
    loaded.map(|()| all).map_err(|error| {
        let error = within(store, table, error);
        match older {
            None => error,
            Some(older) => Error {
                message: format!(
                    "{}\nthe last batch that can still be reached is {older}, with `--resume-from {older}`",
                    error.message
                ),
                ..error
            },
        }
    })
}

/// Does the same slice by slice, with at most one file in memory.
pub fn each_file(
    store: &dyn Store,
    table: &Table,
    first: u32,
    end: u32,
    take: impl FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    each_live(store, table, &fold::live(&table.files, first, end), take)
}

/// Does the same for valid files, see [`fold::live`].
pub fn each_live(
    store: &dyn Store,
    table: &Table,
    live: &[LiveFile],
    take: impl FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    load_live(table, live, |file| read_file(store, file), take).map_err(|error| within(store, table, error))
}

/// Opens a file with an index, to look up rows in it, see [`IndexedFile::open`]. `file`: creates an unnamed file for an object of a remote store.
pub fn open_indexed(
    store: &dyn Store,
    table: &Table,
    entry: &StateFile,
    file: impl FnOnce() -> Result<File>,
) -> Result<Option<IndexedFile>> {
    let open = || {
        if let Ok(Some(file)) = store.open(&entry.path) {
            return Ok(Some(file));
        }
        let Some(bytes) = store.read(&entry.path).map_err(Error::environment)? else { return Ok(None) };
        state_file::check(entry, &bytes)?;
        let copy = file()?;
        let written = copy.write_all_at(&bytes, 0);
        written.map_err(|error| Error::environment(format!("a copy of {} cannot be kept: {error}", entry.path)))?;
        Ok(Some(copy))
    };
    IndexedFile::open(entry, open).map_err(|error| within(store, table, error))
}

fn read_file(store: &dyn Store, file: &StateFile) -> Result<Vec<RecordBatch>> {
    let bytes = store.read(&file.path).map_err(Error::environment)?;
    let missing = || Error::environment(format!("{} is missing; restore it from a copy", file.path));
    state_file::decode(file, &bytes.ok_or_else(missing)?)
}

fn within(store: &dyn Store, table: &Table, error: Error) -> Error {
    error.within(format!("the checkpoint in {}: {}", store.location(), about(table)))
}

/// Describes a table, for messages.
pub fn about(table: &Table) -> String {
    match table.of {
        TableOf::Stage => format!("state of stage `{}`", table.name),
        TableOf::Source => format!("positions of source `{}`", table.name),
    }
}

/// Does the same as [`each_file`], over files from any source.
pub fn load(
    table: &Table,
    first: u32,
    end: u32,
    read: impl Fn(&StateFile) -> Result<Vec<RecordBatch>>,
    take: impl FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    load_live(table, &fold::live(&table.files, first, end), read, take)
}

fn load_live(
    table: &Table,
    live: &[LiveFile],
    read: impl Fn(&StateFile) -> Result<Vec<RecordBatch>>,
    mut take: impl FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    for live in live {
        for part in read(live.file)? {
            take(counting(table, live, part)?)?;
        }
    }
    Ok(())
}

/// Returns the valid rows of a file.
fn counting(table: &Table, live: &LiveFile, rows: RecordBatch) -> Result<RecordBatch> {
    if live.is_complete() {
        return Ok(rows);
    }
    let to_error =
        |error| Error::environment(format!("the rows of {} cannot be distinguished: {error}", live.file.path));
    let counting = match table.of {
        TableOf::Stage => fold::rows_in_groups(&rows, table.key.len(), &live.groups),
        TableOf::Source => fold::partition_rows_in_groups(&rows, &live.groups),
    };
    counting.map_err(to_error)
}

/// Returns columns as Arrow fields.
pub fn fields<'a>(columns: impl IntoIterator<Item = &'a Column>) -> Result<Vec<Arc<Field>>> {
    let field = |column: &Column| match ColumnType::from_name(&column.kind) {
        Some(kind) => Ok(Arc::new(Field::new(&column.name, kind.arrow(), column.nullable))),
        None => Err(Error::environment(format!(
            "column `{}` of the checkpoint is of type `{}`, which this version does not support; use the version \
             that wrote it, or a newer one",
            column.name, column.kind
        ))),
    };
    columns.into_iter().map(field).collect()
}
