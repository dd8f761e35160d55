//! What stands for the client of Kafka in builds without it.

use millstream_base::built;
use millstream_base::job::spec::KafkaCluster;
use std::path::Path;

/// There are no settings.
pub fn settings(_cluster: &KafkaCluster, _folder: &Path, _name: &str) -> Result<(), String> {
    Err(built::absent("Kafka", "kafka"))
}
