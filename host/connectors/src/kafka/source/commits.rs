//! Tells a consumer group how far the job's checkpoints have come, so that others see how far behind it is. Nothing is ever read
//! from there.

use super::settings::KafkaReads;
use crate::kafka::consumer::Consumer;
use millstream_base::batch::position::Positions;
use millstream_base::batch::topic;
use millstream_base::inbox::Inbox;
use millstream_base::job::spec::SourceSpec;
use std::sync::Arc;
use tokio::sync::watch;
use tracing::warn;

/// What a group is told.
pub struct Commits {
    source: String,
    /// Positions of published checkpoints; `None`: no group is told.
    published: Option<watch::Receiver<Positions>>,
    told: Positions,
    failed: bool,
}

impl Commits {
    pub fn new(source: &SourceSpec, spec: &KafkaReads, inbox: &Arc<Inbox>) -> Commits {
        let published = spec.group.is_some().then(|| inbox.published());
        Commits { source: source.name.clone(), published, told: Positions::new(), failed: false }
    }

    /// Sends what changed since the last time. What fails is told once: the job needs none of it.
    pub fn send(&mut self, consumer: &Consumer) {
        let Some(published) = self.published.as_mut().filter(|published| published.has_changed().unwrap_or(false))
        else {
            return;
        };
        let positions = published.borrow_and_update().clone();
        let changed: Vec<(&str, i32, u64)> = positions
            .iter()
            .filter(|(name, position)| self.told.get(*name) != Some(*position))
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
        self.told = positions;
    }
}
