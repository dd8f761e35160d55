//! Markers: which batch a sink, or a worker's share of it, has committed. A marker is a record of a compacted topic, written in the
//! transaction of the batch's rows.
//!
//! The topic has one partition, and one record per job, sink and share. So retention cannot lose a marker and the topic stays small.

use super::topic::{self, Admin, query, query_client};
use super::watch::Watch;
use crate::kafka::fault::{KafkaFault, KafkaFaultKind};
use crate::kafka::{ClientLog, RESPONSE_TIME_MAX};
use millstream_base::ids::{BatchId, Generation};
use millstream_base::owner::{FORMAT_VERSION, Owner};
use millstream_connect::sink::shares::{self, Share};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// The partition of all markers.
const PARTITION: i32 = 0;
/// Compaction does not touch the last segment, and a run reads all of it.
const SETTINGS: &[(&str, &str)] =
    &[("cleanup.policy", "compact"), ("segment.bytes", "4194304"), ("min.cleanable.dirty.ratio", "0.1")];

/// How often a transaction in progress is handled.
const BLOCKED_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// The owner of a sink, and its last committed batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KafkaMarker {
    /// See [`FORMAT_VERSION`].
    pub version: u32,
    /// The job's name.
    pub job: String,
    /// The job's id.
    pub job_id: String,
    /// The sink's name.
    pub sink: String,
    /// The last startup of the job that opened the sink.
    pub generation: Generation,
    /// The last committed batch with rows.
    pub batch: Option<BatchId>,
}

/// Read first to check the version, as other fields may differ in another version.
#[derive(Deserialize)]
struct VersionField {
    version: u32,
}

impl KafkaMarker {
    /// Creates the marker of this owner.
    pub fn new(owner: &Owner, sink: &str, batch: Option<BatchId>) -> KafkaMarker {
        let (job, job_id) = (owner.job.clone(), owner.job_id.clone());
        KafkaMarker { version: FORMAT_VERSION, job, job_id, sink: sink.into(), generation: owner.generation, batch }
    }

    /// Encodes the marker as a record.
    pub fn bytes(&self) -> Result<Vec<u8>, KafkaFault> {
        serde_json::to_vec(self).map_err(|cause| KafkaFault::permanent(format!("cannot write the marker: {cause}")))
    }

    /// Returns an error if a later run of the job has written the marker.
    fn check_owner(&self, owner: &Owner) -> Result<(), KafkaFault> {
        if self.generation > owner.generation {
            let message = format!(
                "the job was restarted elsewhere (generation {}), and this process (generation {}) was replaced",
                self.generation, owner.generation
            );
            return Err(KafkaFault { kind: KafkaFaultKind::TakenOver, code: None, message });
        }
        Ok(())
    }
}

/// The markers of one sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SinkMarkers(BTreeMap<Share, KafkaMarker>);

impl SinkMarkers {
    /// Returns the batch of a share's marker, or of the sink's marker without a share.
    pub fn own_batch(&self, share: Share) -> Option<BatchId> {
        self.0.get(&share)?.batch
    }

    /// See [`shares::committed_batch`].
    pub fn committed_batch(&self, share: Share) -> Option<BatchId> {
        shares::committed_batch(self.0.iter().map(|(of, marker)| (*of, marker.batch)), share)
    }

    /// Returns the workers that have markers.
    pub fn workers(&self) -> impl Iterator<Item = usize> {
        self.0.keys().copied().flatten()
    }

    /// Returns an error if a later run of the job has written one of the markers.
    pub fn check_owner(&self, owner: &Owner) -> Result<(), KafkaFault> {
        self.0.values().try_for_each(|marker| marker.check_owner(owner))
    }
}

/// Returns the suffix of a sink's name for a share. No name contains a `/`.
fn share_suffix(share: Share) -> String {
    share.map_or_else(String::new, |worker| format!("/{worker:03}"))
}

/// Returns the key of a marker.
pub(super) fn key(job_id: &str, sink: &str, share: Share) -> String {
    format!("{job_id}/{sink}{}", share_suffix(share))
}

/// Returns the transactional id, unique to this share.
pub(super) fn transactional_id(job_id: &str, sink: &str, share: Share) -> String {
    format!("millstream-{job_id}-{sink}{}", share_suffix(share))
}

/// Returns the sink and share of a marker's key; `None` if it belongs to another job.
fn sink_of<'a>(key: &'a [u8], job_id: &str) -> Option<(&'a str, Share)> {
    let sink = std::str::from_utf8(key).ok()?.strip_prefix(job_id)?.strip_prefix('/')?;
    let (sink, share) = match sink.split_once('/') {
        None => (sink, None),
        Some((sink, worker)) => (sink, Some(worker.parse().ok()?)),
    };
    (self::key(job_id, sink, share).as_bytes() == key).then_some((sink, share))
}

/// Returns the share of a marker's key; `None` if it belongs to another sink or job.
fn share_of(key: &[u8], (job_id, sink): (&str, &str)) -> Option<Share> {
    sink_of(key, job_id).filter(|(of, _)| *of == sink).map(|(_, share)| share)
}

/// Creates the topic if it does not exist, or checks that it keeps markers.
pub(super) fn ensure(client: &BaseConsumer<ClientLog>, admin: &Admin, topic: &str) -> Result<(), KafkaFault> {
    if !topic::exists(client, topic)? {
        admin.make(topic, Some(1), SETTINGS)?;
    }
    let facts = admin.facts(topic)?;
    if facts.deletes {
        return Err(KafkaFault::permanent(format!(
            "the topic `{topic}` records the committed batches, but deletes old records (`cleanup.policy`), so \
             batches would be written twice; fix it with: kafka-configs.sh --alter --topic {topic} --add-config \
             cleanup.policy=compact; or name another topic in `markers`"
        )));
    }
    Ok(())
}

/// Returns the transactional ids under which transactions of this job may block its markers, committed or not. These are the ids of all
/// workers of this sink. They also include those of sinks that this run has not taken over yet, or that the job no longer has.
pub(super) fn names_before(
    settings: &ClientConfig,
    topic: &str,
    (owner, sink): (&Owner, &str),
    watch: &mut Watch<'_>,
) -> Result<BTreeSet<String>, KafkaFault> {
    let mut names = BTreeSet::new();
    // That these records are readable does not mean that the awaited transaction makes progress.
    read_all(&query_client(settings, "read_uncommitted")?, topic, &mut watch.concurrent(), |record| {
        let Some((of, share)) = record.key().and_then(|key| sink_of(key, &owner.job_id)) else { return Ok(()) };
        let name = transactional_id(&owner.job_id, of, share);
        let ours = match record.payload() {
            Some(value) => parse(value, topic, record.offset())?.generation >= owner.generation,
            None => false,
        };
        match (of == sink, share) {
            (true, None) => false,
            (true, Some(_)) => names.insert(name),
            (false, _) if ours => names.remove(&name),
            (false, _) => names.insert(name),
        };
        Ok(())
    })?;
    Ok(names)
}

/// Returns the markers of a job's sink once all earlier transactions have ended. Those of other jobs count too, as they may precede the
/// markers. `on_blocked` is called while one is in progress, repeatedly.
pub(super) fn read(
    settings: &ClientConfig,
    topic: &str,
    of: (&str, &str),
    watch: &mut Watch<'_>,
    on_blocked: &mut dyn FnMut(&mut Watch<'_>) -> Result<(), KafkaFault>,
) -> Result<SinkMarkers, KafkaFault> {
    let end = end_of(&query_client(settings, "read_uncommitted")?, topic, watch)?;
    let committed = query_client(settings, "read_committed")?;
    let mut called: Option<Instant> = None;
    while end_of(&committed, topic, watch)? < end {
        if called.is_none_or(|called| called.elapsed() >= BLOCKED_CHECK_INTERVAL) {
            on_blocked(watch)?;
            called = Some(Instant::now());
        }
        let message = format!(
            "a transaction is open in the topic `{topic}`, perhaps of another job that has died: restart that job, \
             wait until its `transaction` time has passed, or name another topic in `markers`"
        );
        watch.check(Some(KafkaFault { kind: KafkaFaultKind::Blocked, code: None, message }))?;
        std::thread::sleep(Duration::from_millis(10));
    }
    read_on(&committed, topic, of, watch)
}

/// Returns the offset after the last record that this client may read.
fn end_of(client: &BaseConsumer<ClientLog>, topic: &str, watch: &mut Watch<'_>) -> Result<i64, KafkaFault> {
    retry_transient(watch, || query(client, |client| client.fetch_watermarks(topic, PARTITION, RESPONSE_TIME_MAX)))
        .map(|(_, end)| end)
}

/// Returns the current markers, or those from before a transaction in progress; none if the topic does not exist.
pub(super) fn read_current(
    settings: &ClientConfig,
    topic: &str,
    of: (&str, &str),
    watch: &mut Watch<'_>,
) -> Result<SinkMarkers, KafkaFault> {
    let client = query_client(settings, "read_committed")?;
    if !topic::exists(&client, topic)? {
        return Ok(SinkMarkers::default());
    }
    read_on(&client, topic, of, watch)
}

/// Retries while there is no response.
fn retry_transient<T>(
    watch: &mut Watch<'_>,
    mut request: impl FnMut() -> Result<T, KafkaFault>,
) -> Result<T, KafkaFault> {
    loop {
        match request() {
            Err(fault) if fault.is_transient() => watch.retry(&fault)?,
            result => return result,
        }
    }
}

/// Returns the markers of a sink among the committed records.
fn read_on(
    client: &BaseConsumer<ClientLog>,
    topic: &str,
    of: (&str, &str),
    watch: &mut Watch<'_>,
) -> Result<SinkMarkers, KafkaFault> {
    let mut found = SinkMarkers::default();
    read_all(client, topic, watch, |record| {
        let Some(share) = record.key().and_then(|key| share_of(key, of)) else { return Ok(()) };
        match record.payload() {
            Some(value) => drop(found.0.insert(share, parse(value, topic, record.offset())?)),
            None => drop(found.0.remove(&share)),
        }
        Ok(())
    })?;
    Ok(found)
}

/// Reads the partition from its beginning to the end of what this client may read.
fn read_all(
    client: &BaseConsumer<ClientLog>,
    topic: &str,
    watch: &mut Watch<'_>,
    mut each: impl FnMut(&BorrowedMessage<'_>) -> Result<(), KafkaFault>,
) -> Result<(), KafkaFault> {
    let mut list = TopicPartitionList::new();
    let assigned = list.add_partition_offset(topic, PARTITION, Offset::Beginning).and_then(|()| client.assign(&list));
    assigned.map_err(|error| KafkaFault::from_error(&error))?;
    loop {
        match client.poll(Duration::from_millis(100)) {
            None => watch.check(client.context().unreachable())?,
            Some(Ok(record)) => {
                watch.progressed();
                each(&record)?;
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            Some(Err(error)) => {
                let fault = client.context().fault(&error);
                if !fault.is_transient() {
                    return Err(fault);
                }
                watch.check(Some(fault))?;
            }
        }
    }
}

fn parse(value: &[u8], topic: &str, offset: i64) -> Result<KafkaMarker, KafkaFault> {
    let wrong =
        |what: String| KafkaFault::permanent(format!("the marker at offset {offset} of the topic `{topic}` {what}"));
    let no_marker = |cause| wrong(format!("was not written by Millstream: {cause}; name another topic in `markers`"));
    let VersionField { version } = serde_json::from_slice(value).map_err(no_marker)?;
    if version > FORMAT_VERSION {
        let what = format!("is of format {version}, written by a later version of Millstream; use that one");
        return Err(wrong(what));
    }
    serde_json::from_slice(value).map_err(no_marker)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF: (&str, &str) = ("id", "out");

    fn owner(generation: u64) -> Owner {
        Owner { job: "job".into(), job_id: OF.0.into(), generation: Generation(generation) }
    }

    fn markers(all: &[(Share, u64, Option<u64>)]) -> SinkMarkers {
        let marker = |generation, batch: &Option<u64>| KafkaMarker::new(&owner(generation), OF.1, batch.map(BatchId));
        SinkMarkers(all.iter().map(|(share, generation, batch)| (*share, marker(*generation, batch))).collect())
    }

    #[test]
    fn keys_tell_sinks_and_shares_apart() {
        for share in [None, Some(0), Some(7), Some(1234)] {
            assert_eq!(share_of(key(OF.0, OF.1, share).as_bytes(), OF), Some(share));
        }
        for other in ["id/out2", "id/ou", "ie/out", "id/out/", "id/out/7", "id/out/0x7", "id/out/+07", "id/out/007/1"] {
            assert_eq!(share_of(other.as_bytes(), OF), None, "{other}");
        }
        assert_eq!(sink_of(b"id/out2/007", OF.0), Some(("out2", Some(7))));
        assert_eq!(sink_of(b"id2/out", OF.0), None);
        assert_eq!(transactional_id("id", "out", Some(2)), "millstream-id-out/002");
    }

    #[test]
    fn what_is_written_again_into_a_marker_is_its_own_batch() {
        let mixed = markers(&[(None, 1, Some(4)), (Some(0), 2, None), (Some(1), 2, Some(6))]);
        assert_eq!(
            [None, Some(0), Some(1)].map(|share| mixed.own_batch(share)),
            [Some(BatchId(4)), None, Some(BatchId(6))]
        );
        assert_eq!([None, Some(0)].map(|share| mixed.committed_batch(share)), [Some(BatchId(6)), Some(BatchId(4))]);
        assert_eq!(mixed.workers().collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn a_later_start_in_any_marker_has_the_sink() {
        assert!(markers(&[(None, 2, None), (Some(1), 3, None)]).check_owner(&owner(3)).is_ok());
        for later in [markers(&[(None, 4, None), (Some(1), 3, None)]), markers(&[(None, 2, None), (Some(1), 4, None)])]
        {
            assert_eq!(later.check_owner(&owner(3)).map_err(|fault| fault.kind), Err(KafkaFaultKind::TakenOver));
        }
    }
}
