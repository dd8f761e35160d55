//! What a job file says of sources that read from a server over HTTP.

use super::http;
use crate::job::http_url;
use crate::job::keys::CURSOR;
use crate::job::spec::{CursorFrom, HttpClientSpec, HttpCursor, HttpShape};
use crate::job::table::Reader;
use crate::limits;
use std::time::Duration;

/// Keys that only such sources have.
pub(super) const KEYS: &[&str] =
    &["every", "stream", "cursor", "rows", "pages", "headers", "send", "stall", "answer_bytes_max", "timeout"];
/// Keys that only sources have which listen.
const SERVER_KEYS: &[&str] =
    &["listen", "spread", "request_bytes_max", "request_time_max", "connections_max", "producers_max"];

/// A source that asks a server, or follows its stream.
pub(in crate::job) fn client(r: &Reader<'_>) -> HttpClientSpec {
    let example = "url = \"https://host/path\"";
    for key in SERVER_KEYS.iter().filter(|key| r.has(key)) {
        r.wrong(
            key,
            format!("`{key}` is for a source that listens, and this one has a `url` to read from; remove one of them"),
        );
    }
    let mut spec = HttpClientSpec::new(r.text("url", example).unwrap_or_default());
    spec.shape = shape(&spec.url, r);
    let not_for = |keys: &[&str], why: &str| {
        for key in keys.iter().filter(|key| r.has(key)) {
            r.wrong(key, format!("`{key}` {why}; remove it"));
        }
    };
    match spec.shape {
        HttpShape::Poll { .. } => not_for(&["stall"], "is for streams, and this source asks again and again (`every`)"),
        _ => not_for(&["cursor", "rows", "pages"], "is for sources that ask again and again (`every`)"),
    }
    if spec.shape != HttpShape::Websocket {
        not_for(&["send"], "is what is said on a WebSocket");
    }
    spec.token = r.text("token", "token = \"${NAME}\"").map(str::to_owned);
    spec.headers = http::headers(r);
    spec.send = r.texts("send", "send = \"subscribe\"").unwrap_or_default();
    spec.stall = r.time("stall").unwrap_or(spec.stall);
    spec.timeout = r.time("timeout").unwrap_or(spec.timeout);
    let bytes = r.size("answer_bytes_max", 1, limits::HTTP_REQUEST_BYTES_MAX_MAX);
    spec.answer_bytes_max = bytes.unwrap_or(spec.answer_bytes_max);
    spec
}

fn shape(url: &str, r: &Reader<'_>) -> HttpShape {
    let words = [("lines", HttpShape::Lines), ("sse", HttpShape::Events), ("websocket", HttpShape::Websocket)];
    let stream = r.choice("stream", &words, &["grpc"]);
    // What the environment gives may say it. Where it does not give it yet, the text is all there is.
    let known = http_url::url(url).unwrap_or_else(|_| url.to_owned());
    let is_websocket = ["ws://", "wss://"].iter().any(|scheme| known.starts_with(scheme));
    if is_websocket {
        if stream.as_ref().is_some_and(|stream| *stream != HttpShape::Websocket) {
            r.wrong("stream", "`stream` is not what a URL with ws:// or wss:// is, which is a WebSocket; remove it");
        }
        if r.has("every") {
            r.wrong(
                "every",
                "`every` is for URLs that are asked again and again, and this one is a WebSocket; remove it",
            );
        }
        return HttpShape::Websocket;
    }
    if r.has("every") {
        if r.has("stream") {
            r.wrong("every", "`every` asks again and again, and `stream` follows one answer; remove one of them");
        }
        let every = r.time("every").unwrap_or(Duration::from_secs(10));
        let rows = r.text("rows", "rows = \"data.items\"").map(|path| path.split('.').map(str::to_owned).collect());
        let pages = r.choice("pages", &[("link", true)], &["field", "header"]).unwrap_or(false);
        return HttpShape::Poll { every, cursor: cursor(r), rows: rows.unwrap_or_default(), pages };
    }
    if !r.has("stream") && r.has("url") {
        let message = "`url` does not say how to read it; write every = \"10s\" to ask again and again, or stream = \"lines\" or \
                       \"sse\" to follow one answer that never ends; a WebSocket begins with ws:// or wss://, or has stream = \
                       \"websocket\" where only a variable says so";
        r.wrong("url", message);
    }
    stream.unwrap_or(HttpShape::Lines)
}

fn cursor(r: &Reader<'_>) -> Option<HttpCursor> {
    let example = "cursor = { parameter = \"since\", field = \"id\" }";
    let inner = r.inner("cursor", example)?;
    inner.check_keys(CURSOR, &[], None);
    inner.need("parameter", "parameter = \"since\"");
    let parameter = inner.text("parameter", "parameter = \"since\"").unwrap_or_default().to_owned();
    let header = inner.text("header", "header = \"X-Next\"").map(|name| CursorFrom::Header(name.to_owned()));
    let field = inner.text("field", "field = \"id\"");
    let field = field.map(|path| CursorFrom::Field(path.split('.').map(str::to_owned).collect()));
    if header.is_some() == field.is_some() {
        r.wrong(
            "cursor",
            format!(
                "`cursor` is found in the last row (`field`) or in a header of the answer (`header`); write {example}"
            ),
        );
    }
    Some(HttpCursor { parameter, from: field.or(header)? })
}
