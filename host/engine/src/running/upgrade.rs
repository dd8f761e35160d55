//! Another version of a plugin in a running job: loaded and checked beside the old one, perhaps run in its shadow for a
//! while, then put in its place between two batches.
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
use millstream_base::job::plugin_part::PluginPart;
pub use prepare::prepare;
use replacement::Replacement;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Upgrades that are over and can still be asked about.
const PAST_MAX: usize = 16;

/// What a running job is asked to prepare.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Prepare {
    /// By which all processes of the job know the upgrade; whoever asks makes it up, and none is zero.
    pub id: u64,
    /// The stage, source or sink, see [`PluginPart`].
    pub stage: String,
    /// Its `plugin` as the job file will have it: `split-words@0.2.0`, or a path.
    pub plugin: String,
    /// The component file.
    pub file: std::path::PathBuf,
    /// The digest of the component, `sha256:…`.
    pub digest: String,
    /// Who has signed it and is trusted; absent where it is no package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signers: Option<Vec<String>>,
    /// Whether the version before goes on where a call of this one fails, if both have the same columns.
    pub on_trial: bool,
}

/// How an upgrade stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UpgradeStatus {
    /// Its number, see [`Prepare::id`].
    pub id: u64,
    /// The stage, source or sink, see [`PluginPart`].
    pub stage: String,
    /// Name and version of the plugin that ran when it was prepared, and its digest.
    pub from: (String, String),
    /// Name and version of the plugin that takes its place, and its digest.
    pub to: (String, String),
    /// How far it is.
    pub step: UpgradeStep,
    /// What running both has shown so far.
    pub shadow: Option<ShadowReport>,
}

/// How far an upgrade is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpgradeStep {
    /// It is loaded and checked.
    Prepared,
    /// Both run.
    Shadowing,
    /// Both have run for as many batches as was asked for; the old one still puts out its rows.
    Shadowed,
    /// It waits for a batch to end.
    Committing,
    /// The new one runs since the batch behind this one.
    Done {
        /// The last batch of the old one.
        after: u64,
        /// For how long no batch could begin.
        pause_us: u64,
    },
    /// The old one goes on, for this reason.
    Dropped(String),
    /// It was on trial, had taken the old one's place, and has failed: the old one goes on.
    Failed(String),
}

/// The upgrades of a job on this process: one at a time. Cheap to clone.
#[derive(Clone, Default)]
pub struct Upgrades(Arc<SharedUpgrades>);

#[derive(Default)]
struct SharedUpgrades {
    /// The one for which worker 0 is to send a barrier; zero: none.
    due: AtomicU64,
    state: Mutex<UpgradeState>,
}

#[derive(Default)]
struct UpgradeState {
    now: Option<Upgrade>,
    /// The upgrades that are over, the oldest first.
    past: VecDeque<UpgradeStatus>,
    /// Why none can take place any more.
    closed: Option<String>,
    /// A version on trial that failed after it had taken its place: the upgrade, and why.
    fell_back: Option<(u64, String)>,
    /// State was migrated, and no checkpoint holds it yet. A job that dies now needs a version that migrates the state of
    /// before, or is the one that runs: no other may stand in the job file.
    unsaved: bool,
}

/// An upgrade for which worker 0 is to send a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueUpgrade {
    /// Which.
    pub upgrade: u64,
    /// For how many batches its plugin runs in a shadow; zero: it takes its place.
    pub shadow_batches: u64,
}

/// An upgrade that is not over.
struct Upgrade {
    status: UpgradeStatus,
    /// What takes the place of what.
    replacement: Replacement,
    /// For how many batches it is to run in a shadow, until it is promoted.
    shadow_batches: u64,
    shadow: Option<Arc<Shadow>>,
    component: Bytes,
    /// Whether state gets other columns.
    migrates: bool,
    /// Why it cannot take place.
    objection: Option<String>,
    /// This process has said that nothing stands against it, and others rely on that until all have been heard.
    agreed: bool,
}

impl Upgrade {
    /// Whether it takes place at this moment, so that nothing else may come in between.
    fn is_bound(&self) -> bool {
        self.agreed || self.status.step == UpgradeStep::Committing
    }
}

impl NextVersions for Upgrades {
    fn next_of(&self, id: u64, stage: &str) -> Option<Arc<StageNode>> {
        let mut state = self.state();
        let upgrade = state.of(id).filter(|upgrade| upgrade.status.stage == stage);
        upgrade.and_then(|upgrade| upgrade.replacement.stage().cloned())
    }

    fn object(&self, id: u64, why: String) {
        if let Some(upgrade) = self.state().of(id) {
            upgrade.objection.get_or_insert(why);
        }
    }
}

impl Upgrades {
    /// One that is prepared. It takes the place of one that whoever prepared it has left lying.
    fn begin(&self, upgrade: Upgrade) -> Result<UpgradeStatus> {
        let mut state = self.state();
        if let Some(closed) = &state.closed {
            return Err(Error::environment(closed));
        }
        if state.unsaved {
            let words = "migrated state is not in a checkpoint yet; retry after the next checkpoint";
            return Err(Error::environment(words));
        }
        if let Some(before) = &state.now {
            if before.is_bound() {
                let part = PluginPart::of(&before.status.stage);
                return Err(Error::environment(format!("{part} is already being upgraded; retry later")));
            }
            state.end(UpgradeStep::Dropped("another upgrade was started".into()));
        }
        let status = upgrade.status.clone();
        state.now = Some(upgrade);
        fault::point("upgrade.prepared");
        Ok(status)
    }

    /// How an upgrade stands, where batches up to this one are committed.
    pub fn status(&self, id: u64, committed: Option<BatchId>) -> Result<UpgradeStatus> {
        let mut state = self.state();
        state.look(committed);
        let now = state.now.as_ref().map(|upgrade| &upgrade.status);
        let status = now.into_iter().chain(&state.past).find(|status| status.id == id);
        let fell_back = state.fell_back.as_ref().filter(|(upgrade, _)| *upgrade == id);
        let failed = fell_back.map(|(_, why)| UpgradeStep::Failed(why.clone()));
        let status =
            status.map(|status| UpgradeStatus { step: failed.unwrap_or(status.step.clone()), ..status.clone() });
        status.ok_or_else(|| Error::environment("this run of the job has no such upgrade"))
    }

    /// The one that is under way, or else the last one.
    pub fn last(&self, committed: Option<BatchId>) -> Option<UpgradeStatus> {
        let mut state = self.state();
        state.look(committed);
        state.now.as_ref().map(|upgrade| upgrade.status.clone()).or_else(|| state.past.back().cloned())
    }

    /// The version of an upgrade was on trial and has failed.
    fn fell_back(&self, id: u64, why: String) {
        self.state().fell_back = Some((id, why));
    }

    /// Gives one up that does not take place yet.
    pub fn give_up(&self, id: u64, why: &str) -> Result<UpgradeStatus> {
        let mut state = self.state();
        if state.of(id).is_some_and(|upgrade| upgrade.is_bound()) {
            return Err(Error::environment("the upgrade is taking effect and can no longer be canceled"));
        }
        if state.of(id).is_some() {
            state.end(UpgradeStep::Dropped(why.to_owned()));
        }
        drop(state);
        self.status(id, None)
    }

    /// The upgrade for which a barrier is to be sent.
    pub fn due(&self) -> Option<DueUpgrade> {
        let id = Some(self.0.due.load(Ordering::Acquire)).filter(|id| *id != 0)?;
        let mut state = self.state();
        let upgrade = state.of(id)?;
        let commits = upgrade.status.step == UpgradeStep::Committing;
        Some(DueUpgrade { upgrade: id, shadow_batches: if commits { 0 } else { upgrade.shadow_batches } })
    }

    /// What stands against an upgrade, in this process; where nothing does, nothing can come in between any more.
    pub fn objection(&self, id: u64) -> Option<String> {
        match self.state().of(id) {
            Some(upgrade) => {
                upgrade.agreed = upgrade.objection.is_none();
                upgrade.objection.clone()
            }
            None => Some("a process of the job has not received it".into()),
        }
    }

    /// Nothing is in flight, all processes have been heard: puts the next plugin in its place unless one of them objected.
    /// An error where this process cannot do what it agreed to: it would go on with another version than the others.
    pub fn decided(&self, id: u64, objection: Option<String>) -> Result<()> {
        self.0.due.store(0, Ordering::Release);
        let mut state = self.state();
        match (state.of(id), objection) {
            (Some(_), Some(why)) => state.end(UpgradeStep::Dropped(why)),
            (Some(upgrade), None) => {
                // In other processes than the first this is all that is heard of it.
                upgrade.status.step = UpgradeStep::Committing;
                upgrade.replacement.put();
                fault::point("upgrade.swapped");
            }
            (None, Some(_)) => {}
            (None, None) => return Err(Error::bug("an upgrade that all processes accepted no longer exists")),
        }
        Ok(())
    }

    /// The same where it is to run in a shadow first, from this batch on.
    pub fn shadows(&self, id: u64, first: BatchId, batches: u64, objection: Option<String>) {
        self.0.due.store(0, Ordering::Release);
        let mut state = self.state();
        let Some(upgrade) = state.of(id) else { return };
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

    /// All up to the swap is done: it takes effect with the next batch. Whether it migrated state, so that no other upgrade
    /// is taken before that is [saved](Upgrades::saved).
    pub fn done(&self, id: u64, after: BatchId, pause: Duration) -> bool {
        let mut state = self.state();
        let Some(upgrade) = state.of(id) else { return false };
        let migrates = upgrade.migrates;
        let UpgradeStatus { stage, from, to, step, .. } = &upgrade.status;
        let part = PluginPart::of(stage);
        if *step == UpgradeStep::Shadowing {
            tracing::info!("{part}: {} in the shadow of {} from batch {} on", to.0, from.0, after.next());
            return false;
        }
        tracing::info!("{part}: {} in place of {} from batch {} on", to.0, from.0, after.next());
        let pause_us = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
        state.end(UpgradeStep::Done { after: after.0, pause_us });
        state.unsaved |= migrates;
        migrates
    }

    /// State was migrated, and no checkpoint holds it yet.
    pub fn unsaved(&self) {
        self.state().unsaved = true;
    }

    /// A checkpoint holds all state.
    pub fn saved(&self) {
        self.state().unsaved = false;
    }

    /// No more batches come.
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
    /// The upgrade that is under way, if it is this one.
    fn of(&mut self, id: u64) -> Option<&mut Upgrade> {
        self.now.as_mut().filter(|upgrade| upgrade.status.id == id)
    }

    /// Notes what a shadow has shown.
    fn look(&mut self, committed: Option<BatchId>) {
        let Some(Upgrade { status, shadow: Some(shadow), .. }) = &mut self.now else { return };
        // Only who knows of commits knows of batches.
        let batches = status.shadow.as_ref().map_or(0, |report| report.batches);
        let report = shadow.report(committed);
        status.shadow = Some(ShadowReport { batches: report.batches.max(batches), ..report });
        if status.step == UpgradeStep::Shadowing && shadow.is_done(committed) {
            status.step = UpgradeStep::Shadowed;
        }
    }

    /// The one that is under way is over.
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

/// Has a prepared plugin run beside the old one for so many batches, as soon as a batch has ended. Asked of process 0.
pub fn shadow(running: &Running, id: u64, batches: u64) -> Result<UpgradeStatus> {
    let upgrades = &running.plugins.upgrades;
    let mut state = upgrades.state();
    if let Some(upgrade) = state.of(id).filter(|upgrade| upgrade.status.step == UpgradeStep::Prepared) {
        upgrade.replacement.check_shadow(batches)?;
        upgrade.shadow_batches = batches;
        drop(state);
        go(upgrades, &running.failure, id, Ok(()));
    } else {
        drop(state);
    }
    upgrades.status(id, None)
}

/// Puts a prepared plugin into its place as soon as a batch has ended. Asked of process 0: the barrier tells the others.
pub fn commit(running: &Running, id: u64) -> Result<UpgradeStatus> {
    let upgrades = &running.plugins.upgrades;
    let mut state = upgrades.state();
    let Some(upgrade) = state.of(id) else {
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
        go(upgrades, &running.failure, id, Ok(()));
        return Ok(status);
    };
    let (upgrades, failure) = (upgrades.clone(), running.failure.clone());
    checkpoints.writers.checkpoints.upgrade(next, move |stored| go(&upgrades, &failure, id, stored));
    Ok(status)
}

/// What a start needs to know is stored: worker 0 may send the barrier.
fn go(upgrades: &Upgrades, failure: &Failure, id: u64, stored: Result<()>) {
    let mut state = upgrades.state();
    if state.of(id).is_none() {
        return;
    }
    match stored {
        Ok(()) => upgrades.0.due.store(id, Ordering::Release),
        Err(error) => state.end(UpgradeStep::Dropped(error.message)),
    }
    drop(state);
    failure.wake();
}
