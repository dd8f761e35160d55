//! SQL through DataFusion: expressions over the rows of a part, and queries over batches and windows.

// What users see has its documentation, in the crate `millstream`; these are its insides.
#![allow(missing_docs)]

mod accumulators;
mod aggregate;
mod limits;
mod output_size;
mod arithmetic;
mod batch_time;
pub mod budget;
mod casts;
mod decimals;
mod dependencies;
pub mod expression;
mod floats;
mod foreign;
mod frames;
pub mod function;
pub mod gather;
mod guard;
mod join_keys;
mod mistake;
pub mod normal;
pub mod query;
mod parser;
mod plan_step;
mod plan_thread;
mod pool;
pub mod references;
mod rewrite;
mod rounding;
mod rules;
mod semantics;
pub mod session;
mod shift;
mod subqueries;
mod input;
pub mod placement;
mod types;
mod using;
pub mod budget_exec;

#[cfg(test)]
mod tests;
