//! Builds responses with their common headers.

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

/// The body of a response.
pub type ResponseBody = BoxBody<Bytes, Infallible>;
/// A response.
pub type PageResponse = Response<ResponseBody>;

/// Nothing is loaded from other sites, no page contains inline scripts, and no other site may embed or read a page.
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

/// Returns a response of this type.
pub fn response(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> PageResponse {
    with(status, kind, Full::new(text.into()).boxed())
}

/// Returns a plain text response.
pub fn plain_text(status: StatusCode, text: &str) -> PageResponse {
    response(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

/// Returns a value as JSON.
pub fn json(value: &impl Serialize) -> PageResponse {
    match serde_json::to_vec(value) {
        Ok(text) => response(StatusCode::OK, "application/json", text),
        Err(error) => plain_text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// Returns an error as JSON.
pub fn error(status: StatusCode, text: &str) -> PageResponse {
    let mut response = json(&serde_json::json!({ "error": text }));
    *response.status_mut() = status;
    response
}

/// Returns a streaming response.
pub fn events(events: Receiver<Bytes>) -> PageResponse {
    with(StatusCode::OK, "text/event-stream", Events(events).boxed())
}

fn with(status: StatusCode, kind: &'static str, body: ResponseBody) -> PageResponse {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static(kind));
    HEADERS.iter().for_each(|(name, value)| {
        headers.insert(*name, HeaderValue::from_static(value));
    });
    response
}

struct Events(Receiver<Bytes>);

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
