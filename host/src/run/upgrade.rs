//! Another version of a plugin in a running job: loaded and checked beside the old one, perhaps run in its shadow for a
//! while, then put in its place between two batches.
//!
//! ```text
//! prepare -> [shadow] -> commit: barrier after a batch, its checkpoint, swap, next batch
//! ```

pub mod shadow;

use serde::{Deserialize, Serialize};
use shadow::ShadowReport;

/// What a running job is asked to prepare.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Prepare {
    /// The stage.
    pub stage: String,
    /// Its `plugin` as the job file will have it: `split-words@0.2.0`, or a path.
    pub plugin: String,
    /// The component file.
    pub file: std::path::PathBuf,
    /// The digest of the component, `sha256:…`.
    pub digest: String,
}

/// How an upgrade stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UpgradeStatus {
    /// Its number in this run of the job.
    pub id: u64,
    /// The stage.
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
}
