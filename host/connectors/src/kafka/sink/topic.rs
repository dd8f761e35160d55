//! Requests of a sink about topics, and the creation of topics.

use super::settings::MARKERS;
use crate::kafka::fault::KafkaFault;
use crate::kafka::{ClientLog, RESPONSE_TIME_MAX};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

/// Maximum record size if the broker does not report it.
const RECORD_BYTES_MAX: usize = 1_000_000;
/// Pending events of a client are available within this time.
const EVENTS_WITHIN: Duration = Duration::from_millis(20);
/// Maximum time of one attempt to reach a cluster.
const ATTEMPT_TIME_MAX: Duration = Duration::from_secs(5);

/// Properties of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TopicFacts {
    /// Maximum size of a record.
    pub record_bytes_max: usize,
    /// Whether only the last record of a key is guaranteed to be kept.
    pub compacted: bool,
    /// Whether old records are deleted.
    pub deletes: bool,
}

/// Returns a client that only sends queries.
pub(super) fn query_client(settings: &ClientConfig, isolation: &str) -> Result<BaseConsumer<ClientLog>, KafkaFault> {
    let mut config = settings.clone();
    // Partitions are assigned to it, so it joins no group, but the library requires a group name.
    config.set("group.id", "millstream").set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
    config.set("isolation.level", isolation).set("enable.partition.eof", "true").set("fetch.wait.max.ms", "10");
    config.create_with_context(ClientLog::default()).map_err(|error| KafkaFault::from_error(&error))
}

/// Sends a query; if it gets no response, the error includes the cause, if known.
pub(super) fn query<T>(
    client: &BaseConsumer<ClientLog>,
    query_fn: impl FnOnce(&BaseConsumer<ClientLog>) -> KafkaResult<T>,
) -> Result<T, KafkaFault> {
    let response = query_fn(client);
    response.map_err(|error| {
        // Error events wait in the queue, between lines of the log.
        while client.poll(EVENTS_WITHIN).is_some() {}
        client.context().fault(&error)
    })
}

/// Checks that a broker responds within this time.
pub(super) fn check_reachable(settings: &ClientConfig, time_max: Duration) -> Result<(), KafkaFault> {
    let client = query_client(settings, "read_uncommitted")?;
    // Listing all topics could be expensive.
    query(&client, |client| client.fetch_metadata(Some(MARKERS), time_max.min(ATTEMPT_TIME_MAX))).map(drop)
}

/// Whether the topic exists. Does not create it.
pub(super) fn exists(client: &BaseConsumer<ClientLog>, topic: &str) -> Result<bool, KafkaFault> {
    let known = query(client, |client| client.fetch_metadata(Some(topic), ATTEMPT_TIME_MAX))?;
    let found = known.topics().iter().find(|known| known.name() == topic);
    match found.and_then(|found| found.error()).map(RDKafkaErrorCode::from) {
        None => Ok(found.is_some_and(|found| !found.partitions().is_empty())),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(false),
        Some(code) => Err(KafkaFault::from_code(code, "")),
    }
}

/// A client that queries settings and creates topics.
pub(super) struct Admin(AdminClient<ClientLog>);

impl Admin {
    pub fn new(settings: &ClientConfig) -> Result<Admin, KafkaFault> {
        let client = AdminClient::from_config_and_context(settings, ClientLog::default());
        client.map(Admin).map_err(|error| KafkaFault::from_error(&error))
    }

    fn options() -> AdminOptions {
        AdminOptions::new().request_timeout(Some(RESPONSE_TIME_MAX)).operation_timeout(Some(RESPONSE_TIME_MAX))
    }

    /// Returns the properties of a topic. Those that the job may not read have the brokers' defaults.
    pub fn facts(&self, topic: &str) -> Result<TopicFacts, KafkaFault> {
        let described = wait(self.0.describe_configs([&ResourceSpecifier::Topic(topic)], &Admin::options()));
        let described = described.map_err(|error| failed(&error))?.into_iter().next();
        let entries = match &described {
            Some(Ok(resource)) => resource.entry_map(),
            _ => Default::default(),
        };
        let value = |name: &str| entries.get(name).and_then(|entry| entry.value.as_deref());
        let policy = value("cleanup.policy").unwrap_or_default();
        Ok(TopicFacts {
            record_bytes_max: value("max.message.bytes").and_then(|b| b.parse().ok()).unwrap_or(RECORD_BYTES_MAX),
            compacted: policy.contains("compact"),
            deletes: policy.contains("delete"),
        })
    }

    /// Creates a topic if it does not exist. `partitions`: `None` leaves the number to the cluster.
    pub fn make(&self, topic: &str, partitions: Option<i32>, config: &[(&str, &str)]) -> Result<(), KafkaFault> {
        // −1: the brokers' default.
        let mut new = NewTopic::new(topic, partitions.unwrap_or(-1), TopicReplication::Fixed(-1));
        new.config = config.to_vec();
        let result = wait(self.0.create_topics([&new], &Admin::options())).map_err(|error| failed(&error))?;
        match result.into_iter().next() {
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) | Some(Ok(_)) | None => Ok(()),
            Some(Err((_, code))) => {
                let fault = KafkaFault::from_code(code, "");
                let policy = config.iter().map(|(name, value)| format!(" --config {name}={value}")).collect::<String>();
                let message = format!(
                    "topic `{topic}` does not exist, and cannot be created: {}; create it with: kafka-topics.sh --create --topic \
                     {topic} --partitions {}{policy}",
                    fault.message,
                    partitions.unwrap_or(1)
                );
                Err(KafkaFault { message, ..fault })
            }
        }
    }
}

fn failed(error: &KafkaError) -> KafkaFault {
    match error {
        // The code says the same as the text.
        KafkaError::AdminOp(code) => KafkaFault::from_code(*code, ""),
        other => KafkaFault::from_error(other),
    }
}

/// Waits for a request: a thread of the library completes it, within its own time limit.
fn wait<T>(request: impl Future<Output = T>) -> T {
    struct WaitingThread(Thread);
    impl Wake for WaitingThread {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(WaitingThread(std::thread::current())));
    let mut request = pin!(request);
    loop {
        match request.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::park(),
        }
    }
}
