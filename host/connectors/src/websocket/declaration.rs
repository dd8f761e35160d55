//! Declaration of the `websocket` sink.

use super::settings::WebsocketWrites;
use super::sink;
use arrow::datatypes::SchemaRef;
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_base::limits;
use millstream_job::connector::{CERTIFICATE_SHAPE, JSON_ENCODING, SinkDeclaration};
use millstream_job::keys::{KeyShape, key};
use millstream_job::spec::{SinkConfig, SinkStart};
use millstream_job::table::Reader;
use millstream_job::{PartErrors, parts};
use millstream_rows::batch::sink::Sink;

const KIND: &str = "websocket";

/// The sink kind.
pub const SINK: SinkDeclaration = SinkDeclaration {
    kind: KIND,
    doc: "WebSocket clients, for example web pages",
    keys: &[
        key("listen", KeyShape::Address, "Address on which to accept clients, for example \"127.0.0.1:8090\".")
            .required(),
        key("token", KeyShape::Text, "Token that each client must present; \"${NAME}\" keeps it out of the file."),
        key(
            "origins",
            KeyShape::TextList,
            "Sites whose pages may connect, for example \"https://dashboard.example.org\"; \"*\" allows all. Pages of this \
             machine may always connect.",
        ),
        key(
            "tls",
            CERTIFICATE_SHAPE,
            "Server certificate for TLS, { cert = \"own.pem\", key = \"own.key\" }; without it, plain HTTP.",
        ),
        key(
            "clients_max",
            KeyShape::Integer(1, limits::HTTP_CONNECTIONS_MAX_MAX),
            "Maximum clients at the same time, 100 by default; more wait.",
        ),
        key(
            "rows_per_message_max",
            KeyShape::Integer(1, i64::MAX as u64),
            "Maximum rows per message, 1000 by default; a larger batch becomes several messages.",
        ),
    ],
    shared: &[JSON_ENCODING],
    read: |r| WebsocketWrites::read(r).into(),
};

impl WebsocketWrites {
    fn read(r: &Reader<'_>) -> WebsocketWrites {
        let mut writes = WebsocketWrites::new(r.needed_text("listen", "listen = \"127.0.0.1:8090\""));
        writes.token = r.text("token", "token = \"${NAME}\"").map(str::to_owned);
        writes.origins = r.list("origins", "origins = \"https://dashboard.example.org\"");
        writes.tls = r.tls();
        let clients = r.integer("clients_max", 1, limits::HTTP_CONNECTIONS_MAX_MAX);
        writes.clients_max = clients.unwrap_or(writes.clients_max);
        let rows = r.integer("rows_per_message_max", 1, i64::MAX as u64);
        writes.rows_per_message_max = rows.unwrap_or(writes.rows_per_message_max);
        writes
    }
}

impl SinkConfig for WebsocketWrites {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, part: &PartErrors<'_>) {
        parts::address("listen", &self.listen, part);
        if let Some(token) = &self.token {
            parts::token(token, part);
        }
        self.tls.iter().for_each(|tls| parts::server_certificate(tls, part));
        part.not_zero("clients_max", self.clients_max);
        part.not_zero("rows_per_message_max", self.rows_per_message_max);
    }

    fn check_start(&self, start: SinkStart<'_>, schema: &SchemaRef, _keeps_checkpoints: bool) -> Result<()> {
        sink::check(self, start, schema)
    }

    fn open(&self, start: SinkStart<'_>, _schema: &SchemaRef, failure: &Failure) -> Result<Box<dyn Sink>> {
        sink::open(self, start, failure)
    }
}
