//! Stages with `repartition`.

use crate::operators::simple::SimpleNode;
use millstream_base::error::{Error, Result};

/// Checks the stage.
pub fn check(partitions: Option<u32>) -> Result<SimpleNode> {
    match partitions {
        Some(0) => Err(Error::job("`repartition` into 0 partitions; write at least 1")),
        partitions => Ok(SimpleNode::Repartition { partitions }),
    }
}
