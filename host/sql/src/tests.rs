//! Tests of expressions and queries as a whole.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod extremes;
mod meaning;
mod subqueries;
