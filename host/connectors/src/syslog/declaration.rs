//! Declaration of the `syslog` source.

use super::settings::{RECORD_BYTES_MAX, SyslogReads};
use millstream_base::error::Result;
use millstream_base::limits;
use millstream_connect::receiver::listening::{CONNECTIONS_MAX, Listening, SPREAD};
use millstream_connect::receiver::receive;
use millstream_job::connector::{CUT, REJECTING, SourceDeclaration};
use millstream_job::keys::{KeyShape, key};
use millstream_job::spec::{SourceConfig, SourceSpec, SourceStart};
use millstream_job::table::Reader;
use millstream_job::{PartErrors, parts};
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::formats::Format;

const KIND: &str = "syslog";

/// The source kind.
pub const SOURCE: SourceDeclaration = SourceDeclaration {
    kind: KIND,
    doc: "syslog messages",
    keys: &[
        key("listen", KeyShape::Address, "Address on which to receive messages, for example \"0.0.0.0:5514\".")
            .required(),
        key(
            "protocol",
            KeyShape::Word(&["udp", "tcp", "both"]),
            "Protocol: datagrams (`udp`), connections (`tcp`), or both (`both`). `both` by default.",
        ),
        SPREAD,
        CONNECTIONS_MAX,
        key(
            "schema",
            KeyShape::Columns(&[]),
            "Columns, by default `time`, `host`, `app`, `pid`, `id`, `facility`, `severity`, `level`, `message`, `data` and \
             `sender`. A `path` leads into `data`, the structured data.",
        ),
        key(
            "record_bytes_max",
            KeyShape::Size,
            "Maximum size of a message, 64KiB by default. A longer message is rejected.",
        ),
        key(
            "rejected_bytes_max",
            KeyShape::Size,
            "How many bytes of a rejected message its rejected row holds, 1KiB by default.",
        ),
    ],
    shared: &[CUT, REJECTING],
    read: |r| SyslogReads::read(r).into(),
};

impl SyslogReads {
    fn read(r: &Reader<'_>) -> SyslogReads {
        let defaults = SyslogReads::new(r.needed_text("listen", "listen = \"0.0.0.0:5514\""));
        let protocols = [("both", (true, true)), ("udp", (true, false)), ("tcp", (false, true))];
        let (udp, tcp) = r.choice("protocol", &protocols, &["tls", "unix"]).unwrap_or((true, true));
        let connections_max = r.integer("connections_max", 1, limits::HTTP_CONNECTIONS_MAX_MAX);
        SyslogReads {
            spread: r.flag("spread").unwrap_or(false),
            udp,
            tcp,
            connections_max: connections_max.unwrap_or(defaults.connections_max),
            ..defaults
        }
    }
}

impl SourceConfig for SyslogReads {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, _source: &SourceSpec, part: &PartErrors<'_>) {
        parts::address("listen", &self.listen, part);
    }

    fn promise(&self) -> Option<&'static str> {
        Some("exactly once after a batch is planned; dropped datagrams, and messages not planned at a crash, are lost")
    }

    fn format(&self) -> Format {
        Format::Json
    }

    fn columns(&self) -> Option<Vec<ColumnSpec>> {
        Some(SyslogReads::columns())
    }

    fn record_bytes_max(&self) -> u64 {
        RECORD_BYTES_MAX
    }

    fn is_spread(&self) -> bool {
        self.spread
    }

    fn start(&self, start: SourceStart<'_>) -> Result<()> {
        let (source, reads, from, inbox) =
            (start.source.clone(), self.clone(), start.from.clone(), start.inbox.clone());
        let listening = Listening::new(&start, self.spread);
        let ports = start.runtime.block_on(super::bind(&source, self, &listening))?;
        receive(&start, async move { super::receive(&source, &reads, ports, &listening, &from, &inbox).await });
        Ok(())
    }
}
