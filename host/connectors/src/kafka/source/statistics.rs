//! How far a source lags behind its topics, from the client's statistics.

use serde::Deserialize;
use std::collections::BTreeMap;

/// The part of the client's statistics that is needed.
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
    /// The offset after the last readable record; negative if unknown.
    ls_offset: i64,
}

/// Returns the offset after the last readable record, by topic and partition, if the client knows it.
pub fn end_offsets(statistics: &[u8]) -> Option<BTreeMap<(String, i32), u64>> {
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
        let text = br#"{"name":"x","topics":{"t":{"topic":"t","partitions":{
            "0":{"partition":0,"ls_offset":10,"hi_offset":12},"1":{"partition":1,"ls_offset":-1001},
            "2":{"partition":2,"ls_offset":7},"-1":{"partition":-1,"ls_offset":5}}}}}"#;
        let of = |partition, end| (("t".to_owned(), partition), end);
        assert_eq!(end_offsets(text), Some([of(0, 10), of(2, 7)].into()));
        assert_eq!(end_offsets(b"{"), None);
    }
}
