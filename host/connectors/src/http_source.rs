//! Sources of kind `http`: others send to us (`server`), which is what sources of OpenTelemetry do as well, or we read from a server (`fetch`).

pub mod declaration;
mod fetch;
pub mod server;
pub mod settings;
