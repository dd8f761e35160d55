//! Changes of tables of a real PostgreSQL: each row and each change arrives once and in order, whatever dies, and sinks apply
//! them correctly.

use millstream_tests::{
    Certificates, Expected, Postgres, Process, Random, Relay, Trial, kill, shown_block, wait_until,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

const TABLES: &str = "create table t (id int primary key, n bigint, s text); create table u (k text primary key, n int, s text); \
                      alter table u replica identity full";

/// A server whose log has changes.
pub(crate) fn server() -> Postgres {
    Postgres::start_with(&["wal_level=logical"])
}

/// A job that reads `table`, and what more it has.
pub(crate) fn following(url: &str, table: &str, schema: &str, more: &str) -> Trial {
    let trial = Trial::new(&format!(
        r#"
        name = "following"
        batch = "50ms"
        [checkpoint]
        dir = "checkpoint"
        every = "500ms"
        [sources.in]
        kind = "postgres-changes"
        url = "{url}"
        table = {table}
        schema = {{ {schema}, op = {{ type = "text", from = "op" }} }}
        [sinks.out]
        from = "in"
        kind = "queue"
        path = "out.jsonl"
        {more}
        "#
    ));
    trial.write("pw", Postgres::PASSWORD);
    trial
}

/// The URL for the job file that [`following`] writes.
pub(crate) fn url(server: &Postgres) -> String {
    server.url().replace("${PW}", "${file:pw}")
}

/// The rows of a queue, as far as it is there.
pub(crate) fn rows_of(trial: &Trial, name: &str) -> Vec<Value> {
    if trial.path(name).exists() { trial.rows(name) } else { Vec::new() }
}

/// Waits until this many rows have arrived.
pub(crate) fn rows(job: &mut Process, trial: &Trial, count: usize) -> Vec<Value> {
    job.wait_until(&format!("{count} rows have come"), |_| rows_of(trial, "out.jsonl").len() >= count);
    rows_of(trial, "out.jsonl")
}

/// The setup that the page about changes requires first.
#[test]
fn the_setup_of_the_page_works() {
    let mut server = Postgres::start();
    assert_ne!(server.sql("show wal_level"), "logical");
    server.sql(&shown_block("sql", "alter system").text);
    server.stop();
    server.start_again();
    assert_eq!(server.sql("show wal_level"), "logical");
}

/// A transaction of some changes.
fn transaction(random: &mut Random) -> String {
    let mut text = String::from("begin;");
    let many = random.from(0, 12) == 0;
    if many {
        text += "update t set n = n + 1 where id % 3 = 0;";
    }
    for _ in 0..random.from(1, 12) {
        let (id, n) = (random.from(0, 4000), random.from(0, 1_000_000));
        text += &match random.from(0, 8) {
            0 | 1 => format!("insert into t values ({id}, {n}, 'new') on conflict (id) do nothing;"),
            2 => format!("update t set n = {n}, s = 'it''s {n}' where id = {id};"),
            3 => format!("delete from t where id = {id};"),
            4 => format!("update t set id = {} where id = {id};", 10_000 + n),
            5 => format!("insert into u values ('k{id}', {n}, null) on conflict (k) do update set n = excluded.n;"),
            6 => format!("update u set k = 'm{n}' where k = 'k{id}';"),
            _ => format!("delete from u where k < 'k{}' and k > 'k{}';", id + 3, id),
        };
    }
    // A rolled back transaction has no effect.
    text + if random.from(0, 10) == 0 { "rollback;" } else { "commit;" }
}

/// Does to a table what rows say; each has to be possible.
fn replay(rows: &[Value], key: &str) -> BTreeMap<String, Value> {
    let (mut table, mut seen) = (BTreeMap::new(), BTreeSet::new());
    for row in rows {
        assert!(seen.insert(row["change"].to_string()), "twice: {row}");
        let key = row[key].as_str().map_or_else(|| row[key].to_string(), str::to_owned);
        let values = json!([row["n"], row["s"]]);
        match row["op"].as_str().unwrap() {
            "insert" => assert!(table.insert(key, values).is_none(), "it was there: {row}"),
            "update" => assert!(table.insert(key, values).is_some(), "it was not there: {row}"),
            "delete" => assert!(table.remove(&key).is_some(), "it was not there: {row}"),
            "truncate" => table.clear(),
            other => panic!("{other}: {row}"),
        }
    }
    table
}

/// The content of a table.
fn table(server: &Postgres, name: &str, key: &str) -> BTreeMap<String, Value> {
    let text = server.sql(&format!("select json_agg(json_build_array({key}::text, n, s)) from {name}"));
    let rows: Vec<(String, Value, Value)> = serde_json::from_str(&text).unwrap();
    rows.into_iter().map(|(key, n, s)| (key, json!([n, s]))).collect()
}

#[test]
fn every_row_and_change_arrives_once_after_any_kill() {
    thread::scope(|scope| {
        for (seed, processes) in [(1, 1), (2, 2)] {
            scope.spawn(move || disturbed(seed, processes));
        }
    });
}

fn disturbed(seed: u64, processes: usize) {
    let mut random = Random::new(seed);
    let mut server = server();
    server.sql(TABLES);
    server.sql("insert into t select i, i, 'row ' || i from generate_series(0, 3999) i");
    server.sql("insert into u select 'k' || i, i, null from generate_series(0, 999) i");
    server.sql("create table copy_t (like t including all); create table copy_u (like u including all)");
    let url = url(&server);
    let change = "change = { type = \"text\", from = \"id\" }";
    let more = format!(
        r#"
        rows_per_batch_max = 150
        [sources.second]
        kind = "postgres-changes"
        url = "{url}"
        table = ["u"]
        schema = {{ k = "text", n = "int64", s = "text", op = {{ type = "text", from = "op" }}, {change} }}
        rows_per_batch_max = 70
        [sinks.out_u]
        from = "second"
        kind = "queue"
        path = "u.jsonl"
        [stages.t]
        from = "in"
        select = "id, n, s, op"
        [sinks.copy_t]
        from = "t"
        kind = "postgres"
        url = "{url}"
        table = "copy_t"
        mode = "upsert"
        key = "id"
        op = "op"
        [stages.u]
        from = "second"
        select = "op, k, n, s"
        [sinks.copy_u]
        from = "u"
        kind = "postgres"
        url = "{url}"
        table = "copy_u"
        mode = "upsert"
        key = "k"
        op = "op"
        "#
    );
    // The limit belongs to the source, which comes first.
    let (limit, more) = more.trim_start().split_once('\n').unwrap();
    let schema = format!("id = \"int64\", n = \"int64\", s = \"text\", {change}");
    let trial = following(&url, "\"t\"", &schema, more);
    trial.change("table = \"t\"", &format!("table = \"t\"\n{limit}"));
    let mut job = trial.start_processes(processes, 2);
    for round in 0..14 {
        for _ in 0..random.from(1, 8) {
            server.sql(&transaction(&mut random));
        }
        thread::sleep(Duration::from_millis(random.from(10, 900)));
        assert!(!job.has_ended(), "seed {seed}, round {round}: {}", job.stderr());
        match random.from(0, 5) {
            0 => {
                server.stop();
                thread::sleep(Duration::from_millis(random.from(0, 500)));
                server.start_again();
            }
            1 | 2 => {
                let children = job.children();
                job.kill();
                wait_until("its workers are gone", || children.iter().all(|child| !millstream_tests::is_alive(*child)));
                job = trial.start_processes(processes, 2);
            }
            _ => job.children().iter().for_each(|child| kill(*child)),
        }
    }
    if seed == 2 {
        // Its snapshots have been read by then.
        server.sql("insert into u values ('zz', 0, ''); delete from u where k = 'zz'");
        wait_until("changes come", || rows_of(&trial, "u.jsonl").iter().any(|row| row["op"] == "delete"));
        server.sql("begin; truncate u; insert into u values ('behind', 1, 'x'); commit");
    }
    server.sql("insert into t values (-1, 0, 'last'); insert into u values ('last', 0, null)");
    let last = |name: &str, key: &str, value: Value| rows_of(&trial, name).last().is_some_and(|row| row[key] == value);
    job.wait_until("all of it has come", |_| last("out.jsonl", "id", json!(-1)) && last("u.jsonl", "k", json!("last")));
    job.wait_until("and is in the copies", |_| {
        let same = |name: &str| {
            let sql = format!("select count(*) from ((table {name} except table copy_{name}) union all (table copy_{name} except table {name})) d");
            server.sql(&sql) == "0"
        };
        same("t") && same("u")
    });
    job.stop();
    assert_eq!(replay(&rows_of(&trial, "out.jsonl"), "id"), table(&server, "t", "id"), "seed {seed}");
    assert_eq!(replay(&rows_of(&trial, "u.jsonl"), "k"), table(&server, "u", "k"), "seed {seed}");
    // The server need not keep all of its log.
    let slots = "select count(*) from pg_replication_slots where slot_name like 'millstream\\_%' and not temporary";
    assert_eq!(server.sql(slots), "2", "seed {seed}");
}

/// Each type has the same value from a snapshot and from the log.
#[test]
fn values_match_the_schema() {
    let server = server();
    server.sql(
        "create table every (id int primary key, yes bool, small smallint, big bigint, x float8, r real, price numeric(12,3), \
         exact numeric, day date, at timestamptz, local timestamp, raw bytea, doc jsonb, tags text[], sizes int[], grid int[], uid uuid, \
         span interval, word varchar(10), gone text, twice int generated always as (id * 2) stored)",
    );
    let insert = |id: i32| {
        format!(
            "insert into every values ({id}, true, -7, 9223372036854775807, 'NaN', 1.5, 19.990, 12345678901234567890.5, '2026-03-29', \
             '2026-03-29 12:30:00.000001+02', '1969-12-31 23:59:59', '\\x00ff5c', '{{\"a\": [1, {{\"b\": null}}]}}', \
             array['x', 'y,z', 'a \"b\" \\', 'NULL', null], '{{1,NULL,3}}', '{{{{1,2}},{{3,4}}}}', \
             '5b0d9f4e-6c4e-4b7a-9a57-0f3f4f1f2a3b', '1 day 02:00', 'zwölf 🙂', null), \
             ({}, false, 0, -1, '-Infinity', 'Infinity', 'NaN', 'NaN', 'infinity', '-infinity', 'infinity', '', 'null', '{{}}', '{{}}', '{{}}', \
             '00000000-0000-0000-0000-000000000000', '-1 month', '', '')",
            id + 1
        )
    };
    server.sql(&insert(1));
    let schema = r#"id = "int64", yes = "bool", small = "int64", big = "int64", x = "float64", r = "float64", price = "text",
        exact = "text", day = "text", at = "text", local = "text", raw = "binary", doc = "text", a = { type = "text", path = "doc.a" },
        tags = "list<text>", sizes = "list<int64>", grid = "list<list<int64>>", uid = "text", span = "text", word = "text", gone = "text""#;
    let schema = schema.replace('\n', " ");
    let trial = following(&url(&server), "\"every\"", &schema, "");
    let mut job = trial.start(&[]);
    rows(&mut job, &trial, 2);
    server.sql(&insert(3));
    let found = rows(&mut job, &trial, 4);
    job.stop();
    let same = |id: i64, as_id: i64| {
        let mut row = found.iter().find(|row| row["id"] == id).unwrap().clone();
        row["id"] = as_id.into();
        row
    };
    assert_eq!(same(3, 1), same(1, 1));
    assert_eq!(same(4, 2), same(2, 2));
    let first = same(1, 1);
    assert_eq!(
        [
            &first["big"],
            &first["x"],
            &first["price"],
            &first["exact"],
            &first["day"],
            &first["at"],
            &first["local"],
            &first["raw"]
        ],
        [
            &json!(i64::MAX),
            &json!("NaN"),
            &json!("19.990"),
            &json!("12345678901234567890.5"),
            &json!("2026-03-29"),
            &json!("2026-03-29 10:30:00.000001+00"),
            &json!("1969-12-31 23:59:59"),
            &json!("00ff5c")
        ]
    );
    assert_eq!(first["tags"], json!(["x", "y,z", "a \"b\" \\", "NULL", null]));
    assert_eq!((&first["sizes"], &first["grid"]), (&json!([1, null, 3]), &json!([[1, 2], [3, 4]])));
    assert_eq!(first["a"], json!("[1, {\"b\": null}]"));
    assert_eq!((&first["gone"], &first["span"]), (&Value::Null, &json!("1 day 02:00:00")));
    let second = same(2, 2);
    assert_eq!((&second["x"], &second["r"], &second["gone"]), (&json!("-Infinity"), &json!("Infinity"), &json!("")));

    // User-defined types, and a value that does not match the type.
    let schema = "id = \"int64\", price = \"decimal(12,3)\", day = \"date\", at = \"timestamp\", local = \"timestamp\"";
    let typed = following(
        &url(&server),
        "\"every\"",
        schema,
        "[sinks.bad]\nfrom = \"in.rejected\"\nkind = \"queue\"\npath = \"bad.jsonl\"",
    );
    let mut job = typed.start(&[]);
    let found = rows(&mut job, &typed, 2);
    job.wait_until("the others are refused", |_| rows_of(&typed, "bad.jsonl").len() == 2);
    job.stop();
    let row = &found[0];
    assert_eq!(
        [&row["price"], &row["day"], &row["at"], &row["local"]].map(|value| value.to_string().replace('"', "")),
        ["19.99", "2026-03-29", "2026-03-29T10:30:00.000001Z", "1969-12-31T23:59:59.000000Z"]
    );
}

#[test]
fn old_values_are_read_if_the_log_has_them_and_missing_ones_are_rejected() {
    let server = server();
    server.sql("create table full_t (id int primary key, n int, long text); alter table full_t replica identity full");
    server.sql("create table key_t (like full_t including all)");
    let long = "(select string_agg(md5(i::text), '') from generate_series(1, 2000) i)";
    let run = |table: &str| {
        let schema = r#"id = "int64", n = "int64", long = "text", was = { type = "int64", path = "before.n" }"#;
        let bad = "[sinks.bad]\nfrom = \"in.rejected\"\nkind = \"queue\"\npath = \"bad.jsonl\"";
        let trial = following(&url(&server), &format!("\"{table}\""), schema, bad);
        let mut job = trial.start(&[]);
        job.wait_for_stderr("changes follow");
        server.sql(&format!("insert into {table} values (1, 1, {long}); update {table} set n = 2; update {table} set id = 7; delete from {table}"));
        server.sql(&format!("insert into {table} values (8, 8, 'end')"));
        job.wait_until("the end comes", |_| rows_of(&trial, "out.jsonl").iter().any(|row| row["long"] == "end"));
        job.stop();
        let length = |row: &Value| row["long"].as_str().map(str::len);
        let shown = |row: &Value| json!([row["op"], row["id"], row["n"], row["was"], length(row)]);
        let found: Vec<Value> = rows_of(&trial, "out.jsonl").iter().map(shown).collect();
        (found, trial.text("bad.jsonl"))
    };
    let (found, bad) = run("full_t");
    let complete = [
        json!(["insert", 1, 1, null, 64000]),
        json!(["update", 1, 2, 1, 64000]),
        json!(["delete", 1, 2, 2, 64000]),
        json!(["insert", 7, 2, null, 64000]),
        json!(["delete", 7, 2, 2, 64000]),
        json!(["insert", 8, 8, null, 3]),
    ];
    assert_eq!(found, complete);
    assert!(!bad.contains("reason"), "{bad}");
    let (found, bad) = run("key_t");
    let by_key = [
        json!(["insert", 1, 1, null, 64000]),
        json!(["delete", 1, null, null, null]),
        json!(["delete", 7, null, null, null]),
        json!(["insert", 8, 8, null, 3]),
    ];
    assert_eq!(found, by_key);
    assert_eq!(bad.matches("did not change column `long`").count(), 2, "{bad}");
    assert!(bad.contains("alter table \\\"public\\\".\\\"key_t\\\" replica identity full"), "{bad}");
}

#[test]
fn columns_may_be_added_and_removed() {
    let server = server();
    server.sql(TABLES);
    let trial = following(&url(&server), "\"t\"", "id = \"int64\", s = \"text\"", "");
    let mut job = trial.start(&[]);
    job.wait_for_stderr("changes follow");
    server.sql("insert into t values (1, 1, 'a')");
    server.sql("alter table t add column more text default 'm'; insert into t values (2, 2, 'b', 'x')");
    server.sql("alter table t alter column n type text; update t set n = 'no number' where id = 2");
    assert_eq!(rows(&mut job, &trial, 3)[2]["s"], "b");
    job.stop();
    // It exists now, but did not when the first of these was written.
    server.sql("insert into t values (3, '3', 'c')");
    server.sql("alter table t add column late int; insert into t values (4, '4', 'd', 'm', 4)");
    trial.change("s = \"text\"", "s = \"text\", late = \"int64\"");
    let mut job = trial.start(&[]);
    let found = rows(&mut job, &trial, 5);
    assert_eq!((&found[3]["late"], &found[4]["late"]), (&Value::Null, &json!(4)));
    server.sql("alter table t drop column s; insert into t values (5, '5', 'm', 5)");
    let ended = job.wait();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("the table `t` has no column `s`"), "{}", ended.stderr);
    trial.change("s = \"text\", ", "");
    let mut job = trial.start(&[]);
    assert_eq!(rows(&mut job, &trial, 6)[5]["id"], 5);
    job.stop();
}

/// Missing requirements are reported before it is too late, with the fix.
#[test]
fn tables_that_cannot_be_followed_are_reported() {
    let plain = Postgres::start();
    plain.sql(TABLES);
    let output = |url: &str, table: &str, schema: &str| {
        let ended = following(url, table, schema, "").run(&[]);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        ended.stderr
    };
    let level = output(&url(&plain), "\"t\"", "id = \"int64\"");
    assert!(level.contains("source `in`: the server's `wal_level` is `replica`"), "{level}");
    let server = server();
    server.sql(TABLES);
    server.sql("create table keyless (n int); create view v as select 1 as n; create role plain login password 'x'; grant all on t to plain");
    server.sql("create role reads login replication password 'x'; grant select on t to reads");
    let none = output(&url(&server), "\"nothing\"", "id = \"int64\"");
    assert!(none.contains("table `nothing` does not exist"), "{none}");
    let view = output(&url(&server), "\"v\"", "n = \"int64\"");
    assert!(view.contains("`v` is not a table but a view"), "{view}");
    let key = output(&url(&server), "\"keyless\"", "n = \"int64\"");
    assert!(key.contains("`keyless` has no primary key") && key.contains("start = \"latest\""), "{key}");
    let column = output(&url(&server), "\"t\"", "other = \"int64\"");
    assert!(column.contains("the table `t` has no column `other`"), "{column}");
    let named = output(&url(&server), "\"t\"\npublication = \"none\"", "id = \"int64\"");
    assert!(named.contains("publication `none` does not exist"), "{named}");
    server.sql("create publication of_u for table u");
    let other = output(&url(&server), "\"t\"\npublication = \"of_u\"", "id = \"int64\"");
    assert!(other.contains("the publication `of_u` does not have the table `t`"), "{other}");
    let as_user = |user: &str| url(&server).replace("me:${file:pw}", &format!("{user}:x"));
    let makes = output(&as_user("plain"), "\"u\"", "k = \"text\"");
    assert!(
        makes.contains("the job cannot create a publication") && makes.contains("publication = \"name\""),
        "{makes}"
    );
    server.sql("create publication of_t for table t");
    let role = output(&as_user("plain"), "\"t\"\npublication = \"of_t\"", "id = \"int64\"");
    assert!(role.contains("replication"), "{role}");

    // With the minimum that a job needs.
    let trial = following(&as_user("reads"), "\"t\"\npublication = \"of_t\"", "id = \"int64\"", "");
    let mut job = trial.start(&[]);
    server.sql("insert into t values (1)");
    rows(&mut job, &trial, 1);
    job.stop();
    // A user has cleaned up.
    wait_until("it is gone", || {
        server.try_sql("select pg_drop_replication_slot(slot_name) from pg_replication_slots").is_ok()
    });
    let gone = trial.run(&[]);
    assert_eq!(gone.code, Some(2), "{}", gone.stderr);
    assert!(gone.stderr.contains("was deleted, and with it the changes since"), "{}", gone.stderr);
    let tables = trial.path("job.toml");
    std::fs::write(&tables, trial.text("job.toml").replace("table = \"t\"", "table = [\"t\", \"u\"]")).unwrap();
    let more = trial.run(&[]);
    assert!(
        more.code == Some(2) && more.stderr.contains("has followed the tables t, but its file names t, u"),
        "{}",
        more.stderr
    );
}

#[test]
fn mistakes_of_the_job_file_are_found() {
    let mut expected = Expected::of(file!(), "mistakes_of_the_job_file_are_found");
    let refused = |change: &dyn Fn(String) -> String| {
        let trial = following("postgres://me@h/d", "\"t\"", "id = \"int64\"", "");
        trial.write("job.toml", change(trial.text("job.toml")));
        trial.rejected_message(&["validate", "job.toml"])
    };
    expected.add("no op", &refused(&|job| job.replace(", op = { type = \"text\", from = \"op\" }", "")));
    expected.add("a URL of another database", &refused(&|job| job.replace("postgres://me@h/d", "mysql://h/d")));
    let output = refused(&|job| job.replace("table = \"t\"", "table = [\"t\", \"a.b.c\"]"));
    assert!(output.contains("`a.b.c` is not a table") || output.contains("\"a.b.c\"` is not a table"), "{output}");
    expected.add("a table twice", &refused(&|job| job.replace("table = \"t\"", "table = [\"t\", \"t\"]")));
    expected.add("a format", &refused(&|job| job.replace("table = \"t\"", "format = \"csv\"\ntable = \"t\"")));
    expected.add("a part that changes do not have", &refused(&|job| job.replace("from = \"op\"", "from = \"key\"")));
    let sink = |keys: &str| {
        let sink = format!("[stages.some]\nfrom = \"in\"\nfilter = \"id > 0\"\n[sinks.kept]\nfrom = \"some\"\n{keys}");
        refused(&move |job| job + &sink)
    };
    expected.add("a sink of files", &sink("kind = \"files\"\npath = \"out\""));
    expected.add("a sink that adds rows", &sink("kind = \"postgres\"\nurl = \"postgres://h/d\"\ntable = \"a\""));
    expected.add(
        "upsert without op",
        &sink("kind = \"postgres\"\nurl = \"postgres://h/d\"\ntable = \"a\"\nmode = \"upsert\"\nkey = \"id\""),
    );
    expected.add("kafka with a key", &sink("kind = \"kafka\"\nbrokers = \"h:1\"\ntopic = \"t\"\nkey = \"id\""));
    expected.add(
        "op without upsert",
        &sink("kind = \"postgres\"\nurl = \"postgres://h/d\"\ntable = \"a\"\nop = \"op\"\nchanges = \"rows\""),
    );
    expected.add(
        "kafka with op and without a key",
        &sink("kind = \"kafka\"\nbrokers = \"h:1\"\ntopic = \"t\"\nop = \"op\"\nchanges = \"no\""),
    );
    let inner = |more: &str| {
        let names = "[sources.names]\nkind = \"queue\"\npath = \"names\"\nschema = { value = \"text\", name = \"text\" }\n[stages.named]\nfrom = \"in\"\n\
                     enrich = { stream = \"names\", on = \"value\", type = \"inner\" }\n";
        refused(&move |job| job + names + more)
    };
    let kept = "[sinks.kept]\nfrom = \"named\"\nkind = \"postgres\"\nurl = \"postgres://h/d\"\ntable = \"a\"\nmode = \"upsert\"\nkey = \"id\"\nop = \"op\"\n";
    expected.add("an inner join before a sink", &inner(kept));
    expected.add("an inner join before a table", &inner(
        "[sources.clicks]\nkind = \"rate\"\nrows_per_second = 1\n[stages.seen]\nfrom = \"clicks\"\nenrich = { stream = \"named\", on = { value = \"id\" }, op = \"op\" }\n",
    ));
    let clicks = "[sources.clicks]\nkind = \"rate\"\nrows_per_second = 1\n[stages.seen]\nfrom = \"clicks\"\nenrich = { stream = \"in\", on = { value = \"id\" } }\n";
    expected.add("a table of changes without op", &refused(&|job| job + clicks));
    expected.check_parts();
}

/// A table with the last row of each key, with a condition: a row is removed when its update no longer meets it.
#[test]
fn a_condition_after_latest_follows_updates_and_one_before_it_is_rejected() {
    let server = server();
    server.sql("create table orders (id bigint primary key, price numeric(12,2), customer text)");
    server.sql("create table cheap (id bigint primary key, price numeric(12,2), customer text)");
    server.sql("insert into orders values (1, 5, 'a'), (2, 6, 'b'), (3, 50, 'c')");
    let schema = "id = \"int64\", price = \"decimal(12,2)\", customer = \"text\"";
    let copy = |from: &str, key: &str| {
        format!(
            "[sinks.copy]\nfrom = \"{from}\"\nkind = \"postgres\"\nurl = \"{}\"\ntable = \"cheap\"\nmode = \"upsert\"\nkey = \"{key}\"\nop = \"op\"\n",
            url(&server)
        )
    };
    let cheap = |from: &str| format!("[stages.few]\nfrom = \"{from}\"\nfilter = \"price < 10\"\n");
    let raw = following(&url(&server), "\"orders\"", schema, &(cheap("in") + &copy("few", "id")));
    let output = raw.rejected_message(&["validate", "job.toml"]);
    assert!(output.contains("stage `few`: `filter`: the rows are changes of source `in`"), "{output}");
    assert!(output.contains("latest = true, key = \"id\" and op = \"op\""), "{output}");
    server.sql("create unique index by_customer on cheap (customer)");
    let other = following(&url(&server), "\"orders\"", schema, &copy("in", "customer")).run(&[]);
    let upper = "[stages.upper]\nfrom = \"in\"\nselect = \"id, price, upper(customer) as customer, op\"\n";
    let computed =
        following(&url(&server), "\"orders\"", schema, &(upper.to_owned() + &copy("upper", "customer"))).run(&[]);
    server.sql("drop index by_customer");
    assert_eq!(other.code, Some(2), "{}", other.stderr);
    let output =
        "sink `copy` keeps rows of the table `orders` by `customer`, which is not part of the table's key (id)";
    assert!(other.stderr.contains(output), "{}", other.stderr);
    assert!(computed.code == Some(2) && computed.stderr.contains(output), "{}", computed.stderr);
    let latest = "[stages.all]\nfrom = \"in\"\nkey = \"id\"\nlatest = true\nop = \"op\"\n";
    let trial =
        following(&url(&server), "\"orders\"", schema, &(latest.to_owned() + &cheap("all") + &copy("few", "id")));
    let mut job = trial.start(&[]);
    let has = || server.sql("select string_agg(id::text, ',' order by id) from cheap");
    job.wait_until("the first rows are there", |_| has() == "1,2");
    server.sql("update orders set price = 99 where id = 1; delete from orders where id = 2; insert into orders values (4, 1, 'd')");
    job.wait_until("what is no longer cheap has gone", |_| has() == "4");
    job.stop();
}

/// A start that lost its job may still hold the slot; an unrelated client does not lose it.
#[test]
fn the_slot_is_taken_from_earlier_starts_only() {
    let server = server();
    server.sql(TABLES);
    let trial = following(&url(&server), "\"t\"", "id = \"int64\"", "");
    let mut job = trial.start(&[]);
    server.sql("insert into t values (1)");
    rows(&mut job, &trial, 1);
    job.stop();
    let (slot, publication) =
        (server.sql("select slot_name from pg_replication_slots"), server.sql("select pubname from pg_publication"));
    let hold = |name: &str| {
        let mut command = server.program("pg_recvlogical");
        command.args(["--slot", &slot, "--start", "-f", "/dev/null", "--no-loop", "-o", "proto_version=1"]);
        command.args(["-o", &format!("publication_names={publication}")]).env("PGAPPNAME", name);
        let holder = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_until("it is held", || server.sql("select count(active_pid) from pg_replication_slots") == "1");
        holder
    };
    server.sql("insert into t values (2)");
    let mut dead = hold("millstream dead g0");
    let mut job = trial.start(&[]);
    assert_eq!(rows(&mut job, &trial, 2)[1]["id"], 2);
    job.stop();
    let _ = dead.kill();
    let _ = dead.wait();
    server.sql("insert into t values (3)");
    let mut other = hold("somebody");
    let mut job = trial.start(&[]);
    job.wait_for_stderr("`somebody`, reads the slot");
    assert_eq!(rows_of(&trial, "out.jsonl").len(), 2);
    let _ = other.kill();
    let _ = other.wait();
    assert_eq!(rows(&mut job, &trial, 3)[2]["id"], 3);
    job.stop();
    let mut later = hold("millstream later g1000");
    let ended = trial.run(&[]);
    assert!(!matches!(ended.code, Some(0) | None) && ended.stderr.contains("was replaced"), "{}", ended.stderr);
    let _ = later.kill();
    let _ = later.wait();
}

#[test]
fn without_a_checkpoint_no_slot_remains_and_a_lost_connection_ends_the_job() {
    let mut server = server();
    server.sql(TABLES);
    server.sql("insert into t values (1)");
    let trial = following(&url(&server), "\"t\"", "id = \"int64\"", "");
    trial.change("[checkpoint]\n        dir = \"checkpoint\"\n        every = \"500ms\"\n", "");
    let mut job = trial.start(&[]);
    server.sql("insert into t values (2)");
    rows(&mut job, &trial, 2);
    server.stop();
    server.start_again();
    let ended = job.wait();
    assert!(!matches!(ended.code, Some(0) | None) && ended.stderr.contains("without [checkpoint]"), "{}", ended.stderr);
    assert_eq!(server.sql("select count(*) from pg_replication_slots"), "0");
    // Only future changes.
    trial.change("table = \"t\"", "table = \"t\"\nstart = \"latest\"");
    std::fs::remove_file(trial.path("out.jsonl")).unwrap();
    let mut job = trial.start(&[]);
    job.wait_until("it follows", |_| server.sql("select count(active_pid) from pg_replication_slots") == "1");
    server.sql("truncate t; insert into t values (3)");
    let found = rows(&mut job, &trial, 2);
    assert_eq!((&found[0]["op"], &found[0]["id"], &found[1]["id"]), (&json!("truncate"), &Value::Null, &json!(3)));
    job.stop();
}

#[test]
fn the_server_may_use_tls() {
    let (mut server, made) = (server(), Certificates::make());
    server.sql(TABLES);
    server.speak_tls(&made.of("server", "DNS:localhost", 2));
    server.sql("insert into t values (1)");
    let url = url(&server).replace("127.0.0.1", "localhost");
    let url = format!("{url}?sslmode=verify-full&sslrootcert={}", made.ca().display());
    let trial = following(&url, "\"t\"", "id = \"int64\"", "");
    let mut job = trial.start(&[]);
    rows(&mut job, &trial, 1);
    server.sql("insert into t values (2)");
    rows(&mut job, &trial, 2);
    let all = "select count(*) from pg_stat_ssl join pg_stat_replication using (pid) where ssl";
    assert_eq!(server.sql(all), "1");
    job.stop();
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    /// A job that ends when its sources are idle does not mistake a server that is slow to send its log for an idle one.
    #[test]
    fn slow_changes_are_waited_for() {
        let server = server();
        server.sql(TABLES);
        let relay = Relay::to(server.port());
        let through = url(&server).replace(&format!(":{}/", server.port()), &format!(":{}/", relay.port));
        let trial = following(&through, "\"t\"", "id = \"int64\", s = \"text\"", "");
        trial.run_ok(&["--until-idle"]);
        // The first is long, so that it is sent on its own.
        server.sql(
        "insert into t values (1, 1, repeat('x', 100000)); insert into t values (2, 2, 'a change that is held back')",
    );
        *relay.held_back.lock().unwrap() = Some((b"a change that is held back".to_vec(), Duration::from_secs(14)));
        trial.run_ok(&["--until-idle"]);
        assert!(relay.held_back.lock().unwrap().is_none(), "it was held back");
        assert_eq!(rows_of(&trial, "out.jsonl").len(), 2);
    }

    #[test]
    fn a_server_need_not_keep_the_log_of_unused_tables() {
        let server = server();
        server.sql(TABLES);
        let trial = following(&url(&server), "\"t\"", "id = \"int64\"", "");
        let mut job = trial.start(&[]);
        server.sql("insert into t values (1)");
        rows(&mut job, &trial, 1);
        server.sql("insert into u select 'k' || i from generate_series(1, 10000) i");
        let now = server.sql("select pg_current_wal_lsn()");
        let passed = format!("select confirmed_flush_lsn >= '{now}' from pg_replication_slots");
        job.wait_until("the server knows that it is not needed", |_| {
            // Every server has periodic activity.
            server.sql("insert into u values ('x') on conflict (k) do update set n = 1");
            server.sql(&passed) == "t"
        });
        // Nor does it wait for the job when it stops in order.
        assert_eq!(rows_of(&trial, "out.jsonl").len(), 1);
        job.stop();
    }
}
