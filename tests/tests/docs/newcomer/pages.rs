//! What the two pages tell, in their order.

use super::shared::{Place, tells};
use millstream_tests::{Process, block, blocks};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;

const PACKAGES: &str = "docs/how-to/share-plugins.md";
const UPGRADE: &str = "docs/how-to/upgrade-a-plugin.md";

/// Goes the whole way with this registry.
pub fn go(name: &str, registry: &str) {
    let place = Place::new(name, registry);
    push(&place);
    add(&place);
    let mut job = run(&place);
    look_after(&place);
    sign(&place);
    upgrade(&place, &mut job);
    go_back(&place, &mut job);
    stop(&place, job);
}

fn packages(text: &str) -> String {
    block(PACKAGES, "sh", text).text
}

fn upgrades(text: &str) -> String {
    block(UPGRADE, "sh", text).text
}

fn push(place: &Place) {
    let told = place.runs(&packages("millstream new bills"));
    tells(&told, &["1 case, 0 failed", "bills 0.1.0", "sha256:"]);
    let told = place.runs(&packages("millstream search"));
    tells(&told, &["bills", "0.1.0", "transform", "total", "bills-0.1.0.wasm"]);
    let pulled = fs::read(place.dir.join("bills-0.1.0.wasm")).unwrap();
    assert_eq!(pulled, fs::read(place.dir.join("bills/bills.wasm")).unwrap(), "a package is the component");
}

fn add(place: &Place) {
    place.write("shop/job.toml", &block(PACKAGES, "toml", "[stages.bills]").text);
    // Whoever uses a plugin has nothing but the registry.
    place.runs("mv bills elsewhere; rm bills-0.1.0.wasm");
    let told = place.ends("cd shop && millstream validate job.toml", 2);
    tells(&told, &["bills@0.1.0", "millstream add bills@0.1.0 --registry"]);
    let before = place.text("shop/job.toml");
    let told = place.runs(&packages("millstream add"));
    tells(&told, &["bills", "job.toml: valid"]);
    assert_eq!(place.text("shop/job.toml"), before);

    let shown = keys(&block(PACKAGES, "toml", "[[package]]").text);
    assert_eq!(keys(&place.text("shop/millstream.lock")), shown, "the page shows what a lock file has");
    place.runs("mv elsewhere bills");
}

/// The keys of the first package of a lock file.
fn keys(lock: &str) -> Vec<String> {
    let lock: toml::Table = toml::from_str(lock).unwrap_or_else(|e| panic!("{e}\n{lock}"));
    lock["package"].as_array().unwrap()[0].as_table().unwrap().keys().cloned().collect()
}

fn run(place: &Place) -> Process {
    let mut job = place.starts(&packages("millstream run"));
    job.until("rows come out", |_| rows(place).len() > 100);
    job
}

fn look_after(place: &Place) {
    let told = place.runs(&packages("millstream verify"));
    tells(&told, &["bills@0.1.0: good", "removed 0 files"]);
    // A registry that nobody has to name.
    let config = "registry = \"oci://registry.example.com/plugins\"\n";
    let shown = blocks(PACKAGES).into_iter().find(|block| block.text == config).expect("the page shows a config.toml");
    place.write("config/config.toml", &place.settings(&shown.text));
    tells(&place.runs("millstream search"), &["bills"]);
    place.runs("rm config/config.toml");
}

fn sign(place: &Place) {
    place.write("config/policy.toml", &place.settings(&block(PACKAGES, "toml", "require").text));
    // What runs goes on; nothing starts any more.
    let told = place.ends("cd shop && millstream validate job.toml", 2);
    tells(&told, &["bills@0.1.0", "alice"]);
    place.runs(&packages("millstream key new"));
    let told = place.runs(&packages("millstream key list"));
    tells(&told, &["alice"]);
    // The signature lies in the registry now; with `add` it comes into the store.
    place.runs(&packages("millstream add"));
    place.runs("cd shop && millstream validate job.toml && millstream verify job.toml");

    // What an operator allows: other registries, then this one.
    let operators = block(PACKAGES, "toml", "allow").text;
    place.write("operator.toml", &operators);
    let told = place.ends("export MILLSTREAM_POLICY=$PWD/operator.toml; cd shop; millstream validate job.toml", 2);
    tells(&told, &["may not be used", "allows oci://registry.example.com/plugins"]);
    place.write("operator.toml", &place.settings(&operators));
    place.runs("export MILLSTREAM_POLICY=$PWD/operator.toml; cd shop; millstream validate job.toml");
}

fn upgrade(place: &Place, job: &mut Process) {
    place.runs(&upgrades("sed -i"));
    let told = place.ends(&upgrades("--promote same"), 1);
    tells(&told, &["differ", "5 batches"]);
    assert_eq!(versions(place), BTreeSet::from([Version::Old]), "the old one goes on");
    let told = place.runs(&upgrades("--promote no-more-rejected"));
    tells(&told, &["0.2.0", "bills"]);
    job.until("the new version's rows come out", |_| versions(place).contains(&Version::New));
    tells(&place.text("shop/job.toml"), &["plugin = \"bills@0.2.0\"\n"]);
    tells(&place.text("shop/millstream.lock"), &["0.2.0", "[[before]]"]);
}

fn go_back(place: &Place, job: &mut Process) {
    let told = place.runs(&upgrades("millstream rollback"));
    tells(&told, &["0.1.0"]);
    tells(&place.text("shop/job.toml"), &["plugin = \"bills@0.1.0\"\n"]);
    let until_now = rows(place).len();
    job.until("it goes on", |_| rows(place).len() > until_now + 200);
    assert_eq!(part_versions(place).last().unwrap(), &Some(Version::Old));
}

fn stop(place: &Place, job: Process) {
    place.runs(&upgrades("millstream stop"));
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    // Every number is there once, in order, and no part is of two versions.
    let found: Vec<BTreeSet<Version>> = rows(place).iter().zip(0..).map(|(row, n)| made_by(row, n)).collect();
    assert!(found.iter().all(|made| !made.is_empty()));
    let parts = part_versions(place);
    assert!(parts.contains(&Some(Version::New)), "{parts:?}");
    place.starts("cd shop\nmillstream run job.toml --until-idle --timeout 2s").wait();
}

/// Which version made a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    Old,
    New,
}

fn rows(place: &Place) -> Vec<Value> {
    place.parts("shop/out").concat()
}

/// The versions that may have made a row of this number: none, where it is not what it must be.
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

/// The version of each part; `None` where its rows do not tell.
fn part_versions(place: &Place) -> Vec<Option<Version>> {
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
    place.parts("shop/out").into_iter().map(part).collect()
}

fn versions(place: &Place) -> BTreeSet<Version> {
    part_versions(place).into_iter().flatten().collect()
}
