//! What connectors share: receiving and cutting records, lookup tables, sinks with their encoders and commit loop, HTTP, TLS, object stores and
//! schema registries. It knows no connector.

// What users see is documented in the crate `millstream`; this is its implementation.
#![allow(missing_docs)]
// Code shared by several connectors may be unused in builds that lack some of them.
#![cfg_attr(
    not(all(feature = "brokers", feature = "hdfs", feature = "kafka", feature = "objects")),
    allow(dead_code, unused_imports)
)]

#[cfg_attr(not(feature = "brokers"), path = "dial/absent.rs")]
pub mod dial;
pub mod http1;
mod limits;
#[cfg_attr(not(feature = "objects"), path = "objects/absent.rs")]
pub mod objects;
pub mod receiver;
#[cfg_attr(not(feature = "kafka"), path = "schema_registry/absent.rs")]
pub mod schema_registry;
pub mod sink;
pub mod tls;
