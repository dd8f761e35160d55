//! Compacted topics: their records may be deleted before a batch is replayed, so plans hold them.

use super::Inbox;
use crate::batch::chunk::Chunk;
use crate::batch::topic;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Names of such topics.
#[derive(Default)]
pub(super) struct PlannedTopics(Mutex<BTreeSet<String>>);

impl Inbox {
    /// Receiver: sets whether plans hold the records of this topic, from the next batch on. Returns whether that changed.
    pub fn keep_topic(&self, topic: &str, keep: bool) -> bool {
        let mut kept = self.kept.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keep { kept.insert(topic.to_owned()) } else { kept.remove(topic) }
    }

    /// Receiver: returns whether batches have plans.
    pub fn has_plans(&self) -> bool {
        self.resumes
    }

    /// Worker: returns which of these chunks the plan of a batch must hold.
    pub fn kept_of(&self, chunks: &[Chunk]) -> Vec<bool> {
        let kept = self.kept.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_of_topic = |file: &str| topic::parse(file).is_some_and(|(topic, _)| kept.contains(topic));
        let is_kept = |chunk: &Chunk| chunk.needs_plan_copy() || (!kept.is_empty() && is_of_topic(&chunk.extent.file));
        chunks.iter().map(is_kept).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::position::Extent;

    #[test]
    fn chunks_of_compacted_topics_are_kept() {
        let inbox = Inbox::new(1, Box::new(|| {}));
        let of = |file: &str| Chunk { extent: Extent { file: file.into(), ..Extent::default() }, ..Chunk::default() };
        let chunks = [of(&topic::name("a", 3)), of(&topic::name("b", 0)), of("a")];
        assert_eq!(inbox.kept_of(&chunks), [false, false, false]);
        assert!(inbox.keep_topic("a", true) && !inbox.keep_topic("a", true));
        assert_eq!(inbox.kept_of(&chunks), [true, false, false]);
        assert!(inbox.keep_topic("a", false));
        assert_eq!(inbox.kept_of(&chunks), [false, false, false]);
    }
}
