//! Windows: groups of rows that are processed together. No I/O, no clock.

pub mod batches;
pub mod bounds;
pub mod closing;
mod cold_panes;
mod cold_totals;
pub mod schedule;
pub mod empty_batches;
pub mod panes;
pub mod partial;
pub mod rows;
mod sums;
pub mod totals;

#[cfg(test)]
mod tests;
