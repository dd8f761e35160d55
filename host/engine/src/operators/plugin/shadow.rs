//! A plugin version that runs in the background on the same rows as the current one. Its output is compared and dropped.
//!
//! A shadow begins with a batch and ends some batches later, on all workers at the same batches. Any failure in it ends the shadow and not the job.
//! `shadow/run` calls it.

pub mod compare;
pub mod report;
pub mod rule;
pub mod run;

pub use report::ShadowReport;

use crate::operators::stage::{Operator, StageNode};
use compare::Comparison;
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchId;
use millstream_base::limits::SHADOW_BATCHES_MAX;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A shadow of one stage, on all workers of this process.
pub struct Shadow {
    /// The stage with the new version.
    node: Arc<StageNode>,
    /// The first batch of the comparison; no worker has begun it when the shadow is attached to the stage.
    first: BatchId,
    /// Number of batches that both versions run.
    batches: u64,
    failed: AtomicBool,
    findings: Mutex<Findings>,
}

#[derive(Default)]
struct Findings {
    report: ShadowReport,
    failed_in: Option<BatchId>,
}

impl Shadow {
    /// Creates the shadow of a stage for `batches` batches from `first` on.
    pub fn new(node: Arc<StageNode>, first: BatchId, batches: u64) -> Shadow {
        Shadow { node, first, batches, failed: AtomicBool::new(false), findings: Mutex::default() }
    }

    /// Returns the stage with the new version.
    pub fn node(&self) -> &StageNode {
        &self.node
    }

    /// Returns whether both run this batch.
    pub fn runs_in(&self, batch: BatchId) -> bool {
        let first_after = batch.0.checked_sub(self.first.0);
        !self.failed.load(Ordering::Acquire) && first_after.is_some_and(|first_after| first_after < self.batches)
    }

    /// Returns whether the comparison ends before this batch.
    pub fn is_over(&self, batch: BatchId) -> bool {
        self.failed.load(Ordering::Acquire) || batch.0.saturating_sub(self.first.0) >= self.batches
    }

    /// Returns the results, if the job has committed batches up to this one.
    pub fn report(&self, committed: Option<BatchId>) -> ShadowReport {
        let findings = self.findings();
        let last = [committed, findings.failed_in.map(|batch| BatchId(batch.0.saturating_sub(1)))];
        let last = last.into_iter().flatten().min().filter(|_| committed.is_some());
        let run = last.map_or(0, |last| last.0.saturating_add(1).saturating_sub(self.first.0));
        ShadowReport { batches: run.min(self.batches), ..findings.report.clone() }
    }

    /// Returns whether both have run all batches, or the new one has failed.
    pub fn is_done(&self, committed: Option<BatchId>) -> bool {
        let report = self.report(committed);
        report.failed.is_some() || report.batches >= self.batches
    }

    /// Stops calling the new version.
    pub fn fail(&self, batch: BatchId, message: String) {
        let mut findings = self.findings();
        if !self.failed.swap(true, Ordering::AcqRel) {
            (findings.report.failed, findings.failed_in) = (Some(message), Some(batch));
        }
    }

    /// Adds the results of calls for one batch. Results of a batch in which the new version failed are incomplete, and do not count.
    pub fn add(&self, batch: BatchId, compared: Comparison) {
        let mut findings = self.findings();
        if findings.failed_in.is_none_or(|failed| batch < failed) {
            findings.report.count(batch, compared);
        }
    }

    fn findings(&self) -> MutexGuard<'_, Findings> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks whether a stage supports a shadow for this many batches.
pub fn check(stage: &StageNode, batches: u64) -> Result<()> {
    let name = &stage.name;
    if batches == 0 || batches > SHADOW_BATCHES_MAX {
        return Err(Error::job(format!("a shadow runs for 1 to {SHADOW_BATCHES_MAX} batches, not {batches}")));
    }
    if matches!(stage.operator, Operator::Reduce(_)) && stage.window.is_some() {
        return Err(Error::job(format!(
            "stage `{name}` aggregates over windows, which do not align with a shadow run: upgrade it without \
             `--shadow`, or try it on an aggregate without a window"
        )));
    }
    if stage.plugin().is_some_and(|node| node.stage.grant.http.is_some()) {
        return Err(Error::job(format!(
            "stage `{name}` sends HTTP requests: in a shadow it would send each request a second time; upgrade it without \
             `--shadow`"
        )));
    }
    Ok(())
}
