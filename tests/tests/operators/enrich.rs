//! Lookup tables for the rows of a stage: reread while the job runs, kept over restarts, and rejected if they are invalid.

use millstream_tests::{Expected, Postgres, Process, Trial, wait_until};
use serde_json::{Value, json};
use std::io::Write;
use std::net::{TcpListener, TcpStream};

/// A job that looks up rows from a socket, with one connection per start.
struct Shop {
    trial: Trial,
    listener: TcpListener,
    stream: Option<TcpStream>,
    /// Rows that came out.
    seen: usize,
}

impl Shop {
    fn new(table: &str) -> Shop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let trial = Trial::new(&format!(
            r#"
            batch = "0s"
            workers = 2
            [checkpoint]
            dir = "checkpoint"
            every = 3
            [sources.sales]
            kind = "socket"
            address = "127.0.0.1:{port}"
            format = "json"
            schema = {{ sku = "int64" }}
            [stages.named]
            from = "sales"
            enrich = {{ {table}, on = "sku", poll = "10ms" }}
            [sinks.out]
            from = "named"
            kind = "queue"
            path = "out.jsonl"
            "#
        ));
        Shop { trial, listener, stream: None, seen: 0 }
    }

    fn start(&mut self) -> Process {
        let process = Process::start(self.trial.command(&["run", "job.toml"]).env("PW", Postgres::PASSWORD));
        self.stream = Some(self.listener.accept().unwrap().0);
        process
    }

    /// Sells an item; returns the output.
    fn sell(&mut self, sku: i64) -> Value {
        let line = format!("{{\"sku\":{sku}}}\n");
        self.stream.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
        self.seen += 1;
        wait_until("a row comes out", || self.trial.rows("out.jsonl").len() >= self.seen);
        let rows = self.trial.rows("out.jsonl");
        assert_eq!(rows.len(), self.seen);
        rows[self.seen - 1].clone()
    }
}

const NOW: &str = "its table has";

#[test]
fn a_table_is_read_again_while_the_job_runs_and_survives_restarts() {
    let mut shop = Shop::new("file = \"names.csv\"");
    shop.trial.write("names.csv", "sku,name,price\n1,one,1.5\n2,two,\n");
    let mut process = shop.start();
    assert_eq!(shop.sell(1), json!({"sku": 1, "name": "one", "price": 1.5}));
    assert_eq!(shop.sell(3), json!({"sku": 3, "name": null, "price": null}));

    shop.trial.move_in("names.csv", "sku,name,price\n1,uno,2\n3,tre,3\n9,nove,9\n");
    process.wait_for_stderr("its table has 3 rows now");
    assert_eq!(shop.sell(1), json!({"sku": 1, "name": "uno", "price": 2.0}));
    assert_eq!(shop.sell(2), json!({"sku": 2, "name": null, "price": null}));

    // An invalid table leaves the old one in effect, and is reported once.
    for (content, output) in [
        ("sku,name,price\n1,x,cheap\n", "column `price`: `cheap` is not a float64"),
        ("sku,name\n1,x\n", "its header has no column `price`"),
        ("sku,name,price\n1,x,1\n2,y,1\n1,z,1\n", "rows 1 and 3 have the same key, `1`"),
        ("", "it has no header"),
    ] {
        shop.trial.move_in("names.csv", content);
        process.wait_for_stderr(output);
        assert_eq!(shop.sell(3)["name"], "tre");
    }
    std::fs::remove_file(shop.trial.path("names.csv")).unwrap();
    process.wait_for_stderr("no such file or directory");
    assert_eq!(shop.sell(3)["name"], "tre");
    shop.trial.move_in("names.csv", "sku,name,price\n3,three,1\n");
    process.wait_for_stderr("its table has 1 rows now");
    assert_eq!(shop.sell(3), json!({"sku": 3, "name": "three", "price": 1.0}));
    let output = process.stop();
    assert_eq!(output.matches("the previous table stays in use").count(), 5, "{output}");
    assert_eq!(output.matches(NOW).count(), 3, "{output}");

    // The same table again: it comes from the checkpoint.
    let process = shop.start();
    assert_eq!(shop.sell(3)["name"], "three");
    let output = process.stop();
    assert!(!output.contains(NOW), "{output}");

    shop.trial.move_in("names.csv", "sku,name,price\n3,drei,1\n");
    let process = shop.start();
    assert_eq!(shop.sell(3)["name"], "drei");
    assert!(process.stop().contains(NOW));
}

/// The supervisor restarts it on its own, so it must not depend on a file that the job did without.
#[test]
fn a_job_continues_with_its_table_if_the_file_is_missing_or_broken() {
    for content in [None, Some("sku,name\n1,\"")] {
        let mut shop = Shop::new("file = \"names.csv\", schema = { sku = \"int64\", name = \"text\" }");
        let refused = shop.trial.rejected_message(&["run", "job.toml"]);
        assert!(refused.contains("`names.csv` cannot be read: no such file or directory"), "{refused}");
        shop.trial.write("names.csv", "sku,name\n1,one\n");
        let mut process = shop.start();
        for _ in 0..8 {
            assert_eq!(shop.sell(1)["name"], "one");
        }
        match content {
            None => std::fs::remove_file(shop.trial.path("names.csv")).unwrap(),
            Some(content) => drop(shop.trial.write("names.csv", content)),
        }
        process.wait_for_stderr("the previous table stays in use");
        process.kill();
        let process = shop.start();
        assert_eq!(shop.sell(1)["name"], "one");
        let output = process.stop();
        assert_eq!(output.matches("the previous table stays in use").count(), 1, "{output}");
    }
}

/// A planned batch that is replayed sees the same table, though the file has changed since.
#[test]
fn a_replayed_batch_sees_its_table() {
    let job = r#"
        clock = "manual"
        in_flight_max = 1
        [checkpoint]
        dir = "checkpoint"
        every = 1000
        [sources.sales]
        kind = "queue"
        path = "input.jsonl"
        schema = { sku = "int64" }
        [stages.named]
        from = "sales"
        enrich = { file = "names.jsonl", on = "sku" }
        [sinks.out]
        from = "named"
        kind = "queue"
        path = "out.jsonl"
        "#;
    // A batch dies before its commit, so that it is planned only; or after it, and is not written again.
    for (fault, old) in [("kill@commit.before:1", 1), ("kill@commit.before:3", 3), ("kill@commit.after:3", 3)] {
        let trial = Trial::new(job);
        trial.write("input.jsonl", "[1]\n[1]\n[1]\n[1]\n[1]\n");
        trial.write("names.jsonl", "{\"sku\":1,\"name\":\"old\"}\n");
        let mut command = trial.command(&["run", "job.toml", "--workers", "2", "--unsupervised"]);
        assert_eq!(Process::start(command.env("MILLSTREAM_TEST_FAULT", fault)).wait().code, None);
        // Other columns, too: what was seen must not depend on them.
        trial.write("names.jsonl", "{\"sku\":1,\"name\":\"new\"}\n");
        trial.run_ok(&["--workers", "3"]);
        let names: Vec<Value> = trial.rows("out.jsonl").iter().map(|row| row["name"].clone()).collect();
        let expected: Vec<Value> = (1..=5).map(|batch| json!(if batch <= old { "old" } else { "new" })).collect();
        assert_eq!(names, expected, "{fault}");
    }
}

/// Columns that a file no longer has: batches that a sink has committed are replayed with the previous ones.
#[test]
fn earlier_batches_are_replayed_with_earlier_columns() {
    let trial = Trial::new(
        r#"
        clock = "manual"
        in_flight_max = 1
        [checkpoint]
        dir = "checkpoint"
        every = 1000
        [sources.sales]
        kind = "queue"
        path = "input.jsonl"
        schema = { sku = "int64" }
        [stages.named]
        from = "sales"
        enrich = { file = "names.csv", on = "sku" }
        [stages.totals]
        from = "named"
        aggregate = { n = "count(v)", last = "last(v)" }
        [sinks.out]
        from = "totals"
        kind = "queue"
        path = "out.jsonl"
        "#,
    );
    trial.write("input.jsonl", "[1]\n[1]\n[1]\n");
    trial.write("names.csv", "sku,v\n1,7\n");
    let mut command = trial.command(&["run", "job.toml", "--workers", "2", "--unsupervised"]);
    assert_eq!(Process::start(command.env("MILLSTREAM_TEST_FAULT", "kill@commit.after:2")).wait().code, None);
    trial.write("names.csv", "sku,v\n1,seven\n");
    trial.run_ok(&["--workers", "1"]);
    let last: Vec<Value> = trial.rows("out.jsonl").iter().map(|row| row["last"].clone()).collect();
    assert_eq!(last, [json!(7), json!(7), json!("seven")]);
}

#[test]
fn the_rows_of_a_query_are_a_table() {
    let mut server = Postgres::start();
    server.sql("create table goods (sku int, name varchar, price real, cost numeric, since timestamptz, raw bytea)");
    server.sql("insert into goods values (1, 'one', 1.5, 2.25, '2024-05-01 12:00:00.5+00', '\\x00ff'), (2, null, null, null, null, null)");
    let query = "select sku, name, price, cost::float8 as cost, since, sku = 1 as first from goods";
    let mut shop = Shop::new(&format!("url = \"{}\", query = \"{query}\"", server.url()));
    let mut process = shop.start();
    let one = json!({"sku": 1, "name": "one", "price": 1.5, "cost": 2.25, "since": "2024-05-01T12:00:00.500000Z", "first": true});
    assert_eq!(shop.sell(1), one);
    let two = json!({"sku": 2, "name": null, "price": null, "cost": null, "since": null, "first": false});
    assert_eq!(shop.sell(2), two);

    server.sql("update goods set name = 'uno' where sku = 1");
    wait_until("the table changes", || process.stderr().matches(NOW).count() == 2);
    assert_eq!(shop.sell(1)["name"], "uno");

    // Types that jobs do not have become some that they have.
    server.sql("create type mood as enum ('glad', 'sad')");
    server.sql(
        "create table odd (sku int, cost numeric, day date, doc jsonb, tags text[], sizes int[], id uuid, feels mood)",
    );
    server.sql(
        "insert into odd values (1, 2.25, '2026-03-29', '{\"a\": [1]}', '{x,\"y,z\",null}', '{{1},{2}}', \
         '5b0d9f4e-6c4e-4b7a-9a57-0f3f4f1f2a3b', 'glad'), (2, 'NaN', null, null, null, null, null, null)",
    );
    let query = "select * from odd -- all";
    let mut odd = Shop::new(&format!("url = \"{}\", query = \"{query}\"", server.url()));
    let other = odd.start();
    let one = json!({"sku": 1, "cost": 2.25, "day": "2026-03-29T00:00:00.000000Z", "doc": "{\"a\": [1]}",
        "tags": "[\"x\",\"y,z\",null]", "sizes": "[[1],[2]]", "id": "5b0d9f4e-6c4e-4b7a-9a57-0f3f4f1f2a3b", "feels": "glad"});
    assert_eq!(odd.sell(1), one);
    assert_eq!(odd.sell(2)["cost"], "NaN");
    other.stop();

    // Without the server the table stays, and the job continues.
    server.stop();
    process.wait_for_stderr("the previous table stays in use");
    assert_eq!(shop.sell(1)["name"], "uno");
    server.start_again();
    server.sql("insert into goods values (3, 'tre')");
    process.wait_for_stderr("its table has 3 rows now");
    assert_eq!(shop.sell(3)["name"], "tre");
    process.stop();
}

/// The Parquet output of a `files` sink.
#[test]
fn a_parquet_file_is_a_table() {
    let job = |stage: &str, from: &str, sink: &str| {
        Trial::new(&format!(
            "clock = \"manual\"\n[sources.in]\nkind = \"queue\"\npath = \"input.jsonl\"\n\
             schema = {{ sku = \"text\", x = \"float64\", at = \"timestamp\", raw = \"binary\" }}\n\
             {stage}[sinks.out]\nfrom = \"{from}\"\n{sink}\n"
        ))
    };
    let goods = job("", "in", "kind = \"files\"\npath = \"goods\"\nformat = \"parquet\"");
    goods.write("input.jsonl", "[[\"a\",1.5,\"2024-05-01T12:00:00Z\",\"x\"],[\"b\",null,null,null]]\n");
    goods.run_ok(&[]);
    let files = std::fs::read_dir(goods.path("goods")).unwrap().map(|entry| entry.unwrap().path());
    let parquet = files.into_iter().find(|path| path.extension().is_some_and(|end| end == "parquet")).unwrap();

    let stage =
        format!("[stages.more]\nfrom = \"in\"\nenrich = {{ file = \"{}\", on = \"sku\" }}\n", parquet.display());
    let sales = job(&stage, "more", "kind = \"queue\"\npath = \"out.jsonl\"");
    sales.write("input.jsonl", "[[\"a\",2,null,null],[\"b\",3,null,null],[\"c\",4,null,null]]\n");
    sales.run_ok(&[]);
    let rows = sales.rows("out.jsonl");
    let output: Vec<_> =
        rows.iter().map(|row| (row["x"].clone(), row["more_x"].clone(), row["more_at"].clone())).collect();
    let expected = [
        (json!(2.0), json!(1.5), json!("2024-05-01T12:00:00.000000Z")),
        (json!(3.0), Value::Null, Value::Null),
        (json!(4.0), Value::Null, Value::Null),
    ];
    assert_eq!(output, expected);
}

/// A job with a table of these keys; `url` and `query` or `file`, and `on`.
fn rejection(enrich: &str, files: &[(&str, &str)]) -> String {
    let trial = Trial::new(&format!(
        "[sources.sales]\nkind = \"socket\"\naddress = \"127.0.0.1:9\"\nformat = \"json\"\n\
         schema = {{ sku = \"text\", n = \"int64\" }}\n\
         [stages.named]\nfrom = \"sales\"\nenrich = {{ {enrich} }}\n\
         [sinks.out]\nfrom = \"named\"\nkind = \"print\"\n"
    ));
    for (name, content) in files {
        trial.write(name, content);
    }
    trial.rejected_message(&["validate", "job.toml"])
}

#[test]
fn tables_that_cannot_be_used_are_refused() {
    let on = "on = \"sku\"";
    let csv = |content: &str| rejection(&format!("file = \"t.csv\", {on}"), &[("t.csv", content)]);
    let mut expected = Expected::of(file!(), "tables_that_cannot_be_used_are_refused");
    for (case, output) in [
        ("t.csv is not there", rejection(&format!("file = \"t.csv\", {on}"), &[])),
        ("t.csv is empty", csv("")),
        ("no column of the key", csv("article,n\na,1\n")),
        ("other types", csv("sku,n\n1,1\n")),
        ("a key comes twice", csv("sku,n\na,1\nb,2\na,3\n")),
        ("a cell too many", csv("sku,n\na,1,2\n")),
        ("t.jsonl is a list", rejection("file = \"t.jsonl\", on = \"sku\"", &[("t.jsonl", "[1]\n")])),
        ("t.parquet is cut", rejection("file = \"t.parquet\", on = \"sku\"", &[("t.parquet", "PAR1")])),
        (
            "a variable that is not set",
            rejection(
                "url = \"postgres://me@127.0.0.1:1/db${NOT_SET_ANYWHERE}\", query = \"select 1\", on = \"sku\"",
                &[],
            ),
        ),
    ] {
        expected.add(case, &output);
    }
    let large = "a".repeat((64 << 20) + 1);
    expected.add("t.csv is large", &rejection("file = \"t.csv\", on = \"sku\"", &[("t.csv", &large)]));
    expected.check_parts();
}

#[test]
fn streams_that_cannot_be_a_table_are_refused() {
    let rejection = |schema: &str, enrich: &str| {
        let trial = Trial::new(&format!(
            "[sources.sales]\nkind = \"rate\"\nrows_per_second = 1\n[sources.t]\nkind = \"queue\"\npath = \"t.jsonl\"\nschema = {{ \
             {schema} }}\n[stages.named]\nfrom = \"sales\"\nenrich = {{ stream = \"t\", {enrich} }}\n\
             [sinks.out]\nfrom = \"named\"\nkind = \"print\"\n"
        ));
        trial.write("t.jsonl", "[]\n");
        trial.rejected_message(&["validate", "job.toml"])
    };
    let mut expected = Expected::of(file!(), "streams_that_cannot_be_a_table_are_refused");
    for (schema, enrich) in [
        ("k = \"int64\"", "on = \"value\""),
        ("value = \"text\"", "on = \"value\""),
        ("value = \"int64\"", "on = \"value\", op = \"op\""),
        ("value = \"int64\", op = \"int64\"", "on = \"value\", op = \"op\""),
    ] {
        expected.add(&format!("{schema}\n{enrich}"), &rejection(schema, enrich));
    }
    expected.check_parts();
}
