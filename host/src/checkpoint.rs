//! What survives a crash: plans of batches, checkpoints of state, and the manifest that says which of them count.
//!
//! The rule: every sink remembers the last batch that it committed, and a batch replays bit for bit. What to load,
//! replay, skip and delete is decided by pure functions ([`resolve`], [`gc`]) over facts ([`types`]); reading and
//! writing stay behind the [`store`].

pub mod fault;
pub mod fold;
pub mod gc;
pub mod manifest;
pub mod plan;
pub mod read;
pub mod resolve;
pub mod state_file;
pub mod store;
pub mod types;

use crate::ids::Generation;

/// Who commits to a sink: kept beside its marker, so that a sink knows its job and refuses one that lost it.
#[derive(Clone, Debug, Default)]
pub struct Owner {
    /// The job's name.
    pub job: String,
    /// See [`types::Manifest::job_id`].
    pub job_id: String,
    /// Of this start.
    pub generation: Generation,
}
