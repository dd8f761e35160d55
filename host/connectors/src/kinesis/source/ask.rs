//! Asking for the records of a shard, however long that has to wait.

use super::position::LastRead;
use super::{EVERY_MIN, Kinesis, OpenShard, Shared, now_ms};
use crate::kinesis::{KinesisClient, KinesisFault};
use millstream_base::batch::reading::ReadTrouble;
use millstream_base::shown;
use serde::Deserialize;
use serde_json::json;
use std::time::{Duration, Instant};

/// About how many bytes one answer is to have.
const ANSWER_BYTES: u64 = 1 << 20;
/// Records of one answer.
const RECORDS_MAX: u64 = 10_000;
/// How long a reader waits that was told to, and how often, until it says so.
const THROTTLED: Duration = Duration::from_secs(1);
const THROTTLED_MAX: u32 = 3;
/// How many answers may be empty on the way through a shard until that is taken for a moment without records.
const EMPTY_MAX: u32 = 8;
/// How long the oldest records of a shard may vanish while a job that has just begun reads them: it wanted those that are there.
const BEGINNING: Duration = Duration::from_secs(5 * 60);
/// How far the clocks of this machine and of the server may be apart.
const CLOCKS_APART_MS: i64 = 10 * 60 * 1000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct IteratorAnswer {
    shard_iterator: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RecordsAnswer {
    records: Vec<Record>,
    next_shard_iterator: Option<String>,
    millis_behind_latest: Option<i64>,
}

/// As the server gives it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Record {
    pub sequence_number: String,
    approximate_arrival_timestamp: f64,
    pub data: String,
    pub partition_key: String,
}

impl Record {
    pub fn time_ms(&self) -> i64 {
        (self.approximate_arrival_timestamp * 1000.0).round() as i64
    }
}

impl Kinesis {
    async fn iterator(
        asker: &mut KinesisClient,
        shard: &str,
        mut kind: serde_json::Value,
    ) -> Result<String, KinesisFault> {
        kind["StreamName"] = json!(asker.stream().name());
        kind["ShardId"] = json!(shard);
        let answer: IteratorAnswer = asker.ask("GetShardIterator", kind).await?;
        Ok(answer.shard_iterator)
    }

    async fn records(asker: &mut KinesisClient, iterator: &str, limit: u64) -> Result<RecordsAnswer, KinesisFault> {
        asker.ask("GetRecords", json!({ "ShardIterator": iterator, "Limit": limit })).await
    }

    /// Whether the last record that was read is still there, and so all that came after it.
    async fn still_there(asker: &mut KinesisClient, open: &OpenShard) -> Result<bool, KinesisFault> {
        let (LastRead::Whole(sequence) | LastRead::Part(sequence, _)) = &open.place.read else { return Ok(false) };
        let kind = json!({ "ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": sequence });
        let iterator = match Kinesis::iterator(asker, &open.shard, kind).await {
            Err(KinesisFault::Invalid(_)) => return Ok(false),
            iterator => iterator?,
        };
        let first = Kinesis::records(asker, &iterator, 1).await?;
        Ok(first.records.first().is_some_and(|record| record.sequence_number == *sequence))
    }

    /// Asks for the next records, however long that has to wait. `false`: there are none for now.
    pub(super) async fn receive(
        asker: &mut KinesisClient,
        shared: &Shared,
        open: &mut OpenShard,
        rows_max: u32,
    ) -> Result<bool, ReadTrouble> {
        let kept_ms = shared.known().facts.as_ref().map_or(i64::MAX, |facts| facts.kept_ms);
        let (mut throttled, mut empty) = (0, 0_u32);
        loop {
            tokio::time::sleep(open.next.saturating_duration_since(Instant::now())).await;
            open.next = Instant::now() + EVERY_MIN;
            let answer = match Kinesis::attempt(asker, open, rows_max, kept_ms).await {
                Ok(answer) => answer,
                Err(ReadFault::Kinesis(KinesisFault::Throttled(why))) => {
                    throttled += 1;
                    if throttled > THROTTLED_MAX {
                        return Err(ReadTrouble::Passing(why));
                    }
                    open.next = Instant::now() + THROTTLED;
                    continue;
                }
                Err(ReadFault::Kinesis(KinesisFault::Expired)) if throttled < THROTTLED_MAX => {
                    throttled += 1;
                    open.iterator = None;
                    continue;
                }
                Err(ReadFault::Kinesis(trouble)) => {
                    open.iterator = None;
                    return Err(shared.told(trouble));
                }
                Err(ReadFault::Lost) => return Err(shared.lost(&open.shard, open.place.until_ms)),
            };
            let RecordsAnswer { records, next_shard_iterator, millis_behind_latest } = answer;
            open.at_end = next_shard_iterator.is_none();
            open.iterator = next_shard_iterator;
            let behind_ms = millis_behind_latest.unwrap_or(0).max(0);
            open.until_ms = match records.last() {
                Some(last) => last.time_ms(),
                None => now_ms() - behind_ms,
            };
            if !records.is_empty() {
                open.take(records).map_err(|what| shared.lasting(&what))?;
                return Ok(true);
            }
            empty += 1;
            if open.at_end || behind_ms == 0 || empty > EMPTY_MAX {
                return Ok(false);
            }
        }
    }

    async fn attempt(
        asker: &mut KinesisClient,
        open: &mut OpenShard,
        rows_max: u32,
        kept_ms: i64,
    ) -> Result<RecordsAnswer, ReadFault> {
        let is_beginning = open.is_new && open.begun.elapsed() < BEGINNING;
        if open.until_ms.saturating_add(kept_ms) < now_ms()
            && !is_beginning
            && !Kinesis::still_there(asker, open).await?
        {
            return Err(ReadFault::Lost);
        }
        let iterator = match open.iterator.take() {
            Some(iterator) => iterator,
            None => {
                let kind = match &open.place.read {
                    LastRead::Whole(sequence) => {
                        json!({ "ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": sequence })
                    }
                    LastRead::Part(sequence, _) => {
                        json!({ "ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": sequence })
                    }
                    _ => match open.place.from_ms {
                        None => json!({ "ShardIteratorType": "TRIM_HORIZON" }),
                        Some(ms) => json!({ "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": ms as f64 / 1000.0 }),
                    },
                };
                let by_time = kind.get("Timestamp").is_some();
                let made = Kinesis::iterator(asker, &open.shard, kind).await;
                made.map_err(|trouble| match trouble {
                    // The server's clock is behind, so that it takes now for the future.
                    KinesisFault::Invalid(why) if by_time && open.place.from_ms > Some(now_ms() - CLOCKS_APART_MS) => {
                        KinesisFault::Passing(why)
                    }
                    KinesisFault::Invalid(why) if !by_time => KinesisFault::Lasting(format!(
                        "{why}; shard `{}` no longer has the record that was read last; give the source another name to read it \
                         from its beginning",
                        shown::harmless(&open.shard, 200)
                    )),
                    trouble => trouble,
                })?
            }
        };
        let limit = (ANSWER_BYTES / open.record_bytes.max(1)).clamp(1, RECORDS_MAX.min(rows_max.into()));
        let answer = Kinesis::records(asker, &iterator, limit).await;
        if let Err(KinesisFault::Throttled(_)) = &answer {
            open.iterator = Some(iterator);
        }
        Ok(answer?)
    }
}

/// Why records could not be had.
enum ReadFault {
    Kinesis(KinesisFault),
    /// Records are not there any more that were not read.
    Lost,
}

impl From<KinesisFault> for ReadFault {
    fn from(trouble: KinesisFault) -> ReadFault {
        ReadFault::Kinesis(trouble)
    }
}
