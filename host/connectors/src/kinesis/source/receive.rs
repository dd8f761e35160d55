//! Requests for the records of a shard, however long they have to wait.

use super::position::LastRead;
use super::{Kinesis, OpenShard, READ_INTERVAL_MIN, Shared, now_ms};
use crate::kinesis::{KinesisClient, KinesisFault};
use millstream_base::shown;
use millstream_connect::receiver::restart_hint;
use millstream_rows::batch::reading::ReadError;
use serde::Deserialize;
use serde_json::json;
use std::time::{Duration, Instant};

/// Target bytes of a response.
const RESPONSE_BYTES: u64 = 1 << 20;
/// Maximum records of a response.
const RECORDS_MAX: u64 = 10_000;
/// How long a throttled reader waits, and how often before it reports that.
const THROTTLED: Duration = Duration::from_secs(1);
const THROTTLED_MAX: u32 = 3;
/// How many empty responses on the way through a shard count as a pause without records.
const EMPTY_MAX: u32 = 8;
/// How long the oldest records of a shard may expire while a new job reads them: it started from those that existed.
const STARTUP_TIME: Duration = Duration::from_secs(5 * 60);
/// Maximum difference between the clocks of this machine and of the server.
const CLOCK_DIFFERENCE_MS_MAX: i64 = 10 * 60 * 1000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct IteratorResponse {
    shard_iterator: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RecordsResponse {
    records: Vec<Record>,
    next_shard_iterator: Option<String>,
    millis_behind_latest: Option<i64>,
}

/// A record in a response.
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
        client: &mut KinesisClient,
        shard: &str,
        mut kind: serde_json::Value,
    ) -> Result<String, KinesisFault> {
        kind["StreamName"] = json!(client.stream().name());
        kind["ShardId"] = json!(shard);
        let response: IteratorResponse = client.request("GetShardIterator", kind).await?;
        Ok(response.shard_iterator)
    }

    async fn records(client: &mut KinesisClient, iterator: &str, limit: u64) -> Result<RecordsResponse, KinesisFault> {
        client.request("GetRecords", json!({ "ShardIterator": iterator, "Limit": limit })).await
    }

    /// Whether the last record that was read still exists, and so all later ones.
    async fn last_record_exists(client: &mut KinesisClient, open: &OpenShard) -> Result<bool, KinesisFault> {
        let (LastRead::Complete(sequence) | LastRead::Part(sequence, _)) = &open.position.read else {
            return Ok(false);
        };
        let kind = json!({ "ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": sequence });
        let iterator = match Kinesis::iterator(client, &open.shard, kind).await {
            Err(KinesisFault::Invalid(_)) => return Ok(false),
            iterator => iterator?,
        };
        let first = Kinesis::records(client, &iterator, 1).await?;
        Ok(first.records.first().is_some_and(|record| record.sequence_number == *sequence))
    }

    /// Requests the next records, however long it has to wait. `false`: none are available now.
    pub(super) async fn receive(
        client: &mut KinesisClient,
        shared: &Shared,
        open: &mut OpenShard,
        rows_max: u32,
    ) -> Result<bool, ReadError> {
        let kept_ms = shared.lock_stream().facts.as_ref().map_or(i64::MAX, |facts| facts.kept_ms);
        let (mut throttled, mut empty) = (0, 0_u32);
        loop {
            tokio::time::sleep(open.next.saturating_duration_since(Instant::now())).await;
            open.next = Instant::now() + READ_INTERVAL_MIN;
            let response = match Kinesis::attempt(client, &shared.source, open, rows_max, kept_ms).await {
                Ok(response) => response,
                Err(ReadFault::Kinesis(KinesisFault::Throttled(why))) => {
                    throttled += 1;
                    if throttled > THROTTLED_MAX {
                        return Err(ReadError::Transient(why));
                    }
                    open.next = Instant::now() + THROTTLED;
                    continue;
                }
                Err(ReadFault::Kinesis(KinesisFault::Expired)) if throttled < THROTTLED_MAX => {
                    throttled += 1;
                    open.iterator = None;
                    continue;
                }
                Err(ReadFault::Kinesis(fault)) => {
                    open.iterator = None;
                    return Err(shared.read_error(fault));
                }
                Err(ReadFault::Lost) => return Err(shared.lost_error(&open.shard, open.position.until_ms)),
            };
            let RecordsResponse { records, next_shard_iterator, millis_behind_latest } = response;
            open.at_end = next_shard_iterator.is_none();
            open.iterator = next_shard_iterator;
            let behind_ms = millis_behind_latest.unwrap_or(0).max(0);
            open.until_ms = match records.last() {
                Some(last) => last.time_ms(),
                None => now_ms() - behind_ms,
            };
            if !records.is_empty() {
                open.take(records).map_err(|what| shared.permanent(&what))?;
                return Ok(true);
            }
            empty += 1;
            if open.at_end || behind_ms == 0 || empty > EMPTY_MAX {
                return Ok(false);
            }
        }
    }

    async fn attempt(
        client: &mut KinesisClient,
        source: &str,
        open: &mut OpenShard,
        rows_max: u32,
        kept_ms: i64,
    ) -> Result<RecordsResponse, ReadFault> {
        let is_beginning = open.is_new && open.opened.elapsed() < STARTUP_TIME;
        if open.until_ms.saturating_add(kept_ms) < now_ms()
            && !is_beginning
            && !Kinesis::last_record_exists(client, open).await?
        {
            return Err(ReadFault::Lost);
        }
        let iterator = match open.iterator.take() {
            Some(iterator) => iterator,
            None => {
                let kind = match &open.position.read {
                    LastRead::Complete(sequence) => {
                        json!({ "ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": sequence })
                    }
                    LastRead::Part(sequence, _) => {
                        json!({ "ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": sequence })
                    }
                    _ => match open.position.from_ms {
                        None => json!({ "ShardIteratorType": "TRIM_HORIZON" }),
                        Some(ms) => json!({ "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": ms as f64 / 1000.0 }),
                    },
                };
                let by_time = kind.get("Timestamp").is_some();
                let result = Kinesis::iterator(client, &open.shard, kind).await;
                result.map_err(|fault| match fault {
                    // The server's clock lags, so that it takes the current time for the future.
                    KinesisFault::Invalid(why) if by_time && open.position.from_ms > Some(now_ms() - CLOCK_DIFFERENCE_MS_MAX) => {
                        KinesisFault::Transient(why)
                    }
                    KinesisFault::Invalid(why) if !by_time => KinesisFault::Permanent(format!(
                        "{why}; shard `{}` no longer has the record that was read last; {} to read it from its beginning",
                        shown::harmless(&open.shard, 200),
                        restart_hint(source)
                    )),
                    fault => fault,
                })?
            }
        };
        let limit = (RESPONSE_BYTES / open.record_bytes.max(1)).clamp(1, RECORDS_MAX.min(rows_max.into()));
        let response = Kinesis::records(client, &iterator, limit).await;
        if let Err(KinesisFault::Throttled(_)) = &response {
            open.iterator = Some(iterator);
        }
        Ok(response?)
    }
}

/// Why records could not be read.
enum ReadFault {
    Kinesis(KinesisFault),
    /// Records have expired that were not read.
    Lost,
}

impl From<KinesisFault> for ReadFault {
    fn from(fault: KinesisFault) -> ReadFault {
        ReadFault::Kinesis(fault)
    }
}
