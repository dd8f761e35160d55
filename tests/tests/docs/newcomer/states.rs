//! A state that changes, as `docs/how-to/change-a-job-with-state.md` tells it.

use super::shared::{Place, tells};
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
fn a_state_migrates_and_comes_back_as_the_page_tells() {
    let place = Place::new("states", "registry");
    place.runs(&block(PAGE, "sh", "millstream new visits").text);
    version(&place, "0.1.0", "fn visits(rows: Rows, state: Option<Count>");
    place.write("shop/visits.toml", JOB);
    place.runs("cd shop && millstream add visits@0.1.0 --registry ../registry --job visits.toml");
    let mut job = place.starts("cd shop\nmillstream run visits.toml");
    job.until("visits are counted", |_| place.parts("shop/counts").len() > 5);

    version(&place, "0.2.0", "migrates_from");
    let before = place.parts("shop/counts").len();
    let upgrade = block(PAGE, "sh", "millstream upgrade visits.toml").text;
    // Nobody has seen yet that its state is another one.
    let told = place.ends(&upgrade.replace(" --accept", ""), 2);
    tells(&told, &["most", "--accept"]);
    let told = place.runs(&upgrade);
    tells(&told, &["0.2.0"]);
    job.until("it goes on", |_| place.parts("shop/counts").len() > before + 15);
    tells(&place.runs("cd shop && millstream state visits.toml"), &["most"]);
    counts_are_right(&place);

    let before = place.parts("shop/counts").len();
    place.runs("cd shop && millstream rollback visits.toml visits");
    job.until("it goes on with the old one", |_| place.parts("shop/counts").len() > before + 15);
    let state = place.runs("cd shop && millstream state visits.toml");
    assert!(!state.contains("most"), "{state}");
    place.runs("cd shop && millstream stop visits.toml");
    ended(job);
    counts_are_right(&place);
}

/// Builds and pushes a version of the plugin, whose code on the page has this text.
fn version(place: &Place, version: &str, text: &str) {
    place.write("visits/src/lib.rs", &block(PAGE, "rust", text).text);
    place.runs(&format!("sed -i 's/^version = .*/version = \"{version}\"/' visits/Cargo.toml"));
    place.runs("millstream build visits && millstream push visits --registry registry");
}

fn ended(job: Process) {
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// Each visit is counted once, and in its turn.
fn counts_are_right(place: &Place) {
    // Later parts of the other sink may be there already.
    let counts = place.parts("shop/counts");
    let made = place.parts("shop/made");
    let (mut visits, mut told) = (BTreeMap::<String, u64>::new(), BTreeMap::<String, u64>::new());
    let user = |row: &Value| row["user"].as_str().expect("a user").to_owned();
    for (counts, made) in counts.into_iter().zip(made) {
        made.iter().for_each(|row| *visits.entry(user(row)).or_default() += 1);
        told.extend(counts.iter().map(|row| (user(row), row["visits"].as_u64().expect("a count"))));
        assert_eq!(told, visits);
    }
    assert!(visits.len() == 7, "{visits:?}");
}

/// Every block of the three pages is run by one of these tests, or by one that is named here.
#[test]
fn no_block_is_left_out() {
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
