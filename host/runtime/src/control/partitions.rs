//! How far the partitions of a source are read, and how far their event time has advanced. Only those furthest behind
//! are listed, as there may be many.

use millstream_metrics::batches::ClockTimes;
use millstream_rows::batch::{partition, topic};
use millstream_rows::inbox::Inbox;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Maximum number of partitions of a source that are listed.
const PARTITIONS_MAX: usize = 100;

/// The partitions of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionsStatus {
    /// The number of partitions.
    pub count: u64,
    /// The partitions furthest behind, the furthest first: at most a hundred.
    pub furthest: Vec<PartitionStatus>,
}

/// A partition of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionStatus {
    /// The name, for example `orders/3`.
    pub name: String,
    /// The process that reads it, if there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<usize>,
    /// The offset at which the next batch begins. Absent if positions are not numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// The position up to which it is read, as text of its server or plugin, if positions are not numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Records received from it since this startup, if they are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Further records that the server has. Absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<u64>,
    /// The newest event time seen in it, by the stage whose `time` defines it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub times_us: BTreeMap<String, i64>,
}

impl PartitionsStatus {
    /// Returns the status for the source with this number, or `None` if it has no partitions or does not report them.
    /// `process`: this process, if there are several. `clocks`: by stage.
    pub(super) fn new(
        source: usize,
        inbox: &Inbox,
        process: Option<usize>,
        clocks: &[(&str, Arc<ClockTimes>)],
    ) -> Option<PartitionsStatus> {
        let read = inbox.partitions();
        if read.is_empty() {
            return None;
        }
        let listed = read.into_iter().map(|read| {
            let id = partition::clock_of(source as u32, &read.name);
            let times = clocks.iter().filter_map(|(stage, clocks)| Some(((*stage).to_owned(), *clocks.get(&id)?)));
            PartitionStatus {
                name: topic::shown(&read.name).to_owned(),
                process,
                position: read.next,
                place: read.position_text,
                rows: read.rows,
                behind: read.missing,
                times_us: times.collect(),
            }
        });
        let mut status = PartitionsStatus { count: 0, furthest: listed.collect() };
        status.count = status.furthest.len() as u64;
        status.cut();
        Some(status)
    }

    /// Adds the partitions that another process reads.
    pub fn add(&mut self, other: PartitionsStatus) {
        self.count = self.count.saturating_add(other.count);
        self.furthest.extend(other.furthest);
        self.cut();
    }

    /// Keeps the most important partitions: many records behind first, then old event times.
    fn cut(&mut self) {
        self.furthest.sort_by(|a, b| {
            let order = |one: &PartitionStatus| (Reverse(one.behind), one.times_us.values().min().copied());
            order(a).cmp(&order(b)).then_with(|| a.name.cmp(&b.name))
        });
        self.furthest.truncate(PARTITIONS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_furthest_behind_of_all_processes_are_told() {
        let of = |from: u64, count: u64| {
            let partition = |number: u64| PartitionStatus {
                name: format!("t/{number}"),
                behind: Some(number % 7),
                times_us: [("s".to_owned(), 1000 - number as i64)].into(),
                ..PartitionStatus::default()
            };
            let mut status = PartitionsStatus { count, furthest: (from..from + count).map(partition).collect() };
            status.cut();
            status
        };
        let mut sum = of(0, 150);
        assert_eq!((sum.count, sum.furthest.len()), (150, PARTITIONS_MAX));
        sum.add(of(150, 150));
        assert_eq!((sum.count, sum.furthest.len()), (300, PARTITIONS_MAX));
        assert_eq!((sum.furthest[0].name.as_str(), sum.furthest[0].behind), ("t/293", Some(6)));
        assert!(sum.furthest.is_sorted_by_key(|one| Reverse(one.behind)));
    }
}
