//! The keys of sources that read messages of a server.

use super::kafka;
use crate::job::spec::{
    ChangesReads, JobSpec, KinesisReads, KinesisSinkSpec, MqttReads, RedisReads, ServerReads, ServerSourceSpec,
    ServerStart, ServerWrites, SinkKind, SourceKind,
};
use crate::job::table::Reader;
use crate::limits;
use std::time::Duration;

/// A source of kind `redis`.
pub(super) fn redis(r: &Reader<'_>) -> ServerSourceSpec {
    let example = "stream = \"orders\", or stream = [\"a\", \"b\"]";
    r.need("stream", example);
    let reads = ServerReads::Redis(RedisReads {
        streams: texts(r, "stream", example),
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

/// A source of kind `postgres-changes`.
pub(super) fn changes(r: &Reader<'_>) -> ServerSourceSpec {
    let example = "table = \"orders\", or table = [\"orders\", \"shop.items\"]";
    r.need("table", example);
    r.need("schema", "schema = { id = \"int64\", name = \"text\" }, columns of the table");
    let reads = ServerReads::Changes(ChangesReads {
        tables: r.texts("table", example).unwrap_or_default().iter().map(|name| (*name).to_owned()).collect(),
        publication: r.text("publication", "publication = \"orders\"").map(str::to_owned),
        start: start(r),
        keys: Vec::new(),
    });
    ServerSourceSpec { url: url(r, "url = \"postgres://user:${PGPASSWORD}@127.0.0.1/database\""), reads }
}

/// A source of kind `mqtt`.
pub(super) fn mqtt(r: &Reader<'_>) -> ServerSourceSpec {
    let example = "topic = \"plant/+/temperature\", or topic = [\"a\", \"b/#\"]";
    r.need("topic", example);
    let mut reads = MqttReads::new(client_id(r), texts(r, "topic", example));
    reads.acknowledged = r.whole("qos", 0, 1) != Some(0);
    reads.session = r.time("session").unwrap_or(reads.session);
    if !reads.acknowledged && r.has("session") {
        r.wrong(
            "session",
            "`session` does nothing with qos = 0, by which the server keeps nothing; remove one of both",
        );
    }
    ServerSourceSpec { url: url(r, "url = \"mqtt://127.0.0.1:1883\""), reads: ServerReads::Mqtt(reads) }
}

/// Gives clients that have none a name by the job and the part of it, so that they find what the server keeps for them.
pub(super) fn name_clients(job: &mut JobSpec) {
    for source in &mut job.sources {
        if let SourceKind::Server(server) = &mut source.kind
            && let ServerReads::Mqtt(reads) = &mut server.reads
            && reads.client_id.is_empty()
        {
            reads.client_id = format!("millstream-{}-{}", job.name, source.name);
        }
    }
    for sink in &mut job.sinks {
        if let SinkKind::Server(server) = &mut sink.kind
            && let ServerWrites::Mqtt(writes) = &mut server.writes
            && writes.client_id.is_empty()
        {
            writes.client_id = format!("millstream-{}-{}", job.name, sink.name);
        }
    }
}

/// Empty: it is made of the names of job and part.
pub(super) fn client_id(r: &Reader<'_>) -> String {
    r.text("client_id", "client_id = \"plant-totals\"").unwrap_or_default().to_owned()
}

pub(super) fn url(r: &Reader<'_>, example: &str) -> String {
    r.need("url", example);
    r.text("url", example).unwrap_or_default().to_owned()
}

pub(super) fn texts(r: &Reader<'_>, key: &str, example: &str) -> Vec<String> {
    r.texts(key, example).unwrap_or_default().iter().map(|name| (*name).to_owned()).collect()
}

pub(super) fn start(r: &Reader<'_>) -> ServerStart {
    let words = [("earliest", ServerStart::Earliest), ("latest", ServerStart::Latest)];
    r.choice("start", &words, &[]).unwrap_or_default()
}
