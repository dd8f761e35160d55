//! The commands of the two pages, in their order.

use super::shared::{Workspace, assert_contains};
use millstream_tests::{Process, block, blocks};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;

const PACKAGES: &str = "docs/how-to/share-plugins.md";
const UPGRADE: &str = "docs/how-to/upgrade-a-plugin.md";

/// Follows the complete pages with this registry.
pub fn go(name: &str, registry: &str) {
    let workspace = Workspace::new(name, registry);
    push(&workspace);
    add(&workspace);
    let mut job = run(&workspace);
    look_after(&workspace);
    sign(&workspace);
    upgrade(&workspace, &mut job);
    go_back(&workspace, &mut job);
    stop(&workspace, job);
}

fn packages(text: &str) -> String {
    block(PACKAGES, "sh", text).text
}

fn upgrades(text: &str) -> String {
    block(UPGRADE, "sh", text).text
}

fn push(workspace: &Workspace) {
    let output = workspace.run_ok(&packages("millstream new bills"));
    assert_contains(&output, &["1 case, 0 failed", "bills 0.1.0", "sha256:"]);
    let output = workspace.run_ok(&packages("millstream search"));
    assert_contains(&output, &["bills", "0.1.0", "transform", "total", "bills-0.1.0.wasm"]);
    let pulled = fs::read(workspace.dir.join("bills-0.1.0.wasm")).unwrap();
    assert_eq!(pulled, fs::read(workspace.dir.join("bills/bills.wasm")).unwrap(), "a package is the component");
}

fn add(workspace: &Workspace) {
    workspace.write("shop/job.toml", &block(PACKAGES, "toml", "[stages.bills]").text);
    // A user of a plugin has only the registry.
    workspace.run_ok("mv bills elsewhere; rm bills-0.1.0.wasm");
    let output = workspace.run_failing("cd shop && millstream validate job.toml", 2);
    assert_contains(&output, &["bills@0.1.0", "millstream add bills@0.1.0 --registry"]);
    let before = workspace.text("shop/job.toml");
    let output = workspace.run_ok(&packages("millstream add"));
    assert_contains(&output, &["bills", "job.toml: valid"]);
    assert_eq!(workspace.text("shop/job.toml"), before);

    let shown = keys(&block(PACKAGES, "toml", "[[package]]").text);
    assert_eq!(keys(&workspace.text("shop/millstream.lock")), shown, "the page shows what a lock file has");
    workspace.run_ok("mv elsewhere bills");
}

/// The keys of the first package of a lock file.
fn keys(lock: &str) -> Vec<String> {
    let lock: toml::Table = toml::from_str(lock).unwrap_or_else(|e| panic!("{e}\n{lock}"));
    lock["package"].as_array().unwrap()[0].as_table().unwrap().keys().cloned().collect()
}

fn run(workspace: &Workspace) -> Process {
    let mut job = workspace.start(&packages("millstream run"));
    job.wait_until("rows come out", |_| rows(workspace).len() > 100);
    job
}

fn look_after(workspace: &Workspace) {
    let output = workspace.run_ok(&packages("millstream verify"));
    assert_contains(&output, &["bills@0.1.0: good", "removed 0 files"]);
    // A default registry.
    let config = "registry = \"oci://registry.example.com/plugins\"\n";
    let shown = blocks(PACKAGES).into_iter().find(|block| block.text == config).expect("the page shows a config.toml");
    workspace.write("config/config.toml", &workspace.settings(&shown.text));
    assert_contains(&workspace.run_ok("millstream search"), &["bills"]);
    workspace.run_ok("rm config/config.toml");
}

fn sign(workspace: &Workspace) {
    workspace.write("config/policy.toml", &workspace.settings(&block(PACKAGES, "toml", "require").text));
    // A running job continues; new starts fail.
    let output = workspace.run_failing("cd shop && millstream validate job.toml", 2);
    assert_contains(&output, &["bills@0.1.0", "alice"]);
    workspace.run_ok(&packages("millstream key new"));
    let output = workspace.run_ok(&packages("millstream key list"));
    assert_contains(&output, &["alice"]);
    // The signature is in the registry now; `add` stores it.
    workspace.run_ok(&packages("millstream add"));
    workspace.run_ok("cd shop && millstream validate job.toml && millstream verify job.toml");

    // An operator's policy: other registries, then this one.
    let operators = block(PACKAGES, "toml", "allow").text;
    workspace.write("operator.toml", &operators);
    let output =
        workspace.run_failing("export MILLSTREAM_POLICY=$PWD/operator.toml; cd shop; millstream validate job.toml", 2);
    assert_contains(&output, &["may not be used", "allows oci://registry.example.com/plugins"]);
    workspace.write("operator.toml", &workspace.settings(&operators));
    workspace.run_ok("export MILLSTREAM_POLICY=$PWD/operator.toml; cd shop; millstream validate job.toml");
}

fn upgrade(workspace: &Workspace, job: &mut Process) {
    workspace.run_ok(&upgrades("sed -i"));
    let output = workspace.run_failing(&upgrades("--promote same"), 1);
    assert_contains(&output, &["differ", "5 batches"]);
    assert_eq!(versions(workspace), BTreeSet::from([Version::Old]), "the old one goes on");
    let output = workspace.run_ok(&upgrades("--promote no-more-rejected"));
    assert_contains(&output, &["0.2.0", "bills"]);
    job.wait_until("the new version's rows come out", |_| versions(workspace).contains(&Version::New));
    assert_contains(&workspace.text("shop/job.toml"), &["plugin = \"bills@0.2.0\"\n"]);
    assert_contains(&workspace.text("shop/millstream.lock"), &["0.2.0", "[[before]]"]);
}

fn go_back(workspace: &Workspace, job: &mut Process) {
    let output = workspace.run_ok(&upgrades("millstream rollback"));
    assert_contains(&output, &["0.1.0"]);
    assert_contains(&workspace.text("shop/job.toml"), &["plugin = \"bills@0.1.0\"\n"]);
    let until_now = rows(workspace).len();
    job.wait_until("it goes on", |_| rows(workspace).len() > until_now + 200);
    assert_eq!(part_versions(workspace).last().unwrap(), &Some(Version::Old));
}

fn stop(workspace: &Workspace, job: Process) {
    workspace.run_ok(&upgrades("millstream stop"));
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    // Every number is there once, in order, and no part is of two versions.
    let found: Vec<BTreeSet<Version>> = rows(workspace).iter().zip(0..).map(|(row, n)| made_by(row, n)).collect();
    assert!(found.iter().all(|made| !made.is_empty()));
    let parts = part_versions(workspace);
    assert!(parts.contains(&Some(Version::New)), "{parts:?}");
    workspace.start("cd shop\nmillstream run job.toml --until-idle --timeout 2s").wait();
}

/// The version that made a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    Old,
    New,
}

fn rows(workspace: &Workspace) -> Vec<Value> {
    workspace.parts("shop/out").concat()
}

/// The versions that may have made a row with this number: none if it is wrong.
fn made_by(row: &Value, n: usize) -> BTreeSet<Version> {
    assert_eq!(row["name"], format!("customer {}", n % 10), "row {n}: {row}");
    let bill = (n % 100) as f64 * 1.25;
    let total = row["total"].as_f64().unwrap();
    let of = |version, expected| (total == expected).then_some(version);
    let made: BTreeSet<Version> =
        [of(Version::Old, bill), of(Version::New, bill.ceil())].into_iter().flatten().collect();
    assert!(!made.is_empty(), "row {n}: {row}");
    made
}

/// The version of each part; `None` if its rows do not show it.
fn part_versions(workspace: &Workspace) -> Vec<Option<Version>> {
    let mut n = 0;
    let part = |rows: Vec<Value>| {
        let both = BTreeSet::from([Version::Old, Version::New]);
        let made = rows.iter().fold(both, |made, row| {
            n += 1;
            made.intersection(&made_by(row, n - 1)).copied().collect()
        });
        assert!(!made.is_empty(), "a batch of two versions: {rows:?}");
        if made.len() == 1 { made.first().copied() } else { None }
    };
    workspace.parts("shop/out").into_iter().map(part).collect()
}

fn versions(workspace: &Workspace) -> BTreeSet<Version> {
    part_versions(workspace).into_iter().flatten().collect()
}
