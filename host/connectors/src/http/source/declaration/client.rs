//! Declaration of `http` sources that read from a server.

use super::CURSOR;
use crate::http::source::fetch;
use crate::http::source::settings::{ClientReads, CursorFrom, HttpCursor, HttpShape};
use millstream_base::error::Result;
use millstream_base::{limits, units};
use millstream_connect::receiver::{receive, wrong};
use millstream_job::http_url;
use millstream_job::spec::{Origin, SourceConfig, SourceSpec, SourceStart};
use millstream_job::table::Reader;
use millstream_job::{PartErrors, parts};
use millstream_rows::batch::column::ColumnSource;
use millstream_rows::decode::spec::RecordBounds;
use millstream_rows::formats::Format;
use std::time::Duration;

/// Maximum of `stall`, `timeout` and `every`.
const WAIT_MAX: Duration = Duration::from_secs(86_400);
/// Keys that only sources with `url` have.
pub(super) const CLIENT_KEYS: &[&str] =
    &["every", "stream", "cursor", "rows", "pages", "headers", "send", "stall", "answer_bytes_max", "timeout"];
/// Keys that only sources with `listen` have.
const SERVER_KEYS: &[&str] =
    &["listen", "spread", "request_bytes_max", "request_time_max", "connections_max", "producers_max"];

impl ClientReads {
    pub(super) fn read(r: &Reader<'_>) -> ClientReads {
        let example = "url = \"https://host/path\"";
        for key in SERVER_KEYS.iter().filter(|key| r.has(key)) {
            r.wrong(
                key,
                format!(
                    "`{key}` is for a source that listens, and this one has a `url` to read from; remove one of them"
                ),
            );
        }
        let mut spec = ClientReads::new(r.text("url", example).unwrap_or_default());
        spec.shape = shape(&spec.url, r);
        let not_for = |keys: &[&str], why: &str| {
            for key in keys.iter().filter(|key| r.has(key)) {
                r.wrong(key, format!("`{key}` {why}; remove it"));
            }
        };
        match spec.shape {
            HttpShape::Poll { .. } => not_for(&["stall"], "is for streams, and this source polls (`every`)"),
            _ => not_for(&["cursor", "rows", "pages"], "is for sources that poll (`every`)"),
        }
        if spec.shape != HttpShape::Websocket {
            not_for(&["send"], "is sent on a WebSocket");
        }
        spec.token = r.text("token", "token = \"${NAME}\"").map(str::to_owned);
        spec.headers = r.headers();
        spec.send = r.strings("send", "send = \"subscribe\"").unwrap_or_default();
        spec.stall = r.time("stall").unwrap_or(spec.stall);
        spec.timeout = r.time("timeout").unwrap_or(spec.timeout);
        spec.response_bytes_max = r.size("answer_bytes_max", 1, limits::HTTP_REQUEST_BYTES_MAX_MAX);
        spec
    }
}

fn shape(url: &str, r: &Reader<'_>) -> HttpShape {
    let streams = [("lines", HttpShape::Lines), ("sse", HttpShape::Events), ("websocket", HttpShape::Websocket)];
    let stream = r.choice("stream", &streams, &["grpc"]);
    // An environment variable may contain the scheme. If it is not set yet, the text of the job file decides.
    let expanded = http_url::url(url).unwrap_or_else(|_| url.to_owned());
    let is_websocket = ["ws://", "wss://"].iter().any(|scheme| expanded.starts_with(scheme));
    if is_websocket {
        if stream.as_ref().is_some_and(|stream| *stream != HttpShape::Websocket) {
            r.wrong("stream", "`stream` does not apply to ws:// and wss:// URLs, which are WebSockets; remove it");
        }
        if r.has("every") {
            r.wrong("every", "`every` is for URLs that are polled, and this one is a WebSocket; remove it");
        }
        return HttpShape::Websocket;
    }
    if r.has("every") {
        if r.has("stream") {
            r.wrong("every", "`every` polls, and `stream` follows one response; remove one of them");
        }
        let every = r.time("every").unwrap_or(Duration::from_secs(10));
        let rows = r.text("rows", "rows = \"data.items\"").map(|path| path.split('.').map(str::to_owned).collect());
        let pages = r.choice("pages", &[("link", true)], &["field", "header"]).unwrap_or(false);
        return HttpShape::Poll { every, cursor: cursor(r), rows: rows.unwrap_or_default(), pages };
    }
    if !r.has("stream") && r.has("url") {
        let message = "it is unknown how to read `url`; write every = \"10s\" to poll it, or stream = \"lines\" or \
                       \"sse\" to follow one response that never ends; for a WebSocket, write a URL with ws:// or \
                       wss://, or stream = \"websocket\" if `url` comes from a variable";
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
                "`cursor` is found in the last row (`field`) or in a header of the response (`header`); write {example}"
            ),
        );
    }
    Some(HttpCursor { parameter, from: field.or(header)? })
}

impl SourceConfig for ClientReads {
    fn kind(&self) -> &'static str {
        super::KIND
    }

    fn check(&self, source: &SourceSpec, part: &PartErrors<'_>) {
        let schemes: &[&str] = match self.shape {
            HttpShape::Websocket => &["ws://", "wss://"],
            _ => &["http://", "https://"],
        };
        if let Err(message) = http_url::begins_with(&self.url, schemes) {
            part.wrong("url", message);
        }
        self.token.iter().for_each(|token| parts::token(token, part));
        if let Some(name) = self.headers.iter().map(|(name, _)| name).find(|name| is_reserved(name)) {
            part.wrong("headers", format!("`headers.{name}` is set by the source itself; remove it"));
        }
        if source.tls.as_ref().is_some_and(|tls| tls.name.is_some()) {
            part.wrong("tls.name", "`tls.name` is for sockets: the name of a URL is its host; remove it");
        }
        let mut times = vec![("stall", self.stall), ("timeout", self.timeout)];
        if let HttpShape::Poll { every, .. } = self.shape {
            times.push(("every", every));
        }
        for (key, time) in times {
            if time.is_zero() || time > WAIT_MAX {
                part.wrong(key, format!("`{key}` is {}; write a time from 1ms to 1d", units::show_time(time)));
            }
        }
        if let Some(bytes) = self.response_bytes_max.filter(|bytes| *bytes > source.bytes_per_batch_max) {
            let max = source.bytes_per_batch_max;
            let message = format!(
                "`answer_bytes_max` is {bytes}, more than `bytes_per_batch_max`, {max}: one batch takes a complete \
                 response; lower it, or raise `bytes_per_batch_max`"
            );
            part.wrong(part.existing_path(["answer_bytes_max", "bytes_per_batch_max"]), message);
        }
        if let HttpShape::Poll { rows, .. } = &self.shape
            && !rows.is_empty()
        {
            if rows.iter().any(String::is_empty) {
                part.wrong("rows", "`rows` has an empty name; write it as \"items\", or \"data.items\"");
            }
            if source.format != Format::Json {
                let word = source.format.keyword();
                let message = format!("`rows` is a path in JSON, but the format is `{word}`; write format = \"json\"");
                part.wrong("rows", message);
            }
        }
        if let HttpShape::Poll { cursor: Some(cursor), .. } = &self.shape {
            if cursor.parameter.is_empty() {
                part.wrong(
                    "cursor.parameter",
                    "`cursor.parameter` is empty; write the name of a parameter, for example \"since\"",
                );
            }
            if matches!(&cursor.from, CursorFrom::Field(path) if path.iter().any(String::is_empty)) {
                part.wrong("cursor.field", "`cursor.field` has an empty name; write it as \"id\", or \"user.id\"");
            }
            if matches!(cursor.from, CursorFrom::Field(_)) && source.format != Format::Json {
                let word = source.format.keyword();
                let message =
                    format!("`cursor.field` is a JSON field, and the format is `{word}`; write format = \"json\"");
                part.wrong("cursor.field", message);
            }
        }
    }

    fn promise(&self) -> Option<&'static str> {
        Some(match &self.shape {
            HttpShape::Poll { cursor: Some(_), .. } => {
                "exactly once if the server returns what follows the cursor; with [checkpoint]"
            }
            HttpShape::Poll { cursor: None, .. } => {
                "exactly once for each response that is received; of two changes between requests, only the last \
                one is seen"
            }
            HttpShape::Events => {
                "exactly once if each event has an id and the server resumes after Last-Event-ID; otherwise as lines"
            }
            HttpShape::Lines | HttpShape::Websocket => {
                "exactly once after a batch is planned; messages sent while the job is not connected are lost"
            }
        })
    }

    fn bounds(&self) -> RecordBounds {
        if self.shape == HttpShape::Lines { RecordBounds::Format } else { RecordBounds::Body }
    }

    fn no_frames(&self, _format: &Format) -> Option<&'static str> {
        Some("they are not supported over HTTP; request JSON from the server")
    }

    fn provides(&self, part: &ColumnSource) -> bool {
        self.shape == HttpShape::Events && matches!(part, ColumnSource::Event | ColumnSource::Id)
    }

    /// The query may change without making it another source. A URL is compared as written.
    fn identity<'a>(&'a self, _written: &dyn Fn(&str) -> Option<&'a str>) -> String {
        format!("http client {}", self.url.split('?').next().unwrap_or_default())
    }

    fn check_start(&self, source: &SourceSpec, origin: &Origin) -> Result<()> {
        let usable = fetch::check(source, self, &origin.dir);
        usable.map_err(|(key, message)| wrong(source, origin, key, message))
    }

    fn start(&self, start: SourceStart<'_>) -> Result<()> {
        let (source, client, from, inbox) =
            (start.source.clone(), self.clone(), start.from.clone(), start.inbox.clone());
        let dir = start.origin.dir.clone();
        receive(&start, async move { fetch::receive(&source, &client, &dir, &from, &inbox).await });
        Ok(())
    }
}

/// Returns whether the source sets this header itself.
fn is_reserved(name: &str) -> bool {
    ["host", "content-length", "transfer-encoding", "connection", "upgrade", "accept-encoding", "last-event-id"]
        .iter()
        .any(|reserved| name.eq_ignore_ascii_case(reserved))
}
