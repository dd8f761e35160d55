//! `deduplicate`: drops rows whose key came within some time before.

use super::window;
use crate::keys::{KeyShape, TableKey, key};
use crate::part_errors::PartErrors;
use crate::spec::{OperatorSpec, StageSpec};
use crate::table::Reader;
use std::time::Duration;

/// `deduplicate` of a stage.
pub(super) const KEY: TableKey = key(
    "deduplicate",
    KeyShape::Table(KEYS),
    "Drop rows whose key already occurred within this time, across batches: { within = \"10m\" }.",
);

const KEYS: &[TableKey] = &[key("within", KeyShape::Time, "How long a key is kept.").required()];

impl StageSpec {
    /// Drops rows whose key came within this time before, across batches.
    pub fn deduplicate<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        within: Duration,
    ) -> StageSpec {
        StageSpec::new(name, from, OperatorSpec::Deduplicate { within })
    }
}

/// Reads `deduplicate`.
pub(super) fn read(r: &Reader<'_>) -> OperatorSpec {
    let none = OperatorSpec::Deduplicate { within: Duration::ZERO };
    let Some(r) = r.inner("deduplicate", "deduplicate = { within = \"10m\" }") else { return none };
    r.check_keys(KEYS, &[], None);
    r.need("within", "within = \"10m\"");
    OperatorSpec::Deduplicate { within: r.time("within").unwrap_or_default() }
}

pub(super) fn check(spec: &StageSpec, within: Duration, part: &PartErrors<'_>) {
    window::check::length("deduplicate.within", within, "10m", part);
    if spec.key.is_empty() {
        let message = "`deduplicate` needs `key`: which columns make two rows the same; write key = \"id\"";
        part.wrong("key", message);
    }
}
