//! What the state of a job's stages means, for checkpoints to tell whether another job may go on with it: how rows and columns come about,
//! from sources on, whatever the stages on their way are called. See `checkpoint/meaning`.
//!
//! Of a column this is what computes it, so that a stage in front may get other columns and nothing behind it means anything else. What plugins
//! compute is known by their config alone: another component is taken for another version of the same.

mod followers;
mod operators;
mod sinks;
#[cfg(test)]
mod tests;

use super::{Graph, rejected_name};
use crate::checkpoint::meaning::{COLUMN, Label, Meaning, Meanings, TableMeaning};
use crate::operators::stage::{InputNode, StageNode};
use millstream_base::error::Result;
use millstream_base::job::spec::{JobSpec, Origin, SourceSpec, StageSpec};
use millstream_base::job::{query_of, retry_source};
use millstream_base::patience::ServerWait;
use millstream_sql::expression::Expression;
use std::collections::{BTreeMap, BTreeSet};

/// What a stream is.
#[derive(Clone, Debug)]
struct Rows {
    /// Where they come from.
    base: Meaning,
    /// What they had to fulfil on their way.
    conditions: Vec<Meaning>,
    columns: BTreeMap<String, Meaning>,
}

impl Rows {
    fn new(base: Meaning, columns: BTreeMap<String, Meaning>) -> Rows {
        Rows { base, conditions: Vec::new(), columns }
    }

    /// Which rows there are.
    fn rows(&self) -> Meaning {
        Meaning::set(label("rows", ""), self.conditions.iter().chain([&self.base]).cloned())
    }

    fn column(&self, name: &str) -> Meaning {
        let unknown = || Meaning::new(label("column", name), Vec::new());
        self.columns.get(name).cloned().unwrap_or_else(unknown)
    }

    fn columns<'a>(&self, names: impl IntoIterator<Item = &'a String>) -> Vec<Meaning> {
        names.into_iter().map(|name| self.column(name)).collect()
    }

    /// The rows with all columns.
    fn whole(&self) -> Meaning {
        let columns = self.columns.iter().map(|(name, of)| Meaning::new(label("column", name), vec![of.clone()]));
        Meaning::new(label("rows", ""), [self.rows()].into_iter().chain(columns).collect())
    }
}

/// A part that no key of the job names.
fn label(key: &str, normal: &str) -> Label {
    Label { key: key.into(), normal: normal.into(), ..Label::default() }
}

/// What is being worked out.
struct Maker<'a> {
    graph: &'a Graph,
    /// Sources that are not compared.
    unnamed: &'a BTreeSet<String>,
    streams: BTreeMap<String, Rows>,
    tables: Meanings,
}

impl Graph {
    /// What the tables of checkpoints mean. `unnamed`: sources that stand for whatever is read, as their positions are given up.
    pub fn meanings(&self, unnamed: &BTreeSet<String>) -> Meanings {
        let mut maker = Maker { graph: self, unnamed, streams: BTreeMap::new(), tables: Meanings::new() };
        for source in &self.spec.sources {
            maker.source(source);
        }
        for node in &self.stages {
            if let Some(spec) = self.spec.stages.iter().find(|spec| spec.name == node.name) {
                maker.stage(node, spec);
            }
        }
        maker.sinks();
        maker.tables
    }

    /// Another job, checked with the plugins that this one has loaded. It does not run.
    pub fn of_other(&self, spec: JobSpec) -> Result<Graph> {
        Graph::resolve(spec, &self.host, false, ServerWait::No)
    }

    /// The queries over all rows whose state is kept under another name, by this name.
    pub fn queries(&self) -> BTreeMap<String, String> {
        let query = |stage: &StageSpec| Some((stage.name.clone(), query_of(&self.spec, &stage.name)?.to_owned()));
        self.spec.stages.iter().filter_map(query).filter(|(stage, query)| stage != query).collect()
    }
}

impl<'a> Maker<'a> {
    fn source(&mut self, source: &SourceSpec) {
        // The table of a stage is no stream.
        if source.kind.table().is_some() {
            return;
        }
        let unnamed = self.unnamed.contains(&source.name);
        let place = if unnamed { String::new() } else { format!("source `{}`", source.name) };
        let name = if unnamed { "" } else { source.name.as_str() };
        let normal = |normal: &str| Label { shown: name.into(), ..label("`from`", normal) };
        let base = Meaning::new(normal(name), Vec::new());
        let fields = self.graph.streams.get(&source.name).map(|schema| schema.fields().clone()).unwrap_or_default();
        let column = |name: &String| {
            let of_schema = source.schema.iter().find(|column| column.name == *name);
            let (path, text) = match of_schema {
                Some(column) if !column.path.is_empty() => (column.path.clone(), column.toml().to_string()),
                Some(column) => (vec![name.clone()], column.toml().to_string()),
                None => (vec![name.clone()], String::new()),
            };
            let (shown, place) = (format!("{name} = {text}"), place.clone());
            let label = Label { key: COLUMN.into(), normal: format!("{path:?} {text}"), shown, place };
            (name.clone(), Meaning::new(label, vec![base.clone()]))
        };
        let columns = fields.iter().map(|field| column(field.name())).collect();
        self.add_rejected(&source.name, &base);
        self.streams.insert(source.name.clone(), Rows::new(base, columns));
    }

    /// The stream of the rows that a source or stage refuses.
    fn add_rejected(&mut self, name: &str, of: &Meaning) {
        self.add_side(&rejected_name(name), Meaning::new(label("rejected rows", ""), vec![of.clone()]));
    }

    /// A stream whose columns are all made of the same.
    fn add_side(&mut self, name: &str, of: Meaning) {
        let fields = self.graph.streams.get(name).map(|schema| schema.fields().clone()).unwrap_or_default();
        let columns = fields.iter().map(|field| made(field.name(), &of)).collect();
        self.streams.insert(name.to_owned(), Rows::new(of, columns));
    }

    fn stream(&self, name: &str) -> Rows {
        let unknown = || Rows::new(Meaning::new(label("`from`", name), Vec::new()), BTreeMap::new());
        self.streams.get(name).cloned().unwrap_or_else(unknown)
    }

    /// The rows of all these streams.
    fn union<'b>(&self, from: impl IntoIterator<Item = &'b String>, place: &str) -> Rows {
        let streams: Vec<&String> = from.into_iter().filter(|name| !retry_source::is_name(name)).collect();
        let rows: Vec<Rows> = streams.iter().map(|name| self.stream(name)).collect();
        if let [one] = rows.as_slice() {
            return one.clone();
        }
        let shown = streams.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        let label = || Label { shown: shown.clone(), place: place.to_owned(), ..label("`from`", "several") };
        let base = Meaning::new(label(), rows.iter().map(Rows::rows).collect());
        let names: BTreeSet<&String> = rows.iter().flat_map(|rows| rows.columns.keys()).collect();
        let column = |name: &String| Meaning::new(label(), rows.iter().map(|rows| rows.column(name)).collect());
        let columns = names.into_iter().map(|name| (name.clone(), column(name))).collect();
        Rows::new(base, columns)
    }

    fn stage(&mut self, node: &StageNode, spec: &'a StageSpec) {
        let query = query_of(&self.graph.spec, &spec.name);
        let place = format!("stage `{}`", query.unwrap_or(&spec.name));
        let inputs = node.inputs.iter().map(|input: &InputNode| self.union(&input.from, &place)).collect();
        let mut stage = StageParts { node, spec, origin: &self.graph.spec.origin, place, inputs, times: Vec::new() };
        stage.times = stage.times();
        let made = stage.operator();
        for (table, meaning) in made.tables {
            let state = Some(meaning);
            self.tables.insert(table, TableMeaning { state, sinks: BTreeMap::new() });
        }
        let refused = stage.inputs.iter().map(Rows::rows).chain([made.rows.base.clone()]).collect();
        self.add_rejected(&spec.name, &Meaning::new(label("stage", ""), refused));
        for (side, _) in &node.sides {
            if let Some((_, rows)) = made.branches.iter().find(|(branch, _)| branch == side) {
                self.streams.insert(side.clone(), rows.clone());
                continue;
            }
            let late = stage.inputs.iter().map(Rows::whole).chain(stage.times.clone()).collect();
            self.add_side(side, Meaning::new(label("late rows", ""), late));
        }
        let keys = match query {
            None => ["`filter`", "`select`"],
            Some(_) if spec.name.ends_with("-rows") => ["`where`", "`sql`"],
            Some(_) => ["`having`", "`sql`"],
        };
        self.streams.insert(spec.name.clone(), stage.shaped(made.rows, keys));
    }
}

/// A column that a part makes.
fn made(name: &str, of: &Meaning) -> (String, Meaning) {
    (name.to_owned(), Meaning::new(label("column", name), vec![of.clone()]))
}

/// What a stage makes of its inputs.
struct Made {
    /// Before `filter` and `select`.
    rows: Rows,
    /// What checkpoints hold, by table.
    tables: Vec<(String, Meaning)>,
    /// By the names of the streams.
    branches: Vec<(String, Rows)>,
}

impl Made {
    fn of(rows: Rows) -> Made {
        Made { rows, tables: Vec::new(), branches: Vec::new() }
    }
}

/// A stage that is being looked at.
struct StageParts<'a> {
    node: &'a StageNode,
    spec: &'a StageSpec,
    origin: &'a Origin,
    place: String,
    inputs: Vec<Rows>,
    times: Vec<Meaning>,
}

impl StageParts<'_> {
    /// How the rows of each input tell their time.
    fn times(&self) -> Vec<Meaning> {
        let times = self.node.event_time.iter().flat_map(|event_time| &event_time.times).zip(&self.inputs);
        times.map(|(time, rows)| self.expression("`time`", time, rows)).collect()
    }

    /// A part that a key of the stage says.
    fn said(&self, key: &str, says: impl Into<String>, of: Vec<Meaning>) -> Meaning {
        let says = says.into();
        let label = Label { key: key.into(), normal: says.clone(), shown: says, place: self.place.clone() };
        Meaning::new(label, of)
    }

    /// The terms of an expression over rows.
    fn terms(&self, key: &str, expression: &Expression, rows: &Rows) -> Vec<Meaning> {
        let terms = expression.normal().terms.iter().map(|term| {
            let (shown, place) = (expression.text().to_owned(), self.place.clone());
            let label = Label { key: key.into(), normal: term.text.clone(), shown, place };
            Meaning::new(label, rows.columns(&term.columns))
        });
        terms.collect()
    }

    /// An expression over rows; a column alone is what it is.
    fn expression(&self, key: &str, expression: &Expression, rows: &Rows) -> Meaning {
        if let Some(column) = expression.normal().only_column() {
            return rows.column(column);
        }
        let mut terms = self.terms(key, expression, rows);
        match (terms.pop(), terms.is_empty()) {
            (Some(only), true) => only,
            (last, _) => Meaning::set(label(key, "and"), terms.into_iter().chain(last)),
        }
    }

    /// The rows behind `filter` and `select`.
    fn shaped(&self, mut rows: Rows, [filter_key, select_key]: [&str; 2]) -> Rows {
        let Some(shape) = &self.node.shape else { return rows };
        if let Some(filter) = &shape.filter {
            let terms = self.terms(filter_key, filter, &rows);
            rows.conditions.extend(terms);
        }
        if let Some(select) = &shape.select {
            let names = shape.output.fields().iter().map(|field| field.name().clone());
            let made = select.iter().map(|made| self.expression(select_key, made, &rows));
            rows.columns = names.zip(made).collect();
        }
        rows
    }
}
