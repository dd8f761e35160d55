//! The steps of a job. Each is one request to the store or to a sink.

use super::objects::{Object, bit, list, pieces_of, state_file, tables, who};
use super::start::READ;
use super::state::{Bug, Job, Named, Protocol, Starter, State, Wrong};
use millstream::ids::{BatchId, BatchTime, Generation};
use millstream::internals::checkpoint::gc;
use millstream::internals::checkpoint::resolve::{commits, publish_keeping};
use millstream::internals::checkpoint::types::{Checkpoint, StateFile};
use stateright::Model;
use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

/// The possible events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Another start begins.
    Crash,
    /// A start takes its next step.
    Start,
    /// The job takes a step.
    Job(Step),
    /// A replaced process takes a step.
    Old(Step),
    /// That process is dead.
    OldEnds,
}

/// The steps of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Makes the piece of the next batch durable, of a source.
    Append(usize),
    /// Commits the next batch to a sink.
    Commit(usize),
    /// Writes a worker's file of the next checkpoint.
    Write(usize),
    /// Replaces the manifest.
    Publish,
    /// Lists the store and decides what is garbage.
    List,
    /// Deletes the next object.
    Delete,
}

/// All steps, in the order in which the last job takes them.
const STEPS: [Step; 9] = [
    Step::Append(0),
    Step::Append(1),
    Step::Commit(0),
    Step::Commit(1),
    Step::Write(0),
    Step::Write(1),
    Step::Publish,
    Step::List,
    Step::Delete,
];

impl Protocol {
    fn is(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// The steps that a job can take now.
    pub fn steps<'a>(&'a self, state: &'a State, job: &'a Job) -> impl Iterator<Item = Step> + 'a {
        STEPS.into_iter().filter(move |step| self.can(state, job, *step))
    }

    fn can(&self, state: &State, job: &Job, step: Step) -> bool {
        match step {
            Step::Append(source) => job.durable[source] < job.begun(),
            Step::Commit(sink) => {
                let durable = job.durable[0].min(job.durable[1]);
                job.done[sink] < if self.is(Bug::CommitEarly) { job.begun() } else { durable }
            }
            // One after the other: their files are alike, so it does not matter which worker is first.
            Step::Write(worker) => usize::from(job.written) == worker && self.barrier(state, job).is_some(),
            Step::Publish => {
                let committed = job.done[0].min(job.done[1]);
                job.written == 2
                    && self.barrier(state, job).is_some_and(|batch| batch <= committed || self.is(Bug::PublishEarly))
            }
            Step::List => job.listing,
            Step::Delete => job.doomed != (0, 0),
        }
    }

    /// The batch of the next checkpoint, once it has begun. Except for replayed batches, no checkpoint is made before it covers
    /// all rows that were left over.
    fn barrier(&self, state: &State, job: &Job) -> Option<u8> {
        let content = state.store.content(job.generation);
        (job.manifest.newest + 1..=job.begun()).filter(|batch| state.barriers & (1 << batch) != 0).find(|batch| {
            *batch <= content.after
                || content.ends[1][usize::from(*batch)] >= content.found
                || self.is(Bug::CheckpointEarly)
        })
    }

    /// Takes a step. `None`: the process has learned that it lost its job, and ends.
    fn take(&self, state: &mut State, mut job: Job, step: Step) -> Option<Job> {
        match step {
            Step::Append(source) => append(state, &mut job, source),
            Step::Commit(sink) => return self.commit(state, job, sink),
            Step::Write(worker) => {
                let batch = self.barrier(state, &job)?;
                state.store.files |= bit(job.generation, batch, worker);
                job.written += 1;
            }
            Step::Publish => return self.publish(state, job),
            Step::List => {
                job.listing = false;
                job.doomed = self.garbage(state, &job);
            }
            Step::Delete => delete(state, &mut job),
        }
        Some(job)
    }

    /// A sink's transaction: rows, marker and fence are one step.
    fn commit(&self, state: &mut State, mut job: Job, sink: usize) -> Option<Job> {
        let batch = job.done[sink] + 1;
        job.done[sink] = batch;
        let others = self.is(Bug::MarkerOfOthers);
        let marker = if others { job.markers[0].max(job.markers[1]) } else { job.markers[sink] };
        let marker = Some(marker).filter(|marker| *marker > 0).map(|marker| BatchId(marker.into()));
        if !commits(BatchId(batch.into()), marker) && !self.is(Bug::CommitAgain) {
            return Some(job);
        }
        if state.sinks[sink].generation > job.generation {
            return None;
        }
        if state.store.manifest.as_ref().is_some_and(|named| named.generation > job.generation) {
            state.wrong = Some(Wrong::Fenced);
        }
        let content = state.store.content(job.generation);
        let medium = &mut state.sinks[sink];
        for source in 0..2 {
            let (from, to) = content.range(source, batch);
            if medium.ends[source] != from {
                state.wrong = Some(Wrong::Rows);
            }
            medium.ends[source] = to;
        }
        let (from, to) = content.range(1, batch);
        // A durable row that another process had received under this number is lost.
        let rows = usize::from(from)..usize::from(to);
        let owners = state.store.received[rows.clone()].iter().zip(&content.origin[rows]);
        if owners.into_iter().any(|(received, origin)| *received != 0 && received != origin) {
            state.wrong = Some(Wrong::Rows);
        }
        medium.marker = batch;
        Some(job)
    }

    fn publish(&self, state: &mut State, mut job: Job) -> Option<Job> {
        let batch = self.barrier(state, &job)?;
        job.written = 0;
        if state.store.version != job.version && !self.is(Bug::ReplaceAlways) {
            return None;
        }
        if state.store.manifest.as_ref().is_some_and(|named| named.generation > job.generation) {
            state.wrong = Some(Wrong::Fenced);
        }
        let content = state.store.content(job.generation);
        let checkpoint = Checkpoint {
            batch: BatchId(batch.into()),
            time: BatchTime(0),
            generation: Generation(job.generation.into()),
            written: 0,
            tables: tables(files(state, &job, batch)),
            sinks: BTreeMap::new(),
            leftover: content.ends[1][usize::from(batch.max(content.after))] < content.found
                && !self.is(Bug::LeftoverUntold)
                && !self.is(Bug::CheckpointEarly),
        };
        job.manifest = Named::new(publish_keeping(&job.manifest.manifest, checkpoint, state.kept.into()));
        state.store.manifest = Some(job.manifest.clone());
        state.store.version += 1;
        job.version = state.store.version;
        job.listing = true;
        Some(job)
    }

    fn garbage(&self, state: &State, job: &Job) -> (u32, u32) {
        let objects = list(state);
        let paths: Vec<String> = objects.keys().cloned().collect();
        let mut garbage = gc::garbage(&job.manifest.manifest, &paths, None);
        garbage.extend(paths.into_iter().filter(|path| {
            let Some(Object::File(file)) = objects.get(path) else { return false };
            let (generation, batch) = who(*file);
            let others = job.manifest.files & file == 0 && generation != job.generation;
            (self.is(Bug::DeleteByBatch) && batch < job.manifest.newest) || (self.is(Bug::DeleteOfOthers) && others)
        }));
        garbage.iter().filter_map(|path| objects.get(path)).fold((0, 0), |(files, logs), object| match object {
            Object::File(bit) => (files | bit, logs),
            Object::Log(bit) => (files, logs | bit),
        })
    }
}

fn append(state: &mut State, job: &mut Job, source: usize) {
    let batch = job.durable[source] + 1;
    job.durable[source] = batch;
    state.store.pieces |= bit(job.generation, batch, source);
    // Rows received by a process that has lost the job, after the next one has looked, may be lost with it.
    let owns = state.store.manifest.as_ref().is_some_and(|named| named.generation == job.generation)
        && state.starter.as_ref().is_none_or(|starter| starter.step < READ);
    if source == 1 && owns {
        let content = *state.store.content(job.generation);
        let (from, to) = content.range(1, batch);
        for row in usize::from(from)..usize::from(to) {
            if state.store.received[row] == 0 {
                state.store.received[row] = content.origin[row];
            }
        }
    }
}

/// The files of the state after a batch: a base, or the files of the checkpoint before and what has changed since.
fn files(state: &State, job: &Job, batch: u8) -> Vec<StateFile> {
    let content = state.store.content(job.generation);
    let ends = |batch: u8| [content.ends[0][usize::from(batch)], content.ends[1][usize::from(batch)]];
    let before = job.manifest.manifest.newest().filter(|_| batch.is_multiple_of(2));
    let mut files: Vec<StateFile> =
        before.iter().flat_map(|before| &before.tables).flat_map(|table| &table.files).cloned().collect();
    let from = before.map_or([0, 0], |before| ends(before.batch.0 as u8));
    files.extend((0..2).map(|worker| state_file(job.generation, batch, worker, from, ends(batch))));
    files
}

fn delete(state: &mut State, job: &mut Job) {
    let (files, logs) = &mut job.doomed;
    if *logs != 0 {
        let log = 1 << logs.trailing_zeros();
        *logs &= !log;
        state.store.pieces &= !pieces_of(state, log);
    } else {
        let file = 1 << files.trailing_zeros();
        *files &= !file;
        state.store.files &= !file;
    }
}

/// The next state.
pub fn next(protocol: &Protocol, last: &State, action: Action) -> State {
    let mut state = last.clone();
    act(protocol, &mut state, action);
    state.forget();
    state.sort_sinks();
    if state.crashes == protocol.crashes && state.old.is_none() { protocol.finish(state) } else { state }
}

impl Protocol {
    /// If the only possible event is the next step of one process, it is taken immediately, up to the end. Many paths lead to the
    /// same state, so the end of each is cached.
    fn finish(&self, mut state: State) -> State {
        let mut hasher = DefaultHasher::new();
        state.hash(&mut hasher);
        let place = hasher.finish();
        if let Some(end) = self.ends.lock().unwrap().get(&place) {
            return end.clone();
        }
        let mut actions = Vec::new();
        while state.wrong.is_none() {
            actions.clear();
            self.actions(&state, &mut actions);
            let Some(action) = actions.pop() else { break };
            act(self, &mut state, action);
        }
        state.forget();
        self.ends.lock().unwrap().insert(place, state.clone());
        state
    }
}

fn act(protocol: &Protocol, state: &mut State, action: Action) {
    match action {
        Action::Crash => crash(protocol, state),
        Action::Start => super::start::step(state, protocol.bug),
        Action::Job(step) => {
            if let Some(job) = state.job.take() {
                state.job = protocol.take(state, job, step);
            }
        }
        Action::Old(step) => {
            if let Some(mut job) = state.old.take() {
                job.limit.1 -= 1;
                state.old = protocol.take(state, job, step).filter(|job| job.limit.1 > 0);
            }
        }
        Action::OldEnds => state.old = None,
    }
    if state.store.manifest.as_ref().is_some_and(|named| named.files & !state.store.files != 0) {
        state.wrong = Some(Wrong::Deleted);
    }
}

fn crash(protocol: &Protocol, state: &mut State) {
    state.crashes += 1;
    let job = state.job.take();
    if state.crashes == state.survived {
        state.old = job.map(|job| Job { limit: (job.begun(), protocol.old_steps_max), ..job });
    } else if state.crashes == protocol.crashes {
        state.old = None;
    }
    state.starter = Some(Starter::new());
}
