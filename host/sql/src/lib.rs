//! SQL through DataFusion: expressions over the rows of a part, and queries over batches and windows.

// The user-facing API is documented in the crate `millstream`; this crate is internal.
#![allow(missing_docs)]

#[cfg(not(feature = "sql"))]
mod absent;
#[cfg(feature = "sql")]
mod accumulators;
#[cfg(feature = "sql")]
mod aggregate;
#[cfg(feature = "sql")]
mod limits;
#[cfg(feature = "sql")]
mod output_size;
#[cfg(feature = "sql")]
mod arithmetic;
#[cfg(feature = "sql")]
mod batch_time;
#[cfg(feature = "sql")]
pub mod budget;
#[cfg(feature = "sql")]
mod casts;
#[cfg(feature = "sql")]
mod decimals;
#[cfg(feature = "sql")]
mod dependencies;
#[cfg(feature = "sql")]
pub mod expression;
#[cfg(feature = "sql")]
mod floats;
#[cfg(feature = "sql")]
mod foreign;
#[cfg(feature = "sql")]
mod frames;
#[cfg(feature = "sql")]
pub mod function;
#[cfg(feature = "sql")]
pub mod gather;
#[cfg(feature = "sql")]
mod guard;
#[cfg(feature = "sql")]
mod join_keys;
#[cfg(feature = "sql")]
mod sql_error;
#[cfg(feature = "sql")]
pub mod normal;
#[cfg(feature = "sql")]
pub mod query;
#[cfg(feature = "sql")]
mod parser;
#[cfg(feature = "sql")]
mod plan_step;
#[cfg(feature = "sql")]
mod plan_thread;
#[cfg(feature = "sql")]
mod pool;
#[cfg(feature = "sql")]
pub mod references;
#[cfg(feature = "sql")]
mod rewrite;
#[cfg(feature = "sql")]
mod rounding;
#[cfg(feature = "sql")]
mod rules;
#[cfg(feature = "sql")]
mod semantics;
#[cfg(feature = "sql")]
pub mod session;
#[cfg(feature = "sql")]
mod shift;
#[cfg(feature = "sql")]
mod subqueries;
#[cfg(feature = "sql")]
mod input;
#[cfg(feature = "sql")]
pub mod placement;
#[cfg(feature = "sql")]
mod types;
#[cfg(feature = "sql")]
mod using;
#[cfg(feature = "sql")]
pub mod budget_exec;

#[cfg(feature = "sql")]
#[cfg(test)]
mod tests;

#[cfg(not(feature = "sql"))]
pub use absent::{budget, expression, function, normal, placement, query, references};
