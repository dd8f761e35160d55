//! The keys of sources that read messages of a server.

use crate::job::spec::{ChangesReads, RedisReads, ServerReads, ServerSourceSpec, ServerStart};
use crate::job::table::Reader;

/// A source of kind `redis`.
pub(super) fn redis(r: &Reader<'_>) -> ServerSourceSpec {
    let example = "stream = \"orders\", or stream = [\"a\", \"b\"]";
    r.need("stream", example);
    let reads = ServerReads::Redis(RedisReads {
        streams: r.texts("stream", example).unwrap_or_default().iter().map(|name| (*name).to_owned()).collect(),
        field: r.text("field", "field = \"data\"").map(str::to_owned),
        start: start(r),
    });
    ServerSourceSpec { url: url(r, "url = \"redis://127.0.0.1:6379\""), reads }
}

/// A source of kind `postgres-changes`.
pub(super) fn changes(r: &Reader<'_>) -> ServerSourceSpec {
    let example = "table = \"orders\", or table = [\"orders\", \"shop.items\"]";
    r.need("table", example);
    r.need("schema", "schema = { id = \"int64\", name = \"text\" }, columns of the table");
    let reads = ServerReads::Changes(ChangesReads {
        tables: r.texts("table", example).unwrap_or_default().iter().map(|name| (*name).to_owned()).collect(),
        publication: r.text("publication", "publication = \"orders\"").map(str::to_owned),
        start: start(r),
    });
    ServerSourceSpec { url: url(r, "url = \"postgres://user:${PGPASSWORD}@127.0.0.1/database\""), reads }
}

fn url(r: &Reader<'_>, example: &str) -> String {
    r.need("url", example);
    r.text("url", example).unwrap_or_default().to_owned()
}

fn start(r: &Reader<'_>) -> ServerStart {
    let words = [("earliest", ServerStart::Earliest), ("latest", ServerStart::Latest)];
    r.choice("start", &words, &[]).unwrap_or_default()
}
