//! The source `postgres-changes` where tables, publications and partitions change, and values of every type.

use super::changes::{following, rows, rows_of, server, url};
use millstream_tests::{Postgres, Process, Trial};
use serde_json::{Value, json};

const ID: &str = "id = \"int64\"";

fn ids(trial: &Trial) -> Vec<i64> {
    rows_of(trial, "out.jsonl").iter().filter_map(|row| row["id"].as_i64()).collect()
}

/// Checks that the job ends on its own with these messages.
#[track_caller]
fn check_ends(job: Process, output: &[&str]) {
    let ended = job.wait();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    output.iter().for_each(|output| assert!(ended.stderr.contains(output), "{output}: {}", ended.stderr));
}

/// A job that follows `t`, which has the row 1.
fn started(server: &Postgres) -> (Trial, Process) {
    let trial = following(&url(server), "\"t\"", ID, "");
    let mut job = trial.start(&[]);
    rows(&mut job, &trial, 1);
    job.wait_for_stderr("changes follow");
    (trial, job)
}

#[test]
fn a_table_that_was_created_again_stops_the_job_until_it_begins_again() {
    let server = server();
    server.sql("create table t (id int primary key); insert into t values (1)");
    let (trial, job) = started(&server);
    server.sql("drop table t; create table t (id int primary key); insert into t values (10), (11)");
    let output = ["source `in`: table `t` was dropped and created again", "`--drop-state in`"];
    check_ends(job, &output);
    // However often it is started, and also if the publication has the table again.
    check_ends(trial.start(&[]), &output);
    let publication = server.sql("select pubname from pg_publication");
    server.sql(&format!("alter publication {publication} add table t; insert into t values (12)"));
    check_ends(trial.start(&[]), &output);
    assert_eq!(ids(&trial), [1]);
    server.sql(&format!("alter publication {publication} drop table t"));
    let mut job = trial.start(&["--drop-state", "in"]);
    rows(&mut job, &trial, 4);
    server.sql("insert into t values (13)");
    rows(&mut job, &trial, 5);
    assert_eq!(ids(&trial), [1, 10, 11, 12, 13]);
    // While it does not run.
    job.stop();
    server.sql("drop table t; create table t (id int primary key); insert into t values (20)");
    check_ends(trial.start(&[]), &output);
    server.sql("drop table t");
    check_ends(trial.start(&[]), &["table `t` was dropped; create it again"]);
    assert_eq!(ids(&trial).len(), 5);
}

/// The plans of a killed job record how far the source was read; there is no checkpoint yet.
#[test]
fn a_removed_source_does_not_reappear_with_planned_batches() {
    let server = server();
    server.sql("create table t (id int primary key); insert into t values (1)");
    let trial = following(&url(&server), "\"t\"", ID, "");
    trial.change("every = \"500ms\"", "every = \"1h\"");
    let mut job = trial.start(&[]);
    rows(&mut job, &trial, 1);
    job.wait_for_stderr("changes follow");
    server.sql("insert into t values (2)");
    rows(&mut job, &trial, 2);
    job.kill();
    server.sql("drop table t; create table t (id int primary key); insert into t values (10), (11)");
    check_ends(trial.start(&[]), &["table `t` was dropped and created again"]);
    let mut job = trial.start(&["--drop-state", "in"]);
    rows(&mut job, &trial, 4);
    server.sql("insert into t values (12)");
    rows(&mut job, &trial, 5);
    job.stop();
    assert_eq!(ids(&trial), [1, 2, 10, 11, 12]);
}

#[test]
fn a_table_that_was_renamed_stops_the_job_until_it_has_its_name_again() {
    let server = server();
    server
        .sql("create table t (id int primary key); insert into t values (1); create table other (id int primary key)");
    let (trial, job) = started(&server);
    // Each has the name of the other.
    server
        .sql("begin; alter table t rename to x; alter table other rename to t; alter table x rename to other; commit");
    server.sql("insert into t values (100); insert into other values (2)");
    check_ends(job, &["`t` now names another table", "is public.other; rename it back"]);
    check_ends(trial.start(&[]), &["`t` now names another table"]);
    server
        .sql("begin; alter table t rename to x; alter table other rename to t; alter table x rename to other; commit");
    server.sql("insert into t values (3)");
    let mut job = trial.start(&[]);
    rows(&mut job, &trial, 3);
    server.sql("alter table t rename to gone");
    check_ends(job, &["table `t` was renamed to public.gone; rename it back"]);
    // Its name in between does not matter.
    server.sql(
        "insert into gone values (4); create table t (id int primary key); insert into t values (101); drop table t",
    );
    server.sql("alter table gone rename to t; insert into t values (5)");
    let mut job = trial.start(&[]);
    rows(&mut job, &trial, 5);
    assert_eq!(ids(&trial), [1, 2, 3, 4, 5]);
    job.stop();
}

/// A publication of all tables includes the changes of the new table immediately.
#[test]
fn changes_of_a_recreated_table_are_not_mixed_up() {
    let server = server();
    server
        .sql("create table t (id int primary key); insert into t values (1); create publication every for all tables");
    let trial = following(&url(&server), "\"t\"\npublication = \"every\"", ID, "");
    let mut job = trial.start(&[]);
    rows(&mut job, &trial, 1);
    job.wait_for_stderr("changes follow");
    server.sql("begin; insert into t values (2); drop table t; create table t (id int primary key); insert into t values (10); commit");
    check_ends(job, &["table `t` was dropped and created again"]);
    check_ends(trial.start(&[]), &["table `t` was dropped and created again"]);
    assert!(!ids(&trial).contains(&10));
}

#[test]
fn a_table_that_left_the_publication_stops_the_job() {
    let server = server();
    server.sql("create table t (id int primary key, n int); insert into t values (1)");
    let (trial, job) = started(&server);
    let publication = server.sql("select pubname from pg_publication");
    server.sql(&format!("alter publication {publication} drop table t; insert into t values (2)"));
    check_ends(job, &["no longer has table `t`", "`--drop-state in`"]);
    server.sql(&format!("alter publication {publication} add table t; insert into t values (3)"));
    check_ends(trial.start(&[]), &["was removed from publication", "added again", "`--drop-state in`"]);
    let mut job = trial.start(&["--drop-state", "in"]);
    rows(&mut job, &trial, 4);
    // Other columns are not a break, but other rows are.
    server.sql(&format!("alter publication {publication} set table t (id); insert into t values (4)"));
    rows(&mut job, &trial, 5);
    job.stop();
    server.sql("insert into t values (5)");
    let mut job = trial.start(&[]);
    rows(&mut job, &trial, 6);
    assert_eq!(ids(&trial), [1, 1, 2, 3, 4, 5]);
    server.sql(&format!("alter publication {publication} set table t where (id > 3)"));
    check_ends(job, &["publishes other rows of table `t`"]);
}

#[test]
fn tables_that_inherit_are_separate_tables() {
    let server = server();
    server.sql("create table t (id int primary key); create table child () inherits (t)");
    server.sql("insert into t values (1); insert into child values (2)");
    let (trial, mut job) = started(&server);
    assert!(job.stderr().contains("tables inherit from `t` (public.child)"), "{}", job.stderr());
    // Nor does the job keep others from changing it.
    server.sql("insert into child values (3); update child set id = 20 where id = 2; delete from child where id = 3");
    server.sql("insert into t values (4)");
    rows(&mut job, &trial, 2);
    assert_eq!(ids(&trial), [1, 4]);
    job.stop();
    server.sql("alter table child add primary key (id)");
    let both = following(&url(&server), "[\"t\", \"child\"]", ID, "");
    let mut job = both.start(&[]);
    rows(&mut job, &both, 3);
    server.sql("insert into child values (30); update t set id = 40 where id = 4");
    rows(&mut job, &both, 6);
    assert!(!job.stderr().contains("inherit"), "{}", job.stderr());
    job.stop();
    assert_eq!(ids(&both), [1, 4, 20, 30, 4, 40]);
}

#[test]
fn partitions_may_be_attached_only_if_empty() {
    let server = server();
    let range = |from: i32| format!("for values from ({from}) to ({})", from + 10);
    server.sql(&format!(
        "create table t (id int primary key) partition by range (id); create table p0 partition of t {}",
        range(0)
    ));
    server.sql(&format!(
        "insert into t values (1); create table p1 partition of t {}; insert into t values (11)",
        range(10)
    ));
    let trial = following(&url(&server), "\"t\"", ID, "");
    let mut job = trial.start(&[]);
    rows(&mut job, &trial, 2);
    job.wait_for_stderr("changes follow");
    server.sql(&format!("begin; create table p2 partition of t {}; insert into t values (21); commit", range(20)));
    server.sql(&format!(
        "create table p3 (id int primary key); alter table t attach partition p3 {}; insert into t values (31)",
        range(30)
    ));
    rows(&mut job, &trial, 4);
    server.sql("alter table t detach partition p0");
    job.wait_for_stderr("partition public.p0 was detached or dropped");
    server.sql("truncate p3");
    job.wait_for_stderr("partition public.p3 was truncated or rewritten");
    server.sql("create table p4 (id int primary key); insert into p4 values (41)");
    server.sql(&format!("alter table t attach partition p4 {}; insert into t values (42)", range(40)));
    check_ends(job, &["partition public.p4 was attached to table `t` with rows"]);
    check_ends(trial.start(&[]), &["partition public.p4 was attached"]);
    server.sql(&format!(
        "alter table t detach partition p4; create table p5 partition of t {}; insert into t select 44",
        range(40)
    ));
    let mut job = trial.start(&[]);
    job.wait_until("the rest comes", |_| ids(&trial).last() == Some(&44));
    job.stop();
    // A row that was in the transaction before the attachment counts as well.
    server.sql(&format!(
        "begin; create table p6 (id int primary key); insert into p6 values (61); alter table t attach partition p6 {}; commit",
        range(60)
    ));
    check_ends(trial.start(&[]), &["partition public.p6 was attached"]);
}

#[test]
fn generated_columns_are_named() {
    let server = server();
    server.sql("create table t (id int primary key, twice int generated always as (id * 2) stored)");
    server.sql("create table k (id int, twice int generated always as (id * 2) stored primary key)");
    let trial = following(&url(&server), "\"t\"", "id = \"int64\", twice = \"int64\"", "");
    check_ends(trial.start(&[]), &["column `twice` of table `t` is generated"]);
    let trial = following(&url(&server), "\"k\"", ID, "");
    check_ends(trial.start(&[]), &["the key of table `k` has column `twice`", "it is generated"]);
}

#[test]
fn unused_slots_are_listed_if_all_are_in_use() {
    let server = Postgres::start_with(&["wal_level=logical", "max_replication_slots=2"]);
    server.sql("create table t (id int primary key); insert into t values (1)");
    for slot in ["millstream_0123456789abcdef_given_up", "of_others"] {
        server.sql(&format!("select pg_create_logical_replication_slot('{slot}', 'pgoutput')"));
    }
    let trial = following(&url(&server), "\"t\"", ID, "");
    let mut job = trial.start(&[]);
    job.wait_for_stderr("all replication slots of the server are in use (max_replication_slots = 2)");
    let output = job.stderr();
    assert!(output.contains("select pg_drop_replication_slot('millstream_0123456789abcdef_given_up')"), "{output}");
    assert!(!output.contains("of_others"), "{output}");
    server.sql("select pg_drop_replication_slot('millstream_0123456789abcdef_given_up')");
    rows(&mut job, &trial, 1);
    job.stop();
}

/// Values of the supported types pass through the job unchanged, from the initial snapshot and from changes.
#[test]
fn a_copy_has_the_values_of_its_table() {
    let server = server();
    let columns = "d date, tz timestamptz, ts timestamp, b bytea, doc jsonb, bs bytea[], docs jsonb[], js json[], ds date[], tzs timestamptz[], \
                   tss timestamp[], grid int[], bools bool[], floats float8[], prices numeric(12,2)[], words text[], uids uuid[], \
                   spans interval[], boxes box[], points point[], cubes bytea[]";
    server.sql(&format!("create table t (id int primary key, {columns}); create table copy (like t including all)"));
    let far = "'0044-03-15 BC', '0044-03-15 12:00:00.25+00 BC', '0044-03-15 12:00:00 BC'";
    let values = |id: i32| {
        format!(
            "insert into t values ({id}, {far}, '\\x00ff', '{{\"a\":1}}', array['\\x00ff', '\\x41', '']::bytea[], \
             array['{{\"a\": [1]}}', '[1]', '\"s\"', 'null', null]::jsonb[], array['{{\"a\": 1}}', '1']::json[], \
             array['0044-03-15 BC', '20000-01-01', '2024-05-01', null]::date[], \
             array['0001-12-31 23:59:59+00 BC', '20000-01-01 00:00:00+00', '2024-05-01 12:00:00.5+00', null]::timestamptz[], \
             array['0044-03-15 12:00:00 BC', '20000-01-01']::timestamp[], '{{{{1,2}},{{3,null}}}}', '{{t,f,null}}', \
             '{{NaN,Infinity,-Infinity,1e300}}', '{{1.10,-2.00}}', array['a,b', '{{}}', '\"', '\\', 'NULL', '', null], \
             '{{5b0d9f4e-6c4e-4b7a-9a57-0f3f4f1f2a3b}}', '{{1 day 02:00,-1 mon}}', \
             '{{(2,2),(1,1);(4.5,4),(-3,3)}}', '{{\"(1,2)\"}}', array[array['\\x00'], array['\\xff']]::bytea[][]), \
             ({}, '20000-01-01', '20000-01-01 00:00:00+00', '294000-01-01 00:00:00', '', '[]', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', \
             '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', null), \
             ({}, '5874897-12-31', '0001-01-01 00:00:00+00', '9999-12-31 23:59:59.999999', null, null, null, null, null, null, null, null, null, \
             null, null, null, null, null, null, null, null, '[0:1][0:0]={{{{\"\\\\x01\"}},{{\"\\\\x02\"}}}}')",
            id + 1,
            id + 2
        )
    };
    server.sql(&values(1));
    let schema = "id = \"int64\", d = \"date\", tz = \"timestamp\", ts = \"timestamp\", b = \"binary\", doc = \"text\", bs = \"list<binary>\", \
                  docs = \"list<text>\", js = \"list<text>\", ds = \"list<date>\", tzs = \"list<timestamp>\", tss = \"list<timestamp>\", \
                  grid = \"list<list<int64>>\", bools = \"list<bool>\", floats = \"list<float64>\", prices = \"list<decimal(12,2)>\", \
                  words = \"list<text>\", uids = \"list<text>\", spans = \"list<text>\", boxes = \"list<text>\", points = \"list<text>\", \
                  cubes = \"list<list<binary>>\"";
    let sink = format!(
        "[sinks.copy]\nfrom = \"in\"\nkind = \"postgres\"\nurl = \"{}\"\ntable = \"copy\"\nmode = \"upsert\"\nkey = \"id\"\nop = \"op\"\n\
         [sinks.bad]\nfrom = \"in.rejected\"\nkind = \"queue\"\npath = \"bad.jsonl\"",
        url(&server)
    );
    let trial = following(&url(&server), "\"t\"", &schema.replace('\n', " "), &sink);
    let mut job = trial.start(&[]);
    job.wait_for_stderr("changes follow");
    server.sql(&values(4));
    job.wait_until("all are there or rejected", |_| {
        let bad = rows_of(&trial, "bad.jsonl");
        assert_eq!(bad, Vec::<Value>::new());
        server.sql("select count(*) from copy") == "6"
    });
    job.stop();
    // Elements are numbered from 1 in the copy, and documents may be written with other spaces.
    let shown = |table: &str| {
        server.sql(&format!("select id, d, tz, ts, b, doc, bs, docs, js::text[]::jsonb[], ds, tzs, tss, grid, bools, floats, prices, words, uids, spans, boxes::text, \
             points::text, array_to_string(cubes, ',', '-') from {table} order by id"))
    };
    assert_eq!(shown("copy"), shown("t"));
    assert_eq!(json!(ids(&trial)), json!([1, 2, 3, 4, 5, 6]));
}
