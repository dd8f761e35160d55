//! What must hold of sources and sinks that speak HTTP.

use super::address;
use crate::job::http_url;
use crate::job::part_mistakes::PartMistakes;
use crate::job::spec::{ClickhouseSinkSpec, HttpServerSpec, HttpSinkSpec, LumberjackSpec, SourceSpec, TlsSpec};
use crate::units;
use std::time::Duration;

/// The longest that a request may take to come in.
const REQUEST_TIME_MAX_MAX: Duration = Duration::from_secs(3600);

/// A source that others POST to.
pub(super) fn source(spec: &SourceSpec, server: &HttpServerSpec, part: &PartMistakes<'_>) {
    address("listen", &server.listen, part);
    if let Some(token) = &server.token {
        token_fits(token, part);
    }
    if server.request_bytes_max > spec.bytes_per_batch_max {
        let most = spec.bytes_per_batch_max;
        let message = format!(
            "`request_bytes_max` is {}, more than `bytes_per_batch_max`, {most}: a request is taken by one batch; lower it, \
             or raise that",
            server.request_bytes_max
        );
        part.wrong(part.place(["request_bytes_max", "bytes_per_batch_max"]), message);
    }
    if server.request_time_max.is_zero() || server.request_time_max > REQUEST_TIME_MAX_MAX {
        let time = units::show_time(server.request_time_max);
        part.wrong("request_time_max", format!("`request_time_max` is {time}; write a time from 1ms to 1h"));
    }
    spec.tls.iter().for_each(|tls| own_certificate(tls, part));
}

/// A source that Beats send to.
pub(super) fn lumberjack(spec: &SourceSpec, lumberjack: &LumberjackSpec, part: &PartMistakes<'_>) {
    address("listen", &lumberjack.listen, part);
    if lumberjack.window_time_max.is_zero() || lumberjack.window_time_max > REQUEST_TIME_MAX_MAX {
        let time = units::show_time(lumberjack.window_time_max);
        part.wrong("window_time_max", format!("`window_time_max` is {time}; write a time from 1ms to 1h"));
    }
    // Senders may have to show certificates, too.
    let shown = spec.tls.as_ref().map(|tls| TlsSpec { ca: None, ..tls.clone() });
    shown.iter().for_each(|tls| own_certificate(tls, part));
}

/// Who listens has a certificate, and looks at nobody's.
pub fn own_certificate(tls: &TlsSpec, part: &PartMistakes<'_>) {
    let (key, why) = match tls {
        tls if tls.ca.is_some() => ("tls.ca", "`tls.ca` is for those that connect to a server"),
        tls if tls.name.is_some() => ("tls.name", "`tls.name` is for those that connect to a server"),
        tls if tls.own.is_none() => ("tls", "`tls` has no certificate that those could see who connect"),
        _ => return,
    };
    part.wrong(key, format!("{why}; write tls = {{ cert = \"own.pem\", key = \"own.key\" }}"));
}

/// A sink that sends requests.
pub(super) fn sink(sink: &HttpSinkSpec, part: &PartMistakes<'_>) {
    if let Err(message) = http_url::check(&sink.url) {
        part.wrong("url", message);
    }
    if let Some(token) = &sink.token {
        token_fits(token, part);
    }
    if sink.timeout.is_zero() || sink.timeout > REQUEST_TIME_MAX_MAX {
        let time = units::show_time(sink.timeout);
        part.wrong("timeout", format!("`timeout` is {time}; write a time from 1ms to 1h"));
    }
    for (key, value) in
        [("rows_per_request_max", sink.rows_per_request_max), ("request_bytes_max", sink.request_bytes_max)]
    {
        if value == 0 {
            part.wrong(key, format!("`{key}` is 0; write at least 1"));
        }
    }
}

/// A sink that writes into a table of ClickHouse.
pub(super) fn clickhouse(spec: &ClickhouseSinkSpec, part: &PartMistakes<'_>) {
    if spec.url.contains('?') {
        part.wrong("url", "`url` is that of the server alone; write it as \"https://host:8443\"");
        return;
    }
    sink(&spec.requests(spec.url.clone()), part);
    let is_name = |name: &str| !name.is_empty() && !name.contains(['`', '\'', '"', '\\', '\0']);
    let names: Vec<&str> = spec.table.split('.').collect();
    if names.len() > 2 || !names.iter().all(|name| is_name(name)) {
        let table = spec.table.escape_debug();
        part.wrong(
            "table",
            format!("`table = \"{table}\"` is not a table; write it as \"counts\" or \"database.counts\""),
        );
    }
    if spec.password.is_some() && spec.user.is_none() {
        part.wrong("password", "`password` is that of `user`, which is missing; write user = \"…\"");
    }
}

/// A token stands in a header, where no other letters may.
pub fn token_fits(token: &str, part: &PartMistakes<'_>) {
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        // It is not repeated: it may be a secret.
        let message = "`token` is empty, or has blanks or letters that no header can have; write visible ASCII letters";
        part.wrong("token", message);
    }
}
