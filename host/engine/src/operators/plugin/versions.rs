//! The plugins that the stages of a running job have now. An upgrade puts another in a stage's place between two batches:
//! when nothing is in flight, so that no batch runs on two versions.

use crate::operators::plugin::shadow::Shadow;
use crate::operators::stage::StageNode;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// The place of each stage's plugin, by the name of the stage.
#[derive(Default)]
pub struct Versions(BTreeMap<String, Arc<PluginSlot>>);

/// The place for the plugin of one stage.
pub struct PluginSlot {
    /// Grows with each change, so that workers see cheaply that there was one.
    number: AtomicU64,
    now: RwLock<RunningPlugin>,
}

/// The plugin that runs now in a stage, with its shadow.
#[derive(Clone)]
pub struct RunningPlugin {
    /// The stage.
    pub node: Arc<StageNode>,
    /// The next version, where it gets the same rows.
    pub shadow: Option<Arc<Shadow>>,
}

/// The last change of a slot that a worker has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeenChange(u64);

impl Versions {
    /// The plugins of a job that starts.
    pub fn of(stages: &[StageNode]) -> Versions {
        let slot = |stage: &StageNode| {
            let now = RunningPlugin { node: Arc::new(stage.clone()), shadow: None };
            (stage.name.clone(), Arc::new(PluginSlot { number: AtomicU64::new(0), now: RwLock::new(now) }))
        };
        Versions(stages.iter().filter(|stage| stage.plugin().is_some()).map(slot).collect())
    }

    /// The slot of a stage that has a plugin.
    pub fn slot(&self, stage: &str) -> Option<Arc<PluginSlot>> {
        self.0.get(stage).cloned()
    }
}

impl PluginSlot {
    /// The plugin that runs now.
    pub fn now(&self) -> RunningPlugin {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What runs now, if that changed since it was `seen`.
    pub fn renewed(&self, seen: &mut SeenChange) -> Option<RunningPlugin> {
        let number = self.number.load(Ordering::Acquire);
        (number != std::mem::replace(&mut seen.0, number)).then(|| self.now())
    }

    /// From now on the plugin runs alone. At any time: what a shadow made is dropped.
    pub fn end_shadow(&self) {
        let now = self.now();
        if now.shadow.is_some() {
            self.set(RunningPlugin { shadow: None, ..now });
        }
    }

    /// From now on this runs. Only while no batch is in flight.
    pub fn set(&self, now: RunningPlugin) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = now;
        self.number.fetch_add(1, Ordering::AcqRel);
    }
}
