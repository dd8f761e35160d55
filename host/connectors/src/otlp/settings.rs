//! Settings of the `otlp` source.

use crate::http::source::settings::ServerReads;
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::batch::types::ColumnType;

/// Settings of the source.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpReads {
    /// Settings of the server that exporters send to.
    pub server: ServerReads,
    /// The signals to receive.
    pub signals: Vec<OtlpSignal>,
}

/// A signal of OpenTelemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OtlpSignal {
    /// Log records.
    Logs,
    /// Metric points.
    Metrics,
    /// Spans of traces.
    Traces,
}

impl OtlpSignal {
    /// All signals.
    pub const ALL: [OtlpSignal; 3] = [OtlpSignal::Logs, OtlpSignal::Metrics, OtlpSignal::Traces];

    /// Returns the name in job files and rows.
    pub fn keyword(self) -> &'static str {
        match self {
            OtlpSignal::Logs => "logs",
            OtlpSignal::Metrics => "metrics",
            OtlpSignal::Traces => "traces",
        }
    }

    /// Returns the path of its requests.
    pub fn path(self) -> &'static str {
        match self {
            OtlpSignal::Logs => "/v1/logs",
            OtlpSignal::Metrics => "/v1/metrics",
            OtlpSignal::Traces => "/v1/traces",
        }
    }
}

const ALL: &[OtlpSignal] = &OtlpSignal::ALL;
const LOGS: &[OtlpSignal] = &[OtlpSignal::Logs];
const METRICS: &[OtlpSignal] = &[OtlpSignal::Metrics];
const TRACES: &[OtlpSignal] = &[OtlpSignal::Traces];

/// All columns in order, with the signals that fill them.
const COLUMNS: [(&str, ColumnType, &[OtlpSignal]); 32] = [
    ("signal", ColumnType::Text, ALL),
    ("time", ColumnType::Timestamp, ALL),
    ("observed_time", ColumnType::Timestamp, LOGS),
    ("start_time", ColumnType::Timestamp, METRICS),
    ("end_time", ColumnType::Timestamp, TRACES),
    ("service", ColumnType::Text, ALL),
    ("severity", ColumnType::Text, LOGS),
    ("severity_number", ColumnType::Int64, LOGS),
    ("body", ColumnType::Text, LOGS),
    ("name", ColumnType::Text, ALL),
    ("kind", ColumnType::Text, &[OtlpSignal::Metrics, OtlpSignal::Traces]),
    ("value", ColumnType::Float64, METRICS),
    ("unit", ColumnType::Text, METRICS),
    ("description", ColumnType::Text, METRICS),
    ("temporality", ColumnType::Text, METRICS),
    ("monotonic", ColumnType::Bool, METRICS),
    ("count", ColumnType::Int64, METRICS),
    ("sum", ColumnType::Float64, METRICS),
    ("min", ColumnType::Float64, METRICS),
    ("max", ColumnType::Float64, METRICS),
    ("buckets", ColumnType::Text, METRICS),
    ("trace_id", ColumnType::Text, &[OtlpSignal::Logs, OtlpSignal::Traces]),
    ("span_id", ColumnType::Text, &[OtlpSignal::Logs, OtlpSignal::Traces]),
    ("parent_id", ColumnType::Text, TRACES),
    ("status", ColumnType::Text, TRACES),
    ("status_message", ColumnType::Text, TRACES),
    ("events", ColumnType::Text, TRACES),
    ("links", ColumnType::Text, TRACES),
    ("attributes", ColumnType::Text, ALL),
    ("resource", ColumnType::Text, ALL),
    ("scope", ColumnType::Text, ALL),
    ("scope_version", ColumnType::Text, ALL),
];

impl OtlpReads {
    /// Returns the default columns: all that the signals fill.
    pub fn columns(&self) -> Vec<ColumnSpec> {
        let filled = COLUMNS.into_iter().filter(|(_, _, of)| of.iter().any(|signal| self.signals.contains(signal)));
        filled.map(|(name, kind, _)| ColumnSpec::new(name, kind)).collect()
    }
}
