//! How far a source is behind its topics, by what the client tells of itself.

use serde::Deserialize;
use std::collections::BTreeMap;

/// As much of the client's statistics as is needed.
#[derive(Deserialize)]
struct Statistics {
    #[serde(default)]
    topics: BTreeMap<String, Topic>,
}

#[derive(Deserialize)]
struct Topic {
    #[serde(default)]
    partitions: BTreeMap<String, Partition>,
}

#[derive(Deserialize)]
struct Partition {
    partition: i32,
    /// The offset behind the last record that may be read; below zero: it is not known.
    ls_offset: i64,
}

/// How many records are there that were not received; `at`: the offset of a partition that comes next, where it is read.
pub fn records(statistics: &[u8], at: impl Fn(&str, i32) -> Option<u64>) -> Option<u64> {
    let statistics: Statistics = serde_json::from_slice(statistics).ok()?;
    let mut behind: u64 = 0;
    for (topic, known) in &statistics.topics {
        for partition in known.partitions.values() {
            let Some(next) = at(topic, partition.partition) else { continue };
            let end = u64::try_from(partition.ls_offset).unwrap_or_default();
            behind = behind.saturating_add(end.saturating_sub(next));
        }
    }
    Some(behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_elsewhere_or_not_known_does_not_count() {
        let told = br#"{"name":"x","topics":{"t":{"topic":"t","partitions":{
            "0":{"partition":0,"ls_offset":10,"hi_offset":12},"1":{"partition":1,"ls_offset":-1001},
            "2":{"partition":2,"ls_offset":7},"-1":{"partition":-1,"ls_offset":5}}}}}"#;
        let at = |topic: &str, number: i32| {
            [Some(4), Some(3), None].get(usize::try_from(number).ok()?).copied()?.filter(|_| topic == "t")
        };
        assert_eq!(records(told, at), Some(6));
        assert_eq!(records(b"{", at), None);
    }
}
