//! The keys of sources that read messages of a server.

use crate::job::spec::{RedisReads, ServerReads, ServerSourceSpec, ServerStart};
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

fn url(r: &Reader<'_>, example: &str) -> String {
    r.need("url", example);
    r.text("url", example).unwrap_or_default().to_owned()
}

fn start(r: &Reader<'_>) -> ServerStart {
    let words = [("earliest", ServerStart::Earliest), ("latest", ServerStart::Latest)];
    r.choice("start", &words, &[]).unwrap_or_default()
}
