//! The output of plugin functions.

use crate::writer::Writer;
use crate::{Batch, Error, Row, Schema, Stage, row};

/// Output rows. Pushing one appends its fields to the output columns; text and binary are copied, and a single row needs no
/// allocation.
pub struct Out<'a, R: Row> {
    writer: R::Writer<'a>,
    rows: usize,
}

impl<'a, R: Row> Out<'a, R> {
    /// Creates an output for rows whose texts and binaries are mostly parts of `source`.
    pub(crate) fn new(rows: usize, bytes: usize, source: &'a [u8]) -> Self {
        Out { writer: R::Writer::with_capacity(rows, bytes, source), rows: 0 }
    }

    /// Appends a row.
    #[inline]
    pub fn push(&mut self, row: R::Of<'_>) {
        R::write(&mut self.writer, row);
        self.rows += 1;
    }

    pub(crate) fn into_batch(self) -> Result<Batch, Error> {
        let mut columns = Vec::new();
        self.writer.finish(&mut columns)?;
        Ok(Batch::new(self.rows, columns))
    }
}

/// Output rows, each with the key of its group before its columns. For plugins of worlds `update` and `cogroup`.
pub struct KeyedOut<'a, R: Row> {
    out: Out<'a, R>,
    /// The group of each row.
    groups: Vec<u32>,
    group: u32,
}

impl<R: Row> KeyedOut<'_, R> {
    /// Appends a row for the key of this call.
    #[inline]
    pub fn push(&mut self, row: R::Of<'_>) {
        self.out.push(row);
        self.groups.push(self.group);
    }
}

/// The common interface of [`Out`] and [`KeyedOut`], for the code that the macros generate.
pub trait Append: Sized {
    /// Creates an empty output with memory for this many rows, and bytes in each column of text or binary.
    fn with_capacity(rows: usize, bytes: usize) -> Self;
    /// Returns the number of rows so far.
    fn rows(&self) -> usize;
    /// Removes all rows from an index on.
    fn truncate(&mut self, rows: usize);
    /// Sets the group of the following rows.
    fn begin(&mut self, group: u32);
    /// Returns the columns. `keys` are the keys of the groups.
    fn finish(self, stage: &Stage, keys: Batch) -> Result<Batch, Error>;
    /// Returns the names and types of the columns.
    fn schema(stage: &Stage) -> Schema;
}

impl<R: Row> Append for Out<'_, R> {
    fn with_capacity(rows: usize, bytes: usize) -> Self {
        Out::new(rows, bytes, &[])
    }

    #[inline]
    fn rows(&self) -> usize {
        self.rows
    }

    fn truncate(&mut self, rows: usize) {
        self.writer.truncate(rows);
        self.rows = rows;
    }

    #[inline]
    fn begin(&mut self, _group: u32) {}

    fn finish(self, _stage: &Stage, _keys: Batch) -> Result<Batch, Error> {
        self.into_batch()
    }

    fn schema(_stage: &Stage) -> Schema {
        row::schema::<R>()
    }
}

impl<R: Row> Append for KeyedOut<'_, R> {
    fn with_capacity(rows: usize, bytes: usize) -> Self {
        KeyedOut { out: Out::with_capacity(rows, bytes), groups: Vec::with_capacity(rows), group: 0 }
    }

    #[inline]
    fn rows(&self) -> usize {
        self.out.rows
    }

    fn truncate(&mut self, rows: usize) {
        self.out.truncate(rows);
        self.groups.truncate(rows);
    }

    #[inline]
    fn begin(&mut self, group: u32) {
        self.group = group;
    }

    fn finish(self, stage: &Stage, keys: Batch) -> Result<Batch, Error> {
        // Usually each group has one row. Then the key columns are returned unchanged.
        let each_once = self.groups.len() == keys.rows() && self.groups.iter().zip(0..).all(|(&group, i)| group == i);
        let keys = if each_once {
            keys
        } else {
            let types: Vec<_> = stage.key().fields.into_iter().map(|field| field.type_).collect();
            keys.take(&self.groups, &types)?
        };
        keys.beside(self.out.into_batch()?)
    }

    fn schema(stage: &Stage) -> Schema {
        let mut schema = stage.key();
        schema.fields.extend(R::fields());
        schema
    }
}
