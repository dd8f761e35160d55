//! Event time of a stage, validated.

use super::{ClockEnds, ClockFeeds, ClockNames, HoldingStages};
use millstream_sql::expression::Expression;
use std::collections::BTreeSet;

/// Event time of a stage, validated. Times are in microseconds.
#[derive(Clone)]
pub struct EventTimeNode {
    /// The expressions that compute the time of a row, by input.
    pub times: Vec<Expression>,
    /// How much older than the newest row of its clock a row may be.
    pub lateness_us: i64,
    /// A clock without rows for this long does not hold back the watermark.
    pub idle_us: Option<i64>,
    /// How far after its newest row the stage waits for times; `None`: a plugin decides.
    pub horizon_us: Option<i64>,
    /// Rows further ahead of the batch time are rejected.
    pub ahead_us_max: Option<i64>,
    /// The clocks that the rows may follow.
    pub clocks: ClockNames,
    /// The sources with which these clocks end.
    pub clock_ends: ClockEnds,
    /// The upstream stages that hold back rows of these clocks.
    pub holding: HoldingStages,
    /// For clocks of rows made by stages: the sources that report the ends of their partitions and feed these clocks.
    pub feeds: ClockFeeds,
    /// The sources that read directories: their clocks may be those of files.
    pub dirs: BTreeSet<u32>,
}

/// Returns the name of the table of a stage's watermarks.
pub fn watermark_table(stage: &str) -> String {
    format!("{stage}.watermark")
}
