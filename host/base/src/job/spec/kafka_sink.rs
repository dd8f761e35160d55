//! A sink that writes into a topic of a Kafka cluster.

use super::{KafkaCluster, PartsBy, ProtobufSpec, SubjectSpec};
use crate::limits;
use std::time::Duration;

/// The topic where the job keeps which batches its sinks have committed, where the job does not say another.
pub const MARKERS: &str = "millstream-markers";

/// What a `kafka` sink writes, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaSinkSpec {
    /// The cluster.
    pub cluster: KafkaCluster,
    /// The topic.
    pub topic: String,
    /// The column that is the key of records; `None`: they have none.
    pub key: Option<String>,
    /// What the value of a record is.
    pub format: RecordFormat,
    /// Formats `avro` and `protobuf`: where the schema of the records is.
    pub registry: Option<Box<SubjectSpec>>,
    /// Format `protobuf`: which message records are.
    pub protobuf: Option<Box<ProtobufSpec>>,
    /// The column of type `bool` that says which rows are tombstones: a key without a value.
    pub tombstones: Option<String>,
    /// The column of type `text` that says what a row does: `delete` makes a tombstone of it.
    pub op: Option<String>,
    /// How records are compressed on their way and in the topic.
    pub compression: Compression,
    /// How long the transaction of a batch may take until the cluster gives it up.
    pub transaction: Duration,
    /// The topic where the job keeps which batches are committed.
    pub markers: String,
    /// Who writes: worker 0 whole batches, or each worker the rows that it has.
    pub parts: PartsBy,
}

impl KafkaSinkSpec {
    /// JSON objects into this topic, without keys.
    pub fn new(cluster: KafkaCluster, topic: impl Into<String>) -> KafkaSinkSpec {
        KafkaSinkSpec {
            cluster,
            topic: topic.into(),
            key: None,
            format: RecordFormat::Json,
            registry: None,
            protobuf: None,
            tombstones: None,
            op: None,
            compression: Compression::None,
            transaction: Duration::from_millis(limits::KAFKA_TRANSACTION_MS),
            markers: MARKERS.into(),
            parts: PartsBy::default(),
        }
    }
}

/// What the value of a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFormat {
    /// A JSON object of the row.
    Json,
    /// The text column as it is.
    Text,
    /// A line of CSV, without a header.
    Csv,
    /// The binary column as it is.
    Binary,
    /// Avro behind the id of its schema, as Confluent's serializers write it.
    Avro,
    /// A message of Protobuf; where there is a registry behind the id of its schema, as Confluent's serializers write it.
    Protobuf,
}

impl RecordFormat {
    /// Whether rows are written as text.
    pub fn is_text(self) -> bool {
        matches!(self, RecordFormat::Json | RecordFormat::Text | RecordFormat::Csv)
    }
}

/// How records are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// As gzip does.
    Gzip,
    /// With Snappy.
    Snappy,
    /// With LZ4.
    Lz4,
    /// With Zstandard.
    Zstd,
}

impl Compression {
    /// All of them, with the names that Kafka and job files have for them.
    pub const ALL: [(&'static str, Compression); 5] = [
        ("none", Compression::None),
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
    ];

    /// Its name.
    pub fn word(self) -> &'static str {
        Compression::ALL.iter().find(|(_, one)| *one == self).map_or("none", |(word, _)| word)
    }
}
