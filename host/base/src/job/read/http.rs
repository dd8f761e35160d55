//! What a job file says of sources that speak HTTP.

use super::http_client;
use crate::job::spec::{HttpServerSpec, LumberjackSpec, OtlpSignal, SyslogSpec};
use crate::job::table::Reader;
use crate::limits;
use std::time::Duration;
use toml::Value;

/// A source that others POST to.
pub(in crate::job) fn server(r: &Reader<'_>) -> HttpServerSpec {
    let example = "listen = \"127.0.0.1:8080\"";
    r.need(
        "listen",
        &format!("{example} to take what others POST, or url = \"https://host/path\" to read from a server"),
    );
    for key in http_client::KEYS.iter().filter(|key| r.has(key)) {
        r.wrong(
            key,
            format!("`{key}` is for a source that reads from a server; remove it, or write `url` in place of `listen`"),
        );
    }
    let mut spec = HttpServerSpec::new(r.text("listen", example).unwrap_or_default());
    listener(&mut spec, r);
    let producers = r.whole("producers_max", 1, limits::HTTP_PRODUCERS_MAX_MAX);
    spec.producers_max = producers.unwrap_or(spec.producers_max);
    spec
}

/// A source that exporters of OpenTelemetry send to.
pub(in crate::job) fn otlp(r: &Reader<'_>) -> HttpServerSpec {
    let (listen, signals) = ("listen = \"127.0.0.1:4318\"", "signals = [\"logs\", \"metrics\"]");
    r.need("listen", listen);
    let mut chosen = Vec::new();
    for word in r.texts("signals", signals).unwrap_or_default() {
        match OtlpSignal::ALL.into_iter().find(|signal| signal.word() == word) {
            Some(signal) if !chosen.contains(&signal) => chosen.push(signal),
            Some(_) => r.wrong("signals", format!("`signals` names `{word}` twice; remove one")),
            None => {
                let word = word.escape_debug();
                r.wrong("signals", format!("`signals` has `{word}`, which is none of `logs`, `metrics` and `traces`"));
            }
        }
    }
    if r.has("signals") && chosen.is_empty() {
        r.wrong("signals", format!("`signals` names nothing; write {signals}, or remove it to take all"));
    }
    if chosen.is_empty() {
        chosen.extend(OtlpSignal::ALL);
    }
    let mut spec = HttpServerSpec::otlp(r.text("listen", listen).unwrap_or_default(), chosen);
    listener(&mut spec, r);
    spec
}

/// What sources have in common that are sent requests.
fn listener(spec: &mut HttpServerSpec, r: &Reader<'_>) {
    spec.spread = r.flag("spread").unwrap_or(false);
    spec.token = r.text("token", "token = \"${NAME}\"").map(str::to_owned);
    let bytes = r.size("request_bytes_max", 1, limits::HTTP_REQUEST_BYTES_MAX_MAX);
    spec.request_bytes_max = bytes.unwrap_or(spec.request_bytes_max);
    spec.request_time_max = r.time("request_time_max").unwrap_or(spec.request_time_max);
    let connections = r.whole("connections_max", 1, limits::HTTP_CONNECTIONS_MAX_MAX);
    spec.connections_max = connections.unwrap_or(spec.connections_max);
}

/// A source that listens for messages of syslog.
pub(in crate::job) fn syslog(r: &Reader<'_>) -> SyslogSpec {
    let example = "listen = \"0.0.0.0:5514\"";
    r.need("listen", example);
    let protocols = [("both", (true, true)), ("udp", (true, false)), ("tcp", (false, true))];
    let (udp, tcp) = r.choice("protocol", &protocols, &["tls", "unix"]).unwrap_or((true, true));
    let connections_max = r.whole("connections_max", 1, limits::HTTP_CONNECTIONS_MAX_MAX);
    SyslogSpec {
        listen: r.text("listen", example).unwrap_or_default().to_owned(),
        spread: r.flag("spread").unwrap_or(false),
        udp,
        tcp,
        connections_max: connections_max.unwrap_or(limits::HTTP_CONNECTIONS_MAX),
    }
}

/// A source that listens for what Beats send.
pub(in crate::job) fn lumberjack(r: &Reader<'_>) -> LumberjackSpec {
    let example = "listen = \"0.0.0.0:5044\"";
    r.need("listen", example);
    let connections_max = r.whole("connections_max", 1, limits::HTTP_CONNECTIONS_MAX_MAX);
    let window_bytes_max = r.size("window_bytes_max", 1, limits::HTTP_REQUEST_BYTES_MAX_MAX);
    LumberjackSpec {
        listen: r.text("listen", example).unwrap_or_default().to_owned(),
        spread: r.flag("spread").unwrap_or(false),
        window_bytes_max: window_bytes_max.unwrap_or(limits::LUMBERJACK_WINDOW_BYTES_MAX),
        window_time_max: r.time("window_time_max").unwrap_or(Duration::from_millis(limits::LUMBERJACK_WINDOW_MS_MAX)),
        connections_max: connections_max.unwrap_or(limits::HTTP_CONNECTIONS_MAX),
    }
}

/// Headers of requests, by name.
pub(in crate::job) fn headers(r: &Reader<'_>) -> Vec<(String, String)> {
    let example = "headers = { \"X-Key\" = \"${NAME}\" }";
    let Some(inner) = r.inner("headers", example) else { return Vec::new() };
    let header = |(name, value): (&String, &Value)| match value {
        Value::String(text) => Some((name.clone(), text.clone())),
        other => {
            inner.wrong_type(name, other, "text", example);
            None
        }
    };
    inner.table.iter().filter_map(header).collect()
}
