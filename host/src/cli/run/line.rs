//! The status line of the job, below rows and log lines: on a terminal, from the process that runs the job.

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

/// How often new data is checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);
/// Maximum characters of a part's name.
const NAME_CHARS_MAX: usize = 40;

/// The status line, until it is dropped.
pub struct JobLine {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl JobLine {
    /// Shows the status of these jobs, of which there is one. If that is not possible, the job runs without the line.
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
                    jobs.mark_active();
                    // Redraw even without updates: another process may have overwritten the line.
                    terminal::set_job(jobs.read_latest(status_text).flatten());
                    std::thread::park_timeout(CHECK_INTERVAL);
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
            // The thread has already reported its panic.
            let _ = thread.join();
        }
        terminal::set_job(None);
    }
}

/// Returns the line, the most important facts first, as the rest is cut off. `None` if nothing is known yet.
fn status_text(record: &Record) -> Option<String> {
    let view = &record.view;
    if view.state != JobState::Running {
        return None;
    }
    // The start of the sentence that the page shows.
    let summary = &view.diagnosis.summary;
    let keeps_up = summary.split_once(": ").map_or(summary.trim_end_matches('.'), |(status_text, _)| status_text);
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
        assert_eq!(status_text(&record), None, "no process has answered");
        record.view.state = JobState::Running;
        record.view.diagnosis.summary = "A batch has been running for 1.5 s.".into();
        assert_eq!(status_text(&record).unwrap(), "0 rows/s · A batch has been running for 1.5 s");
        record.view.status.last_batch = Some(BatchId(1234));
        let batch =
            BatchFacts { time: BatchTime(100), begun_us: 1_100, committed_us: Some(2_000), ..BatchFacts::default() };
        record.batches.add(1, batch);
        let diagnosis = &mut record.view.diagnosis;
        diagnosis.summary = "Not keeping up: a batch takes 2.0 s, but the interval is 1.0 s.".into();
        diagnosis.keeps_up = Some(false);
        diagnosis.bottleneck = Some(Bottleneck { part: "a\u{1b}b".into(), busy_percent: 97 });
        let line = status_text(&record).unwrap();
        assert_eq!(line, r"batch 1,234 · 0 rows/s · delay 3.0 ms · Not keeping up · `a\u{1b}b` is busy 97 %");
    }
}
