//! Which topics of a source are compacted: the cluster may delete any of their records once a later one has its key, so plans of batches
//! hold them. Topics that are new are asked for before they are read. A thread with a client of its own looks at all of them again, as
//! answers to the client that reads would wait behind its fetches.

use super::{ReadOrder, consumer};
use crate::kafka::ANSWER_TIME_MAX;
use crate::kafka::consumer::Consumer;
use crate::kafka::fault::KafkaFault;
use millstream_base::error::Result;
use millstream_base::inbox::Inbox;
use millstream_base::threads;
use rdkafka::error::RDKafkaErrorCode as Code;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tracing::{debug, info, warn};

/// How often they are looked at, at least and at most, whatever the job's `poll` is: batches that were planned before it is known do not
/// hold their records.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How many topics one request asks for.
const TOPICS_ASKED_MAX: usize = 500;

/// Topics by name.
type Topics = Mutex<BTreeSet<String>>;

/// The topics that are read; `None`: there are no plans that could hold anything.
pub struct Policies(Option<Arc<Topics>>);

impl Policies {
    /// Begins to look. It ends with the inbox.
    pub fn start(order: &ReadOrder<'_>, inbox: &Arc<Inbox>, runtime: &Handle) -> Result<Policies> {
        if !inbox.has_plans() {
            return Ok(Policies(None));
        }
        let asked = Arc::new(Topics::default());
        let (topics, inbox, runtime) = (asked.clone(), inbox.clone(), runtime.clone());
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
                // What it tells of itself does not matter, and would pile up.
                while client.next(Duration::ZERO, |_| ()).is_some() {}
                // The one that reads tells of a cluster that is away, and waits for it.
                if let Err(fault) = look(client, &topics, &inbox, &source.name) {
                    debug!("source `{}`: the policies of its topics are not known: {fault}", source.name);
                }
            }
        };
        threads::start("kafka-policies", &what, move |error| failing.fail(error), work)?;
        Ok(Policies(Some(asked)))
    }

    /// These topics are read as well. Those that are new are looked at now.
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
        look(consumer, &new, inbox, source)?;
        locked(topics).extend(new);
        Ok(())
    }
}

/// Looks which of these topics are compacted. Where the cluster does not say, plans hold the records as well.
fn look(consumer: &Consumer, topics: &[String], inbox: &Inbox, source: &str) -> Result<(), KafkaFault> {
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    for topics in topics.chunks(TOPICS_ASKED_MAX) {
        let policies = match consumer.compacted(topics, ANSWER_TIME_MAX) {
            Err(fault) if fault.is_transient() || fault.is_rejection() => return Err(fault),
            Err(fault) => {
                let code = fault.code.unwrap_or(Code::Unknown);
                topics.iter().map(|topic| ((*topic).to_owned(), Err(code))).collect()
            }
            Ok(policies) => policies,
        };
        for (topic, compacted) in policies {
            // Of one that was deleted there is nothing to keep.
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
