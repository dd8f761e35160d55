//! Stages with `repartition`.

use crate::operators::simple::SimpleNode;
use crate::operators::stage_words::StageWords;
use millstream_base::error::{Error, Result};

/// Checks the stage.
pub fn check(partitions: Option<u32>) -> Result<SimpleNode> {
    match partitions {
        Some(0) => Err(Error::job("`repartition` into 0 partitions; write at least 1")),
        partitions => Ok(SimpleNode::Repartition { partitions }),
    }
}

/// What the stage does, in words.
pub fn in_words(words: &StageWords<'_>, partitions: Option<u32>) -> String {
    let parts = partitions.map_or("as many parts as there are workers".into(), |count| format!("{count} parts"));
    let how = if words.spec.key.is_empty() { ", in turn".into() } else { words.each(", by ") };
    format!("repartition into {parts}{how}")
}
