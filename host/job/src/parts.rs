//! Checks that several sources, stages and sinks share: addresses, paths, names, times.

mod http;
pub(super) mod records;

pub use http::{server_certificate, token_fits as token};
pub use records::{message, registry};

use super::part_errors::PartErrors;
use super::spec::*;
use millstream_base::units;
use millstream_rows::batch::column::{ColumnSpec, TimeForm};
use millstream_rows::batch::times::check_pattern;
use millstream_rows::batch::types::ColumnType;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// Returns an error if a column's time form is invalid.
pub(super) fn times(column: &ColumnSpec) -> Option<String> {
    let name = column.name.escape_debug();
    if column.kind != ColumnType::Timestamp {
        let zone = column.zone.is_some();
        let what = if zone { "a `zone`" } else { "a time format" };
        return (zone || column.form != TimeForm::Text).then(|| {
            format!("column `{name}` has {what}, which is for timestamps, and it is {}; remove it", column.kind)
        });
    }
    match &column.form {
        TimeForm::Number(unit) if column.zone.is_some() => Some(format!(
            "column `{name}` has a `zone`, but {} since 1970 are the same in all zones; remove it",
            unit.names().1
        )),
        TimeForm::Pattern(pattern) => check_pattern(pattern).err().map(|why| format!("column `{name}`: {why}")),
        TimeForm::Text | TimeForm::Number(_) => None,
    }
}

/// Checks the syntax of `host:port`.
pub fn address(key: &str, text: &str, part: &PartErrors<'_>) {
    if !is_address(text) {
        let message =
            format!("`{key} = \"{text}\"` is not host and port; write it as \"127.0.0.1:9999\" or \"[::1]:9999\"");
        part.wrong(key, message);
    }
}

/// Returns whether the text has the syntax of `host:port`.
pub fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let bracketed = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
        let host = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/');
        let plain = !text.split_once(':').is_some_and(|(_, rest)| rest.contains(':'));
        host && (plain || bracketed) && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

/// Returns an error if a URL has no bucket or server.
pub(super) fn no_bucket(url: &str) -> Option<&'static str> {
    let (scheme, rest) = url.split_once("://")?;
    rest.split('/').next().is_none_or(str::is_empty).then_some(match scheme {
        "hdfs" => "names no server; write hdfs://namenode:8020/dir, or the name service instead of host and port",
        _ => "names no bucket; write s3://bucket/prefix",
    })
}

/// Checks the URL of a prefix in a bucket.
pub fn url_of_bucket(url: &str, part: &PartErrors<'_>) {
    if let Some(nothing) = no_bucket(url) {
        part.wrong("path", format!("`path = \"{url}\"` {nothing}"));
    } else if url.chars().any(char::is_control) {
        part.wrong("path", "`path` must not contain control characters; remove them");
    }
}

/// Checks the path of a local file or directory.
pub fn file_path(key: &str, path: &Path, part: &PartErrors<'_>) {
    let text = path.to_string_lossy();
    if text.is_empty() {
        part.wrong(key, format!("`{key}` is empty; write the path of a file or directory"));
    } else if text.contains('\0') {
        part.wrong(key, format!("`{key}` must not contain NUL; remove it"));
    } else if text.contains("://") {
        part.wrong(
            key,
            match bucket_url(path).is_some() {
                true => format!("`{key} = \"{text}\"` is in a bucket, which only sources of kind `directory` read, and sinks of kind `files` write; write a local path"),
                false => format!("`{key} = \"{text}\"` is a URL, which is not available in this version; write a local path"),
            },
        );
    }
}

pub(super) fn mode(mode: &TableMode, part: &PartErrors<'_>) {
    let TableMode::Upsert { key, .. } = mode else { return };
    if key.is_empty() {
        part.wrong("key", "mode = \"upsert\" needs `key`; write key = \"word\", or key = [\"a\", \"b\"]");
    }
    check_duplicates("key", key, part);
}

/// Checks column names for duplicates.
pub fn check_duplicates(key: &str, names: &[String], part: &PartErrors<'_>) {
    let mut seen = BTreeSet::new();
    for name in names {
        if name.is_empty() {
            part.wrong(key, format!("`{key}` has an empty name; write the name of a column"));
        } else if !seen.insert(name) {
            part.wrong(key, format!("`{key}` names `{name}` twice; remove one"));
        }
    }
}

/// Returns an error if `poll` is too long: more likely a mistake than intended.
pub(super) fn poll_fits(poll: Duration) -> Result<(), String> {
    if poll.is_zero() || poll > Duration::from_secs(3600) {
        return Err(format!("`poll` is {}; write a time from 1ms to 1h", units::show_time(poll)));
    }
    Ok(())
}
