//! A version of a plugin that runs beside the one that counts, on the same rows: what it makes is compared and dropped.
//!
//! A shadow begins with a batch and ends some batches later, on all workers alike. Whatever goes wrong in it ends the shadow
//! and not the job. What calls it: `shadow/run`.

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
    /// The first batch that both run, which no worker has begun when the shadow is put beside the stage.
    first: BatchId,
    /// How many batches both run.
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
    /// Of a stage that runs so many batches beside the old one, from this batch on.
    pub fn new(node: Arc<StageNode>, first: BatchId, batches: u64) -> Shadow {
        Shadow { node, first, batches, failed: AtomicBool::new(false), findings: Mutex::default() }
    }

    /// The stage with the new version.
    pub fn node(&self) -> &StageNode {
        &self.node
    }

    /// Whether both run this batch.
    pub fn runs_in(&self, batch: BatchId) -> bool {
        let behind = batch.0.checked_sub(self.first.0);
        !self.failed.load(Ordering::Acquire) && behind.is_some_and(|behind| behind < self.batches)
    }

    /// Whether no batch from this one on is run by both.
    pub fn is_over(&self, batch: BatchId) -> bool {
        self.failed.load(Ordering::Acquire) || batch.0.saturating_sub(self.first.0) >= self.batches
    }

    /// What it has shown, where the job has committed batches up to this one.
    pub fn report(&self, committed: Option<BatchId>) -> ShadowReport {
        let findings = self.findings();
        let last = [committed, findings.failed_in.map(|batch| BatchId(batch.0.saturating_sub(1)))];
        let last = last.into_iter().flatten().min().filter(|_| committed.is_some());
        let run = last.map_or(0, |last| last.0.saturating_add(1).saturating_sub(self.first.0));
        ShadowReport { batches: run.min(self.batches), ..findings.report.clone() }
    }

    /// Whether both have run all batches up to the last, or the new one has failed.
    pub fn is_done(&self, committed: Option<BatchId>) -> bool {
        let report = self.report(committed);
        report.failed.is_some() || report.batches >= self.batches
    }

    /// The new one is not called any more.
    pub fn fail(&self, batch: BatchId, words: String) {
        let mut findings = self.findings();
        if !self.failed.swap(true, Ordering::AcqRel) {
            (findings.report.failed, findings.failed_in) = (Some(words), Some(batch));
        }
    }

    /// Adds what calls for one batch have shown. What comes from a batch in which the new one failed is not whole, and does
    /// not count.
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

/// Whether a stage can run in a shadow for so many batches.
pub fn check(stage: &StageNode, batches: u64) -> Result<()> {
    let name = &stage.name;
    if batches == 0 || batches > SHADOW_BATCHES_MAX {
        return Err(Error::job(format!("a shadow runs for 1 to {SHADOW_BATCHES_MAX} batches, not {batches}")));
    }
    if matches!(stage.operator, Operator::Reduce(_)) && stage.window.is_some() {
        return Err(Error::job(format!(
            "stage `{name}` aggregates over windows, which begin and end at other times than a shadow: upgrade it without \
             `--shadow`, or try it on an aggregate without a window"
        )));
    }
    if stage.plugin().is_some_and(|node| node.stage.grant.http.is_some()) {
        return Err(Error::job(format!(
            "stage `{name}` asks others over HTTP: in a shadow it would send each request a second time; upgrade it without \
             `--shadow`"
        )));
    }
    Ok(())
}
