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

/// The offset behind the last record that may be read, by topic and partition, where the client knows it.
pub fn ends(statistics: &[u8]) -> Option<BTreeMap<(String, i32), u64>> {
    let statistics: Statistics = serde_json::from_slice(statistics).ok()?;
    let all = statistics
        .topics
        .into_iter()
        .flat_map(|(topic, known)| known.partitions.into_values().map(move |partition| (topic.clone(), partition)));
    let known = all.filter_map(|(topic, Partition { partition, ls_offset })| {
        (partition >= 0).then_some(((topic, partition), u64::try_from(ls_offset).ok()?))
    });
    Some(known.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_left_out() {
        let told = br#"{"name":"x","topics":{"t":{"topic":"t","partitions":{
            "0":{"partition":0,"ls_offset":10,"hi_offset":12},"1":{"partition":1,"ls_offset":-1001},
            "2":{"partition":2,"ls_offset":7},"-1":{"partition":-1,"ls_offset":5}}}}}"#;
        let of = |partition, end| (("t".to_owned(), partition), end);
        assert_eq!(ends(told), Some([of(0, 10), of(2, 7)].into()));
        assert_eq!(ends(b"{"), None);
    }
}
