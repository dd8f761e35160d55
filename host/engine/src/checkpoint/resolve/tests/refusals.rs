//! What startup rejects, and with which message.

use super::*;

/// Checks the error, which must contain all of `fragments`.
fn assert_rejected(found: &StartFacts, request: &StartRequest, fragments: &[&str]) {
    let message = resolve(found, request).unwrap_err();
    for word in fragments {
        assert!(message.contains(word), "`{word}` is not in:\n{message}");
    }
}

#[test]
fn damage_names_the_object_and_the_last_batch_that_can_be_reached() {
    let plans = [(3, 1), (4, 1), (5, 1), (6, 1)];
    let damaged = |batch, found| StartFacts { damaged: [(path(batch), "checksum differs".into())].into(), ..found };
    let newest = damaged(4, found(&[(1, 0, 1)], &[2, 4], &plans, &[6]));
    assert_rejected(
        &newest,
        &request(),
        &[
            &path(4),
            "checksum differs",
            "after batch 4",
            "the checkpoint after batch 2 and the plans of batches 3 to 6",
        ],
    );
    assert_rejected(&newest, &request(), &["`--resume-from 6`", "nothing is repeated"]);
    // The plans between the checkpoints are missing: sinks repeat everything later.
    let gap = damaged(4, found(&[(1, 0, 1)], &[2, 4], &plans[1..], &[6, 5]));
    assert_rejected(&gap, &request(), &["`--resume-from 2`", "`x` (up to batch 6), sink `y` (up to batch 5)"]);
    // No older one exists; or the very beginning is missing.
    assert_rejected(&damaged(4, found(&[(1, 0, 1)], &[4], &plans, &[6])), &request(), &["`--fresh`"]);
    let beginning = [&[(1, 1), (2, 1)], &plans[..]].concat();
    assert_rejected(
        &damaged(4, found(&[(1, 0, 1)], &[4], &beginning, &[])),
        &request(),
        &["from the beginning", "`--resume-from 6`"],
    );

    let log = "plans/000001-000-000000000002.log";
    let cut = StartFacts {
        damaged: [(log.into(), "a flipped bit".into())].into(),
        ..found(&[(1, 0, 1)], &[2], &plans, &[6])
    };
    assert_rejected(&cut, &request(), &[log, "a flipped bit", "`--resume-from 6`"]);
}

#[test]
fn plans_that_are_gone_are_noticed() {
    let found_with =
        |batches: &[(u64, u64)], committed: &[u64]| found(&[(1, 0, 1), (2, 5, 6)], &[4], batches, committed);
    let ahead = found_with(&[(5, 1), (6, 2)], &[9, 6]);
    assert_rejected(&ahead, &request(), &["sink `x` has committed batch 9", "end with batch 6", "`--resume-from 6`"]);
    assert!(!resolve(&ahead, &request()).unwrap_err().contains("`y`"));
    assert_eq!(short(&resolve(&ahead, &from(6)).unwrap()), (4, vec![5, 6], 6, 10, Some((7, 9))));
    // The last startup relied on batch 5.
    assert_rejected(
        &found_with(&[(6, 2)], &[]),
        &request(),
        &["batches up to 5", "after batch 4", "`--resume-from 4`"],
    );
    assert_rejected(&found(&[], &[], &[], &[3]), &request(), &["sink `x` has committed batch 3"]);
}

#[test]
fn batches_that_cannot_be_reached_are_told_with_those_that_can() {
    let found = found(&[(1, 0, 1), (2, 5, 8)], &[2, 4], &[(5, 1), (8, 2)], &[]);
    for batch in [0, 1, 3, 6, 7, 9] {
        assert_rejected(&found, &from(batch), &[&format!("`--resume-from {batch}`"), "2, 4 to 8"]);
    }
    assert_rejected(&StartFacts::default(), &from(1), &["no checkpoint"]);
    assert_rejected(&found, &StartRequest { fresh: true, ..from(4) }, &["`--fresh`", "without"]);
}

#[test]
fn a_lost_manifest_is_no_fresh_start() {
    for path in ["plans/000001-000-000000000000.log".to_owned(), path(3)] {
        let found = StartFacts { objects: vec!["blobs/000001-a".into(), path.clone()], ..StartFacts::default() };
        assert_rejected(&found, &request(), &["`manifest.json`", &path]);
        assert_rejected(&found, &StartRequest { fresh: true, ..request() }, &["`manifest.json`", &path]);
    }
}

#[test]
fn state_that_does_not_fit_is_refused_unless_it_is_dropped() {
    let found = found(&[(1, 0, 1)], &[4], &[], &[]);
    let with = |tables: &[Table]| StartRequest { tables: tables.to_vec(), ..request() };
    let dropping = |tables: &[Table], name: &str| StartRequest { drop: vec![name.into()], ..with(tables) };
    let before = tables();
    let (left, right) = (before[1].clone(), before[2].clone());

    let missing = [left.clone(), right.clone()];
    assert_rejected(
        &found,
        &with(&missing),
        &["stage `totals`", "no stage", "key (word text), state (n int64)", "`--drop-state totals`"],
    );
    let mut nullable = stage("totals", "int64");
    nullable.state[0].nullable = true;
    let mut other_key = stage("totals", "int64");
    other_key.key.push(column("place", "text"));
    let changes = [
        (stage("totals", "float64"), "state (n float64)"),
        (nullable, "state (n int64 or null)"),
        (other_key, "key (word text, place text)"),
        (source("totals", "file c"), "no stage"),
    ];
    for (changed, fragments) in changes {
        let tables = [changed, left.clone(), right.clone()];
        assert_rejected(
            &found,
            &with(&tables),
            &["stage `totals`", "state (n int64)", fragments, "`--drop-state totals`"],
        );
        assert_eq!(resolve(&found, &dropping(&tables, "totals")).unwrap().dropped, ["totals"]);
    }
    // A stage with two tables: the one that does not fit is named, and both can be dropped by the name of the stage.
    let mut second_table = stage("totals.rows", "int64");
    let two = found_with(&found, second_table.clone());
    second_table.identity = "other windows".into();
    let tables = [before[0].clone(), left.clone(), right.clone(), second_table];
    assert_rejected(
        &two,
        &with(&tables),
        &["stage `totals`, table `totals.rows`", "other windows", "`--drop-state totals`"],
    );
    assert!(resolve(&two, &dropping(&tables, "totals")).is_ok());
    assert!(resolve(&two, &dropping(&tables, "totals.rows")).is_ok());

    let moved = [before[0].clone(), source("left", "file c"), right.clone()];
    assert_rejected(&found, &with(&moved), &["source `left` was file a and is now file c", "`--drop-state left`"]);
    assert_rejected(
        &found,
        &with(&[before[0].clone(), left.clone()]),
        &["source `right` (file b)", "`--drop-state right`"],
    );
    assert!(resolve(&found, &dropping(&moved, "left")).is_ok());

    // Everything that does not fit is reported together; order and new tables do not matter.
    assert_rejected(&found, &with(&[]), &["`totals`", "`left`", "`right`"]);
    assert!(resolve(&found, &with(&[stage("new", "text"), right, left, before[0].clone()])).is_ok());
    assert_rejected(&found, &dropping(&before, "total"), &["`--drop-state total`", "`totals`, `left`, `right`"]);
    assert_rejected(&StartFacts::default(), &dropping(&before, "totals"), &["`--drop-state totals`", "no checkpoint"]);
}

#[test]
fn a_source_goes_on_with_another_plugin_and_with_nothing_else() {
    let found = found_with(&found(&[(1, 0, 1)], &[4], &[], &[]), source("feed", "plugin now.wasm"));
    let with_feed =
        |identity: &str| StartRequest { tables: [tables(), vec![source("feed", identity)]].concat(), ..request() };
    for identity in ["plugin now.wasm", "plugin next.wasm", "plugin feed"] {
        assert!(resolve(&found, &with_feed(identity)).is_ok(), "{identity}");
    }
    assert_rejected(&found, &with_feed("socket a:1"), &["source `feed` was plugin now.wasm and is now socket a:1"]);
}

/// Returns the same with one more table in all checkpoints.
fn found_with(found: &StartFacts, table: Table) -> StartFacts {
    let mut found = found.clone();
    for checkpoint in found.manifest.iter_mut().flat_map(|manifest| &mut manifest.checkpoints) {
        checkpoint.tables.push(table.clone());
    }
    found
}

#[test]
fn state_that_means_something_else_is_refused() {
    use crate::checkpoint::meaning::{Label, Meaning, Meanings, TableMeaning};
    use crate::checkpoint::resolve::PreviousMeanings;
    let meaning = |text: &str| {
        let label =
            Label { key: "`filter`".into(), normal: text.into(), shown: text.into(), owner: "stage `some`".into() };
        Meaning::new(label, Vec::new())
    };
    let table = |state: &str, sink: &str| {
        let sinks = [("out".to_owned(), meaning(sink))].into();
        Meanings::from([("totals".to_owned(), TableMeaning { state: Some(meaning(state)), sinks })])
    };
    let kept = |state: &str, sink: &str| {
        let mut found = found(&[(1, 0, 1)], &[4], &[], &[]);
        for checkpoint in found.manifest.iter_mut().flat_map(|manifest| &mut manifest.checkpoints) {
            checkpoint.tables[0].meaning = table(state, sink)["totals"].digests();
        }
        found
    };
    let wants = |state: &str, sink: &str| StartRequest { meanings: table(state, sink), ..request() };
    let knowing = |found: StartFacts, state: &str, has_variables: bool| StartFacts {
        before: Some(PreviousMeanings { tables: table(state, "y"), has_variables, without_sources: false }),
        ..found
    };
    let (n0, n5) = ("n > 0", "n > 5");
    assert!(resolve(&kept(n0, "y"), &wants(n0, "y")).is_ok());
    let choices = ["stage `totals`", "after batch 4", "`--drop-state totals`", "`--fresh`"];
    let fragments = "`filter` of stage `some` was `n > 0` and is now `n > 5`";
    assert_rejected(&knowing(kept(n0, "y"), n0, false), &wants(n5, "y"), &[&choices[..], &[fragments]].concat());
    assert_rejected(&kept(n0, "y"), &wants(n5, "y"), &choices);
    assert_rejected(&kept(n0, "y"), &wants(n0, "z"), &["sink `out`", "stage `totals`", "`--drop-state totals`"]);
    let dropped = StartRequest { drop: vec!["totals".into()], ..wants(n5, "z") };
    assert!(resolve(&kept(n0, "y"), &dropped).is_ok());

    // An earlier version kept no digests: the previous job is compared, if it is available.
    let old = found(&[(1, 0, 1)], &[4], &[], &[]);
    assert!(resolve(&old, &wants(n5, "y")).is_ok());
    assert!(resolve(&knowing(old.clone(), n5, false), &wants(n5, "y")).is_ok());
    assert_rejected(&knowing(old, n0, false), &wants(n5, "y"), &[fragments]);
    // The strings are the same; the values of their variables may differ.
    assert!(resolve(&knowing(kept(n0, "y"), n5, false), &wants(n5, "y")).is_ok());
    assert_rejected(&knowing(kept(n0, "y"), n5, true), &wants(n5, "y"), &["variable", "`--drop-state totals`"]);
}

/// `sums` follows the changes of `totals`.
#[test]
fn what_follows_changes_goes_on_with_what_makes_them() {
    use crate::checkpoint::meaning::{FollowedStages, Followers, Label, Meaning, Meanings, TableMeaning};
    use crate::checkpoint::resolve::PreviousMeanings;
    let makers = |name: &str| BTreeSet::from([name.to_owned()]);
    let followers = Followers {
        stages: [("sums".to_owned(), makers("totals"))].into(),
        makers: makers("totals"),
        ..Followers::default()
    };
    let wants = |drop: &[&str]| StartRequest {
        tables: [tables(), vec![stage("sums", "int64")]].concat(),
        followers: followers.clone(),
        drop: drop.iter().map(|name| (*name).to_owned()).collect(),
        ..request()
    };
    let without = found(&[(1, 0, 1)], &[4], &[], &[]);
    let mut sums = stage("sums", "int64");
    sums.files = checkpoint(4).tables[0].files.clone();
    let both = found_with(&without, sums);
    assert!(resolve(&both, &wants(&[])).is_ok());
    assert!(resolve(&both, &wants(&["sums", "totals"])).is_ok());
    let all = "`--drop-state sums --drop-state totals`";
    assert_rejected(
        &both,
        &wants(&["sums"]),
        &["stage `sums` starts with empty state", "changes of stage `totals`", all],
    );
    assert_rejected(
        &both,
        &wants(&["totals"]),
        &["stage `totals` starts with empty state", "stage `sums`, which follows", all],
    );
    assert_rejected(&without, &wants(&[]), &["stage `sums` starts", "Remove it", "`--drop-state totals`", "`--fresh`"]);
    // State that no longer fits is not dropped alone.
    let other = StartRequest { tables: [tables(), vec![stage("sums", "text")]].concat(), ..wants(&[]) };
    assert_rejected(&both, &other, &["stage `sums`: its state no longer fits", all]);

    // A sink, before and now.
    let meanings = |sink: &str| {
        let rows = || Meaning::new(Label { key: "rows".into(), ..Label::default() }, Vec::new());
        let sinks = Some((sink.to_owned(), rows())).filter(|(name, _)| !name.is_empty()).into_iter().collect();
        Meanings::from([("totals".to_owned(), TableMeaning { state: Some(rows()), sinks })])
    };
    let with_committed = |sink: &str| {
        let mut found = without.clone();
        for checkpoint in found.manifest.iter_mut().flat_map(|manifest| &mut manifest.checkpoints) {
            checkpoint.tables[0].meaning = meanings(sink)["totals"].digests();
        }
        let before = PreviousMeanings { tables: meanings(sink), has_variables: false, without_sources: false };
        StartFacts { before: Some(before), ..found }
    };
    let with = |sink: &str, made: &[&str], drop: &[&str]| {
        let made = made.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let follows = if made.is_empty() { meanings("") } else { meanings(sink) };
        let sinks = [(sink.to_owned(), FollowedStages { makers: made, is_table: true })].into();
        let drop = drop.iter().map(|name| (*name).to_owned()).collect();
        let followers = Followers { makers: makers("totals"), sinks, ..Followers::default() };
        StartRequest { meanings: follows, followers, drop, ..request() }
    };
    assert!(resolve(&with_committed("out"), &with("out", &["totals"], &[])).is_ok());
    assert!(resolve(&with_committed("out"), &with("copy", &["totals"], &[])).is_ok(), "another name");
    assert_rejected(
        &with_committed("out"),
        &with("out", &[], &[]),
        &["sink `out`", "no longer leads there", "`--drop-state totals`"],
    );
    assert!(resolve(&with_committed("out"), &with("out", &[], &["totals"])).is_ok());
    assert_rejected(
        &with_committed(""),
        &with("out", &["totals"], &[]),
        &["sink `out`: it is new", "`--drop-state totals`"],
    );
    assert!(resolve(&with_committed(""), &with("out", &["totals"], &["totals"])).is_ok());
    assert!(resolve(&with_committed(""), &with("out", &[], &[])).is_ok());
}
