//! A startup that returns to the checkpoint before an upgrade, and how long that checkpoint is kept.

use super::*;
use crate::limits::ROLLBACK_BATCHES_MAX;

fn replaying(batch: u64) -> StartRequest {
    StartRequest { replay_from: Some(BatchId(batch)), job_digest: "before".into(), ..request() }
}

/// A job whose plugin was replaced after batch 4, with later checkpoints; all its batches are committed.
fn upgraded() -> StartFacts {
    let planned = [(5, 1), (6, 1), (7, 1), (8, 1), (9, 1)];
    let mut found = found(&[(1, 0, 1), (1, 4, 5)], &[4, 6, 8], &planned, &[9]);
    found.manifest.as_mut().unwrap().starts[1].upgrade = true;
    found
}

#[test]
fn all_that_is_planned_behind_the_checkpoint_runs_again_as_the_job_is_now() {
    let (found, request) = (upgraded(), replaying(4));
    let resume = resolve(&found, &request).unwrap();
    assert_eq!(short(&resume), (4, vec![5, 6, 7, 8, 9], 9, 10, None));
    assert_eq!(resume.as_before, None, "the other job runs what sinks have committed, too");
    let claimed = claim(found.manifest.as_ref(), &resume, &request, "job", "id");
    let kept: Vec<u64> = claimed.checkpoints.iter().map(|checkpoint| checkpoint.batch.0).collect();
    assert_eq!(kept, [4], "a restart goes on alike without being told");
    let again = StartFacts { manifest: Some(claimed), ..found };
    let again = resolve(&again, &StartRequest { replay_from: None, ..request }).unwrap();
    assert_eq!((short(&again), again.as_before), ((4, vec![5, 6, 7, 8, 9], 9, 10, None), None));
}

#[test]
fn it_is_refused_where_batches_between_could_not_run_again() {
    let resolve_error = |found: &StartFacts, batch| resolve(found, &replaying(batch)).unwrap_err();
    assert!(
        resolve_error(&upgraded(), 5).ends_with("Batches with such a checkpoint: 4, 6, 8."),
        "{}",
        resolve_error(&upgraded(), 5)
    );
    let mut gap = upgraded();
    gap.planned.remove(&BatchId(6));
    assert!(resolve_error(&gap, 4).ends_with("Batches with such a checkpoint: 6, 8."), "{}", resolve_error(&gap, 4));
    let mut damaged = upgraded();
    damaged.damaged.insert(path(4), "checksum differs".into());
    assert!(resolve_error(&damaged, 4).contains("`--replay-from 4`"));
    assert!(resolve_error(&StartFacts::default(), 4).contains("this job has no checkpoint"));
}

/// Each worker skips what it has committed of a batch: with another number of workers these would be other rows.
#[test]
fn it_is_refused_with_other_workers_where_each_holds_a_share_of_its_own() {
    let three = StartRequest { workers: 3, ..replaying(4) };
    let shared = |of: &StartRequest| StartRequest { by_worker: ["x".to_owned()].into(), ..of.clone() };
    assert!(resolve(&upgraded(), &three).is_ok());
    assert!(resolve(&upgraded(), &shared(&replaying(4))).is_ok());
    let message = resolve(&upgraded(), &shared(&three)).unwrap_err();
    assert!(
        message.contains("the sink `x` have written their own shares of batches up to 9")
            && message.contains("with 2 workers"),
        "{message}"
    );
    let unheld = StartFacts { committed: [("x".into(), BatchId(4))].into(), ..upgraded() };
    assert!(resolve(&unheld, &shared(&three)).is_ok());
}

#[test]
fn a_state_that_the_job_of_now_does_not_keep_is_refused() {
    let other =
        StartRequest { tables: vec![stage("totals", "text"), tables().remove(1), tables().remove(2)], ..replaying(4) };
    assert!(resolve(&upgraded(), &other).unwrap_err().contains("its state no longer fits"));
}

#[test]
fn the_checkpoint_before_an_upgrade_is_kept_for_so_many_batches() {
    let mut manifest = upgraded().manifest.unwrap();
    let publish = |manifest: &Manifest, batch| publish_keeping(manifest, checkpoint(batch), 3);
    let kept = |manifest: &Manifest| manifest.checkpoints.iter().map(|kept| kept.batch.0).collect::<Vec<_>>();
    manifest = publish(&manifest, 10);
    assert_eq!((kept(&manifest), manifest.starts.len()), (vec![4, 6, 8, 10], 2));
    manifest = publish(&manifest, 12);
    assert_eq!((kept(&manifest), pinned(&manifest)), (vec![4, 8, 10, 12], Some(BatchId(4))));
    let last = 4 + ROLLBACK_BATCHES_MAX;
    manifest = publish(&manifest, last);
    assert_eq!(kept(&manifest), [4, 10, 12, last]);
    manifest = publish(&manifest, last + 1);
    assert_eq!((kept(&manifest), pinned(&manifest)), (vec![12, last, last + 1], None));
}
