//! Settings of sinks of kind `kafka`.

use crate::kafka::cluster::KafkaCluster;
use crate::kafka::limits;
use millstream_base::job::spec::{Compression, PartsBy, ProtobufSpec, RecordFormat, SubjectSpec};
use std::time::Duration;

/// The topic where the job keeps which batches its sinks have committed, where the job does not say another.
pub const MARKERS: &str = "millstream-markers";

/// What is written, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaWrites {
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

impl KafkaWrites {
    /// JSON objects into this topic, without keys.
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
            parts: PartsBy::default(),
        }
    }
}
