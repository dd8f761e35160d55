//! The `http` source: receives requests (`server`, also used by the OpenTelemetry source), or reads from a server (`fetch`).

pub mod declaration;
mod fetch;
pub mod server;
pub mod settings;
