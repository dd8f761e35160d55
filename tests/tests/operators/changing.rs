//! Stages whose results change, compared with an oracle without changes. Their output is folded and must equal the result of a
//! query over all current rows, after every batch, on any number of workers, and across kills.

use millstream_tests::{Expected, Random, Trial, shown_block};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const JOBS: u64 = 4;
const BATCHES: usize = 20;

const JOB: &str = r#"
clock = "manual"
batch = "1s"
[checkpoint]
dir = "checkpoint"
every = 3

[sources.a]
kind = "queue"
path = "a.jsonl"
schema = { op = "text", k = "int64", v = "int64" }
[sources.b]
kind = "queue"
path = "b.jsonl"
schema = { op = "text", k = "int64", w = "text" }
[sources.c]
kind = "queue"
path = "c.jsonl"
schema = { w = "text", c = "int64" }
[sources.t]
kind = "queue"
path = "t.jsonl"
schema = { op = "text", id = "int64", at = "int64", k = "int64" }

[stages.inner]
from = "a"
join = { with = "b", on = "k" }
op = "op"
window = "all"
[stages.left]
from = "a"
join = { with = "b", on = "k", type = "left" }
op = "op"
window = "all"
[stages.right]
from = "a"
join = { with = "b", on = "k", type = "right" }
op = "op"
window = "all"
[stages.full]
from = "a"
join = { with = "b", on = "k", type = "full" }
op = "op"
window = "all"

[stages.behind]
from = "left"
join = { with = "c", on = "w", type = "full" }
op = "op"
window = "all"

[stages.totals]
from = "behind"
key = "k"
aggregate = { n = "count(*)", some = "count(v)", sum = "sum(v)", least = "min(v)", most = "max(w)", kinds = "count(distinct w)", mean = "avg(c)", high = "max(c) filter (where v > 2)" }
op = "op"
window = "all"
select = "*, case when n = 0 then 'delete' else 'upsert' end as op"
[stages.told]
from = "behind"
key = "k"
aggregate = { n = "count(*)", least = "min(v)" }
op = "op"
window = "all"
emit = "changes"
[stages.rows-of-c]
from = "c"
key = "w"
aggregate = { n = "count(*)", most = "max(c)" }
window = "all"
emit = "changes"
[stages.counts]
from = "full"
key = "k"
aggregate = { n = "count(*)", high = "count(v) filter (where v > 2)" }
op = "op"
window = "all"
[stages.changes]
from = "totals"
key = "k"
latest = true
op = "op"
[stages.top]
from = "changes"
top = { n = 2, by = "sum" }
op = "op"
window = "all"
[stages.whole]
from = "inner"
aggregate = { n = "count(*)", least = "min(w)", most = "max(v)" }
op = "op"
window = "all"

[stages.asked]
from = "behind"
op = "op"
window = "all"
sql = """
select k % 3 as part, count(*) as n, sum(v) as sum, min(w) filter (where v > 1) as least from behind b
where b.v is not null or w is not null group by b.k % 3 having count(*) > 1
"""
[stages.asked-first]
from = "asked"
op = "op"
window = "all"
sql = "select distinct n from asked order by n desc nulls last limit 2"
[stages.asked-all]
from = "behind"
op = "op"
window = "all"
sql = "select count(*) + 1 as more, max(w) as most from behind"

[stages.latest]
from = "t"
key = "id"
latest = true
op = "op"
[stages.by-time]
from = "t"
key = "id"
latest = "at"
op = "op"
[stages.of-latest]
from = "latest"
join = { with = "by-time", on = "id", type = "full" }
op = "op"
window = "all"
"#;

const SINKS: [&str; 15] = [
    "inner",
    "left",
    "right",
    "full",
    "behind",
    "changes",
    "top",
    "counts",
    "whole",
    "latest",
    "by-time",
    "of-latest",
    "asked",
    "asked-first",
    "asked-all",
];

/// A row without what it does.
type Row = Vec<Value>;

/// The current rows, with multiplicity.
#[derive(Clone, Default)]
struct Table(Vec<Row>);

impl Table {
    fn insert(&mut self, row: Row) {
        self.0.push(row);
    }

    fn delete(&mut self, row: &Row) -> bool {
        let found = self.0.iter().position(|other| other == row);
        found.map(|place| self.0.swap_remove(place)).is_some()
    }

    fn sorted(&self) -> Vec<String> {
        // The JSON parser may round the last digit of a float.
        let cell = |cell: &Value| match cell.as_f64().filter(|_| cell.is_f64()) {
            Some(float) => format!("{float:.9}"),
            None => cell.to_string(),
        };
        let mut rows: Vec<String> =
            self.0.iter().map(|row| row.iter().map(cell).collect::<Vec<_>>().join(",")).collect();
        rows.sort();
        rows
    }
}

/// The sources' rows so far.
#[derive(Clone, Default)]
struct Inputs {
    a: Table,
    b: Table,
    c: Table,
    latest: BTreeMap<i64, Row>,
    by_time: BTreeMap<i64, Row>,
    refused: usize,
}

fn small(random: &mut Random, maximum: u64) -> Value {
    match random.from(0, maximum) {
        0 => Value::Null,
        number => json!(number),
    }
}

/// A batch of a table whose rows are added and deleted; some deleted rows never existed.
fn changes(random: &mut Random, table: &mut Table, refused: &mut usize, row: fn(&mut Random) -> Row) -> Vec<Value> {
    let mut rows = Vec::new();
    for _ in 0..random.from(0, 6) {
        let deletes = random.from(0, 9) < 4;
        let row = match table.0.len() as u64 {
            some @ 1.. if deletes && random.from(0, 9) > 0 => table.0[random.from(0, some - 1) as usize].clone(),
            _ => row(random),
        };
        match deletes {
            true => *refused += usize::from(!table.delete(&row)),
            false => table.insert(row.clone()),
        }
        let word = if deletes { "delete" } else { *random.one_of(&["insert", "update", "upsert"]) };
        rows.push(Value::from([vec![json!(word)], row].concat()));
    }
    rows
}

/// A batch of changes by key.
fn keyed(random: &mut Random, inputs: &mut Inputs) -> Vec<Value> {
    let mut rows = Vec::new();
    for _ in 0..random.from(0, 5) {
        let (id, what) = (random.from(1, 9) as i64, random.from(0, 40));
        if what == 0 {
            inputs.latest.clear();
            inputs.by_time.clear();
            rows.push(json!(["truncate", null, null, null]));
        } else if what < 10 {
            inputs.latest.remove(&id);
            inputs.by_time.remove(&id);
            rows.push(json!(["delete", id, null, null]));
        } else {
            let row = vec![json!(id), small(random, 20), small(random, 4)];
            rows.push(Value::from([vec![json!("update")], row.clone()].concat()));
            let time = |row: &Row| row[1].as_i64();
            if inputs.by_time.get(&id).is_none_or(|old| time(old) <= time(&row)) {
                inputs.by_time.insert(id, row.clone());
            }
            inputs.latest.insert(id, row);
        }
    }
    rows
}

/// A join of rows whose first column is the key: that, the others of the first side, and those of the second.
fn join(first: &[Row], second: &[Row], kind: &str, widths: [usize; 2]) -> Vec<Row> {
    let same = |a: &Row, b: &Row| a[0] == b[0] && !a[0].is_null();
    let nulls = |side: usize| vec![Value::Null; widths[side] - 1];
    let mut rows = Vec::new();
    for a in first {
        let partners = second.iter().filter(|b| same(a, b));
        let before = rows.len();
        rows.extend(partners.map(|b| [&a[..], &b[1..]].concat()));
        if rows.len() == before && ["left", "full"].contains(&kind) {
            rows.push([a.clone(), nulls(1)].concat());
        }
    }
    if ["right", "full"].contains(&kind) {
        let alone = second.iter().filter(|b| !first.iter().any(|a| same(a, b)));
        rows.extend(alone.map(|b| [vec![b[0].clone()], nulls(0), b[1..].to_vec()].concat()));
    }
    rows
}

/// Rows by the value in a column.
fn by(rows: &[Row], column: usize) -> BTreeMap<String, Vec<Row>> {
    let mut groups: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    rows.iter().for_each(|row| groups.entry(row[column].to_string()).or_default().push(row.clone()));
    groups
}

fn numbers(rows: &[Row], column: usize) -> Vec<i64> {
    rows.iter().filter_map(|row| row[column].as_i64()).collect()
}

fn strings(rows: &[Row], column: usize) -> BTreeSet<String> {
    rows.iter().filter_map(|row| row[column].as_str().map(str::to_owned)).collect()
}

/// The expected output of each stage for these inputs.
fn expected(inputs: &Inputs) -> BTreeMap<&'static str, Table> {
    let mut tables = BTreeMap::new();
    let (a, b, c) = (&inputs.a.0, &inputs.b.0, &inputs.c.0);
    for kind in ["inner", "left", "right", "full"] {
        tables.insert(kind, Table(join(a, b, kind, [2, 2])));
    }
    // The columns of `left` are k, v, w; those of `behind` are w, k, v, c.
    let by_w: Vec<Row> =
        tables["left"].0.iter().map(|row| vec![row[2].clone(), row[0].clone(), row[1].clone()]).collect();
    let behind = join(&by_w, c, "full", [3, 2]);
    let total = |rows: &Vec<Row>| {
        let (v, c) = (numbers(rows, 2), numbers(rows, 3));
        let high = rows.iter().filter(|row| row[2].as_i64() > Some(2)).filter_map(|row| row[3].as_i64()).max();
        let sum = (!v.is_empty()).then(|| v.iter().sum::<i64>());
        let mean = (!c.is_empty()).then(|| c.iter().sum::<i64>() as f64 / c.len() as f64);
        let w = strings(rows, 0);
        vec![
            rows[0][1].clone(),
            json!(rows.len()),
            json!(v.len()),
            json!(sum),
            json!(v.iter().min()),
            json!(w.last()),
            json!(w.len()),
            json!(mean),
            json!(high),
        ]
    };
    let totals: Vec<Row> = by(&behind, 1).values().map(total).collect();
    let of_totals = |columns: &[usize], row: &Row| columns.iter().map(|column| row[*column].clone()).collect::<Row>();
    tables.insert("told", Table(totals.iter().map(|row| of_totals(&[0, 1, 4], row)).collect()));
    let of_c = by(c, 0).into_values();
    let of_c = of_c.map(|rows| vec![rows[0][0].clone(), json!(rows.len()), json!(numbers(&rows, 1).into_iter().max())]);
    tables.insert("rows-of-c", Table(of_c.collect()));
    let mut top = totals.clone();
    top.sort_by_key(|row| std::cmp::Reverse(row[3].as_i64()));
    tables.insert("top", Table(top.into_iter().take(2).collect()));
    tables.insert("changes", Table(totals));
    let (asked, first, whole) = query_results(&behind);
    tables.insert("asked", Table(asked));
    tables.insert("asked-first", Table(first));
    tables.insert("asked-all", Table(whole));
    tables.insert("behind", Table(behind));
    let count = |rows: &Vec<Row>| {
        let high = numbers(rows, 1).into_iter().filter(|v| *v > 2).count();
        vec![rows[0][0].clone(), json!(rows.len()), json!(high)]
    };
    tables.insert("counts", Table(by(&tables["full"].0, 0).values().map(count).collect()));
    let inner = &tables["inner"].0;
    let (least, maximum) = (strings(inner, 2).first().cloned(), numbers(inner, 1).into_iter().max());
    tables.insert("whole", Table(vec![vec![json!(inner.len()), json!(least), json!(maximum)]]));
    let (latest, by_time): (Vec<Row>, Vec<Row>) =
        (inputs.latest.values().cloned().collect(), inputs.by_time.values().cloned().collect());
    tables.insert("of-latest", Table(join(&latest, &by_time, "full", [3, 3])));
    tables.insert("latest", Table(latest));
    tables.insert("by-time", Table(by_time));
    tables
}

/// The result of the queries over rows of `behind`: w, k, v, c.
fn query_results(behind: &[Row]) -> (Vec<Row>, Vec<Row>, Vec<Row>) {
    let mut parts: BTreeMap<Option<i64>, Vec<&Row>> = BTreeMap::new();
    for row in behind.iter().filter(|row| !row[2].is_null() || !row[0].is_null()) {
        parts.entry(row[1].as_i64().map(|k| k % 3)).or_default().push(row);
    }
    let mut asked = Vec::new();
    for (part, rows) in parts.into_iter().filter(|(_, rows)| rows.len() > 1) {
        let rows: Vec<Row> = rows.into_iter().cloned().collect();
        let v = numbers(&rows, 2);
        let some: Vec<Row> = rows.iter().filter(|row| row[2].as_i64() > Some(1)).cloned().collect();
        let sum = (!v.is_empty()).then(|| v.iter().sum::<i64>());
        asked.push(vec![json!(part), json!(rows.len()), json!(sum), json!(strings(&some, 0).first())]);
    }
    let counts: BTreeSet<u64> = asked.iter().filter_map(|row| row[1].as_u64()).collect();
    let first = counts.into_iter().rev().take(2).map(|n| vec![json!(n)]).collect();
    let whole = (!behind.is_empty()).then(|| vec![json!(behind.len() + 1), json!(strings(behind, 0).last())]);
    (asked, first, whole.into_iter().collect())
}

/// The columns of a sink, in the order of the oracle.
fn columns(sink: &str) -> &'static [&'static str] {
    match sink {
        "behind" => &["w", "k", "v", "c"],
        "changes" | "top" => &["k", "n", "some", "sum", "least", "most", "kinds", "mean", "high"],
        "told" => &["k", "n", "least"],
        "rows-of-c" => &["w", "n", "most"],
        "counts" => &["k", "n", "high"],
        "whole" => &["n", "least", "most"],
        "asked" => &["part", "n", "sum", "least"],
        "asked-first" => &["n"],
        "asked-all" => &["more", "most"],
        "latest" | "by-time" => &["id", "at", "k"],
        "of-latest" => &["id", "at", "k", "by-time_at", "by-time_k"],
        _ => &["k", "v", "w"],
    }
}

/// The input of a sink, batch by batch.
fn sink_batches(trial: &Trial, sink: &str) -> Vec<Table> {
    let mut table = Table::default();
    let mut keyed: BTreeMap<String, Row> = BTreeMap::new();
    let mut tables = Vec::new();
    for batch in trial.batches(&format!("{sink}.jsonl")) {
        for row in batch["rows"].as_array().unwrap() {
            let cells: Row = columns(sink).iter().map(|name| row[name].clone()).collect();
            match sink {
                // Totals, each of which replaces the previous one; for a key without rows all are zero.
                "counts" | "whole" => {
                    let key = if sink == "whole" { String::new() } else { cells[0].to_string() };
                    let count = if sink == "whole" { &cells[0] } else { &cells[1] };
                    match count.as_i64() == Some(0) && sink == "counts" {
                        true => keyed.remove(&key),
                        false => keyed.insert(key, cells),
                    };
                }
                _ => match row["op"].as_str().unwrap() {
                    "insert" => table.insert(cells),
                    word => assert!(word == "delete" && table.delete(&cells), "{sink}: {row} is not there"),
                },
            }
        }
        let totals = Table(keyed.values().cloned().collect());
        tables.push(if ["counts", "whole"].contains(&sink) { totals } else { table.clone() });
    }
    tables
}

#[test]
fn folded_changes_equal_a_query_over_all_rows() {
    let sinks: String = SINKS
        .iter()
        .map(|name| format!("[sinks.{name}-out]\nfrom = \"{name}\"\nkind = \"queue\"\npath = \"{name}.jsonl\"\n"))
        .collect();
    let job =
        format!("{JOB}{sinks}[sinks.refused]\nfrom = \"full.rejected\"\nkind = \"queue\"\npath = \"refused.jsonl\"\n");
    for seed in 1..=JOBS {
        let mut random = Random::new(seed);
        let mut inputs = Inputs::default();
        let mut files: BTreeMap<&str, String> = BTreeMap::new();
        let mut all = Vec::new();
        for _ in 0..BATCHES {
            let a = changes(&mut random, &mut inputs.a, &mut inputs.refused, |random| {
                vec![small(random, 5), small(random, 6)]
            });
            let b = changes(&mut random, &mut inputs.b, &mut inputs.refused, |random| {
                vec![small(random, 5), json!(random.one_of(&["x", "y", "z", ""]))]
            });
            let c: Vec<Value> = (0..random.from(0, 8) / 7)
                .map(|_| json!([random.one_of(&["x", "y", "q"]), random.from(1, 5)]))
                .collect();
            c.iter().for_each(|row| inputs.c.insert(row.as_array().unwrap().clone()));
            let t = keyed(&mut random, &mut inputs);
            for (name, rows) in [("a", a), ("b", b), ("c", c), ("t", t)] {
                *files.entry(name).or_default() += &format!("{}\n", Value::from(rows));
            }
            all.push(inputs.clone());
        }
        let trial = Trial::new(&job);
        files.iter().for_each(|(name, text)| drop(trial.write(&format!("{name}.jsonl"), text)));
        // Killed twice, with another number of workers each time.
        for workers in ["2", "3"] {
            let commit = random.from(1, (BATCHES * SINKS.len()) as u64 / 3);
            trial.killed(&format!("commit.after:{commit}"), &["--workers", workers]);
        }
        trial.run_ok(&["--workers", if seed % 2 == 0 { "1" } else { "2" }]);
        for sink in SINKS {
            let told = sink_batches(&trial, sink);
            assert_eq!(told.len(), BATCHES, "{sink} of job {seed}");
            for (batch, (told, inputs)) in told.iter().zip(&all).enumerate() {
                let mut expected = expected(inputs).remove(sink).unwrap();
                if sink == "whole" && told.0.is_empty() {
                    // Nothing has arrived yet.
                    expected.0.clear();
                }
                if sink == "top" {
                    // Of equal totals the oracle does not know which came first.
                    let sums = |table: &Table| table.0.iter().map(|row| row[3].clone()).collect::<Vec<_>>();
                    let sorted = |table: &Table| {
                        let mut sums: Vec<String> = sums(table).iter().map(Value::to_string).collect();
                        sums.sort();
                        sums
                    };
                    assert_eq!(sorted(told), sorted(&expected), "{sink} of job {seed} behind batch {}", batch + 1);
                    continue;
                }
                assert_eq!(told.sorted(), expected.sorted(), "{sink} of job {seed} behind batch {}", batch + 1);
            }
        }
        assert_eq!(trial.rows("refused.jsonl").len(), inputs.refused, "job {seed}");
    }
}

/// The stages on the changelog page run, and their output is as shown.
#[test]
fn the_stages_of_the_page_process_changes() {
    let shown = shown_block("toml", "[stages.order-table]").text;
    let schema = "{ op = \"text\", order_id = \"int64\", customer = \"text\", price = \"decimal(12,2)\" }";
    let trial = Trial::new(&format!(
        "clock = \"manual\"\n[sources.orders]\nkind = \"queue\"\npath = \"orders.jsonl\"\nschema = {schema}\n\
         [sources.clicks]\nkind = \"queue\"\npath = \"clicks.jsonl\"\nschema = {{ order_id = \"int64\", page = \"text\" }}\n{shown}\n\
         [sinks.best]\nfrom = \"best-customers\"\nkind = \"queue\"\npath = \"best.jsonl\"\n\
         [sinks.clicked]\nfrom = \"with-clicks\"\nkind = \"queue\"\npath = \"clicked.jsonl\"\n"
    ));
    trial.write(
        "orders.jsonl",
        "[[\"insert\",1,\"ann\",2.50],[\"insert\",2,\"ann\",4]]\n[[\"update\",1,\"bob\",3]]\n[[\"delete\",2,null,null]]\n",
    );
    trial.write("clicks.jsonl", "[[1,\"a\"]]\n[]\n[]\n");
    trial.run_ok(&[]);
    let sink_batches = |file: &str, columns: &[&str]| -> Vec<Vec<Value>> {
        trial.rows(file).iter().map(|row| columns.iter().map(|name| row[*name].clone()).collect()).collect()
    };
    let best = sink_batches("best.jsonl", &["op", "customer", "orders", "dearest"]);
    let number = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let expected: Vec<Vec<Value>> = [
        ("insert", "ann", 2, "4.00"),
        ("delete", "ann", 2, "4.00"),
        ("insert", "ann", 1, "4.00"),
        ("insert", "bob", 1, "3.00"),
        ("delete", "ann", 1, "4.00"),
    ]
    .into_iter()
    .map(|(op, who, n, maximum)| vec![json!(op), json!(who), json!(n), number(maximum)])
    .collect();
    let sorted = |mut rows: Vec<Vec<Value>>| {
        rows.sort_by_key(|row| Value::from(row.clone()).to_string());
        rows
    };
    assert_eq!(sorted(best), sorted(expected));
    let clicked = sink_batches("clicked.jsonl", &["op", "order_id", "page", "customer"]);
    let expected = [
        ("insert", 1, Some("a"), "ann"),
        ("insert", 2, None, "ann"),
        ("delete", 1, Some("a"), "ann"),
        ("insert", 1, Some("a"), "bob"),
        ("delete", 2, None, "ann"),
    ];
    let expected = expected.map(|(op, id, page, who)| vec![json!(op), json!(id), json!(page), json!(who)]);
    assert_eq!(sorted(clicked), sorted(expected.to_vec()));
}

#[test]
fn what_cannot_be_followed_is_refused_with_the_reason() {
    const CHANGES: &str = "[sources.a]\nkind = \"postgres-changes\"\nurl = \"postgres://u@127.0.0.1/d\"\ntable = \"a\"\n\
        [sources.a.schema]\nop = { type = \"text\", from = \"op\" }\nk = \"int64\"\nv = \"float64\"\n";
    const ROWS: &str = "[sources.a]\nkind = \"queue\"\npath = \"a.jsonl\"\nschema = { op = \"text\", k = \"int64\", v = \"float64\" }\n\
        [sources.b]\nkind = \"queue\"\npath = \"b.jsonl\"\nschema = { k = \"int64\", at = \"timestamp\" }\n";
    let total =
        |function: &str| format!("key = \"k\"\naggregate = {{ x = \"{function}\" }}\nop = \"op\"\nwindow = \"all\"");
    let cases: [(&str, &str); 11] = [
        (CHANGES, &total("count(*)")),
        (CHANGES, "sql = \"select k, count(*) as n from a group by k\""),
        (ROWS, &total("sum(v)")),
        (ROWS, &total("first(k)")),
        (ROWS, &total("count(*) filter (where k)")),
        (ROWS, &total("count(*) filter (when k)")),
        (ROWS, "join = { with = \"b\", on = \"k\" }\nwindow = \"all\""),
        (ROWS, "join = { with = \"b\", on = \"k\" }\nop = \"x\"\nwindow = \"all\""),
        (ROWS, "join = { with = \"b\", on = \"k\", ttl = \"1d\" }"),
        (ROWS, "join = { with = \"b\", on = \"k\", as_of = true }"),
        (ROWS, "latest = true"),
    ];
    let mut expected = Expected::of(file!(), "what_cannot_be_followed_is_refused_with_the_reason");
    for (sources, stage) in cases {
        let job = format!("{sources}[stages.s]\nfrom = \"a\"\n{stage}\n[sinks.out]\nfrom = \"s\"\nkind = \"print\"\n");
        let trial = Trial::new(&job);
        ["a.jsonl", "b.jsonl"].iter().for_each(|name| drop(trial.write(name, "[]\n")));
        expected.add(stage, &trial.rejected_message(&["validate", "job.toml"]));
    }
    expected.check_parts();
}
