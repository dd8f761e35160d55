//! A plugin on trial: if one of its calls fails, the version that it replaced makes that call and all that follow.
//!
//! So `millstream run --watch` survives a broken version. Both versions must read, keep and return the same columns.

use super::Plugin;
use super::description::Description;
use super::stage::StageUse;
use millstream_base::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The previous version of a plugin on trial, for all workers of this process.
#[derive(Clone)]
pub struct Fallback(Arc<FallbackPlugin>);

struct FallbackPlugin {
    plugin: Plugin,
    stage: StageUse,
    description: Description,
    failed: AtomicBool,
    /// Receives the error of the first call that failed.
    report: Box<dyn Fn(&Error) + Send + Sync>,
}

impl Fallback {
    /// This plugin, as the stage used it.
    pub fn new(
        plugin: Plugin,
        stage: StageUse,
        description: Description,
        report: impl Fn(&Error) + Send + Sync + 'static,
    ) -> Fallback {
        let failed = AtomicBool::new(false);
        Fallback(Arc::new(FallbackPlugin { plugin, stage, description, failed, report: Box::new(report) }))
    }

    /// Whether a call of the next version has failed, on any worker.
    pub(super) fn is_back(&self) -> bool {
        self.0.failed.load(Ordering::Acquire)
    }

    /// A call of the next version has failed.
    pub(super) fn come_back(&self, error: &Error) {
        if !self.0.failed.swap(true, Ordering::AcqRel) {
            (self.0.report)(error);
        }
    }

    /// This version, and how the stage used it.
    pub(super) fn used(&self) -> (&Plugin, &StageUse, &Description) {
        (&self.0.plugin, &self.0.stage, &self.0.description)
    }
}
