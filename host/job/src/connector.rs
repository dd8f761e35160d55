//! What the job language needs to know about connectors: the kinds of sources and sinks, the keys of each, and what a connector's settings say about
//! its rows. The language itself names no connector; `millstream_connectors` has the list.

mod declaration;
mod in_memory;
mod kinds;
mod nothing;
mod plugin;
mod server;

pub use declaration::{Declaration, SinkDeclaration, SourceDeclaration};
pub use in_memory::InMemory;
pub use kinds::{Kind, Kinds, NOTHING};
pub use nothing::Nothing;
pub use plugin::{PLUGIN_SINK, PLUGIN_SOURCE};
pub use server::{
    CERTIFICATE_SHAPE, COMPRESSIONS, PARTS_SHAPE, REGISTRY_EXAMPLE, START, SUBJECT_SHAPE, TLS_KEYS_OF_HOST,
};

use super::keys::{self, TableKey};
use super::spec::SinkServer;
use super::table::Reader;

/// Keys of all sources that read records: their format, and limits.
pub const ROWS: &[TableKey] = &[
    keys::FORMAT,
    keys::ROWS_PER_BATCH_MAX,
    keys::BYTES_PER_BATCH_MAX,
    keys::RECORD_BYTES_MAX,
    keys::REJECTED_BYTES_MAX,
    keys::MAX_REJECTED,
];
/// Limits of what one batch takes from a source.
pub const CUT: &[TableKey] = &[keys::ROWS_PER_BATCH_MAX, keys::BYTES_PER_BATCH_MAX];
/// Limits of rejected records.
pub const REJECTING: &[TableKey] = &[keys::MAX_REJECTED];
/// The columns of records that have only a value.
pub const COLUMNS: &[TableKey] = &[keys::columns(&[])];
/// The formats of records that are frames.
pub const RECORDS: &[TableKey] =
    &[keys::SEPARATOR, keys::REGISTRY, keys::SCHEMA_FILE, keys::DESCRIPTOR, keys::MESSAGE, keys::CONFLUENT];
/// TLS with the server of a URL that says whether to use TLS.
pub const TLS: &[TableKey] = &[server::TLS];
/// The same, if the name in the certificate is always the host of the URL.
pub const TLS_OF_HOST: &[TableKey] = &[server::TLS_OF_HOST];
/// How long a sink waits for its server.
pub const WAIT: &[TableKey] = &[keys::WAIT];
/// The content of a message: JSON, text or bytes.
pub const MESSAGES: &[TableKey] = &[keys::MESSAGE_FORMAT, keys::MESSAGE_ENCODING];
/// The operations of rows on a table.
pub const TABLE: &[TableKey] = &[keys::MODE, keys::KEY, keys::OP, keys::CHANGES];
/// Changes of a table as rows.
pub const CHANGES: &[TableKey] = &[keys::CHANGES];
/// The encoding of bytes in several formats.
pub const ENCODING: &[TableKey] = &[keys::ENCODING];
/// The encoding of bytes in JSON.
pub const JSON_ENCODING: &[TableKey] = &[keys::JSON_ENCODING];

impl SinkServer {
    /// Reads `url`, `tls` and `wait`.
    pub fn read(r: &Reader<'_>, example: &str) -> SinkServer {
        let mut server = SinkServer::new(r.url(example).0);
        server.tls = r.tls();
        server.wait = r.time("wait").unwrap_or(server.wait);
        server
    }
}
