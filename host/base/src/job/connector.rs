//! What the language of jobs has to know of connectors: which kinds of sources and sinks there are, the keys of each, and what the
//! settings of one say of its rows. The language itself names none of them; `millstream_connectors` has the list.

mod kinds;
mod nothing;
mod plugin;
mod server;

pub use kinds::{Kind, Kinds, NOTHING};
pub use nothing::Nothing;
pub use server::{COMPRESSIONS, REGISTRY_EXAMPLE, START, SUBJECT_SHAPE, TLS_SHAPE, TRUSTED_CA};

use super::keys::TableKey;
use super::spec::{SinkConfig, SinkServer, SourceConfig};
use super::table::Reader;
use std::sync::Arc;

/// A kind of source or sink, as its connector declares it. `C`: what its keys are read into.
pub struct Declaration<C: ?Sized + 'static> {
    /// The word for it in a job file.
    pub kind: &'static str,
    /// Where its records come from, or where rows go, for the description of the key `kind`.
    pub doc: &'static str,
    /// Its own keys. One of the name of another kind's key may mean something else.
    pub keys: &'static [TableKey],
    /// The keys that it shares with other kinds, by name.
    pub shared: &'static [&'static [&'static str]],
    /// Reads its keys. Mistakes are noted, and read as if the key were absent.
    pub read: fn(&Reader<'_>) -> Arc<C>,
}

/// A kind of source.
pub type SourceDeclaration = Declaration<dyn SourceConfig>;
/// A kind of sink.
pub type SinkDeclaration = Declaration<dyn SinkConfig>;

/// What all sources have that read records: their format, and bounds.
pub const ROWS: &[&str] =
    &["format", "rows_per_batch_max", "bytes_per_batch_max", "record_bytes_max", "rejected_bytes_max", "max_rejected"];
/// What all sources have of which batches take a part.
pub const CUT: &[&str] = &["rows_per_batch_max", "bytes_per_batch_max"];
/// What records may be rejected with.
pub const REJECTING: &[&str] = &["max_rejected"];
/// The columns, where a source may do without.
pub const COLUMNS: &[&str] = &["schema"];
/// The formats of records that are frames by themselves.
pub const RECORDS: &[&str] = &["separator", "registry", "schema_file", "descriptor", "message", "confluent"];
/// TLS with a server.
pub const TLS: &[&str] = &["tls"];
/// How long a sink waits for its server.
pub const WAIT: &[&str] = &["wait"];
/// What is in a message: JSON, text or bytes.
pub const MESSAGES: &[&str] = &["format", "encoding"];
/// What rows do to a table.
pub const TABLE: &[&str] = &["mode", "key", "op", "changes"];
/// Who commits the rows of a batch.
pub const PARTS: &[&str] = &["parts"];
/// That changes of a table are wanted as rows.
pub const CHANGES: &[&str] = &["changes"];
/// How bytes are written where rows are always text.
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
