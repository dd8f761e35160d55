//! Events of a server as browsers understand them (`text/event-stream`). The id of the last one is where the source goes on: it
//! stands in the same batch as the rows before it, and a new connection says it (`Last-Event-ID`).

mod reader;

use super::lines::{next, packed, stream_headers};
use super::rows::PushedMessage;
use super::{Fetch, RoundEnd};
use hyper::StatusCode;
use hyper::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use millstream_base::shown;
use reader::{EventReader, Item};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const EVENTS: &str = "text/event-stream";

/// Follows one answer to its end.
pub async fn follow(fetch: &mut Fetch<'_>) -> RoundEnd {
    let mut headers = stream_headers();
    headers.insert(ACCEPT, HeaderValue::from_static(EVENTS));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(id) = HeaderValue::from_bytes(fetch.rows.place.now().as_bytes()).ok().filter(|id| !id.is_empty()) {
        headers.insert(LAST_EVENT_ID, id);
    }
    let mut answer = match fetch.asker.get(fetch.asker.target(None), &headers).await {
        Ok(answer) => answer,
        Err(ended) => return ended,
    };
    let response = &answer.response;
    if response.status() == StatusCode::NO_CONTENT {
        // By which a server tells browsers to come no more.
        fetch.warn("204: the server has nothing more, for good");
        return RoundEnd::Finished;
    }
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("nothing");
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(EVENTS) {
        let kind = shown::harmless(kind, 80);
        return fetch.failed(&format!(
            "the response is `{kind}`, not an event stream ({EVENTS}); check `url`, or set stream = \"lines\", or every = \"10s\""
        ));
    }
    if let Some(why) = packed(response.headers()) {
        return fetch.failed(&why);
    }
    fetch.connected();
    let bytes_max = usize::try_from(fetch.client.answer_bytes_max(fetch.source)).unwrap_or(usize::MAX);
    let mut reader = EventReader::new(bytes_max, fetch.rows.place.now());
    loop {
        let data = match next(fetch, answer.response.body_mut()).await {
            Ok(Some(data)) => data,
            // An event without the empty line behind it is not whole.
            Ok(None) => return RoundEnd::closed("the stream ended"),
            Err(ended) => return ended,
        };
        if let Err(ended) = take(fetch, &mut reader, &data).await {
            return ended;
        }
    }
}

/// Takes in the events that are whole by now, and waits until there is room for more.
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
                let next = fetch.rows.of_piece(piece);
                let rows_of_next: u64 = next.iter().map(|chunk| chunk.rows() as u64).sum();
                if rows_of_next > fetch.rows.rows_max() && !id.is_empty() {
                    // Half an event has no id to go on behind.
                    let most = fetch.rows.rows_max();
                    return Err(fetch.failed(&format!(
                        "an event has {rows_of_next} rows, and a batch holds at most {most} of this source; let the server send smaller \
                         events, or raise `rows_per_batch_max` or `bytes_per_batch_max`"
                    )));
                }
                if rows + rows_of_next > fetch.rows.rows_max() {
                    // No batch takes them all: the id of those before goes with them.
                    if !fetch.rows.put_together(std::mem::take(&mut chunks)).await {
                        return Err(RoundEnd::Inbox);
                    }
                    rows = 0;
                }
                rows += rows_of_next;
                fetch.rows.place.set(id);
                chunks.extend(next);
                fetch.backoff.reset();
            }
            Item::Retry(time) => fetch.backoff.at_least(time),
        }
    }
    match fetch.rows.put_together(chunks).await {
        true => Ok(()),
        false => Err(RoundEnd::Inbox),
    }
}
