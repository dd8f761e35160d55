//! What tests do with the topics of a broker.

use super::Broker;
use crate::{DEADLINE, wait_until};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The limit for a single response of the broker.
const RESPONSE_TIME_MAX: Duration = Duration::from_secs(30);
/// How long one attempt waits if others follow.
const ATTEMPT_TIME_MAX: Duration = Duration::from_secs(2);

/// A record of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The partition; in a record to be written, −1 leaves the choice to the client library.
    pub partition: i32,
    /// The offset in its partition, once it is written.
    pub offset: i64,
    /// `None` is null.
    pub key: Option<Vec<u8>>,
    /// `None` is null.
    pub value: Option<Vec<u8>>,
    /// In order; a name may occur twice.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// In milliseconds; `None` means the time at which it is written.
    pub timestamp_ms: Option<i64>,
}

impl Record {
    /// A record with this key and value, on a partition that the client library chooses.
    pub fn of(key: &str, value: &str) -> Record {
        Record { partition: -1, key: Some(key.into()), value: Some(value.into()), ..Record::default() }
    }

    /// A record with this value for this partition.
    pub fn at(partition: i32, value: &str) -> Record {
        Record { partition, value: Some(value.into()), ..Record::default() }
    }

    /// Its key as a string.
    pub fn key_text(&self) -> String {
        String::from_utf8_lossy(self.key.as_deref().unwrap_or_default()).into_owned()
    }

    /// Its value as a string.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.value.as_deref().unwrap_or_default()).into_owned()
    }
}

impl Broker {
    /// Whether it responds and has become the broker of its cluster.
    pub(super) fn answers(&self) -> bool {
        let consumer: BaseConsumer = self.client().create().expect("the settings of a client are right");
        consumer.fetch_metadata(None, ATTEMPT_TIME_MAX).is_ok_and(|known| !known.brokers().is_empty())
    }

    /// Creates a topic with this number of partitions and with settings such as `retention.ms`.
    pub fn topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        self.topic_with_copies(name, partitions, 1, settings);
    }

    pub(super) fn topic_with_copies(&self, name: &str, partitions: i32, copies: i32, settings: &[(&str, &str)]) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(copies));
        topic.config = settings.to_vec();
        let made = self.admin(|admin, options| wait(admin.create_topics([&topic], options)));
        each(name, made);
        wait_until(&format!("the topic {name} is there"), || self.partitions(name) == partitions);
    }

    /// Increases the number of partitions of a topic.
    pub fn add_partitions(&self, topic: &str, partitions: usize) {
        let more = NewPartitions::new(topic, partitions);
        each(topic, self.admin(|admin, options| wait(admin.create_partitions([&more], options))));
        wait_until(&format!("{topic} has {partitions} partitions"), || self.partitions(topic) as usize == partitions);
    }

    /// The number of partitions of a topic; 0 if it does not exist.
    pub fn partitions(&self, topic: &str) -> i32 {
        let consumer: BaseConsumer = self.client().create().expect("the settings of a client are right");
        let known = consumer.fetch_metadata(None, RESPONSE_TIME_MAX).expect("the broker answers");
        let found = known.topics().iter().find(|known| known.name() == topic);
        found.map_or(0, |found| found.partitions().len() as i32)
    }

    /// Deletes a topic.
    pub fn delete_topic(&self, name: &str) {
        each(name, self.admin(|admin, options| wait(admin.delete_topics(&[name], options))));
        wait_until(&format!("the topic {name} does not exist"), || self.partitions(name) == 0);
    }

    /// Deletes the records of a partition before this offset, as retention does.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before)).expect("an offset can be set");
        let done = self.admin(|admin, options| wait(admin.delete_records(&list, options)));
        for element in done.elements() {
            element.error().unwrap_or_else(|cause| panic!("{topic}: {cause}"));
        }
    }

    /// Changes settings of a topic; all other settings get their defaults.
    pub fn set(&self, topic: &str, settings: &[(&str, &str)]) {
        let change =
            AlterConfig { specifier: ResourceSpecifier::Topic(topic), entries: settings.iter().copied().collect() };
        let done = self.admin(|admin, options| wait(admin.alter_configs([&change], options)));
        done.into_iter().for_each(|done| drop(done.unwrap_or_else(|cause| panic!("{topic}: {cause:?}"))));
    }

    /// Writes records and waits until the broker has them.
    pub fn produce<'a>(&self, topic: &str, records: impl IntoIterator<Item = &'a Record>) {
        let mut config = self.client();
        config.set("linger.ms", "0").set("partitioner", "murmur2_random");
        // A record that is resent after its broker was lost is stored once.
        config.set("enable.idempotence", "true");
        let producer: BaseProducer<Refused> =
            config.create_with_context(Refused::default()).expect("the settings of a client are right");
        send(&producer, topic, records);
        producer.flush(RESPONSE_TIME_MAX).expect("the broker takes the records");
        let refused = producer.context().0.lock().expect("nobody panics with it").clone();
        assert_eq!(refused, Vec::<String>::new(), "{topic}");
    }

    /// Writes records in a transaction and leaves it open. Readers of committed records see neither these records nor any after
    /// them until the transaction is committed or aborted, or times out.
    pub fn transaction<'a>(
        &self,
        id: &str,
        timeout: Duration,
        topic: &str,
        records: impl IntoIterator<Item = &'a Record>,
    ) -> OpenTransaction {
        let mut config = self.client();
        config.set("linger.ms", "0").set("transactional.id", id).set("partitioner", "murmur2_random");
        config.set("transaction.timeout.ms", timeout.as_millis().to_string());
        config.set("message.timeout.ms", timeout.as_millis().to_string());
        let producer: BaseProducer<Refused> =
            config.create_with_context(Refused::default()).expect("the settings of a client are right");
        producer.init_transactions(RESPONSE_TIME_MAX).expect("the broker knows transactions");
        producer.begin_transaction().expect("it can begin");
        send(&producer, topic, records);
        producer.flush(RESPONSE_TIME_MAX).expect("the broker takes the records");
        OpenTransaction(producer)
    }

    /// Returns all committed records of a topic, partition by partition.
    pub fn read(&self, topic: &str) -> Vec<Record> {
        self.read_as(topic, "read_committed")
    }

    /// Returns all records of a topic, including those of open or aborted transactions.
    pub fn read_uncommitted(&self, topic: &str) -> Vec<Record> {
        self.read_as(topic, "read_uncommitted")
    }

    /// The values of all committed records of a topic, as text, partition by partition.
    pub fn strings(&self, topic: &str) -> Vec<String> {
        self.read(topic).iter().map(Record::text).collect()
    }

    /// Returns a reader that follows the committed records of a topic. It sees each record once, as it arrives.
    pub fn follow(&self, topic: &str) -> Follower {
        Follower(self.reader(topic, "read_committed").0)
    }

    /// Returns the offset after the last record of a partition, whatever the state of its transaction.
    pub fn end(&self, topic: &str, partition: i32) -> i64 {
        let mut config = self.client();
        config.set("isolation.level", "read_uncommitted");
        let consumer: BaseConsumer = config.create().expect("the settings of a client are right");
        consumer.fetch_watermarks(topic, partition, RESPONSE_TIME_MAX).expect("the broker answers").1
    }

    /// A setting of a topic.
    pub fn setting(&self, topic: &str, name: &str) -> String {
        let which = ResourceSpecifier::Topic(topic);
        let known = self.admin(|admin, options| wait(admin.describe_configs([&which], options)));
        let known = known.into_iter().next().expect("it is told").expect("the topic is there");
        known.get(name).and_then(|entry| entry.value.clone()).expect("there is such a setting")
    }

    /// A client that reads a topic from its beginning, and the partitions.
    fn reader(&self, topic: &str, isolation: &str) -> (BaseConsumer, BTreeSet<i32>) {
        let mut config = self.client();
        config.set("group.id", "test").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        config.set("isolation.level", isolation).set("auto.offset.reset", "error").set("fetch.wait.max.ms", "10");
        let consumer: BaseConsumer = config.create().expect("the settings of a client are right");
        let partitions: BTreeSet<i32> = (0..self.partitions(topic)).collect();
        assert!(!partitions.is_empty(), "there is no topic {topic}");
        let mut list = TopicPartitionList::new();
        for partition in &partitions {
            list.add_partition_offset(topic, *partition, Offset::Beginning).expect("an offset can be set");
        }
        consumer.assign(&list).expect("partitions can be assigned");
        (consumer, partitions)
    }

    fn read_as(&self, topic: &str, isolation: &str) -> Vec<Record> {
        let (consumer, mut left) = self.reader(topic, isolation);
        let (mut records, until) = (Vec::new(), Instant::now() + DEADLINE);
        while !left.is_empty() {
            let count = records.len();
            assert!(
                Instant::now() < until,
                "{topic}: no end of partitions {left:?} after {count} records in {DEADLINE:?}"
            );
            match consumer.poll(RESPONSE_TIME_MAX) {
                Some(Ok(message)) => records.push(record(&message)),
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(left.remove(&partition)),
                // Another broker of the cluster has the partition.
                Some(Err(cause)) if self.member.is_some() && cause.rdkafka_error_code().is_some_and(is_transient) => {}
                Some(Err(cause)) => panic!("cannot read {topic}: {cause}"),
                None => panic!("{topic}: the broker says nothing"),
            }
        }
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    }

    fn admin<T>(
        &self,
        work: impl FnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> Result<T, KafkaError>,
    ) -> T {
        let admin = AdminClient::from_config(&self.client()).expect("the settings of a client are right");
        let options = AdminOptions::new().operation_timeout(Some(RESPONSE_TIME_MAX));
        work(&admin, &options).expect("the broker answers")
    }
}

/// A reader that follows a topic.
pub struct Follower(BaseConsumer);

impl Follower {
    /// Returns the records since the last call and those that arrive within this time. Waits for an unreachable broker.
    pub fn more(&self, time: Duration) -> Vec<Record> {
        let until = std::time::Instant::now() + time;
        let mut records = Vec::new();
        while std::time::Instant::now() < until {
            match self.0.poll(Duration::from_millis(20)) {
                Some(Ok(message)) => records.push(record(&message)),
                None | Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(cause)) if cause.rdkafka_error_code().is_some_and(is_transient) => {}
                Some(Err(cause)) => panic!("cannot read on: {cause}"),
            }
        }
        records
    }
}

/// Whether the client reports this code for an unreachable broker.
fn is_transient(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut, Resolve};
    [AllBrokersDown, BrokerTransportFailure, OperationTimedOut, Resolve].contains(&code)
}

/// A transaction that is neither committed nor aborted. Dropping it leaves it so.
pub struct OpenTransaction(BaseProducer<Refused>);

impl OpenTransaction {
    /// Commits it.
    pub fn commit(self) {
        self.0.commit_transaction(RESPONSE_TIME_MAX).expect("it can be committed");
    }

    /// Aborts it.
    pub fn abort(self) {
        self.0.abort_transaction(RESPONSE_TIME_MAX).expect("it can be aborted");
    }
}

/// Why records were not written.
#[derive(Default)]
struct Refused(Mutex<Vec<String>>);

impl ClientContext for Refused {}

impl ProducerContext for Refused {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        if let Err((cause, _)) = result {
            self.0.lock().expect("nobody panics with it").push(cause.to_string());
        }
    }
}

fn send<'a>(producer: &BaseProducer<Refused>, topic: &str, records: impl IntoIterator<Item = &'a Record>) {
    for record in records {
        let mut to = BaseRecord::<[u8], [u8]>::to(topic);
        to.partition = (record.partition >= 0).then_some(record.partition);
        to.key = record.key.as_deref();
        to.payload = record.value.as_deref();
        to.timestamp = record.timestamp_ms;
        if !record.headers.is_empty() {
            let named = |headers: OwnedHeaders, (key, value): &(String, Option<Vec<u8>>)| {
                headers.insert(Header { key, value: value.as_ref() })
            };
            to.headers = Some(record.headers.iter().fold(OwnedHeaders::new(), named));
        }
        while let Err((cause, again)) = producer.send(to) {
            let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            assert_eq!(cause, full, "{topic}");
            producer.poll(Duration::from_millis(10));
            to = again;
        }
    }
}

fn record(message: &impl Message) -> Record {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    Record {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect(),
        timestamp_ms: message.timestamp().to_millis(),
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be made");
    runtime.block_on(future)
}

/// Checks that each part of a request succeeded.
fn each<C: std::fmt::Debug>(what: &str, done: Vec<Result<String, (String, C)>>) {
    for done in done {
        done.unwrap_or_else(|(_, cause)| panic!("{what}: {cause:?}"));
    }
}
