//! The destination of a sink, its identity there, and how a run takes it over.
//!
//! Without a share, a sink writes complete batches under its own name. With a share it writes a worker's part of each batch, under a name
//! with the worker's number appended. Workers are numbered across the job, so a share stays the same wherever it runs. Only markers tell
//! which shares existed before. A run that seemed dead may still begin with a share that had no marker. Therefore:
//!
//! 1. A run that takes over an entire sink first writes its generation into the sink's marker. Then it reads which
//!    shares have markers, ends the transactions under their names, and reads the markers again: these count. If a
//!    share left a transaction open, the markers after it cannot be read before it is ended. So it is ended before step 1, too.
//! 2. A run that takes over a share first writes its marker, then checks whether any marker of the sink is of a later
//!    run. So either the later run sees this marker, or this run sees that of the later one before it commits a row.
//! 3. A run that begins a new session under a name checks this as well, and so takes nothing from a later run.

use super::markers::{self, KafkaMarker, SinkMarkers};
use super::records::Records;
use super::session::{Batch, Session};
use super::settings::KafkaWrites;
use super::subject::Subject;
use super::topic::{self, Admin, TopicFacts};
use super::watch::Watch;
use crate::kafka;
use crate::kafka::fault::KafkaFault;
use crate::kafka::limits::{QUEUE_BYTES_MAX, QUEUE_RECORDS_MAX};
use millstream_base::error::Result;
use millstream_base::fault;
use millstream_base::ids::BatchId;
use millstream_base::owner::Owner;
use millstream_connect::sink::shares::Share;
use millstream_connect::sink::wrong;
use millstream_job::spec::{Origin, SinkStart};
use rdkafka::config::ClientConfig;

/// The destination and identity of a sink, or of a worker's share of it.
pub(super) struct Target {
    pub sink: String,
    pub share: Share,
    pub spec: KafkaWrites,
    pub settings: ClientConfig,
    pub owner: Option<Owner>,
}

impl Target {
    pub fn new(writes: &KafkaWrites, start: SinkStart<'_>, share: Share, owner: Option<Owner>) -> Result<Target> {
        let SinkStart { spec, origin, .. } = start;
        let settings = kafka::settings(&writes.cluster, &origin.dir, "millstream");
        let settings = settings.map_err(|why| wrong(spec, origin, "tls", why.0))?;
        Ok(Target { sink: spec.name.clone(), share, spec: writes.clone(), settings, owner })
    }

    /// Returns the sink's name for messages.
    pub fn display_name(&self) -> String {
        let worker = self.share.map_or_else(String::new, |worker| format!(", worker {worker}"));
        format!("sink `{}`{worker}", self.sink)
    }

    pub fn cluster_name(&self) -> String {
        format!("Kafka topic `{}` at {}", self.spec.topic, self.spec.cluster.brokers.join(","))
    }

    /// Returns the registry subject of the records' schema, if they have one.
    pub fn subject<'a>(&'a self, origin: &'a Origin) -> Option<Subject<'a>> {
        let spec = self.spec.registry.as_deref()?;
        let protobuf = self.spec.protobuf.as_deref();
        Some(Subject { sink: &self.sink, topic: &self.spec.topic, spec, protobuf, dir: &origin.dir })
    }

    /// Checks whether the topic can take what this sink writes.
    pub fn fits(&self, facts: &TopicFacts) -> Result<(), String> {
        if facts.compacted && self.spec.key.is_none() {
            return Err(format!(
                "the topic `{}` is compacted, so all its records need keys; write key = \"…\" with the name of a \
                column",
                self.spec.topic
            ));
        }
        Ok(())
    }

    /// Creates missing topics; waits for a cluster that does not respond in time.
    pub fn prepare(&self, watch: &mut Watch<'_>) -> Result<TopicFacts, KafkaFault> {
        loop {
            match self.topics() {
                Err(fault) if fault.is_transient() => watch.retry(&fault)?,
                prepared => return prepared,
            }
        }
    }

    fn topics(&self) -> Result<TopicFacts, KafkaFault> {
        let topic = &self.spec.topic;
        let (client, admin) = (topic::query_client(&self.settings, "read_uncommitted")?, Admin::new(&self.settings)?);
        if !topic::exists(&client, topic)? {
            let compacted: &[_] = &[("cleanup.policy", "compact")];
            let config = if self.spec.tombstones.is_some() || self.spec.op.is_some() { compacted } else { &[] };
            admin.make(topic, None, config)?;
            tracing::info!(
                "sink `{}`: topic `{topic}` did not exist; it was created with the cluster's defaults",
                self.sink
            );
        }
        if self.owner.is_some() {
            markers::ensure(&client, &admin, &self.spec.markers)?;
        }
        admin.facts(topic)
    }

    /// Returns the settings of a share's producer, adapted to the topic.
    fn producer(&self, share: Share, facts: &TopicFacts) -> ClientConfig {
        let mut config = self.settings.clone();
        config
            .set("enable.idempotence", "true")
            .set("compression.type", self.spec.compression.keyword())
            // As Java's client does, so that other writers of the topic assign a key to the same partition.
            .set("partitioner", "murmur2_random")
            // Requests are as large as possible: records that wait for a request to fill are sent as soon as the batch is complete, see
            // `Session::progress`.
            .set("linger.ms", "50")
            .set("delivery.report.only.error", "true")
            .set("message.max.bytes", facts.record_bytes_max.clamp(1_000, 1_000_000_000).to_string())
            .set("queue.buffering.max.kbytes", (QUEUE_BYTES_MAX >> 10).to_string())
            .set("queue.buffering.max.messages", QUEUE_RECORDS_MAX.to_string());
        match &self.owner {
            Some(owner) => {
                config.set("transactional.id", markers::transactional_id(&owner.job_id, &self.sink, share));
                config.set("transaction.timeout.ms", self.spec.transaction.as_millis().to_string());
            }
            // The library retries without limit.
            None => drop(config.set("message.timeout.ms", "0")),
        }
        config
    }

    /// Returns the markers of this sink once no earlier transaction is in progress. An error if a later run owns the sink.
    ///
    /// When taking over an entire sink, it ends transactions of the sink's shares that block it: a process of the previous run may have
    /// died later than the others, inside a transaction. The same holds for the job's other sinks that are not taken over yet.
    fn markers(&self, owner: &Owner, facts: &TopicFacts, watch: &mut Watch<'_>) -> Result<SinkMarkers, KafkaFault> {
        let (settings, topic, of) = (&self.settings, &self.spec.markers, (owner.job_id.as_str(), self.sink.as_str()));
        let mut end_before = |watch: &mut Watch<'_>| match self.share {
            None => self.end(markers::names_before(settings, topic, (owner, &self.sink), watch)?, facts, watch),
            Some(_) => Ok(()),
        };
        let markers = markers::read(settings, topic, of, watch, &mut end_before)?;
        markers.check_owner(owner)?;
        Ok(markers)
    }

    /// Starts a session. Returns the markers as they are once no other process can commit to this share.
    pub fn begin(&self, facts: &TopicFacts, watch: &mut Watch<'_>) -> Result<(Session, SinkMarkers), KafkaFault> {
        let session = Session::begin(&self.producer(self.share, facts), watch)?;
        let Some(owner) = &self.owner else { return Ok((session, SinkMarkers::default())) };
        Ok((session, self.markers(owner, facts, watch)?))
    }

    /// Ends the transactions of these workers, which cannot commit any longer unless they start a new session.
    fn end_shares(
        &self,
        workers: impl IntoIterator<Item = usize>,
        facts: &TopicFacts,
        watch: &mut Watch<'_>,
    ) -> Result<(), KafkaFault> {
        let Some(owner) = &self.owner else { return Ok(()) };
        let name = |worker| markers::transactional_id(&owner.job_id, &self.sink, Some(worker));
        self.end(workers.into_iter().map(name), facts, watch)
    }

    /// Ends the transactions under these ids.
    fn end(
        &self,
        names: impl IntoIterator<Item = String>,
        facts: &TopicFacts,
        watch: &mut Watch<'_>,
    ) -> Result<(), KafkaFault> {
        let named = |name| {
            let mut config = self.producer(self.share, facts);
            config.set("transactional.id", name);
            config
        };
        Session::end_others(&names.into_iter().map(named).collect::<Vec<_>>(), watch)
    }

    /// Takes over from earlier runs of the job: see the module's documentation. Returns the last committed batch.
    pub fn take_over(
        &self,
        facts: &TopicFacts,
        watch: &mut Watch<'_>,
    ) -> Result<(Session, Option<BatchId>), KafkaFault> {
        loop {
            let (mut session, markers) = self.begin(facts, watch)?;
            let Some(owner) = &self.owner else { return Ok((session, None)) };
            fault::point("start.sink");
            let written = self.write(&mut session, &Records::default(), markers.own_batch(self.share), watch);
            match written.and_then(|()| self.check_other_markers(owner, facts, watch)) {
                Ok(markers) => return Ok((session, markers.committed_batch(self.share))),
                Err(fault) if fault.is_transient() => {
                    session.end();
                    watch.retry(&fault)?;
                }
                Err(fault) => return Err(fault),
            }
        }
    }

    /// Returns the markers once this run has written its own. Without a share, no earlier run commits to any of them from then on.
    fn check_other_markers(
        &self,
        owner: &Owner,
        facts: &TopicFacts,
        watch: &mut Watch<'_>,
    ) -> Result<SinkMarkers, KafkaFault> {
        let markers = self.markers(owner, facts, watch)?;
        if self.share.is_some() || markers.workers().next().is_none() {
            return Ok(markers);
        }
        self.end_shares(markers.workers(), facts, watch)?;
        self.markers(owner, facts, watch)
    }

    /// Writes records and marker of a batch.
    pub fn write(
        &self,
        session: &mut Session,
        records: &Records,
        batch: Option<BatchId>,
        watch: &mut Watch<'_>,
    ) -> Result<(), KafkaFault> {
        let marked = self.owner.as_ref().map(|owner| {
            let key = markers::key(&owner.job_id, &self.sink, self.share);
            Ok::<_, KafkaFault>((key, KafkaMarker::new(owner, &self.sink, batch).bytes()?))
        });
        let marked = marked.transpose()?;
        let marker = marked.as_ref().map(|(key, value)| (self.spec.markers.as_str(), key.as_str(), value.clone()));
        session.write(&Batch { topic: &self.spec.topic, records, marker }, watch)
    }
}
