//! What must hold of sources and sinks that speak HTTP.

use super::address;
use crate::job::http_url;
use crate::job::part_mistakes::PartMistakes;
use crate::job::spec::{ClickhouseSinkSpec, HttpSinkSpec, TlsSpec, WebsocketSinkSpec};
use crate::units;
use std::time::Duration;

/// The longest that a request may take to come in.
const REQUEST_TIME_MAX_MAX: Duration = Duration::from_secs(3600);

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

/// A sink that listens.
pub(super) fn websocket(sink: &WebsocketSinkSpec, part: &PartMistakes<'_>) {
    address("listen", &sink.listen, part);
    if let Some(token) = &sink.token {
        token_fits(token, part);
    }
    sink.tls.iter().for_each(|tls| own_certificate(tls, part));
    for (key, value) in [("clients_max", sink.clients_max), ("rows_per_message_max", sink.rows_per_message_max)] {
        if value == 0 {
            part.wrong(key, format!("`{key}` is 0; write at least 1"));
        }
    }
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
