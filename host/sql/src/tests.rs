//! Tests of complete expressions and queries.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod extremes;
mod meaning;
mod subqueries;
