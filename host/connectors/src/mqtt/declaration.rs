//! Declarations of `mqtt` sources and sinks: their keys in job files.

use super::settings::{MqttReads, MqttTopic, MqttWrites};
use super::{sink, source};
use arrow::datatypes::SchemaRef;
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_connect::receiver::polled;
use millstream_job::PartErrors;
use millstream_job::connector::{MESSAGES, RECORDS, ROWS, SinkDeclaration, SourceDeclaration, TLS, WAIT};
use millstream_job::keys::{KeyShape, TableKey, columns, key};
use millstream_job::spec::{Origin, SourceSpec};
use millstream_job::spec::{SinkConfig, SinkServer, SinkStart, SourceConfig, SourceStart};
use millstream_job::table::Reader;
use millstream_rows::batch::column::ColumnSource;
use millstream_rows::batch::sink::Sink;
use millstream_rows::decode::spec::RecordBounds;
use std::sync::Arc;
use std::time::Duration;

const KIND: &str = "mqtt";
const SCHEMES: [&str; 2] = ["mqtt://", "mqtts://"];
const URL_EXAMPLE: &str = "url = \"mqtt://127.0.0.1:1883\"";
/// Maximum bytes of a topic or client id.
const TEXT_BYTES_MAX: usize = 65_535;
/// How long the server keeps messages while the job is not connected: seven days.
const SESSION_MS: u64 = 7 * 86_400_000;

const URL: TableKey = key(
    "url",
    KeyShape::Text,
    "MQTT server, for example \"mqtt://user:${MQTT_PASSWORD}@host:1883\"; `mqtts://` uses TLS. ${NAME} is replaced by that \
     environment variable, which keeps the password out of the file.",
)
.required();

/// Sources of kind `mqtt`.
pub const SOURCE: SourceDeclaration = SourceDeclaration {
    kind: KIND,
    doc: "MQTT topics",
    keys: &[
        URL,
        key(
            "topic",
            KeyShape::TextList,
            "Topic to subscribe to, or a list of topics, with `+` for one level and `#` for all further levels: \
             \"plant/+/temperature\".",
        )
        .required(),
        key(
            "client_id",
            KeyShape::Text,
            "Client ID under which the server keeps messages for the job, `millstream-<job>-<source>` by default. It must be \
             unique on the server.",
        ),
        key(
            "qos",
            KeyShape::Integer(0, 1),
            "Quality of service. With 1, the server keeps each message until a plan that holds it is durable. With 0, it sends \
             each message once and does not keep it. 1 by default.",
        ),
        key(
            "session",
            KeyShape::Time,
            "How long the server keeps messages while the job is not connected, 7d by default; a server may keep them for less \
             time, and fewer of them.",
        ),
        columns(&["topic", "headers", "header.NAME"]),
    ],
    shared: &[ROWS, RECORDS, TLS],
    read: |r| MqttReads::read(r).into(),
};

/// Sinks of kind `mqtt`.
pub const SINK: SinkDeclaration = SinkDeclaration {
    kind: KIND,
    doc: "MQTT topics",
    keys: &[
        URL,
        key("topic", KeyShape::Text, "Topic of all messages. `topic_from` names a column instead."),
        key("topic_from", KeyShape::Text, "Column with the topic of each message; it is not part of the message."),
        key(
            "retain",
            KeyShape::Flag,
            "Let the server keep the last message of each topic for later subscribers; false by default.",
        ),
        key(
            "client_id",
            KeyShape::Text,
            "Client ID of the job, `millstream-<job>-<sink>` by default. It must be unique on the server.",
        ),
    ],
    shared: &[MESSAGES, TLS, WAIT],
    read: |r| MqttWrites::read(r).into(),
};

impl MqttReads {
    fn read(r: &Reader<'_>) -> MqttReads {
        let example = "topic = \"plant/+/temperature\", or topic = [\"a\", \"b/#\"]";
        r.need("topic", example);
        let acknowledged = r.integer("qos", 0, 1) != Some(0);
        if !acknowledged && r.has("session") {
            r.wrong(
                "session",
                "`session` has no effect with qos = 0, because the server keeps nothing; remove one of them",
            );
        }
        MqttReads {
            client_id: client_id(r),
            topics: r.list("topic", example),
            acknowledged,
            session: r.time("session").unwrap_or(Duration::from_millis(SESSION_MS)),
            url: r.url(URL_EXAMPLE),
        }
    }
}

impl MqttWrites {
    fn read(r: &Reader<'_>) -> MqttWrites {
        let topic = r.either(
            ("topic", "topic = \"plant/alerts\""),
            ("topic_from", "topic_from = \"topic\", the name of a column"),
        );
        MqttWrites {
            client_id: client_id(r),
            topic: topic.map_or_else(MqttTopic::Column, MqttTopic::Fixed),
            format: r.message_format(),
            retain: r.flag("retain").unwrap_or(false),
            server: SinkServer::read(r, URL_EXAMPLE),
        }
    }
}

/// Reads the client id. Empty: it is derived from the names of job and part.
fn client_id(r: &Reader<'_>) -> String {
    r.text("client_id", "client_id = \"plant-totals\"").unwrap_or_default().to_owned()
}

impl SourceConfig for MqttReads {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, source: &SourceSpec, part: &PartErrors<'_>) {
        part.url(&self.url, SCHEMES, source.tls.as_ref());
        part.names("topic", &self.topics);
        for filter in &self.topics {
            if let Err(message) = check_filter(filter) {
                part.wrong("topic", message);
            }
        }
        check_client(&self.client_id, part);
    }

    fn promise(&self) -> Option<&'static str> {
        Some(match self.acknowledged {
            true => {
                "at least once, with [checkpoint], for messages that the server keeps; messages that it drops from \
                a full queue are lost and not counted"
            }
            false => {
                "at most once, because qos = 0: messages sent while the job is not connected, or not in a plan at a \
                crash, are lost"
            }
        })
    }

    fn bounds(&self) -> RecordBounds {
        RecordBounds::Envelope
    }

    fn provides(&self, part: &ColumnSource) -> bool {
        matches!(part, ColumnSource::Topic | ColumnSource::Headers | ColumnSource::Header(_))
    }

    fn named(&self, name: &str) -> Option<Arc<dyn SourceConfig>> {
        self.client_id.is_empty().then(|| Arc::new(MqttReads { client_id: name.into(), ..self.clone() }) as _)
    }

    /// The job itself may be running, and its session on the server must not be touched.
    fn sampled(&self) -> Option<Arc<dyn SourceConfig>> {
        let client_id = format!("{}-sample-{}", self.client_id, std::process::id());
        Some(Arc::new(MqttReads { client_id, session: Duration::ZERO, ..self.clone() }))
    }

    fn check_start(&self, source: &SourceSpec, origin: &Origin) -> Result<()> {
        polled::check(source, origin, source::Mqtt::new(source, self, origin))
    }

    fn start(&self, start: SourceStart<'_>) -> Result<()> {
        let readers = polled::readers((start.source, self, start.origin), source::Mqtt::new);
        polled::start(start, readers);
        Ok(())
    }
}

impl SinkConfig for MqttWrites {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, part: &PartErrors<'_>) {
        part.url(&self.server.url, SCHEMES, self.server.tls.as_ref());
        match &self.topic {
            MqttTopic::Fixed(topic) => {
                part.names("topic", std::slice::from_ref(topic));
                if topic.contains(['+', '#']) || topic.len() > TEXT_BYTES_MAX {
                    let message = format!(
                        "`{topic}` is not a topic to publish to: it must not contain `+` or `#`; write one topic, or topic_from = \"column\""
                    );
                    part.wrong("topic", message);
                }
            }
            MqttTopic::Column(name) => part.column("topic_from", name),
        }
        check_client(&self.client_id, part);
    }

    fn promises(&self) -> Vec<String> {
        vec!["at least once: after a crash, or when a connection is lost, some messages are sent again".into()]
    }

    fn is_text(&self) -> bool {
        self.format.is_text()
    }

    fn named(&self, name: &str) -> Option<Arc<dyn SinkConfig>> {
        self.client_id.is_empty().then(|| Arc::new(MqttWrites { client_id: name.into(), ..self.clone() }) as _)
    }

    fn check_start(&self, start: SinkStart<'_>, schema: &SchemaRef, _keeps_checkpoints: bool) -> Result<()> {
        sink::check(self, start, schema)
    }

    fn await_server(&self, start: SinkStart<'_>) -> Result<()> {
        sink::await_server(self, start)
    }

    fn open(&self, start: SinkStart<'_>, schema: &SchemaRef, failure: &Failure) -> Result<Box<dyn Sink>> {
        sink::open(self, start, schema, start.owner, failure)
    }
}

/// Checks that a topic filter is valid.
fn check_filter(filter: &str) -> std::result::Result<(), String> {
    let wrong = |what: &str| {
        Err(format!(
            "`{filter}` is not a topic to subscribe to: {what}; write it as \"plant/+/temperature\" or \"plant/#\""
        ))
    };
    if filter.len() > TEXT_BYTES_MAX {
        return Err(format!("a `topic` has {} bytes, and MQTT allows {TEXT_BYTES_MAX}; shorten it", filter.len()));
    }
    if filter.starts_with("$share/") {
        return wrong("a shared subscription gives each member only some of the messages, and a job must receive all");
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        if level == "#" && levels.peek().is_some() {
            return wrong("`#` must be at the end");
        }
        if level.len() > 1 && level.contains(['+', '#']) {
            return wrong("`+` and `#` must be alone between `/`");
        }
    }
    Ok(())
}

fn check_client(name: &str, part: &PartErrors<'_>) {
    if name.is_empty() || name.len() > TEXT_BYTES_MAX || name.chars().any(char::is_control) {
        let shown = name.escape_debug();
        part.wrong("client_id", format!("`{shown}` is not a client ID; write one, for example \"plant-totals\""));
    }
}
