//! Operators that select or distribute rows.

use crate::operators::newest::node::NewestNode;
use crate::operators::ranking::node::RankingNode;
use arrow::array::RecordBatch;
use millstream_rows::batch::part::Part;
use millstream_sql::expression::Expression;

/// A checked operator. Columns are indexes in the stage's input.
#[derive(Clone)]
pub enum SimpleNode {
    /// The first rows of each batch or window, and key.
    Top {
        /// Number of rows.
        n: usize,
        /// The column that orders them.
        by: usize,
        /// Smallest first.
        ascending: bool,
        /// Start and end of the window, if rows have them.
        bounds: Option<(usize, usize)>,
    },
    /// The first of all rows ever received, of each key.
    Ranking(Box<RankingNode>),
    /// The latest row of each key.
    Newest(Box<NewestNode>),
    /// Keeps the first of rows with equal values in these columns, in each batch or window.
    Distinct(Vec<usize>),
    /// Drops rows whose key was seen within a time.
    Deduplicate {
        /// That time, in microseconds.
        within_us: i64,
    },
    /// Keeps the rows with a smaller hash: a share of 2^64.
    Sample(u128),
    /// Splits rows by the first predicate that they satisfy.
    Split(Vec<Expression>),
    /// Distributes rows over the workers.
    Repartition {
        /// Number of partitions; `None` for one per worker.
        partitions: Option<u32>,
    },
}

impl SimpleNode {
    /// Returns whether parts only pass through it.
    pub fn keeps_parts(&self, has_event_time: bool) -> bool {
        match self {
            SimpleNode::Top { .. } | SimpleNode::Ranking(_) | SimpleNode::Newest(_) => false,
            // Times of rows of all its clocks are compared, so the output has one clock.
            SimpleNode::Deduplicate { .. } => !has_event_time,
            _ => true,
        }
    }
}

/// Returns the same part with other rows.
pub fn with_rows(part: &Part, rows: RecordBatch) -> Part {
    Part { rows, ..part.clone() }
}
