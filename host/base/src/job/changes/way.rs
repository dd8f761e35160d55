//! What stands between changes and what keeps rows by them. Raw changes, as a database logs them, do not carry the row that they replace
//! or delete: an update has the new row, a delete the key. So a stage must not choose among them by anything but the key, or what
//! was chosen before would be kept. Complete changes carry the old row, and a condition on its values treats insert and delete alike.
//!
//! Columns have other names on the way, and may be computed of others. So the way is gone back first, to see what the source's columns
//! mean for the reader, its key and operation; and then forth, to see of each stream which columns consist of these alone.

mod columns;

use super::keeper::Keeper;
use super::reads::{self, Origin, Projection, Reads};
use super::{changes_in, changes_rows, is_of_changes, is_over_all, op_of};
use crate::job::mistakes::Mistakes;
use crate::job::names;
use crate::job::spec::*;
use columns::{alike, columns_of_source};
use std::collections::{BTreeMap, BTreeSet};

/// Streams with different needs that are looked at for one reader: there may be very many ways through a job.
const LOOKED_AT_MAX: usize = 10_000;

/// What a text may read that is not followed.
const UNREAD: &str = "its brackets are nested too deeply, or it cannot be parsed, so it is unknown what it reads";

/// What the rows of a stream tell of those that they replace or delete. `None`: they are no changes.
type Content = Option<Changes>;

/// Changes, and what is known of their columns.
#[derive(Clone, Debug, PartialEq)]
struct Changes {
    /// Whose they are, as ``source `orders` ``.
    who: String,
    /// It makes changes; else they are taken for changes because the reader takes them so.
    certain: bool,
    /// Only the key is told of the old row.
    raw: bool,
    /// The columns that conditions may read; `None`: all.
    told: Option<Told>,
    /// The columns with another value when a row is deleted than when it was inserted, and the function that makes it.
    volatile: BTreeMap<String, String>,
}

/// Columns by which all changes of a row, or none, fulfil a condition.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    /// All changes of a row have them alike: its key, its table.
    alike: BTreeSet<String>,
    /// They say what a change does.
    says: BTreeSet<String>,
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
    /// Columns of which parts of the key are computed.
    key_made_of: BTreeSet<String>,
    /// Columns that say the same in other words.
    spelled: BTreeSet<String>,
    /// Columns of which it is computed.
    made_of: BTreeSet<String>,
    /// A source of which nothing is known has changes where it has these columns.
    demands: bool,
    /// A plugin, or what cannot be followed, may have made the operation of anything.
    opaque: bool,
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
            return None;
        }
        // In a cycle there is nothing to be found.
        self.known.insert(place.clone(), None);
        let (part, side) = names::stream(stream);
        let content = match (self.job.sources.iter().find(|source| source.name == part), side) {
            (Some(source), None) => self.source(source, meaning),
            _ => match self.job.stages.iter().find(|stage| stage.name == part) {
                Some(stage) if side == Some("late") => self.late(stage, meaning),
                Some(stage) if side != Some("rejected") => self.stage(stage, side, meaning),
                _ => None,
            },
        };
        self.known.insert(place, content.clone());
        content
    }

    fn streams<'s>(&mut self, streams: impl IntoIterator<Item = &'s String>, meaning: &Meaning) -> Content {
        streams.into_iter().fold(None, |all, stream| both(all, self.stream(stream, meaning)))
    }

    fn source(&mut self, source: &SourceSpec, meaning: &Meaning) -> Content {
        let who = format!("source `{}`", source.name);
        if let Some(op) = op_of(source).filter(|_| is_of_changes(source)) {
            self.keys.push((source.name.clone(), meaning.key.union(&meaning.key_made_of).cloned().collect()));
            self.follows(&who, op, meaning);
            let alike = alike(source).into_iter().chain(meaning.key.iter().cloned()).collect();
            // Another check refuses raw changes there.
            let told = (!self.reader.wants_complete).then(|| Told { alike, says: BTreeSet::from([op.to_owned()]) });
            return Some(Changes { who, certain: true, raw: true, told, volatile: BTreeMap::new() });
        }
        let columns = columns_of_source(source);
        let has = |name: &String| columns.as_ref().is_none_or(|columns| columns.contains(name));
        let says = meaning.op.iter().chain(&meaning.spelled).chain(&meaning.made_of).any(has);
        let mut changes = self.taken(who, meaning.demands && says, meaning)?;
        if let Some(told) = &mut changes.told {
            told.alike.extend(alike(source));
        }
        Some(changes)
    }

    /// Notes a reader whose operation is not made of the column that says what changes do.
    fn follows(&self, who: &str, op: &str, meaning: &Meaning) {
        let mut says = meaning.op.iter().chain(&meaning.spelled).chain(&meaning.made_of);
        if meaning.opaque || says.any(|name| name == op) {
            return;
        }
        let (reader, own) = (&self.reader.who, self.reader.op);
        let message = format!(
            "the rows are changes of {who}, whose column `{op}` says what they do, and `{own}` is not made of it, so rows that are deleted would be \
             kept; put `{op}` among the columns of each stage on the way, and compute `{own}` of it"
        );
        self.mistakes.add_new(self.reader.path.clone(), &format!("{reader}: "), message);
    }

    /// What is taken for changes where the reader takes it so.
    fn taken(&self, who: String, demanded: bool, meaning: &Meaning) -> Content {
        let raw = !self.reader.wants_complete;
        let told = raw.then(|| Told {
            alike: meaning.key.clone(),
            says: meaning.op.iter().chain(&meaning.spelled).cloned().collect(),
        });
        demanded.then(|| Changes { who, certain: false, raw, told, volatile: BTreeMap::new() })
    }

    fn stage(&mut self, stage: &StageSpec, side: Option<&str>, meaning: &Meaning) -> Content {
        // Branches have all columns of the operator, and pass no `filter`.
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

    /// The rows of a list of columns. `meaning`: of these, and of those that it is made of.
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
            Some(list) if list.unnests => Some("`unnest` makes no row of a delete, which carries only its key"),
            Some(_) => None,
        };
        if let Some(why) = why.filter(|_| changes.raw) {
            self.note(stage, key, &changes, inner, why);
        }
        Some(changes.listed(list, meaning))
    }

    /// The rows of an operator, before `filter` and `select`.
    fn operator(&mut self, stage: &StageSpec, side: Option<&str>, meaning: &Meaning) -> Content {
        let who = format!("stage `{}`", stage.name);
        if changes_rows(stage) {
            self.follows(&who, stage.op.as_deref().unwrap_or(OPERATION), meaning);
            return Some(Changes { who, certain: true, raw: false, told: None, volatile: BTreeMap::new() });
        }
        match &stage.operator {
            OperatorSpec::Union => self.passed(stage, meaning),
            OperatorSpec::Enrich(_) | OperatorSpec::Latest(_) => self.enriched(stage, meaning),
            OperatorSpec::Split(branches) => {
                let content = self.passed(stage, meaning);
                // A row of a branch does not fulfil the conditions before it.
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
                self.streams(&stage.from, &before).or_else(|| self.taken(who, meaning.demands, meaning))
            }
            _ => self.taken(who, meaning.demands, meaning),
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
        if let Some(of) = &content {
            let why = "windows repeat changes, and late ones, or those without a time, are dropped";
            self.refused(stage, key, of, why, &format!("remove `{key}`"));
        }
        content
    }

    /// Rows that came too late for a stage: single changes.
    fn late(&mut self, stage: &StageSpec, meaning: &Meaning) -> Content {
        let streams: Vec<String> = stage.reads().cloned().collect();
        let content = self.streams(&streams, &self.with_op(&streams, meaning));
        if let Some(of) = &content {
            let why = format!("of the changes of a row, `{}.late` has those that came late", stage.name);
            self.refused(stage, "time", of, &why, "read what this stage reads instead");
        }
        content
    }

    /// Totals of the rows of a batch or window. The last change of each key of the reader is as good as all of them; other totals are rows
    /// of their own, unless they are made of what changes do.
    fn aggregated(&mut self, stage: &StageSpec, totals: &[AggregateSpec], meaning: &Meaning) -> Content {
        let list = reads::totals(&stage.key, totals);
        let inner = meaning.before(&list);
        let is_key = |name: &String| stage.key.contains(name);
        let key: BTreeSet<String> = stage.key.iter().cloned().collect();
        let of_op = meaning.op.as_ref().is_some_and(is_key);
        let by_key = meaning.whole_key && meaning.key == key && !of_op;
        let of_batch = stage.window.is_none() && stage.event_time.is_none();
        if inner.op.is_some() && by_key && of_batch && !self.reader.wants_complete {
            let content = self.streams(&stage.from, &inner);
            return self.listed(stage, "aggregate", Some(&list), content, (meaning, &inner));
        }
        let says: BTreeSet<&String> = inner.op.iter().chain(&inner.spelled).chain(&inner.made_of).collect();
        let is_made_of = |stream: &String| {
            let changes = changes_in(self.job, stream, &mut BTreeSet::new());
            changes.is_some_and(|changes| says.iter().any(|name| changes.says.contains(*name)))
        };
        let is_named = meaning.op.as_ref().is_some_and(|op| says.contains(op));
        if of_op || !is_over_all(stage) && (is_named || stage.from.iter().any(is_made_of)) {
            let why = "it makes one row of several changes";
            return self.chosen(stage, &inner, "aggregate", why, "add window = \"all\", `op` and emit = \"changes\"");
        }
        self.taken(format!("stage `{}`", stage.name), meaning.demands, meaning)
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
            self.refused(stage, "enrich", of, why, "remove type = \"inner\"");
        }
        let mut changes = content?;
        if !changes.raw && changes.told.is_none() {
            // What the table has of a row may be other values when the row is deleted.
            let columns = self.columns(&stage.from, 0);
            changes.told = columns.map(|columns| Told { alike: columns, says: BTreeSet::new() });
        }
        Some(changes)
    }

    fn repartitioned(&mut self, stage: &StageSpec, meaning: &Meaning) -> Content {
        let content = self.passed(stage, meaning);
        let of_row = |of: &Changes, name: &String| {
            let is_alike = of.told.as_ref().is_some_and(|told| told.alike.contains(name));
            meaning.key.contains(name) || of.raw && is_alike && !of.volatile.contains_key(name)
        };
        let of = content.as_ref().filter(|_| !self.reader.wants_complete);
        if let Some(of) = of.filter(|of| !stage.key.iter().all(|name| of_row(of, name))) {
            let why = "by this key, changes of one row change their order";
            self.refused(stage, "key", of, why, &format!("use the key of {}, or remove `key`", self.reader.who));
        }
        content
    }

    /// Rows of which an operator takes some.
    fn chosen(&mut self, stage: &StageSpec, meaning: &Meaning, key: &str, why: &str, instead: &str) -> Content {
        let content = self.streams(&stage.from, meaning);
        self.refused_where_it_is(stage, key, &content, meaning, (why, instead));
        content
    }

    /// What is wrong with changes of either kind.
    fn refused_where_it_is(
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
                self.refused(stage, key, of, why, &help);
            }
            Some(of) => self.refused(stage, key, of, why, instead),
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
        self.refused_where_it_is(stage, "sql", &content, meaning, (&several, instead));
        self.taken(format!("stage `{}`", stage.name), meaning.demands, meaning)
    }

    /// A join of the rows of a batch, or within a time.
    fn joined(&mut self, stage: &StageSpec, meaning: &Meaning) -> Content {
        let streams: Vec<String> = stage.reads().cloned().collect();
        let content = self.streams(&streams, &self.with_op(&streams, meaning));
        let why = "it drops changes, or repeats them, by what stands in the other input";
        let instead = "add window = \"all\" and `op` to this stage";
        self.refused_where_it_is(stage, "join", &content, meaning, (why, instead));
        self.taken(format!("stage `{}`", stage.name), meaning.demands, meaning)
    }

    /// The same, where something is demanded of those streams only of which it is known that they have the column.
    fn with_op(&self, streams: &[String], meaning: &Meaning) -> Meaning {
        let has = |stream: &String| {
            let columns = self.columns(std::slice::from_ref(stream), 0);
            columns.is_some_and(|columns| meaning.op.iter().any(|op| columns.contains(op)))
        };
        let has = streams.iter().any(has);
        Meaning { demands: meaning.demands && has, opaque: meaning.opaque || !has, ..meaning.clone() }
    }

    /// A condition on changes.
    fn condition(&self, stage: &StageSpec, key: &str, text: &str, content: &Content, meaning: &Meaning) {
        let Some(of) = content else { return };
        match (reads::condition(text), &of.told) {
            (Some(reads), _) => self.reads(stage, key, &reads, content, meaning),
            (None, Some(_)) if of.raw => self.note(stage, key, of, meaning, UNREAD),
            (None, Some(_)) => self.refused(stage, key, of, UNREAD, "take it apart"),
            (None, None) => {
                let reads = Reads { volatile: reads::volatile_call(text), ..Reads::default() };
                self.reads(stage, key, &reads, content, meaning);
            }
        }
    }

    /// What a condition on changes reads.
    fn reads(&self, stage: &StageSpec, key: &str, reads: &Reads, content: &Content, meaning: &Meaning) {
        let Some(of) = content else { return };
        let mut computed = reads.columns.iter().filter_map(|name| of.volatile.get(name));
        if let Some(call) = reads.volatile.as_ref().or_else(|| computed.next()) {
            let why = format!("`{call}` has another value when a row is deleted than when it was inserted");
            self.refused(stage, key, of, &why, "use a column of the rows instead");
            return;
        }
        let Some(told) = &of.told else { return };
        let other = reads.columns.iter().find(|name| !told.alike.contains(*name) && !told.says.contains(*name));
        match other {
            Some(column) if of.raw => {
                let why = match meaning.op.as_ref() == Some(column) {
                    true => format!("`{column}` is computed of columns that changes do not carry of the old row"),
                    false => format!(
                        "it drops changes by `{column}`, but an update does not carry the old row, and a delete only its key"
                    ),
                };
                self.note(stage, key, of, meaning, &why);
            }
            Some(column) => {
                let why = format!(
                    "`{column}` comes from the table of an `enrich`, which may have other values when a row is deleted"
                );
                self.refused(stage, key, of, &why, "use a `join` with window = \"all\" instead of the `enrich`");
            }
            None => {}
        }
    }

    /// Notes what complete changes would allow.
    fn note(&self, stage: &StageSpec, key: &str, of: &Changes, meaning: &Meaning, why: &str) {
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

    fn refused(&self, stage: &StageSpec, key: &str, of: &Changes, why: &str, help: &str) {
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
}

/// The changes of two streams that become one.
fn both(first: Content, second: Content) -> Content {
    let (first, second) = match (first, second) {
        (Some(first), Some(second)) if second.raw && !first.raw => (second, first),
        (Some(first), Some(second)) => (first, second),
        (one, other) => return one.or(other),
    };
    let told = match (first.told, second.told) {
        (Some(first), Some(second)) => Some(Told {
            alike: first.alike.intersection(&second.alike).cloned().collect(),
            says: first.says.intersection(&second.says).cloned().collect(),
        }),
        (one, other) => one.or(other),
    };
    let volatile = first.volatile.into_iter().chain(second.volatile).collect();
    Some(Changes { told, volatile, ..first })
}

impl Changes {
    /// The same behind a list of columns, of which the reader takes some for key and operation; `None`: one that is not followed.
    fn listed(mut self, list: Option<&Projection>, meaning: &Meaning) -> Changes {
        let Some(list) = list else {
            self.told = self.told.map(|_| Told { alike: BTreeSet::new(), says: BTreeSet::new() });
            return self;
        };
        if let Some(told) = &mut self.told {
            let either: BTreeSet<String> = told.alike.union(&told.says).cloned().collect();
            let alike = list.made_of(&told.alike);
            told.says = list.made_of(&either).difference(&alike).cloned().collect();
            told.alike = alike;
            if self.raw {
                // What a row is kept by is alike, whatever it is computed of.
                told.alike.extend(meaning.key.iter().filter(|name| list.origin(name).is_some()).cloned());
            }
            // What rows do of which nothing else is known is what is computed here; `then op else 'skip'` is no such thing.
            let is_made = |op: &&String| matches!(list.origin(op), Some(Origin::Computed { columns, .. }) if !columns.contains(*op));
            if self.raw && !self.certain {
                told.says.extend(meaning.op.iter().filter(is_made).cloned());
            }
        }
        self.volatile = list.volatile(&self.volatile);
        self
    }
}

impl Meaning {
    /// The same in the columns of the input of a list of columns.
    fn before(&self, list: &Projection) -> Meaning {
        let Meaning { whole_key, demands, opaque, .. } = *self;
        let mut before = Meaning { whole_key, demands, opaque, ..Meaning::default() };
        for name in &self.key {
            match list.origin(name) {
                Some(Origin::Column(name)) => drop(before.key.insert(name)),
                Some(Origin::Computed { columns, .. }) => {
                    before.whole_key = false;
                    before.key_made_of.extend(columns);
                }
                None => before.whole_key = false,
            }
        }
        for name in &self.key_made_of {
            match list.origin(name) {
                Some(Origin::Column(name)) => drop(before.key_made_of.insert(name)),
                Some(Origin::Computed { columns, .. }) => before.key_made_of.extend(columns),
                None => {}
            }
        }
        match self.op.as_ref().and_then(|op| list.origin(op)) {
            Some(Origin::Column(name)) => before.op = Some(name),
            Some(Origin::Computed { columns, spelling, .. }) => {
                // One word for all rows: they are no changes.
                before.demands &= !columns.is_empty();
                if spelling { before.spelled.extend(columns) } else { before.made_of.extend(columns) }
            }
            None => {}
        }
        for name in &self.spelled {
            match list.origin(name) {
                Some(Origin::Column(name)) => drop(before.spelled.insert(name)),
                Some(Origin::Computed { columns, spelling: true, .. }) => before.spelled.extend(columns),
                Some(Origin::Computed { columns, spelling: false, .. }) => before.made_of.extend(columns),
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
