//! ClickHouse tables, as sinks.

pub mod declaration;
pub mod settings;
mod sink;
