//! Replaces traces in builds without OpenTelemetry.

use millstream_base::built;
use millstream_engine::running::Running;
use std::sync::Arc;

/// The thread that sends traces. It does not exist in this build.
pub(super) enum Traces {}

impl Traces {
    /// Warns that nothing is sent, if the environment names a receiver.
    pub fn start(_running: &Arc<Running>) -> Option<Traces> {
        let wanted = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
        if wanted.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty())) {
            tracing::warn!("no traces are sent: {}", built::absent("OpenTelemetry", "telemetry"));
        }
        None
    }

    /// Same as in builds with OpenTelemetry.
    pub fn end(self) {
        match self {}
    }
}
