//! Which objects are deleted, by case.

use super::*;
use crate::checkpoint::meaning::MeaningDigests;
use crate::checkpoint::resolve::is_void_before;
use crate::checkpoint::types::{Checkpoint, JobStart, StateFile, Table, TableOf, blob_path};
use millstream_base::ids::BatchTime;

fn manifest(starts: &[(u64, u64, u64)], checkpoints: &[(u64, &[&str])]) -> Manifest {
    let start = |(generation, after, first): &(u64, u64, u64)| JobStart {
        generation: Generation(*generation),
        checkpoint: BatchId(0),
        after: BatchId(*after),
        first: BatchId(*first),
        workers: 2,
        sources: vec!["lines".into()],
        job_digest: "ab".into(),
        upgrade: false,
        started_us: 0,
    };
    let file = |path: &&str| StateFile {
        path: (*path).into(),
        batch: BatchId(0),
        group_first: 0,
        group_end: 4096,
        base: false,
        rows: 0,
        bytes: 0,
        checksum: String::new(),
        footer: String::new(),
    };
    let table = |files: &[&str]| Table {
        of: TableOf::Stage,
        name: "t".into(),
        identity: String::new(),
        reads: String::new(),
        sub: Vec::new(),
        key: Vec::new(),
        state: Vec::new(),
        version: String::new(),
        meaning: MeaningDigests::default(),
        files: files.iter().map(file).collect(),
    };
    let checkpoint = |(batch, files): &(u64, &[&str])| Checkpoint {
        batch: BatchId(*batch),
        time: BatchTime(0),
        generation: Generation(1),
        written: 0,
        tables: vec![table(files)],
        sinks: std::collections::BTreeMap::new(),
        leftover: false,
    };
    Manifest {
        job: "job".into(),
        job_id: "id".into(),
        generation: Generation(starts.last().map_or(0, |start| start.0)),
        starts: starts.iter().map(start).collect(),
        checkpoints: checkpoints.iter().map(checkpoint).collect(),
    }
}

/// Checks that exactly `deleted` are garbage among `kept` and `deleted`.
fn check(manifest: &Manifest, kept: &[&str], deleted: &[&str]) {
    let objects: Vec<String> = kept.iter().chain(deleted).map(|path| (*path).to_owned()).collect();
    let blobs = BTreeSet::from([blob_path(Generation(1), "cd")]);
    assert_eq!(garbage(manifest, &objects, Some(&blobs)), deleted);
}

#[test]
fn files_of_state_go_when_no_checkpoint_names_them_nor_will() {
    let (base, change) = ("state/000001-000000000002-000-t.arrow", "state/000002-000000000005-001-t.arrow");
    let manifest = manifest(&[(1, 0, 1), (2, 3, 4)], &[(3, &[base]), (5, &[base, change])]);
    let unfinished = "state/000002-000000000006-000-t.arrow";
    let later = ["state/000003-000000000002-000-t.arrow", "state/000003-000000000007-000-t.arrow"];
    let deleted = [
        "state/000002-000000000005-000-t.arrow",
        "state/000001-000000000003-000-t.arrow",
        // Left unfinished by an ended generation, and written by it after it was fenced.
        "state/000001-000000000009-000-a-b.arrow",
    ];
    check(&manifest, &[base, change, unfinished, later[0], later[1]], &deleted);
}

#[test]
fn logs_go_when_all_kept_checkpoints_hold_what_they_tell() {
    // Generation 2 planned from batch 4 on.
    let starts = [(1, 0, 1), (2, 3, 4)];
    let (first, last) = ("plans/000001-000-000000000000.log", "plans/000001-000-000000000002.log");
    let other = "plans/000001-001-000000000000.log";
    let (current, next) = ("plans/000002-000-000000000003.log", "plans/000002-000-000000000006.log");
    let newer = "plans/000003-000-000000000000.log";
    check(&manifest(&starts, &[]), &[first, last, other, current, next, newer], &[]);
    check(&manifest(&starts, &[(1, &[]), (6, &[])]), &[first, last, other, current, next, newer], &[]);
    check(&manifest(&starts, &[(2, &[]), (6, &[])]), &[last, other, current, next, newer], &[first]);
    // After batch 3, rows may be left that batch 4 takes over.
    check(&manifest(&starts, &[(3, &[])]), &[last, other, current, next, newer], &[first]);
    check(&manifest(&starts, &[(4, &[])]), &[current, next, newer], &[first, last, other]);
    check(&manifest(&starts, &[(6, &[])]), &[next, newer], &[first, last, other, current]);
    check(&manifest(&starts, &[(9, &[])]), &[next, newer], &[first, last, other, current]);
    // A generation that is no longer in the manifest.
    check(&manifest(&[(2, 0, 1)], &[]), &[current, next, newer], &[first, last, other]);
}

/// Generation 2 ended before it had taken all rows that generation 1 had received, and generation 3 made a checkpoint while it replayed batch 4: the
/// rows are only in the logs of 1.
/// it ran batch 4 again: the rows are in the logs of 1 alone.
#[test]
fn logs_stay_while_a_checkpoint_made_in_a_replay_lacks_rows_that_they_hold() {
    let starts = [(1, 0, 1), (2, 3, 4), (3, 4, 5)];
    // Rows of the partly planned batch 4 are in `void`, which has a successor.
    let (counted, void) = ("plans/000001-000-000000000000.log", "plans/000001-000-000000000002.log");
    let later = "plans/000001-000-000000000004.log";
    let (second, third) = ("plans/000002-000-000000000003.log", "plans/000003-000-000000000004.log");
    let all = [counted, void, later, second, third];
    let mut kept = manifest(&starts, &[(4, &[])]);
    kept.checkpoints[0].leftover = true;
    check(&kept, &[void, later, second, third], &[counted]);
    trim_starts(&mut kept);
    assert_eq!(kept.starts.len(), 3, "their logs are known by them");
    let is_void =
        |batch| is_void_before(&kept.starts, &LogName::parse(void).unwrap(), BatchId(batch), &kept.checkpoints[0]);
    assert_eq!([3, 4, 5].map(is_void), [false, true, false], "5 is behind the checkpoint");
    // The next one, which lacks none, allows deleting all of that.
    check(&manifest(&starts, &[(5, &[])]), &[third], &all[..4]);
}

#[test]
fn records_and_blobs_go_when_no_start_names_them() {
    let manifest = manifest(&[(2, 0, 1), (3, 3, 4)], &[(2, &[])]);
    let (named, over) = ("blobs/000001-cd", "blobs/000002-cd");
    let kept = [named, "blobs/000004-ef", "jobs/000002-ab.json", "jobs/000003-ab.json", "jobs/000004-ab.json"];
    let deleted = [over, "blobs/000003-ef", "jobs/000001-ab.json", "jobs/000003-ef.json"];
    check(&manifest, &kept, &deleted);
    assert!(garbage(&manifest, &[over.to_owned()], None).is_empty());
}

#[test]
fn unknown_paths_are_left_alone() {
    let unknown = [
        "manifest.json",
        "lock",
        "readme.txt",
        "",
        "/",
        "state/",
        "state/1-2-3-t.arrow",
        "state/000001-000000000001-000-.arrow",
        "state/000001-000000000001-000-t.tmp",
        "state/+00001-000000000001-000-t.arrow",
        "state/a/000001-000000000001-000-t.arrow",
        "state/99999999999999999999-000000000001-000-t.arrow",
        "plans/000001-000-000000000001.log.tmp",
        "plans/000001-000-000000000001-1.log",
        "jobs/ab.json",
        "jobs/000001-.json",
        "blobs/ab",
        "blobs/000001-xyz",
        "other/000001-ab",
    ];
    check(&manifest(&[(7, 0, 1)], &[(9, &[])]), &unknown, &[]);
}

#[test]
fn starts_go_when_the_oldest_checkpoint_holds_all_of_theirs() {
    let starts = [(1, 0, 1), (2, 3, 4), (3, 3, 4), (4, 6, 9)];
    for (checkpoints, kept) in [
        (vec![], vec![1, 2, 3, 4]),
        (vec![2, 9], vec![1, 2, 3, 4]),
        (vec![3], vec![1, 2, 3, 4]),
        (vec![4], vec![3, 4]),
        (vec![6], vec![3, 4]),
        (vec![9], vec![4]),
    ] {
        let checkpoints: Vec<(u64, &[&str])> = checkpoints.into_iter().map(|batch| (batch, &[][..])).collect();
        let mut manifest = manifest(&starts, &checkpoints);
        trim_starts(&mut manifest);
        let generations: Vec<u64> = manifest.starts.iter().map(|start| start.generation.0).collect();
        assert_eq!(generations, kept, "{checkpoints:?}");
    }
}
