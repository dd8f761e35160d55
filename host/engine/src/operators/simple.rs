//! Operators that choose or spread rows.

use crate::operators::newest::node::NewestNode;
use crate::operators::ranking::node::RankingNode;
use arrow::array::RecordBatch;
use millstream_base::batch::part::Part;
use millstream_sql::expression::Expression;

/// What such a stage does, checked. Columns are places in the stage's input.
#[derive(Clone)]
pub enum SimpleNode {
    /// The first rows of each batch or window, and key.
    Top {
        /// How many.
        n: usize,
        /// The column that orders them.
        by: usize,
        /// Smallest first.
        ascending: bool,
        /// Start and end of the window, where rows carry them.
        bounds: Option<(usize, usize)>,
    },
    /// The first of all rows that ever came, of each key.
    Ranking(Box<RankingNode>),
    /// The latest row of each key.
    Newest(Box<NewestNode>),
    /// Of rows that are equal in these columns the first of each batch or window.
    Distinct(Vec<usize>),
    /// Drops rows whose key came before within so many microseconds.
    Deduplicate {
        /// How long a key is remembered.
        within_us: i64,
    },
    /// Keeps the rows whose hash is below this: a share of 2^64.
    Sample(u128),
    /// Rows by the first predicate that they fulfil.
    Split(Vec<Expression>),
    /// Rows spread anew over the workers.
    Repartition {
        /// Into so many parts; `None`: as many as there are workers.
        partitions: Option<u32>,
    },
}

impl SimpleNode {
    /// Whether parts only pass through it.
    pub fn keeps_parts(&self, has_event_time: bool) -> bool {
        match self {
            SimpleNode::Top { .. } | SimpleNode::Ranking(_) | SimpleNode::Newest(_) => false,
            // By their times rows of all its clocks are compared, so what comes out has one.
            SimpleNode::Deduplicate { .. } => !has_event_time,
            _ => true,
        }
    }
}

/// The same part with other rows.
pub fn with_rows(part: &Part, rows: RecordBatch) -> Part {
    Part { rows, ..part.clone() }
}
