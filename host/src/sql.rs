//! SQL through DataFusion: expressions over the rows of a part, and queries over batches and windows.

pub mod expression;
mod batch_time;
mod checked;
mod mistake;
mod session;
mod types;
