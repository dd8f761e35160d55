//! What a sink asks a cluster about topics, and the topics that it makes.

use super::settings::MARKERS;
use crate::kafka::fault::KafkaFault;
use crate::kafka::{ANSWER_TIME_MAX, ClientLog};
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

/// What a broker takes as one record where it does not tell.
const RECORD_BYTES_MAX: usize = 1_000_000;
/// What a client has to tell is there within this time.
const EVENTS_WITHIN: Duration = Duration::from_millis(20);
/// How long one attempt to reach a cluster takes.
const ATTEMPT_TIME_MAX: Duration = Duration::from_secs(5);

/// What a sink has to know of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TopicFacts {
    /// What it takes as one record.
    pub record_bytes_max: usize,
    /// Of the records of a key only the last is kept for sure.
    pub compacted: bool,
    /// Old records are deleted.
    pub deletes: bool,
}

/// A client that only asks.
pub(super) fn asking(settings: &ClientConfig, isolation: &str) -> Result<BaseConsumer<ClientLog>, KafkaFault> {
    let mut config = settings.clone();
    // It is given partitions, so it joins no group; the library wants a name all the same.
    config.set("group.id", "millstream").set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
    config.set("isolation.level", isolation).set("enable.partition.eof", "true").set("fetch.wait.max.ms", "10");
    config.create_with_context(ClientLog::default()).map_err(|error| KafkaFault::of(&error))
}

/// Asks a client, and where it gets no answer says what it knows of the reason.
pub(super) fn ask<T>(
    client: &BaseConsumer<ClientLog>,
    question: impl FnOnce(&BaseConsumer<ClientLog>) -> KafkaResult<T>,
) -> Result<T, KafkaFault> {
    let answer = question(client);
    answer.map_err(|error| {
        // What is wrong waits in its queue, with lines of the log in between.
        while client.poll(EVENTS_WITHIN).is_some() {}
        client.context().fault(&error)
    })
}

/// Whether a broker answers, within this time or sooner.
pub(super) fn answers(settings: &ClientConfig, time_max: Duration) -> Result<(), KafkaFault> {
    let client = asking(settings, "read_uncommitted")?;
    // Of all topics there may be many.
    ask(&client, |client| client.fetch_metadata(Some(MARKERS), time_max.min(ATTEMPT_TIME_MAX))).map(drop)
}

/// Whether there is such a topic. Makes none.
pub(super) fn exists(client: &BaseConsumer<ClientLog>, topic: &str) -> Result<bool, KafkaFault> {
    let known = ask(client, |client| client.fetch_metadata(Some(topic), ATTEMPT_TIME_MAX))?;
    let found = known.topics().iter().find(|known| known.name() == topic);
    match found.and_then(|found| found.error()).map(RDKafkaErrorCode::from) {
        None => Ok(found.is_some_and(|found| !found.partitions().is_empty())),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(false),
        Some(code) => Err(KafkaFault::told(code, "")),
    }
}

/// A client that asks about settings, and makes topics.
pub(super) struct Admin(AdminClient<ClientLog>);

impl Admin {
    pub fn new(settings: &ClientConfig) -> Result<Admin, KafkaFault> {
        let client = AdminClient::from_config_and_context(settings, ClientLog::default());
        client.map(Admin).map_err(|error| KafkaFault::of(&error))
    }

    fn options() -> AdminOptions {
        AdminOptions::new().request_timeout(Some(ANSWER_TIME_MAX)).operation_timeout(Some(ANSWER_TIME_MAX))
    }

    /// What the cluster says of a topic; what it does not let the job see is as brokers have it by default.
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

    /// Makes a topic where it is not there. `partitions`: `None` leaves it to the cluster.
    pub fn make(&self, topic: &str, partitions: Option<i32>, config: &[(&str, &str)]) -> Result<(), KafkaFault> {
        // −1: as the brokers have it by default.
        let mut new = NewTopic::new(topic, partitions.unwrap_or(-1), TopicReplication::Fixed(-1));
        new.config = config.to_vec();
        let made = wait(self.0.create_topics([&new], &Admin::options())).map_err(|error| failed(&error))?;
        match made.into_iter().next() {
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) | Some(Ok(_)) | None => Ok(()),
            Some(Err((_, code))) => {
                let fault = KafkaFault::told(code, "");
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
        // Its code says no more than that.
        KafkaError::AdminOp(code) => KafkaFault::told(*code, ""),
        other => KafkaFault::of(other),
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
