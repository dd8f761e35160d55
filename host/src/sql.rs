//! SQL through DataFusion: expressions over the rows of a part, and queries over batches and windows.

mod batch_time;
mod checked;
pub mod expression;
mod foreign;
pub mod function;
mod gather;
mod mistake;
pub mod query;
mod session;
mod slot;
pub mod spread;
mod sum;
mod types;
