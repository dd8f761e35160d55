//! Changes of a table on their way to what keeps rows, a sink or a stage: one that does not know what a change does would keep what
//! was deleted.

use super::mistakes::Mistakes;
use super::spec::*;
use std::collections::BTreeSet;

/// Notes which sources do not say what a change does, and which sinks and stages would not understand it.
pub(super) fn check(job: &JobSpec, mistakes: &Mistakes) {
    for source in job.sources.iter().filter(|source| is_of_changes(source)) {
        let path = format!("sources.{}", source.name);
        if op_of(source).is_none() && !mistakes.within(&path) {
            let message = "without it an insert and a delete look alike: add a column that says what a change does, as op = { type = \"text\", \
                           from = \"op\" }";
            mistakes.add_new(format!("{path}.schema"), &format!("source `{}`: `schema`: ", source.name), message);
        }
    }
    for stage in &job.stages {
        let OperatorSpec::Latest(LatestSpec { stream, op: None, .. }) = &stage.operator else { continue };
        let path = format!("stages.{}", stage.name);
        let Some((source, op)) = changes_in(job, stream, &mut BTreeSet::new()) else { continue };
        if !mistakes.within(&path) {
            let message = format!(
                "the rows of `{stream}` are changes of source `{source}`, and the table would keep what was deleted; write op = \"{op}\""
            );
            mistakes.add_new(
                format!("{path}.enrich.stream"),
                &format!("stage `{}`: `enrich.stream`: ", stage.name),
                message,
            );
        }
    }
    for sink in &job.sinks {
        let path = format!("sinks.{}", sink.name);
        let Some((key, help)) = keeps(&sink.kind) else { continue };
        // The file says that they are wanted, or a program made the job.
        if job.origin.lines.is_empty()
            || job.origin.lines.contains_key(&format!("{path}.changes"))
            || mistakes.within(&path)
        {
            continue;
        }
        let Some((source, op)) = sink.from.iter().find_map(|stream| changes_in(job, stream, &mut BTreeSet::new()))
        else {
            continue;
        };
        let message = format!(
            "its rows are changes of source `{source}`, and it would keep what was deleted; {}, or changes = \"rows\" where each change is \
             wanted as a row",
            help.replace("OP", op)
        );
        mistakes.add_new(format!("{path}.{key}"), &format!("sink `{}`: ", sink.name), message);
    }
}

fn is_of_changes(source: &SourceSpec) -> bool {
    matches!(&source.kind, SourceKind::Server(server) if matches!(server.reads, ServerReads::Changes(_)))
}

/// The column that says what a change does.
fn op_of(source: &SourceSpec) -> Option<&str> {
    source.schema.iter().find(|column| column.from == ColumnSource::Op).map(|column| column.name.as_str())
}

/// Where a sink keeps rows and does not know what they do: the key that is missing or wrong, and what to write.
fn keeps(sink: &SinkKind) -> Option<(&'static str, &'static str)> {
    match sink {
        SinkKind::Files { layout, .. } if layout.delta => Some((
            "from",
            "as rows of a table of Delta are only added here; write to a `postgres` or `kafka` sink with op = \"OP\"",
        )),
        SinkKind::Files { .. } => Some(("from", "write to a `postgres` or `kafka` sink with op = \"OP\"")),
        SinkKind::Postgres { mode: TableMode::Append, .. } => {
            Some(("mode", "write mode = \"upsert\" with the table's `key` and op = \"OP\""))
        }
        SinkKind::Postgres { mode: TableMode::Upsert { op: None, .. }, .. } => Some(("mode", "write op = \"OP\"")),
        SinkKind::Kafka(kafka) if kafka.op.is_none() && kafka.tombstones.is_none() => {
            Some(("topic", "write op = \"OP\" and the `key` of records"))
        }
        SinkKind::Http(HttpSinkSpec { body: HttpBody::Bulk { documents, .. }, .. }) => {
            let knows = documents.as_ref().is_some_and(|documents| documents.op.is_some());
            (!knows).then_some(("body", "write op = \"OP\" and the `key` of documents"))
        }
        _ => None,
    }
}

/// The source whose changes a stream has as they came, perhaps with other columns beside them, and its column that says what they do.
fn changes_in<'a>(job: &'a JobSpec, stream: &str, seen: &mut BTreeSet<String>) -> Option<(&'a str, &'a str)> {
    if !seen.insert(stream.to_owned()) {
        return None;
    }
    if let Some(source) = job.sources.iter().find(|source| source.name == stream) {
        return op_of(source).filter(|_| is_of_changes(source)).map(|op| (source.name.as_str(), op));
    }
    let stage = job.stages.iter().find(|stage| stage.name == stream)?;
    let passes = matches!(stage.operator, OperatorSpec::Union | OperatorSpec::Enrich(_) | OperatorSpec::Latest(_));
    passes.then_some(())?;
    stage.from.iter().find_map(|stream| changes_in(job, stream, seen))
}
