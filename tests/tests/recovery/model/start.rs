//! The steps of a start, in the order that `resolve` requests.

use super::objects::{bit, list, logs, received, tables};
use super::state::{Bug, Content, Decided, Job, Named, ROWS, Starter, State, Wrong};
use millstream::ids::{BatchId, Generation};
use millstream::internals::checkpoint::plan::LogName;
use millstream::internals::checkpoint::resolve::{self, StartFacts, StartRequest};

/// The step after which another start knows what this one found.
pub const READ: u8 = 4;

impl Starter {
    pub fn new() -> Starter {
        Starter { step: 0, manifest: None, version: 0, generation: 0, markers: [0, 0], decided: None }
    }
}

/// Takes the next step of the current start.
pub fn step(state: &mut State, bug: Option<Bug>) {
    let Some(mut starter) = state.starter.take() else { return };
    starter.step += 1;
    match (starter.step, bug) {
        (1, _) => {
            starter.manifest = state.store.manifest.clone();
            starter.version = state.store.version;
            starter.generation = starter.manifest.as_ref().map_or(0, |manifest| manifest.generation) + 1;
        }
        (2 | 3, Some(Bug::FenceLate)) => {
            let sink = usize::from(starter.step) - 2;
            starter.markers[sink] = state.sinks[sink].marker;
        }
        (2 | 3, _) => fence(state, &mut starter),
        (READ, _) => decide(state, &mut starter, bug),
        _ => return claim(state, starter, bug),
    }
    state.starter = Some(starter);
}

/// Keeps older generations out of a sink, and reads its marker in the same step.
fn fence(state: &mut State, starter: &mut Starter) {
    let sink = usize::from(starter.step) - 2;
    state.sinks[sink].generation = state.sinks[sink].generation.max(starter.generation);
    starter.markers[sink] = state.sinks[sink].marker;
}

fn decide(state: &mut State, starter: &mut Starter, bug: Option<Bug>) {
    let starts = starter.manifest.as_ref().map_or(&[][..], |named| &named.manifest.starts);
    let mut starts = starts.to_vec();
    if bug == Some(Bug::PlanHalf) {
        starts.iter_mut().for_each(|start| start.sources.truncate(1));
    }
    let markers = ["left", "right"].iter().zip(starter.markers).filter(|(_, marker)| *marker > 0);
    let found = StartFacts {
        manifest: starter.manifest.as_ref().map(|named| (*named.manifest).clone()),
        planned: resolve::planned(&starts, &logs(state)),
        committed: markers.map(|(name, marker)| ((*name).to_owned(), BatchId(marker.into()))).collect(),
        objects: list(state).into_keys().collect(),
        ..StartFacts::default()
    };
    let expected =
        StartRequest { job_digest: "ab".into(), workers: 2, tables: tables(Vec::new()), ..StartRequest::default() };
    let Ok(resume) = resolve::resolve(&found, &expected) else {
        // Its objects may have been deleted by a process that replaced the manifest meanwhile.
        if state.store.version == starter.version {
            state.wrong = Some(Wrong::Refused);
        }
        *starter = Starter::new();
        return;
    };
    let manifest = resolve::claim(found.manifest.as_ref(), &resume, &expected, "job", "id");
    let planned: Vec<(u8, u8)> =
        resume.replay.iter().map(|(batch, plan)| (batch.0 as u8, plan.generation.0 as u8)).collect();
    let (checkpoint, after) = (resume.checkpoint.0 as u8, resume.after.0 as u8);
    let mut content = Content { after, ..Content::default() };
    if !load(starter.manifest.as_ref(), &mut content) {
        state.wrong = Some(Wrong::State);
    }
    let mut pieces = replay(state, &mut content, &planned);
    pieces |= take_over(state, &mut content, &planned, starter);
    starter.decided = Some(Decided { manifest: Named::new(manifest), content, checkpoint, pieces });
}

/// Reads the files of the newest checkpoint one after the other: each must continue where the previous one ended.
fn load(manifest: Option<&Named>, content: &mut Content) -> bool {
    let Some(checkpoint) = manifest.and_then(|named| named.manifest.newest().cloned()) else { return true };
    let files: Vec<_> = checkpoint.tables.iter().flat_map(|table| &table.files).collect();
    let ends = ["0", "1"].map(|worker| {
        files.iter().filter(|file| file.checksum == worker).try_fold([0, 0], |ends, file| {
            let from = [u64::from(file.group_first), u64::from(file.group_end)];
            (file.base || from == ends).then_some([file.rows, file.bytes])
        })
    });
    let [Some(ends), Some(other)] = ends else { return false };
    for (read, end) in content.ends.iter_mut().zip(ends) {
        read[checkpoint.batch.0 as usize] = end as u8;
    }
    ends == other
}

/// Takes the content of planned batches from the processes that planned them. Returns their pieces.
fn replay(state: &mut State, content: &mut Content, planned: &[(u8, u8)]) -> u32 {
    let mut pieces = 0;
    for (batch, generation) in planned {
        let plan = *state.store.content(*generation);
        for source in 0..2 {
            let (from, to) = plan.range(source, *batch);
            if content.ends[source][*batch as usize - 1] != from {
                state.wrong = Some(Wrong::State);
            }
            content.ends[source][*batch as usize] = to;
            pieces |= bit(*generation, *batch, source);
        }
        let (from, to) = plan.range(1, *batch);
        content.origin[from as usize..to as usize].copy_from_slice(&plan.origin[from as usize..to as usize]);
    }
    pieces
}

/// Takes over the rows that no planned batch holds, and plans what follows. Returns the pieces of those rows.
fn take_over(state: &State, content: &mut Content, planned: &[(u8, u8)], starter: &Starter) -> u32 {
    let end = content.ends[1][content.after as usize];
    let left: Vec<(u8, u8)> = received(&state.store)
        .into_iter()
        .filter(|(generation, batch)| {
            !planned.contains(&(*batch, *generation)) && is_void(starter, *generation, *batch)
        })
        .collect();
    let found: Vec<(Generation, u64, u64)> = left
        .iter()
        .map(|(generation, batch)| {
            let (from, to) = state.store.content(*generation).range(1, *batch);
            (Generation((*generation).into()), from.into(), u64::from(to - from))
        })
        .collect();
    content.found = end;
    let mut pieces = 0;
    for (index, skip) in resolve::leftovers(end.into(), &found) {
        let (generation, batch) = left[index];
        let plan = state.store.content(generation);
        let (from, to) = plan.range(1, batch);
        let rows = from as usize + skip as usize..(to as usize).min(ROWS);
        content.origin[rows.clone()].copy_from_slice(&plan.origin[rows]);
        content.found = to;
        pieces |= bit(generation, batch, 1);
    }
    content.plan(starter.generation);
    pieces
}

/// Whether the rows of a void batch may be in no other batch: those after the checkpoint, and those that it records as left over.
fn is_void(starter: &Starter, generation: u8, batch: u8) -> bool {
    let Some(named) = &starter.manifest else { return true };
    let log = LogName { generation: Generation(generation.into()), process: 1, after: BatchId(0) };
    batch > named.newest
        || named.manifest.newest().is_some_and(|checkpoint| {
            resolve::is_void_before(&named.manifest.starts, &log, BatchId(batch.into()), checkpoint)
        })
}

/// Replaces the manifest. If another process was faster, the start begins again.
fn claim(state: &mut State, starter: Starter, bug: Option<Bug>) {
    let Some(decided) = starter.decided else { return };
    if state.store.version != starter.version && bug != Some(Bug::ReplaceAlways) {
        state.starter = Some(Starter::new());
        return;
    }
    if bug == Some(Bug::FenceLate) {
        state.sinks.iter_mut().for_each(|sink| sink.generation = starter.generation);
    }
    if decided.pieces & !state.store.pieces != 0 {
        state.wrong = Some(Wrong::Deleted);
    }
    state.store.manifest = Some(decided.manifest.clone());
    state.store.version += 1;
    state.store.contents[usize::from(starter.generation) - 1] = decided.content;
    state.job = Some(Job {
        generation: starter.generation,
        manifest: decided.manifest,
        version: state.store.version,
        durable: [decided.content.after; 2],
        done: [decided.checkpoint; 2],
        markers: starter.markers,
        written: 0,
        listing: true,
        doomed: (0, 0),
        limit: (0, 0),
    });
}
