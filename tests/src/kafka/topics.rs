//! What tests do with the topics of a broker.

use super::Broker;
use crate::until;
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
use std::time::Duration;

/// No single answer of the broker may take longer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// How long one attempt waits where others follow.
const ATTEMPT_TIME_MAX: Duration = Duration::from_secs(2);

/// A record of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Where it lies; in a record to be written, −1 leaves the choice to the client library.
    pub partition: i32,
    /// In its partition, once it is written.
    pub offset: i64,
    /// `None` is null.
    pub key: Option<Vec<u8>>,
    /// `None` is null.
    pub value: Option<Vec<u8>>,
    /// In order; a name may stand there twice.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// In milliseconds; `None`: it gets the time when it is written.
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

    /// Its key as text.
    pub fn key_text(&self) -> String {
        String::from_utf8_lossy(self.key.as_deref().unwrap_or_default()).into_owned()
    }

    /// Its value as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.value.as_deref().unwrap_or_default()).into_owned()
    }
}

impl Broker {
    /// Whether it answers, and has become the broker of its cluster.
    pub(super) fn answers(&self) -> bool {
        let consumer: BaseConsumer = self.client().create().expect("the settings of a client are right");
        consumer.fetch_metadata(None, ATTEMPT_TIME_MAX).is_ok_and(|known| !known.brokers().is_empty())
    }

    /// Makes a topic with so many partitions, with settings as `retention.ms`.
    pub fn topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        self.topic_with_copies(name, partitions, 1, settings);
    }

    pub(super) fn topic_with_copies(&self, name: &str, partitions: i32, copies: i32, settings: &[(&str, &str)]) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(copies));
        topic.config = settings.to_vec();
        let made = self.admin(|admin, options| wait(admin.create_topics([&topic], options)));
        each(name, made);
        until(&format!("the topic {name} is there"), || self.partitions(name) == partitions);
    }

    /// Lets a topic have so many partitions.
    pub fn add_partitions(&self, topic: &str, partitions: usize) {
        let more = NewPartitions::new(topic, partitions);
        each(topic, self.admin(|admin, options| wait(admin.create_partitions([&more], options))));
        until(&format!("{topic} has {partitions} partitions"), || self.partitions(topic) as usize == partitions);
    }

    /// How many partitions a topic has; none where it is not there.
    pub fn partitions(&self, topic: &str) -> i32 {
        let consumer: BaseConsumer = self.client().create().expect("the settings of a client are right");
        let known = consumer.fetch_metadata(None, ANSWER_TIME_MAX).expect("the broker answers");
        let found = known.topics().iter().find(|known| known.name() == topic);
        found.map_or(0, |found| found.partitions().len() as i32)
    }

    /// Deletes a topic.
    pub fn delete_topic(&self, name: &str) {
        each(name, self.admin(|admin, options| wait(admin.delete_topics(&[name], options))));
        until(&format!("the topic {name} does not exist"), || self.partitions(name) == 0);
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

    /// Changes settings of a topic; those that are not named get their defaults.
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
        // A record that is sent again, as its broker went away, is there once.
        config.set("enable.idempotence", "true");
        let producer: BaseProducer<Refused> =
            config.create_with_context(Refused::default()).expect("the settings of a client are right");
        send(&producer, topic, records);
        producer.flush(ANSWER_TIME_MAX).expect("the broker takes the records");
        let refused = producer.context().0.lock().expect("nobody panics with it").clone();
        assert_eq!(refused, Vec::<String>::new(), "{topic}");
    }

    /// Writes records in a transaction, which is left open: readers of what is committed see nothing of it, nor of what comes
    /// behind it, until it is committed or aborted, or times out.
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
        producer.init_transactions(ANSWER_TIME_MAX).expect("the broker knows transactions");
        producer.begin_transaction().expect("it can begin");
        send(&producer, topic, records);
        producer.flush(ANSWER_TIME_MAX).expect("the broker takes the records");
        OpenTransaction(producer)
    }

    /// All committed records of a topic, partition by partition.
    pub fn read(&self, topic: &str) -> Vec<Record> {
        self.read_as(topic, "read_committed")
    }

    /// All records of a topic, also those of transactions that are open or aborted.
    pub fn read_uncommitted(&self, topic: &str) -> Vec<Record> {
        self.read_as(topic, "read_uncommitted")
    }

    /// The values of all committed records of a topic, as text, partition by partition.
    pub fn texts(&self, topic: &str) -> Vec<String> {
        self.read(topic).iter().map(Record::text).collect()
    }

    /// A reader of what is committed that goes on with the topic: it sees each record once, as it comes.
    pub fn follow(&self, topic: &str) -> Follower {
        Follower(self.reader(topic, "read_committed").0)
    }

    /// The offset behind the last record of a partition, whatever became of its transaction.
    pub fn end(&self, topic: &str, partition: i32) -> i64 {
        let mut config = self.client();
        config.set("isolation.level", "read_uncommitted");
        let consumer: BaseConsumer = config.create().expect("the settings of a client are right");
        consumer.fetch_watermarks(topic, partition, ANSWER_TIME_MAX).expect("the broker answers").1
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
        let mut records = Vec::new();
        while !left.is_empty() {
            match consumer.poll(ANSWER_TIME_MAX) {
                Some(Ok(message)) => records.push(record(&message)),
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(left.remove(&partition)),
                // Another broker of the cluster has the partition.
                Some(Err(cause)) if self.member.is_some() && cause.rdkafka_error_code().is_some_and(is_passing) => {}
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
        let options = AdminOptions::new().operation_timeout(Some(ANSWER_TIME_MAX));
        work(&admin, &options).expect("the broker answers")
    }
}

/// A reader that goes on with a topic.
pub struct Follower(BaseConsumer);

impl Follower {
    /// What has come since it was last asked, and comes within this time. A broker that is away is waited for.
    pub fn more(&self, time: Duration) -> Vec<Record> {
        let until = std::time::Instant::now() + time;
        let mut records = Vec::new();
        while std::time::Instant::now() < until {
            match self.0.poll(Duration::from_millis(20)) {
                Some(Ok(message)) => records.push(record(&message)),
                None | Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(cause)) if cause.rdkafka_error_code().is_some_and(is_passing) => {}
                Some(Err(cause)) => panic!("cannot read on: {cause}"),
            }
        }
        records
    }
}

/// What the client tells of a broker that is away.
fn is_passing(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut, Resolve};
    [AllBrokersDown, BrokerTransportFailure, OperationTimedOut, Resolve].contains(&code)
}

/// A transaction that is neither committed nor aborted. Dropping it leaves it so.
pub struct OpenTransaction(BaseProducer<Refused>);

impl OpenTransaction {
    /// Commits it.
    pub fn commit(self) {
        self.0.commit_transaction(ANSWER_TIME_MAX).expect("it can be committed");
    }

    /// Aborts it.
    pub fn abort(self) {
        self.0.abort_transaction(ANSWER_TIME_MAX).expect("it can be aborted");
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

/// Each of what was asked for was done.
fn each<C: std::fmt::Debug>(what: &str, done: Vec<Result<String, (String, C)>>) {
    for done in done {
        done.unwrap_or_else(|(_, cause)| panic!("{what}: {cause:?}"));
    }
}
