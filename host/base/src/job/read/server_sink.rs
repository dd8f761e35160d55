//! The keys of sinks that write to a server which is named by a URL.

use super::server::{client_id, url};
use super::tls;
use crate::job::spec::{MqttTopic, MqttWrites, RecordFormat, RedisWrites, ServerSinkSpec, ServerWrites};
use crate::job::table::Reader;

/// A sink of kind `redis`.
pub(super) fn redis(r: &Reader<'_>) -> ServerSinkSpec {
    let example = "stream = \"totals\"";
    r.need("stream", example);
    let writes = RedisWrites {
        stream: r.text("stream", example).unwrap_or_default().to_owned(),
        field: r.text("field", "field = \"data\"").map(str::to_owned),
        entries_max: r.whole("maxlen", 1, i64::MAX as u64),
    };
    server(r, "url = \"redis://127.0.0.1:6379\"", ServerWrites::Redis(writes))
}

/// A sink of kind `mqtt`.
pub(super) fn mqtt(r: &Reader<'_>) -> ServerSinkSpec {
    let topic = either(
        r,
        ("topic", "topic = \"plant/alerts\""),
        ("topic_from", "topic_from = \"topic\", the name of a column"),
    );
    let writes = MqttWrites {
        client_id: client_id(r),
        topic: topic.map_or_else(MqttTopic::Column, MqttTopic::Fixed),
        format: format(r),
        retain: r.flag("retain").unwrap_or(false),
    };
    server(r, "url = \"mqtt://127.0.0.1:1883\"", ServerWrites::Mqtt(writes))
}

/// Where messages go, which one of two keys says: all to one place, or (`Err`) each to where a column says.
pub(super) fn either(
    r: &Reader<'_>,
    (fixed, one): (&str, &str),
    (from, column): (&str, &str),
) -> Result<String, String> {
    match (r.has(fixed), r.has(from)) {
        (false, true) => Err(r.text(from, column).unwrap_or_default().to_owned()),
        (true, true) => {
            r.wrong(from, format!("`{fixed}` and `{from}` both say where messages go; remove one of them"));
            Ok("?".into())
        }
        (has, false) => {
            if !has {
                r.need(fixed, &format!("{one}, or {column}"));
            }
            Ok(r.text(fixed, one).unwrap_or_default().to_owned())
        }
    }
}

/// What is in a message.
pub(super) fn format(r: &Reader<'_>) -> RecordFormat {
    let formats = [("json", RecordFormat::Json), ("text", RecordFormat::Text), ("binary", RecordFormat::Binary)];
    r.choice("format", &formats, &["csv", "parquet", "avro", "protobuf"]).unwrap_or(RecordFormat::Json)
}

pub(super) fn server(r: &Reader<'_>, example: &str, writes: ServerWrites) -> ServerSinkSpec {
    let mut spec = ServerSinkSpec::new(url(r, example), writes);
    spec.tls = tls::read(r);
    spec.wait = r.time("wait").unwrap_or(spec.wait);
    spec
}
