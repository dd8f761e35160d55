//! Settings of `kafka` sinks.

use crate::kafka::cluster::KafkaCluster;
use crate::kafka::limits;
use millstream_job::spec::{PartWriter, SubjectSpec};
use millstream_rows::formats::{Compression, ProtobufSpec, RecordFormat};
use std::time::Duration;

/// The default topic in which jobs keep the last committed batches of their sinks.
pub const MARKERS: &str = "millstream-markers";

/// Settings of a sink: what it writes, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaWrites {
    /// The cluster.
    pub cluster: KafkaCluster,
    /// The topic.
    pub topic: String,
    /// The column with the keys of records; `None`: they have none.
    pub key: Option<String>,
    /// The format of values.
    pub format: RecordFormat,
    /// For formats `avro` and `protobuf`: the schema registry with the schema.
    pub registry: Option<Box<SubjectSpec>>,
    /// For format `protobuf`: the message type.
    pub protobuf: Option<Box<ProtobufSpec>>,
    /// The column of type `bool` that marks tombstones: records with a key and no value.
    pub tombstones: Option<String>,
    /// The column of type `text` with the operation of a row: `delete` makes it a tombstone.
    pub op: Option<String>,
    /// Compression of records in transit and in the topic.
    pub compression: Compression,
    /// Timeout of a batch's transaction, after which the cluster aborts it.
    pub transaction: Duration,
    /// The topic in which the job keeps the last committed batches.
    pub markers: String,
    /// Who writes: worker 0 all rows, or each worker its own.
    pub parts: PartWriter,
}

impl KafkaWrites {
    /// Returns settings that write JSON objects without keys to this topic.
    pub fn new(cluster: KafkaCluster, topic: impl Into<String>) -> KafkaWrites {
        KafkaWrites {
            cluster,
            topic: topic.into(),
            key: None,
            format: RecordFormat::Json,
            registry: None,
            protobuf: None,
            tombstones: None,
            op: None,
            compression: Compression::None,
            transaction: Duration::from_millis(limits::TRANSACTION_MS),
            markers: MARKERS.into(),
            parts: PartWriter::default(),
        }
    }
}
