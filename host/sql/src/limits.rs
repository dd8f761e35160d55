//! Limits of this crate, with their defaults.

/// How long a query may go on when its job is to stop, in milliseconds.
pub const SQL_STOP_MS: u64 = 5_000;
/// What is constant in a query and has at most so many bytes is computed when the job is loaded; more is computed when it
/// runs.
pub const SQL_PLAN_BYTES_MAX: u64 = 1 << 20;
/// How long planning a query or expression may take, in milliseconds.
pub const SQL_PLAN_MS_MAX: u64 = 10_000;
/// Levels of an SQL query or expression: operators and keywords that belong together.
pub const SQL_DEPTH_MAX: usize = 400;
/// How many `cast(…)`, `not (…)` and their kin stand within each other at most: the parser reads each of them twice where
/// something in it is wrong.
pub const SQL_TRIED_TWICE_MAX: usize = 16;
/// What `approx_percentile_cont` may hold: more is no better, and takes memory for each group.
pub const CENTROIDS_MAX: i64 = 10_000;
/// Rows of one step of a query.
pub const ROWS_AT_ONCE: usize = 8192;
