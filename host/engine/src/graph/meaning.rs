//! The meaning of the state of a job's stages, so that checkpoints can tell whether another job may continue with it. It is how rows and columns are
//! computed, starting at sources, regardless of stage names. See `checkpoint/meaning`.
//!
//! For a column, it is the computation of that column. So an upstream stage may get other columns without changing the meaning downstream. The
//! results of plugins are identified only by their config: another component counts as another version of the same.

mod followers;
mod operators;
mod sinks;
#[cfg(test)]
mod tests;

use super::{Graph, rejected_name};
use crate::checkpoint::meaning::{COLUMN, Label, Meaning, Meanings, TableMeaning};
use crate::operators::stage::{InputNode, StageNode};
use millstream_base::error::Result;
use millstream_base::retry::StartupRetry;
use millstream_job::spec::{JobSpec, Origin, SourceSpec, StageSpec};
use millstream_job::{query_of, retry_source};
use millstream_sql::expression::Expression;
use std::collections::{BTreeMap, BTreeSet};

/// The meaning of a stream.
#[derive(Clone, Debug)]
struct Rows {
    /// Their origin.
    base: Meaning,
    /// The conditions that they met.
    conditions: Vec<Meaning>,
    columns: BTreeMap<String, Meaning>,
}

impl Rows {
    fn new(base: Meaning, columns: BTreeMap<String, Meaning>) -> Rows {
        Rows { base, conditions: Vec::new(), columns }
    }

    /// Returns which rows there are.
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

    /// Returns the rows with all columns.
    fn all_columns(&self) -> Meaning {
        let columns = self.columns.iter().map(|(name, of)| Meaning::new(label("column", name), vec![of.clone()]));
        Meaning::new(label("rows", ""), [self.rows()].into_iter().chain(columns).collect())
    }
}

/// Returns a label for a part that has no key in the job.
fn label(key: &str, normal: &str) -> Label {
    Label { key: key.into(), normal: normal.into(), ..Label::default() }
}

/// Computes the meanings of a job.
struct MeaningBuilder<'a> {
    graph: &'a Graph,
    /// Sources that are not compared.
    unnamed: &'a BTreeSet<String>,
    streams: BTreeMap<String, Rows>,
    tables: Meanings,
}

impl Graph {
    /// Returns the meanings of the tables of checkpoints. `unnamed`: sources that match any other, as their positions are dropped.
    pub fn meanings(&self, unnamed: &BTreeSet<String>) -> Meanings {
        let mut maker = MeaningBuilder { graph: self, unnamed, streams: BTreeMap::new(), tables: Meanings::new() };
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

    /// Checks another job with the plugins that this one has loaded. It does not run.
    pub fn of_other(&self, spec: JobSpec) -> Result<Graph> {
        Graph::resolve(spec, self.kinds, &self.host, false, StartupRetry::No)
    }

    /// Returns the queries over all rows whose state is stored under another name, by this name.
    pub fn queries(&self) -> BTreeMap<String, String> {
        let query = |stage: &StageSpec| Some((stage.name.clone(), query_of(&self.spec, &stage.name)?.to_owned()));
        self.spec.stages.iter().filter_map(query).filter(|(stage, query)| stage != query).collect()
    }
}

impl<'a> MeaningBuilder<'a> {
    fn source(&mut self, source: &SourceSpec) {
        // The table of a stage is not a stream.
        if source.kind.table().is_some() {
            return;
        }
        let unnamed = self.unnamed.contains(&source.name);
        let owner = if unnamed { String::new() } else { format!("source `{}`", source.name) };
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
            let (shown, owner) = (format!("{name} = {text}"), owner.clone());
            let label = Label { key: COLUMN.into(), normal: format!("{path:?} {text}"), shown, owner };
            (name.clone(), Meaning::new(label, vec![base.clone()]))
        };
        let columns = fields.iter().map(|field| column(field.name())).collect();
        self.add_rejected(&source.name, &base);
        self.streams.insert(source.name.clone(), Rows::new(base, columns));
    }

    /// Adds the stream of rows that a source or stage rejects.
    fn add_rejected(&mut self, name: &str, of: &Meaning) {
        self.add_side(&rejected_name(name), Meaning::new(label("rejected rows", ""), vec![of.clone()]));
    }

    /// Adds a stream whose columns are all computed from the same part.
    fn add_side(&mut self, name: &str, of: Meaning) {
        let fields = self.graph.streams.get(name).map(|schema| schema.fields().clone()).unwrap_or_default();
        let columns = fields.iter().map(|field| computed_column(field.name(), &of)).collect();
        self.streams.insert(name.to_owned(), Rows::new(of, columns));
    }

    fn stream(&self, name: &str) -> Rows {
        let unknown = || Rows::new(Meaning::new(label("`from`", name), Vec::new()), BTreeMap::new());
        self.streams.get(name).cloned().unwrap_or_else(unknown)
    }

    /// Returns the rows of all these streams.
    fn union<'b>(&self, from: impl IntoIterator<Item = &'b String>, owner: &str) -> Rows {
        let streams: Vec<&String> = from.into_iter().filter(|name| !retry_source::is_name(name)).collect();
        let rows: Vec<Rows> = streams.iter().map(|name| self.stream(name)).collect();
        if let [one] = rows.as_slice() {
            return one.clone();
        }
        let shown = streams.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        let label = || Label { shown: shown.clone(), owner: owner.to_owned(), ..label("`from`", "several") };
        let base = Meaning::new(label(), rows.iter().map(Rows::rows).collect());
        let names: BTreeSet<&String> = rows.iter().flat_map(|rows| rows.columns.keys()).collect();
        let column = |name: &String| Meaning::new(label(), rows.iter().map(|rows| rows.column(name)).collect());
        let columns = names.into_iter().map(|name| (name.clone(), column(name))).collect();
        Rows::new(base, columns)
    }

    fn stage(&mut self, node: &StageNode, spec: &'a StageSpec) {
        let query = query_of(&self.graph.spec, &spec.name);
        let owner = format!("stage `{}`", query.unwrap_or(&spec.name));
        let inputs = node.inputs.iter().map(|input: &InputNode| self.union(&input.from, &owner)).collect();
        let mut stage = StageParts { node, spec, origin: &self.graph.spec.origin, owner, inputs, times: Vec::new() };
        stage.times = stage.times();
        let made = stage.operator();
        for (table, meaning) in made.tables {
            let state = Some(meaning);
            self.tables.insert(table, TableMeaning { state, sinks: BTreeMap::new() });
        }
        let rejected_of = stage.inputs.iter().map(Rows::rows).chain([made.rows.base.clone()]).collect();
        self.add_rejected(&spec.name, &Meaning::new(label("stage", ""), rejected_of));
        for (side, _) in &node.sides {
            if let Some((_, rows)) = made.branches.iter().find(|(branch, _)| branch == side) {
                self.streams.insert(side.clone(), rows.clone());
                continue;
            }
            let late = stage.inputs.iter().map(Rows::all_columns).chain(stage.times.clone()).collect();
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

/// Returns a column that a part computes.
fn computed_column(name: &str, of: &Meaning) -> (String, Meaning) {
    (name.to_owned(), Meaning::new(label("column", name), vec![of.clone()]))
}

/// The results of a stage.
struct StageMeaning {
    /// Before `filter` and `select`.
    rows: Rows,
    /// The meanings of its tables in checkpoints.
    tables: Vec<(String, Meaning)>,
    /// The rows of side outputs, by the names of the streams.
    branches: Vec<(String, Rows)>,
}

impl StageMeaning {
    fn new(rows: Rows) -> StageMeaning {
        StageMeaning { rows, tables: Vec::new(), branches: Vec::new() }
    }
}

/// A stage that is being examined.
struct StageParts<'a> {
    node: &'a StageNode,
    spec: &'a StageSpec,
    origin: &'a Origin,
    owner: String,
    inputs: Vec<Rows>,
    times: Vec<Meaning>,
}

impl StageParts<'_> {
    /// Returns the time expressions of each input.
    fn times(&self) -> Vec<Meaning> {
        let times = self.node.event_time.iter().flat_map(|event_time| &event_time.times).zip(&self.inputs);
        times.map(|(time, rows)| self.expression("`time`", time, rows)).collect()
    }

    /// Returns a part for a key of the stage.
    fn key_part(&self, key: &str, says: impl Into<String>, of: Vec<Meaning>) -> Meaning {
        let says = says.into();
        let label = Label { key: key.into(), normal: says.clone(), shown: says, owner: self.owner.clone() };
        Meaning::new(label, of)
    }

    /// Returns the terms of an expression over rows.
    fn terms(&self, key: &str, expression: &Expression, rows: &Rows) -> Vec<Meaning> {
        let terms = expression.normal().terms.iter().map(|term| {
            let (shown, owner) = (expression.text().to_owned(), self.owner.clone());
            let label = Label { key: key.into(), normal: term.text.clone(), shown, owner };
            Meaning::new(label, rows.columns(&term.columns))
        });
        terms.collect()
    }

    /// Returns the meaning of an expression over rows; for a column alone, that of the column.
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

    /// Returns the rows after `filter` and `select`.
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
