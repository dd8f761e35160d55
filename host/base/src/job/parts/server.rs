//! What must hold of sources that read messages of a server.

use super::PartMistakes;
use crate::job::spec::{ChangesReads, Format, RedisReads, ServerReads, ServerSourceSpec, SourceSpec};
use crate::job::{database, http_url};
use std::collections::BTreeSet;

/// Such a source.
pub(super) fn source(source: &SourceSpec, spec: &ServerSourceSpec, part: &PartMistakes<'_>) {
    match &spec.reads {
        ServerReads::Redis(reads) => redis(&spec.url, reads, part),
        ServerReads::Changes(reads) => return changes(source, &spec.url, reads, part),
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

fn redis(url: &str, reads: &RedisReads, part: &PartMistakes<'_>) {
    if let Err(message) = http_url::begins_with(url, &["redis://", "rediss://"]) {
        part.wrong("url", message);
    }
    names("stream", &reads.streams, part);
}

fn changes(source: &SourceSpec, url: &str, reads: &ChangesReads, part: &PartMistakes<'_>) {
    if let Err(message) = database::check_url(url) {
        part.wrong("url", message);
    }
    names("table", &reads.tables, part);
    for table in &reads.tables {
        if let Err(message) = database::table(table) {
            part.wrong("table", message);
        }
    }
    if reads.publication.as_ref().is_some_and(|name| name.len() > database::NAME_BYTES_MAX || name.contains('\0')) {
        let most = database::NAME_BYTES_MAX;
        part.wrong("publication", format!("`publication` is no name of PostgreSQL's, which have at most {most} bytes"));
    }
    if source.format != Format::Json {
        let word = source.format.word();
        part.wrong("format", format!("rows of tables have no format, and it says `{word}`; remove `format`"));
    }
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
