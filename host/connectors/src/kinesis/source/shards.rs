//! The shards of a stream. A shard is read to its end before those that it was split or merged into.

use super::KinesisFault;
use crate::kinesis::KinesisClient;
use serde::Deserialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Maximum pages of a list; each has up to 1,000 shards.
const PAGES_MAX: usize = 100;

/// A shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shard {
    /// Its parent shards.
    pub parents: Vec<String>,
    /// Its first and last hash key.
    pub hash_keys: Option<(u128, u128)>,
}

/// The known state of the shards of a stream.
#[derive(Debug, Default)]
pub struct Shards {
    /// The existing shards.
    pub existing: BTreeMap<String, Shard>,
    /// The shards that were read to their ends.
    pub ended: BTreeSet<String>,
}

impl Shards {
    /// Returns the readable shards: all parents were read to their ends or no longer exist.
    pub fn readable(&self) -> Vec<String> {
        let is_read = |parent: &String| self.ended.contains(parent) || !self.existing.contains_key(parent);
        let readable = self.existing.iter().filter(|(_, shard)| shard.parents.iter().all(is_read));
        readable.map(|(name, _)| name.clone()).collect()
    }
}

/// When a stream was created, and its retention.
#[derive(Debug)]
pub struct StreamRetention {
    /// When it was created, in seconds since 1970.
    pub created_s: i64,
    /// How long it keeps records.
    pub kept_ms: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SummaryResponse {
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
struct ShardsResponse {
    shards: Vec<ShardEntry>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ShardEntry {
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

/// Queries the stream itself.
pub async fn facts(client: &mut KinesisClient) -> Result<StreamRetention, KinesisFault> {
    let body = json!({ "StreamName": client.stream().name() });
    let response: SummaryResponse = client.request("DescribeStreamSummary", body).await?;
    let summary = response.stream_description_summary;
    match summary.stream_status.as_str() {
        "CREATING" => Err(KinesisFault::Transient(format!("{} is being created", client.stream().display_name()))),
        "DELETING" => Err(KinesisFault::Permanent(format!("{} is being deleted", client.stream().display_name()))),
        _ => Ok(StreamRetention {
            created_s: summary.stream_creation_timestamp as i64,
            kept_ms: summary.retention_period_hours.saturating_mul(3_600_000),
        }),
    }
}

/// Lists all existing shards, without those that ended long ago.
pub async fn list(client: &mut KinesisClient) -> Result<BTreeMap<String, Shard>, KinesisFault> {
    let (mut shards, mut token) = (BTreeMap::new(), None::<String>);
    for _ in 0..PAGES_MAX {
        let body = match &token {
            None => json!({ "StreamName": client.stream().name() }),
            Some(token) => json!({ "NextToken": token }),
        };
        let response: ShardsResponse = client.request("ListShards", body).await?;
        for shard in response.shards {
            let range =
                |keys: HashKeys| Some((keys.starting_hash_key.parse().ok()?, keys.ending_hash_key.parse().ok()?));
            let parents = [shard.parent_shard_id, shard.adjacent_parent_shard_id].into_iter().flatten().collect();
            shards.insert(shard.shard_id, Shard { parents, hash_keys: shard.hash_key_range.and_then(range) });
        }
        token = response.next_token.filter(|token| !token.is_empty());
        if token.is_none() {
            return Ok(shards);
        }
    }
    Err(KinesisFault::Transient(format!("{} has more shards than can be listed", client.stream().display_name())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_waits_for_what_it_was_made_of() {
        let of =
            |parents: &[&str]| Shard { parents: parents.iter().map(|name| (*name).into()).collect(), hash_keys: None };
        let existing =
            [("a", of(&["long ago"])), ("b", of(&[])), ("c", of(&["a", "b"])), ("d", of(&["c"])), ("e", of(&["c"]))];
        let existing = existing.map(|(name, shard)| (name.to_owned(), shard)).into();
        let mut shards = Shards { existing, ended: BTreeSet::new() };
        assert_eq!(shards.readable(), ["a", "b"]);
        shards.ended.insert("a".into());
        assert_eq!(shards.readable(), ["a", "b"], "of two that were merged both are read first");
        shards.ended.insert("b".into());
        assert_eq!(shards.readable(), ["a", "b", "c"]);
        shards.ended.insert("c".into());
        assert_eq!(shards.readable(), ["a", "b", "c", "d", "e"]);
        shards.existing.remove("a");
        shards.ended.clear();
        assert_eq!(shards.readable(), ["b"]);
    }
}
