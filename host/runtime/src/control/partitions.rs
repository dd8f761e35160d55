//! How far the partitions of a source are read, and how far their event time has come: those that are furthest behind, as there may
//! be many.

use millstream_base::batch::{partition, topic};
use millstream_base::inbox::Inbox;
use millstream_metrics::batches::Clocks;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Partitions of a source that are told of one by one.
const PARTITIONS_MAX: usize = 100;

/// The partitions of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionsStatus {
    /// How many there are.
    pub count: u64,
    /// Those that are furthest behind, the furthest first: a hundred at most.
    pub furthest: Vec<PartitionStatus>,
}

/// A partition of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionStatus {
    /// Its name, as `orders/3`.
    pub name: String,
    /// The process that reads it, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<usize>,
    /// The offset that the next batch begins at; absent where places are not numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// Up to where it is read, in the words of its server or of the plugin that reads it, where these are no number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Records that came of it since this start, where that is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Records from there on that its server has; absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<u64>,
    /// The newest event time that was seen in it, by the stage whose `time` says what that is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub times_us: BTreeMap<String, i64>,
}

impl PartitionsStatus {
    /// Of the source with this number; `None`: it has none, or does not tell of them. `process`: this one, of several. `clocks`: by stage.
    pub(super) fn of(
        source: usize,
        inbox: &Inbox,
        process: Option<usize>,
        clocks: &[(&str, Arc<Clocks>)],
    ) -> Option<PartitionsStatus> {
        let read = inbox.partitions();
        if read.is_empty() {
            return None;
        }
        let told = read.into_iter().map(|read| {
            let id = partition::clock_of(source as u32, &read.name);
            let times = clocks.iter().filter_map(|(stage, clocks)| Some(((*stage).to_owned(), *clocks.get(&id)?)));
            PartitionStatus {
                name: topic::shown(&read.name).to_owned(),
                process,
                position: read.next,
                place: read.place,
                rows: read.rows,
                behind: read.missing,
                times_us: times.collect(),
            }
        });
        let mut status = PartitionsStatus { count: 0, furthest: told.collect() };
        status.count = status.furthest.len() as u64;
        status.cut();
        Some(status)
    }

    /// Adds those that another process reads.
    pub fn add(&mut self, other: PartitionsStatus) {
        self.count = self.count.saturating_add(other.count);
        self.furthest.extend(other.furthest);
        self.cut();
    }

    /// Those that matter most come first: many records behind, then old times.
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
