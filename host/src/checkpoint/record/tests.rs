//! What is kept of a job, and the job that is made of it again.

use super::{Recorded, job, read};
use crate::checkpoint::store;
use crate::checkpoint::types::Start;
use crate::graph::Graph;
use crate::ids::{BatchId, Generation};
use crate::job::spec::{EnrichTable, OperatorSpec};
use crate::run::Failure;
use std::fs;

const JOB: &str = r#"
[sources.a]
kind = "queue"
path = "a.jsonl"
schema = { k = "text" }
[stages.moods]
from = "a"
sql = "select mood(k) as m, other(k) as o from a"
functions = { mood = { plugin = "mood.wasm", grant = { files = { words = "words.txt" } } }, other = "other.wasm" }
[stages.groups]
from = "a"
key = "k"
cogroup = "moods"
plugin = "groups.wasm"
[stages.stock]
from = "a"
enrich = { file = "stock.csv", on = "k" }
[sinks.out]
from = "moods"
kind = "print"
"#;

/// Every plugin of every stage is kept with its files, however many a stage has; the tables of enrichments are not.
#[test]
fn a_job_is_made_again_of_what_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let files = ["mood.wasm", "words.txt", "other.wasm", "groups.wasm"];
    for name in files.iter().chain(&["stock.csv"]) {
        fs::write(at(name), format!("first {name}")).unwrap();
    }
    fs::write(at("job.toml"), JOB).unwrap();
    let spec = crate::job::load(&at("job.toml"), &[]).unwrap();
    let graph = Graph::without_stages(spec);
    let recorded = Recorded::of(&graph, &[], None).unwrap();
    let start = Start {
        generation: Generation(1),
        after: BatchId(0),
        first: BatchId(1),
        checkpoint: BatchId(0),
        workers: 1,
        sources: Vec::new(),
        job_digest: recorded.digest.clone(),
        upgrade: false,
        started_us: 0,
    };
    let store = store::open("kept", folder.path()).unwrap();
    recorded.store(&*store, Generation(1), None, &start.record_path(), &Failure::default()).unwrap();
    for name in files {
        fs::write(at(name), "another").unwrap();
    }

    let again = tempfile::tempdir().unwrap();
    let made = job(&*store, &read(&*store, &start).unwrap(), again.path()).unwrap();
    let [moods, groups, stock] = made.stages.as_slice() else { panic!("three stages") };
    let text = |path: &std::path::Path| fs::read_to_string(path).unwrap();
    let kept: Vec<String> = moods.plugins().iter().map(|plugin| text(&plugin.place("".as_ref()))).collect();
    assert_eq!(kept, ["first mood.wasm", "first other.wasm"]);
    assert_eq!(text(&moods.plugins()[0].grant.files["words"]), "first words.txt");
    assert_eq!(text(&groups.plugins()[0].place("".as_ref())), "first groups.wasm");
    let OperatorSpec::Enrich(enrich) = &stock.operator else { panic!("an enrichment") };
    assert!(matches!(&enrich.table, EnrichTable::File { path, .. } if path.to_str() == Some("stock.csv")));
}
