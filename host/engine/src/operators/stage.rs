//! A stage that is checked, with its operator: what the graph of a job consists of.

use crate::checkpoint::types::Table;
use crate::event_time::node::EventTimeNode;
use crate::operators::aggregate::builtin::Builtin;
use crate::operators::cogroup::node::CogroupNode;
use crate::operators::enrich::node::EnrichNode;
use crate::operators::join::node::JoinNode;
use crate::operators::latest::node::LatestNode;
use crate::operators::newest::node::REPLACED;
use crate::operators::pattern::state::PatternNode;
use crate::operators::plugin::node::PluginNode;
use crate::operators::shape::check::OutputShape;
use crate::operators::simple::SimpleNode;
use crate::operators::sql::node::SqlNode;
use crate::operators::update::node::UpdateNode;
use crate::operators::window::node::WindowNode;
use arrow::datatypes::SchemaRef;
use millstream_base::batch::rejected::RejectedRows;

/// A checked stage.
#[derive(Clone)]
pub struct StageNode {
    /// Its name.
    pub name: String,
    /// Its inputs.
    pub inputs: Vec<InputNode>,
    /// The columns that the operator works on: those of the first input, with the bounds of its window behind them where
    /// rows of event time windows come out of a window first.
    pub input: SchemaRef,
    /// Places of its key columns in `input`.
    pub key: Vec<usize>,
    /// The columns of its rows.
    pub output: SchemaRef,
    /// How it puts out the rows that it refuses.
    pub rejected: RejectedRows,
    /// The rows that the operator works on, where these are not those of one batch.
    pub window: Option<WindowNode>,
    /// How its rows tell their time.
    pub event_time: Option<EventTimeNode>,
    /// Its operator.
    pub operator: Operator,
    /// What happens to the operator's rows before they leave the stage.
    pub shape: Option<OutputShape>,
    /// Streams beside `<name>` and `<name>.rejected`, with their columns: late rows first, then branches.
    pub sides: Vec<(String, SchemaRef)>,
    /// What checkpoints hold of it, without files.
    pub tables: Vec<Table>,
}

/// An input of a stage: the streams that it reads under one name.
#[derive(Clone)]
pub struct InputNode {
    /// Its name in queries.
    pub name: String,
    /// The streams: their union.
    pub from: Vec<String>,
    /// The columns.
    pub schema: SchemaRef,
}

/// The operator of a stage, ready to be built.
#[derive(Clone)]
pub enum Operator {
    /// Passes rows on.
    Union,
    /// A plugin of world `transform`.
    Transform(PluginNode),
    /// A plugin of world `update`.
    Update(PluginNode, Box<UpdateNode>),
    /// A plugin of world `aggregate`.
    Reduce(PluginNode),
    /// A plugin of world `cogroup`.
    Cogroup(Box<CogroupNode>),
    /// Built-in aggregates.
    Aggregate(Builtin),
    /// A query.
    Sql(Box<SqlNode>),
    /// A join.
    Join(Box<JoinNode>),
    /// A table from outside beside each row.
    Enrich(Box<EnrichNode>),
    /// The latest row that another stream has of the same key, beside each row.
    Latest(Box<LatestNode>),
    /// Sequences of rows of a key.
    Pattern(Box<PatternNode>),
    /// Chooses or spreads rows.
    Simple(SimpleNode),
}

impl StageNode {
    /// Its plugin, if it is one.
    pub fn plugin(&self) -> Option<&PluginNode> {
        plugin_of(&self.operator)
    }

    /// The same, to be changed.
    pub fn plugin_mut(&mut self) -> Option<&mut PluginNode> {
        match &mut self.operator {
            Operator::Transform(node) | Operator::Update(node, _) | Operator::Reduce(node) => Some(node),
            Operator::Cogroup(node) => Some(&mut node.plugin),
            _ => None,
        }
    }

    /// Whether it keeps a total of each key, in one row, of all rows that ever came.
    pub fn keeps_totals(&self) -> bool {
        let keeps_values = matches!(&self.operator, Operator::Aggregate(functions) if functions.keeps_values);
        matches!(self.window, Some(WindowNode::All)) && !keeps_values
    }

    /// Whether what it keeps may lie in files where the job says how much memory state may take. Update stages know that themselves.
    pub fn may_spill(&self) -> bool {
        if self.window.is_some_and(|window| !matches!(window, WindowNode::All)) {
            return true;
        }
        match &self.operator {
            Operator::Latest(_) | Operator::Simple(SimpleNode::Newest(_) | SimpleNode::Deduplicate { .. }) => true,
            // All rows of a key come back together.
            Operator::Pattern(_) | Operator::Simple(SimpleNode::Ranking(_)) => !self.key.is_empty(),
            Operator::Join(join) => join.interval.is_some() || join.as_of.is_some() || join.changing.is_some(),
            Operator::Aggregate(_) | Operator::Reduce(_) => self.keeps_totals(),
            _ => false,
        }
    }

    /// Whether keys have running totals, which what leaves a window of processing time is taken out of.
    pub fn has_inverse(&self) -> bool {
        match &self.operator {
            Operator::Aggregate(builtin) => builtin.inverse,
            Operator::Reduce(node) => node.description.inverse,
            _ => false,
        }
    }

    /// Whether parts only pass through it: each comes out whole, in pieces or not at all, with its place in the batch.
    pub fn keeps_parts(&self) -> bool {
        let keeps = match &self.operator {
            Operator::Union | Operator::Transform(_) | Operator::Enrich(_) | Operator::Latest(_) => true,
            Operator::Simple(node) => node.keeps_parts(self.event_time.is_some()),
            Operator::Sql(node) => node.keeps_parts(),
            _ => false,
        };
        keeps && self.window.is_none()
    }

    /// Whether its own watermark says how old the rows that it still puts out may be: it puts them out later than what they
    /// are made of came, or those of several sources, of which one may be behind the others, by one clock.
    pub fn holds_rows(&self) -> bool {
        let holds = match &self.operator {
            Operator::Join(node) => node.interval.is_some() || node.as_of.is_some(),
            Operator::Update(..) | Operator::Pattern(_) | Operator::Simple(SimpleNode::Deduplicate { .. }) => true,
            _ => false,
        };
        self.event_time.is_some() && (holds || self.window.is_some_and(|window| window.of_event_time()))
    }

    /// Whether it puts out which of its results are replaced by others.
    pub fn puts_out_replaced(&self) -> bool {
        let name = format!("{}.{REPLACED}", self.name);
        self.sides.iter().any(|(side, _)| *side == name)
    }
}

/// The plugin of an operator, if it is one.
pub fn plugin_of(operator: &Operator) -> Option<&PluginNode> {
    match operator {
        Operator::Transform(node) | Operator::Update(node, _) | Operator::Reduce(node) => Some(node),
        Operator::Cogroup(node) => Some(&node.plugin),
        _ => None,
    }
}
