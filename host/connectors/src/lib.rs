//! The ends of a batch's path: what brings rows in and what they are committed to.

// What users see has its documentation, in the crate `millstream`; these are its insides.
#![allow(missing_docs)]

mod dial;
mod flight;
pub mod http;
pub mod kafka;
pub mod kinds;
mod kinesis;
mod limits;
pub mod mqtt;
pub mod nats;
pub mod objects;
pub mod postgres;
mod postgres_changes;
pub mod rabbitmq;
pub mod receiver;
mod redis;
pub mod schema_registry;
pub mod sink;
#[cfg(feature = "sqlite")]
mod sqlite;
pub mod tls;
pub mod zeromq;
