//! Declaration of the `kafka` sink: its keys in job files.

use super::settings::KafkaWrites;
use crate::kafka::cluster::{BROKERS, KafkaCluster, SASL_KEY, TLS_KEY, WAIT, check_topic};
use crate::kafka::limits;
use arrow::datatypes::SchemaRef;
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_base::ids::BatchId;
use millstream_base::retry::StartupRetry;
use millstream_base::units;
use millstream_job::connector::{
    CHANGES, COMPRESSIONS, ENCODING, PARTS_SHAPE, REGISTRY_EXAMPLE, SUBJECT_SHAPE, SinkDeclaration,
};
use millstream_job::keys::{KeyShape, key};
use millstream_job::spec::{PartWriter, SinkChanges, SinkConfig, SinkStart, SubjectSpec};
use millstream_job::table::Reader;
use millstream_job::{PartErrors, parts};
use millstream_rows::batch::sink::{EncodeRows, Sink};
use millstream_rows::formats::{Compression, RecordFormat};
use std::sync::Arc;

const KIND: &str = "kafka";

/// Sinks of kind `kafka`.
pub const SINK: SinkDeclaration = SinkDeclaration {
    kind: KIND,
    doc: "a topic of a Kafka cluster",
    keys: &[
        BROKERS,
        key("topic", KeyShape::Text, "Topic. It is created if it does not exist.").required(),
        key(
            "format",
            KeyShape::Word(&["text", "json", "csv", "binary", "avro", "protobuf"]),
            "Format of a record's value, `json` by default.",
        ),
        key(
            "key",
            KeyShape::Text,
            "Column with the key of the records, which selects their partition as Java's client does.",
        ),
        key(
            "op",
            KeyShape::Text,
            "Column of type text with the operation of a row: `delete` writes a record with the key and no value; `insert`, `update` \
             and `upsert` write the row; `truncate` fails the job. The column itself is not written.",
        ),
        key(
            "tombstones",
            KeyShape::Text,
            "Column of type bool that marks tombstones: records with a key but no value, by which a compacted topic deletes the \
             key. The column itself is not written.",
        ),
        key(
            "registry",
            SUBJECT_SHAPE,
            "Formats avro and protobuf: schema registry with the schema of the records, for example \"http://127.0.0.1:8081\", \
             or { url = \"https://…\", user = \"writer\", password = \"${PASSWORD}\", subject = \"orders-value\" }.",
        ),
        key(
            "descriptor",
            KeyShape::Text,
            "Format protobuf: the file that `protoc --include_imports --descriptor_set_out=FILE` wrote, relative to the job \
             file.",
        ),
        key(
            "message",
            KeyShape::Text,
            "Format protobuf: full name of the record's message, for example \"shop.Order\".",
        ),
        key("compression", COMPRESSIONS, "Compression of the records, `none` by default."),
        key(
            "transaction",
            KeyShape::Time,
            "Timeout of a batch's transaction, after which the cluster aborts it and the job begins it again; 1m by default. \
             Must not exceed `transaction.max.timeout.ms` of the brokers.",
        ),
        key(
            "markers",
            KeyShape::Text,
            "Compacted topic in which the job records the committed batches, \"millstream-markers\" by default. It \
             is created if it does not exist.",
        ),
        key(
            "parts",
            PARTS_SHAPE,
            "Transactions of a batch: one, with its rows in order (`batch`), or one per worker that has rows (`worker`). With \
             `worker`, workers write at the same time, each with its own marker. `batch` by default.",
        ),
        SASL_KEY,
        TLS_KEY,
        WAIT,
    ],
    shared: &[CHANGES, ENCODING],
    read: |r| KafkaWrites::read(r).into(),
};

impl KafkaWrites {
    fn read(r: &Reader<'_>) -> KafkaWrites {
        let text = |key: &str, example: &str| r.text(key, example).map(str::to_owned);
        r.need("topic", "topic = \"counts\"");
        let cluster = KafkaCluster::read(r);
        let mut writes = KafkaWrites::new(cluster, text("topic", "topic = \"counts\"").unwrap_or_default());
        writes.read_format(r);
        writes.compression = r.choice("compression", &Compression::ALL, &[]).unwrap_or(writes.compression);
        writes.key = text("key", "key = \"word\", the name of one column");
        writes.tombstones = text("tombstones", "tombstones = \"removed\", the name of a column");
        writes.op = r.op();
        if writes.op.is_some() && writes.tombstones.is_some() {
            r.wrong("op", "`op` and `tombstones` both say which rows are tombstones; remove one");
        }
        if writes.op.is_some() && writes.key.is_none() {
            r.wrong("op", "`op` needs `key`: a tombstone names the deleted key");
        }
        writes.markers = text("markers", "markers = \"millstream-markers\"").unwrap_or(writes.markers);
        writes.transaction = r.time("transaction").unwrap_or(writes.transaction);
        writes.parts = r.parts_by();
        writes
    }

    /// Reads `format` and the keys about its schema.
    fn read_format(&mut self, r: &Reader<'_>) {
        let formats = [
            ("json", RecordFormat::Json),
            ("text", RecordFormat::Text),
            ("csv", RecordFormat::Csv),
            ("binary", RecordFormat::Binary),
            ("avro", RecordFormat::Avro),
            ("protobuf", RecordFormat::Protobuf),
        ];
        let format = r.choice("format", &formats, &["parquet"]);
        let is_other = format.is_some() || !r.has("format");
        self.format = format.unwrap_or(self.format);
        self.registry = r.subject().map(Box::new);
        if format == Some(RecordFormat::Protobuf) {
            self.protobuf = Some(Box::new(r.protobuf()));
        } else if is_other {
            for key in ["descriptor", "message"].into_iter().filter(|key| r.has(key)) {
                let why = "is for format `protobuf` only; remove it, or write format = \"protobuf\"";
                r.wrong(key, format!("`{key}` {why}"));
            }
        }
        match format {
            Some(RecordFormat::Avro) => r.need("registry", REGISTRY_EXAMPLE),
            Some(RecordFormat::Protobuf) => {}
            _ if r.has("registry") && is_other => r.wrong(
                "registry",
                "`registry` is for formats `avro` and `protobuf`; remove it, or write format = \"avro\"",
            ),
            _ => {}
        }
    }
}

impl SinkConfig for KafkaWrites {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, part: &PartErrors<'_>) {
        self.cluster.check(part);
        check_topic("topic", &self.topic, part);
        check_topic("markers", &self.markers, part);
        if self.topic == self.markers {
            let message = "`topic` and `markers` are the same topic; the job needs a separate topic for its markers";
            part.wrong("topic", message);
        }
        if let Some(protobuf) = &self.protobuf {
            parts::message(protobuf, part);
        }
        if let Some(subject) = &self.registry {
            parts::registry(&subject.registry, part);
            if subject.subject.as_ref().is_some_and(|name| name.is_empty() || name.chars().any(char::is_control)) {
                part.wrong(
                    "registry.subject",
                    "`registry.subject` is not a valid name; write subject = \"orders-value\"",
                );
            }
            if self.protobuf.is_some() && subject.record != SubjectSpec::RECORD {
                let why = "`registry.record` names Avro records; the message of format `protobuf` is what `message` says; remove it";
                part.wrong("registry.record", why);
            } else if !subject.record.split('.').all(is_avro_name) {
                let name = subject.record.escape_debug();
                part.wrong(
                    "registry.record",
                    format!("`{name}` is not a valid record name; write record = \"shop.Order\""),
                );
            }
        }
        let (least, most) = (limits::TRANSACTION_MS_MIN, limits::TRANSACTION_MS_MAX);
        if !(u128::from(least)..=u128::from(most)).contains(&self.transaction.as_millis()) {
            let message = format!("`transaction` is {}; write \"1s\" to \"24d\"", units::show_time(self.transaction));
            part.wrong("transaction", message);
        }
    }

    fn is_text(&self) -> bool {
        self.format.is_text()
    }

    /// The key of a record may be bytes.
    fn keeps_bytes(&self, column: &str) -> bool {
        self.key.as_deref() == Some(column)
    }

    fn changes(&self) -> SinkChanges<'_> {
        let key = self.key.as_slice();
        match (&self.op, &self.tombstones) {
            (Some(op), _) => SinkChanges::Followed { key, op, is_flag: false },
            (None, Some(op)) => SinkChanges::Followed { key, op, is_flag: true },
            (None, None) => SinkChanges::Unknown {
                key: "topic",
                help: "write op = \"OP\" and the `key` of records",
                appends: false,
            },
        }
    }

    fn by_worker(&self) -> bool {
        self.parts == PartWriter::Worker
    }

    fn check_start(&self, start: SinkStart<'_>, schema: &SchemaRef, _keeps_checkpoints: bool) -> Result<()> {
        super::check(self, start, schema)
    }

    fn await_server(&self, start: SinkStart<'_>) -> Result<()> {
        match start.servers {
            StartupRetry::No => Ok(()),
            StartupRetry::Until(until) => super::await_cluster(self, start, until),
        }
    }

    fn open(&self, start: SinkStart<'_>, schema: &SchemaRef, failure: &Failure) -> Result<Box<dyn Sink>> {
        super::open(self, start, schema, start.owner, failure)
    }

    fn committed(&self, start: SinkStart<'_>, job_id: &str) -> Result<Option<BatchId>> {
        super::committed(self, start, job_id)
    }

    fn encoder(&self, start: SinkStart<'_>, schema: &SchemaRef) -> Result<Option<EncodeRows>> {
        // Only the open sink knows the registry's schema.
        if self.registry.is_some() {
            return Ok(None);
        }
        let encoder = super::encoder(self, start, schema)?;
        Ok(Some(Arc::new(move |rows| encoder.encode_ahead(rows))))
    }
}

/// Whether Avro allows this name.
fn is_avro_name(name: &str) -> bool {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    begins && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
