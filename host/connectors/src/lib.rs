//! Connectors: sources, which bring rows in, and sinks, which rows are committed to.

// What users see is documented in the crate `millstream`; this is its implementation.
#![allow(missing_docs)]
// Code shared by several connectors may be unused in builds that lack some of them.
#![cfg_attr(
    not(all(feature = "brokers", feature = "hdfs", feature = "kafka", feature = "objects", feature = "postgres")),
    allow(dead_code, unreachable_code, unused_imports)
)]

pub mod clickhouse;
pub mod files;
#[cfg(feature = "brokers")]
mod flight;
pub mod http;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod kinds;
#[cfg(feature = "brokers")]
mod kinesis;
mod limits;
pub mod lumberjack;
#[cfg(feature = "brokers")]
pub mod mqtt;
#[cfg(feature = "brokers")]
pub mod nats;
pub mod nexmark;
pub mod otlp;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "postgres")]
mod postgres_changes;
pub mod print;
pub mod queue;
#[cfg(feature = "brokers")]
pub mod rabbitmq;
pub mod rate;
#[cfg(test)]
mod tests;
#[cfg(feature = "brokers")]
mod redis;
pub mod socket;
#[cfg(feature = "sqlite")]
mod sqlite;
pub mod syslog;
pub mod websocket;
#[cfg(feature = "brokers")]
pub mod zeromq;
