//! The columns of streams, as far as the job defines them.

use super::ChangePaths;
use crate::changes::{is_over_all, reads};
use crate::names;
use crate::spec::*;
use millstream_rows::batch::column::ColumnSource;
use std::collections::BTreeSet;

impl ChangePaths<'_> {
    /// Returns the column names of these streams, if they are known.
    pub(super) fn columns(&self, streams: &[String], depth: usize) -> Option<BTreeSet<String>> {
        // They all have the same columns.
        let (part, side) = names::stream(streams.first()?);
        if depth > millstream_base::limits::JOB_PARTS_MAX || matches!(side, Some("rejected")) {
            return None;
        }
        if let Some(source) = self.job.sources.iter().find(|source| source.name == part) {
            return columns_of_source(source);
        }
        let stage = self.job.stages.iter().find(|stage| stage.name == part)?;
        let own = match &stage.operator {
            operator if operator.passes_rows() => self.columns(&stage.from, depth + 1),
            OperatorSpec::Top { .. } if !is_over_all(stage) => self.columns(&stage.from, depth + 1),
            OperatorSpec::Top { rank: None, .. } | OperatorSpec::Newest { .. } => {
                let mut columns = self.columns(&stage.from, depth + 1)?;
                columns.insert(stage.op.clone().unwrap_or_else(|| OPERATION.into()));
                Some(columns)
            }
            OperatorSpec::Sql { query, .. } => {
                let query = reads::row_query(query)?.ok()?;
                return query.projection.columns(self.columns(std::slice::from_ref(&query.stream), depth + 1));
            }
            _ => None,
        };
        match (&stage.select, side) {
            (Some(text), None) => reads::projection(text)?.columns(own),
            _ => own,
        }
    }
}

/// Returns the column names of a source, if it defines them.
pub(super) fn columns_of_source(source: &SourceSpec) -> Option<BTreeSet<String>> {
    let columns: BTreeSet<String> = source.schema.iter().map(|column| column.name.clone()).collect();
    (!columns.is_empty()).then_some(columns)
}

/// Returns the columns of a source that are the same in all changes of a row: its position, and the key of its records.
pub(super) fn constant_columns(source: &SourceSpec) -> BTreeSet<String> {
    let is_alike = |from: &ColumnSource| {
        matches!(from, ColumnSource::Table | ColumnSource::Topic | ColumnSource::Partition | ColumnSource::Key)
    };
    source.schema.iter().filter(|column| is_alike(&column.from)).map(|column| column.name.clone()).collect()
}
