//! Facts in a short form, and the decisions.

mod refusals;
mod rollback;
mod upgrade;

use super::*;
use crate::checkpoint::meaning::MeaningDigests;
use crate::checkpoint::plan::{Head, LogName};
use crate::checkpoint::types::{Checkpoint, Column, JobStart, StateFile, Table, TableOf};

fn start(generation: u64, after: u64, first: u64) -> JobStart {
    JobStart {
        generation: Generation(generation),
        checkpoint: BatchId(0),
        after: BatchId(after),
        first: BatchId(first),
        workers: 2,
        sources: vec!["left".into(), "right".into()],
        job_digest: "a".into(),
        upgrade: false,
        started_us: 0,
    }
}

fn column(name: &str, kind: &str) -> Column {
    Column { name: name.into(), kind: kind.into(), nullable: false }
}

fn stage(name: &str, state: &str) -> Table {
    let (key, state) = (vec![column("word", "text")], vec![column("n", state)]);
    Table {
        of: TableOf::Stage,
        name: name.into(),
        identity: String::new(),
        reads: String::new(),
        key,
        sub: Vec::new(),
        state,
        version: String::new(),
        meaning: MeaningDigests::default(),
        files: Vec::new(),
    }
}

fn source(name: &str, identity: &str) -> Table {
    Table { of: TableOf::Source, identity: identity.into(), ..stage(name, "int64") }
}

fn tables() -> Vec<Table> {
    vec![stage("totals", "int64"), source("left", "file a"), source("right", "file b")]
}

fn path(batch: u64) -> String {
    format!("state/000001-{batch:012}-000-totals.arrow")
}

/// Returns a startup of a job that loads this checkpoint.
fn loading(checkpoint: u64, start: JobStart) -> JobStart {
    JobStart { checkpoint: BatchId(checkpoint), ..start }
}

fn checkpoint(batch: u64) -> Checkpoint {
    let mut tables = tables();
    tables[0].files.push(StateFile {
        path: path(batch),
        batch: BatchId(batch),
        group_first: 0,
        group_end: 4096,
        base: true,
        rows: 1,
        bytes: 1,
        checksum: String::new(),
        footer: String::new(),
    });
    Checkpoint {
        batch: BatchId(batch),
        time: BatchTime(0),
        generation: Generation(1),
        written: 0,
        tables,
        sinks: BTreeMap::new(),
        leftover: false,
    }
}

fn manifest(starts: &[(u64, u64, u64)], checkpoints: &[u64]) -> Manifest {
    Manifest {
        job: "job".into(),
        job_id: "id".into(),
        generation: Generation(starts.last().map_or(0, |start| start.0)),
        starts: starts.iter().map(|(generation, after, first)| start(*generation, *after, *first)).collect(),
        checkpoints: checkpoints.iter().map(|batch| checkpoint(*batch)).collect(),
    }
}

fn plan(generation: u64) -> PlannedBatch {
    PlannedBatch { time: BatchTime(0), generation: Generation(generation), made_up: false }
}

/// Returns facts: starts, checkpoints, planned batches (with the generation), and what sinks `x`, `y` … have committed.
fn found(starts: &[(u64, u64, u64)], checkpoints: &[u64], batches: &[(u64, u64)], committed: &[u64]) -> StartFacts {
    StartFacts {
        manifest: Some(manifest(starts, checkpoints)),
        planned: batches.iter().map(|(batch, generation)| (BatchId(*batch), plan(*generation))).collect(),
        committed: ["x", "y"].iter().zip(committed).map(|(name, batch)| ((*name).into(), BatchId(*batch))).collect(),
        ..StartFacts::default()
    }
}

fn request() -> StartRequest {
    StartRequest { job_digest: "a".into(), workers: 2, tables: tables(), ..StartRequest::default() }
}

fn from(batch: u64) -> StartRequest {
    StartRequest { resume_from: Some(BatchId(batch)), ..request() }
}

/// A decision in short form: checkpoint, replayed batches, after, first, repeated.
type Short = (u64, Vec<u64>, u64, u64, Option<(u64, u64)>);

fn short(resume: &ResumePlan) -> Short {
    let replay = resume.replay.iter().map(|(batch, _)| batch.0).collect();
    let repeated = resume.repeated.map(|(first, last)| (first.0, last.0));
    (resume.checkpoint.0, replay, resume.after.0, resume.first.0, repeated)
}

#[test]
fn a_batch_is_planned_when_each_source_planned_it_in_the_generation_that_counts() {
    let head = |batch, source: &str| Head {
        batch: BatchId(batch),
        time: BatchTime(batch as i64),
        source: source.into(),
        made_up: false,
    };
    let log =
        |generation, process, after| LogName { generation: Generation(generation), process, after: BatchId(after) };
    // Generation 2 began after batch 2, generation 3 abandoned what 2 had planned after batch 3, up to 5.
    let starts = manifest(&[(1, 0, 1), (2, 2, 3), (3, 3, 6)], &[]).starts;
    let logs = [
        (log(1, 0, 0), vec![head(1, "left"), head(2, "left"), head(3, "left"), head(3, "right")]),
        (log(1, 1, 0), vec![head(1, "right"), head(2, "right"), head(2, "right")]),
        (log(2, 0, 2), vec![head(3, "left"), head(3, "right"), head(4, "left"), head(4, "right"), head(6, "left")]),
        (log(3, 0, 3), vec![head(5, "left"), head(5, "right"), head(6, "left"), head(7, "left"), head(7, "right")]),
        (log(4, 0, 0), vec![head(6, "left"), head(6, "right")]),
    ];
    let planned = planned(&starts, &logs);
    let short: Vec<_> = planned.iter().map(|(batch, plan)| (batch.0, plan.generation.0, plan.time.0)).collect();
    assert_eq!(short, [(1, 1, 1), (2, 1, 2), (3, 2, 3), (7, 3, 7)]);
}

#[test]
fn a_start_loads_the_newest_checkpoint_and_replays_all_that_is_planned_behind_it() {
    let first = [(1, 0, 1)];
    let given_up = [(1, 0, 1), (2, 3, 9)];
    let cases: [(StartFacts, StartRequest, Short); 12] = [
        (StartFacts::default(), request(), (0, vec![], 0, 1, None)),
        (
            StartFacts { objects: vec!["jobs/000001-a.json".into()], ..StartFacts::default() },
            request(),
            (0, vec![], 0, 1, None),
        ),
        (found(&first, &[], &[], &[]), request(), (0, vec![], 0, 1, None)),
        (found(&first, &[], &[(1, 1), (2, 1)], &[1]), request(), (0, vec![1, 2], 2, 3, None)),
        (found(&first, &[2, 4], &[(4, 1), (5, 1), (6, 1)], &[6, 5]), request(), (4, vec![5, 6], 6, 7, None)),
        // A gap ends the replay; no id after it is used again.
        (found(&first, &[4], &[(5, 1), (7, 1)], &[]), request(), (4, vec![5], 5, 8, None)),
        // Across a startup, across abandoned batches, and before the first batch after those.
        (found(&given_up, &[2], &[(3, 1), (9, 2), (10, 2)], &[9]), request(), (2, vec![3, 9, 10], 10, 11, None)),
        (found(&given_up, &[2], &[(3, 1)], &[8]), request(), (2, vec![3], 3, 9, None)),
        // As requested by the user.
        (found(&first, &[2, 4], &[(3, 1), (4, 1), (5, 1), (6, 1)], &[6]), from(5), (4, vec![5], 5, 7, Some((6, 6)))),
        (found(&first, &[2, 4], &[(3, 1), (4, 1), (5, 1)], &[4]), from(3), (2, vec![3], 3, 6, Some((4, 4)))),
        (found(&first, &[2, 4], &[(5, 1)], &[5]), from(5), (4, vec![5], 5, 6, None)),
        (found(&given_up, &[2], &[(3, 1)], &[8]), StartRequest { fresh: true, ..request() }, (0, vec![], 0, 1, None)),
    ];
    for (number, (found, request, expected)) in cases.into_iter().enumerate() {
        assert_eq!(resolve(&found, &request).map(|resume| short(&resume)), Ok(expected), "case {number}");
    }
}

#[test]
fn only_damage_that_matters_is_refused() {
    let with = |damaged: &[&str], objects: &[&str]| StartFacts {
        damaged: damaged.iter().map(|path| ((*path).into(), "cut short".into())).collect(),
        objects: objects.iter().map(|path| (*path).into()).collect(),
        ..found(&[(1, 0, 1), (2, 5, 6)], &[3, 7], &[(4, 1), (5, 1), (6, 2), (7, 2), (8, 2)], &[])
    };
    let (old, cut, next) =
        ("plans/000001-000-000000000003.log", "plans/000002-000-000000000005.log", "plans/000002-000-000000000007.log");
    // An older checkpoint; the log of a generation whose rows are all in the checkpoint; one that goes up to it.
    for found in [with(&[&path(3)], &[]), with(&[old], &[old]), with(&[cut], &[cut, next])] {
        assert_eq!(resolve(&found, &request()).map(|resume| short(&resume)), Ok((7, vec![8], 8, 9, None)));
    }
    for found in [with(&[&path(7)], &[]), with(&[cut], &[cut]), with(&[next], &[cut, next])] {
        assert!(resolve(&found, &request()).is_err());
    }
    // If a checkpoint is damaged, the user may choose the previous one.
    let resume = resolve(&with(&[&path(7)], &[]), &from(8)).unwrap();
    assert_eq!(short(&resume), (3, vec![4, 5, 6, 7, 8], 8, 9, None));
}

#[test]
fn what_is_committed_is_replayed_by_the_job_that_made_it() {
    let found = found(&[(1, 0, 1)], &[2], &[(3, 1), (4, 1), (5, 1)], &[3, 4]);
    let other = StartRequest { job_digest: "b".into(), ..request() };
    let as_before =
        |found: &StartFacts, request: &StartRequest| resolve(found, request).unwrap().as_before.map(|batch| batch.0);
    assert_eq!(as_before(&found, &request()), None);
    assert_eq!(as_before(&found, &other), Some(4));
    assert_eq!(as_before(&found, &StartRequest { workers: 3, ..request() }), Some(4));
    assert_eq!(as_before(&found, &StartRequest { resume_from: Some(BatchId(3)), ..other.clone() }), Some(3));
    let with_committed = StartFacts { committed: [("x".into(), BatchId(2))].into(), ..found.clone() };
    assert_eq!(as_before(&with_committed, &other), None);
    let lost = StartFacts { damaged: [("jobs/000001-a.json".into(), "not there".into())].into(), ..found.clone() };
    assert_eq!(as_before(&lost, &request()), None);
    assert!(resolve(&lost, &other).unwrap_err().contains("batches up to 4"));
    // The positions of a source are in the plans of batches, including those that no sink has committed.
    let dropping = |name: &str| StartRequest { drop: vec![name.into()], ..request() };
    assert_eq!(as_before(&found, &dropping("left")), Some(5));
    assert_eq!(as_before(&found, &dropping("totals")), None);

    // The replay is a startup of the previous job. It keeps all tables.
    let dropping = StartRequest { drop: vec!["totals".into()], ..other };
    let resume = resolve(&found, &dropping).unwrap();
    let claimed = claim(found.manifest.as_ref(), &resume, &dropping, "job", "new");
    assert_eq!(claimed.starts[1], loading(2, start(2, 5, 6)));
    assert_eq!(claimed.checkpoints, [checkpoint(2)]);
}

#[test]
fn a_claim_records_what_counts_from_now_on() {
    let all = found(&[(1, 0, 1)], &[2, 4, 6], &[(5, 1), (6, 1), (7, 1)], &[7]);
    let batches = |manifest: &Manifest| manifest.checkpoints.iter().map(|kept| kept.batch.0).collect::<Vec<_>>();
    let take = |found: &StartFacts, request: &StartRequest| {
        let resume = resolve(found, request).unwrap();
        claim(found.manifest.as_ref(), &resume, request, "job", "new")
    };
    let next = take(&all, &request());
    assert_eq!((next.generation, next.job_id.as_str(), batches(&next)), (Generation(2), "id", vec![2, 4, 6]));
    assert_eq!(next.starts, [start(1, 0, 1), loading(6, start(2, 7, 8))]);

    // Abandoned batches do not reappear at the next startup, nor do their ids.
    let back = take(&all, &from(5));
    assert_eq!((back.starts.clone(), batches(&back)), (vec![start(1, 0, 1), loading(4, start(2, 5, 8))], vec![2, 4]));
    let again = StartFacts { manifest: Some(back), ..all.clone() };
    let again = StartFacts { planned: again.planned.into_iter().filter(|(batch, _)| batch.0 <= 5).collect(), ..again };
    assert_eq!(resolve(&again, &request()).map(|resume| short(&resume)), Ok((4, vec![5], 5, 8, None)));

    // Neither does dropped state, which older checkpoints still have.
    let drop = StartRequest { drop: vec!["totals".into()], ..request() };
    let dropped = take(&all, &drop);
    assert_eq!(dropped.checkpoints.iter().map(|kept| kept.tables.len()).collect::<Vec<_>>(), [3, 3, 2]);

    let fresh = take(&all, &StartRequest { fresh: true, ..request() });
    assert_eq!((fresh.generation, fresh.job_id.as_str(), batches(&fresh)), (Generation(2), "new", vec![]));
    assert_eq!(fresh.starts, [start(2, 0, 1)]);
    let very_first = claim(None, &resolve(&StartFacts::default(), &request()).unwrap(), &request(), "job", "new");
    assert_eq!((very_first.generation, very_first.starts), (Generation(1), vec![start(1, 0, 1)]));
}

#[test]
fn a_published_manifest_keeps_the_newest_checkpoints_and_the_starts_that_they_need() {
    let mut manifest = manifest(&[(1, 0, 1), (2, 3, 4)], &[2, 3]);
    let batches = |manifest: &Manifest| manifest.checkpoints.iter().map(|kept| kept.batch.0).collect::<Vec<_>>();
    for (batch, kept, starts) in
        [(5, vec![2, 3, 5], 2), (6, vec![3, 5, 6], 2), (7, vec![5, 6, 7], 1), (6, vec![5, 6, 7], 1)]
    {
        manifest = publish(&manifest, checkpoint(batch));
        assert_eq!((batches(&manifest), manifest.starts.len()), (kept, starts), "after {batch}");
    }
}

#[test]
fn rows_that_no_planned_batch_holds_are_taken_over_once_and_in_order() {
    let (one, two) = (Generation(1), Generation(2));
    let cases = [
        (5, vec![], vec![]),
        (5, vec![(one, 0, 5), (one, 5, 3), (one, 8, 2)], vec![(1, 0), (2, 0)]),
        // Half of a piece was taken; the order of pieces does not matter; a gap ends it.
        (6, vec![(one, 8, 2), (one, 5, 3), (one, 11, 4)], vec![(1, 1), (0, 0)]),
        // Generation 2 took over a part and began to receive; a fenced generation 1 received more.
        (5, vec![(one, 5, 3), (one, 8, 3), (two, 5, 2), (two, 7, 4), (one, 11, 1)], vec![(2, 0), (3, 0), (4, 0)]),
        (5, vec![(one, 5, 6), (two, 5, 2)], vec![(1, 0), (0, 2)]),
        (5, vec![(one, 5, 0), (one, u64::MAX, 7), (two, 3, u64::MAX)], vec![(2, 2)]),
        (9, vec![(one, 0, 5)], vec![]),
    ];
    for (end, found, expected) in cases {
        assert_eq!(leftovers(end, &found), expected, "{found:?}");
    }
}

#[test]
fn a_sink_commits_each_batch_once() {
    assert!(commits(BatchId(1), None));
    assert!(commits(BatchId(4), Some(BatchId(3))));
    assert!(!commits(BatchId(3), Some(BatchId(3))));
    assert!(!commits(BatchId(2), Some(BatchId(3))));
}

#[test]
fn each_process_must_have_planned_its_share_of_a_source_that_is_spread() {
    let source = |name: &str| Table { of: TableOf::Source, ..Table::of_stage(name, "", Default::default()) };
    let request = |processes| StartRequest {
        processes,
        spread: BTreeSet::from(["topic".to_owned()]),
        tables: vec![source("file"), source("topic")],
        ..StartRequest::default()
    };
    let alone = claim(None, &ResumePlan { first: BatchId(1), ..ResumePlan::default() }, &request(1), "job", "id");
    assert_eq!(alone.starts[0].sources, ["file", "topic"]);
    let resume = ResumePlan { first: BatchId(3), after: BatchId(2), ..ResumePlan::default() };
    let spread = claim(Some(&alone), &resume, &request(3), "job", "id");
    assert_eq!(spread.starts[1].sources, ["file", "topic#0", "topic#1", "topic#2"]);
    let head =
        |batch, source: &str| Head { batch: BatchId(batch), time: BatchTime(0), source: source.into(), made_up: false };
    let log = |generation, process| LogName { generation: Generation(generation), process, after: BatchId(0) };
    let mut logs = vec![
        (log(1, 0), vec![head(1, "file"), head(1, "topic"), head(2, "topic"), head(2, "file"), head(3, "topic")]),
        (log(2, 0), vec![head(3, "file"), head(3, "topic#0"), head(4, "topic#0"), head(4, "file")]),
        (log(2, 1), vec![head(3, "topic#1"), head(4, "topic#1")]),
        (log(2, 2), vec![head(3, "topic#2")]),
    ];
    let planned_batches =
        |logs: &[_]| planned(&spread.starts, logs).into_keys().map(|batch| batch.0).collect::<Vec<_>>();
    assert_eq!(planned_batches(&logs), [1, 2, 3]);
    logs[3].1.push(head(4, "topic#2"));
    assert_eq!(planned_batches(&logs), [1, 2, 3, 4]);
}
