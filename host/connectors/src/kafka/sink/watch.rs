//! Waiting for a cluster while the job is running and as long as `wait` allows, with warnings.

use crate::kafka::fault::KafkaFault;
use crate::kafka::{PAUSE_MAX, PAUSE_MIN};
use crate::limits::SERVER_START_S_MAX;
use millstream_base::failure::Failure;
use millstream_base::units;
use std::time::{Duration, Instant};

/// How long the client library may retry for a known reason before a warning.
const KNOWN_OUTAGE_MAX: Duration = Duration::from_secs(1);
/// The same for an unknown reason. The first transaction of a cluster takes a while.
const UNKNOWN_OUTAGE_MAX: Duration = Duration::from_secs(5);
/// Timeout of requests before the job begins.
const START_TIME_MAX: Duration = Duration::from_secs(SERVER_START_S_MAX);
/// Maximum delay of a cluster in aborting a transaction after its timeout, which it checks periodically.
const ABORT_DELAY_MAX: Duration = Duration::from_secs(30);
/// How often a pause checks whether the job has ended.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// A wait, and since when.
pub(super) struct Watch<'a> {
    failure: &'a Failure,
    /// For example `sink "out": batch 3: Kafka at h:9092`.
    context: String,
    began: Instant,
    /// When there was last progress.
    last_progress: Instant,
    /// The sink's `wait`; `None`: as long as startup may take.
    wait: Option<Duration>,
    /// How long startup may take.
    start_max: Duration,
    pause: Duration,
    warned: bool,
}

impl<'a> Watch<'a> {
    /// Begins a wait for at most this long; `None`: as long as startup may take.
    pub fn new(failure: &'a Failure, context: String, wait: Option<Duration>) -> Watch<'a> {
        let now = Instant::now();
        let (start_max, pause) = (START_TIME_MAX, Duration::ZERO);
        Watch { failure, context, began: now, last_progress: now, wait, start_max, pause, warned: false }
    }

    /// Extends the time of startup: it waits for abandoned transactions of this length. These may belong to other sinks of the job that are
    /// not taken over yet.
    pub fn for_transactions(mut self, length: Duration) -> Watch<'a> {
        self.start_max = self.start_max.max(length.saturating_add(ABORT_DELAY_MAX));
        self
    }

    /// Returns a watch with the same limits for another, concurrent wait.
    pub fn concurrent(&self) -> Watch<'a> {
        let (context, now) = (self.context.clone(), Instant::now());
        Watch { failure: self.failure, context, began: now, last_progress: now, pause: Duration::ZERO, ..*self }
    }

    /// Records progress of the cluster.
    pub fn progressed(&mut self) {
        self.last_progress = Instant::now();
    }

    /// Checks the wait while the client is retrying; `why`: the reason, if the client reports one. An error if the time is over or the job
    /// has ended.
    pub fn check(&mut self, why: Option<KafkaFault>) -> Result<(), KafkaFault> {
        if self.failure.happened() {
            return Err(KafkaFault::permanent("the job has ended"));
        }
        let quiet = self.last_progress.elapsed();
        match why {
            Some(fault) if quiet >= KNOWN_OUTAGE_MAX => self.check_wait(&fault),
            None if quiet >= UNKNOWN_OUTAGE_MAX => {
                self.check_wait(&KafkaFault::transient("the cluster does not respond"))
            }
            _ => Ok(()),
        }
    }

    /// Handles a transient error: warns once, and pauses before the next attempt.
    pub fn retry(&mut self, fault: &KafkaFault) -> Result<(), KafkaFault> {
        self.check_wait(fault)?;
        self.pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
        let until = Instant::now() + self.pause;
        while Instant::now() < until {
            if self.failure.happened() {
                return Err(KafkaFault::permanent("the job has ended"));
            }
            std::thread::sleep(CHECK_INTERVAL.min(self.pause));
        }
        self.progressed();
        Ok(())
    }

    /// Ends the wait after success.
    pub fn finish(&self) {
        if self.warned {
            tracing::info!("{} has recovered; the job continues", self.context);
        }
    }

    fn check_wait(&mut self, fault: &KafkaFault) -> Result<(), KafkaFault> {
        let waited = self.began.elapsed();
        match self.wait {
            None if waited >= self.start_max => return Err(fault.clone()),
            Some(wait) if waited >= wait => {
                let wait = units::show_time(wait);
                return Err(KafkaFault::permanent(format!(
                    "{}; the job has waited for {wait} (`wait`)",
                    fault.message
                )));
            }
            _ => {}
        }
        if !self.warned {
            self.warned = true;
            tracing::warn!("{}: {}; the job waits and retries until it works", self.context, fault.message);
        }
        Ok(())
    }
}
