//! Commits the positions of the job's checkpoints to a consumer group, so that others see its lag. They are never read back.

use super::settings::KafkaReads;
use crate::kafka::consumer::Consumer;
use millstream_job::spec::SourceSpec;
use millstream_rows::batch::position::Positions;
use millstream_rows::batch::topic;
use millstream_rows::inbox::Inbox;
use std::sync::Arc;
use tokio::sync::watch;
use tracing::warn;

/// Commits of a consumer group.
pub struct Commits {
    source: String,
    /// Positions of published checkpoints; `None` without a group.
    published: Option<watch::Receiver<Positions>>,
    committed: Positions,
    failed: bool,
}

impl Commits {
    pub fn new(source: &SourceSpec, spec: &KafkaReads, inbox: &Arc<Inbox>) -> Commits {
        let published = spec.group.is_some().then(|| inbox.published());
        Commits { source: source.name.clone(), published, committed: Positions::new(), failed: false }
    }

    /// Commits what changed since the last call. A failure is reported once: the job does not depend on it.
    pub fn send(&mut self, consumer: &Consumer) {
        let Some(published) = self.published.as_mut().filter(|published| published.has_changed().unwrap_or(false))
        else {
            return;
        };
        let positions = published.borrow_and_update().clone();
        let changed: Vec<(&str, i32, u64)> = positions
            .iter()
            .filter(|(name, position)| self.committed.get(*name) != Some(*position))
            .filter_map(|(name, position)| topic::parse(name).map(|(topic, number)| (topic, number, position.offset)))
            .collect();
        if changed.is_empty() {
            return;
        }
        match consumer.commit(&changed) {
            Ok(()) => self.failed = false,
            Err(fault) if !self.failed => {
                self.failed = true;
                warn!("source `{}`: cannot commit offsets to its group: {fault}", self.source);
            }
            Err(_) => {}
        }
        self.committed = positions;
    }
}
