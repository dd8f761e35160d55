//! Declaration of the `otlp` source.

use super::settings::{OtlpReads, OtlpSignal};
use crate::http::source::server;
use crate::http::source::settings::ServerReads;
use millstream_base::error::Result;
use millstream_connect::receiver::listening::{CONNECTIONS_MAX, SPREAD, check_certificate};
use millstream_job::PartErrors;
use millstream_job::connector::{CERTIFICATE_SHAPE, CUT, REJECTING, SourceDeclaration};
use millstream_job::keys::{KeyShape, key};
use millstream_job::spec::{Origin, SourceConfig, SourceSpec, SourceStart};
use millstream_job::table::Reader;
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::formats::Format;
use std::sync::Arc;

const KIND: &str = "otlp";

/// The source kind.
pub const SOURCE: SourceDeclaration = SourceDeclaration {
    kind: KIND,
    doc: "OpenTelemetry data from exporters",
    keys: &[
        key(
            "listen",
            KeyShape::Address,
            "Address on which to receive data from exporters, for example \"127.0.0.1:4318\".",
        )
        .required(),
        key(
            "signals",
            KeyShape::TextList,
            "Signals to receive: \"logs\", \"metrics\", \"traces\", or a list of these; by default all three. They determine the \
             columns.",
        ),
        key(
            "token",
            KeyShape::Text,
            "Token that each request must have as `Authorization: Bearer …`; \"${NAME}\" keeps it out of the file.",
        ),
        key(
            "tls",
            CERTIFICATE_SHAPE,
            "Server certificate for TLS, { cert = \"own.pem\", key = \"own.key\" }; without it, plain HTTP.",
        ),
        key(
            "request_bytes_max",
            KeyShape::Size,
            "Maximum size of a request, also when decompressed; a larger one is rejected. 8MiB by default.",
        ),
        key("request_time_max", KeyShape::Time, "Maximum time to receive a request, 30s by default."),
        SPREAD,
        CONNECTIONS_MAX,
        key(
            "schema",
            KeyShape::Columns(&[]),
            "Columns, by default those of the signals. A `path` leads into `attributes`, `resource` and `body`, for example path = \
             [\"attributes\", \"http.route\"].",
        ),
        key(
            "record_bytes_max",
            KeyShape::Size,
            "Maximum size of a record as JSON, 16MiB by default. A longer record is rejected.",
        ),
        key(
            "rejected_bytes_max",
            KeyShape::Size,
            "How many bytes of a rejected record its rejected row holds, 1KiB by default.",
        ),
    ],
    shared: &[CUT, REJECTING],
    read: |r| OtlpReads::read(r).into(),
};

impl OtlpReads {
    fn read(r: &Reader<'_>) -> OtlpReads {
        let (listen, signals) = ("listen = \"127.0.0.1:4318\"", "signals = [\"logs\", \"metrics\"]");
        r.need("listen", listen);
        let mut chosen = Vec::new();
        for word in r.strings("signals", signals).unwrap_or_default() {
            match OtlpSignal::ALL.into_iter().find(|signal| signal.keyword() == word) {
                Some(signal) if !chosen.contains(&signal) => chosen.push(signal),
                Some(_) => r.wrong("signals", format!("`signals` names `{word}` twice; remove one")),
                None => {
                    let word = word.escape_debug();
                    r.wrong("signals", format!("`signals` has `{word}`, which is not `logs`, `metrics` or `traces`"));
                }
            }
        }
        if r.has("signals") && chosen.is_empty() {
            r.wrong("signals", format!("`signals` is empty; write {signals}, or remove it to receive all"));
        }
        if chosen.is_empty() {
            chosen.extend(OtlpSignal::ALL);
        }
        let mut server = ServerReads::new(r.text("listen", listen).unwrap_or_default());
        server.read_limits(r);
        OtlpReads { server, signals: chosen }
    }
}

impl SourceConfig for OtlpReads {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, source: &SourceSpec, part: &PartErrors<'_>) {
        self.server.check(source, part);
    }

    fn promise(&self) -> Option<&'static str> {
        Some("at least once, if exporters repeat requests that were not acknowledged with 200")
    }

    fn format(&self) -> Format {
        Format::Json
    }

    fn columns(&self) -> Option<Vec<ColumnSpec>> {
        Some(OtlpReads::columns(self))
    }

    fn is_spread(&self) -> bool {
        self.server.spread
    }

    fn check_start(&self, source: &SourceSpec, origin: &Origin) -> Result<()> {
        check_certificate(source, origin)
    }

    fn start(&self, start: SourceStart<'_>) -> Result<()> {
        server::start(&self.server, Some(Arc::new(self.clone())), &start)
    }
}
