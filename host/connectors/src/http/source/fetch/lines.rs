//! Reads a response of lines that never ends. The server cannot resume at a position: lines that it sends while the source is disconnected are lost.

use super::{Fetch, RoundEnd};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderValue};
use millstream_connect::http1::{Fault, to_fault};
use millstream_connect::receiver::framer;
use millstream_connect::receiver::framing::{Counter, StreamCursor};
use tokio::task::coop::consume_budget;

/// Returns the headers of a request for a stream. It must not be compressed, so that rows are available immediately.
pub fn stream_headers() -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))])
}

/// Returns why a compressed stream cannot be read; `None` if it is not compressed.
pub fn compression_error(headers: &HeaderMap) -> Option<String> {
    let how = headers.get(CONTENT_ENCODING)?.to_str().unwrap_or("?");
    (!how.trim().eq_ignore_ascii_case("identity")).then(|| {
        format!(
            "the stream is compressed ({}), although that was not requested; check `url`",
            millstream_base::shown::harmless(how, 40)
        )
    })
}

/// Returns the next bytes of a stream; `None` at its end.
pub async fn next(fetch: &Fetch<'_>, body: &mut Incoming) -> Result<Option<Bytes>, RoundEnd> {
    match fetch.wait_within(fetch.client.stall, next_of(body)).await {
        Some(next) => next,
        None => Err(fetch.stalled()),
    }
}

/// Returns the next bytes of a body; `None` at its end.
pub async fn next_of(body: &mut Incoming) -> Result<Option<Bytes>, RoundEnd> {
    loop {
        // A stream that never pauses must not block other tasks of its thread.
        consume_budget().await;
        match body.frame().await {
            None => return Ok(None),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if !data.is_empty() => return Ok(Some(data)),
                _ => {}
            },
            Some(Err(error)) => {
                let (Fault::Transient(why) | Fault::Permanent(why)) = to_fault(&error);
                return Err(RoundEnd::unexpected_loss(format!("the connection broke ({why})")));
            }
        }
    }
}

/// Follows one response to its end.
pub async fn follow(fetch: &mut Fetch<'_>) -> RoundEnd {
    let fetched = fetch.fetcher.get(fetch.fetcher.target(None), &stream_headers()).await;
    let mut fetched = match fetched {
        Ok(fetched) => fetched,
        Err(ended) => return ended,
    };
    if let Some(why) = compression_error(fetched.response.headers()) {
        return fetch.failed(&why);
    }
    fetch.report_connected();
    let start = StreamCursor { at: Counter::Rows(fetch.rows.count()), ..StreamCursor::default() };
    let mut framer = framer(fetch.source).with_cursor(start);
    let mut end = None;
    loop {
        match next(fetch, fetched.response.body_mut()).await {
            Ok(Some(data)) => {
                framer.buffer(data.len()).extend_from_slice(&data);
                // A connection that delivered data may be reopened soon.
                fetch.backoff.reset();
            }
            Ok(None) => {
                framer.end();
                end = Some(RoundEnd::expected_loss("the stream ended"));
            }
            Err(ended) => {
                let why = match &ended {
                    RoundEnd::Lost(loss) => loss.why.clone(),
                    _ => String::new(),
                };
                framer.break_off(&why);
                end = Some(ended);
            }
        }
        while let Some(chunk) = framer.next(true) {
            if !fetch.rows.put(chunk).await {
                return RoundEnd::Closed;
            }
        }
        if let Some(end) = end {
            return end;
        }
    }
}
