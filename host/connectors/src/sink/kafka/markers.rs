//! Which batch a sink has committed: a record of a compacted topic, written in the transaction of the batch's rows.
//!
//! The topic has one partition, and a record for each job and sink, so retention cannot lose any and it stays small.

use super::topic::{self, Admin, ask, asking};
use super::watch::Watch;
use crate::ids::{BatchId, Generation};
use crate::kafka::fault::{KafkaFault, KafkaFaultKind};
use crate::kafka::{ANSWER_TIME_MAX, Told};
use crate::owner::{FORMAT_VERSION, Owner};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Where all markers are.
const PARTITION: i32 = 0;
/// Compaction leaves the last segment alone, and a start reads all of it.
const SETTINGS: &[(&str, &str)] =
    &[("cleanup.policy", "compact"), ("segment.bytes", "4194304"), ("min.cleanable.dirty.ratio", "0.1")];

/// Who writes, and how far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KafkaMarker {
    /// See [`FORMAT_VERSION`].
    pub version: u32,
    /// The job's name.
    pub job: String,
    /// Its id.
    pub job_id: String,
    /// The sink.
    pub sink: String,
    /// The last start of the job that opened the sink.
    pub generation: Generation,
    /// The last batch with rows that is committed.
    pub batch: Option<BatchId>,
}

/// Read to see the version before anything else, which another version may have otherwise.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl KafkaMarker {
    /// The marker of this owner.
    pub fn new(owner: &Owner, sink: &str, batch: Option<BatchId>) -> KafkaMarker {
        let (job, job_id) = (owner.job.clone(), owner.job_id.clone());
        KafkaMarker { version: FORMAT_VERSION, job, job_id, sink: sink.into(), generation: owner.generation, batch }
    }

    /// As it stands in the topic.
    pub fn bytes(&self) -> Result<Vec<u8>, KafkaFault> {
        serde_json::to_vec(self).map_err(|cause| KafkaFault::lasting(format!("cannot write the marker: {cause}")))
    }

    /// An error where a later start of the job has written it.
    pub fn check_ours(&self, owner: &Owner) -> Result<(), KafkaFault> {
        if self.generation > owner.generation {
            let message = format!(
                "the job was started again elsewhere (generation {}), and this process (generation {}) has lost it",
                self.generation, owner.generation
            );
            return Err(KafkaFault { kind: KafkaFaultKind::TakenOver, code: None, message });
        }
        Ok(())
    }
}

/// The key of a sink's marker.
pub(super) fn key(job_id: &str, sink: &str) -> String {
    format!("{job_id}/{sink}")
}

/// Makes the topic where it is not there, or checks that it keeps markers.
pub(super) fn ensure(client: &BaseConsumer<Told>, admin: &Admin, topic: &str) -> Result<(), KafkaFault> {
    if !topic::exists(client, topic)? {
        admin.make(topic, Some(1), SETTINGS)?;
    }
    let facts = admin.facts(topic)?;
    if facts.deletes {
        return Err(KafkaFault::lasting(format!(
            "the topic `{topic}` keeps which batches are committed, and deletes old records (`cleanup.policy`), so that \
             batches would be written twice; mend it with: kafka-configs.sh --alter --topic {topic} --add-config \
             cleanup.policy=compact; or name another topic in `markers`"
        )));
    }
    Ok(())
}

/// The marker, once all transactions are over that were under way: those of other jobs as well, which may stand before it.
/// `None`: there is none.
pub(super) fn read(
    settings: &ClientConfig,
    topic: &str,
    key: &str,
    watch: &mut Watch<'_>,
) -> Result<Option<KafkaMarker>, KafkaFault> {
    let all = asking(settings, "read_uncommitted")?;
    let (_, end) = patiently(watch, || ask(&all, |all| all.fetch_watermarks(topic, PARTITION, ANSWER_TIME_MAX)))?;
    let committed = asking(settings, "read_committed")?;
    loop {
        let (_, stable) =
            patiently(watch, || ask(&committed, |some| some.fetch_watermarks(topic, PARTITION, ANSWER_TIME_MAX)))?;
        if stable >= end {
            return read_on(&committed, topic, key, watch);
        }
        watch.look(Some(KafkaFault::passing(format!(
            "a transaction is under way in the topic `{topic}`, perhaps one of another job"
        ))))?;
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The marker as it is now, or was before a transaction that is under way. `None`: there is none, nor perhaps the topic.
pub(super) fn peek(
    settings: &ClientConfig,
    topic: &str,
    key: &str,
    watch: &mut Watch<'_>,
) -> Result<Option<KafkaMarker>, KafkaFault> {
    let client = asking(settings, "read_committed")?;
    if !topic::exists(&client, topic)? {
        return Ok(None);
    }
    read_on(&client, topic, key, watch)
}

/// Asks again while there is no answer.
fn patiently<T>(watch: &mut Watch<'_>, mut question: impl FnMut() -> Result<T, KafkaFault>) -> Result<T, KafkaFault> {
    loop {
        match question() {
            Err(fault) if fault.passes() => watch.again(&fault)?,
            answer => return answer,
        }
    }
}

/// Reads the partition from its beginning to the end of what is committed.
fn read_on(
    client: &BaseConsumer<Told>,
    topic: &str,
    key: &str,
    watch: &mut Watch<'_>,
) -> Result<Option<KafkaMarker>, KafkaFault> {
    let mut list = TopicPartitionList::new();
    let assigned = list.add_partition_offset(topic, PARTITION, Offset::Beginning).and_then(|()| client.assign(&list));
    assigned.map_err(|error| KafkaFault::of(&error))?;
    let mut found = None;
    loop {
        match client.poll(Duration::from_millis(100)) {
            None => watch.look(client.context().away())?,
            Some(Ok(record)) => {
                watch.moved();
                if record.key() == Some(key.as_bytes()) {
                    found = record.payload().map(|value| parse(value, topic, record.offset())).transpose()?;
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(found),
            Some(Err(error)) => {
                let fault = client.context().fault(&error);
                if !fault.passes() {
                    return Err(fault);
                }
                watch.look(Some(fault))?;
            }
        }
    }
}

fn parse(value: &[u8], topic: &str, offset: i64) -> Result<KafkaMarker, KafkaFault> {
    let wrong =
        |what: String| KafkaFault::lasting(format!("the marker at offset {offset} of the topic `{topic}` {what}"));
    let no_marker = |cause| wrong(format!("is none of Millstream's: {cause}; name another topic in `markers`"));
    let Versioned { version } = serde_json::from_slice(value).map_err(no_marker)?;
    if version > FORMAT_VERSION {
        let what = format!("is of format {version}, written by a later version of Millstream; use that one");
        return Err(wrong(what));
    }
    serde_json::from_slice(value).map_err(no_marker)
}
