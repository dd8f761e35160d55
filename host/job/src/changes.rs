//! Checks the changes of a table on their way to a sink or stage that keeps rows: one that ignores the operation of a change would keep deleted
//! rows.

mod keeper;
pub(super) mod reads;
mod paths;

use super::errors::JobErrors;
use super::names::stream as part_of;
use super::spec::*;
use millstream_rows::batch::column::ColumnSource;
use std::collections::BTreeSet;

/// Adds errors for sources that do not have the operation of a change, and for sinks and stages that would ignore it.
pub(super) fn check(job: &JobSpec, errors: &JobErrors) {
    for source in job.sources.iter().filter(|source| is_of_changes(source)) {
        let path = format!("sources.{}", source.name);
        if op_of(source).is_none() && !errors.within(&path) {
            let message = "without it an insert and a delete look the same: add a column with the operation, for \
                           example op = { type = \"text\", from = \"op\" }";
            errors.add_new(format!("{path}.schema"), &format!("source `{}`: `schema`: ", source.name), message);
        }
    }
    for stage in &job.stages {
        let OperatorSpec::Latest(LatestSpec { stream, op, .. }) = &stage.operator else { continue };
        let path = format!("stages.{}", stage.name);
        let Some(changes) = changes_in(job, stream, &mut BTreeSet::new()) else { continue };
        let (source, word) = (&changes.source, &changes.op);
        let message = match (op, changes.inner) {
            (None, _) => format!(
                "the rows of `{stream}` are changes of {source}, and the table would keep deleted rows; write op = \
                \"{word}\""
            ),
            (Some(_), Some(inner)) => leaves_out(source, inner),
            (Some(_), None) => continue,
        };
        if !errors.within(&path) {
            errors.add_new(
                format!("{path}.enrich.stream"),
                &format!("stage `{}`: `enrich.stream`: ", stage.name),
                message,
            );
        }
    }
    latest_without_op(job, errors);
    all_without_op(job, errors);
    for stage in job.stages.iter().filter(|stage| stage.op.is_some() && is_over_all(stage)) {
        let path = format!("stages.{}", stage.name);
        let needs_complete = !matches!(stage.operator, OperatorSpec::Newest { .. });
        let mut changes = stage.reads().filter_map(|stream| changes_in(job, stream, &mut BTreeSet::new()));
        let Some(changes) = changes.find(|changes| needs_complete && !changes.is_complete) else { continue };
        if !errors.within(&path) {
            let word = &changes.op;
            let message = format!(
                "its rows are changes of {}, and an update does not contain the row that it replaces; put a stage in front that adds it, with \
                 latest = true, op = \"{word}\" and the table's `key`",
                changes.source
            );
            errors.add_new(format!("{path}.op"), &format!("stage `{}`: `op`: ", stage.name), message);
        }
    }
    for stage in &job.stages {
        let OperatorSpec::Sql { query, .. } = &stage.operator else { continue };
        let path = format!("stages.{}", stage.name);
        let mut changes = stage.reads().filter_map(|stream| changes_in(job, stream, &mut BTreeSet::new()));
        let Some(changes) = changes.find(|changes| changes.passed && !names(query, &changes.op)) else { continue };
        if !errors.within(&path) {
            let (source, word) = (&changes.source, &changes.op);
            let message = format!(
                "rows are changes of {source}, but the query does not use `{word}`, so deleted rows would look like \
                 others; put `{word}` among the columns of a query that processes each row on its own, and write \
                 aggregate, join or top with window = \"all\" and op = \"{word}\" instead of a query that groups, \
                 joins or sorts"
            );
            errors.add_new(format!("{path}.sql"), &format!("stage `{}`: `sql`: ", stage.name), message);
        }
    }
    for sink in &job.sinks {
        let path = format!("sinks.{}", sink.name);
        let fits = sink.kind.changes();
        // The file requests them, or a program built the job.
        let has_none = matches!(fits, SinkChanges::Rows | SinkChanges::PassedOn);
        if has_none || job.origin.lines.is_empty() || sink.wants_changes || errors.within(&path) {
            continue;
        }
        let mut changes = sink.from.iter().filter_map(|stream| changes_in(job, stream, &mut BTreeSet::new()));
        let (key, message) = match fits {
            SinkChanges::Unknown { key, help, appends } => {
                // If each row is a new one, rows that a query has chosen by their operation may be all that is wanted.
                let Some(changes) = changes.find(|changes| changes.passed || !appends) else { continue };
                let ChangeStream { source, op, op_columns, .. } = &changes;
                let first = match op_columns.contains(op) {
                    true => String::new(),
                    false => format!("put `{op}` among the columns of each stage on the way, and "),
                };
                let message = format!(
                    "its rows are changes of {source}, and it would keep deleted rows; {first}{}, or changes = \
                     \"rows\" to write each change as a row",
                    help.replace("OP", op)
                );
                (key, message)
            }
            _ => {
                let Some((source, inner)) = changes.find_map(|of| Some((of.source, of.inner?))) else { continue };
                ("from", leaves_out(&source, inner))
            }
        };
        errors.add_new(format!("{path}.{key}"), &format!("sink `{}`: ", sink.name), message);
    }
    keeper::all(job).iter().for_each(|reader| paths::check(job, errors, reader));
}

/// Adds errors for stages with `latest` that would keep deleted rows.
fn latest_without_op(job: &JobSpec, errors: &JobErrors) {
    for stage in job.stages.iter().filter(|stage| stage.op.is_none()) {
        let OperatorSpec::Newest { .. } = &stage.operator else { continue };
        let path = format!("stages.{}", stage.name);
        let mut changes = stage.from.iter().filter_map(|stream| changes_in(job, stream, &mut BTreeSet::new()));
        let Some(ChangeStream { source, op, .. }) = changes.next() else { continue };
        if !errors.within(&path) {
            let message = format!(
                "the rows are changes of {source}, and without `op` it would keep deleted rows; write op = \"{op}\""
            );
            errors.add_new(format!("{path}.latest"), &format!("stage `{}`: `latest`: ", stage.name), message);
        }
    }
}

/// Adds errors for stages over all rows that would count each change as a new row. One that reads the operation counts changes on purpose.
fn all_without_op(job: &JobSpec, errors: &JobErrors) {
    for stage in job.stages.iter().filter(|stage| stage.op.is_none() && is_over_all(stage)) {
        let counts = |op_columns: &BTreeSet<String>| match &stage.operator {
            OperatorSpec::Aggregate { columns, .. } => {
                stage.key.iter().any(|name| op_columns.contains(name))
                    || reads::totals(&[], columns).depends_on(op_columns)
            }
            OperatorSpec::Top { .. } | OperatorSpec::Join(_) => !op_columns.is_empty(),
            _ => true,
        };
        let path = format!("stages.{}", stage.name);
        let mut changes = stage.reads().filter_map(|stream| changes_in(job, stream, &mut BTreeSet::new()));
        let Some(changes) = changes.find(|changes| !counts(&changes.op_columns)) else { continue };
        let (source, word) = (&changes.source, &changes.op);
        let first = match changes.is_complete {
            true => String::new(),
            false => format!("put a stage in front with latest = true, op = \"{word}\" and the table's `key`, and "),
        };
        if !errors.within(&path) {
            let message = format!(
                "its rows are changes of {source}, and without `op` a delete would be one more row; {first}write op \
                 = \"{word}\" with `{word}` among the columns that the stage reads, or add `{word}` to the key to \
                 count changes"
            );
            errors.add_new(path, &format!("stage `{}`: ", stage.name), message);
        }
    }
}

/// Passes to each source of changes the columns by which rows of its tables are kept.
pub(super) fn note_keys(job: &mut JobSpec) {
    let mut found: Vec<(String, ChangesKey)> = Vec::new();
    for reader in keeper::all(job) {
        for (name, columns) in paths::keys(job, &reader) {
            let source = job.sources.iter().find(|source| source.name == name);
            let of_table = |column: &String| {
                let column = source?.schema.iter().find(|own| own.name == *column)?;
                let is_value = column.from == ColumnSource::Value;
                column.value_path().first().filter(|first| is_value && *first != BEFORE).cloned()
            };
            let columns = columns.iter().filter_map(of_table).collect();
            found.push((name, ChangesKey { who: reader.description.clone(), columns }));
        }
    }
    for (name, key) in found {
        let source = job.sources.iter_mut().find(|source| source.name == name);
        if let Some(SourceKind::Declared(config)) = source.map(|source| &mut source.kind)
            && let Some(keeping) = config.keeping(&key)
        {
            *config = keeping;
        }
    }
}

/// The first element of the path of a value before a change.
const BEFORE: &str = "before";

/// Returns whether a query names a column, or all columns.
fn names(query: &str, column: &str) -> bool {
    let mut before = ' ';
    let mut word = String::new();
    let mut last_name = String::new();
    // The space ends the last name.
    for c in query.chars().chain([' ']) {
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
            before = c;
            continue;
        }
        if !word.is_empty() {
            if word == column {
                return true;
            }
            last_name = std::mem::take(&mut word);
        }
        let begins =
            [',', '.'].contains(&before) || last_name.eq_ignore_ascii_case("select") && before.is_alphanumeric();
        if c == '*' && begins {
            return true;
        }
        if !c.is_whitespace() {
            before = c;
        }
    }
    false
}

/// A row that an inner enrichment omits may be the deletion of an earlier one.
fn leaves_out(source: &str, inner: &str) -> String {
    format!(
        "the rows are changes of {source}, and stage `{inner}` drops changes of rows that are not in its table, \
         deletions too, so deleted rows would be kept; remove type = \"inner\" from `{inner}`"
    )
}

/// Returns whether the rows of a source are changes of a table.
pub fn is_of_changes(source: &SourceSpec) -> bool {
    matches!(&source.kind, SourceKind::Declared(config) if config.are_changes())
}

/// Returns the column with the operation of a change.
fn op_of(source: &SourceSpec) -> Option<&str> {
    source.schema.iter().find(|column| column.from == ColumnSource::Op).map(|column| column.name.as_str())
}

/// Unmodified changes, possibly with additional columns.
struct ChangeStream<'a> {
    /// Their origin, for messages.
    source: String,
    /// The column with their operation, or its former name if a list of columns omitted it.
    op: String,
    /// The columns that are this column, or are computed from it.
    op_columns: BTreeSet<String>,
    /// A stage before that omits some.
    inner: Option<&'a str>,
    /// A deletion has all columns of the old row, and comes before the row that replaces it.
    is_complete: bool,
    /// Each deleted row is replaced by another one of its key.
    replaced: bool,
    /// No query has selected changes by their operation and then omitted it.
    passed: bool,
}

impl ChangeStream<'_> {
    fn new(source: String, op: &str, is_complete: bool) -> Self {
        ChangeStream {
            source,
            op: op.to_owned(),
            op_columns: BTreeSet::from([op.to_owned()]),
            inner: None,
            is_complete,
            replaced: false,
            passed: true,
        }
    }

    /// Returns the changes after a list of columns.
    fn listed(mut self, list: &reads::Projection) -> Self {
        self.op = list.name_of(&self.op).unwrap_or(self.op);
        self.op_columns = list.depending_on(&self.op_columns);
        self
    }
}

/// Returns whether a stage deletes rows that it has emitted.
pub fn changes_rows(stage: &StageSpec) -> bool {
    let has_op = stage.window.as_ref().is_some_and(|window| window.emit == WindowEmit::Changes);
    is_over_all(stage) && (has_op || matches!(stage.operator, OperatorSpec::Top { .. } | OperatorSpec::Join(_)))
        || matches!(stage.operator, OperatorSpec::Newest { .. })
}

fn is_over_all(stage: &StageSpec) -> bool {
    stage.window.as_ref().is_some_and(|window| window.extent == WindowExtent::All)
}

/// Returns the changes in a stream.
fn changes_in<'a>(job: &'a JobSpec, stream: &str, seen: &mut BTreeSet<String>) -> Option<ChangeStream<'a>> {
    if !seen.insert(stream.to_owned()) {
        return None;
    }
    if let Some(source) = job.sources.iter().find(|source| source.name == stream) {
        let op = op_of(source).filter(|_| is_of_changes(source))?;
        return Some(ChangeStream::new(format!("source `{}`", source.name), op, false));
    }
    let (part, side) = part_of(stream);
    let stage = job.stages.iter().find(|stage| stage.name == part)?;
    if side.is_some()
        && !matches!(&stage.operator, OperatorSpec::Split(branches) if branches.iter().any(|(name, _)| Some(name.as_str()) == side))
    {
        return None;
    }
    let changes = changes_of(job, stage, seen)?;
    match (&stage.select, side) {
        (Some(text), None) => Some(match reads::projection(text) {
            Some(list) => changes.listed(&list),
            None => changes,
        }),
        _ => Some(changes),
    }
}

/// Returns the changes that a stage's operator emits.
fn changes_of<'a>(job: &'a JobSpec, stage: &'a StageSpec, seen: &mut BTreeSet<String>) -> Option<ChangeStream<'a>> {
    if changes_rows(stage) {
        let op = stage.op.as_deref().unwrap_or(OPERATION);
        let changes = ChangeStream::new(format!("stage `{}`", stage.name), op, true);
        let replaced = stage.op.is_none()
            && matches!(stage.operator, OperatorSpec::Newest { .. } | OperatorSpec::Aggregate { .. });
        // The last row of a key wins then, whatever `select` does with it.
        return (!replaced || stage.select.is_none()).then_some(ChangeStream { replaced, ..changes });
    }
    let kind = match &stage.operator {
        operator if operator.passes_rows() => JoinKind::Left,
        OperatorSpec::Sql { query, .. } => return changes_of_query(job, query, seen),
        OperatorSpec::Enrich(enrich) => enrich.kind,
        OperatorSpec::Latest(latest) => latest.kind,
        _ => return None,
    };
    let changes = stage.from.iter().find_map(|stream| changes_in(job, stream, seen))?;
    let inner = (kind == JoinKind::Inner).then_some(stage.name.as_str());
    Some(ChangeStream { inner: changes.inner.or(inner), ..changes })
}

/// Returns the changes that a query over single rows emits: they remain changes if it does not pass on their operation.
fn changes_of_query<'a>(job: &'a JobSpec, query: &str, seen: &mut BTreeSet<String>) -> Option<ChangeStream<'a>> {
    let query = reads::row_query(query)?.ok()?;
    let changes = changes_in(job, &query.stream, seen)?;
    let passes = query.projection.origin(&changes.op) == Some(reads::Origin::Column(changes.op.clone()));
    (passes || !changes.replaced)
        .then(|| ChangeStream { passed: changes.passed && passes, ..changes.listed(&query.projection) })
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_query_names_a_column_or_all() {
        for query in [
            "select a, op from t",
            "select * from t",
            "select a, t.* from t",
            "select a from t where op='x'",
            "select a,*from t",
        ] {
            assert!(names(query, "op"), "{query}");
        }
        for query in [
            "select count(*) from t",
            "select a * 2 as b from t",
            "select opt from t",
            "select distinct a from t",
            "select (a)*2",
        ] {
            assert!(!names(query, "op"), "{query}");
        }
    }
}
