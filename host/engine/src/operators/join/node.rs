//! A checked join.

use crate::operators::join::state::{AsOf, ChangingJoinPlan, Interval, Joined};
use arrow::datatypes::SchemaRef;
use millstream_job::spec::JoinKind;

/// A join, checked by the graph.
#[derive(Clone)]
pub struct JoinNode {
    /// Which rows are also emitted without a partner.
    pub kind: JoinKind,
    /// Number of key columns: the first ones of a layout.
    pub on: usize,
    /// Whether the bounds of a window follow.
    pub windowed: bool,
    /// Layout of each side's rows: indexes of its input's columns. After those of the stream, the input may have the bounds of a window or the time
    /// of the row.
    pub layouts: [Vec<usize>; 2],
    /// The columns in that order.
    pub columns: [SchemaRef; 2],
    /// The output columns.
    pub joined: Joined,
    /// Join by event time, instead of by batch or window.
    pub interval: Option<Interval>,
    /// Join with the latest row of the second input at the time of each row of the first.
    pub as_of: Option<AsOf>,
    /// Join of all rows ever received, which may be deleted again.
    pub changing: Option<ChangingNode>,
}

/// A join of two changing tables, checked by the graph.
#[derive(Clone)]
pub struct ChangingNode {
    /// The join.
    pub what: ChangingJoinPlan,
    /// Whether the rows of each side carry an operation.
    pub ops: [bool; 2],
    /// The output columns.
    pub output: SchemaRef,
}
