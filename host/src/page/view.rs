//! How a job stands, as JSON has it. Docs: `docs/reference/http-api.md`.

use millstream_engine::checkpoint::recent::CheckpointFacts;
use millstream_engine::running::upgrade::UpgradeStatus;
use millstream_metrics::batches::BatchesView;
use millstream_runtime::control::{JobGraph, JobStatus, PartFacts};
use serde::Serialize;

/// How a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Nobody has answered yet.
    #[default]
    Starting,
    /// It answers.
    Running,
    /// It has answered, and does not now: it is being started again, has ended, or has no time.
    Silent,
}

/// A restart, or something else that a supervisor has told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Restart {
    /// When.
    pub at_us: i64,
    /// Why.
    pub why: String,
}

/// How a job stands, as JSON has it. Docs: `docs/reference/http-api.md`.
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

/// How good or bad something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    #[default]
    Good,
    /// Worth knowing.
    Note,
    /// Somebody should do something.
    Bad,
}

/// A sentence about a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sentence {
    /// How good it is.
    pub level: Level,
    /// The sentence.
    pub text: String,
    /// The part that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
}

/// What holds a job up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Bottleneck {
    /// The part.
    pub part: String,
    /// For how much of the time it is at work, in percent.
    pub busy_percent: u64,
}

/// The diagnosis of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// Whether it keeps up with what comes; `None`: nobody can say.
    pub keeps_up: Option<bool>,
    /// That, in a sentence.
    pub summary: String,
    /// What holds it up, or would first.
    pub bottleneck: Option<Bottleneck>,
    /// What else is to be said, the worst first.
    pub sentences: Vec<Sentence>,
}

/// Something that the page was asked to do to a job, as JSON has it. Docs: `docs/reference/http-api.md`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ActionRequest {
    /// Its number, from 1.
    pub number: u64,
    /// `retry` or `upgrade`.
    pub what: &'static str,
    /// The stage that it is about.
    pub stage: String,
    /// What does the same in a terminal.
    pub command: String,
    /// When it was asked for.
    pub begun_us: i64,
    /// When it was over.
    pub ended_us: Option<i64>,
    /// Whether it failed, or was refused.
    pub failed: bool,
    /// What the command said.
    pub words: String,
}
