//! Declaration of the `lumberjack` source.

use super::settings::{LumberjackReads, WINDOW_BYTES_MAX, WINDOW_MS_MAX};
use millstream_base::error::Result;
use millstream_base::{limits, units};
use millstream_connect::receiver::listening::{CONNECTIONS_MAX, SPREAD, check_certificate};
use millstream_job::connector::{CUT, REJECTING, SourceDeclaration};
use millstream_job::keys::{KeyShape, PRIVATE_KEY, SERVER_CERTIFICATE, TableKey, key};
use millstream_job::spec::{Origin, SourceConfig, SourceSpec, SourceStart, TlsSpec};
use millstream_job::table::Reader;
use millstream_job::{PartErrors, parts};
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::formats::Format;
use std::time::Duration;

const KIND: &str = "lumberjack";
/// Maximum of `window_time_max`.
const WINDOW_TIME_MAX_MAX: Duration = Duration::from_secs(3600);

/// The source kind.
pub const SOURCE: SourceDeclaration = SourceDeclaration {
    kind: KIND,
    doc: "events from Filebeat and other Beats",
    keys: &[
        key(
            "listen",
            KeyShape::Address,
            "Address on which to receive events from Beats, for example \"0.0.0.0:5044\".",
        )
        .required(),
        key(
            "tls",
            KeyShape::Table(TLS_KEYS),
            "Server certificate for TLS, { cert = \"own.pem\", key = \"own.key\" }; without it, plain TCP. With `ca`, senders must \
             present a certificate of that CA.",
        ),
        key(
            "window_bytes_max",
            KeyShape::Size,
            "Maximum size of a window of events, also when decompressed; a larger one is rejected. 16MiB by default.",
        ),
        key("window_time_max", KeyShape::Time, "Maximum time to receive a window, 30s by default."),
        SPREAD,
        CONNECTIONS_MAX,
        key(
            "schema",
            KeyShape::Columns(&[]),
            "Columns, by default `time`, `message`, `host` and `file`. A `path` leads into an event, for example path = [\"log\", \
             \"file\", \"path\"].",
        ),
        key(
            "record_bytes_max",
            KeyShape::Size,
            "Maximum size of an event, 16MiB by default. A longer event is rejected.",
        ),
        key("rejected_bytes_max", KeyShape::Size, "Maximum bytes of an event in its rejected row, 1KiB by default."),
    ],
    shared: &[CUT, REJECTING],
    read: |r| LumberjackReads::read(r).into(),
};

/// `tls`, as a table.
const TLS_KEYS: &[TableKey] = &[
    SERVER_CERTIFICATE,
    PRIVATE_KEY.required(),
    key("ca", KeyShape::Text, "CA certificates (PEM) of the senders' certificates; by default senders need none."),
];

impl LumberjackReads {
    fn read(r: &Reader<'_>) -> LumberjackReads {
        let connections_max = r.integer("connections_max", 1, limits::HTTP_CONNECTIONS_MAX_MAX);
        let window_bytes_max = r.size("window_bytes_max", 1, limits::HTTP_REQUEST_BYTES_MAX_MAX);
        LumberjackReads {
            listen: r.needed_text("listen", "listen = \"0.0.0.0:5044\""),
            spread: r.flag("spread").unwrap_or(false),
            window_bytes_max: window_bytes_max.unwrap_or(WINDOW_BYTES_MAX),
            window_time_max: r.time("window_time_max").unwrap_or(Duration::from_millis(WINDOW_MS_MAX)),
            connections_max: connections_max.unwrap_or(limits::HTTP_CONNECTIONS_MAX),
        }
    }
}

impl SourceConfig for LumberjackReads {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, source: &SourceSpec, part: &PartErrors<'_>) {
        parts::address("listen", &self.listen, part);
        if self.window_time_max.is_zero() || self.window_time_max > WINDOW_TIME_MAX_MAX {
            let time = units::show_time(self.window_time_max);
            part.wrong("window_time_max", format!("`window_time_max` is {time}; write a time from 1ms to 1h"));
        }
        // `ca` is allowed here: senders may have to present certificates.
        let server_tls = source.tls.as_ref().map(|tls| TlsSpec { ca: None, ..tls.clone() });
        server_tls.iter().for_each(|tls| parts::server_certificate(tls, part));
    }

    fn promise(&self) -> Option<&'static str> {
        Some("at least once: Beats send a window again if it was not acknowledged")
    }

    fn format(&self) -> Format {
        Format::Json
    }

    fn columns(&self) -> Option<Vec<ColumnSpec>> {
        Some(LumberjackReads::columns())
    }

    fn is_spread(&self) -> bool {
        self.spread
    }

    fn check_start(&self, source: &SourceSpec, origin: &Origin) -> Result<()> {
        check_certificate(source, origin)
    }

    fn start(&self, start: SourceStart<'_>) -> Result<()> {
        super::start(self, &start)
    }
}
