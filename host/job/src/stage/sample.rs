//! `sample`: a share of the rows.

use crate::keys::{KeyShape, TableKey, key};
use crate::part_errors::PartErrors;
use crate::spec::{OperatorSpec, StageSpec};
use crate::table::Reader;

/// `sample` of a stage.
pub(super) const KEY: TableKey =
    key("sample", KeyShape::Share, "Share of the rows to keep, from 0 to 1. A replay keeps the same rows.");

impl StageSpec {
    /// Keeps a share of the rows, from 0 to 1.
    pub fn sample<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        share: f64,
    ) -> StageSpec {
        StageSpec::new(name, from, OperatorSpec::Sample(share))
    }
}

pub(super) fn read(r: &Reader<'_>) -> OperatorSpec {
    OperatorSpec::Sample(r.share("sample").unwrap_or(1.0))
}

pub(super) fn check(share: f64, part: &PartErrors<'_>) {
    if !(0.0..=1.0).contains(&share) {
        part.wrong("sample", format!("`sample` is {share}; write a number from 0 to 1, for example sample = 0.1"));
    }
}
