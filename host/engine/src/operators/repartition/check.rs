//! Stages with `repartition`.

use crate::operators::simple::SimpleNode;
use crate::operators::stage_text::StageText;
use millstream_base::error::{Error, Result};

/// Checks the stage.
pub fn check(partitions: Option<u32>) -> Result<SimpleNode> {
    match partitions {
        Some(0) => Err(Error::job("`repartition` into 0 partitions; write at least 1")),
        partitions => Ok(SimpleNode::Repartition { partitions }),
    }
}

/// Describes what the stage does.
pub fn summary(text: &StageText<'_>, partitions: Option<u32>) -> String {
    let parts = partitions.map_or("one part per worker".into(), |count| format!("{count} parts"));
    let how = if text.spec.key.is_empty() { ", in turn".into() } else { text.each(", by ") };
    format!("repartition into {parts}{how}")
}
