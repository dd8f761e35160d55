//! The meaning of the outputs and the state of each operator.

use super::{Label, Meaning, Rows, StageMeaning, StageParts, computed_column, label};
use crate::event_time::node::watermark_table;
use crate::operators::aggregate::builtin::Builtin;
use crate::operators::cogroup::node::CogroupNode;
use crate::operators::enrich::node::EnrichNode;
use crate::operators::join::node::JoinNode;
use crate::operators::join::state::ColumnSource;
use crate::operators::latest::node::LatestNode;
use crate::operators::newest::node::NewestNode;
use crate::operators::pattern::state::PatternNode;
use crate::operators::plugin::node::PluginNode;
use crate::operators::ranking::node::RankingNode;
use crate::operators::simple::SimpleNode;
use crate::operators::sql::node::SqlNode;
use crate::operators::stage::Operator;
use crate::operators::update::node::UpdateNode;
use crate::operators::window::check::has_own_windows;
use crate::operators::window::node::{WINDOW_END, WINDOW_START, WindowNode};
use arrow::datatypes::Schema;
use millstream_base::time::microseconds;
use millstream_job::spec::{JoinKind, OperatorSpec, PatternSpec, StageSpec};
use millstream_sql::expression::Expression;
use millstream_sql::normal::normal_text;
use std::collections::BTreeMap;

impl StageParts<'_> {
    /// Returns the meaning of the outputs and of the state.
    pub(super) fn operator(&self) -> StageMeaning {
        let (inputs, window_tables) = self.windowed();
        let mut made = match &self.node.operator {
            Operator::Union => StageMeaning::new(first(&inputs)),
            Operator::Aggregate(builtin) => self.aggregate(builtin, &first(&inputs)),
            Operator::Reduce(node) => self.reduce(node, &first(&inputs)),
            Operator::Transform(node) => self.transform(node, &first(&inputs)),
            Operator::Update(node, update) => self.update(node, update, &first(&inputs)),
            Operator::Cogroup(node) => self.cogroup(node, &inputs),
            Operator::Sql(node) => self.sql(node, &inputs),
            Operator::Join(node) => self.join(node, &inputs),
            Operator::Enrich(node) => self.enrich(node, first(&inputs)),
            Operator::Latest(node) => self.latest(node, &inputs),
            Operator::Pattern(node) => self.pattern(node, &first(&inputs)),
            Operator::Simple(node) => self.simple(node, first(&inputs)),
        };
        made.tables.extend(window_tables);
        if self.spec.event_time.is_some() {
            let watermark = Meaning::new(label("`time`", ""), self.times.clone());
            made.tables.push((watermark_table(&self.spec.name), watermark));
        }
        // An operator has additional tables with the same meaning as the main one, such as those of values and of timers.
        if let Some((_, state)) = made.tables.iter().find(|(table, _)| *table == self.spec.name).cloned() {
            for table in &self.node.tables {
                if !made.tables.iter().any(|(known, _)| *known == table.name) {
                    made.tables.push((table.name.clone(), state.clone()));
                }
            }
        }
        made
    }

    fn key_of(&self, rows: &Rows) -> Vec<Meaning> {
        let key = rows.columns(&self.spec.key);
        vec![Meaning::new(Label { owner: self.owner.clone(), ..label("`key`", "") }, key)]
    }

    /// Returns the column at this index of the stage's input.
    fn at(&self, rows: &Rows, index: usize) -> Meaning {
        self.node.input.fields().get(index).map_or_else(|| rows.rows(), |field| rows.column(field.name()))
    }

    fn window(&self) -> String {
        let text = self.node.window.as_ref().map_or(String::new(), WindowNode::description);
        let updates = self.node.window.as_ref().is_some_and(WindowNode::updates);
        if updates { format!("{text}, at every change") } else { text }
    }

    /// Returns the inputs after windows that hold their rows, and the tables of these windows.
    fn windowed(&self) -> (Vec<Rows>, Vec<(String, Meaning)>) {
        if self.node.window.is_none() || has_own_windows(&self.node.operator) {
            return (self.inputs.clone(), Vec::new());
        }
        let of = self.inputs.first().map(|rows| self.key_of(rows)).into_iter().flatten().chain(self.times.clone());
        let window = self.key_part("`window`", self.window(), of.collect());
        let after_window = |rows: &Rows| {
            let base = Meaning::new(label("rows of windows", ""), vec![window.clone(), rows.rows()]);
            let bounds = [WINDOW_START, WINDOW_END].map(|name| computed_column(name, &base));
            let columns = rows.columns.clone().into_iter().chain(bounds).collect();
            Rows::new(base, columns)
        };
        let rows_meaning = self.inputs.iter().map(Rows::all_columns).chain([window.clone()]).collect();
        let rows_meaning = Meaning::new(label("rows of windows", ""), rows_meaning);
        let name = &self.spec.name;
        let is_of_rows = |table: &&String| {
            [crate::operators::window::check::rows_table(name), crate::operators::window::check::pieces_table(name)]
                .contains(*table)
        };
        let tables = self.node.tables.iter().map(|table| &table.name).filter(is_of_rows);
        (
            self.inputs.iter().map(after_window).collect(),
            tables.map(|table| (table.clone(), rows_meaning.clone())).collect(),
        )
    }

    fn state(&self, meaning: Meaning) -> Vec<(String, Meaning)> {
        vec![(self.spec.name.clone(), meaning)]
    }

    fn aggregate(&self, builtin: &Builtin, rows: &Rows) -> StageMeaning {
        let op = builtin.op.map(|op| self.at(rows, op));
        let emits = if builtin.changes.is_some() { ", emit = changes" } else { "" };
        let inverse = if builtin.inverse { ", with inverse" } else { "" };
        let window = self.key_part("`window`", format!("{}{inverse}{emits}", self.window()), Vec::new());
        let of = [rows.rows(), window].into_iter().chain(self.key_of(rows)).chain(self.times.clone()).chain(op);
        let base = Meaning::new(label("aggregate", ""), of.collect());
        let functions: Vec<(String, Meaning)> = builtin
            .parts()
            .map(|part| {
                let argument = part.column.map_or_else(|| rows.rows(), |column| rows.column(column));
                let filter = part.filter.map(|filter| self.expression("`filter (where …)`", filter, rows));
                let of = [base.clone(), argument].into_iter().chain(filter).collect();
                let shown = Label {
                    shown: part.shown.clone(),
                    owner: self.owner.clone(),
                    ..label("`aggregate`", &part.signature)
                };
                (part.output.to_owned(), Meaning::new(shown, of))
            })
            .collect();
        let state =
            functions.iter().map(|(name, function)| Meaning::new(label("column", name), vec![function.clone()]));
        let state = Meaning::new(label("totals", ""), state.collect());
        let keys = self.spec.key.iter().map(|name| (name.clone(), rows.column(name)));
        let others = self.other_columns(&base, functions.iter().map(|(name, _)| name));
        let columns = keys.chain(functions.clone()).chain(others).collect();
        StageMeaning { tables: self.state(state), ..StageMeaning::new(Rows::new(base, columns)) }
    }

    /// Returns the columns of the stage, before `select`, that are neither its key nor in `known`.
    fn other_columns<'b>(&self, of: &Meaning, known: impl Iterator<Item = &'b String>) -> Vec<(String, Meaning)> {
        let known: Vec<String> = known.cloned().chain(self.spec.key.iter().cloned()).collect();
        let bounds = [WINDOW_START, WINDOW_END].map(str::to_owned);
        let op = self.spec.op.clone().unwrap_or_else(|| millstream_job::spec::OPERATION.into());
        let others = bounds.into_iter().chain([op]).filter(|name| !known.contains(name));
        others.map(|name| computed_column(&name, of)).collect()
    }

    /// Returns the config of the plugins of this stage, as written: values of variables may change.
    fn config(&self) -> String {
        let plugins = self.spec.plugins();
        let path = match &self.spec.operator {
            OperatorSpec::Sql { .. } => return self.configs_of_functions(),
            _ => format!("stages.{}.config", self.spec.name),
        };
        plugins.first().map_or(String::new(), |plugin| self.written(&path, &plugin.config).to_string())
    }

    fn configs_of_functions(&self) -> String {
        let OperatorSpec::Sql { functions, .. } = &self.spec.operator else { return String::new() };
        let path = |name: &str| format!("stages.{}.functions.{name}.config", self.spec.name);
        let configs = functions.iter().map(|(name, plugin)| (name, self.written(&path(name), &plugin.config)));
        configs.map(|(name, config)| format!("{name} = {config}")).collect::<Vec<_>>().join(", ")
    }

    fn written(&self, path: &str, value: &serde_json::Value) -> serde_json::Value {
        use serde_json::Value;
        match value {
            Value::String(text) => {
                let written = self.origin.written.at_value(path, text);
                Value::String(written.unwrap_or(text).to_owned())
            }
            Value::Array(values) => Value::Array(values.iter().map(|value| self.written(path, value)).collect()),
            Value::Object(fields) => {
                let field =
                    |(name, value): (&String, _)| (name.clone(), self.written(&format!("{path}.{name}"), value));
                Value::Object(fields.iter().map(field).collect())
            }
            other => other.clone(),
        }
    }

    /// Returns the columns that a plugin reads.
    fn read_by(&self, rows: &Rows, reads: &[usize]) -> Vec<Meaning> {
        reads.iter().map(|index| self.at(rows, *index)).collect()
    }

    fn reduce(&self, node: &PluginNode, rows: &Rows) -> StageMeaning {
        let inverse = if node.description.inverse { ", with inverse" } else { "" };
        let window = self.key_part("`window`", format!("{}{inverse}", self.window()), Vec::new());
        let of = [rows.rows(), window].into_iter().chain(self.key_of(rows)).chain(self.times.clone());
        let of = of.chain(self.read_by(rows, &node.reads)).collect();
        let base = self.key_part("`config`", self.config(), of);
        let keys = self.spec.key.iter().map(|name| (name.clone(), rows.column(name)));
        let made = self
            .other_columns(&base, std::iter::empty())
            .into_iter()
            .chain(columns_of(&node.description.output, &base));
        let columns = keys.chain(made).collect();
        StageMeaning { tables: self.state(base.clone()), ..StageMeaning::new(Rows::new(base, columns)) }
    }

    fn transform(&self, node: &PluginNode, rows: &Rows) -> StageMeaning {
        let of = [rows.rows()].into_iter().chain(self.read_by(rows, &node.reads)).collect();
        // Without its config: it is corrected like the component, and the failed batch, or the rejected rows, are processed again.
        let base = self.key_part("`plugin`", String::new(), of);
        let columns = columns_of(&node.description.output, &base).collect();
        StageMeaning::new(Rows::new(base, columns))
    }

    fn update(&self, node: &PluginNode, update: &UpdateNode, rows: &Rows) -> StageMeaning {
        let timers = update.timers.map(|clock| self.key_part("timers", format!("{clock:?}"), Vec::new()));
        // Without `initial`: existing states are kept, and the file is not read again.
        let timeout = update.timeout.map_or(String::new(), |timeout| format!("{timeout:?}"));
        let keys = [
            self.key_part("`on`", format!("{:?}", update.on), Vec::new()),
            self.key_part("`timeout`", timeout, Vec::new()),
        ];
        let of = [rows.rows()].into_iter().chain(self.key_of(rows)).chain(keys).chain(timers);
        let of = of.chain(self.times.clone()).chain(self.read_by(rows, &node.reads)).collect();
        let state = self.key_part("`config`", self.config(), of);
        let base = self.key_part("`emit`", format!("{:?}", update.emit), vec![state.clone()]);
        let columns = columns_of(&update.output, &base).collect();
        StageMeaning { tables: self.state(state), ..StageMeaning::new(Rows::new(base, columns)) }
    }

    fn cogroup(&self, node: &CogroupNode, inputs: &[Rows]) -> StageMeaning {
        let of = node.inputs.iter().zip(inputs).flat_map(|(input, rows)| {
            let column = |index: &usize| input.schema.fields().get(*index).map(|field| rows.column(field.name()));
            let columns = input.key.iter().chain(&input.reads).filter_map(column).collect::<Vec<_>>();
            [rows.rows()].into_iter().chain(columns)
        });
        let base = self.key_part("`config`", self.config(), of.collect());
        let columns = columns_of(&node.plugin.description.output, &base).collect();
        StageMeaning::new(Rows::new(base, columns))
    }

    fn sql(&self, node: &SqlNode, inputs: &[Rows]) -> StageMeaning {
        let normal = node.query.normal();
        let used = inputs
            .iter()
            .zip(&normal.columns)
            .flat_map(|(rows, columns)| [rows.rows()].into_iter().chain(rows.columns(columns)).collect::<Vec<_>>());
        let functions = self.key_part("`functions`", self.config(), Vec::new());
        let shown = match &self.spec.operator {
            OperatorSpec::Sql { query, .. } => query.split_whitespace().collect::<Vec<_>>().join(" "),
            _ => String::new(),
        };
        let label = Label { shown, owner: self.owner.clone(), ..label("`sql`", &normal.text) };
        let base = Meaning::new(label, used.chain([functions]).collect());
        let columns = columns_of(&node.query.output(), &base).collect();
        StageMeaning::new(Rows::new(base, columns))
    }

    fn join(&self, node: &JoinNode, inputs: &[Rows]) -> StageMeaning {
        let [first, second] = inputs else { return StageMeaning::new(first(inputs)) };
        let OperatorSpec::Join(spec) = &self.spec.operator else { return StageMeaning::new(first.clone()) };
        let ttl = spec.ttl.map(microseconds);
        let over_all = if node.changing.is_some() { " over all rows" } else { "" };
        let says = format!(
            "type = {}{over_all}, within = {:?}, as_of = {}, ttl = {ttl:?}",
            node.kind.name(),
            spec.within_us,
            spec.as_of
        );
        let on = spec.on.iter().flat_map(|(left, right)| [first.column(left), second.column(right)]).collect();
        let on = Meaning::new(Label { owner: self.owner.clone(), ..label("`join.on`", "") }, on);
        let ops = node.changing.iter().flat_map(|changing| changing.ops).zip(inputs).filter(|(says, _)| *says);
        let op = self.spec.op.clone().unwrap_or_default();
        let ops = ops.map(|(_, rows)| rows.column(&op));
        let of = [first.rows(), second.rows(), on].into_iter().chain(self.times.clone()).chain(ops);
        let base = Meaning::new(
            Label { shown: says.clone(), owner: self.owner.clone(), ..label("`join`", &says) },
            of.collect(),
        );
        let of_side = |side: usize, index: usize| {
            let rows = if side == 0 { first } else { second };
            node.columns.get(side).and_then(|schema| schema.fields().get(index)).map(|field| rows.column(field.name()))
        };
        let sources = node.joined.schema.fields().iter().zip(&node.joined.sources);
        let joined = sources.map(|(field, source)| {
            let of = match source {
                ColumnSource::Both(index) => [of_side(0, *index), of_side(1, *index)].into_iter().flatten().collect(),
                ColumnSource::First(index) => of_side(0, *index).into_iter().collect(),
                ColumnSource::Second(index) => of_side(1, *index).into_iter().collect(),
            };
            (field.name().clone(), Meaning::new(label("joined", ""), of))
        });
        let mut columns: BTreeMap<String, Meaning> = joined.collect();
        columns.extend(self.other_columns(&base, columns.keys().cloned().collect::<Vec<_>>().iter()));
        let state =
            Meaning::new(label("rows of a join", ""), vec![base.clone(), first.all_columns(), second.all_columns()]);
        let tables = if self.node.tables.iter().any(|table| table.name == self.spec.name) {
            self.state(state)
        } else {
            Vec::new()
        };
        StageMeaning { tables, ..StageMeaning::new(Rows::new(base, columns)) }
    }

    /// The contents of a lookup table are those of the time of the lookup.
    fn enrich(&self, node: &EnrichNode, mut rows: Rows) -> StageMeaning {
        let on = node.on.iter().map(|index| self.at(&rows, *index)).collect();
        let names = node.enrich.on.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(", ");
        let on = self.key_part("`enrich.on`", names, on);
        let added = node.output.fields().iter().skip(self.node.input.fields().len()).zip(&node.adds);
        let added: Vec<_> = added
            .map(|(field, index)| {
                let of_table =
                    node.enrich.schema.get(*index).map(|column| format!("{} {}", column.name, column.toml()));
                (field.name().clone(), self.key_part("`enrich`", of_table.unwrap_or_default(), vec![on.clone()]))
            })
            .collect();
        rows.columns.extend(added);
        if node.inner {
            rows.conditions.push(self.key_part("`enrich.type`", JoinKind::Inner.name(), vec![on]));
        }
        StageMeaning::new(rows)
    }

    fn latest(&self, node: &LatestNode, inputs: &[Rows]) -> StageMeaning {
        let [rows, stream] = inputs else { return StageMeaning::new(first(inputs)) };
        let OperatorSpec::Latest(spec) = &self.spec.operator else { return StageMeaning::new(rows.clone()) };
        let key = spec.on.iter().map(|(_, name)| stream.column(name));
        let op = spec.op.as_ref().map(|op| self.key_part("`enrich.op`", "", vec![stream.column(op)]));
        let latest_column = node.stored_schema.fields().iter().map(|field| stream.column(field.name()));
        let kept = [stream.rows()].into_iter().chain(op).chain(key).collect();
        let table = Meaning::new(Label { owner: self.owner.clone(), ..label("`enrich.on`", "") }, kept);
        let state =
            Meaning::new(label("latest rows", ""), [table.clone()].into_iter().chain(latest_column.clone()).collect());
        let on = spec.on.iter().map(|(name, _)| rows.column(name)).collect();
        let on = self.key_part("`enrich.on`", "", on);
        let mut out = rows.clone();
        let added = node.output.fields().iter().skip(self.node.input.fields().len()).zip(latest_column);
        out.columns.extend(added.map(|(field, latest_column)| {
            (field.name().clone(), Meaning::new(label("latest", ""), vec![table.clone(), on.clone(), latest_column]))
        }));
        if node.inner {
            out.conditions.push(self.key_part("`enrich.type`", JoinKind::Inner.name(), vec![on, table]));
        }
        StageMeaning { tables: self.state(state), ..StageMeaning::new(out) }
    }

    fn pattern(&self, node: &PatternNode, rows: &Rows) -> StageMeaning {
        let OperatorSpec::Pattern(spec) = &self.spec.operator else { return StageMeaning::new(rows.clone()) };
        let PatternSpec { steps, define, measures, within, skip, .. } = spec.as_ref();
        let taken =
            self.key_part("`pattern.steps`", steps.text.split_whitespace().collect::<Vec<_>>().join(" "), Vec::new());
        let within = within.map_or(String::new(), |within| format!("{within:?}"));
        let within = self.key_part("`pattern.within`", within, Vec::new());
        let skip = self.key_part("`pattern.skip`", format!("{skip:?}"), Vec::new());
        let condition = |(name, text): &(String, String)| {
            let condition = self.key_part(&format!("`pattern.define.{name}`"), normal_text(text), Vec::new());
            (name.clone(), condition)
        };
        let conditions: BTreeMap<String, Meaning> = define.iter().map(condition).collect();
        let of = [rows.rows(), taken, within, skip].into_iter().chain(conditions.into_values());
        let kept = node.layout.schema.fields().iter().map(|field| rows.column(field.name()));
        let of = of.chain(self.key_of(rows)).chain(self.times.clone()).chain(kept).collect();
        let base = self.key_part("`pattern`", "", of);
        let measure = |(name, text): &(String, String)| {
            (name.clone(), self.key_part("`pattern.measures`", normal_text(text), vec![base.clone()]))
        };
        let measures: BTreeMap<String, Meaning> = measures.iter().map(measure).collect();
        let mut columns: BTreeMap<String, Meaning> = columns_of(&node.output, &base).collect();
        columns.extend(self.spec.key.iter().map(|name| (name.clone(), rows.column(name))));
        columns.extend(measures);
        StageMeaning { tables: self.state(base.clone()), ..StageMeaning::new(Rows::new(base, columns)) }
    }

    fn simple(&self, node: &SimpleNode, mut rows: Rows) -> StageMeaning {
        match node {
            SimpleNode::Top { n, by, ascending, bounds: _ } => {
                let of = [rows.rows(), self.at(&rows, *by)].into_iter().chain(self.key_of(&rows)).collect();
                let says = format!("n = {n}, by = {}{}", self.name_of(*by), order(*ascending));
                rows.conditions.push(self.key_part("`top`", says, of));
                StageMeaning::new(rows)
            }
            SimpleNode::Ranking(node) => self.ranking(node, &rows),
            SimpleNode::Newest(node) => self.newest(node, &rows),
            SimpleNode::Distinct(indices) => {
                let of = [rows.rows()].into_iter().chain(self.read_by(&rows, indices)).collect();
                let condition = Meaning::new(Label { owner: self.owner.clone(), ..label("`distinct`", "") }, of);
                rows.conditions.push(condition);
                StageMeaning::new(rows)
            }
            SimpleNode::Deduplicate { within_us } => {
                let of = [rows.rows()].into_iter().chain(self.key_of(&rows)).chain(self.times.clone()).collect();
                let within = std::time::Duration::from_micros(within_us.unsigned_abs());
                let base = self.key_part("`deduplicate`", format!("{within:?}"), of);
                StageMeaning { tables: self.state(base.clone()), ..StageMeaning::new(Rows::new(base, rows.columns)) }
            }
            SimpleNode::Sample(_) => {
                let share = match &self.spec.operator {
                    OperatorSpec::Sample(share) => share.to_string(),
                    _ => String::new(),
                };
                rows.conditions.push(self.key_part("`sample`", share, vec![rows.rows()]));
                StageMeaning::new(rows)
            }
            SimpleNode::Split(predicates) => self.split(predicates, rows),
            SimpleNode::Repartition { .. } => StageMeaning::new(rows),
        }
    }

    fn name_of(&self, index: usize) -> String {
        self.node.input.fields().get(index).map_or(String::new(), |field| field.name().clone())
    }

    fn split(&self, predicates: &[Expression], rows: Rows) -> StageMeaning {
        let predicate = |predicate: &Expression| self.expression("`split`", predicate, &rows);
        let predicates: Vec<Meaning> = predicates.iter().map(predicate).collect();
        let of = |first: usize, word: &str| {
            let of = predicates.iter().take(first).cloned().collect();
            let mut part = rows.clone();
            part.conditions.push(Meaning::new(Label { owner: self.owner.clone(), ..label("`split`", word) }, of));
            part
        };
        let names: Vec<String> = match &self.spec.operator {
            OperatorSpec::Split(branches) => {
                branches.iter().map(|(name, _)| format!("{}.{name}", self.spec.name)).collect()
            }
            _ => Vec::new(),
        };
        let branches = names.into_iter().enumerate().map(|(index, name)| (name, of(index + 1, "the last of these")));
        StageMeaning { branches: branches.collect(), ..StageMeaning::new(of(predicates.len(), "none of these")) }
    }

    fn ranking(&self, node: &RankingNode, rows: &Rows) -> StageMeaning {
        let (by, order) = (self.name_of(node.by), order(node.ascending));
        let rank = node.rank.as_ref().map_or(String::new(), |name| format!(", rank = {name}"));
        let op = node.op.map(|op| self.at(rows, op));
        let of = [rows.rows(), self.at(rows, node.by)].into_iter().chain(self.key_of(rows)).chain(op).collect();
        let shown = format!("n = {}, by = {by}{order}{rank}", node.n);
        let normal = format!("n = {}{order}{rank}", node.n);
        let base = Meaning::new(Label { shown, owner: self.owner.clone(), ..label("`top`", &normal) }, of);
        self.kept_rows(base, rows, &node.output)
    }

    fn newest(&self, node: &NewestNode, rows: &Rows) -> StageMeaning {
        let by = node.by.map(|by| self.at(rows, by));
        let says = node.by.map_or_else(|| "as they come".to_owned(), |by| self.name_of(by));
        let op = node.op.map(|op| self.at(rows, op));
        let of = [rows.rows()].into_iter().chain(self.key_of(rows)).chain(by).chain(op).collect();
        let base = self.key_part("`latest`", says, of);
        self.kept_rows(base, rows, &node.output)
    }

    /// Rows that are kept with all their columns, and emitted as they change.
    fn kept_rows(&self, base: Meaning, rows: &Rows, output: &Schema) -> StageMeaning {
        let column = |name: &String| match rows.columns.get(name) {
            Some(known) => (name.clone(), known.clone()),
            None => computed_column(name, &base),
        };
        let columns: BTreeMap<String, Meaning> = output.fields().iter().map(|field| column(field.name())).collect();
        let state = Meaning::new(label("kept rows", ""), vec![base.clone(), rows.all_columns()]);
        StageMeaning { tables: self.state(state), ..StageMeaning::new(Rows::new(base, columns)) }
    }
}

fn order(ascending: bool) -> &'static str {
    if ascending { ", smallest first" } else { "" }
}

fn first(inputs: &[Rows]) -> Rows {
    inputs.first().cloned().unwrap_or_else(|| Rows::new(Meaning::new(label("rows", ""), Vec::new()), BTreeMap::new()))
}

fn columns_of<'a>(schema: &'a Schema, of: &'a Meaning) -> impl Iterator<Item = (String, Meaning)> + 'a {
    schema.fields().iter().map(|field| computed_column(field.name(), of))
}

/// Returns whether a stage emits rows that replace earlier ones.
pub(super) fn replaces_rows(stage: &StageSpec) -> bool {
    let updates = stage.window.as_ref().is_some_and(|window| window.emit == millstream_job::spec::WindowEmit::Update);
    updates || millstream_job::changes_rows(stage)
}
