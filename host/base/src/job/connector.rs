//! What the job language needs to know about connectors: the kinds of sources and sinks, the keys of each, and what a connector's settings say about
//! its rows. The language itself names no connector; `millstream_connectors` has the list.

mod in_memory;
mod kinds;
mod nothing;
mod plugin;
mod server;

pub use in_memory::InMemory;
pub use kinds::{Kind, Kinds, NOTHING};
pub use nothing::Nothing;
pub use server::{COMPRESSIONS, REGISTRY_EXAMPLE, START, SUBJECT_SHAPE, TLS_SHAPE, TRUSTED_CA};

use super::keys::TableKey;
use super::spec::{SinkConfig, SinkServer, SourceConfig};
use super::table::Reader;
use std::sync::Arc;

/// A kind of source or sink, as its connector declares it. `C` is the type of its settings.
pub struct Declaration<C: ?Sized + 'static> {
    /// Name of the kind in a job file.
    pub kind: &'static str,
    /// Where its records come from, or where rows go, for the description of the key `kind`.
    pub doc: &'static str,
    /// The kind's own keys. Another kind's key of the same name may have another meaning.
    pub keys: &'static [TableKey],
    /// The keys that it shares with other kinds, by name.
    pub shared: &'static [&'static [&'static str]],
    /// Reads the kind's own keys. Errors are recorded, and such keys are treated as absent.
    pub read: fn(&Reader<'_>) -> Arc<C>,
}

/// A kind of source.
pub type SourceDeclaration = Declaration<dyn SourceConfig>;
/// A kind of sink.
pub type SinkDeclaration = Declaration<dyn SinkConfig>;

/// Keys of all sources that read records: their format, and limits.
pub const ROWS: &[&str] =
    &["format", "rows_per_batch_max", "bytes_per_batch_max", "record_bytes_max", "rejected_bytes_max", "max_rejected"];
/// Keys of all sources that batches read in parts.
pub const CUT: &[&str] = &["rows_per_batch_max", "bytes_per_batch_max"];
/// Limits of rejected records.
pub const REJECTING: &[&str] = &["max_rejected"];
/// The columns, if they are optional for a source.
pub const COLUMNS: &[&str] = &["schema"];
/// The formats of records that are frames.
pub const RECORDS: &[&str] = &["separator", "registry", "schema_file", "descriptor", "message", "confluent"];
/// TLS with a server.
pub const TLS: &[&str] = &["tls"];
/// How long a sink waits for its server.
pub const WAIT: &[&str] = &["wait"];
/// The content of a message: JSON, text or bytes.
pub const MESSAGES: &[&str] = &["format", "encoding"];
/// The operations of rows on a table.
pub const TABLE: &[&str] = &["mode", "key", "op", "changes"];
/// Which process commits the rows of a batch.
pub const PARTS: &[&str] = &["parts"];
/// Changes of a table as rows.
pub const CHANGES: &[&str] = &["changes"];
/// The encoding of bytes if rows are always text.
pub const ENCODING: &[&str] = &["encoding"];

impl SinkServer {
    /// Reads `url`, `tls` and `wait`.
    pub fn read(r: &Reader<'_>, example: &str) -> SinkServer {
        let mut server = SinkServer::new(r.url(example).0);
        server.tls = r.tls();
        server.wait = r.time("wait").unwrap_or(server.wait);
        server
    }
}
