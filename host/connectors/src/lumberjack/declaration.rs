//! What a job file says of sources of kind `lumberjack`.

use super::settings::{LumberjackReads, WINDOW_BYTES_MAX, WINDOW_MS_MAX};
use crate::receiver::listening::check_certificate;
use millstream_base::error::Result;
use millstream_base::job::connector::{CUT, REJECTING, SourceDeclaration, TLS_SHAPE};
use millstream_base::job::keys::{KeyShape, key};
use millstream_base::job::spec::{ColumnSpec, Format, Origin, SourceConfig, SourceSpec, SourceStart, TlsSpec};
use millstream_base::job::table::Reader;
use millstream_base::job::{PartMistakes, parts};
use millstream_base::{limits, units};
use std::sync::Arc;
use std::time::Duration;

const KIND: &str = "lumberjack";
/// The longest that a window may take to come in.
const WINDOW_TIME_MAX_MAX: Duration = Duration::from_secs(3600);

/// Sources.
pub const SOURCE: SourceDeclaration = SourceDeclaration {
    kind: KIND,
    doc: "what Filebeat and other Beats send",
    keys: &[
        key("listen", KeyShape::Address, "Where Beats send to, as \"0.0.0.0:5044\".").required(),
        key(
            "tls",
            TLS_SHAPE,
            "The certificate that senders see, { cert = \"own.pem\", key = \"own.key\" }; with `ca` each sender must show one of that issuer.",
        ),
        key(
            "window_bytes_max",
            KeyShape::Size,
            "A window of events that is larger, also when it is unpacked, is refused, 16MiB by default.",
        ),
        key("window_time_max", KeyShape::Time, "How long a window may take to come in, 30s by default."),
        key(
            "spread",
            KeyShape::Flag,
            "Whether all processes of the job listen there, each for a part of those who send; false by default, where one process does.",
        ),
        key(
            "connections_max",
            KeyShape::Whole(1, limits::HTTP_CONNECTIONS_MAX_MAX),
            "Connections that are open at a time, 1000 by default; more wait.",
        ),
        key(
            "schema",
            KeyShape::Columns,
            "The columns, where `time`, `message`, `host` and `file` are not what is wanted: a `path` leads into an event, as \
             path = [\"log\", \"file\", \"path\"].",
        ),
        key("record_bytes_max", KeyShape::Size, "A longer event is a rejected row, 16MiB by default."),
        key("rejected_bytes_max", KeyShape::Size, "How much of such an event its rejected row holds, 1KiB by default."),
    ],
    shared: &[CUT, REJECTING],
    read: |r| Arc::new(LumberjackReads::read(r)),
};

impl LumberjackReads {
    fn read(r: &Reader<'_>) -> LumberjackReads {
        let connections_max = r.whole("connections_max", 1, limits::HTTP_CONNECTIONS_MAX_MAX);
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

    fn check(&self, source: &SourceSpec, part: &PartMistakes<'_>) {
        parts::address("listen", &self.listen, part);
        if self.window_time_max.is_zero() || self.window_time_max > WINDOW_TIME_MAX_MAX {
            let time = units::show_time(self.window_time_max);
            part.wrong("window_time_max", format!("`window_time_max` is {time}; write a time from 1ms to 1h"));
        }
        // Senders may have to show certificates, too.
        let shown = source.tls.as_ref().map(|tls| TlsSpec { ca: None, ..tls.clone() });
        shown.iter().for_each(|tls| parts::own_certificate(tls, part));
    }

    fn promise(&self) -> Option<&'static str> {
        Some("at least once, from Beats, which send a window again that was not acknowledged")
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
