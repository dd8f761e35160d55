//! The current plugins of a running job's stages. An upgrade replaces a plugin between two batches, when nothing is in flight. So no batch runs on
//! two versions.

use crate::operators::plugin::shadow::Shadow;
use crate::operators::stage::StageNode;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// The slot of each stage's plugin, by stage name.
#[derive(Default)]
pub struct Versions(BTreeMap<String, Arc<PluginSlot>>);

/// The slot for the plugin of one stage.
pub struct PluginSlot {
    /// Incremented by each change, so that workers detect changes cheaply.
    number: AtomicU64,
    now: RwLock<RunningPlugin>,
}

/// The current plugin of a stage, with its shadow.
#[derive(Clone)]
pub struct RunningPlugin {
    /// The stage.
    pub node: Arc<StageNode>,
    /// The next version, if it receives the same rows.
    pub shadow: Option<Arc<Shadow>>,
}

/// The last change of a slot that a worker has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeenChange(u64);

impl Versions {
    /// Creates the slots of a job at its start.
    pub fn new(stages: &[StageNode]) -> Versions {
        let slot = |stage: &StageNode| {
            let now = RunningPlugin { node: Arc::new(stage.clone()), shadow: None };
            (stage.name.clone(), Arc::new(PluginSlot { number: AtomicU64::new(0), now: RwLock::new(now) }))
        };
        Versions(stages.iter().filter(|stage| stage.plugin().is_some()).map(slot).collect())
    }

    /// Returns the slot of a stage with a plugin.
    pub fn slot(&self, stage: &str) -> Option<Arc<PluginSlot>> {
        self.0.get(stage).cloned()
    }
}

impl PluginSlot {
    /// Returns the current plugin.
    pub fn now(&self) -> RunningPlugin {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the current plugin if it changed since it was `seen`.
    pub fn renewed(&self, seen: &mut SeenChange) -> Option<RunningPlugin> {
        let number = self.number.load(Ordering::Acquire);
        (number != std::mem::replace(&mut seen.0, number)).then(|| self.now())
    }

    /// Ends the shadow. Safe at any time, as its output is dropped anyway.
    pub fn end_shadow(&self) {
        let now = self.now();
        if now.shadow.is_some() {
            self.set(RunningPlugin { shadow: None, ..now });
        }
    }

    /// Replaces the plugin. Only call it while no batch is in flight.
    pub fn set(&self, now: RunningPlugin) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = now;
        self.number.fetch_add(1, Ordering::AcqRel);
    }
}
