//! `repartition`: rows redistributed over the workers.

use crate::keys::{KeyShape, TableKey, key};
use crate::part_errors::PartErrors;
use crate::spec::{OperatorSpec, StageSpec};
use crate::table::Reader;
use millstream_base::limits;

/// `repartition` of a stage.
pub(super) const KEY: TableKey = key(
    "repartition",
    KeyShape::Table(KEYS),
    "Redistribute the rows over the workers, by `key` if there is one, otherwise round-robin.",
);

const KEYS: &[TableKey] = &[key(
    "partitions",
    KeyShape::Integer(1, limits::PARTITIONS_MAX),
    "Number of partitions, by default the number of workers.",
)];

impl StageSpec {
    /// Redistributes rows over the workers, into `parts` parts or one per worker.
    pub fn repartition<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        partitions: Option<u32>,
    ) -> StageSpec {
        StageSpec::new(name, from, OperatorSpec::Repartition { partitions })
    }
}

/// Reads `repartition`.
pub(super) fn read(r: &Reader<'_>) -> OperatorSpec {
    let none = OperatorSpec::Repartition { partitions: None };
    let Some(r) = r.inner("repartition", "repartition = { partitions = 4 }") else { return none };
    r.check_keys(KEYS, &[], None);
    let partitions = r.integer("partitions", 1, limits::PARTITIONS_MAX);
    OperatorSpec::Repartition { partitions: partitions.and_then(|count| u32::try_from(count).ok()) }
}

pub(super) fn check(partitions: Option<u32>, part: &PartErrors<'_>) {
    if let Some(count) = partitions.filter(|count| *count == 0 || u64::from(*count) > limits::PARTITIONS_MAX) {
        let most = limits::PARTITIONS_MAX;
        let message = format!("`repartition.partitions` is {count}; write a number of 1 to {most}");
        part.wrong("repartition.partitions", message);
    }
}
