//! The shards of a stream: which may be read, as a shard is read to its end before those that it was split or merged into.

use super::KinesisFault;
use crate::kinesis::KinesisClient;
use serde::Deserialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Pages of a list; each has up to 1,000 shards.
const PAGES_MAX: usize = 100;

/// A shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shard {
    /// What it was made of.
    pub parents: Vec<String>,
    /// Its first and last hash key.
    pub hash_keys: Option<(u128, u128)>,
}

/// What is known of the shards of a stream.
#[derive(Debug, Default)]
pub struct Shards {
    /// Those that the stream has.
    pub there: BTreeMap<String, Shard>,
    /// Those that are read to their ends.
    pub ended: BTreeSet<String>,
}

impl Shards {
    /// Those that may be read: what each was made of is read to its end, or not there any more.
    pub fn readable(&self) -> Vec<String> {
        let is_read = |parent: &String| self.ended.contains(parent) || !self.there.contains_key(parent);
        let readable = self.there.iter().filter(|(_, shard)| shard.parents.iter().all(is_read));
        readable.map(|(name, _)| name.clone()).collect()
    }
}

/// When a stream was made, and for how long it keeps records.
#[derive(Debug)]
pub struct StreamRetention {
    /// When it was made, in seconds since 1970.
    pub made_s: i64,
    /// How long it keeps records.
    pub kept_ms: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SummaryAnswer {
    stream_description_summary: Summary,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Summary {
    stream_status: String,
    retention_period_hours: i64,
    stream_creation_timestamp: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ShardsAnswer {
    shards: Vec<ShardAnswer>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ShardAnswer {
    shard_id: String,
    parent_shard_id: Option<String>,
    adjacent_parent_shard_id: Option<String>,
    hash_key_range: Option<HashKeys>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HashKeys {
    starting_hash_key: String,
    ending_hash_key: String,
}

/// Asks for the stream itself.
pub async fn facts(asker: &mut KinesisClient) -> Result<StreamRetention, KinesisFault> {
    let asked = json!({ "StreamName": asker.stream().name() });
    let answer: SummaryAnswer = asker.ask("DescribeStreamSummary", asked).await?;
    let summary = answer.stream_description_summary;
    match summary.stream_status.as_str() {
        "CREATING" => Err(KinesisFault::Passing(format!("{} is being made", asker.stream().place()))),
        "DELETING" => Err(KinesisFault::Lasting(format!("{} is being deleted", asker.stream().place()))),
        _ => Ok(StreamRetention {
            made_s: summary.stream_creation_timestamp as i64,
            kept_ms: summary.retention_period_hours.saturating_mul(3_600_000),
        }),
    }
}

/// Asks for all shards that there are, of which those that ended long ago are none.
pub async fn list(asker: &mut KinesisClient) -> Result<BTreeMap<String, Shard>, KinesisFault> {
    let (mut shards, mut token) = (BTreeMap::new(), None::<String>);
    for _ in 0..PAGES_MAX {
        let asked = match &token {
            None => json!({ "StreamName": asker.stream().name() }),
            Some(token) => json!({ "NextToken": token }),
        };
        let answer: ShardsAnswer = asker.ask("ListShards", asked).await?;
        for shard in answer.shards {
            let range =
                |keys: HashKeys| Some((keys.starting_hash_key.parse().ok()?, keys.ending_hash_key.parse().ok()?));
            let parents = [shard.parent_shard_id, shard.adjacent_parent_shard_id].into_iter().flatten().collect();
            shards.insert(shard.shard_id, Shard { parents, hash_keys: shard.hash_key_range.and_then(range) });
        }
        token = answer.next_token.filter(|token| !token.is_empty());
        if token.is_none() {
            return Ok(shards);
        }
    }
    Err(KinesisFault::Passing(format!("{} has more shards than can be listed", asker.stream().place())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_waits_for_what_it_was_made_of() {
        let of =
            |parents: &[&str]| Shard { parents: parents.iter().map(|name| (*name).into()).collect(), hash_keys: None };
        let there =
            [("a", of(&["long ago"])), ("b", of(&[])), ("c", of(&["a", "b"])), ("d", of(&["c"])), ("e", of(&["c"]))];
        let there = there.map(|(name, shard)| (name.to_owned(), shard)).into();
        let mut shards = Shards { there, ended: BTreeSet::new() };
        assert_eq!(shards.readable(), ["a", "b"]);
        shards.ended.insert("a".into());
        assert_eq!(shards.readable(), ["a", "b"], "of two that were merged both are read first");
        shards.ended.insert("b".into());
        assert_eq!(shards.readable(), ["a", "b", "c"]);
        shards.ended.insert("c".into());
        assert_eq!(shards.readable(), ["a", "b", "c", "d", "e"]);
        shards.there.remove("a");
        shards.ended.clear();
        assert_eq!(shards.readable(), ["b"]);
    }
}
