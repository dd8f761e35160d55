//! OpenTelemetry traces, if the environment names a receiver. Once per second a thread lists the newly committed
//! batches, makes spans of what is recorded about them anyway, and sends these. So batches never wait, and without a
//! receiver there is no cost. The record of batches (`metrics/batches`) is the queue. Batches that are dropped from it
//! while the receiver is unreachable are counted and logged.

mod receiver;
mod spans;

use millstream_base::threads;
use millstream_engine::running::Running;
use millstream_metrics::batches::Batches;
use millstream_plugins::plugin::calls;
use opentelemetry::trace::SpanKind;
use opentelemetry_sdk::trace::{Config, SamplingDecision, ShouldSample, SpanData};
use receiver::{ExportError, Receiver};
use ring::rand::{SecureRandom, SystemRandom};
use spans::Job;
use std::sync::Arc;
use std::sync::mpsc::{self, channel};
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The retry interval while the receiver is unreachable.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// How long sending the last spans may take when a job ends, and how long the end of the job waits for that.
const LAST_TIME_MAX: Duration = Duration::from_secs(2);
const END_TIME_MAX: Duration = Duration::from_millis(2_500);
/// Maximum number of batches per request, and the number of spans from which on it is sent.
const BATCHES_MAX: usize = 64;
const SPANS_ENOUGH: usize = 512;

/// The thread that sends traces.
pub(super) struct Traces {
    /// Dropped when the job ends.
    continues: oneshot::Sender<()>,
    done: mpsc::Receiver<()>,
}

impl Traces {
    /// Starts sending traces of this job's batches, if the environment names a receiver.
    pub fn start(running: &Arc<Running>) -> Option<Traces> {
        // Replayed batches were traced in their first run.
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
            tracing::warn!("no traces are sent: the system provides no random numbers");
            return None;
        }
        let spec = &running.graph.spec;
        let roles = [("source", spec.sources.len()), ("stage", spec.stages.len()), ("sink", spec.sinks.len())];
        let roles = roles.into_iter().flat_map(|(role, count)| std::iter::repeat_n(role, count));
        let job = Job { parts: roles.zip(running.parts()).collect(), seed };
        let sending = Sending {
            batches: running.metrics.batches().clone(),
            job,
            receiver,
            sent: 0,
            dropped_total: 0,
            is_unreachable: false,
        };
        let (continues, ends) = oneshot::channel();
        let (over, done) = channel::<()>();
        // A thread that waits for the end first sees the message about the panic.
        let guard = over.clone();
        let failed = move |error| {
            let _guard = guard;
            tracing::warn!("traces are no longer sent: {error}");
        };
        let started = threads::start("millstream-traces", "the thread that sends traces", failed, move || {
            // Also dropped if the thread panics.
            let _over = over;
            match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(sending.send_all(ends)),
                Err(error) => tracing::warn!("no traces are sent: {error}"),
            }
        });
        match started {
            Ok(_) => {
                calls::want();
                Some(Traces { continues, done })
            }
            Err(error) => {
                tracing::warn!("no traces are sent: {error}");
                None
            }
        }
    }

    /// Sends what is left after the last commit. Waits a limited time for that.
    pub fn end(self) {
        drop(self.continues);
        // Nothing is ever received: the sender is dropped, or the time is over.
        let _ = self.done.recv_timeout(END_TIME_MAX);
    }
}

/// The state of the thread.
struct Sending {
    batches: Batches,
    job: Job,
    receiver: Receiver,
    /// The last commit that was sent.
    sent: u64,
    /// The number of batches that were not sent.
    dropped_total: u64,
    /// Whether the receiver did not accept the last batches.
    is_unreachable: bool,
}

impl Sending {
    async fn send_all(mut self, mut ends: oneshot::Receiver<()>) {
        let sampler = Config::default().sampler;
        tracing::info!("traces go to {}", self.receiver.url);
        loop {
            let pause = sleep(if self.is_unreachable { RETRY_INTERVAL } else { LOOK_EVERY });
            tokio::select! {
                _ = &mut ends => break,
                () = pause => {}
            }
            tokio::select! {
                _ = &mut ends => break,
                () = self.send_new(&*sampler) => {}
            }
        }
        let _ = timeout(LAST_TIME_MAX, self.send_new(&*sampler)).await;
        let dropped_total = self.dropped_total + self.batches.last_commit().saturating_sub(self.sent);
        if dropped_total > 0 {
            tracing::warn!("traces of {dropped_total} batches were not sent");
        }
    }

    /// Sends everything new.
    async fn send_new(&mut self, sampler: &dyn ShouldSample) {
        loop {
            let (mut spans, mut last, mut dropped): (Vec<SpanData>, u64, u64) = (Vec::new(), self.sent, 0);
            for traced in self.batches.traced(self.sent, BATCHES_MAX) {
                // Commits are numbered without gaps: missing ones were dropped before they could be sent.
                dropped += traced.facts.commit.saturating_sub(last + 1);
                last = traced.facts.commit;
                let trace = spans::trace_of(&self.job, traced.facts.batch.0);
                let sampled = sampler.should_sample(None, trace, "batch", &SpanKind::Internal, &[], &[]);
                if sampled.decision == SamplingDecision::RecordAndSample {
                    spans.extend(spans::for_batch(&self.job, &traced));
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
                    Ok(()) => self.set_reachable(),
                    Err(ExportError { message, is_permanent }) => {
                        self.set_unreachable(&message, is_permanent);
                        if !is_permanent {
                            return;
                        }
                        dropped = last - self.sent;
                    }
                }
            }
            self.dropped_total += dropped;
            self.sent = last;
        }
    }

    fn set_unreachable(&mut self, message: &str, is_permanent: bool) {
        if !std::mem::replace(&mut self.is_unreachable, true) {
            let then = if is_permanent { "they are dropped" } else { "the last batches are kept and retried" };
            tracing::warn!("traces cannot be sent to {}: {message}; {then}", self.receiver.url);
        }
    }

    fn set_reachable(&mut self) {
        if std::mem::replace(&mut self.is_unreachable, false) {
            tracing::info!("traces are sent to {} again", self.receiver.url);
        }
    }
}
