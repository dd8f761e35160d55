//! What must hold of sources that read messages of a server, and of sinks that write to one which a URL names.

use super::{PartMistakes, flight, nats, rabbitmq, zeromq};
use crate::job::spec::{
    ChangesReads, Format, KinesisSinkSpec, MqttReads, MqttTopic, MqttWrites, RedisReads, RedisWrites, ServerReads,
    ServerSinkSpec, ServerSourceSpec, ServerWrites, SourceSpec, TlsSpec,
};
use crate::job::{database, http_url};
use crate::limits::POLLED_PARTITIONS_MAX;
use std::collections::BTreeSet;

/// Letters of the name of a stream of Kinesis.
const STREAM_BYTES_MAX: usize = 128;
/// Bytes of a topic, or of the name of a client, of MQTT.
const MQTT_TEXT_BYTES_MAX: usize = 65_535;

/// Such a source.
pub(super) fn source(source: &SourceSpec, spec: &ServerSourceSpec, part: &PartMistakes<'_>) {
    match &spec.reads {
        ServerReads::Kinesis(reads) => stream(&reads.stream, reads.region.as_deref(), part),
        ServerReads::Redis(reads) => redis(spec, reads, source.tls.as_ref(), part),
        ServerReads::Changes(reads) => return changes(source, &spec.url, reads, part),
        ServerReads::Flight(reads) => return flight::source(source, spec, reads, part),
        ServerReads::Nats(reads) => nats::source(spec, reads, source.tls.as_ref(), part),
        ServerReads::Zeromq(reads) => zeromq::source(spec, reads, part),
        ServerReads::Rabbitmq(reads) => rabbitmq::source(spec, reads, source.tls.as_ref(), part),
        ServerReads::Mqtt(reads) => mqtt(spec, reads, source.tls.as_ref(), part),
    }
    if spec.reads.are_fields() && source.format != Format::Json {
        let word = source.format.word();
        let message = format!(
            "the fields of an entry are its columns, and the format is `{word}`; name the field that holds such a record, as field = \
             \"data\", or write format = \"json\""
        );
        part.wrong("format", message);
    }
}

/// A sink of kind `kinesis`.
pub(super) fn kinesis_sink(sink: &KinesisSinkSpec, part: &PartMistakes<'_>) {
    stream(&sink.stream, sink.region.as_deref(), part);
    if sink.key.as_ref().is_some_and(String::is_empty) {
        part.wrong("key", "`key` has an empty name; write the name of a column");
    }
}

/// A stream of Kinesis, and its region.
fn stream(name: &str, region: Option<&str>, part: &PartMistakes<'_>) {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if !(1..=STREAM_BYTES_MAX).contains(&name.len()) || !name.bytes().all(good) {
        let shown = name.escape_debug();
        let hint = match name.starts_with("arn:") {
            true => "write the name that it ends with, and its region as `region`".to_owned(),
            false => format!("names are of up to {STREAM_BYTES_MAX} letters, digits, `.`, `_` and `-`"),
        };
        part.wrong("stream", format!("`{shown}` is no name of a stream; {hint}"));
    }
    if let Some(region) = region
        .filter(|region| region.is_empty() || !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'))
    {
        part.wrong("region", format!("`{}` is no region; write one as \"eu-west-1\"", region.escape_debug()));
    }
}

/// Such a sink.
pub(super) fn sink(spec: &ServerSinkSpec, part: &PartMistakes<'_>) {
    match &spec.writes {
        ServerWrites::Redis(writes) => redis_sink(spec, writes, part),
        ServerWrites::Nats(writes) => nats::sink(spec, writes, part),
        ServerWrites::Rabbitmq(writes) => rabbitmq::sink(spec, writes, part),
        ServerWrites::Flight(writes) => flight::sink(spec, writes, part),
        ServerWrites::Mqtt(writes) => mqtt_sink(spec, writes, part),
    }
}

fn redis(spec: &ServerSourceSpec, reads: &RedisReads, tls: Option<&TlsSpec>, part: &PartMistakes<'_>) {
    url(&spec.url, ["redis://", "rediss://"], tls, part);
    redis_name(tls, part);
    names("stream", &reads.streams, part);
    let count = reads.streams.len();
    if count > POLLED_PARTITIONS_MAX {
        let message = format!(
            "`stream` names {count} streams, and a source reads at most {POLLED_PARTITIONS_MAX}, each on a thread; write several sources, \
             and take them together with from = [\"a\", \"b\"]"
        );
        part.wrong("stream", message);
    }
}

fn redis_sink(spec: &ServerSinkSpec, writes: &RedisWrites, part: &PartMistakes<'_>) {
    url(&spec.url, ["redis://", "rediss://"], spec.tls.as_ref(), part);
    redis_name(spec.tls.as_ref(), part);
    names("stream", std::slice::from_ref(&writes.stream), part);
}

fn redis_name(tls: Option<&TlsSpec>, part: &PartMistakes<'_>) {
    if tls.is_some_and(|tls| tls.name.is_some()) {
        part.wrong("tls", "`tls.name` is not for kind `redis`; write the name that the certificate is for into `url`");
    }
}

fn mqtt(spec: &ServerSourceSpec, reads: &MqttReads, tls: Option<&TlsSpec>, part: &PartMistakes<'_>) {
    url(&spec.url, ["mqtt://", "mqtts://"], tls, part);
    names("topic", &reads.topics, part);
    for filter in &reads.topics {
        if let Err(message) = is_filter(filter) {
            part.wrong("topic", message);
        }
    }
    client("client_id", &reads.client_id, part);
}

fn mqtt_sink(spec: &ServerSinkSpec, writes: &MqttWrites, part: &PartMistakes<'_>) {
    url(&spec.url, ["mqtt://", "mqtts://"], spec.tls.as_ref(), part);
    match &writes.topic {
        MqttTopic::Fixed(topic) => {
            names("topic", std::slice::from_ref(topic), part);
            if topic.contains(['+', '#']) || topic.len() > MQTT_TEXT_BYTES_MAX {
                let message = format!(
                    "`{topic}` is no topic to send to, as `+` and `#` stand for others; write one topic, or topic_from = \"column\""
                );
                part.wrong("topic", message);
            }
        }
        MqttTopic::Column(name) if name.is_empty() => {
            part.wrong("topic_from", "`topic_from` is empty; write the name of a column");
        }
        MqttTopic::Column(_) => {}
    }
    client("client_id", &writes.client_id, part);
}

/// The URL of a server, plain or with TLS.
pub(super) fn url(url: &str, [plain, safe]: [&str; 2], tls: Option<&TlsSpec>, part: &PartMistakes<'_>) {
    if let Err(message) = http_url::begins_with(url, &[plain, safe]) {
        part.wrong("url", message);
    } else if tls.is_some() && url.starts_with(plain) {
        let message = format!("`tls` does nothing where `url` begins with {plain}; write {safe}, or remove `tls`");
        part.wrong("tls", message);
    }
}

/// Whether this may be subscribed to.
fn is_filter(filter: &str) -> Result<(), String> {
    let wrong = |what: &str| {
        Err(format!(
            "`{filter}` is no topic to subscribe to: {what}; write it as \"plant/+/temperature\" or \"plant/#\""
        ))
    };
    if filter.len() > MQTT_TEXT_BYTES_MAX {
        return Err(format!("a `topic` has {} bytes, and MQTT allows {MQTT_TEXT_BYTES_MAX}; shorten it", filter.len()));
    }
    if filter.starts_with("$share/") {
        return wrong(
            "the members of a shared subscription get a part of the messages each, and one job reads all of its own",
        );
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        if level == "#" && levels.peek().is_some() {
            return wrong("`#` stands at the end");
        }
        if level.len() > 1 && level.contains(['+', '#']) {
            return wrong("`+` and `#` stand alone between `/`");
        }
    }
    Ok(())
}

fn client(key: &str, name: &str, part: &PartMistakes<'_>) {
    if name.is_empty() || name.len() > MQTT_TEXT_BYTES_MAX || name.chars().any(char::is_control) {
        part.wrong(key, format!("`{}` is no name of a client; write one as \"plant-totals\"", name.escape_debug()));
    }
}

fn changes(source: &SourceSpec, url: &str, reads: &ChangesReads, part: &PartMistakes<'_>) {
    if let Err(message) = database::check_url(url) {
        part.wrong("url", message);
    }
    names("table", &reads.tables, part);
    for table in &reads.tables {
        if let Err(message) = database::table(table) {
            part.wrong("table", message);
        }
    }
    if reads.publication.as_ref().is_some_and(|name| name.len() > database::NAME_BYTES_MAX || name.contains('\0')) {
        let most = database::NAME_BYTES_MAX;
        part.wrong("publication", format!("`publication` is no name of PostgreSQL's, which have at most {most} bytes"));
    }
    if source.format != Format::Json {
        let word = source.format.word();
        part.wrong("format", format!("rows of tables have no format, and it says `{word}`; remove `format`"));
    }
}

/// Names of what is read or written.
pub(super) fn names(key: &str, names: &[String], part: &PartMistakes<'_>) {
    let mut seen = BTreeSet::new();
    for name in names {
        if name.is_empty() || name.chars().any(char::is_control) {
            part.wrong(key, format!("`{}` is no name; write one of visible characters", name.escape_debug()));
        } else if !seen.insert(name) {
            part.wrong(key, format!("`{key}` names `{name}` twice; remove one"));
        }
    }
}
