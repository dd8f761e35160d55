//! What stands between changes and what keeps rows by them. Raw changes, as a database logs them, do not carry the row that they replace
//! or delete: an update has the new row, a delete the key. So a stage must not choose among them by anything but the key, or what
//! was chosen before would be kept. Complete changes carry the old row, and a condition on its values treats insert and delete alike.

use super::keeper::Keeper;
use super::reads::{self, Origin, Projection, Reads};
use super::{changes_rows, is_of_changes, is_over_all, op_of};
use crate::job::mistakes::Mistakes;
use crate::job::names;
use crate::job::spec::*;
use std::collections::{BTreeMap, BTreeSet};

/// Streams with different needs that are looked at for one reader: there may be very many ways through a job.
const LOOKED_AT_MAX: usize = 10_000;

/// What the rows of a stream tell of those that they replace or delete.
#[derive(Clone, Debug, PartialEq)]
enum Content {
    /// They are no changes.
    Rows,
    /// Only the key, and these columns, which all changes of a row have alike, as its table.
    Raw(ChangesOf, BTreeSet<String>),
    /// The old row; of some columns only, where these are named.
    Complete(ChangesOf, Option<BTreeSet<String>>),
}

/// Whose changes they are.
#[derive(Clone, Debug, PartialEq)]
struct ChangesOf {
    /// As ``source `orders` ``.
    who: String,
    /// It makes changes; else they are taken for changes because the reader takes them so.
    certain: bool,
}

/// What the reader takes for key and operation, as columns of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Meaning {
    /// The columns of the key, as far as the stream has them as they are.
    key: BTreeSet<String>,
    /// Whether that is the whole key.
    whole_key: bool,
    /// The column that says what a row does.
    op: Option<String>,
    /// Columns that say the same in other words.
    spelled: BTreeSet<String>,
    /// Columns of which it is computed.
    made_of: BTreeSet<String>,
    /// A source of which nothing is known has changes where it has these columns.
    demands: bool,
}

/// The way of changes to one reader.
pub(super) struct Way<'a> {
    job: &'a JobSpec,
    mistakes: &'a Mistakes,
    reader: &'a Keeper<'a>,
    known: BTreeMap<(String, Meaning), Content>,
    /// Sources of raw changes, and the columns of theirs that are the reader's key.
    keys: Vec<(String, BTreeSet<String>)>,
}

/// The sources whose raw changes a reader keeps, with the columns by which it does.
pub(super) fn keys(job: &JobSpec, reader: &Keeper<'_>) -> Vec<(String, BTreeSet<String>)> {
    followed(job, &Mistakes::default(), reader)
}

/// Notes the stages on the way to a reader that choose among changes by what these do not carry.
pub(super) fn check(job: &JobSpec, mistakes: &Mistakes, reader: &Keeper<'_>) {
    followed(job, mistakes, reader);
}

fn followed(job: &JobSpec, mistakes: &Mistakes, reader: &Keeper<'_>) -> Vec<(String, BTreeSet<String>)> {
    let mut way = Way { job, mistakes, reader, known: BTreeMap::new(), keys: Vec::new() };
    let meaning = Meaning {
        key: reader.key.iter().map(|name| (*name).clone()).collect(),
        whole_key: true,
        op: Some(reader.op.to_owned()),
        demands: true,
        ..Meaning::default()
    };
    for stream in &reader.streams {
        way.stream(stream, &meaning);
    }
    way.keys
}

impl Way<'_> {
    fn stream(&mut self, stream: &str, meaning: &Meaning) -> Content {
        let place = (stream.to_owned(), meaning.clone());
        if let Some(known) = self.known.get(&place) {
            return known.clone();
        }
        if self.known.len() > LOOKED_AT_MAX {
            return Content::Rows;
        }
        // In a cycle there is nothing to be found.
        self.known.insert(place.clone(), Content::Rows);
        let (part, side) = names::stream(stream);
        let content = match (self.job.sources.iter().find(|source| source.name == part), side) {
            (Some(source), None) => self.source(source, meaning),
            _ => match self.job.stages.iter().find(|stage| stage.name == part) {
                Some(stage) if !matches!(side, Some("rejected" | "late")) => self.stage(stage, side, meaning),
                _ => Content::Rows,
            },
        };
        self.known.insert(place, content.clone());
        content
    }

    fn streams<'s>(&mut self, streams: impl IntoIterator<Item = &'s String>, meaning: &Meaning) -> Content {
        streams.into_iter().fold(Content::Rows, |all, stream| all.and(self.stream(stream, meaning)))
    }

    fn source(&mut self, source: &SourceSpec, meaning: &Meaning) -> Content {
        let who = format!("source `{}`", source.name);
        if is_of_changes(source) && op_of(source).is_some() {
            self.keys.push((source.name.clone(), meaning.key.clone()));
            return Content::Raw(ChangesOf { who, certain: true }, alike(source));
        }
        let columns = columns_of_source(source);
        let has = |name: &String| columns.as_ref().is_none_or(|columns| columns.contains(name));
        let says = meaning.op.iter().chain(&meaning.spelled).chain(&meaning.made_of).any(has);
        match self.taken(who, meaning.demands && says) {
            Content::Raw(of, _) => Content::Raw(of, alike(source)),
            content => content,
        }
    }

    /// What is taken for changes where the reader takes it so.
    fn taken(&self, who: String, demanded: bool) -> Content {
        let of = ChangesOf { who, certain: false };
        match (demanded, self.reader.wants_complete) {
            (false, _) => Content::Rows,
            (true, false) => Content::Raw(of, BTreeSet::new()),
            (true, true) => Content::Complete(of, None),
        }
    }

    fn stage(&mut self, stage: &StageSpec, side: Option<&str>, meaning: &Meaning) -> Content {
        // Branches have all columns of the operator, and pass no `filter`.
        let shape = side.is_none();
        let select = stage.select.as_deref().filter(|_| shape);
        let Some(inner) = select.map_or(Some(meaning.clone()), |text| Some(meaning.before(&reads::projection(text)?)))
        else {
            return Content::Rows;
        };
        let content = self.operator(stage, side, &inner);
        if let Some(text) = stage.filter.as_deref().filter(|_| shape)
            && let Some(reads) = reads::condition(text)
        {
            self.condition(stage, "filter", &reads, &content, &inner);
        }
        match select.and_then(reads::projection) {
            Some(list) => self.listed(stage, "select", &list, content, &inner),
            None => content,
        }
    }

    /// The rows of a list of columns.
    fn listed(&self, stage: &StageSpec, key: &str, list: &Projection, content: Content, meaning: &Meaning) -> Content {
        match content {
            Content::Raw(of, alike) => {
                if list.unnests {
                    let why = "`unnest` makes no row of a delete, which carries only its key";
                    self.note(stage, key, &of, meaning, why);
                }
                Content::Raw(of, passed_by(list, &alike))
            }
            Content::Complete(of, Some(carried)) => Content::Complete(of, Some(passed_by(list, &carried))),
            content => content,
        }
    }

    /// The rows of an operator, before `filter` and `select`.
    fn operator(&mut self, stage: &StageSpec, side: Option<&str>, meaning: &Meaning) -> Content {
        let who = format!("stage `{}`", stage.name);
        if changes_rows(stage) {
            return Content::Complete(ChangesOf { who, certain: true }, None);
        }
        match &stage.operator {
            OperatorSpec::Union => self.passed(stage, meaning),
            OperatorSpec::Enrich(_) | OperatorSpec::Latest(_) => self.enriched(stage, meaning),
            OperatorSpec::Split(branches) => {
                let content = self.passed(stage, meaning);
                // A row of a branch does not fulfil the conditions before it.
                let end = branches.iter().position(|(name, _)| Some(name.as_str()) == side);
                for (name, text) in branches.iter().take(end.map_or(branches.len(), |end| end + 1)) {
                    if let Some(reads) = reads::condition(text) {
                        self.condition(stage, &format!("split.{name}"), &reads, &content, meaning);
                    }
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
                "remove `deduplicate`, as a stage with `latest` puts out only what changes",
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
            OperatorSpec::Aggregate { .. } if meaning.op.as_ref().is_some_and(|op| stage.key.contains(op)) => {
                let why = "it makes one row of several changes";
                self.chosen(stage, meaning, "aggregate", why, "add window = \"all\", `op` and emit = \"changes\"")
            }
            // A transform has no key. It may pass changes on.
            OperatorSpec::Plugin(_) if stage.key.is_empty() && stage.window.is_none() => {
                match self.streams(&stage.from, &Meaning { demands: false, ..meaning.clone() }) {
                    Content::Rows => self.taken(who, meaning.demands),
                    content => content,
                }
            }
            _ => self.taken(who, meaning.demands),
        }
    }

    /// Rows that only pass; in windows and by event time not all do, or not once.
    fn passed(&mut self, stage: &StageSpec, meaning: &Meaning) -> Content {
        let content = self.streams(&stage.from, meaning);
        let key = if stage.window.is_some() {
            "window"
        } else if stage.event_time.is_some() {
            "time"
        } else {
            return content;
        };
        if let Some(of) = content.changes() {
            let why = "windows repeat changes, and late ones, or those without a time, are dropped";
            self.refused(stage, key, of, why, &format!("remove `{key}`"));
        }
        content
    }

    fn enriched(&mut self, stage: &StageSpec, meaning: &Meaning) -> Content {
        let content = self.passed(stage, meaning);
        let kind = match &stage.operator {
            OperatorSpec::Enrich(enrich) => enrich.kind,
            OperatorSpec::Latest(latest) => latest.kind,
            _ => JoinKind::Left,
        };
        if kind == JoinKind::Inner
            && let Some(of) = content.changes().filter(|of| !of.certain)
        {
            let why = "it drops deletes of rows that its table does not have";
            self.refused(stage, "enrich", of, why, "remove type = \"inner\"");
        }
        match content {
            // What the table has of a row may be other values when the row is deleted.
            Content::Complete(of, None) => Content::Complete(of, self.columns(&stage.from, 0)),
            content => content,
        }
    }

    fn repartitioned(&mut self, stage: &StageSpec, meaning: &Meaning) -> Content {
        let content = self.passed(stage, meaning);
        let is_alike = |name: &String| matches!(&content, Content::Raw(_, alike) if alike.contains(name));
        let is_kept = |name: &String| meaning.key.contains(name) || is_alike(name);
        let keeps_order = self.reader.wants_complete || stage.key.iter().all(is_kept);
        if let Some(of) = content.changes().filter(|_| !keeps_order) {
            let why = "by this key, changes of one row change their order";
            self.refused(stage, "key", of, why, &format!("use the key of {}, or remove `key`", self.reader.who));
        }
        content
    }

    /// Rows of which an operator takes some.
    fn chosen(&mut self, stage: &StageSpec, meaning: &Meaning, key: &str, why: &str, instead: &str) -> Content {
        let content = self.streams(&stage.from, meaning);
        match &content {
            Content::Rows => {}
            Content::Raw(of, _) => {
                let help = format!("{}, and then {instead}", self.latest_first(meaning));
                self.refused(stage, key, of, why, &help);
            }
            Content::Complete(of, _) => self.refused(stage, key, of, why, instead),
        }
        content
    }

    fn query(&mut self, stage: &StageSpec, query: &str, meaning: &Meaning) -> Content {
        let several = match reads::row_query(query) {
            None => return Content::Rows,
            Some(Ok(query)) if stage.window.is_none() && stage.from.contains(&query.stream) => {
                let inner = meaning.before(&query.projection);
                let content = self.stream(&query.stream, &inner);
                if let Some(reads) = &query.condition {
                    self.condition(stage, "sql", reads, &content, &inner);
                }
                return self.listed(stage, "sql", &query.projection, content, &inner);
            }
            Some(Ok(_)) => "it looks at the rows of a window".to_owned(),
            Some(Err(why)) => why,
        };
        let passes_op = meaning.op.as_ref().filter(|op| super::names(query, op));
        let content = match passes_op {
            Some(_) => self.streams(&stage.from, &self.with_op(&stage.from, meaning)),
            None => Content::Rows,
        };
        let instead = "use stages with `filter`, `select`, or `join`, `aggregate` and `top` with window = \"all\"";
        match &content {
            Content::Rows => {}
            Content::Raw(of, _) => {
                let help = format!("{}, and then {instead}", self.latest_first(meaning));
                self.refused(stage, "sql", of, &several, &help);
            }
            Content::Complete(of, _) => self.refused(stage, "sql", of, &several, instead),
        }
        self.taken(format!("stage `{}`", stage.name), meaning.demands)
    }

    /// A join of the rows of a batch, or within a time.
    fn joined(&mut self, stage: &StageSpec, meaning: &Meaning) -> Content {
        let streams: Vec<String> = stage.reads().cloned().collect();
        let content = self.streams(&streams, &self.with_op(&streams, meaning));
        let why = "it drops changes, or repeats them, by what stands in the other input";
        let instead = "add window = \"all\" and `op` to this stage";
        match &content {
            Content::Rows => {}
            Content::Raw(of, _) => {
                let help = format!("{}, and then {instead}", self.latest_first(meaning));
                self.refused(stage, "join", of, why, &help);
            }
            Content::Complete(of, _) => self.refused(stage, "join", of, why, instead),
        }
        self.taken(format!("stage `{}`", stage.name), meaning.demands)
    }

    /// The same, where something is demanded of those streams only of which it is known that they have the column.
    fn with_op(&self, streams: &[String], meaning: &Meaning) -> Meaning {
        let has = |stream: &String| {
            let columns = self.columns(std::slice::from_ref(stream), 0);
            columns.is_some_and(|columns| meaning.op.iter().any(|op| columns.contains(op)))
        };
        Meaning { demands: meaning.demands && streams.iter().any(has), ..meaning.clone() }
    }

    /// A condition on changes.
    fn condition(&self, stage: &StageSpec, key: &str, reads: &Reads, content: &Content, meaning: &Meaning) {
        if let (Some(of), Some(call)) = (content.changes(), &reads.volatile) {
            let why = format!("`{call}` has another value when a row is deleted than when it was inserted");
            self.refused(stage, key, of, &why, "use a column of the rows instead");
            return;
        }
        match content {
            Content::Rows | Content::Complete(_, None) => {}
            Content::Raw(of, alike) => {
                let says = |name: &&String| meaning.op.as_ref() == Some(*name) || meaning.spelled.contains(*name);
                let is_carried = |name: &&String| meaning.key.contains(*name) || alike.contains(*name) || says(name);
                let other = reads.columns.iter().find(|name| !is_carried(name));
                if let Some(column) = other.filter(|_| !(of.certain && self.reader.wants_complete)) {
                    let why = format!(
                        "it drops changes by `{column}`, but an update does not carry the old row, and a delete only its key"
                    );
                    self.note(stage, key, of, meaning, &why);
                }
            }
            Content::Complete(of, Some(carried)) => {
                if let Some(column) = reads.columns.difference(carried).next() {
                    let why = format!(
                        "`{column}` comes from the table of an `enrich`, which may have other values when a row is deleted"
                    );
                    self.refused(stage, key, of, &why, "use a `join` with window = \"all\" instead of the `enrich`");
                }
            }
        }
    }

    /// Notes what complete changes would allow.
    fn note(&self, stage: &StageSpec, key: &str, of: &ChangesOf, meaning: &Meaning, why: &str) {
        let help = format!("{}, or use only columns of the key", self.latest_first(meaning));
        self.refused(stage, key, of, why, &help);
    }

    /// What to write before a stage.
    fn latest_first(&self, meaning: &Meaning) -> String {
        let key: Vec<String> = meaning.key.iter().map(|name| format!("\"{name}\"")).collect();
        let key = match (key.as_slice(), meaning.whole_key) {
            ([one], true) => format!("key = {one}"),
            ([], _) | (_, false) => "the key of the rows".to_owned(),
            (several, true) => format!("key = [{}]", several.join(", ")),
        };
        let op = meaning.op.as_ref().filter(|_| !self.reader.is_flag);
        let op = op.map_or("`op`".to_owned(), |op| format!("op = \"{op}\""));
        format!("put a stage with latest = true, {key} and {op} before it, which makes complete changes")
    }

    fn refused(&self, stage: &StageSpec, key: &str, of: &ChangesOf, why: &str, help: &str) {
        let message = format!(
            "the rows are changes of {}, and {} would keep rows that are gone: {why}; {help}",
            of.who, self.reader.who
        );
        self.mistakes.add_new(
            format!("stages.{}.{key}", stage.name),
            &format!("stage `{}`: `{key}`: ", stage.name),
            message,
        );
    }

    /// The names of the columns of these streams, where they can be told.
    fn columns(&self, streams: &[String], depth: usize) -> Option<BTreeSet<String>> {
        // They all have the same.
        let (part, side) = names::stream(streams.first()?);
        if depth > crate::limits::JOB_PARTS_MAX || matches!(side, Some("rejected")) {
            return None;
        }
        if let Some(source) = self.job.sources.iter().find(|source| source.name == part) {
            return columns_of_source(source);
        }
        let stage = self.job.stages.iter().find(|stage| stage.name == part)?;
        let own = match &stage.operator {
            OperatorSpec::Union
            | OperatorSpec::Split(_)
            | OperatorSpec::Repartition { .. }
            | OperatorSpec::Distinct(_)
            | OperatorSpec::Deduplicate { .. }
            | OperatorSpec::Sample(_) => self.columns(&stage.from, depth + 1),
            OperatorSpec::Top { .. } if !is_over_all(stage) => self.columns(&stage.from, depth + 1),
            OperatorSpec::Top { rank: None, .. } | OperatorSpec::Newest { .. } => {
                let mut columns = self.columns(&stage.from, depth + 1)?;
                columns.insert(stage.op.clone().unwrap_or_else(|| OPERATION.into()));
                Some(columns)
            }
            OperatorSpec::Sql { query, .. } => {
                let query = reads::row_query(query)?.ok()?;
                return query.projection.columns(self.columns(std::slice::from_ref(&query.stream), depth + 1));
            }
            _ => None,
        };
        match (&stage.select, side) {
            (Some(text), None) => reads::projection(text)?.columns(own),
            _ => own,
        }
    }
}

impl Content {
    fn changes(&self) -> Option<&ChangesOf> {
        match self {
            Content::Rows => None,
            Content::Raw(of, _) | Content::Complete(of, _) => Some(of),
        }
    }

    /// Of two streams that become one.
    fn and(self, other: Content) -> Content {
        match (self, other) {
            (Content::Raw(of, a), Content::Raw(_, b)) => Content::Raw(of, a.intersection(&b).cloned().collect()),
            (Content::Raw(of, alike), _) | (_, Content::Raw(of, alike)) => Content::Raw(of, alike),
            (Content::Complete(of, Some(a)), Content::Complete(_, Some(b))) => {
                Content::Complete(of, Some(a.intersection(&b).cloned().collect()))
            }
            (Content::Complete(of, some), Content::Complete(_, None))
            | (Content::Complete(of, None), Content::Complete(_, some)) => Content::Complete(of, some),
            (Content::Complete(of, some), Content::Rows) | (Content::Rows, Content::Complete(of, some)) => {
                Content::Complete(of, some)
            }
            (Content::Rows, Content::Rows) => Content::Rows,
        }
    }
}

impl Meaning {
    /// The same in the columns of the input of a list of columns.
    fn before(&self, list: &Projection) -> Meaning {
        let mut before = Meaning { whole_key: self.whole_key, demands: self.demands, ..Meaning::default() };
        for name in &self.key {
            match list.origin(name) {
                Some(Origin::Column(name)) => drop(before.key.insert(name)),
                _ => before.whole_key = false,
            }
        }
        match self.op.as_ref().and_then(|op| list.origin(op)) {
            Some(Origin::Column(name)) => before.op = Some(name),
            Some(Origin::Computed { columns, spelling }) => {
                // One word for all rows: they are no changes.
                before.demands &= !columns.is_empty();
                if spelling { before.spelled.extend(columns) } else { before.made_of.extend(columns) }
            }
            None => {}
        }
        for name in &self.spelled {
            match list.origin(name) {
                Some(Origin::Column(name)) => drop(before.spelled.insert(name)),
                Some(Origin::Computed { columns, spelling: true }) => before.spelled.extend(columns),
                Some(Origin::Computed { columns, spelling: false }) => before.made_of.extend(columns),
                None => {}
            }
        }
        for name in &self.made_of {
            match list.origin(name) {
                Some(Origin::Column(name)) => drop(before.made_of.insert(name)),
                Some(Origin::Computed { columns, .. }) => before.made_of.extend(columns),
                None => {}
            }
        }
        before
    }
}

fn columns_of_source(source: &SourceSpec) -> Option<BTreeSet<String>> {
    let columns: BTreeSet<String> = source.schema.iter().map(|column| column.name.clone()).collect();
    (!columns.is_empty()).then_some(columns)
}

/// The columns of a source that all changes of a row have alike: where it is, and the key of its records.
fn alike(source: &SourceSpec) -> BTreeSet<String> {
    let is_alike = |from: &ColumnSource| {
        matches!(from, ColumnSource::Table | ColumnSource::Topic | ColumnSource::Partition | ColumnSource::Key)
    };
    source.schema.iter().filter(|column| is_alike(&column.from)).map(|column| column.name.clone()).collect()
}

/// The output columns of a list that are, or are computed of, these.
fn passed_by(list: &Projection, columns: &BTreeSet<String>) -> BTreeSet<String> {
    let is_of_these = |name: &String| match list.origin(name) {
        Some(Origin::Column(name)) => columns.contains(&name),
        Some(Origin::Computed { columns: of, .. }) => of.is_subset(columns),
        None => false,
    };
    let names = list.columns(Some(columns.clone())).unwrap_or_default();
    names.into_iter().filter(is_of_these).collect()
}
