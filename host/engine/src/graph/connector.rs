//! The current plugin version of a source or a sink in a running job. An upgrade stores another one here; callers check here before each call.

use millstream_base::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

/// The slot of the plugin of a source or a sink.
pub struct ConnectorSlot<N> {
    /// Increases whenever another version is to be called, so that callers can check it cheaply.
    number: AtomicU64,
    now: RwLock<RunningConnector<N>>,
}

struct RunningConnector<N> {
    node: Arc<N>,
    trial: Option<ConnectorTrial<N>>,
    failed: bool,
}

/// The fallback of a version on trial.
pub struct ConnectorTrial<N> {
    /// The previous version, which takes over if a call of the one on trial fails.
    pub before: Arc<N>,
    /// Called for the first failure.
    pub on_failure: Box<dyn Fn(&Error) + Send + Sync>,
}

impl<N> ConnectorSlot<N> {
    /// Creates the slot with the version at startup.
    pub fn new(node: N) -> Arc<ConnectorSlot<N>> {
        let now = RunningConnector { node: Arc::new(node), trial: None, failed: false };
        Arc::new(ConnectorSlot { number: AtomicU64::new(0), now: RwLock::new(now) })
    }

    /// Returns the current version of the source or sink.
    pub fn node(&self) -> Arc<N> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).node.clone()
    }

    /// Returns the number of the version that is to be called.
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// Returns the version that is to be called, with its number: the previous one if the one on trial has failed.
    pub fn current(&self) -> (u64, Arc<N>) {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        let before = now.trial.as_ref().filter(|_| now.failed).map(|trial| &trial.before);
        (self.number(), before.unwrap_or(&now.node).clone())
    }

    /// Sets the version to call from now on.
    pub fn set(&self, node: Arc<N>, trial: Option<ConnectorTrial<N>>) {
        let mut now = self.change();
        *now = RunningConnector { node, trial, failed: false };
        self.number.fetch_add(1, Ordering::AcqRel);
    }

    /// Records that a call of the version with this number has failed permanently. Returns whether another one is to be called instead.
    pub fn fails(&self, number: u64, error: &Error) -> bool {
        let mut now = self.change();
        if number != self.number() {
            return true;
        }
        let Some(trial) = now.trial.as_ref().filter(|_| !now.failed) else { return false };
        (trial.on_failure)(error);
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
        let trial = ConnectorTrial { before: slot.node(), on_failure: Box::new(|_| {}) };
        slot.set(Arc::new("new"), Some(trial));
        assert_eq!(slot.current(), (1, Arc::new("new")));
        assert!(slot.fails(0, &error), "it is called no more");
        assert_eq!(slot.current(), (1, Arc::new("new")));
        assert!(slot.fails(1, &error));
        assert_eq!((slot.current(), slot.node()), ((2, Arc::new("old")), Arc::new("new")));
        assert!(slot.fails(1, &error), "another of its callers");
        assert!(!slot.fails(2, &error), "the version before fails as well");
    }
}
