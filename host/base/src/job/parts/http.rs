//! What must hold of those that speak HTTP.

use super::address;
use crate::job::part_mistakes::PartMistakes;
use crate::job::spec::{HttpServerSpec, LumberjackSpec, SourceSpec, TlsSpec};
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

/// A token stands in a header, where no other letters may.
pub fn token_fits(token: &str, part: &PartMistakes<'_>) {
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        // It is not repeated: it may be a secret.
        let message = "`token` is empty, or has blanks or letters that no header can have; write visible ASCII letters";
        part.wrong("token", message);
    }
}
