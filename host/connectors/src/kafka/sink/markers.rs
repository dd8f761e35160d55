//! Which batch a sink, or a worker's share of it, has committed: a record of a compacted topic, written in the transaction of
//! the batch's rows.
//!
//! The topic has one partition, and a record for each job and sink, and for each share of one, so retention cannot lose any and it
//! stays small.

use super::topic::{self, Admin, ask, asking};
use super::watch::Watch;
use crate::kafka::fault::{KafkaFault, KafkaFaultKind};
use crate::kafka::{ANSWER_TIME_MAX, ClientLog};
use crate::sink::shares::{self, Share};
use millstream_base::ids::{BatchId, Generation};
use millstream_base::owner::{FORMAT_VERSION, Owner};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Where all markers are.
const PARTITION: i32 = 0;
/// Compaction leaves the last segment alone, and a start reads all of it.
const SETTINGS: &[(&str, &str)] =
    &[("cleanup.policy", "compact"), ("segment.bytes", "4194304"), ("min.cleanable.dirty.ratio", "0.1")];

/// How often something is done about a transaction that is under way.
const HELD_UP_EVERY: Duration = Duration::from_millis(500);

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
    fn check_ours(&self, owner: &Owner) -> Result<(), KafkaFault> {
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
    /// The batch that the marker of a share names, or the one of whole batches.
    pub fn own(&self, share: Share) -> Option<BatchId> {
        self.0.get(&share)?.batch
    }

    /// See [`shares::held`].
    pub fn held(&self, share: Share) -> Option<BatchId> {
        shares::held(self.0.iter().map(|(of, marker)| (*of, marker.batch)), share)
    }

    /// The workers that have markers.
    pub fn workers(&self) -> impl Iterator<Item = usize> {
        self.0.keys().copied().flatten()
    }

    /// An error where a later start of the job has written one of them.
    pub fn check_ours(&self, owner: &Owner) -> Result<(), KafkaFault> {
        self.0.values().try_for_each(|marker| marker.check_ours(owner))
    }
}

/// What stands behind the name of a sink where only a share of it is meant. No name has a `/`.
fn behind(share: Share) -> String {
    share.map_or_else(String::new, |worker| format!("/{worker:03}"))
}

/// The key of a marker.
pub(super) fn key(job_id: &str, sink: &str, share: Share) -> String {
    format!("{job_id}/{sink}{}", behind(share))
}

/// The name under which nobody else commits.
pub(super) fn transactional_id(job_id: &str, sink: &str, share: Share) -> String {
    format!("millstream-{job_id}-{sink}{}", behind(share))
}

/// Whose marker this is the key of: the sink, and the share of it; `None`: that of another job.
fn sink_of<'a>(key: &'a [u8], job_id: &str) -> Option<(&'a str, Share)> {
    let sink = std::str::from_utf8(key).ok()?.strip_prefix(job_id)?.strip_prefix('/')?;
    let (sink, share) = match sink.split_once('/') {
        None => (sink, None),
        Some((sink, worker)) => (sink, Some(worker.parse().ok()?)),
    };
    (self::key(job_id, sink, share).as_bytes() == key).then_some((sink, share))
}

/// Whose marker this is the key of, among those of a sink; `None`: that of another sink, or job.
fn share_of(key: &[u8], (job_id, sink): (&str, &str)) -> Option<Share> {
    sink_of(key, job_id).filter(|(of, _)| *of == sink).map(|(_, share)| share)
}

/// Makes the topic where it is not there, or checks that it keeps markers.
pub(super) fn ensure(client: &BaseConsumer<ClientLog>, admin: &Admin, topic: &str) -> Result<(), KafkaFault> {
    if !topic::exists(client, topic)? {
        admin.make(topic, Some(1), SETTINGS)?;
    }
    let facts = admin.facts(topic)?;
    if facts.deletes {
        return Err(KafkaFault::lasting(format!(
            "the topic `{topic}` keeps which batches are committed, and deletes old records (`cleanup.policy`), so batches would be \
             written twice; fix it with: kafka-configs.sh --alter --topic {topic} --add-config \
             cleanup.policy=compact; or name another topic in `markers`"
        )));
    }
    Ok(())
}

/// The names under which transactions of this job may hold up its markers, whether or not they came to something: those of all workers
/// of this sink, and those of other sinks that this start has not taken over yet, or the job has no more.
pub(super) fn names_before(
    settings: &ClientConfig,
    topic: &str,
    (owner, sink): (&Owner, &str),
    watch: &mut Watch<'_>,
) -> Result<BTreeSet<String>, KafkaFault> {
    let mut names = BTreeSet::new();
    // That these can be read does not mean that what is waited for goes on.
    read_all(&asking(settings, "read_uncommitted")?, topic, &mut watch.aside(), |record| {
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

/// The markers of a job's sink, once all transactions are over that were under way: those of other jobs as well, which may stand
/// before them. `held_up` is called where one is under way, and now and then while it is.
pub(super) fn read(
    settings: &ClientConfig,
    topic: &str,
    of: (&str, &str),
    watch: &mut Watch<'_>,
    held_up: &mut dyn FnMut(&mut Watch<'_>) -> Result<(), KafkaFault>,
) -> Result<SinkMarkers, KafkaFault> {
    let end = end_of(&asking(settings, "read_uncommitted")?, topic, watch)?;
    let committed = asking(settings, "read_committed")?;
    let mut called: Option<Instant> = None;
    while end_of(&committed, topic, watch)? < end {
        if called.is_none_or(|called| called.elapsed() >= HELD_UP_EVERY) {
            held_up(watch)?;
            called = Some(Instant::now());
        }
        let message = format!(
            "a transaction is under way in the topic `{topic}`, perhaps one of another job that has died: start that job again, or wait \
             until the time of its `transaction` is over, or name another topic in `markers`"
        );
        watch.look(Some(KafkaFault { kind: KafkaFaultKind::HeldUp, code: None, message }))?;
        std::thread::sleep(Duration::from_millis(10));
    }
    read_on(&committed, topic, of, watch)
}

/// The offset behind what this client may read.
fn end_of(client: &BaseConsumer<ClientLog>, topic: &str, watch: &mut Watch<'_>) -> Result<i64, KafkaFault> {
    patiently(watch, || ask(client, |client| client.fetch_watermarks(topic, PARTITION, ANSWER_TIME_MAX)))
        .map(|(_, end)| end)
}

/// The markers as they are now, or were before a transaction that is under way; none where there is no topic.
pub(super) fn peek(
    settings: &ClientConfig,
    topic: &str,
    of: (&str, &str),
    watch: &mut Watch<'_>,
) -> Result<SinkMarkers, KafkaFault> {
    let client = asking(settings, "read_committed")?;
    if !topic::exists(&client, topic)? {
        return Ok(SinkMarkers::default());
    }
    read_on(&client, topic, of, watch)
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

/// The markers of a sink among what is committed.
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
    assigned.map_err(|error| KafkaFault::of(&error))?;
    loop {
        match client.poll(Duration::from_millis(100)) {
            None => watch.look(client.context().away())?,
            Some(Ok(record)) => {
                watch.moved();
                each(&record)?;
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
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
    let no_marker = |cause| wrong(format!("was not written by Millstream: {cause}; name another topic in `markers`"));
    let Versioned { version } = serde_json::from_slice(value).map_err(no_marker)?;
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
        assert_eq!([None, Some(0), Some(1)].map(|share| mixed.own(share)), [Some(BatchId(4)), None, Some(BatchId(6))]);
        assert_eq!([None, Some(0)].map(|share| mixed.held(share)), [Some(BatchId(6)), Some(BatchId(4))]);
        assert_eq!(mixed.workers().collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn a_later_start_in_any_marker_has_the_sink() {
        assert!(markers(&[(None, 2, None), (Some(1), 3, None)]).check_ours(&owner(3)).is_ok());
        for later in [markers(&[(None, 4, None), (Some(1), 3, None)]), markers(&[(None, 2, None), (Some(1), 4, None)])]
        {
            assert_eq!(later.check_ours(&owner(3)).map_err(|fault| fault.kind), Err(KafkaFaultKind::TakenOver));
        }
    }
}
