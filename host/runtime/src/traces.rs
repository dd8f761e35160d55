//! Traces for OpenTelemetry, where the environment names a receiver. A thread looks once a second which batches were committed,
//! makes spans of what is known of them anyway, and sends these. So batches wait for nothing, and without a receiver nothing
//! of this is there. What is kept of batches (`metrics/batches`) is the queue: what falls out of it while the
//! receiver is away is counted and told of.

mod receiver;
mod spans;

use millstream_base::threads;
use millstream_engine::running::Running;
use millstream_metrics::batches::Batches;
use millstream_plugins::plugin::calls;
use opentelemetry::trace::SpanKind;
use opentelemetry_sdk::trace::{Config, SamplingDecision, ShouldSample, SpanData};
use receiver::{NotTaken, Receiver};
use ring::rand::{SecureRandom, SystemRandom};
use spans::Job;
use std::sync::Arc;
use std::sync::mpsc::{self, channel};
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// While the receiver is away.
const TRY_EVERY: Duration = Duration::from_secs(5);
/// How long the last spans may take when a job ends, and how long its end waits for them.
const LAST_TIME_MAX: Duration = Duration::from_secs(2);
const END_TIME_MAX: Duration = Duration::from_millis(2_500);
/// Batches of one request at most, and spans from which on it is sent.
const BATCHES_MAX: usize = 64;
const SPANS_ENOUGH: usize = 512;

/// The thread that sends, if there is one.
pub(super) struct Traces {
    /// Dropped: the job ends.
    goes_on: oneshot::Sender<()>,
    done: mpsc::Receiver<()>,
}

impl Traces {
    /// Begins to send what becomes of this job's batches, where the environment says where to.
    pub fn start(running: &Arc<Running>) -> Option<Traces> {
        // Batches that only run again were traced when they ran first.
        if running.options.replay_until.is_some() || !receiver::is_wanted() {
            return None;
        }
        let name = running.graph.spec.name.clone();
        let receiver = match Receiver::of_environment(&name) {
            Ok(receiver) => receiver,
            Err(wrong) => {
                tracing::warn!("no traces are sent: {wrong}");
                return None;
            }
        };
        let mut seed = [0; 16];
        if SystemRandom::new().fill(&mut seed).is_err() {
            tracing::warn!("no traces are sent: the system gives no random numbers");
            return None;
        }
        let spec = &running.graph.spec;
        let roles = [("source", spec.sources.len()), ("stage", spec.stages.len()), ("sink", spec.sinks.len())];
        let roles = roles.into_iter().flat_map(|(role, count)| std::iter::repeat_n(role, count));
        let job = Job { parts: roles.zip(running.parts()).collect(), seed };
        let sending =
            Sending { batches: running.metrics.batches().clone(), job, receiver, sent: 0, left_out: 0, away: false };
        let (goes_on, ends) = oneshot::channel();
        let (over, done) = channel::<()>();
        // Who waits for the end hears first that the thread panicked.
        let told = over.clone();
        let failed = move |error| {
            let _told = told;
            tracing::warn!("traces are no longer sent: {error}");
        };
        let started = threads::start("millstream-traces", "the thread that sends traces", failed, move || {
            // Dropped also where the thread panics.
            let _over = over;
            match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(sending.send_all(ends)),
                Err(error) => tracing::warn!("no traces are sent: {error}"),
            }
        });
        match started {
            Ok(_) => {
                calls::want();
                Some(Traces { goes_on, done })
            }
            Err(error) => {
                tracing::warn!("no traces are sent: {error}");
                None
            }
        }
    }

    /// All batches are committed that will be. Waits until they are told of, and not for long.
    pub fn end(self) {
        drop(self.goes_on);
        // Nothing is ever said there: it is over, or takes too long.
        let _ = self.done.recv_timeout(END_TIME_MAX);
    }
}

/// What the thread knows.
struct Sending {
    batches: Batches,
    job: Job,
    receiver: Receiver,
    /// The last commit that was told of.
    sent: u64,
    /// Batches that were not.
    left_out: u64,
    /// The receiver did not take the last ones.
    away: bool,
}

impl Sending {
    async fn send_all(mut self, mut ends: oneshot::Receiver<()>) {
        let sampler = Config::default().sampler;
        tracing::info!("traces go to {}", self.receiver.place);
        loop {
            let pause = sleep(if self.away { TRY_EVERY } else { LOOK_EVERY });
            tokio::select! {
                _ = &mut ends => break,
                () = pause => {}
            }
            tokio::select! {
                _ = &mut ends => break,
                () = self.look(&*sampler) => {}
            }
        }
        let _ = timeout(LAST_TIME_MAX, self.look(&*sampler)).await;
        let left_out = self.left_out + self.batches.last_commit().saturating_sub(self.sent);
        if left_out > 0 {
            tracing::warn!("traces of {left_out} batches were not sent");
        }
    }

    /// Sends all that is new.
    async fn look(&mut self, sampler: &dyn ShouldSample) {
        loop {
            let (mut spans, mut last, mut forgotten): (Vec<SpanData>, u64, u64) = (Vec::new(), self.sent, 0);
            for traced in self.batches.traced(self.sent, BATCHES_MAX) {
                // Commits are numbered without gaps: what is missing was forgotten before it could be sent.
                forgotten += traced.facts.commit.saturating_sub(last + 1);
                last = traced.facts.commit;
                let trace = spans::trace_of(&self.job, traced.facts.batch.0);
                let sampled = sampler.should_sample(None, trace, "batch", &SpanKind::Internal, &[], &[]);
                if sampled.decision == SamplingDecision::RecordAndSample {
                    spans.extend(spans::of(&self.job, &traced));
                }
                if spans.len() >= SPANS_ENOUGH {
                    break;
                }
            }
            if last == self.sent {
                return;
            }
            if !spans.is_empty() {
                match self.receiver.take(spans).await {
                    Ok(()) => self.is_back(),
                    Err(NotTaken { words, lasting }) => {
                        self.is_away(&words, lasting);
                        if !lasting {
                            return;
                        }
                        forgotten = last - self.sent;
                    }
                }
            }
            self.left_out += forgotten;
            self.sent = last;
        }
    }

    fn is_away(&mut self, words: &str, lasting: bool) {
        if !std::mem::replace(&mut self.away, true) {
            let then = if lasting { "they are dropped" } else { "the last batches are kept and retried" };
            tracing::warn!("traces cannot be sent to {}: {words}; {then}", self.receiver.place);
        }
    }

    fn is_back(&mut self) {
        if std::mem::replace(&mut self.away, false) {
            tracing::info!("traces are sent to {} again", self.receiver.place);
        }
    }
}
