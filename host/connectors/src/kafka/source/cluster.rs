//! Requests of a source to a cluster: its partitions, where each begins, and whether what the job needs still exists.

use super::bounds;
use super::settings::{KafkaReads, KafkaTopics};
use crate::kafka::consumer::{Bounds, Consumer};
use crate::kafka::fault::KafkaFault;
use crate::kafka::{PAUSE_MAX, RESPONSE_TIME_MAX};
use millstream_base::error::{Error, Result};
use millstream_job::spec::StreamStart;
use millstream_rows::batch::position::Positions;
use millstream_rows::batch::topic;
use rdkafka::error::RDKafkaErrorCode as Code;
use std::time::{Duration, Instant};
use tracing::debug;
use xxhash_rust::xxh3::xxh3_64;

/// How long a partition may end before a position, or a topic be missing: a new leader does not know immediately how far it may be read.
pub const LEADER_TIME_MAX: Duration = PAUSE_MAX;

/// Topics of a source.
#[derive(Default)]
pub struct Topics {
    /// Existing topics, with their numbers of partitions.
    pub existing: Vec<(String, i32)>,
    /// Topics that are named and do not exist.
    pub missing: Vec<String>,
}

/// What an earlier run of the job stored about a source.
pub struct EarlierStart<'a> {
    /// Nothing was read before, and this is the first look.
    pub first: bool,
    /// Positions of partitions.
    pub from: &'a Positions,
}

/// Why a partition cannot be read from the position that the job needs.
pub enum PositionLoss {
    /// Records were deleted.
    Deleted { of: (String, i32), wanted: u64, available: Bounds },
    /// It ends before that position.
    Shorter { of: (String, i32), wanted: u64, available: Bounds },
    /// It returned a record again.
    Backwards { of: (String, i32), wanted: u64, available: u64 },
    /// The cluster does not say.
    Fault(KafkaFault),
}

impl PositionLoss {
    /// Converts to an error that says what to do.
    pub fn into_error(self, source: &str) -> Error {
        let partition = |(topic, number): &(String, i32)| format!("partition {number} of topic `{topic}`");
        match self {
            PositionLoss::Deleted { of, wanted, available } => Error::job(format!(
                "source `{source}`: {} resumes at offset {wanted}, but the oldest record has offset {}: the records \
                 between were deleted before the job had read them. Keep records for longer than the job may lag \
                 (`retention.ms` and `retention.bytes` of the topic); to continue without them, start from scratch \
                 with `--fresh`",
                partition(&of),
                available.low
            )),
            PositionLoss::Shorter { of, wanted, available } => Error::job(format!(
                "source `{source}`: {} resumes at offset {wanted}, but it ends at offset {}: the topic was \
                 recreated, or its brokers have lost records. Restore the previous topic, or start from scratch \
                 with `--fresh`",
                partition(&of),
                available.high
            )),
            PositionLoss::Backwards { of, wanted, available } => Error::environment(format!(
                "source `{source}`: {} returned the record at offset {available} instead of {wanted} or later",
                partition(&of)
            )),
            PositionLoss::Fault(fault) => Error::environment(format!("source `{source}`: {fault}")),
        }
    }
}

/// The number by which a position knows a cluster.
pub fn cluster_mark(id: &str) -> i64 {
    // A topic is not a file of a directory. The lowest bit is clear, so that it never counts as ended.
    (xxh3_64(id.as_bytes()) & !1) as i64
}

/// The topics of a source, as they are now.
pub fn topics(consumer: &Consumer, wanted: &KafkaTopics) -> Result<Topics, KafkaFault> {
    let mut topics = Topics::default();
    match wanted {
        KafkaTopics::Named(names) => {
            for name in names {
                match consumer.partitions(Some(name), RESPONSE_TIME_MAX) {
                    Ok(found) => topics.existing.extend(found.into_iter().filter(|(found, _)| found == name)),
                    Err(fault) if fault.is_topic_missing() && fault.code != Some(Code::TopicAuthorizationFailed) => {
                        topics.missing.push(name.clone());
                    }
                    Err(fault) => return Err(KafkaFault { message: format!("topic `{name}`: {fault}"), ..fault }),
                }
            }
        }
        KafkaTopics::Pattern(pattern) => {
            let like = glob::Pattern::new(pattern).map_err(|error| KafkaFault::permanent(error.to_string()))?;
            let found = consumer.partitions(None, RESPONSE_TIME_MAX)?;
            // Internal topics of the cluster are read only if they are named.
            let own = |name: &str| name.starts_with("__") && !pattern.starts_with("__");
            topics.existing = found.into_iter().filter(|(name, _)| like.matches(name) && !own(name)).collect();
        }
    }
    Ok(topics)
}

/// Returns where each of these partitions begins, in their order.
pub fn starts(
    consumer: &Consumer,
    spec: &KafkaReads,
    partitions: &[(String, i32)],
    known: &EarlierStart<'_>,
) -> Result<Vec<u64>, PositionLoss> {
    let at = match spec.start {
        StreamStart::At(time_ms) => {
            Some(consumer.offsets_at(partitions, time_ms, RESPONSE_TIME_MAX).map_err(PositionLoss::Fault)?)
        }
        StreamStart::Earliest | StreamStart::Latest => None,
    };
    let mut starts = Vec::new();
    for (index, (topic, number)) in partitions.iter().enumerate() {
        let position = known.from.get(&topic::name(topic, *number));
        let available = bounds(consumer, topic, *number).map_err(PositionLoss::Fault)?;
        starts.push(match (position, spec.start) {
            (Some(position), _) => check_offset(consumer, (topic, *number), position.offset, available)?,
            (None, StreamStart::Earliest) => available.low,
            // Partitions created after the first start of the job are read from their beginning.
            (None, StreamStart::Latest) if known.first => available.high,
            (None, StreamStart::Latest) => available.low,
            (None, StreamStart::At(_)) => {
                let found = at.as_ref().and_then(|at| at.get(index).copied().flatten());
                found.map_or(available.high, |offset| offset.max(available.low))
            }
        });
    }
    Ok(starts)
}

/// Returns the offset if the partition can be read from it.
pub fn check_offset(
    consumer: &Consumer,
    (topic, number): (&str, i32),
    wanted: u64,
    mut available: Bounds,
) -> Result<u64, PositionLoss> {
    let of = || (topic.to_owned(), number);
    let since = Instant::now();
    loop {
        if wanted < available.low {
            return Err(PositionLoss::Deleted { of: of(), wanted, available });
        }
        if wanted <= available.high {
            return Ok(wanted);
        }
        if since.elapsed() >= LEADER_TIME_MAX {
            return Err(PositionLoss::Shorter { of: of(), wanted, available });
        }
        std::thread::sleep(Duration::from_millis(200));
        available = bounds(consumer, topic, number).map_err(PositionLoss::Fault)?;
    }
}

/// The error of one partition in a response.
pub fn partition_fault(
    consumer: &Consumer,
    (topic, number): (&str, i32),
    wanted: u64,
    fault: KafkaFault,
    source: &str,
) -> Result<()> {
    match fault.code {
        Some(Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation) => {
            let lost = match bounds(consumer, topic, number) {
                Ok(available) => check_offset(consumer, (topic, number), wanted, available).map(drop),
                Err(fault) => Err(PositionLoss::Fault(fault)),
            };
            let unclear = || {
                Error::environment(format!(
                    "source `{source}`: partition {number} of topic `{topic}` cannot be read from offset {wanted} on: {fault}"
                ))
            };
            Err(lost.map_or_else(|lost| lost.into_error(source), |()| unclear()))
        }
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => {
            Err(Error::environment(format!(
                "source `{source}`: partition {number} of topic `{topic}` no longer exists: {fault}; recreate the \
             topic with its records, or omit it"
            )))
        }
        _ if fault.is_transient() => {
            debug!("source `{source}`: partition {number} of topic `{topic}`: {fault}");
            Ok(())
        }
        _ => Err(Error::environment(format!("source `{source}`: partition {number} of topic `{topic}`: {fault}"))),
    }
}
