//! Where a sink writes, who it is there, and how a start takes it over.
//!
//! Without a share, a sink writes whole batches under its own name. With one it writes what a worker has of each batch, under a
//! name with the worker's number behind it, which counts all workers of the job: so a share is the same one wherever it runs.
//! Nothing tells who had shares before but their markers, and a start that everybody took for dead may only now begin with one
//! that had none. Therefore:
//!
//! 1. whoever takes over all of a sink first writes its generation into the marker of whole batches, then reads which shares have
//!    markers, ends the transactions under their names, and reads the markers again: what they hold counts. Where a share left a
//!    transaction open, the markers behind it cannot be read before that is ended, so it is done before all this as well;
//! 2. whoever takes over a share first writes its marker, then looks whether any marker of the sink tells of a later start. So
//!    either the later start sees this marker, or this one sees that of the later start before it has committed a row;
//! 3. whoever begins anew under a name looks as well, and so takes nothing away from a later start.

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
use crate::sink::shares::Share;
use crate::sink::wrong;
use millstream_base::error::Result;
use millstream_base::fault;
use millstream_base::ids::BatchId;
use millstream_base::job::spec::{Origin, SinkStart};
use millstream_base::owner::Owner;
use rdkafka::config::ClientConfig;

/// Where a sink, or a worker's share of it, writes, and who it is there.
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
        let settings = kafka::settings(&writes.cluster, &origin.folder, "millstream");
        let settings = settings.map_err(|why| wrong(spec, origin, "tls", why.0))?;
        Ok(Target { sink: spec.name.clone(), share, spec: writes.clone(), settings, owner })
    }

    /// The sink, for people.
    pub fn who(&self) -> String {
        let worker = self.share.map_or_else(String::new, |worker| format!(", worker {worker}"));
        format!("sink `{}`{worker}", self.sink)
    }

    pub fn place(&self) -> String {
        format!("topic `{}` of Kafka at {}", self.spec.topic, self.spec.cluster.brokers.join(","))
    }

    /// Where the schema of records is that have one.
    pub fn subject<'a>(&'a self, origin: &'a Origin) -> Option<Subject<'a>> {
        let spec = self.spec.registry.as_deref()?;
        let protobuf = self.spec.protobuf.as_deref();
        Some(Subject { sink: &self.sink, topic: &self.spec.topic, spec, protobuf, folder: &origin.folder })
    }

    /// Whether the topic can take what this sink writes.
    pub fn fits(&self, facts: &TopicFacts) -> Result<(), String> {
        if facts.compacted && self.spec.key.is_none() {
            return Err(format!(
                "the topic `{}` is compacted, so that all of its records have keys; write key = \"…\" with the name of a column",
                self.spec.topic
            ));
        }
        Ok(())
    }

    /// Makes topics that are not there; waits for a cluster that does not answer in time.
    pub fn prepare(&self, watch: &mut Watch<'_>) -> Result<TopicFacts, KafkaFault> {
        loop {
            match self.topics() {
                Err(fault) if fault.passes() => watch.again(&fault)?,
                prepared => return prepared,
            }
        }
    }

    fn topics(&self) -> Result<TopicFacts, KafkaFault> {
        let topic = &self.spec.topic;
        let (client, admin) = (topic::asking(&self.settings, "read_uncommitted")?, Admin::new(&self.settings)?);
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

    /// A producer of a share for what the topic takes.
    fn producer(&self, share: Share, facts: &TopicFacts) -> ClientConfig {
        let mut config = self.settings.clone();
        config
            .set("enable.idempotence", "true")
            .set("compression.type", self.spec.compression.word())
            // As Java's client does, so that other writers of the topic put a key where this one does.
            .set("partitioner", "murmur2_random")
            // Records go in as large requests as there can be: what waits for a request to fill is sent as soon as the batch is
            // handed over, see `Session::progress`.
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
            // The library tries again for as long as it is asked to.
            None => drop(config.set("message.timeout.ms", "0")),
        }
        config
    }

    /// The markers of this sink, once no transaction of before is under way. An error where a later start has the sink.
    ///
    /// Whoever takes over all of the sink ends transactions of its shares that it waits for: a process of the start before may have
    /// died later than the others, in the middle of one. So does it with those of the job's other sinks that nobody has taken over yet.
    fn markers(&self, owner: &Owner, facts: &TopicFacts, watch: &mut Watch<'_>) -> Result<SinkMarkers, KafkaFault> {
        let (settings, topic, of) = (&self.settings, &self.spec.markers, (owner.job_id.as_str(), self.sink.as_str()));
        let mut end_before = |watch: &mut Watch<'_>| match self.share {
            None => self.end(markers::names_before(settings, topic, (owner, &self.sink), watch)?, facts, watch),
            Some(_) => Ok(()),
        };
        let markers = markers::read(settings, topic, of, watch, &mut end_before)?;
        markers.check_ours(owner)?;
        Ok(markers)
    }

    /// A session, and the markers as they are once nobody else can commit what this is to commit.
    pub fn begin(&self, facts: &TopicFacts, watch: &mut Watch<'_>) -> Result<(Session, SinkMarkers), KafkaFault> {
        let session = Session::begin(&self.producer(self.share, facts), watch)?;
        let Some(owner) = &self.owner else { return Ok((session, SinkMarkers::default())) };
        Ok((session, self.markers(owner, facts, watch)?))
    }

    /// Ends the transactions of these workers, who cannot commit any more unless they begin anew.
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

    /// Ends the transactions under these names.
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

    /// Takes over from earlier starts of the job: see the head of this file. The last batch that is committed.
    pub fn take_over(
        &self,
        facts: &TopicFacts,
        watch: &mut Watch<'_>,
    ) -> Result<(Session, Option<BatchId>), KafkaFault> {
        loop {
            let (mut session, markers) = self.begin(facts, watch)?;
            let Some(owner) = &self.owner else { return Ok((session, None)) };
            fault::point("start.sink");
            let written = self.write(&mut session, &Records::default(), markers.own(self.share), watch);
            match written.and_then(|()| self.look_at_others(owner, facts, watch)) {
                Ok(markers) => return Ok((session, markers.held(self.share))),
                Err(fault) if fault.passes() => {
                    session.end();
                    watch.again(&fault)?;
                }
                Err(fault) => return Err(fault),
            }
        }
    }

    /// The markers, once this start stands in its own. Without a share, nobody older commits to any from then on.
    fn look_at_others(
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

    /// Records and marker of a batch.
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
