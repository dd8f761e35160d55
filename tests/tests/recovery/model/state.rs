//! What there is: store, sinks, processes.

use millstream::internals::checkpoint::types::Manifest;
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};

/// Batches that a job plans.
pub const BATCHES: u8 = 3;
/// Batches that have begun and are not committed.
pub const IN_FLIGHT_MAX: u8 = 2;
/// Starts after the first, at most.
pub const CRASHES_MAX: u8 = 3;
/// Rows of a socket that may be received: of each batch at most two.
pub const ROWS: usize = 2 * BATCHES as usize;

/// The protocol, with at most one rule broken.
pub struct Protocol {
    /// Which.
    pub bug: Option<Bug>,
    /// Steps that a process may take after another has replaced it.
    pub old_steps_max: u8,
    /// Starts after the first.
    pub crashes: u8,
    /// The final states of states with only one possible path.
    pub ends: Mutex<HashMap<u64, State>>,
}

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A checkpoint is published before all sinks have committed its batch.
    PublishEarly,
    /// A sink commits what it has committed before.
    CommitAgain,
    /// Everything older than the newest checkpoint is deleted, even if a manifest names it.
    DeleteByBatch,
    /// Files of other generations that the manifest does not name are deleted, those of newer ones too.
    DeleteOfOthers,
    /// The manifest is replaced whatever it contains by then.
    ReplaceAlways,
    /// Sinks commit before the plan is durable.
    CommitEarly,
    /// A batch counts as planned when one of its sources is.
    PlanHalf,
    /// Markers are read first and sinks are fenced afterwards.
    FenceLate,
    /// A checkpoint is made before all rows that were left over have been taken.
    CheckpointEarly,
    /// One of two markers is ahead, and is used for both.
    MarkerOfOthers,
    /// A checkpoint that is made in a replay does not record that rows are left over.
    LeftoverUntold,
}

impl Bug {
    /// The bugs that two crashes show.
    pub const ALL: [Bug; 10] = [
        Bug::PublishEarly,
        Bug::CommitAgain,
        Bug::DeleteByBatch,
        Bug::DeleteOfOthers,
        Bug::ReplaceAlways,
        Bug::CommitEarly,
        Bug::PlanHalf,
        Bug::FenceLate,
        Bug::CheckpointEarly,
        Bug::MarkerOfOthers,
    ];
}

/// The world.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct State {
    /// Which batches a checkpoint follows on: bit n for batch n.
    pub barriers: u8,
    /// How many checkpoints are kept.
    pub kept: u8,
    /// Which of the crashes leaves the process alive; zero: none.
    pub survived: u8,
    pub store: Store,
    pub sinks: [Medium; 2],
    /// The process that owns the job, or thinks so.
    pub job: Option<Job>,
    /// The previous job.
    pub old: Option<Job>,
    /// The current start.
    pub starter: Option<Starter>,
    pub crashes: u8,
    pub wrong: Option<Wrong>,
}

/// A property that was broken by a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wrong {
    /// A sink was given a batch whose input does not follow on what it has.
    Rows,
    /// State, or a plan, does not fit what comes next.
    State,
    /// A start was rejected although nothing was damaged.
    Refused,
    /// Something that a start needs, or that the manifest names, was deleted.
    Deleted,
    /// A process that lost its job changed the manifest or a sink.
    Fenced,
}

/// Objects.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Store {
    pub manifest: Option<Named>,
    pub version: u8,
    /// Files of state, by bit, see [`super::objects`].
    pub files: u32,
    /// Durable pieces of plans, by bit.
    pub pieces: u32,
    /// The content of each generation's batches, once it has begun.
    pub contents: [Content; CRASHES_MAX as usize + 1],
    /// The receiver of each row of the socket that was durable while its receiver owned the job; zero: none.
    pub received: [u8; ROWS],
}

/// The content of a start's batches: those that it replays and those that it plans. Both follow from what it found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Content {
    /// The last batch that it did not plan.
    pub after: u8,
    /// How far each source was read after each batch.
    pub ends: [[u8; BATCHES as usize + 1]; 2],
    /// The receiver of each row of the socket.
    pub origin: [u8; ROWS],
    /// Rows of the socket that were stored when it began.
    pub found: u8,
}

/// The data of a sink, or of a worker's share of one: its own marker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Medium {
    /// The generation that may commit.
    pub generation: u8,
    /// The last batch committed.
    pub marker: u8,
    /// How much of each source was committed.
    pub ends: [u8; 2],
}

/// A process with a job.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Job {
    pub generation: u8,
    /// The manifest as it wrote it last.
    pub manifest: Named,
    pub version: u8,
    /// The last batch of each source whose piece is durable.
    pub durable: [u8; 2],
    /// The last batch that each sink has committed.
    pub done: [u8; 2],
    /// What the sinks had committed when they were opened.
    pub markers: [u8; 2],
    /// How many workers have written their file of the next checkpoint.
    pub written: u8,
    /// The store is to be listed for garbage.
    pub listing: bool,
    /// Objects that are to be deleted.
    pub doomed: (u32, u32),
    /// For a replaced process: the last batch that it has begun, and the steps that it may take.
    pub limit: (u8, u8),
}

/// A start up to its claim.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Starter {
    /// Steps taken.
    pub step: u8,
    pub manifest: Option<Named>,
    pub version: u8,
    pub generation: u8,
    pub markers: [u8; 2],
    /// What it decided.
    pub decided: Option<Decided>,
}

/// A decision, before it is claimed.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Decided {
    pub manifest: Named,
    pub content: Content,
    /// The checkpoint that it loads.
    pub checkpoint: u8,
    /// The pieces that it reads.
    pub pieces: u32,
}

/// A manifest, with values that are often needed.
#[derive(Clone, Debug)]
pub struct Named {
    pub manifest: Arc<Manifest>,
    /// The files that it names, by bit.
    pub files: u32,
    pub generation: u8,
    /// The batch of the newest checkpoint.
    pub newest: u8,
    hash: u64,
}

impl Named {
    pub fn new(manifest: Manifest) -> Named {
        let mut hasher = DefaultHasher::new();
        manifest.hash(&mut hasher);
        Named {
            files: super::objects::named(&manifest),
            generation: manifest.generation.0 as u8,
            newest: manifest.newest().map_or(0, |newest| newest.batch.0 as u8),
            hash: hasher.finish(),
            manifest: Arc::new(manifest),
        }
    }
}

impl Hash for Named {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

impl PartialEq for Named {
    fn eq(&self, other: &Named) -> bool {
        self.hash == other.hash
    }
}

impl Content {
    /// Rows that a batch takes of each source: never the same in two generations that follow on each other.
    fn rows(generation: u8, batch: u8) -> [u8; 2] {
        [1 + (generation + batch) % 2, 1 + (generation + batch + 1) % 2]
    }

    /// Plans all batches after `after`.
    pub fn plan(&mut self, generation: u8) {
        for batch in self.after + 1..=BATCHES {
            let rows = Content::rows(generation, batch);
            for (ends, rows) in self.ends.iter_mut().zip(rows) {
                ends[batch as usize] = ends[batch as usize - 1] + rows;
            }
        }
        for row in self.found as usize..ROWS {
            self.origin[row] = generation;
        }
    }

    /// The range of a source in a batch: from, to.
    pub fn range(&self, source: usize, batch: u8) -> (u8, u8) {
        (self.ends[source][batch as usize - 1], self.ends[source][batch as usize])
    }
}

impl State {
    /// Sinks are alike: it does not matter which of them is ahead, so that one comes first. While a start has fenced only one of
    /// them they are not alike.
    pub fn sort_sinks(&mut self) {
        let key = |state: &State, sink: usize| {
            let medium = &state.sinks[sink];
            let done = [&state.job, &state.old].map(|job| job.as_ref().map(|job| (job.done[sink], job.markers[sink])));
            (medium.marker, medium.generation, done, state.starter.as_ref().map(|starter| starter.markers[sink]))
        };
        if self.starter.as_ref().is_some_and(|starter| starter.step == 2) || key(self, 0) >= key(self, 1) {
            return;
        }
        self.sinks.swap(0, 1);
        for job in [&mut self.job, &mut self.old].into_iter().flatten() {
            job.done.swap(0, 1);
            job.markers.swap(0, 1);
        }
        if let Some(starter) = &mut self.starter {
            starter.markers.swap(0, 1);
        }
    }

    /// Drops what no longer matters, so that more states are equal.
    pub fn forget(&mut self) {
        for job in [&mut self.job, &mut self.old].into_iter().flatten() {
            for sink in 0..2 {
                if job.done[sink] >= job.markers[sink] {
                    job.markers[sink] = 0;
                }
            }
        }
        let committed = self.sinks[0].ends[1].min(self.sinks[1].ends[1]);
        self.store.received[..usize::from(committed)].fill(0);
    }
}

impl Store {
    pub fn content(&self, generation: u8) -> &Content {
        &self.contents[generation as usize - 1]
    }
}

impl Job {
    /// The last batch that may have begun.
    pub fn begun(&self) -> u8 {
        let window = (self.done[0].min(self.done[1]) + IN_FLIGHT_MAX).min(BATCHES);
        if self.limit.0 > 0 { window.min(self.limit.0) } else { window }
    }
}
