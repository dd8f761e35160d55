//! A join that is checked.

use crate::operators::join::state::{AsOf, ChangingJoinPlan, Interval, Joined};
use arrow::datatypes::SchemaRef;
use millstream_base::job::spec::JoinKind;

/// A join, as the graph has checked it.
#[derive(Clone)]
pub struct JoinNode {
    /// Which rows come out without a partner, too.
    pub kind: JoinKind,
    /// How many columns make the key: the first ones of a layout.
    pub on: usize,
    /// Whether the bounds of a window follow.
    pub windowed: bool,
    /// How rows of each side are laid out for the join: places of the columns of its input, which may have the bounds of a
    /// window or the time of the row behind those of the stream.
    pub layouts: [Vec<usize>; 2],
    /// The columns in that order.
    pub columns: [SchemaRef; 2],
    /// The columns that come out.
    pub joined: Joined,
    /// By event time, instead of by batch or window.
    pub interval: Option<Interval>,
    /// Of the second input the latest row at the time of each row of the first.
    pub as_of: Option<AsOf>,
    /// Of all rows that ever came, which may be deleted again.
    pub changing: Option<ChangingNode>,
}

/// A join of two tables that change, as the graph has checked it.
#[derive(Clone)]
pub struct ChangingNode {
    /// The join.
    pub what: ChangingJoinPlan,
    /// Whether the rows of each side say what they do.
    pub ops: [bool; 2],
    /// The columns that come out.
    pub output: SchemaRef,
}
