//! A checked stage, with its operator: the nodes of a job's graph.

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
use millstream_rows::batch::rejected::RejectedRows;

/// A checked stage.
#[derive(Clone)]
pub struct StageNode {
    /// Its name.
    pub name: String,
    /// Its inputs.
    pub inputs: Vec<InputNode>,
    /// The columns for the operator: those of the first input. If it processes rows of event time windows, the bounds of the window follow.
    pub input: SchemaRef,
    /// Indexes of its key columns in `input`.
    pub key: Vec<usize>,
    /// The columns of its rows.
    pub output: SchemaRef,
    /// The output of the rows that it rejects.
    pub rejected: RejectedRows,
    /// The rows for the operator, unless these are the rows of one batch.
    pub window: Option<WindowNode>,
    /// Definition of its rows' event time.
    pub event_time: Option<EventTimeNode>,
    /// Its operator.
    pub operator: Operator,
    /// Processing of the operator's rows before they leave the stage.
    pub shape: Option<OutputShape>,
    /// Streams in addition to `<name>` and `<name>.rejected`, with their columns: late rows first, then branches.
    pub sides: Vec<(String, SchemaRef)>,
    /// Its tables in checkpoints, without files.
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
    /// Joins rows with a lookup table.
    Enrich(Box<EnrichNode>),
    /// Joins rows with the latest row of another stream that has the same key.
    Latest(Box<LatestNode>),
    /// Sequences of rows of a key.
    Pattern(Box<PatternNode>),
    /// Selects or distributes rows.
    Simple(SimpleNode),
}

impl StageNode {
    /// Returns its plugin, if any.
    pub fn plugin(&self) -> Option<&PluginNode> {
        plugin_of(&self.operator)
    }

    /// Returns its plugin, mutable.
    pub fn plugin_mut(&mut self) -> Option<&mut PluginNode> {
        match &mut self.operator {
            Operator::Transform(node) | Operator::Update(node, _) | Operator::Reduce(node) => Some(node),
            Operator::Cogroup(node) => Some(&mut node.plugin),
            _ => None,
        }
    }

    /// Returns whether it keeps one total row per key, over all rows ever received.
    pub fn keeps_totals(&self) -> bool {
        let keeps_values = matches!(&self.operator, Operator::Aggregate(functions) if functions.keeps_values);
        matches!(self.window, Some(WindowNode::All)) && !keeps_values
    }

    /// Returns whether its state may be spilled, if the job limits the memory of state. Update stages decide that themselves.
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

    /// Returns whether keys have running totals, from which rows that leave a window of processing time are subtracted.
    pub fn has_inverse(&self) -> bool {
        match &self.operator {
            Operator::Aggregate(builtin) => builtin.inverse,
            Operator::Reduce(node) => node.description.inverse,
            _ => false,
        }
    }

    /// Returns whether parts only pass through it: each is emitted complete, in pieces or not at all, with its order in the batch.
    pub fn keeps_parts(&self) -> bool {
        let keeps = match &self.operator {
            Operator::Union | Operator::Transform(_) | Operator::Enrich(_) | Operator::Latest(_) => true,
            Operator::Simple(node) => node.keeps_parts(self.event_time.is_some()),
            Operator::Sql(node) => node.keeps_parts(),
            _ => false,
        };
        keeps && self.window.is_none()
    }

    /// Returns whether its own watermark bounds the age of rows that it may still emit. It emits them later than their input. Or it merges several
    /// sources, some of which may lag behind, on one clock.
    pub fn holds_rows(&self) -> bool {
        let holds = match &self.operator {
            Operator::Join(node) => node.interval.is_some() || node.as_of.is_some(),
            Operator::Update(..) | Operator::Pattern(_) | Operator::Simple(SimpleNode::Deduplicate { .. }) => true,
            _ => false,
        };
        self.event_time.is_some() && (holds || self.window.is_some_and(|window| window.of_event_time()))
    }

    /// Returns whether it emits which of its results are replaced.
    pub fn emits_replaced(&self) -> bool {
        let name = format!("{}.{REPLACED}", self.name);
        self.sides.iter().any(|(side, _)| *side == name)
    }
}

/// Returns the plugin of an operator, if any.
pub fn plugin_of(operator: &Operator) -> Option<&PluginNode> {
    match operator {
        Operator::Transform(node) | Operator::Update(node, _) | Operator::Reduce(node) => Some(node),
        Operator::Cogroup(node) => Some(&node.plugin),
        _ => None,
    }
}
