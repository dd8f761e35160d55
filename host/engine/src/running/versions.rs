//! The plugins that the stages of a running job have now. An upgrade puts another in a stage's place between two batches:
//! when nothing is in flight, so that no batch runs on two versions.

use crate::graph::{Graph, StageNode};
use crate::running::upgrade::shadow::Shadow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// What runs in each stage with a plugin, by the stage's name.
#[derive(Default)]
pub struct Versions(BTreeMap<String, Arc<Slot>>);

/// What runs in one stage.
pub struct Slot {
    /// Grows with each change, so that workers see cheaply that there was one.
    number: AtomicU64,
    now: RwLock<Now>,
}

/// What runs now.
#[derive(Clone)]
pub struct Now {
    /// The stage.
    pub node: Arc<StageNode>,
    /// What runs beside it on the same rows.
    pub shadow: Option<Arc<Shadow>>,
}

/// Which change of a slot a worker has seen last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen(u64);

impl Versions {
    /// Of a job that starts.
    pub fn of(graph: &Graph) -> Versions {
        let slot = |stage: &StageNode| {
            let now = Now { node: Arc::new(stage.clone()), shadow: None };
            (stage.name.clone(), Arc::new(Slot { number: AtomicU64::new(0), now: RwLock::new(now) }))
        };
        Versions(graph.stages.iter().filter(|stage| stage.plugin().is_some()).map(slot).collect())
    }

    /// The slot of a stage that has a plugin.
    pub fn slot(&self, stage: &str) -> Option<Arc<Slot>> {
        self.0.get(stage).cloned()
    }
}

impl Slot {
    /// What runs now.
    pub fn now(&self) -> Now {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What runs now, if that changed since it was `seen`.
    pub fn renewed(&self, seen: &mut Seen) -> Option<Now> {
        let number = self.number.load(Ordering::Acquire);
        (number != std::mem::replace(&mut seen.0, number)).then(|| self.now())
    }

    /// From now on the plugin runs alone. At any time: what a shadow made is dropped.
    pub fn end_shadow(&self) {
        let now = self.now();
        if now.shadow.is_some() {
            self.set(Now { shadow: None, ..now });
        }
    }

    /// From now on this runs. Only while no batch is in flight.
    pub fn set(&self, now: Now) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = now;
        self.number.fetch_add(1, Ordering::AcqRel);
    }
}
