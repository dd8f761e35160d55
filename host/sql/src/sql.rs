//! SQL through DataFusion: expressions over the rows of a part, and queries over batches and windows.

mod aggregate;
mod appetite;
mod arithmetic;
mod batch_time;
pub mod budget;
mod casts;
pub mod expression;
mod floats;
mod foreign;
pub mod function;
pub mod gather;
mod guard;
mod mistake;
pub mod query;
mod plan_thread;
mod pool;
mod semantics;
pub mod session;
mod slot;
pub mod spread;
mod types;
pub mod watch;

#[cfg(test)]
mod extremes;
