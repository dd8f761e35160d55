//! A plugin that is replaced in a running job: a startup of the same generation, published with the checkpoint before it.

use super::*;

/// A job of generation 1 whose plugin is replaced after batch 4.
fn upgraded() -> Manifest {
    publish_upgrade(&manifest(&[(1, 0, 1)], &[2]), checkpoint(4), "new".into())
}

#[test]
fn the_batches_behind_it_are_those_of_the_new_record() {
    let manifest = upgraded();
    let digest = |batch: u64| owner(&manifest.starts, BatchId(batch)).unwrap().job_digest.clone();
    assert_eq!([1, 4, 5, 9].map(digest), ["a", "a", "new", "new"]);
    let last = manifest.starts.last().unwrap();
    assert_eq!((last.generation, last.first, last.checkpoint), (Generation(1), BatchId(5), BatchId(4)));
    assert!(last.upgrade && manifest.newest().unwrap().batch == BatchId(4));
    assert_ne!(manifest.starts[0].record_path(), last.record_path());
}

#[test]
fn a_job_that_dies_behind_it_runs_what_is_committed_again_with_the_new_plugin() {
    let planned: Vec<(u64, u64)> = (3..=8).map(|batch| (batch, 1)).collect();
    let found = StartFacts { manifest: Some(upgraded()), ..found(&[(1, 0, 1)], &[2], &planned, &[7]) };
    // The job file was changed before the swap, so its record is a third one.
    let resume = resolve(&found, &StartRequest { job_digest: "file".into(), ..request() }).unwrap();
    assert_eq!((short(&resume), resume.as_before), ((4, vec![5, 6, 7, 8], 8, 9, None), Some(BatchId(7))));
    let claimed = claim(found.manifest.as_ref(), &resume, &request(), "job", "id");
    let last = claimed.starts.last().unwrap();
    assert_eq!((last.job_digest.as_str(), last.upgrade), ("new", false));
}

#[test]
fn a_job_that_dies_before_the_checkpoint_counts_knows_nothing_of_it() {
    let planned: Vec<(u64, u64)> = (3..=4).map(|batch| (batch, 1)).collect();
    let found = found(&[(1, 0, 1)], &[2], &planned, &[4]);
    let resume = resolve(&found, &StartRequest { job_digest: "file".into(), ..request() }).unwrap();
    assert_eq!((short(&resume), resume.as_before), ((2, vec![3, 4], 4, 5, None), Some(BatchId(4))));
    let claimed = claim(found.manifest.as_ref(), &resume, &request(), "job", "id");
    assert_eq!(claimed.starts.last().unwrap().job_digest, "a");
}

#[test]
fn starts_of_one_generation_leave_one_by_one() {
    let mut manifest = upgraded();
    for (batch, starts) in [(6, 2), (8, 2)] {
        manifest = publish_keeping(&manifest, checkpoint(batch), 3);
        assert_eq!(manifest.starts.len(), starts, "checkpoint {batch}");
    }
    manifest = publish_upgrade(&manifest, checkpoint(10), "newer".into());
    assert_eq!(manifest.starts.len(), 3);
    // The checkpoint before the last upgrade is kept, see `pinned`; the one before an older upgrade is not.
    for batch in [12, 14, 16] {
        manifest = publish_keeping(&manifest, checkpoint(batch), 3);
    }
    let digests: Vec<&str> = manifest.starts.iter().map(|start| start.job_digest.as_str()).collect();
    assert_eq!(digests, ["new", "newer"]);
}
