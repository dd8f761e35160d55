//! Sends the updates of a job once per second while a client reads them. Most clients have received the same updates before,
//! so new data is serialized once.

use super::body::{self, PageResponse};
use super::last_event::SentNumbers;
use super::newest::Numbered;
use super::record::{BATCHES_MAX, LOG_MAX, REFUSED_MAX, Record};
use super::site::Site;
use super::view::JobView;
use bytes::Bytes;
use hyper::StatusCode;
use millstream_base::log_lines::LogLine;
use millstream_metrics::batch_facts::BatchFacts;
use millstream_metrics::rejected_rows::RejectedRow;
use serde::Serialize;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Sender, channel};

/// Maximum number of concurrent event streams. More are rejected.
const STREAMS_MAX: usize = 64;
static STREAMS: Semaphore = Semaphore::const_new(STREAMS_MAX);
/// Maximum number of batches in the first event, and of their entries per part: a new page waits for this event.
const FIRST_BATCHES: usize = 240;
const FIRST_PART_TIMES: usize = 1_000;

/// Returns the event stream of a job.
pub fn stream(site: &Arc<Site>, id: &str) -> PageResponse {
    let Ok(permit) = STREAMS.try_acquire() else {
        return body::error(StatusCode::SERVICE_UNAVAILABLE, "too many open pages; close one");
    };
    if site.jobs.file(id).is_none() {
        return body::error(StatusCode::NOT_FOUND, "job not found");
    }
    let (sender, receiver) = channel(2);
    let (site, id) = (site.clone(), id.to_owned());
    tokio::spawn(async move {
        send_events(&site, &id, sender).await;
        drop(permit);
    });
    body::events(receiver)
}

async fn send_events(site: &Site, id: &str, sender: Sender<Bytes>) {
    let mut polled = site.jobs.subscribe();
    let mut sent = SentNumbers::default();
    loop {
        site.jobs.mark_active();
        let result = site.jobs.with(id, |record| changes(record, site.jobs.polls(), sent)).await;
        let Some(Some((text, after))) = result else { return };
        sent = after;
        polled.mark_unchanged();
        if sender.send(text).await.is_err() {
            return;
        }
        tokio::select! {
            changed = polled.changed() => if changed.is_err() { return },
            () = sender.closed() => return,
        }
    }
}

/// Returns the updates for clients that have received this much.
fn changes(record: &Record, polls: u64, before: SentNumbers) -> Option<(Bytes, SentNumbers)> {
    record.shared.event(polls, before, || {
        let text = Bytes::from(PageChanges::after(record, before).event()?);
        let (batches, log, refused) = (record.batches.count(), record.log.count(), record.refused.count());
        Some((text, SentNumbers { batches, log, refused }))
    })
}

/// The updates of a job.
#[derive(Serialize)]
struct PageChanges<'a> {
    view: &'a JobView,
    batches: Vec<Numbered<BatchFacts>>,
    log: Vec<Numbered<LogLine>>,
    refused: Vec<Numbered<RejectedRow>>,
}

impl PageChanges<'_> {
    fn after(record: &Record, sent: SentNumbers) -> PageChanges<'_> {
        let first = sent.batches == 0;
        let mut changes = PageChanges {
            view: &record.view,
            batches: record.batches.after(sent.batches, if first { FIRST_BATCHES } else { BATCHES_MAX }),
            log: record.log.after(sent.log, LOG_MAX),
            refused: record.refused.after(sent.refused, REFUSED_MAX),
        };
        if first {
            changes.drop_old_parts();
        }
        changes
    }

    fn drop_old_parts(&mut self) {
        let mut result = 0;
        for batch in self.batches.iter_mut().rev() {
            result += batch.what.parts.len();
            if result > FIRST_PART_TIMES {
                batch.what.parts.clear();
            }
        }
    }

    fn event(&self) -> Option<Vec<u8>> {
        let mut text = b"event: news\ndata: ".to_vec();
        serde_json::to_writer(&mut text, self).ok()?;
        text.extend_from_slice(b"\n\n");
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> LogLine {
        LogLine { text: text.into(), ..LogLine::default() }
    }

    #[test]
    fn who_has_heard_the_same_shares_the_words_and_nobody_misses_any() {
        let mut record = Record::new("id", "file", false);
        record.add_own_line(line("first"));
        let (text, after) = changes(&record, 1, SentNumbers::default()).unwrap();
        assert!(text.starts_with(b"event: news\ndata: {") && text.ends_with(b"}\n\n"));
        let (same, _) = changes(&record, 1, SentNumbers::default()).unwrap();
        assert_eq!(text.as_ptr(), same.as_ptr(), "put into words once");
        record.add_own_line(line("second"));
        let result = |sent, polls| {
            let (text, after) = changes(&record, polls, sent).unwrap();
            let text = String::from_utf8(text.to_vec()).unwrap();
            (text.contains("first"), text.contains("second"), after)
        };
        let all = SentNumbers { log: 2, ..after };
        assert_eq!(result(after, 2), (false, true, all), "only what is new");
        assert_eq!(result(SentNumbers::default(), 2), (true, true, all), "who comes later hears all");
        assert_eq!(result(all, 2), (false, false, all));
    }
}
