//! An answer that never ends, of lines. Nothing tells a server where to go on: what it sends while nobody listens is lost.

use super::{Fetch, RoundEnd};
use crate::http::{Fault, told};
use crate::receiver::framer;
use crate::receiver::framing::{Counter, StreamCursor};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderValue};
use tokio::task::coop::consume_budget;

/// Streams are not packed: what is there is to be seen at once.
pub fn stream_headers() -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))])
}

/// Why a stream that is packed cannot be read; `None`: it is not.
pub fn packed(headers: &HeaderMap) -> Option<String> {
    let how = headers.get(CONTENT_ENCODING)?.to_str().unwrap_or("?");
    (!how.trim().eq_ignore_ascii_case("identity")).then(|| {
        format!(
            "the stream is compressed ({}), although that was not requested; check `url`",
            millstream_base::shown::harmless(how, 40)
        )
    })
}

/// The next bytes of a stream; `None`: its end.
pub async fn next(fetch: &Fetch<'_>, body: &mut Incoming) -> Result<Option<Bytes>, RoundEnd> {
    match fetch.within(fetch.client.stall, next_of(body)).await {
        Some(next) => next,
        None => Err(fetch.stalled()),
    }
}

/// The next bytes of a body; `None`: its end.
pub async fn next_of(body: &mut Incoming) -> Result<Option<Bytes>, RoundEnd> {
    loop {
        // A stream that never pauses must not keep its thread from other tasks.
        consume_budget().await;
        match body.frame().await {
            None => return Ok(None),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if !data.is_empty() => return Ok(Some(data)),
                _ => {}
            },
            Some(Err(error)) => {
                let (Fault::Passing(why) | Fault::Lasting(why)) = told(&error);
                return Err(RoundEnd::lost(format!("the connection broke ({why})")));
            }
        }
    }
}

/// Follows one answer to its end.
pub async fn follow(fetch: &mut Fetch<'_>) -> RoundEnd {
    let answer = fetch.asker.get(fetch.asker.target(None), &stream_headers()).await;
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(ended) => return ended,
    };
    if let Some(why) = packed(answer.response.headers()) {
        return fetch.failed(&why);
    }
    fetch.connected();
    let start = StreamCursor { at: Counter::Rows(fetch.rows.count()), ..StreamCursor::default() };
    let mut framer = framer(fetch.source).at(start);
    let mut over = None;
    loop {
        match next(fetch, answer.response.body_mut()).await {
            Ok(Some(data)) => {
                framer.buffer(data.len()).extend_from_slice(&data);
                // What comes is worth a new connection soon.
                fetch.backoff.reset();
            }
            Ok(None) => {
                framer.end();
                over = Some(RoundEnd::closed("the stream ended"));
            }
            Err(ended) => {
                let why = match &ended {
                    RoundEnd::Lost(loss) => loss.why.clone(),
                    _ => String::new(),
                };
                framer.break_off(&why);
                over = Some(ended);
            }
        }
        while let Some(chunk) = framer.next(true) {
            if !fetch.rows.put(chunk).await {
                return RoundEnd::Inbox;
            }
        }
        if let Some(over) = over {
            return over;
        }
    }
}
