//! Limits of this crate, with their defaults.

/// How long a query may continue when its job is stopping, in milliseconds.
pub const SQL_STOP_MS: u64 = 5_000;
/// A constant expression of up to this many bytes is computed when the job is loaded; larger ones are computed when it runs.
pub const SQL_PLAN_BYTES_MAX: u64 = 1 << 20;
/// How long planning a query or expression may take, in milliseconds.
pub const SQL_PLAN_MS_MAX: u64 = 10_000;
/// Maximum nesting of an SQL query or expression: operators and keywords that belong together.
pub const SQL_DEPTH_MAX: usize = 400;
/// Maximum nesting of `cast(…)`, `not (…)` and similar: the parser reads each of them twice if it contains an error.
pub const SQL_TRIED_TWICE_MAX: usize = 16;
/// Maximum centroids of `approx_percentile_cont`: more do not improve the result, and take memory for each group.
pub const CENTROIDS_MAX: i64 = 10_000;
/// Rows of one step of a query.
pub const ROWS_AT_ONCE: usize = 8192;
