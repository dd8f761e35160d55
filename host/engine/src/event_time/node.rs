//! Event time of a stage, checked.

use super::{ClockEnds, ClockFeeds, ClockNames, HoldingStages};
use millstream_sql::expression::Expression;
use std::collections::BTreeSet;

/// Event time of a stage, checked. Times are in microseconds.
#[derive(Clone)]
pub struct EventTimeNode {
    /// The expressions that compute the time of a row, by input.
    pub times: Vec<Expression>,
    /// How much older than the newest row of its clock a row may be.
    pub lateness_us: i64,
    /// A clock without rows for so long does not hold the watermark back.
    pub idle_us: Option<i64>,
    /// How far behind its newest row the stage waits for times; `None`: a plugin decides.
    pub horizon_us: Option<i64>,
    /// Rows further ahead of the batch time are rejected.
    pub ahead_us_max: Option<i64>,
    /// The clocks that the rows may follow.
    pub clocks: ClockNames,
    /// When these clocks end.
    pub ends: ClockEnds,
    /// The stages before that hold rows of these clocks back.
    pub behind: HoldingStages,
    /// The sources that tell of the ends of their partitions and that these clocks are fed by, where stages made their rows.
    pub fed: ClockFeeds,
    /// The folders among the sources: their clocks may be those of files.
    pub folders: BTreeSet<u32>,
}

/// The table of a stage's watermarks.
pub fn watermark_table(stage: &str) -> String {
    format!("{stage}.watermark")
}
