//! What must hold of sources that read messages of a server.

use super::PartMistakes;
use crate::job::http_url;
use crate::job::spec::{Format, KinesisSinkSpec, RedisReads, ServerReads, ServerSourceSpec, SourceSpec};
use std::collections::BTreeSet;

/// Letters of the name of a stream of Kinesis.
const STREAM_BYTES_MAX: usize = 128;

/// Such a source.
pub(super) fn source(source: &SourceSpec, spec: &ServerSourceSpec, part: &PartMistakes<'_>) {
    match &spec.reads {
        ServerReads::Redis(reads) => redis(&spec.url, reads, part),
        ServerReads::Kinesis(reads) => stream(&reads.stream, reads.region.as_deref(), part),
    }
    if spec.reads.are_fields() && source.format != Format::Json {
        let word = source.format.word();
        let message = format!(
            "the fields of an entry are its columns, and the format is `{word}`; name the field that holds such a record, as field = \
             \"data\", or write format = \"json\""
        );
        part.wrong("format", message);
    }
}

/// A sink of kind `kinesis`.
pub(super) fn kinesis_sink(sink: &KinesisSinkSpec, part: &PartMistakes<'_>) {
    stream(&sink.stream, sink.region.as_deref(), part);
    if sink.key.as_ref().is_some_and(String::is_empty) {
        part.wrong("key", "`key` has an empty name; write the name of a column");
    }
}

/// A stream of Kinesis, and its region.
fn stream(name: &str, region: Option<&str>, part: &PartMistakes<'_>) {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if !(1..=STREAM_BYTES_MAX).contains(&name.len()) || !name.bytes().all(good) {
        let shown = name.escape_debug();
        let hint = match name.starts_with("arn:") {
            true => "write the name that it ends with, and its region as `region`".to_owned(),
            false => format!("names are of up to {STREAM_BYTES_MAX} letters, digits, `.`, `_` and `-`"),
        };
        part.wrong("stream", format!("`{shown}` is no name of a stream; {hint}"));
    }
    if let Some(region) = region
        .filter(|region| region.is_empty() || !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'))
    {
        part.wrong("region", format!("`{}` is no region; write one as \"eu-west-1\"", region.escape_debug()));
    }
}

fn redis(url: &str, reads: &RedisReads, part: &PartMistakes<'_>) {
    if let Err(message) = http_url::begins_with(url, &["redis://", "rediss://"]) {
        part.wrong("url", message);
    }
    names("stream", &reads.streams, part);
}

/// Names of what is read, each of which is a partition.
fn names(key: &str, names: &[String], part: &PartMistakes<'_>) {
    let mut seen = BTreeSet::new();
    for name in names {
        if name.is_empty() || name.chars().any(char::is_control) {
            part.wrong(key, format!("`{}` is no name; write one of visible characters", name.escape_debug()));
        } else if !seen.insert(name) {
            part.wrong(key, format!("`{key}` names `{name}` twice; remove one"));
        }
    }
}
