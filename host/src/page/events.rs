//! All news of a job once a second, for as long as somebody reads them. Most who look have heard the same before: what is new for them
//! is put into words once.

use super::body::{self, Answer};
use super::last_event::HeardNumbers;
use super::newest::Numbered;
use super::record::{BATCHES_MAX, LOG_MAX, REFUSED_MAX, Record};
use super::site::Site;
use super::view::JobView;
use bytes::Bytes;
use hyper::StatusCode;
use millstream_base::log_lines::LogLine;
use millstream_metrics::batch_facts::BatchFacts;
use millstream_metrics::refused::RefusedRow;
use serde::Serialize;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Sender, channel};

/// Streams of events at a time; more are refused.
const STREAMS_MAX: usize = 64;
static STREAMS: Semaphore = Semaphore::const_new(STREAMS_MAX);
/// Batches that the first event tells of, and of so many parts of stages, sources and sinks when they worked on these: a page that is
/// just opened waits for it.
const FIRST_BATCHES: usize = 240;
const FIRST_PART_TIMES: usize = 1_000;

/// The answer to whoever asks for the events of a job.
pub fn answer(site: &Arc<Site>, id: &str) -> Answer {
    let Ok(place) = STREAMS.try_acquire() else {
        return body::error(StatusCode::SERVICE_UNAVAILABLE, "too many open pages; close one");
    };
    if site.jobs.file(id).is_none() {
        return body::error(StatusCode::NOT_FOUND, "job not found");
    }
    let (sender, receiver) = channel(2);
    let (site, id) = (site.clone(), id.to_owned());
    tokio::spawn(async move {
        tell(&site, &id, sender).await;
        drop(place);
    });
    body::events(receiver)
}

async fn tell(site: &Site, id: &str, sender: Sender<Bytes>) {
    let mut polled = site.jobs.watched();
    let mut heard = HeardNumbers::default();
    loop {
        site.jobs.looked_at();
        let told = site.jobs.with(id, |record| news(record, site.jobs.polls(), heard)).await;
        let Some(Some((text, after))) = told else { return };
        heard = after;
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

/// What is new for those who have heard this much.
fn news(record: &Record, polls: u64, before: HeardNumbers) -> Option<(Bytes, HeardNumbers)> {
    record.shared.event(polls, before, || {
        let text = Bytes::from(News::after(record, before).event()?);
        let (batches, log, refused) = (record.batches.count(), record.log.count(), record.refused.count());
        Some((text, HeardNumbers { batches, log, refused }))
    })
}

/// What is new of a job.
#[derive(Serialize)]
struct News<'a> {
    view: &'a JobView,
    batches: Vec<Numbered<BatchFacts>>,
    log: Vec<Numbered<LogLine>>,
    refused: Vec<Numbered<RefusedRow>>,
}

impl News<'_> {
    fn after(record: &Record, heard: HeardNumbers) -> News<'_> {
        let first = heard.batches == 0;
        let mut news = News {
            view: &record.view,
            batches: record.batches.after(heard.batches, if first { FIRST_BATCHES } else { BATCHES_MAX }),
            log: record.log.after(heard.log, LOG_MAX),
            refused: record.refused.after(heard.refused, REFUSED_MAX),
        };
        if first {
            news.forget_old_parts();
        }
        news
    }

    fn forget_old_parts(&mut self) {
        let mut told = 0;
        for batch in self.batches.iter_mut().rev() {
            told += batch.what.parts.len();
            if told > FIRST_PART_TIMES {
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
        record.own_line(line("first"));
        let (text, after) = news(&record, 1, HeardNumbers::default()).unwrap();
        assert!(text.starts_with(b"event: news\ndata: {") && text.ends_with(b"}\n\n"));
        let (same, _) = news(&record, 1, HeardNumbers::default()).unwrap();
        assert_eq!(text.as_ptr(), same.as_ptr(), "put into words once");
        record.own_line(line("second"));
        let told = |heard, polls| {
            let (text, after) = news(&record, polls, heard).unwrap();
            let text = String::from_utf8(text.to_vec()).unwrap();
            (text.contains("first"), text.contains("second"), after)
        };
        let all = HeardNumbers { log: 2, ..after };
        assert_eq!(told(after, 2), (false, true, all), "only what is new");
        assert_eq!(told(HeardNumbers::default(), 2), (true, true, all), "who comes later hears all");
        assert_eq!(told(all, 2), (false, false, all));
    }
}
