//! Which version of a plugin a source or a sink of a running job has: an upgrade puts another one here, and whoever calls the plugin
//! looks here before each call.

use millstream_base::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

/// The place of the plugin of a source or a sink.
pub struct ConnectorSlot<N> {
    /// Grows whenever another version is to be called, so that callers see cheaply that it is so.
    number: AtomicU64,
    now: RwLock<RunningConnector<N>>,
}

struct RunningConnector<N> {
    node: Arc<N>,
    trial: Option<ConnectorTrial<N>>,
    failed: bool,
}

/// What a version on trial has beside it.
pub struct ConnectorTrial<N> {
    /// The version before, which takes over where a call of the one on trial fails.
    pub before: Arc<N>,
    /// Hears of the first call that failed.
    pub tell: Box<dyn Fn(&Error) + Send + Sync>,
}

impl<N> ConnectorSlot<N> {
    /// With what a job starts with.
    pub fn new(node: N) -> Arc<ConnectorSlot<N>> {
        let now = RunningConnector { node: Arc::new(node), trial: None, failed: false };
        Arc::new(ConnectorSlot { number: AtomicU64::new(0), now: RwLock::new(now) })
    }

    /// The version that the source or sink has.
    pub fn node(&self) -> Arc<N> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).node.clone()
    }

    /// The number of the version that is to be called.
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// The version that is to be called, with its number: the one before, where the one on trial has failed.
    pub fn called(&self) -> (u64, Arc<N>) {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        let before = now.trial.as_ref().filter(|_| now.failed).map(|trial| &trial.before);
        (self.number(), before.unwrap_or(&now.node).clone())
    }

    /// From now on this is called.
    pub fn set(&self, node: Arc<N>, trial: Option<ConnectorTrial<N>>) {
        let mut now = self.change();
        *now = RunningConnector { node, trial, failed: false };
        self.number.fetch_add(1, Ordering::AcqRel);
    }

    /// A call of the version of this number has failed for good. Whether another one is to be called instead.
    pub fn fails(&self, number: u64, error: &Error) -> bool {
        let mut now = self.change();
        if number != self.number() {
            return true;
        }
        let Some(trial) = now.trial.as_ref().filter(|_| !now.failed) else { return false };
        (trial.tell)(error);
        now.failed = true;
        self.number.fetch_add(1, Ordering::AcqRel);
        true
    }

    fn change(&self) -> RwLockWriteGuard<'_, RunningConnector<N>> {
        self.now.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_before_one_on_trial_takes_over_once() {
        let slot = ConnectorSlot::new("old");
        let error = Error::plugin("it threw");
        assert!(!slot.fails(0, &error), "there is no version to take over");
        let trial = ConnectorTrial { before: slot.node(), tell: Box::new(|_| {}) };
        slot.set(Arc::new("new"), Some(trial));
        assert_eq!(slot.called(), (1, Arc::new("new")));
        assert!(slot.fails(0, &error), "it is called no more");
        assert_eq!(slot.called(), (1, Arc::new("new")));
        assert!(slot.fails(1, &error));
        assert_eq!((slot.called(), slot.node()), ((2, Arc::new("old")), Arc::new("new")));
        assert!(slot.fails(1, &error), "another of its callers");
        assert!(!slot.fails(2, &error), "the version before fails as well");
    }
}
