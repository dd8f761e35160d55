//! The record of a job, and the job recreated from it.

use crate::checkpoint::record::{has_times_without_unit, job, read};
use crate::checkpoint::store;
use crate::checkpoint::types::{JobRecord, JobStart};
use crate::graph::Graph;
use millstream_base::failure::Failure;
use millstream_base::ids::{BatchId, Generation};
use millstream_job::spec::{EnrichTable, OperatorSpec};
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

/// Every plugin of every stage is recorded with its files, however many a stage has; the tables of enrichments are not.
#[test]
fn a_job_is_made_again_of_what_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let files = ["mood.wasm", "words.txt", "other.wasm", "groups.wasm"];
    for name in files.iter().chain(&["stock.csv"]) {
        fs::write(at(name), format!("first {name}")).unwrap();
    }
    fs::write(at("job.toml"), JOB).unwrap();
    let spec = millstream_job::load(&at("job.toml"), millstream_connectors::kinds::all(), &[]).unwrap();
    let graph = Graph::without_stages(spec);
    let recorded = super::record(&graph, &[], None).unwrap();
    let start = JobStart {
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
    let store = store::open("kept", dir.path()).unwrap();
    recorded.store(&*store, Generation(1), None, &start.record_path(), &Failure::default()).unwrap();
    for name in files {
        fs::write(at(name), "another").unwrap();
    }

    let again = tempfile::tempdir().unwrap();
    let made =
        job(&*store, &read(&*store, &start).unwrap(), millstream_connectors::kinds::all(), again.path()).unwrap();
    let [moods, groups, stock] = made.stages.as_slice() else { panic!("three stages") };
    let text = |path: &std::path::Path| fs::read_to_string(path).unwrap();
    let kept: Vec<String> = moods.plugins().iter().map(|plugin| text(&plugin.component_path("".as_ref()))).collect();
    assert_eq!(kept, ["first mood.wasm", "first other.wasm"]);
    assert_eq!(text(&moods.plugins()[0].grant.files["words"]), "first words.txt");
    assert_eq!(text(&groups.plugins()[0].component_path("".as_ref())), "first groups.wasm");
    let OperatorSpec::Enrich(enrich) = &stock.operator else { panic!("an enrichment") };
    assert!(matches!(&enrich.table, EnrichTable::File { path, .. } if path.to_str() == Some("stock.csv")));
}

/// Before schemas stated the unit, numbers in a `timestamp` were microseconds, and batches of that time are replayed this way.
#[test]
fn times_of_older_records_are_read_as_they_were() {
    let text = "[sources.a]\nkind = \"queue\"\npath = \"a.jsonl\"\nschema = { at = \"timestamp\", k = { type = \"timestamp\" } }\n\
                [sources.b]\nkind = \"directory\"\npath = \"b\"\nformat = \"binary\"\nschema = { at = \"timestamp\" }\n\
                [stages.stock]\nfrom = \"a\"\n\
                enrich = { file = \"s.csv\", on = \"at\", schema = { at = \"timestamp\", n = \"int64\" } }\n\
                [sinks.out]\nfrom = \"stock\"\nkind = \"print\"\n";
    let dir = tempfile::tempdir().unwrap();
    let store = store::open("kept", dir.path()).unwrap();
    let old = JobRecord { text: text.into(), ..JobRecord::default() };
    let made = job(&*store, &old, millstream_connectors::kinds::all(), dir.path()).unwrap();
    let OperatorSpec::Enrich(enrich) = &made.stages[0].operator else { panic!("an enrichment") };
    let columns = made.sources.iter().flat_map(|source| &source.schema).chain(&enrich.schema);
    let words: Vec<String> = columns.map(|column| column.type_word()).collect();
    assert_eq!(words, ["timestamp(us)", "timestamp(us)", "timestamp(us)", "timestamp(us)", "int64"]);

    let new =
        JobRecord { text: text.replace("b\"\nformat = \"binary", "b\"\nformat = \"json"), units_are_said: true, ..old };
    let made = job(&*store, &new, millstream_connectors::kinds::all(), dir.path()).unwrap();
    assert!(made.sources.iter().flat_map(|source| &source.schema).all(|column| column.type_word() == "timestamp"));
    assert!(has_times_without_unit(&made));
    // The records of jobs without such columns are those of earlier versions.
    let json = serde_json::to_string(&JobRecord::default()).unwrap();
    assert!(!json.contains("units_are_said"), "{json}");
}
