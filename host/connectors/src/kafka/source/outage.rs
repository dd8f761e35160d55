//! Waits for a cluster whose brokers are all unreachable.

use super::settings::{KafkaReads, KafkaTopics};
use crate::kafka::consumer::Consumer;
use crate::kafka::fault::KafkaFault;
use crate::kafka::{PAUSE_MAX, PAUSE_MIN};
use millstream_base::error::{Error, Result};
use millstream_base::units;
use millstream_job::spec::SourceSpec;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Timeout of a response of a cluster that was unreachable.
const TRY_TIME_MAX: Duration = Duration::from_secs(1);

/// The time since which no broker responds. Its beginning and its end are reported once.
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

    /// Whether no broker responds.
    pub fn lasts(&self) -> bool {
        self.since.is_some()
    }

    /// Checks whether the client has lost all brokers, and then periodically whether one has recovered.
    pub fn check(&mut self, consumer: &Consumer, spec: &KafkaReads) -> Result<()> {
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
            // Any other response shows that the cluster is reachable.
            _ => {
                self.recovered(consumer);
                consumer.client_log().clear();
                Ok(())
            }
        }
    }

    /// Handles a transient fault; fails if it has lasted for too long.
    pub fn failed(&mut self, fault: &KafkaFault, spec: &KafkaReads) -> Result<()> {
        let Outage { source, wait, .. } = self;
        let (brokers, shown) = (spec.cluster.brokers.join(", "), units::show_time(*wait));
        match self.since {
            None if wait.is_zero() => Err(Error::environment(format!(
                "source `{source}`: no broker of the cluster at {brokers} responds: {fault}"
            ))),
            None => {
                warn!(
                    "source `{source}`: no broker of the cluster at {brokers} responds: {fault}; retrying for up to \
                     {shown} (`wait`)"
                );
                self.since = Some(Instant::now());
                Ok(())
            }
            Some(since) if since.elapsed() >= *wait => Err(Error::environment(format!(
                "source `{source}`: no broker of the cluster at {brokers} has responded for {shown} (`wait`): {fault}"
            ))),
            Some(_) => Ok(()),
        }
    }

    /// Records that a broker responds.
    pub fn recovered(&mut self, consumer: &Consumer) {
        if let Some(since) = self.since.take() {
            let pause = since.elapsed().as_secs_f32();
            info!("source `{}`: the cluster responds again, after {pause:.1} s", self.source);
            self.pause = PAUSE_MIN;
            consumer.client_log().clear();
        }
    }
}
