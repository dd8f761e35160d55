//! Waiting for a cluster: as long as the job lives and `wait` allows, and not in silence.

use crate::kafka::fault::KafkaFault;
use crate::kafka::{PAUSE_MAX, PAUSE_MIN};
use crate::limits::SERVER_START_S_MAX;
use millstream_base::failure::Failure;
use millstream_base::units;
use std::time::{Duration, Instant};

/// How long the client library may try again by itself, when it says why, before that is worth a word.
const AWAY_MAX: Duration = Duration::from_secs(1);
/// The same when it does not say why. A cluster that has never had a transaction takes a while for the first one.
const QUIET_MAX: Duration = Duration::from_secs(5);
/// For what a job asks of a cluster before it begins.
const START_TIME_MAX: Duration = Duration::from_secs(SERVER_START_S_MAX);
/// How long after its time a cluster gives up a transaction, which it looks for now and then.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(30);
/// How often a pause looks whether the job has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What waits, and since when.
pub(super) struct Watch<'a> {
    failure: &'a Failure,
    /// As "sink `out`: batch 3: Kafka at h:9092".
    who: String,
    began: Instant,
    /// When something last went on.
    moved: Instant,
    /// As `wait` of the sink says; `None`: as long as a start may take.
    wait: Option<Duration>,
    /// How long a start may take.
    start_max: Duration,
    pause: Duration,
    told: bool,
}

impl<'a> Watch<'a> {
    /// From now on, for this long at most; `None`: as long as a start may take.
    pub fn new(failure: &'a Failure, who: String, wait: Option<Duration>) -> Watch<'a> {
        let now = Instant::now();
        let (start_max, pause) = (START_TIME_MAX, Duration::ZERO);
        Watch { failure, who, began: now, moved: now, wait, start_max, pause, told: false }
    }

    /// A start waits for transactions of this length that others left under way: those of other sinks of the job among them, which
    /// are not taken over yet.
    pub fn for_transactions(mut self, length: Duration) -> Watch<'a> {
        self.start_max = self.start_max.max(length.saturating_add(GIVEN_UP_AFTER));
        self
    }

    /// For something else meanwhile, of which the same holds.
    pub fn aside(&self) -> Watch<'a> {
        let (who, now) = (self.who.clone(), Instant::now());
        Watch { failure: self.failure, who, began: now, moved: now, pause: Duration::ZERO, ..*self }
    }

    /// The cluster did something.
    pub fn moved(&mut self) {
        self.moved = Instant::now();
    }

    /// The client is still at it; `why`: what it says is wrong. An error where nobody waits for it any more.
    pub fn look(&mut self, why: Option<KafkaFault>) -> Result<(), KafkaFault> {
        if self.failure.happened() {
            return Err(KafkaFault::lasting("the job has ended"));
        }
        let quiet = self.moved.elapsed();
        match why {
            Some(fault) if quiet >= AWAY_MAX => self.waits(&fault),
            None if quiet >= QUIET_MAX => self.waits(&KafkaFault::passing("the cluster does not respond")),
            _ => Ok(()),
        }
    }

    /// An attempt has failed for something that may pass: says so, once, and pauses before the next one.
    pub fn again(&mut self, fault: &KafkaFault) -> Result<(), KafkaFault> {
        self.waits(fault)?;
        self.pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
        let until = Instant::now() + self.pause;
        while Instant::now() < until {
            if self.failure.happened() {
                return Err(KafkaFault::lasting("the job has ended"));
            }
            std::thread::sleep(LOOK_EVERY.min(self.pause));
        }
        self.moved();
        Ok(())
    }

    /// What was waited for is done.
    pub fn done(&self) {
        if self.told {
            tracing::info!("{} has recovered; the job continues", self.who);
        }
    }

    fn waits(&mut self, fault: &KafkaFault) -> Result<(), KafkaFault> {
        let waited = self.began.elapsed();
        match self.wait {
            None if waited >= self.start_max => return Err(fault.clone()),
            Some(wait) if waited >= wait => {
                let wait = units::show_time(wait);
                return Err(KafkaFault::lasting(format!("{}; the job has waited for {wait} (`wait`)", fault.message)));
            }
            _ => {}
        }
        if !self.told {
            self.told = true;
            tracing::warn!("{}: {}; the job waits and retries until it works", self.who, fault.message);
        }
        Ok(())
    }
}
