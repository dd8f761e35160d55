//! Server-sent events (`text/event-stream`). The ID of the last event is the position of the source. It is in the same batch as the rows before it,
//! and is sent with each new connection (`Last-Event-ID`).

mod reader;

use super::lines::{compression_error, next, stream_headers};
use super::rows::PushedMessage;
use super::{Fetch, RoundEnd};
use hyper::StatusCode;
use hyper::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use millstream_base::shown;
use reader::{EventReader, Item};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const EVENTS: &str = "text/event-stream";

/// Follows one response to its end.
pub async fn follow(fetch: &mut Fetch<'_>) -> RoundEnd {
    let mut headers = stream_headers();
    headers.insert(ACCEPT, HeaderValue::from_static(EVENTS));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(id) = HeaderValue::from_bytes(fetch.rows.position.now().as_bytes()).ok().filter(|id| !id.is_empty()) {
        headers.insert(LAST_EVENT_ID, id);
    }
    let mut fetched = match fetch.fetcher.get(fetch.fetcher.target(None), &headers).await {
        Ok(fetched) => fetched,
        Err(ended) => return ended,
    };
    let response = &fetched.response;
    if response.status() == StatusCode::NO_CONTENT {
        // With this status a server tells clients to stop reconnecting.
        fetch.warn("204: the server has ended the stream permanently");
        return RoundEnd::Finished;
    }
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("nothing");
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(EVENTS) {
        let kind = shown::harmless(kind, 80);
        return fetch.failed(&format!(
            "the response is `{kind}`, not an event stream ({EVENTS}); check `url`, or set stream = \"lines\", or every = \"10s\""
        ));
    }
    if let Some(why) = compression_error(response.headers()) {
        return fetch.failed(&why);
    }
    fetch.report_connected();
    let bytes_max = usize::try_from(fetch.client.response_bytes_max(fetch.source)).unwrap_or(usize::MAX);
    let mut reader = EventReader::new(bytes_max, fetch.rows.position.now());
    loop {
        let data = match next(fetch, fetched.response.body_mut()).await {
            Ok(Some(data)) => data,
            // An event without an empty line after it is incomplete.
            Ok(None) => return RoundEnd::expected_loss("the stream ended"),
            Err(ended) => return ended,
        };
        if let Err(ended) = take(fetch, &mut reader, &data).await {
            return ended;
        }
    }
}

/// Puts the complete events into the inbox, and waits until there is room for more.
async fn take(fetch: &mut Fetch<'_>, reader: &mut EventReader, data: &[u8]) -> Result<(), RoundEnd> {
    let (mut chunks, mut rows) = (Vec::new(), 0);
    let mut rest = data;
    while let Some(item) = reader.next(&mut rest) {
        match item {
            Item::Event(event) => {
                let Some(id) = &event.id else {
                    return Err(fetch.failed("an event has an id that is too long; fix the server"));
                };
                let piece = PushedMessage { data: &event.data, dropped: event.dropped, event: &event.kind, id };
                let next = fetch.rows.to_chunks(piece);
                let rows_of_next: u64 = next.iter().map(|chunk| chunk.rows() as u64).sum();
                if rows_of_next > fetch.rows.rows_max() && !id.is_empty() {
                    // A part of an event has no ID at which to resume.
                    let max = fetch.rows.rows_max();
                    return Err(fetch.failed(&format!(
                        "an event has {rows_of_next} rows, and a batch holds at most {max} of this source; let the server send smaller \
                         events, or raise `rows_per_batch_max` or `bytes_per_batch_max`"
                    )));
                }
                if rows + rows_of_next > fetch.rows.rows_max() {
                    // One batch cannot take them all: commit the previous events with their ID first.
                    if !fetch.rows.put_together(std::mem::take(&mut chunks)).await {
                        return Err(RoundEnd::Closed);
                    }
                    rows = 0;
                }
                rows += rows_of_next;
                fetch.rows.position.set(id);
                chunks.extend(next);
                fetch.backoff.reset();
            }
            Item::Retry(time) => fetch.backoff.set_min(time),
        }
    }
    match fetch.rows.put_together(chunks).await {
        true => Ok(()),
        false => Err(RoundEnd::Closed),
    }
}
