//! The keys of sources that read messages of a server.

use super::kafka;
use crate::job::spec::{KinesisReads, KinesisSinkSpec, RedisReads, ServerReads, ServerSourceSpec, ServerStart};
use crate::job::table::Reader;
use crate::limits;
use std::time::Duration;

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

/// A source of kind `kinesis`.
pub(super) fn kinesis(r: &Reader<'_>) -> ServerSourceSpec {
    let (stream, region) = stream(r);
    let reads = KinesisReads { stream, region, start: kafka::start(r).unwrap_or_default() };
    ServerSourceSpec { url: String::new(), reads: ServerReads::Kinesis(reads) }
}

/// A sink of kind `kinesis`.
pub(super) fn kinesis_sink(r: &Reader<'_>) -> KinesisSinkSpec {
    let (stream, region) = stream(r);
    KinesisSinkSpec {
        stream,
        region,
        key: r.text("key", "key = \"user\", the name of one column").map(str::to_owned),
        wait: r.time("wait").unwrap_or(Duration::from_millis(limits::SERVER_WAIT_MS)),
    }
}

/// A stream of Kinesis, and its region.
fn stream(r: &Reader<'_>) -> (String, Option<String>) {
    let example = "stream = \"orders\"";
    r.need("stream", example);
    let region = r.text("region", "region = \"eu-west-1\"").map(str::to_owned);
    (r.text("stream", example).unwrap_or_default().to_owned(), region)
}

fn url(r: &Reader<'_>, example: &str) -> String {
    r.need("url", example);
    r.text("url", example).unwrap_or_default().to_owned()
}

fn start(r: &Reader<'_>) -> ServerStart {
    let words = [("earliest", ServerStart::Earliest), ("latest", ServerStart::Latest)];
    r.choice("start", &words, &[]).unwrap_or_default()
}
