//! What a job file says of sources and sinks that speak HTTP.

use super::tls;
use crate::job::spec::{ClickhouseSinkSpec, HttpBody, HttpSinkSpec, KeyedDocuments, WebsocketSinkSpec};
use crate::job::table::Reader;
use crate::limits;

/// A sink that sends requests.
pub(in crate::job) fn sink(r: &Reader<'_>) -> HttpSinkSpec {
    let example = "url = \"https://host/path\"";
    r.need("url", example);
    let mut spec = HttpSinkSpec::new(r.text("url", example).unwrap_or_default());
    spec.put = r.choice("method", &[("POST", false), ("PUT", true)], &["PATCH"]).unwrap_or(false);
    let text = |key: &str, example: &str| r.text(key, example).map(str::to_owned);
    let forms = [
        ("lines", HttpBody::Lines),
        ("array", HttpBody::Array),
        ("bulk", HttpBody::Bulk { index: text("index", "index = \"events\""), documents: documents(&text) }),
    ];
    let form = r.choice("body", &forms, &["csv", "arrow", "avro"]);
    let known = form.is_some() || !r.has("body");
    spec.body = form.unwrap_or_default();
    for key in ["index", "on_error", "key", "op"].into_iter().filter(|key| r.has(key)) {
        if known && !matches!(spec.body, HttpBody::Bulk { .. }) {
            r.wrong(key, format!("`{key}` is for body = \"bulk\"; write that, or remove `{key}`"));
        }
    }
    if r.has("op") && !r.has("key") {
        r.wrong("op", "`op` needs `key`: a row that deletes says of which key");
    }
    spec.token = text("token", "token = \"${NAME}\"");
    spec.headers = r.headers();
    spec.tls = tls::read(r);
    let rows = r.whole("rows_per_request_max", 1, i64::MAX as u64);
    spec.rows_per_request_max = rows.unwrap_or(spec.rows_per_request_max);
    let bytes = r.size("request_bytes_max", 1, limits::HTTP_REQUEST_BYTES_MAX_MAX);
    spec.request_bytes_max = bytes.unwrap_or(spec.request_bytes_max);
    spec.timeout = r.time("timeout").unwrap_or(spec.timeout);
    spec.wait = r.time("wait").unwrap_or(spec.wait);
    spec.reject = r.choice("on_error", &[("stop", false), ("reject", true)], &["skip", "fail"]).unwrap_or(false);
    spec.parts = super::sink::parts(r);
    spec
}

/// `key` and `op` of a sink with body `bulk`.
fn documents(text: &impl Fn(&str, &str) -> Option<String>) -> Option<KeyedDocuments> {
    let key = text("key", "key = \"order_id\", the name of one column")?;
    Some(KeyedDocuments { key, op: text("op", "op = \"op\", the name of a column") })
}

/// A sink that writes into a table of ClickHouse.
pub(in crate::job) fn clickhouse(r: &Reader<'_>) -> ClickhouseSinkSpec {
    let text = |key: &str, example: &str| {
        r.need(key, example);
        r.text(key, example).unwrap_or_default().to_owned()
    };
    let url = text("url", "url = \"https://host:8443\"");
    let mut spec = ClickhouseSinkSpec::new(url, text("table", "table = \"counts\""));
    spec.user = r.text("user", "user = \"writer\"").map(str::to_owned);
    spec.password = r.text("password", "password = \"${NAME}\"").map(str::to_owned);
    spec.exactly_once = r.flag("exactly_once").unwrap_or(true);
    spec.tls = tls::read(r);
    let rows = r.whole("rows_per_request_max", 1, i64::MAX as u64);
    spec.rows_per_request_max = rows.unwrap_or(spec.rows_per_request_max);
    let bytes = r.size("request_bytes_max", 1, limits::HTTP_REQUEST_BYTES_MAX_MAX);
    spec.request_bytes_max = bytes.unwrap_or(spec.request_bytes_max);
    spec.timeout = r.time("timeout").unwrap_or(spec.timeout);
    spec.wait = r.time("wait").unwrap_or(spec.wait);
    spec
}

/// A sink that listens.
pub(in crate::job) fn websocket(r: &Reader<'_>) -> WebsocketSinkSpec {
    let example = "listen = \"127.0.0.1:8090\"";
    r.need("listen", example);
    let mut spec = WebsocketSinkSpec::new(r.text("listen", example).unwrap_or_default());
    spec.token = r.text("token", "token = \"${NAME}\"").map(str::to_owned);
    spec.origins = r.texts("origins", "origins = \"https://dashboard.example.org\"").unwrap_or_default();
    spec.tls = tls::read(r);
    let clients = r.whole("clients_max", 1, limits::HTTP_CONNECTIONS_MAX_MAX);
    spec.clients_max = clients.unwrap_or(spec.clients_max);
    let rows = r.whole("rows_per_message_max", 1, i64::MAX as u64);
    spec.rows_per_message_max = rows.unwrap_or(spec.rows_per_message_max);
    spec
}
