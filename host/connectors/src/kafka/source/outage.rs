//! Waiting for a cluster of which no broker answers.

use super::settings::{KafkaReads, KafkaTopics};
use crate::kafka::consumer::Consumer;
use crate::kafka::fault::KafkaFault;
use crate::kafka::{PAUSE_MAX, PAUSE_MIN};
use millstream_base::error::{Error, Result};
use millstream_base::job::spec::SourceSpec;
use millstream_base::units;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How long a cluster that was away may take for an answer.
const TRY_TIME_MAX: Duration = Duration::from_secs(1);

/// For how long no broker answers. It is told once that it begins, and once that it is over.
pub struct Outage {
    source: String,
    wait: Duration,
    since: Option<Instant>,
    next_try: Instant,
    pause: Duration,
}

impl Outage {
    pub fn new(source: &SourceSpec, spec: &KafkaReads) -> Outage {
        let (source, wait) = (source.name.clone(), spec.cluster.wait);
        Outage { source, wait, since: None, next_try: Instant::now(), pause: PAUSE_MIN }
    }

    /// Whether no broker answers.
    pub fn lasts(&self) -> bool {
        self.since.is_some()
    }

    /// Looks whether the client has lost all brokers, and then, now and then, whether one is back.
    pub fn look(&mut self, consumer: &Consumer, spec: &KafkaReads) -> Result<()> {
        let down = consumer.client_log().all_unreachable();
        if (down.is_none() && self.since.is_none()) || Instant::now() < self.next_try {
            return Ok(());
        }
        let topic = match &spec.topics {
            KafkaTopics::Named(topics) => topics.first().map(String::as_str),
            KafkaTopics::Pattern(_) => None,
        };
        match consumer.partitions(topic, TRY_TIME_MAX) {
            Err(fault) if fault.is_transient() => {
                self.pause = (self.pause * 2).min(PAUSE_MAX);
                self.next_try = Instant::now() + self.pause;
                self.failed(&down.unwrap_or(fault), spec)
            }
            // Whatever it says, it says something.
            _ => {
                self.back(consumer);
                consumer.client_log().clear();
                Ok(())
            }
        }
    }

    /// Something did not work that may pass; an error when that has lasted for too long.
    pub fn failed(&mut self, fault: &KafkaFault, spec: &KafkaReads) -> Result<()> {
        let Outage { source, wait, .. } = self;
        let (brokers, shown) = (spec.cluster.brokers.join(", "), units::show_time(*wait));
        match self.since {
            None if wait.is_zero() => Err(Error::environment(format!(
                "source `{source}`: no broker of the cluster at {brokers} answers: {fault}"
            ))),
            None => {
                warn!(
                    "source `{source}`: no broker of the cluster at {brokers} answers: {fault}; it waits for up to {shown} \
                     (`wait`)"
                );
                self.since = Some(Instant::now());
                Ok(())
            }
            Some(since) if since.elapsed() >= *wait => Err(Error::environment(format!(
                "source `{source}`: no broker of the cluster at {brokers} answers: {fault}; none did for {shown} (`wait`)"
            ))),
            Some(_) => Ok(()),
        }
    }

    /// A broker answers.
    pub fn back(&mut self, consumer: &Consumer) {
        if let Some(since) = self.since.take() {
            let pause = since.elapsed().as_secs_f32();
            info!("source `{}`: the cluster answers again, after {pause:.1} s", self.source);
            self.pause = PAUSE_MIN;
            consumer.client_log().clear();
        }
    }
}
