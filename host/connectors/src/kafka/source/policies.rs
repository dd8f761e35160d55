//! Finds the compacted topics of a source. The cluster may delete any of their records once a later one has its key, so plans of batches
//! hold them. New topics are checked before they are read. A thread with its own client checks all of them periodically, because responses
//! to the reading client would wait for its fetches.

use super::{ReadOrder, consumer};
use crate::kafka::RESPONSE_TIME_MAX;
use crate::kafka::consumer::Consumer;
use crate::kafka::fault::KafkaFault;
use millstream_base::error::Result;
use millstream_base::threads;
use millstream_rows::inbox::Inbox;
use rdkafka::error::RDKafkaErrorCode as Code;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tracing::{debug, info, warn};

/// Minimum and maximum interval of the checks, whatever the job's `poll` is: batches planned before a change is known do not hold their
/// records.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Maximum topics per request.
const TOPICS_PER_REQUEST_MAX: usize = 500;

/// Topics by name.
type Topics = Mutex<BTreeSet<String>>;

/// The topics that are read; `None` if there are no plans to hold records.
pub struct Policies(Option<Arc<Topics>>);

impl Policies {
    /// Starts the periodic checks. They stop with the inbox.
    pub fn start(order: &ReadOrder<'_>, inbox: &Arc<Inbox>, runtime: &Handle) -> Result<Policies> {
        if !inbox.has_plans() {
            return Ok(Policies(None));
        }
        let requested = Arc::new(Topics::default());
        let (topics, inbox, runtime) = (requested.clone(), inbox.clone(), runtime.clone());
        let (source, spec, dir) = (order.source.clone(), order.spec.clone(), order.dir.to_path_buf());
        let (failing, what) = (inbox.clone(), format!("the thread that requests policies of source `{}`", source.name));
        let every = spec.poll.clamp(LOOK_EVERY.0, LOOK_EVERY.1);
        let work = move || {
            let mut client: Option<Consumer> = None;
            while !inbox.closed_within(&runtime, every) {
                let topics: Vec<String> = locked(&topics).iter().cloned().collect();
                if client.is_none() && !topics.is_empty() {
                    client = consumer(&source, &spec, &dir, "-policies").ok();
                }
                let Some(client) = &client else { continue };
                // The client's events are not needed, and would accumulate.
                while client.next(Duration::ZERO, |_| ()).is_some() {}
                // The reading thread reports an unreachable cluster, and waits for it.
                if let Err(fault) = check(client, &topics, &inbox, &source.name) {
                    debug!("source `{}`: the policies of its topics are unknown: {fault}", source.name);
                }
            }
        };
        threads::start("kafka-policies", &what, move |error| failing.fail(error), work)?;
        Ok(Policies(Some(requested)))
    }

    /// Adds topics that are read as well. New ones are checked immediately.
    pub fn add(
        &self,
        consumer: &Consumer,
        found: &[(String, i32)],
        inbox: &Inbox,
        source: &str,
    ) -> Result<(), KafkaFault> {
        let Some(topics) = &self.0 else { return Ok(()) };
        let known = locked(topics).clone();
        let names = found.iter().map(|(topic, _)| topic);
        let new: Vec<String> = names.filter(|topic| !known.contains(*topic)).cloned().collect();
        check(consumer, &new, inbox, source)?;
        locked(topics).extend(new);
        Ok(())
    }
}

/// Checks which of these topics are compacted. If the cluster does not report it, plans hold the records as well.
fn check(consumer: &Consumer, topics: &[String], inbox: &Inbox, source: &str) -> Result<(), KafkaFault> {
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    for topics in topics.chunks(TOPICS_PER_REQUEST_MAX) {
        let policies = match consumer.compacted(topics, RESPONSE_TIME_MAX) {
            Err(fault) if fault.is_transient() || fault.is_rejection() => return Err(fault),
            Err(fault) => {
                let code = fault.code.unwrap_or(Code::Unknown);
                topics.iter().map(|topic| ((*topic).to_owned(), Err(code))).collect()
            }
            Ok(policies) => policies,
        };
        for (topic, compacted) in policies {
            // A deleted topic has nothing to keep.
            if matches!(compacted, Err(Code::UnknownTopic | Code::UnknownTopicOrPartition)) {
                continue;
            }
            let is_new = inbox.keep_topic(&topic, compacted.unwrap_or(true));
            match compacted {
                Ok(true) if is_new => info!(
                    "source `{source}`: topic `{topic}` is compacted: plans of batches keep its records until the next checkpoint"
                ),
                Ok(false) if is_new => info!("source `{source}`: topic `{topic}` is no longer compacted"),
                Err(code) if is_new => warn!(
                    "source `{source}`: topic `{topic}`: the cluster does not show its `cleanup.policy` ({code}); plans of batches keep \
                     its records in case it is compacted; allow DescribeConfigs on the topic to avoid that"
                ),
                _ => {}
            }
        }
    }
    Ok(())
}

fn locked(topics: &Topics) -> MutexGuard<'_, BTreeSet<String>> {
    topics.lock().unwrap_or_else(PoisonError::into_inner)
}
