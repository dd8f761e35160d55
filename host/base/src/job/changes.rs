//! Changes of a table on their way to what keeps rows, a sink or a stage: one that does not know what a change does would keep what
//! was deleted.

mod keeper;
pub(super) mod reads;
mod way;

use super::mistakes::Mistakes;
use super::names::stream as part_of;
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
        let OperatorSpec::Latest(LatestSpec { stream, op, .. }) = &stage.operator else { continue };
        let path = format!("stages.{}", stage.name);
        let Some(changes) = changes_in(job, stream, &mut BTreeSet::new()) else { continue };
        let (source, word) = (&changes.source, &changes.op);
        let message = match (op, changes.inner) {
            (None, _) => format!(
                "the rows of `{stream}` are changes of {source}, and the table would keep what was deleted; write op = \"{word}\""
            ),
            (Some(_), Some(inner)) => leaves_out(source, inner),
            (Some(_), None) => continue,
        };
        if !mistakes.within(&path) {
            mistakes.add_new(
                format!("{path}.enrich.stream"),
                &format!("stage `{}`: `enrich.stream`: ", stage.name),
                message,
            );
        }
    }
    latest_without_op(job, mistakes);
    all_without_op(job, mistakes);
    for stage in job.stages.iter().filter(|stage| stage.op.is_some() && is_over_all(stage)) {
        let path = format!("stages.{}", stage.name);
        let needs_whole = !matches!(stage.operator, OperatorSpec::Newest { .. });
        let mut changes = stage.reads().filter_map(|stream| changes_in(job, stream, &mut BTreeSet::new()));
        let Some(changes) = changes.find(|changes| needs_whole && !changes.whole) else { continue };
        if !mistakes.within(&path) {
            let word = &changes.op;
            let message = format!(
                "its rows are changes of {}, where an update does not contain the row that it replaces; put a stage in front that adds it, with \
                 latest = true, op = \"{word}\" and the table's `key`",
                changes.source
            );
            mistakes.add_new(format!("{path}.op"), &format!("stage `{}`: `op`: ", stage.name), message);
        }
    }
    for stage in &job.stages {
        let OperatorSpec::Sql { query, .. } = &stage.operator else { continue };
        let path = format!("stages.{}", stage.name);
        let mut changes = stage.reads().filter_map(|stream| changes_in(job, stream, &mut BTreeSet::new()));
        let Some(changes) = changes.find(|changes| changes.passed && !names(query, &changes.op)) else { continue };
        if !mistakes.within(&path) {
            let (source, word) = (&changes.source, &changes.op);
            let message = format!(
                "rows are changes of {source}, and the query does not look at `{word}`, so rows that are deleted would be like others; put `{word}` \
                 among the columns of a query that processes each row on its own, and write aggregate, join or top with window = \"all\" and \
                 op = \"{word}\" instead of one that groups, joins or sorts"
            );
            mistakes.add_new(format!("{path}.sql"), &format!("stage `{}`: `sql`: ", stage.name), message);
        }
    }
    for sink in &job.sinks {
        let path = format!("sinks.{}", sink.name);
        let fits = sink.kind.changes();
        // The file says that they are wanted, or a program made the job.
        let has_none = matches!(fits, SinkChanges::Rows | SinkChanges::Told);
        if has_none || job.origin.lines.is_empty() || sink.wants_changes || mistakes.within(&path) {
            continue;
        }
        let mut changes = sink.from.iter().filter_map(|stream| changes_in(job, stream, &mut BTreeSet::new()));
        let (key, message) = match fits {
            SinkChanges::Unknown { key, help, appends } => {
                // Rows that a query has chosen by what they did may be all that is wanted where each is one more.
                let Some(changes) = changes.find(|changes| changes.passed || !appends) else { continue };
                let ChangeStream { source, op, says, .. } = &changes;
                let first = match says.contains(op) {
                    true => String::new(),
                    false => format!("put `{op}` among the columns of each stage on the way, and "),
                };
                let message = format!(
                    "its rows are changes of {source}, and it would keep what was deleted; {first}{}, or changes = \"rows\" where each change is \
                     wanted as a row",
                    help.replace("OP", op)
                );
                (key, message)
            }
            _ => {
                let Some((source, inner)) = changes.find_map(|of| Some((of.source, of.inner?))) else { continue };
                ("from", leaves_out(&source, inner))
            }
        };
        mistakes.add_new(format!("{path}.{key}"), &format!("sink `{}`: ", sink.name), message);
    }
    keeper::all(job).iter().for_each(|reader| way::check(job, mistakes, reader));
}

/// Notes stages with `latest` that would keep what was deleted.
fn latest_without_op(job: &JobSpec, mistakes: &Mistakes) {
    for stage in job.stages.iter().filter(|stage| stage.op.is_none()) {
        let OperatorSpec::Newest { .. } = &stage.operator else { continue };
        let path = format!("stages.{}", stage.name);
        let mut changes = stage.from.iter().filter_map(|stream| changes_in(job, stream, &mut BTreeSet::new()));
        let Some(ChangeStream { source, op, .. }) = changes.next() else { continue };
        if !mistakes.within(&path) {
            let message = format!(
                "the rows are changes of {source}, and without `op` it would keep what was deleted; write op = \"{op}\""
            );
            mistakes.add_new(format!("{path}.latest"), &format!("stage `{}`: `latest`: ", stage.name), message);
        }
    }
}

/// Notes stages over all rows that would take each change for one more row. One that looks at what they do counts changes.
fn all_without_op(job: &JobSpec, mistakes: &Mistakes) {
    for stage in job.stages.iter().filter(|stage| stage.op.is_none() && is_over_all(stage)) {
        let counts = |says: &BTreeSet<String>| match &stage.operator {
            OperatorSpec::Aggregate { columns, .. } => {
                stage.key.iter().any(|name| says.contains(name)) || reads::totals(&[], columns).is_made_with(says)
            }
            OperatorSpec::Top { .. } | OperatorSpec::Join(_) => !says.is_empty(),
            _ => true,
        };
        let path = format!("stages.{}", stage.name);
        let mut changes = stage.reads().filter_map(|stream| changes_in(job, stream, &mut BTreeSet::new()));
        let Some(changes) = changes.find(|changes| !counts(&changes.says)) else { continue };
        let (source, word) = (&changes.source, &changes.op);
        let first = match changes.whole {
            true => String::new(),
            false => format!("put a stage in front with latest = true, op = \"{word}\" and the table's `key`, and "),
        };
        if !mistakes.within(&path) {
            let message = format!(
                "its rows are changes of {source}, and without `op` one that deletes would be one more row; {first}write op = \"{word}\" with \
                 `{word}` among the columns that the stage reads, or take `{word}` into the key where changes are counted"
            );
            mistakes.add_new(path, &format!("stage `{}`: ", stage.name), message);
        }
    }
}

/// Notes for each source of changes by which columns of its tables rows are kept.
pub(super) fn note_keys(job: &mut JobSpec) {
    let mut found: Vec<(String, ChangesKey)> = Vec::new();
    for reader in keeper::all(job) {
        for (name, columns) in way::keys(job, &reader) {
            let source = job.sources.iter().find(|source| source.name == name);
            let of_table = |column: &String| {
                let column = source?.schema.iter().find(|own| own.name == *column)?;
                let is_value = column.from == ColumnSource::Value;
                column.place().first().filter(|first| is_value && *first != BEFORE).cloned()
            };
            let columns = columns.iter().filter_map(of_table).collect();
            found.push((name, ChangesKey { who: reader.who.clone(), columns }));
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

/// The first element of the path of a value as it was before a change.
const BEFORE: &str = "before";

/// Whether a query names a column, or all.
fn names(query: &str, column: &str) -> bool {
    let mut before = ' ';
    let mut word = String::new();
    let mut last_word = String::new();
    // Behind the last character something ends.
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
            last_word = std::mem::take(&mut word);
        }
        let begins =
            [',', '.'].contains(&before) || last_word.eq_ignore_ascii_case("select") && before.is_alphanumeric();
        if c == '*' && begins {
            return true;
        }
        if !c.is_whitespace() {
            before = c;
        }
    }
    false
}

/// A row that an inner enrichment leaves out may be the deletion of one that was there.
fn leaves_out(source: &str, inner: &str) -> String {
    format!(
        "the rows are changes of {source}, and stage `{inner}` leaves out those that its table knows nothing of, deletions too, so what was \
         deleted would be kept; take type = \"inner\" out of `{inner}`"
    )
}

/// Whether the rows of a source are changes of a table.
pub fn is_of_changes(source: &SourceSpec) -> bool {
    matches!(&source.kind, SourceKind::Declared(config) if config.are_changes())
}

/// The column that says what a change does.
fn op_of(source: &SourceSpec) -> Option<&str> {
    source.schema.iter().find(|column| column.from == ColumnSource::Op).map(|column| column.name.as_str())
}

/// Changes as they came, perhaps with other columns beside them.
struct ChangeStream<'a> {
    /// What they come from, in words.
    source: String,
    /// The column that says what they do, or did until a list of columns left it out.
    op: String,
    /// The columns that are it, or are computed of it.
    says: BTreeSet<String>,
    /// A stage on their way that leaves some out.
    inner: Option<&'a str>,
    /// What goes is told with all that it held, and before what takes its place.
    whole: bool,
    /// For each row that goes, another of its key comes.
    replaced: bool,
    /// No query has chosen among them by what they do, and left that out.
    passed: bool,
}

impl ChangeStream<'_> {
    fn of(source: String, op: &str, whole: bool) -> Self {
        ChangeStream {
            source,
            op: op.to_owned(),
            says: BTreeSet::from([op.to_owned()]),
            inner: None,
            whole,
            replaced: false,
            passed: true,
        }
    }

    /// Behind a list of columns.
    fn listed(mut self, list: &reads::Projection) -> Self {
        self.op = list.name_of(&self.op).unwrap_or(self.op);
        self.says = list.made_with(&self.says);
        self
    }
}

/// Whether a stage deletes rows that it has put out.
pub fn changes_rows(stage: &StageSpec) -> bool {
    let tells = stage.window.as_ref().is_some_and(|window| window.emit == WindowEmit::Changes);
    is_over_all(stage) && (tells || matches!(stage.operator, OperatorSpec::Top { .. } | OperatorSpec::Join(_)))
        || matches!(stage.operator, OperatorSpec::Newest { .. })
}

fn is_over_all(stage: &StageSpec) -> bool {
    stage.window.as_ref().is_some_and(|window| window.extent == WindowExtent::All)
}

/// The changes that a stream has.
fn changes_in<'a>(job: &'a JobSpec, stream: &str, seen: &mut BTreeSet<String>) -> Option<ChangeStream<'a>> {
    if !seen.insert(stream.to_owned()) {
        return None;
    }
    if let Some(source) = job.sources.iter().find(|source| source.name == stream) {
        let op = op_of(source).filter(|_| is_of_changes(source))?;
        return Some(ChangeStream::of(format!("source `{}`", source.name), op, false));
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

/// Those of the operator of a stage.
fn changes_of<'a>(job: &'a JobSpec, stage: &'a StageSpec, seen: &mut BTreeSet<String>) -> Option<ChangeStream<'a>> {
    if changes_rows(stage) {
        let op = stage.op.as_deref().unwrap_or(OPERATION);
        let changes = ChangeStream::of(format!("stage `{}`", stage.name), op, true);
        let replaced = stage.op.is_none()
            && matches!(stage.operator, OperatorSpec::Newest { .. } | OperatorSpec::Aggregate { .. });
        // The last row of a key is the one that counts then, whatever `select` makes of it.
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

/// Those of a query that looks at each row separately: they stay what they are where it does not pass on what they do.
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
