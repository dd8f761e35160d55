//! State that changes, as in `docs/how-to/change-a-job-with-state.md`.

use super::shared::{Workspace, assert_contains};
use millstream_tests::{Process, block, blocks};
use serde_json::Value;
use std::collections::BTreeMap;

const PAGE: &str = "docs/how-to/change-a-job-with-state.md";

const JOB: &str = r#"
name = "visits"
batch = "100ms"
[checkpoint]
dir = "visits"
every = "500ms"
[sources.numbers]
kind = "rate"
rows_per_second = 500
[stages.users]
from = "numbers"
select = "concat('user ', value % 7) as user"
[stages.visits]
from = "users"
key = "user"
plugin = "visits@0.1.0"
[sinks.out]
from = "visits"
kind = "files"
path = "counts"
[sinks.made]
from = "users"
kind = "files"
path = "made"
"#;

#[test]
fn a_state_migrates_and_is_restored_as_on_the_page() {
    let workspace = Workspace::new("states", "registry");
    workspace.run_ok(&block(PAGE, "sh", "millstream new visits").text);
    version(&workspace, "0.1.0", "fn visits(rows: Rows, state: Option<Count>");
    workspace.write("shop/visits.toml", JOB);
    workspace.run_ok("cd shop && millstream add visits@0.1.0 --registry ../registry --job visits.toml");
    let mut job = workspace.start("cd shop\nmillstream run visits.toml");
    job.wait_until("visits are counted", |_| workspace.parts("shop/counts").len() > 5);

    version(&workspace, "0.2.0", "migrates_from");
    let before = workspace.parts("shop/counts").len();
    let upgrade = block(PAGE, "sh", "millstream upgrade visits.toml").text;
    // It is not known yet that its state is different.
    let output = workspace.run_failing(&upgrade.replace(" --accept", ""), 2);
    assert_contains(&output, &["most", "--accept"]);
    let output = workspace.run_ok(&upgrade);
    assert_contains(&output, &["0.2.0"]);
    job.wait_until("it goes on", |_| workspace.parts("shop/counts").len() > before + 15);
    assert_contains(&workspace.run_ok("cd shop && millstream state visits.toml"), &["most"]);
    counts_are_right(&workspace);

    let before = workspace.parts("shop/counts").len();
    workspace.run_ok("cd shop && millstream rollback visits.toml visits");
    job.wait_until("it goes on with the old one", |_| workspace.parts("shop/counts").len() > before + 15);
    let state = workspace.run_ok("cd shop && millstream state visits.toml");
    assert!(!state.contains("most"), "{state}");
    workspace.run_ok("cd shop && millstream stop visits.toml");
    ended(job);
    counts_are_right(&workspace);
}

/// Builds and pushes a version of the plugin, whose code on the page has this text.
fn version(workspace: &Workspace, version: &str, text: &str) {
    workspace.write("visits/src/lib.rs", &block(PAGE, "rust", text).text);
    workspace.run_ok(&format!("sed -i 's/^version = .*/version = \"{version}\"/' visits/Cargo.toml"));
    workspace.run_ok("millstream build visits && millstream push visits --registry registry");
}

fn ended(job: Process) {
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// Each visit is counted once, and in its turn.
fn counts_are_right(workspace: &Workspace) {
    // Later parts of the other sink may be there already.
    let counts = workspace.parts("shop/counts");
    let made = workspace.parts("shop/made");
    let (mut visits, mut output) = (BTreeMap::<String, u64>::new(), BTreeMap::<String, u64>::new());
    let user = |row: &Value| row["user"].as_str().expect("a user").to_owned();
    for (counts, made) in counts.into_iter().zip(made) {
        made.iter().for_each(|row| *visits.entry(user(row)).or_default() += 1);
        output.extend(counts.iter().map(|row| (user(row), row["visits"].as_u64().expect("a count"))));
        assert_eq!(output, visits);
    }
    assert!(visits.len() == 7, "{visits:?}");
}

/// Every block of the three pages is run by one of these tests, or by one named here.
#[test]
fn every_block_of_the_pages_is_tested() {
    let known = [
        // By a test of `--watch`.
        ("sh", "millstream run job.toml --watch\n"),
        ("sh", "millstream new visits"),
        ("rust", "fn visits(rows: Rows, state: Option<Count>"),
        ("rust", "migrates_from"),
        ("sh", "millstream upgrade visits.toml"),
        ("sh", "sed -i"),
        ("sh", "--promote same"),
        ("sh", "--promote no-more-rejected"),
        ("sh", "millstream rollback"),
        ("sh", "millstream stop"),
        ("sh", "millstream new bills"),
        ("sh", "millstream search"),
        ("toml", "[stages.bills]"),
        ("sh", "millstream add"),
        ("sh", "millstream run job.toml\n"),
        ("toml", "[[package]]"),
        ("sh", "millstream verify"),
        ("toml", "registry = \"oci"),
        ("sh", "millstream key new"),
        ("sh", "millstream key list"),
        ("toml", "require"),
        ("toml", "allow"),
        // By `tutorial.rs`.
        ("sh", "shared.wasm"),
        ("toml", "[grants]"),
        // By `readme.rs`.
        ("sh", "--drop-state"),
    ];
    for block in ["docs/how-to/share-plugins.md", "docs/how-to/upgrade-a-plugin.md", PAGE].into_iter().flat_map(blocks)
    {
        let is_known = known.iter().any(|(language, text)| block.language == *language && block.text.contains(text));
        assert!(is_known, "{}: nothing runs this", block.place);
    }
}
