//! The JSON of a job's status. Docs: `docs/reference/http-api.md`.

use millstream_engine::checkpoint::recent::CheckpointFacts;
use millstream_engine::running::upgrade::UpgradeStatus;
use millstream_metrics::batches::BatchesView;
use millstream_runtime::control::{JobGraph, JobStatus, PartFacts};
use serde::Serialize;

/// The state of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It has not responded yet.
    #[default]
    Starting,
    /// It responds.
    Running,
    /// It has responded, but does not now: it is restarting, has ended, or is too busy.
    Silent,
}

/// A restart, or another report of a supervisor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Restart {
    /// When.
    pub at_us: i64,
    /// Why.
    pub why: String,
}

/// The JSON of a job's status. Docs: `docs/reference/http-api.md`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct JobView {
    pub id: String,
    pub file: String,
    pub state: JobState,
    pub now_us: i64,
    pub answered_us: i64,
    pub supervised: bool,
    pub actions: bool,
    pub trouble: Option<String>,
    pub diagnosis: Diagnosis,
    pub status: JobStatus,
    pub pids: Vec<u32>,
    pub graph: JobGraph,
    pub parts: Vec<PartFacts>,
    pub batches: BatchesView,
    pub checkpoints: Vec<CheckpointFacts>,
    pub restarts: Vec<Restart>,
    pub upgrades: Vec<UpgradeStatus>,
    pub asked: Vec<ActionRequest>,
}

/// The severity of a statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// No action is needed.
    #[default]
    Good,
    /// Worth knowing.
    Note,
    /// Action is needed.
    Bad,
}

/// A sentence about a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sentence {
    /// The severity.
    pub level: Level,
    /// The sentence.
    pub text: String,
    /// The part that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
}

/// The bottleneck of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Bottleneck {
    /// The part.
    pub part: String,
    /// The share of busy time, in percent.
    pub busy_percent: u64,
}

/// The diagnosis of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// Whether it keeps up with its input. `None` if unknown.
    pub keeps_up: Option<bool>,
    /// The same as a sentence.
    pub summary: String,
    /// The current or next bottleneck.
    pub bottleneck: Option<Bottleneck>,
    /// Other statements, the most severe first.
    pub sentences: Vec<Sentence>,
}

/// An action that was requested on the page, as JSON. Docs: `docs/reference/http-api.md`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ActionRequest {
    /// The number, from 1.
    pub number: u64,
    /// `retry` or `upgrade`.
    pub what: &'static str,
    /// The stage that it is about.
    pub stage: String,
    /// The equivalent command in a terminal.
    pub command: String,
    /// When it was requested.
    pub begun_us: i64,
    /// When it ended.
    pub ended_us: Option<i64>,
    /// Whether it failed or was rejected.
    pub failed: bool,
    /// The output of the command.
    pub words: String,
}
