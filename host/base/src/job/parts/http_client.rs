//! What must hold of sources that read from a server over HTTP.

use super::http::token_fits;
use crate::job::http_url;
use crate::job::part_mistakes::PartMistakes;
use crate::job::spec::{CursorFrom, Format, HttpClientSpec, HttpShape, SourceSpec};
use crate::units;
use std::time::Duration;

/// The longest that a server may be silent, or an answer may take.
const WAIT_MAX: Duration = Duration::from_secs(86_400);

/// A source that reads from a server.
pub(super) fn source(spec: &SourceSpec, client: &HttpClientSpec, part: &PartMistakes<'_>) {
    let schemes: &[&str] = match client.shape {
        HttpShape::Websocket => &["ws://", "wss://"],
        _ => &["http://", "https://"],
    };
    if let Err(message) = http_url::begins_with(&client.url, schemes) {
        part.wrong("url", message);
    }
    client.token.iter().for_each(|token| token_fits(token, part));
    if let Some(name) = client.headers.iter().map(|(name, _)| name).find(|name| is_ours(name)) {
        part.wrong("headers", format!("`headers.{name}` is set by the source itself; remove it"));
    }
    if spec.tls.as_ref().is_some_and(|tls| tls.name.is_some()) {
        part.wrong("tls.name", "`tls.name` is for sockets: the name of a URL is its host; remove it");
    }
    let mut times = vec![("stall", client.stall), ("timeout", client.timeout)];
    if let HttpShape::Poll { every, .. } = client.shape {
        times.push(("every", every));
    }
    for (key, time) in times {
        if time.is_zero() || time > WAIT_MAX {
            part.wrong(key, format!("`{key}` is {}; write a time from 1ms to 1d", units::show_time(time)));
        }
    }
    if client.answer_bytes_max > spec.bytes_per_batch_max {
        let most = spec.bytes_per_batch_max;
        let message = format!(
            "`answer_bytes_max` is {}, more than `bytes_per_batch_max`, {most}: an answer is taken by one batch; lower it, or \
             raise that",
            client.answer_bytes_max
        );
        part.wrong(part.place(["answer_bytes_max", "bytes_per_batch_max"]), message);
    }
    if let HttpShape::Poll { rows, .. } = &client.shape
        && !rows.is_empty()
    {
        if rows.iter().any(String::is_empty) {
            part.wrong("rows", "`rows` has an empty name; write it as \"items\", or \"data.items\"");
        }
        if spec.format != Format::Json {
            let word = spec.format.word();
            let message = format!("`rows` is a place in JSON, and the format is `{word}`; write format = \"json\"");
            part.wrong("rows", message);
        }
    }
    if let HttpShape::Poll { cursor: Some(cursor), .. } = &client.shape {
        if cursor.parameter.is_empty() {
            part.wrong("cursor.parameter", "`cursor.parameter` is empty; write the name of a parameter, as \"since\"");
        }
        if matches!(&cursor.from, CursorFrom::Field(path) if path.iter().any(String::is_empty)) {
            part.wrong("cursor.field", "`cursor.field` has an empty name; write it as \"id\", or \"user.id\"");
        }
        if matches!(cursor.from, CursorFrom::Field(_)) && spec.format != Format::Json {
            let word = spec.format.word();
            let message =
                format!("`cursor.field` is a field of JSON, and the format is `{word}`; write format = \"json\"");
            part.wrong("cursor.field", message);
        }
    }
}

/// Headers that say what is read, and from where.
fn is_ours(name: &str) -> bool {
    ["host", "content-length", "transfer-encoding", "connection", "upgrade", "accept-encoding", "last-event-id"]
        .iter()
        .any(|own| name.eq_ignore_ascii_case(own))
}
