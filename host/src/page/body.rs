//! Answers, with what all of them say of themselves.

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame};
use hyper::header::HeaderValue;
use hyper::{Response, StatusCode};
use serde::Serialize;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc::Receiver;

/// What an answer holds.
pub type AnswerBody = BoxBody<Bytes, Infallible>;
/// An answer.
pub type Answer = Response<AnswerBody>;

/// Nothing comes from elsewhere, no script stands in a page, and no other site shows or reads it.
const HEADERS: [(&str, &str); 7] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cache-control", "no-store"),
];

/// An answer of this kind.
pub fn of(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Answer {
    with(status, kind, Full::new(text.into()).boxed())
}

/// Some words.
pub fn words(status: StatusCode, words: &str) -> Answer {
    of(status, "text/plain; charset=utf-8", format!("{words}\n"))
}

/// A value as JSON.
pub fn json(value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(text) => of(StatusCode::OK, "application/json", text),
        Err(error) => words(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// What went wrong, as JSON.
pub fn error(status: StatusCode, words: &str) -> Answer {
    let mut answer = json(&serde_json::json!({ "error": words }));
    *answer.status_mut() = status;
    answer
}

/// An answer that goes on.
pub fn events(events: Receiver<Bytes>) -> Answer {
    with(StatusCode::OK, "text/event-stream", Events(events).boxed())
}

fn with(status: StatusCode, kind: &'static str, body: AnswerBody) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert("content-type", HeaderValue::from_static(kind));
    HEADERS.iter().for_each(|(name, value)| {
        headers.insert(*name, HeaderValue::from_static(value));
    });
    answer
}

struct Events(Receiver<Bytes>);

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
