//! The line that tells, below rows and lines of the log, how the job stands: on a terminal, from the process that runs the job.

use crate::page::numbers::{grouped, short, time};
use crate::page::record::Record;
use crate::page::view::JobState;
use crate::page::{Jobs, part};
use millstream_base::error::Result;
use millstream_base::shown::harmless;
use millstream_base::terminal;
use millstream_base::threads;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How soon something new is seen.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Letters of the name of a part.
const NAME_CHARS_MAX: usize = 40;

/// The line, until this is dropped.
pub struct JobLine {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl JobLine {
    /// Shows how these jobs, of which there is one, stand. Where that is not possible, a job runs without it as well.
    pub fn show(jobs: Arc<Jobs>) -> JobLine {
        let ended = Arc::new(AtomicBool::new(false));
        let until = ended.clone();
        let failed = |error| {
            terminal::set_job(None);
            tracing::warn!("the status line is no longer shown: {error}");
        };
        let thread: Result<JoinHandle<()>> =
            threads::start("millstream-line", "the thread that shows the job status", failed, move || {
                while !until.load(Ordering::Acquire) {
                    jobs.looked_at();
                    // Also where nothing is new: another process may have wiped it away.
                    terminal::set_job(jobs.only(words).flatten());
                    std::thread::park_timeout(LOOK_EVERY);
                }
            });
        JobLine { ended, thread: thread.ok() }
    }
}

impl Drop for JobLine {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there has been told by the thread itself.
            let _ = thread.join();
        }
        terminal::set_job(None);
    }
}

/// The most important first: what does not fit is cut off. `None`: nothing is known yet.
fn words(record: &Record) -> Option<String> {
    let view = &record.view;
    if view.state != JobState::Running {
        return None;
    }
    // The first words of the sentence that the page shows.
    let summary = &view.diagnosis.summary;
    let keeps_up = summary.split_once(": ").map_or(summary.trim_end_matches('.'), |(words, _)| words);
    let mut facts = Vec::new();
    if let Some(batch) = view.status.last_batch {
        facts.push(format!("batch {}", grouped(batch.0)));
    }
    facts.push(format!("{} rows/s", short(part::rates(view).0)));
    if let Some(delay) = record.batches.last().and_then(|batch| part::delay_us(view, batch)) {
        facts.push(format!("delay {}", time(delay)));
    }
    facts.push(keeps_up.to_owned());
    let hot = view.diagnosis.bottleneck.as_ref().filter(|_| view.diagnosis.keeps_up == Some(false));
    if let Some(hot) = hot {
        facts.push(format!("`{}` is busy {} %", harmless(&hot.part, NAME_CHARS_MAX), hot.busy_percent));
    }
    Some(facts.join(" · "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::view::Bottleneck;
    use millstream_base::ids::{BatchId, BatchTime};
    use millstream_metrics::batch_facts::BatchFacts;

    #[test]
    fn the_most_important_of_a_job_is_in_a_line() {
        let mut record = Record::new("id", "job.toml", false);
        assert_eq!(words(&record), None, "no process has answered");
        record.view.state = JobState::Running;
        record.view.diagnosis.summary = "A batch has been running for 1.5 s.".into();
        assert_eq!(words(&record).unwrap(), "0 rows/s · A batch has been running for 1.5 s");
        record.view.status.last_batch = Some(BatchId(1234));
        let batch =
            BatchFacts { time: BatchTime(100), begun_us: 1_100, committed_us: Some(2_000), ..BatchFacts::default() };
        record.batches.add(1, batch);
        let diagnosis = &mut record.view.diagnosis;
        diagnosis.summary = "Not keeping up: a batch takes 2.0 s, but the interval is 1.0 s.".into();
        diagnosis.keeps_up = Some(false);
        diagnosis.bottleneck = Some(Bottleneck { part: "a\u{1b}b".into(), busy_percent: 97 });
        let line = words(&record).unwrap();
        assert_eq!(line, r"batch 1,234 · 0 rows/s · delay 3.0 ms · Not keeping up · `a\u{1b}b` is busy 97 %");
    }
}
