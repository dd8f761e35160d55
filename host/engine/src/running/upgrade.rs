//! Upgrades of plugins in a running job. The new version is loaded and checked next to the old one, perhaps run in its shadow for a while, then
//! swapped in between two batches.
//!
//! ```text
//! prepare -> [shadow] -> commit: barrier after a batch, its checkpoint, swap, next batch
//! ```

mod candidate;
mod connectors;
mod prepare;
mod replacement;

use super::Running;
use crate::checkpoint::record::NextPlugin;
use crate::operators::context::NextVersions;
use crate::operators::plugin::shadow::{Shadow, ShadowReport};
use crate::operators::stage::StageNode;
use bytes::Bytes;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::BatchId;
use millstream_job::plugin_part::PluginPart;
pub use prepare::prepare;
use replacement::Replacement;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Completed upgrades whose status is kept.
const PAST_MAX: usize = 16;

/// A request to prepare an upgrade.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PrepareRequest {
    /// Identifies the upgrade in all processes of the job. The client chooses it; it is never zero.
    pub id: u64,
    /// The stage, source or sink, see [`PluginPart`].
    pub stage: String,
    /// The future value of its `plugin` key in the job file: `split-message@0.2.0`, or a path.
    pub plugin: String,
    /// The component file.
    pub file: std::path::PathBuf,
    /// The digest of the component, `sha256:…`.
    pub digest: String,
    /// The trusted signers of the package; absent if it is not a package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signers: Option<Vec<String>>,
    /// Whether the previous version takes over if a call of this one fails, provided both have the same columns.
    pub on_trial: bool,
}

/// The status of an upgrade.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UpgradeStatus {
    /// Its number, see [`PrepareRequest::id`].
    pub id: u64,
    /// The stage, source or sink, see [`PluginPart`].
    pub stage: String,
    /// Name and version of the plugin that ran when it was prepared, and its digest.
    pub from: (String, String),
    /// Name and version of the plugin that replaces it, and its digest.
    pub to: (String, String),
    /// The current step.
    pub step: UpgradeStep,
    /// What the comparison in the shadow has shown so far.
    pub shadow: Option<ShadowReport>,
}

/// A step of an upgrade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpgradeStep {
    /// The new version is loaded and checked.
    Prepared,
    /// Both versions run.
    Shadowing,
    /// Both have run for the requested number of batches; the old one still emits its rows.
    Shadowed,
    /// It waits for a batch to end.
    Committing,
    /// The new version runs since the batch after this one.
    Done {
        /// The last batch of the old version.
        after: u64,
        /// How long no batch could begin.
        pause_us: u64,
    },
    /// The old version continues, for this reason.
    Dropped(String),
    /// The new version was on trial and failed after the swap: the old one continues.
    Failed(String),
}

/// The upgrades of a job on this process, one at a time. Cheap to clone.
#[derive(Clone, Default)]
pub struct Upgrades(Arc<SharedUpgrades>);

#[derive(Default)]
struct SharedUpgrades {
    /// The upgrade for which worker 0 is to send a barrier; zero: none.
    due: AtomicU64,
    state: Mutex<UpgradeState>,
}

#[derive(Default)]
struct UpgradeState {
    now: Option<Upgrade>,
    /// Completed upgrades, oldest first.
    past: VecDeque<UpgradeStatus>,
    /// Why no more upgrades are possible.
    closed: Option<String>,
    /// A version on trial that failed after the swap: the upgrade, and why.
    fallback: Option<(u64, String)>,
    /// State was migrated, and no checkpoint holds it yet. A job that crashes now can only restart with the running version, or with one that
    /// migrates the previous state. No other may be in the job file.
    unsaved: bool,
}

/// An upgrade for which worker 0 is to send a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueUpgrade {
    /// The upgrade's number.
    pub upgrade: u64,
    /// For how many batches its plugin runs in a shadow; zero: it is swapped in.
    pub shadow_batches: u64,
}

/// An upgrade in progress.
struct Upgrade {
    status: UpgradeStatus,
    /// The new version, and what it replaces.
    replacement: Replacement,
    /// For how many batches it is to run in a shadow before it is promoted.
    shadow_batches: u64,
    shadow: Option<Arc<Shadow>>,
    component: Bytes,
    /// Whether the columns of its state change.
    migrates: bool,
    /// Why it cannot take place.
    objection: Option<String>,
    /// This process has no objection. Others rely on that until all have replied.
    agreed: bool,
}

impl Upgrade {
    /// Returns whether it is taking effect, so that it can no longer be canceled.
    fn is_bound(&self) -> bool {
        self.agreed || self.status.step == UpgradeStep::Committing
    }
}

impl NextVersions for Upgrades {
    fn next_of(&self, id: u64, stage: &str) -> Option<Arc<StageNode>> {
        let mut state = self.state();
        let upgrade = state.active(id).filter(|upgrade| upgrade.status.stage == stage);
        upgrade.and_then(|upgrade| upgrade.replacement.stage().cloned())
    }

    fn veto(&self, id: u64, why: String) {
        if let Some(upgrade) = self.state().active(id) {
            upgrade.objection.get_or_insert(why);
        }
    }
}

impl Upgrades {
    /// Starts a prepared upgrade. It replaces one that was prepared and then abandoned.
    fn begin(&self, upgrade: Upgrade) -> Result<UpgradeStatus> {
        let mut state = self.state();
        if let Some(closed) = &state.closed {
            return Err(Error::environment(closed));
        }
        if state.unsaved {
            let message = "migrated state is not in a checkpoint yet; retry after the next checkpoint";
            return Err(Error::environment(message));
        }
        if let Some(before) = &state.now {
            if before.is_bound() {
                let part = PluginPart::parse(&before.status.stage);
                return Err(Error::environment(format!("{part} is already being upgraded; retry later")));
            }
            state.end(UpgradeStep::Dropped("another upgrade was started".into()));
        }
        let status = upgrade.status.clone();
        state.now = Some(upgrade);
        fault::point("upgrade.prepared");
        Ok(status)
    }

    /// Returns the status of an upgrade. Batches up to `committed` are committed.
    pub fn status(&self, id: u64, committed: Option<BatchId>) -> Result<UpgradeStatus> {
        let mut state = self.state();
        state.update_report(committed);
        let now = state.now.as_ref().map(|upgrade| &upgrade.status);
        let status = now.into_iter().chain(&state.past).find(|status| status.id == id);
        let fallback = state.fallback.as_ref().filter(|(upgrade, _)| *upgrade == id);
        let failed = fallback.map(|(_, why)| UpgradeStep::Failed(why.clone()));
        let status =
            status.map(|status| UpgradeStatus { step: failed.unwrap_or(status.step.clone()), ..status.clone() });
        status.ok_or_else(|| Error::environment("upgrade not found in this run of the job"))
    }

    /// Returns the upgrade in progress, or else the last one.
    pub fn last(&self, committed: Option<BatchId>) -> Option<UpgradeStatus> {
        let mut state = self.state();
        state.update_report(committed);
        state.now.as_ref().map(|upgrade| upgrade.status.clone()).or_else(|| state.past.back().cloned())
    }

    /// Records that the version of an upgrade was on trial and has failed.
    fn fallback(&self, id: u64, why: String) {
        self.state().fallback = Some((id, why));
    }

    /// Cancels an upgrade that is not taking effect yet.
    pub fn give_up(&self, id: u64, why: &str) -> Result<UpgradeStatus> {
        let mut state = self.state();
        if state.active(id).is_some_and(|upgrade| upgrade.is_bound()) {
            return Err(Error::environment("the upgrade is taking effect and can no longer be canceled"));
        }
        if state.active(id).is_some() {
            state.end(UpgradeStep::Dropped(why.to_owned()));
        }
        drop(state);
        self.status(id, None)
    }

    /// Returns the upgrade for which a barrier is to be sent.
    pub fn take_due(&self) -> Option<DueUpgrade> {
        let id = Some(self.0.due.load(Ordering::Acquire)).filter(|id| *id != 0)?;
        let mut state = self.state();
        let upgrade = state.active(id)?;
        let commits = upgrade.status.step == UpgradeStep::Committing;
        Some(DueUpgrade { upgrade: id, shadow_batches: if commits { 0 } else { upgrade.shadow_batches } })
    }

    /// Returns this process's objection to an upgrade. Without one, the upgrade can no longer be canceled.
    pub fn objection(&self, id: u64) -> Option<String> {
        match self.state().active(id) {
            Some(upgrade) => {
                upgrade.agreed = upgrade.objection.is_none();
                upgrade.objection.clone()
            }
            None => Some("a process of the job has not received it".into()),
        }
    }

    /// Swaps in the next plugin, unless a process objected. Call it when nothing is in flight and all processes have replied. Fails if this process
    /// cannot do what it agreed to: it would continue with another version than the others.
    pub fn apply_decision(&self, id: u64, objection: Option<String>) -> Result<()> {
        self.0.due.store(0, Ordering::Release);
        let mut state = self.state();
        match (state.active(id), objection) {
            (Some(_), Some(why)) => state.end(UpgradeStep::Dropped(why)),
            (Some(upgrade), None) => {
                // Processes other than the first learn of the commit only here.
                upgrade.status.step = UpgradeStep::Committing;
                upgrade.replacement.put();
                fault::point("upgrade.swapped");
            }
            (None, Some(_)) => {}
            (None, None) => return Err(Error::bug("an upgrade that all processes accepted no longer exists")),
        }
        Ok(())
    }

    /// Starts the shadow from this batch on, unless a process objected.
    pub fn start_shadow(&self, id: u64, first: BatchId, batches: u64, objection: Option<String>) {
        self.0.due.store(0, Ordering::Release);
        let mut state = self.state();
        let Some(upgrade) = state.active(id) else { return };
        if let Some(why) = objection {
            return state.end(UpgradeStep::Dropped(why));
        }
        upgrade.agreed = false;
        if upgrade.status.step != UpgradeStep::Prepared {
            return;
        }
        upgrade.shadow = upgrade.replacement.begin_shadow(|node| Shadow::new(node, first, batches));
        upgrade.status.step = UpgradeStep::Shadowing;
    }

    /// Completes the swap: it takes effect with the next batch. Returns whether it migrated state; if so, no other upgrade is accepted until that is
    /// [saved](Upgrades::mark_saved).
    pub fn complete(&self, id: u64, after: BatchId, pause: Duration) -> bool {
        let mut state = self.state();
        let Some(upgrade) = state.active(id) else { return false };
        let migrates = upgrade.migrates;
        let UpgradeStatus { stage, from, to, step, .. } = &upgrade.status;
        let part = PluginPart::parse(stage);
        if *step == UpgradeStep::Shadowing {
            tracing::info!("{part}: {} in the shadow of {} from batch {} on", to.0, from.0, after.next());
            return false;
        }
        tracing::info!("{part}: {} instead of {} from batch {} on", to.0, from.0, after.next());
        let pause_us = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
        state.end(UpgradeStep::Done { after: after.0, pause_us });
        state.unsaved |= migrates;
        migrates
    }

    /// Records that state was migrated and that no checkpoint holds it yet.
    pub fn mark_unsaved(&self) {
        self.state().unsaved = true;
    }

    /// Records that a checkpoint holds all state.
    pub fn mark_saved(&self) {
        self.state().unsaved = false;
    }

    /// Rejects further upgrades, as no more batches come.
    pub fn close(&self, why: &str) {
        self.0.due.store(0, Ordering::Release);
        let mut state = self.state();
        state.closed = Some(why.to_owned());
        if state.now.is_some() {
            state.end(UpgradeStep::Dropped(why.to_owned()));
        }
    }

    fn state(&self) -> MutexGuard<'_, UpgradeState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UpgradeState {
    /// Returns the upgrade in progress if it is this one.
    fn active(&mut self, id: u64) -> Option<&mut Upgrade> {
        self.now.as_mut().filter(|upgrade| upgrade.status.id == id)
    }

    /// Updates the report of the shadow.
    fn update_report(&mut self, committed: Option<BatchId>) {
        let Some(Upgrade { status, shadow: Some(shadow), .. }) = &mut self.now else { return };
        // Only the process that knows of commits knows of batches.
        let batches = status.shadow.as_ref().map_or(0, |report| report.batches);
        let report = shadow.report(committed);
        status.shadow = Some(ShadowReport { batches: report.batches.max(batches), ..report });
        if status.step == UpgradeStep::Shadowing && shadow.is_done(committed) {
            status.step = UpgradeStep::Shadowed;
        }
    }

    /// Ends the upgrade in progress.
    fn end(&mut self, step: UpgradeStep) {
        if let Some(Upgrade { status, replacement, .. }) = self.now.take() {
            replacement.end_shadow();
            self.past.push_back(UpgradeStatus { step, ..status });
            if self.past.len() > PAST_MAX {
                self.past.pop_front();
            }
        }
    }
}

/// Runs a prepared plugin next to the old one for this number of batches, from the next batch boundary on. For process 0.
pub fn shadow(running: &Running, id: u64, batches: u64) -> Result<UpgradeStatus> {
    let upgrades = &running.plugins.upgrades;
    let mut state = upgrades.state();
    if let Some(upgrade) = state.active(id).filter(|upgrade| upgrade.status.step == UpgradeStep::Prepared) {
        upgrade.replacement.check_shadow(batches)?;
        upgrade.shadow_batches = batches;
        drop(state);
        schedule(upgrades, &running.failure, id, Ok(()));
    } else {
        drop(state);
    }
    upgrades.status(id, None)
}

/// Swaps in a prepared plugin at the next batch boundary. For process 0: the barrier notifies the others.
pub fn commit(running: &Running, id: u64) -> Result<UpgradeStatus> {
    let upgrades = &running.plugins.upgrades;
    let mut state = upgrades.state();
    let Some(upgrade) = state.active(id) else {
        drop(state);
        return upgrades.status(id, None);
    };
    if upgrade.status.step == UpgradeStep::Committing {
        return Ok(upgrade.status.clone());
    }
    upgrade.status.step = UpgradeStep::Committing;
    let status = upgrade.status.clone();
    let next = NextPlugin {
        stage: status.stage.clone(),
        component: upgrade.component.clone(),
        tables: upgrade.replacement.tables(),
    };
    drop(state);
    let Some(checkpoints) = &running.checkpoints else {
        schedule(upgrades, &running.failure, id, Ok(()));
        return Ok(status);
    };
    let (upgrades, failure) = (upgrades.clone(), running.failure.clone());
    checkpoints.writers.checkpoints.upgrade(next, move |stored| schedule(&upgrades, &failure, id, stored));
    Ok(status)
}

/// Lets worker 0 send the barrier, once the data that a restart needs is stored.
fn schedule(upgrades: &Upgrades, failure: &Failure, id: u64, stored: Result<()>) {
    let mut state = upgrades.state();
    if state.active(id).is_none() {
        return;
    }
    match stored {
        Ok(()) => upgrades.0.due.store(id, Ordering::Release),
        Err(error) => state.end(UpgradeStep::Dropped(error.message)),
    }
    drop(state);
    failure.wake();
}
