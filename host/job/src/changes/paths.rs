//! Checks the stages between changes and the keeper of rows. Raw changes, as a database logs them, do not contain the row that they replace or
//! delete: an update has the new row, a delete the key. So a stage must select them only by the key, or rows selected before would be kept. Complete
//! changes contain the old row, and a condition on its values treats insert and delete alike.
//!
//! Columns have other names in stages between, and may be computed from others. So the path is traversed back first, to see what the source's
//! columns mean for the reader: its key and operation. Then it is traversed forward, to see which columns of each stream consist of these alone.

mod columns;

use super::keeper::Keeper;
use super::reads::{self, Origin, Projection, Reads};
use super::{changes_in, changes_rows, is_of_changes, is_over_all, op_of};
use crate::errors::JobErrors;
use crate::names;
use crate::spec::*;
use columns::{columns_of_source, constant_columns};
use std::collections::{BTreeMap, BTreeSet};

/// Maximum streams with different needs that are visited for one reader: a job may have very many paths.
const LOOKED_AT_MAX: usize = 10_000;

/// Message for a string that is not analyzed.
const UNREAD: &str = "its brackets are nested too deeply, or it cannot be parsed, so its input columns are unknown";

/// What the rows of a stream say about the rows that they replace or delete. `None` if they are not changes.
type Content = Option<Changes>;

/// Changes, and what is known about their columns.
#[derive(Clone, Debug, PartialEq)]
struct Changes {
    /// Their origin, for example ``source `orders` ``.
    origin: String,
    /// They certainly are changes; otherwise they are assumed to be, as the reader treats them so.
    certain: bool,
    /// They have only the key of the old row.
    raw: bool,
    /// The columns that conditions may read; `None`: all.
    allowed: Option<AllowedColumns>,
    /// The columns whose value differs between a row's deletion and its insertion, and the function that causes it.
    volatile: BTreeMap<String, String>,
}

/// Columns for which all changes of a row, or none, fulfill a condition.
#[derive(Clone, Debug, PartialEq)]
struct AllowedColumns {
    /// All changes of a row have the same values in them: its key, its table.
    alike: BTreeSet<String>,
    /// They have the operation of a change.
    op_columns: BTreeSet<String>,
}

/// The reader's key and operation, as columns of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Meaning {
    /// The columns of the key that the stream has unchanged.
    key: BTreeSet<String>,
    /// Whether that is the complete key.
    complete_key: bool,
    /// The column with the operation.
    op: Option<String>,
    /// Columns from which parts of the key are computed.
    key_inputs: BTreeSet<String>,
    /// Columns with the operation in another spelling.
    spelled: BTreeSet<String>,
    /// Columns from which the operation is computed.
    op_inputs: BTreeSet<String>,
    /// Whether an unknown source is assumed to have changes if it has these columns.
    demands: bool,
    /// Whether a plugin, or something that cannot be analyzed, may have computed the operation from anything.
    opaque: bool,
}

/// The paths of changes to one reader.
pub(super) struct ChangePaths<'a> {
    job: &'a JobSpec,
    errors: &'a JobErrors,
    reader: &'a Keeper<'a>,
    known: BTreeMap<(String, Meaning), Content>,
    /// Sources of raw changes, with their columns that are the reader's key.
    keys: Vec<(String, BTreeSet<String>)>,
}

/// Returns the sources whose raw changes a reader keeps, with the columns by which it does.
pub(super) fn keys(job: &JobSpec, reader: &Keeper<'_>) -> Vec<(String, BTreeSet<String>)> {
    followed(job, &JobErrors::default(), reader)
}

/// Adds errors for stages before a reader that select changes by something that these do not contain.
pub(super) fn check(job: &JobSpec, errors: &JobErrors, reader: &Keeper<'_>) {
    followed(job, errors, reader);
}

fn followed(job: &JobSpec, errors: &JobErrors, reader: &Keeper<'_>) -> Vec<(String, BTreeSet<String>)> {
    let mut paths = ChangePaths { job, errors, reader, known: BTreeMap::new(), keys: Vec::new() };
    let meaning = Meaning {
        key: reader.key.iter().map(|name| (*name).clone()).collect(),
        complete_key: true,
        op: Some(reader.op.to_owned()),
        demands: true,
        ..Meaning::default()
    };
    for stream in &reader.streams {
        paths.stream(stream, &meaning);
    }
    paths.keys
}

impl ChangePaths<'_> {
    fn stream(&mut self, stream: &str, meaning: &Meaning) -> Content {
        let visit = (stream.to_owned(), meaning.clone());
        if let Some(known) = self.known.get(&visit) {
            return known.clone();
        }
        if self.known.len() > LOOKED_AT_MAX {
            return None;
        }
        // A cycle has nothing to find.
        self.known.insert(visit.clone(), None);
        let (part, side) = names::stream(stream);
        let content = match (self.job.sources.iter().find(|source| source.name == part), side) {
            (Some(source), None) => self.source(source, meaning),
            _ => match self.job.stages.iter().find(|stage| stage.name == part) {
                Some(stage) if side == Some("late") => self.late(stage, meaning),
                Some(stage) if side != Some("rejected") => self.stage(stage, side, meaning),
                _ => None,
            },
        };
        self.known.insert(visit, content.clone());
        content
    }

    fn streams<'s>(&mut self, streams: impl IntoIterator<Item = &'s String>, meaning: &Meaning) -> Content {
        streams.into_iter().fold(None, |all, stream| both(all, self.stream(stream, meaning)))
    }

    fn source(&mut self, source: &SourceSpec, meaning: &Meaning) -> Content {
        let origin = format!("source `{}`", source.name);
        if let Some(op) = op_of(source).filter(|_| is_of_changes(source)) {
            self.keys.push((source.name.clone(), meaning.key.union(&meaning.key_inputs).cloned().collect()));
            self.follows(&origin, op, meaning);
            let alike = constant_columns(source).into_iter().chain(meaning.key.iter().cloned()).collect();
            // Another check rejects raw changes there.
            let allowed = (!self.reader.wants_complete)
                .then(|| AllowedColumns { alike, op_columns: BTreeSet::from([op.to_owned()]) });
            return Some(Changes { origin, certain: true, raw: true, allowed, volatile: BTreeMap::new() });
        }
        let columns = columns_of_source(source);
        let has = |name: &String| columns.as_ref().is_none_or(|columns| columns.contains(name));
        let op_columns = meaning.op.iter().chain(&meaning.spelled).chain(&meaning.op_inputs).any(has);
        let mut changes = self.assume_changes(origin, meaning.demands && op_columns, meaning)?;
        if let Some(allowed) = &mut changes.allowed {
            allowed.alike.extend(constant_columns(source));
        }
        Some(changes)
    }

    /// Adds an error for a reader whose operation is not computed from the column with the operation of changes.
    fn follows(&self, origin: &str, op: &str, meaning: &Meaning) {
        let mut op_columns = meaning.op.iter().chain(&meaning.spelled).chain(&meaning.op_inputs);
        if meaning.opaque || op_columns.any(|name| name == op) {
            return;
        }
        let (reader, own) = (&self.reader.description, self.reader.op);
        let message = format!(
            "the rows are changes of {origin}, whose column `{op}` says what they do, and `{own}` is not computed \
             from it, so deleted rows would be kept; put `{op}` among the columns of each stage on the way, and \
             compute `{own}` from it"
        );
        self.errors.add_new(self.reader.path.clone(), &format!("{reader}: "), message);
    }

    /// Returns the changes that are assumed because the reader treats the rows as changes.
    fn assume_changes(&self, origin: String, demanded: bool, meaning: &Meaning) -> Content {
        let raw = !self.reader.wants_complete;
        let allowed = raw.then(|| AllowedColumns {
            alike: meaning.key.clone(),
            op_columns: meaning.op.iter().chain(&meaning.spelled).cloned().collect(),
        });
        demanded.then(|| Changes { origin, certain: false, raw, allowed, volatile: BTreeMap::new() })
    }

    fn stage(&mut self, stage: &StageSpec, side: Option<&str>, meaning: &Meaning) -> Content {
        // Branches have all columns of the operator, and do not pass `filter`.
        let shape = side.is_none();
        let select = stage.select.as_deref().filter(|_| shape);
        let list = select.map(reads::projection);
        let inner = match &list {
            None => meaning.clone(),
            Some(Some(list)) => meaning.before(list),
            Some(None) => Meaning { opaque: true, ..Meaning::default() },
        };
        let content = self.operator(stage, side, &inner);
        if let Some(text) = stage.filter.as_deref().filter(|_| shape) {
            self.condition(stage, "filter", text, &content, &inner);
        }
        match &list {
            None => content,
            Some(list) => self.listed(stage, "select", list.as_ref(), content, (meaning, &inner)),
        }
    }

    /// Returns the rows of a list of columns. `meaning` applies to the list's output and to its input.
    fn listed(
        &self,
        stage: &StageSpec,
        key: &str,
        list: Option<&Projection>,
        content: Content,
        (meaning, inner): (&Meaning, &Meaning),
    ) -> Content {
        let changes = content?;
        let why = match list {
            None => Some(UNREAD),
            Some(list) if list.unnests => Some("`unnest` emits no row for a delete, which has only its key"),
            Some(_) => None,
        };
        if let Some(why) = why.filter(|_| changes.raw) {
            self.note(stage, key, &changes, inner, why);
        }
        Some(changes.listed(list, meaning))
    }

    /// Returns the rows of an operator, before `filter` and `select`.
    fn operator(&mut self, stage: &StageSpec, side: Option<&str>, meaning: &Meaning) -> Content {
        let origin = format!("stage `{}`", stage.name);
        if changes_rows(stage) {
            self.follows(&origin, stage.op.as_deref().unwrap_or(OPERATION), meaning);
            return Some(Changes { origin, certain: true, raw: false, allowed: None, volatile: BTreeMap::new() });
        }
        match &stage.operator {
            OperatorSpec::Union => self.passed(stage, meaning),
            OperatorSpec::Enrich(_) | OperatorSpec::Latest(_) => self.enriched(stage, meaning),
            OperatorSpec::Split(branches) => {
                let content = self.passed(stage, meaning);
                // A row of a branch does not fulfill the earlier conditions.
                let end = branches.iter().position(|(name, _)| Some(name.as_str()) == side);
                for (name, text) in branches.iter().take(end.map_or(branches.len(), |end| end + 1)) {
                    self.condition(stage, &format!("split.{name}"), text, &content, meaning);
                }
                content
            }
            OperatorSpec::Repartition { .. } => self.repartitioned(stage, meaning),
            OperatorSpec::Distinct(_) => self.chosen(
                stage,
                meaning,
                "distinct",
                "it drops changes of different rows",
                "use an aggregate with window = \"all\" instead",
            ),
            OperatorSpec::Deduplicate { .. } => self.chosen(
                stage,
                meaning,
                "deduplicate",
                "it drops all but the first change of a key",
                "remove `deduplicate`, as a stage with `latest` emits only what changes",
            ),
            OperatorSpec::Sample(_) => self.chosen(
                stage,
                meaning,
                "sample",
                "it may keep an insert and drop the delete of the same row",
                "use a condition on the key instead",
            ),
            OperatorSpec::Top { .. } => self.chosen(
                stage,
                meaning,
                "top",
                "it takes the first changes of each batch",
                "add window = \"all\" and `op` to this stage",
            ),
            OperatorSpec::Sql { query, .. } => self.query(stage, query, meaning),
            OperatorSpec::Join(_) => self.joined(stage, meaning),
            OperatorSpec::Aggregate { columns, .. } => self.aggregated(stage, columns, meaning),
            // A transform has no key. It may pass changes on.
            OperatorSpec::Plugin(_) if stage.key.is_empty() && stage.window.is_none() => {
                let before = Meaning { demands: false, opaque: true, ..meaning.clone() };
                self.streams(&stage.from, &before).or_else(|| self.assume_changes(origin, meaning.demands, meaning))
            }
            _ => self.assume_changes(origin, meaning.demands, meaning),
        }
    }

    /// Returns rows that only pass through; in windows and by event time some do not, or several times.
    fn passed(&mut self, stage: &StageSpec, meaning: &Meaning) -> Content {
        let content = self.streams(&stage.from, meaning);
        let key = if stage.window.is_some() {
            "window"
        } else if stage.event_time.is_some() {
            "time"
        } else {
            return content;
        };
        if let Some(of) = &content {
            let why = "windows repeat changes, and drop changes that are late or have no time";
            self.reject(stage, key, of, why, &format!("remove `{key}`"));
        }
        content
    }

    /// Returns rows that came too late for a stage: single changes.
    fn late(&mut self, stage: &StageSpec, meaning: &Meaning) -> Content {
        let streams: Vec<String> = stage.reads().cloned().collect();
        let content = self.streams(&streams, &self.with_op(&streams, meaning));
        if let Some(of) = &content {
            let why = format!("`{}.late` has only the late changes of a row", stage.name);
            self.reject(stage, "time", of, &why, "read what this stage reads instead");
        }
        content
    }

    /// Returns the totals of the rows of a batch or window. The last change of each key of the reader is as good as all of them. Other totals are
    /// new rows, unless they are computed from the operation.
    fn aggregated(&mut self, stage: &StageSpec, totals: &[AggregateSpec], meaning: &Meaning) -> Content {
        let list = reads::totals(&stage.key, totals);
        let inner = meaning.before(&list);
        let is_key = |name: &String| stage.key.contains(name);
        let key: BTreeSet<String> = stage.key.iter().cloned().collect();
        let of_op = meaning.op.as_ref().is_some_and(is_key);
        let by_key = meaning.complete_key && meaning.key == key && !of_op;
        let of_batch = stage.window.is_none() && stage.event_time.is_none();
        if inner.op.is_some() && by_key && of_batch && !self.reader.wants_complete {
            let content = self.streams(&stage.from, &inner);
            return self.listed(stage, "aggregate", Some(&list), content, (meaning, &inner));
        }
        let op_columns: BTreeSet<&String> = inner.op.iter().chain(&inner.spelled).chain(&inner.op_inputs).collect();
        let reads_computed = |stream: &String| {
            let changes = changes_in(self.job, stream, &mut BTreeSet::new());
            changes.is_some_and(|changes| op_columns.iter().any(|name| changes.op_columns.contains(*name)))
        };
        let is_named = meaning.op.as_ref().is_some_and(|op| op_columns.contains(op));
        if of_op || !is_over_all(stage) && (is_named || stage.from.iter().any(reads_computed)) {
            let why = "it makes one row of several changes";
            return self.chosen(stage, &inner, "aggregate", why, "add window = \"all\", `op` and emit = \"changes\"");
        }
        self.assume_changes(format!("stage `{}`", stage.name), meaning.demands, meaning)
    }

    fn enriched(&mut self, stage: &StageSpec, meaning: &Meaning) -> Content {
        let content = self.passed(stage, meaning);
        let kind = match &stage.operator {
            OperatorSpec::Enrich(enrich) => enrich.kind,
            OperatorSpec::Latest(latest) => latest.kind,
            _ => JoinKind::Left,
        };
        if kind == JoinKind::Inner
            && let Some(of) = content.as_ref().filter(|of| !of.certain)
        {
            let why = "it drops deletes of rows that its table does not have";
            self.reject(stage, "enrich", of, why, "remove type = \"inner\"");
        }
        let mut changes = content?;
        if !changes.raw && changes.allowed.is_none() {
            // The table's values of a row may differ when the row is deleted.
            let columns = self.columns(&stage.from, 0);
            changes.allowed = columns.map(|columns| AllowedColumns { alike: columns, op_columns: BTreeSet::new() });
        }
        Some(changes)
    }

    fn repartitioned(&mut self, stage: &StageSpec, meaning: &Meaning) -> Content {
        let content = self.passed(stage, meaning);
        let of_row = |of: &Changes, name: &String| {
            let is_alike = of.allowed.as_ref().is_some_and(|allowed| allowed.alike.contains(name));
            meaning.key.contains(name) || of.raw && is_alike && !of.volatile.contains_key(name)
        };
        let of = content.as_ref().filter(|_| !self.reader.wants_complete);
        if let Some(of) = of.filter(|of| !stage.key.iter().all(|name| of_row(of, name))) {
            let why = "this key changes the order of a row's changes";
            self.reject(stage, "key", of, why, &format!("use the key of {}, or remove `key`", self.reader.description));
        }
        content
    }

    /// Returns the rows that an operator selects.
    fn chosen(&mut self, stage: &StageSpec, meaning: &Meaning, key: &str, why: &str, instead: &str) -> Content {
        let content = self.streams(&stage.from, meaning);
        self.reject_all(stage, key, &content, meaning, (why, instead));
        content
    }

    /// Rejects changes of either kind.
    fn reject_all(
        &self,
        stage: &StageSpec,
        key: &str,
        content: &Content,
        meaning: &Meaning,
        (why, instead): (&str, &str),
    ) {
        match content {
            None => {}
            Some(of) if of.raw => {
                let help = format!("{}, and then {instead}", self.latest_first(meaning));
                self.reject(stage, key, of, why, &help);
            }
            Some(of) => self.reject(stage, key, of, why, instead),
        }
    }

    fn query(&mut self, stage: &StageSpec, query: &str, meaning: &Meaning) -> Content {
        let several = match reads::row_query(query) {
            None => UNREAD.to_owned(),
            Some(Ok(query)) if stage.window.is_none() && stage.from.contains(&query.stream) => {
                let inner = meaning.before(&query.projection);
                let content = self.stream(&query.stream, &inner);
                if let Some(reads) = &query.condition {
                    self.reads(stage, "sql", reads, &content, &inner);
                }
                return self.listed(stage, "sql", Some(&query.projection), content, (meaning, &inner));
            }
            Some(Ok(_)) => "it looks at the rows of a window".to_owned(),
            Some(Err(why)) => why,
        };
        let passes_op = meaning.op.as_ref().filter(|op| super::names(query, op));
        let content = match passes_op {
            Some(_) => self.streams(&stage.from, &self.with_op(&stage.from, meaning)),
            None => None,
        };
        let instead = "use stages with `filter`, `select`, or `join`, `aggregate` and `top` with window = \"all\"";
        self.reject_all(stage, "sql", &content, meaning, (&several, instead));
        self.assume_changes(format!("stage `{}`", stage.name), meaning.demands, meaning)
    }

    /// Returns a join of the rows of a batch, or within a time.
    fn joined(&mut self, stage: &StageSpec, meaning: &Meaning) -> Content {
        let streams: Vec<String> = stage.reads().cloned().collect();
        let content = self.streams(&streams, &self.with_op(&streams, meaning));
        let why = "it drops changes, or repeats them, depending on the other input";
        let instead = "add window = \"all\" and `op` to this stage";
        self.reject_all(stage, "join", &content, meaning, (why, instead));
        self.assume_changes(format!("stage `{}`", stage.name), meaning.demands, meaning)
    }

    /// Returns the meaning restricted to streams that are known to have the column.
    fn with_op(&self, streams: &[String], meaning: &Meaning) -> Meaning {
        let has = |stream: &String| {
            let columns = self.columns(std::slice::from_ref(stream), 0);
            columns.is_some_and(|columns| meaning.op.iter().any(|op| columns.contains(op)))
        };
        let has = streams.iter().any(has);
        Meaning { demands: meaning.demands && has, opaque: meaning.opaque || !has, ..meaning.clone() }
    }

    /// Checks a condition on changes.
    fn condition(&self, stage: &StageSpec, key: &str, text: &str, content: &Content, meaning: &Meaning) {
        let Some(of) = content else { return };
        match (reads::condition(text), &of.allowed) {
            (Some(reads), _) => self.reads(stage, key, &reads, content, meaning),
            (None, Some(_)) if of.raw => self.note(stage, key, of, meaning, UNREAD),
            (None, Some(_)) => self.reject(stage, key, of, UNREAD, "split it"),
            (None, None) => {
                let reads = Reads { volatile: reads::volatile_call(text), ..Reads::default() };
                self.reads(stage, key, &reads, content, meaning);
            }
        }
    }

    /// Checks what a condition on changes reads.
    fn reads(&self, stage: &StageSpec, key: &str, reads: &Reads, content: &Content, meaning: &Meaning) {
        let Some(of) = content else { return };
        let mut computed = reads.columns.iter().filter_map(|name| of.volatile.get(name));
        if let Some(call) = reads.volatile.as_ref().or_else(|| computed.next()) {
            let why = format!("`{call}` may differ between the insert and the delete of a row");
            self.reject(stage, key, of, &why, "use a column of the rows instead");
            return;
        }
        let Some(allowed) = &of.allowed else { return };
        let other =
            reads.columns.iter().find(|name| !allowed.alike.contains(*name) && !allowed.op_columns.contains(*name));
        match other {
            Some(column) if of.raw => {
                let why = match meaning.op.as_ref() == Some(column) {
                    true => format!("`{column}` is computed from columns whose old values changes do not contain"),
                    false => format!(
                        "it drops changes by `{column}`, but an update does not contain the old row, and a delete \
                        only has its key"
                    ),
                };
                self.note(stage, key, of, meaning, &why);
            }
            Some(column) => {
                let why = format!(
                    "`{column}` comes from the table of an `enrich`, which may have changed when a row is deleted"
                );
                self.reject(stage, key, of, &why, "use a `join` with window = \"all\" instead of the `enrich`");
            }
            None => {}
        }
    }

    /// Adds an error about what complete changes would allow.
    fn note(&self, stage: &StageSpec, key: &str, of: &Changes, meaning: &Meaning, why: &str) {
        let help = format!("{}, or use only columns of the key", self.latest_first(meaning));
        self.reject(stage, key, of, why, &help);
    }

    /// Returns advice to write before a stage.
    fn latest_first(&self, meaning: &Meaning) -> String {
        let key: Vec<String> = meaning.key.iter().map(|name| format!("\"{name}\"")).collect();
        let key = match (key.as_slice(), meaning.complete_key) {
            ([one], true) => format!("key = {one}"),
            ([], _) | (_, false) => "the key of the rows".to_owned(),
            (several, true) => format!("key = [{}]", several.join(", ")),
        };
        let op = meaning.op.as_ref().filter(|_| !self.reader.is_flag);
        let op = op.map_or("`op`".to_owned(), |op| format!("op = \"{op}\""));
        format!("put a stage with latest = true, {key} and {op} before it, which makes complete changes")
    }

    fn reject(&self, stage: &StageSpec, key: &str, of: &Changes, why: &str, help: &str) {
        let message = format!(
            "the rows are changes of {}, and {} would keep deleted rows: {why}; {help}",
            of.origin, self.reader.description
        );
        self.errors.add_new(
            format!("stages.{}.{key}", stage.name),
            &format!("stage `{}`: `{key}`: ", stage.name),
            message,
        );
    }
}

/// Merges the changes of two streams.
fn both(first: Content, second: Content) -> Content {
    let (first, second) = match (first, second) {
        (Some(first), Some(second)) if second.raw && !first.raw => (second, first),
        (Some(first), Some(second)) => (first, second),
        (one, other) => return one.or(other),
    };
    let allowed = match (first.allowed, second.allowed) {
        (Some(first), Some(second)) => Some(AllowedColumns {
            alike: first.alike.intersection(&second.alike).cloned().collect(),
            op_columns: first.op_columns.intersection(&second.op_columns).cloned().collect(),
        }),
        (one, other) => one.or(other),
    };
    let volatile = first.volatile.into_iter().chain(second.volatile).collect();
    Some(Changes { allowed, volatile, ..first })
}

impl Changes {
    /// Returns the changes after a list of columns, some of which the reader uses as key and operation; `None`: a list that is not analyzed.
    fn listed(mut self, list: Option<&Projection>, meaning: &Meaning) -> Changes {
        let Some(list) = list else {
            self.allowed = self.allowed.map(|_| AllowedColumns { alike: BTreeSet::new(), op_columns: BTreeSet::new() });
            return self;
        };
        if let Some(allowed) = &mut self.allowed {
            let either: BTreeSet<String> = allowed.alike.union(&allowed.op_columns).cloned().collect();
            let alike = list.computed_from(&allowed.alike);
            allowed.op_columns = list.computed_from(&either).difference(&alike).cloned().collect();
            allowed.alike = alike;
            if self.raw {
                // The key of a row is the same in all its changes, whatever it is computed from.
                allowed.alike.extend(meaning.key.iter().filter(|name| list.origin(name).is_some()).cloned());
            }
            // An operation without a known origin is assumed to be computed here; `then op else 'skip'` is not.
            let is_computed_here = |op: &&String| matches!(list.origin(op), Some(Origin::Computed { columns, .. }) if !columns.contains(*op));
            if self.raw && !self.certain {
                allowed.op_columns.extend(meaning.op.iter().filter(is_computed_here).cloned());
            }
        }
        self.volatile = list.volatile(&self.volatile);
        self
    }
}

impl Meaning {
    /// Returns the meaning in terms of the input columns of a list of columns.
    fn before(&self, list: &Projection) -> Meaning {
        let Meaning { complete_key, demands, opaque, .. } = *self;
        let mut before = Meaning { complete_key, demands, opaque, ..Meaning::default() };
        for name in &self.key {
            match list.origin(name) {
                Some(Origin::Column(name)) => drop(before.key.insert(name)),
                Some(Origin::Computed { columns, .. }) => {
                    before.complete_key = false;
                    before.key_inputs.extend(columns);
                }
                None => before.complete_key = false,
            }
        }
        for name in &self.key_inputs {
            match list.origin(name) {
                Some(Origin::Column(name)) => drop(before.key_inputs.insert(name)),
                Some(Origin::Computed { columns, .. }) => before.key_inputs.extend(columns),
                None => {}
            }
        }
        match self.op.as_ref().and_then(|op| list.origin(op)) {
            Some(Origin::Column(name)) => before.op = Some(name),
            Some(Origin::Computed { columns, spelling, .. }) => {
                // The same word for all rows: they are not changes.
                before.demands &= !columns.is_empty();
                if spelling { before.spelled.extend(columns) } else { before.op_inputs.extend(columns) }
            }
            None => {}
        }
        for name in &self.spelled {
            match list.origin(name) {
                Some(Origin::Column(name)) => drop(before.spelled.insert(name)),
                Some(Origin::Computed { columns, spelling: true, .. }) => before.spelled.extend(columns),
                Some(Origin::Computed { columns, spelling: false, .. }) => before.op_inputs.extend(columns),
                None => {}
            }
        }
        for name in &self.op_inputs {
            match list.origin(name) {
                Some(Origin::Column(name)) => drop(before.op_inputs.insert(name)),
                Some(Origin::Computed { columns, .. }) => before.op_inputs.extend(columns),
                None => {}
            }
        }
        before
    }
}
