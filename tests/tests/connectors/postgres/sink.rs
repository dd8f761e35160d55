//! The sink `postgres` with a real server, as its reader sees the table.

use millstream_tests::{Ended, Expected, Postgres, Process, Trial, free_port, wait_until};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

const INPUT: &str = "[[\"a\",1],[\"b\",null],[\"a\",2]]\n[]\n[[\"c\",-9223372036854775808],[\"b\",4]]\n";

/// A job with virtual time that writes rows of `k` and `n` into a table.
fn job(server: &Postgres, sink: &str) -> Trial {
    job_at(&server.url(), "k = \"text\", n = \"int64\"", sink)
}

fn job_at(url: &str, columns: &str, sink: &str) -> Trial {
    let trial = Trial::new(&format!(
        r#"clock = "manual"
[sources.in]
kind = "queue"
path = "input.jsonl"
schema = {{ {columns} }}
[sinks.out]
from = "in"
kind = "postgres"
url = "{url}"
{sink}
"#
    ));
    trial.write("input.jsonl", INPUT);
    trial
}

fn start(trial: &Trial) -> Process {
    Process::start(trial.command(&["run", "job.toml"]).env("PW", Postgres::PASSWORD))
}

fn run(trial: &Trial) -> Ended {
    start(trial).wait()
}

fn run_ok(trial: &Trial) {
    let ended = run(trial);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// Runs a job that is rejected with this exit code; returns its message after `error: `.
fn rejection(trial: &Trial, code: i32) -> String {
    let ended =
        Process::start(trial.command(&["run", "job.toml"]).env("PW", Postgres::PASSWORD).env("MILLSTREAM_LOG", "off"))
            .wait();
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    ended.stderr.trim_start_matches("error: ").trim_end().to_owned()
}

#[test]
fn append_creates_the_table_and_adds_every_row() {
    let server = Postgres::start();
    let trial = job(&server, "table = \"Odd \\\"na'me\"");
    let sql = "select k, n from \"Odd \"\"na'me\" order by n, k";
    run_ok(&trial);
    let once = "c|-9223372036854775808\na|1\na|2\nb|4\nb|";
    assert_eq!(server.sql(sql), once);
    run_ok(&trial);
    assert_eq!(server.sql("select count(*) from \"Odd \"\"na'me\""), "10");
}

#[test]
fn every_type_and_unusual_value_arrives() {
    let server = Postgres::start();
    server.sql("create schema \"My app\"");
    let columns = "yes = \"bool\", n = \"int64\", x = \"float64\", \"größe \\\"q\\\"\" = \"text\", raw = \"binary\", ts = \"timestamp\"";
    let trial = job_at(&server.url(), columns, "table = \"My app.every\"");
    let rows = [
        r#"[true,1,"NaN","zwölf 🙂\t\\N","é","2026-11-20T08:30:01.000001Z"]"#,
        r#"[false,-1,1e300,"","","1969-12-31T23:59:59.999999Z"]"#,
        "[null,null,null,null,null,null]",
    ];
    trial.write("input.jsonl", format!("[{}]\n", rows.join(",")));
    run_ok(&trial);
    let sql =
        "set time zone 'UTC'; set bytea_output = 'hex'; select * from \"My app\".every order by n desc nulls last";
    let expected = "t|1|NaN|zwölf 🙂\t\\N|\\xc3a9|2026-11-20 08:30:01.000001+00\n\
                    f|-1|1e+300||\\x|1969-12-31 23:59:59.999999+00\n|||||";
    assert_eq!(server.sql(sql), expected);
    assert_eq!(server.sql("select count(*) from \"My app\".every where \"größe \"\"q\"\"\" is null"), "1");
    let types = "select string_agg(data_type, ', ' order by ordinal_position) from information_schema.columns \
                 where table_name = 'every'";
    assert_eq!(server.sql(types), "boolean, bigint, double precision, text, bytea, timestamp with time zone");
}

/// The server converts to types that rows do not have, in tables that grow and in those whose rows are replaced.
#[test]
fn tables_may_have_numeric_dates_json_and_arrays() {
    let server = Postgres::start();
    let types = "price numeric(12,2), exact numeric, whole numeric, day date, doc jsonb, plain json, tags text[], \
                 sizes integer[], id uuid, small real";
    let columns = "k = \"text\", price = \"float64\", exact = \"text\", whole = \"int64\", day = \"timestamp\", doc = \"text\", \
                   plain = \"text\", tags = \"text\", sizes = \"text\", id = \"text\", small = \"float64\"";
    let first = r#"["a",19.9,"12345678901234567890.5",9007199254740993,"2026-03-29T23:30:00Z",{"b":[1]},"[1, 2]",["x","y,z",null],"{1,2}","5b0d9f4e-6c4e-4b7a-9a57-0f3f4f1f2a3b",1.5]"#;
    let nulls = r#"["b",null,null,null,null,null,null,null,null,null,null]"#;
    let again = r#"["a",0.1,"1",1,"1969-12-31T23:59:59Z","null","{}","[]","[3]",null,"NaN"]"#;
    let shown = "a|0.10|1|1|1969-12-31|null|{}|{}|{3}||NaN\nb||||||||||";
    server.sql(&format!("create table kept (k text primary key, {types})"));
    let upsert = job_at(&server.url(), columns, "table = \"kept\"\nmode = \"upsert\"\nkey = \"k\"");
    upsert.write("input.jsonl", format!("[{first},{nulls}]\n[{again}]\n"));
    run_ok(&upsert);
    assert_eq!(server.sql("select * from kept order by k"), shown);

    server.sql(&format!("create table added (k text, {types})"));
    let append = job_at(&server.url(), columns, "table = \"added\"");
    append.write("input.jsonl", format!("[{first},{nulls}]\n[{again}]\n"));
    run_ok(&append);
    let one = "a|19.90|12345678901234567890.5|9007199254740993|2026-03-29|{\"b\": [1]}|[1, 2]|{x,\"y,z\",NULL}|{1,2}|\
               5b0d9f4e-6c4e-4b7a-9a57-0f3f4f1f2a3b|1.5";
    assert_eq!(
        server.sql("select * from added order by k, price desc"),
        shown.replacen("a|", &format!("{one}\na|"), 1)
    );

    // A key of such a type: two strings are one number.
    server.sql("create table by_number (k numeric primary key, n bigint)");
    let keyed =
        job_at(&server.url(), "k = \"text\", n = \"int64\"", "table = \"by_number\"\nmode = \"upsert\"\nkey = \"k\"");
    keyed.write("input.jsonl", "[[\"1\",1],[\"1.0\",2],[\"2\",3]]\n");
    run_ok(&keyed);
    assert_eq!(server.sql("select trim_scale(k), n from by_number order by k"), "1|2\n2|3");

    keyed.write("input.jsonl", "[[\"many\",1]]\n");
    let output = rejection(&keyed, 1);
    assert!(output.contains("invalid input syntax for type numeric: \"many\""), "{output}");
}

#[test]
fn structs_lists_decimals_and_dates_arrive() {
    let server = Postgres::start();
    let columns = "k = \"text\", price = \"decimal(20,3)\", day = \"date\", tags = \"list<text>\", \
                   doc = \"struct<id: int64, of: list<decimal(4,1)>>\"";
    let rows = r#"["a","12345678901234567.125","2026-03-29",["x","y,z",null],{"id":1,"of":[0.5,null]}]"#;
    let nulls = r#"["b",null,null,null,null]"#;
    let shown = |tags: &str, doc: &str| format!("a|12345678901234567.125|2026-03-29|{tags}|{doc}\nb||||");
    let made = job_at(&server.url(), columns, "table = \"made\"");
    made.write("input.jsonl", format!("[{rows},{nulls}]\n"));
    run_ok(&made);
    let object = "{\"id\": 1, \"of\": [0.5, null]}";
    assert_eq!(server.sql("select * from made order by k"), shown("[\"x\", \"y,z\", null]", object));
    assert_eq!(
        server.sql("select pg_typeof(price), pg_typeof(day), pg_typeof(tags) from made limit 1"),
        "numeric|date|jsonb"
    );
    // A table that was there.
    server.sql("create table kept (k text primary key, price numeric, day date, tags text[], doc json)");
    let kept = job_at(&server.url(), columns, "table = \"kept\"\nmode = \"upsert\"\nkey = \"k\"");
    kept.write("input.jsonl", format!("[{rows},{nulls}]\n"));
    run_ok(&kept);
    assert_eq!(server.sql("select * from kept order by k"), shown("{x,\"y,z\",NULL}", "{\"id\":1,\"of\":[0.5,null]}"));
}

#[test]
fn upsert_keeps_the_last_row_of_each_key() {
    let server = Postgres::start();
    let made = job(&server, "table = \"made\"\nmode = \"upsert\"\nkey = \"k\"");
    run_ok(&made);
    let expected = "a|2\nb|4\nc|-9223372036854775808";
    assert_eq!(server.sql("select k, n from made order by k"), expected);
    run_ok(&made);
    assert_eq!(server.sql("select k, n from made order by k"), expected);
    // An existing table, with columns in another order and one that the rows do not have.
    server.sql("create table theirs (at timestamptz default now(), n bigint, k varchar(9) unique)");
    server.sql("insert into theirs (k, n) values ('a', 77), ('z', 26)");
    run_ok(&job(&server, "table = \"theirs\"\nmode = \"upsert\"\nkey = [\"k\"]"));
    assert_eq!(server.sql("select k, n from theirs where at is not null order by k"), format!("{expected}\nz|26"));
}

/// Names that statements of the sink use themselves.
#[test]
fn a_table_may_have_any_name() {
    let server = Postgres::start();
    for table in ["millstream_rows", "millstream_rows_", "excluded", "millstream_target", "select"] {
        for mode in ["mode = \"append\"", "mode = \"upsert\"\nkey = \"k\""] {
            let columns = "k = \"date\", n = \"int64\"";
            let trial = job_at(&server.url(), columns, &format!("table = \"{table}\"\n{mode}"));
            trial.write("input.jsonl", "[[\"2026-11-22\",1],[\"2026-11-23\",2]]\n[[\"2026-11-24\",3]]\n");
            run_ok(&trial);
            assert_eq!(server.sql(&format!("select sum(n) from \"{table}\"")), "6", "{table} {mode}");
            server.sql(&format!("drop table \"{table}\""));
        }
    }
}

#[test]
fn tables_that_cannot_take_the_rows_are_refused_before_anything_runs() {
    let server = Postgres::start();
    let upsert = "table = \"t\"\nmode = \"upsert\"\nkey = \"k\"";
    let append = "table = \"t\"";
    let mut expected = Expected::of(file!(), "tables_that_cannot_take_the_rows_are_refused_before_anything_runs");
    for (make, sink) in [
        ("create table t (k text, m bigint)", append),
        ("create table t (k text, n varchar(9))", append),
        ("create table t (k text, n bigint, must text not null)", append),
        ("create table t (k text, n bigint, unique (k, n))", upsert),
        ("create view t as select 1 as n", append),
    ] {
        server.sql(make);
        expected.add(&format!("{make}\n{sink}"), &rejection(&job(&server, sink), 2));
        let what = if make.contains("view") { "view" } else { "table" };
        assert_eq!(
            server.sql(&format!("select count(*) from t{}", if what == "view" { " where n = 0" } else { "" })),
            "0"
        );
        server.sql(&format!("drop {what} t"));
    }
    let unknown = rejection(&job(&server, "table = \"t\"\nmode = \"upsert\"\nkey = \"word\""), 2);
    expected.add("a key that the rows do not have", &unknown);
    expected.check();
    assert_eq!(server.sql("select to_regclass('t') is null"), "t");
}

#[test]
fn an_unsuitable_server_is_reported_at_the_start() {
    let port = free_port();
    let dead =
        job_at(&format!("postgres://me:${{PW}}@127.0.0.1:{port}/a"), "k = \"text\"", "table = \"t\"\nwait = \"0s\"");
    let output = rejection(&dead, 1);
    let start = format!("job.toml:9: sink `out`: database `a` at 127.0.0.1:{port}: error connecting to server: ");
    assert!(
        output.starts_with(&start) && output.ends_with("; start the server, or check `url`, or raise `wait`"),
        "{output}"
    );
    let output = Process::start(dead.command(&["validate", "job.toml"]).env("PW", "x")).wait();
    assert!(output.code == Some(1) && output.stderr.contains(&start), "{}", output.stderr);
    let unset = job_at("postgres://me:${NO_SUCH_VARIABLE}@h/a", "k = \"text\"", "table = \"t\"");
    let output = rejection(&unset, 2);
    assert!(
        output.contains("job.toml:9: ") && output.contains("variable `NO_SUCH_VARIABLE`, which is not set"),
        "{output}"
    );

    let server = Postgres::start();
    let wrong = job_at(&server.url().replace("${PW}", "guess"), "k = \"text\"", "table = \"t\"");
    let output = rejection(&wrong, 1);
    assert!(output.contains("password authentication failed") && !output.contains("guess"), "{output}");
}

/// A batch that the server rejects fails the job; nothing of it is in the table, and everything before it is.
#[test]
fn an_error_of_the_server_ends_the_job_and_leaves_complete_batches() {
    let server = Postgres::start();
    server.sql("create table t (k text, n integer check (n > 0))");
    let trial = job(&server, "table = \"t\"");
    for (bad, message) in [
        ("[\"x\",5],[\"y\",-5]", "violates check constraint \"t_n_check\""),
        ("[\"x\",5],[\"y\",5000000000]", "row 2, column `n`: 5000000000 does not fit into the column's type int4"),
        ("[\"x\",5],[\"a\\u0000b\",6]", "row 2, column `k`: its text contains NUL"),
    ] {
        server.sql("truncate t");
        trial.write("input.jsonl", format!("[[\"a\",1]]\n[{bad}]\n[[\"b\",2]]\n"));
        let ended = run(&trial);
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains("sink `out`: batch 2: ") && ended.stderr.contains(message), "{}", ended.stderr);
        assert_eq!(server.sql("select k, n from t"), "a|1");
    }
}

/// The job waits for a server that is unreachable for a while, and no row is lost or duplicated.
#[test]
fn a_server_may_be_unreachable_for_a_while() {
    let mut server = Postgres::start();
    let rows = 3_000;
    let trial = Trial::new(&format!(
        r#"batch = "20ms"
[sources.in]
kind = "rate"
rows_per_second = 1000
rows_max = {rows}
[sinks.out]
from = "in"
kind = "postgres"
url = "{}"
table = "t"
"#,
        server.url()
    ));
    let mut job = start(&trial);
    let count = |server: &Postgres| server.sql("select count(*) from t").parse::<u64>().unwrap();
    wait_until("the table is there", || server.sql("select to_regclass('t') is not null") == "t");
    for _ in 0..2 {
        let before = count(&server);
        wait_until("rows arrive", || count(&server) > before);
        let warnings = job.stderr().matches("the job waits").count();
        server.stop();
        job.wait_until("it says that it waits", |job| job.stderr().matches("the job waits").count() > warnings);
        server.start_again();
        job.wait_until("it goes on", |job| {
            job.stderr().matches("accepts rows again; the job continues").count() > warnings
        });
    }
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("the job waits").count(), 2, "once for each time: {}", ended.stderr);
    assert_eq!(server.sql("select count(*), count(distinct value) from t"), format!("{rows}|{rows}"));
}

/// A value that no table can hold is an error of the row: nothing is retried, with or without checkpoints.
#[test]
fn a_row_that_the_table_cannot_store_is_not_retried() {
    let server = Postgres::start();
    server.sql("create table t (k text, n integer check (n > 0))");
    for (bad, message) in [
        ("[\"a\\u0000b\",6]", "batch 1: row 2, column `k`: its text contains NUL"),
        ("[\"x\",5000000000]", "batch 1: row 2, column `n`: 5000000000 does not fit into the column's type int4"),
        ("[\"x\",-5]", "violates check constraint \"t_n_check\""),
    ] {
        let trial = job(&server, "table = \"t\"\n[checkpoint]\ndir = \"checkpoint\"");
        trial.write("input.jsonl", format!("[[\"a\",1],{bad}]\n"));
        let began = Instant::now();
        let ended = run(&trial);
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains("sink `out`: batch 1: ") && ended.stderr.contains(message), "{}", ended.stderr);
        assert!(!ended.stderr.contains(" from the last checkpoint in "), "{}", ended.stderr);
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
        assert_eq!(server.sql("select count(*) from t"), "0");
    }
}

/// A job may be started before its database, so a booting machine may start both in any order.
#[test]
fn a_start_waits_for_its_servers() {
    let mut server = Postgres::start();
    server.sql("create table colours (k text, colour text)");
    server.sql("insert into colours values ('a', 'red')");
    let url = server.url();
    server.stop();
    for checkpoint in ["", "[checkpoint]\ndir = \"checkpoint\"\n"] {
        let trial = job_at(&url, "k = \"text\", n = \"int64\"", "table = \"t\"");
        let stage = format!(
            "[stages.coloured]\nfrom = \"in\"\nenrich = {{ url = \"{url}\", query = \"select * from colours\", on = \
             \"k\" }}\n{checkpoint}"
        );
        let text = trial
            .text("job.toml")
            .replace("from = \"in\"\nkind = \"postgres\"", "from = \"coloured\"\nkind = \"postgres\"");
        trial.write("job.toml", format!("{text}{stage}"));
        let mut job = start(&trial);
        job.wait_for_stderr("stage `coloured`: enrich: database `postgres` at 127.0.0.1:");
        job.wait_for_stderr("the job waits for up to 1h (`wait`)");
        server.start_again();
        let ended = job.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stderr.contains("is reachable; the job starts"), "{}", ended.stderr);
        assert_eq!(server.sql("select colour from t where k = 'a' limit 1"), "red");
        server.sql("drop table t");
        server.stop();
    }
    // No longer than configured, and a signal ends the wait.
    let trial = job_at(&url, "k = \"text\", n = \"int64\"", "table = \"t\"\nwait = \"300ms\"");
    let output = rejection(&trial, 1);
    assert!(output.contains(", for 300ms; start the server, or check `url`, or raise `wait`"), "{output}");
    let trial = job_at(&url, "k = \"text\", n = \"int64\"", "table = \"t\"");
    let mut job = start(&trial);
    job.wait_for_stderr("the job waits");
    job.signal("TERM");
    job.wait_within(Duration::from_secs(10));
}

/// Listens, and calls `talk` with each connection.
fn hostile(talk: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let talk = Arc::new(talk);
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let talk = talk.clone();
            std::thread::spawn(move || talk(socket));
        }
    });
    port
}

/// Servers that hang or flood: neither blocks a command, nor fills its memory.
#[test]
fn a_hanging_or_flooding_server_is_abandoned() {
    let silent = hostile(|mut socket| while matches!(socket.read(&mut [0; 1024]), Ok(1..)) {});
    let flood = hostile(|mut socket| {
        let _ = socket.read(&mut [0; 1024]);
        // It accepts any login, and keeps confirming it.
        let mut bytes = vec![b'R', 0, 0, 0, 8, 0, 0, 0, 0];
        let _ = socket.write_all(&bytes);
        bytes.clear();
        for _ in 0..1000 {
            let text = [&b"SNOTICE\0VNOTICE\0C00000\0M"[..], &[b'x'; 1000], &[0, 0]].concat();
            bytes.push(b'N');
            bytes.extend_from_slice(&u32::try_from(text.len() + 4).unwrap().to_be_bytes());
            bytes.extend_from_slice(&text);
        }
        while socket.write_all(&bytes).is_ok() {}
    });
    for (port, output) in [
        (silent, "no response in 1 s to the first message"),
        (
            flood,
            "it sent more than 256 KiB before the login was \
                                                                 complete",
        ),
    ] {
        let url = format!("postgres://me:${{PW}}@127.0.0.1:{port}/a?connect_timeout=1&sslmode=disable");
        let columns = "k = \"text\", n = \"int64\"";
        let sink = job_at(&url, columns, "table = \"t\"\nwait = \"0s\"");
        let enrich = job_at(&url, columns, "table = \"t\"");
        let stage = format!(
            "[stages.coloured]\nfrom = \"in\"\nenrich = {{ url = \"{url}\", query = \"select 1\", on = \"k\", wait = \
             \"0s\" }}\n"
        );
        enrich.write("job.toml", enrich.text("job.toml") + &stage);
        for trial in [&sink, &enrich] {
            for command in ["validate", "run"] {
                let mut job = Process::start(trial.command(&[command, "job.toml"]).env("PW", "x"));
                let (mut maximum, began) = (0, Instant::now());
                wait_until("it ends", || {
                    // A process that has just exited no longer has such a line.
                    let status = std::fs::read_to_string(format!("/proc/{}/status", job.id())).unwrap_or_default();
                    let high = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
                    let kib = high.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default();
                    maximum = maximum.max(kib << 10);
                    job.has_ended()
                });
                assert!(began.elapsed() < Duration::from_secs(60), "{command}: {:?}", began.elapsed());
                let ended = job.wait();
                assert_eq!(ended.code, Some(1), "{command}: {}", ended.stderr);
                assert!(ended.stderr.contains(output), "{command}: {}", ended.stderr);
                assert!(maximum < 300 << 20, "{command}: {maximum} bytes");
            }
        }
    }
    // The time of --timeout counts while a server is waited for.
    let url = format!("postgres://me:${{PW}}@127.0.0.1:{silent}/a");
    let trial = job_at(&url, "k = \"text\", n = \"int64\"", "table = \"t\"");
    let job = Process::start(trial.command(&["run", "job.toml", "--timeout", "1s"]).env("PW", "x"));
    let ended = job.wait_within(Duration::from_secs(60));
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("did not respond within --timeout"), "{}", ended.stderr);
}

/// PostgreSQL knows dates that have no four digits, and not all that a row may have.
#[test]
fn extreme_dates_and_times_arrive_or_are_rejected_with_their_row() {
    let server = Postgres::start();
    let days = |table: &str, days: &[i64]| {
        let trial = job_at(&server.url(), "k = \"int64\", none = \"date\"", &format!("table = \"{table}\""));
        trial.change("from = \"in\"", "from = \"days\"");
        let sql = "select k, cast(cast(k as int) as date) as day from \"in\"";
        let stage = format!("[stages.days]\nfrom = \"in\"\nsql = '{sql}'\n");
        trial.write("job.toml", trial.text("job.toml") + &stage);
        let rows: Vec<_> = days.iter().map(|day| format!("[{day},null]")).collect();
        trial.write("input.jsonl", format!("[{}]\n", rows.join(",")));
        trial
    };
    run_ok(&days("made", &[-719_529, -719_528, -2_440_588, 2_932_896, 2_932_897, 2_145_042_905]));
    assert_eq!(
        server.sql("select day from made order by k"),
        "4714-11-24 BC\n0002-12-31 BC\n0001-01-01 BC\n9999-12-31\n10000-01-01\n5874897-12-31"
    );
    server.sql("create table texts (k bigint, day text)");
    run_ok(&days("texts", &[-719_529, 2_932_897]));
    assert_eq!(server.sql("select day from texts order by k"), "-0001-12-31\n+10000-01-01");
    for (key, shown) in [(-2_440_589, "-4713-11-23"), (2_145_042_906, "+5874898-01-01")] {
        let output = rejection(&days("made", &[0, key]), 1);
        let message =
            format!("sink `out`: batch 1: row 2, column `day`: {shown} is outside the range of PostgreSQL dates");
        assert!(output.contains(&message), "{output}");
    }
    assert_eq!(server.sql("select count(*) from made"), "6");
}

/// Keys that differ in the rows but are equal in the table: the last one wins, as in two batches.
#[test]
fn keys_rounded_by_the_table_are_equal() {
    let server = Postgres::start();
    server.sql("create table prices (k numeric(5,2) primary key, n bigint)");
    let columns = "k = \"text\", n = \"int64\"";
    let sink = |table: &str| format!("table = \"{table}\"\nmode = \"upsert\"\nkey = \"k\"");
    for batches in ["[[\"1.001\",1],[\"1.002\",2],[\"2\",3]]\n", "[[\"1.001\",1]]\n[[\"1.002\",2],[\"2\",3]]\n"] {
        let trial = job_at(&server.url(), columns, &sink("prices"));
        trial.write("input.jsonl", batches);
        run_ok(&trial);
        assert_eq!(server.sql("select k, n from prices order by k"), "1.00|2\n2.00|3");
        server.sql("truncate prices");
    }
    // Only the table can know this.
    server.sql(
        "create table words (k text primary key, n bigint); create function small() returns trigger language plpgsql as \
         $$ begin new.k = lower(new.k); return new; end $$; create trigger small before insert on words for each row \
         execute function small()",
    );
    let trial = job_at(&server.url(), columns, &sink("words"));
    trial.write("input.jsonl", "[[\"a\",1],[\"A\",2]]\n");
    let output = rejection(&trial, 1);
    assert!(
        output
            .contains("sink `out`: batch 1: two rows of the batch have different keys that the table treats as equal"),
        "{output}"
    );
}

#[test]
fn arrays_may_be_written_in_any_syntax() {
    let server = Postgres::start();
    let columns = "k = \"int64\", sizes = \"text\", words = \"list<list<text>>\", docs = \"text\"";
    server.sql("create table t (k bigint, sizes numeric(9,1)[], words text[], docs jsonb[])");
    let trial = job_at(&server.url(), columns, "table = \"t\"");
    let rows = [
        r#"[1,"[[1,2.25],[3,null]]",[["a","b,\"c"],["{d}","\\"]],"[{\"a\": [1]}, [2], \"x\", null]"]"#,
        r#"[2,"[0:1]={1,2}",[],"{}"]"#,
        r#"[3," \n[ 4 ]",[[]],"[]"]"#,
        r#"[4,"{{5},{6}}",null,null]"#,
        r#"[5,"[]",[["[1]"]],"{\"{\\\"a\\\": 1}\"}"]"#,
    ];
    trial.write("input.jsonl", format!("[{}]\n", rows.join(",")));
    run_ok(&trial);
    let expected = "1|{{1.0,2.3},{3.0,NULL}}|{{a,\"b,\\\"c\"},{\"{d}\",\"\\\\\"}}|{\"{\\\"a\\\": [1]}\",[2],\"\\\"x\\\"\",NULL}\n\
                    2|[0:1]={1.0,2.0}|{}|{}\n3|{4.0}|{}|{}\n4|{{5.0},{6.0}}||\n5|{}|{{[1]}}|{\"{\\\"a\\\": 1}\"}";
    assert_eq!(server.sql("select k, sizes, words, docs from t order by k"), expected);
    trial.write("input.jsonl", "[[1,\"[1,[2]]\",null,null]]\n");
    assert!(rejection(&trial, 1).contains("invalid input syntax for type numeric: \"[2]\""));
}

#[test]
fn a_column_that_the_table_numbers_takes_the_numbers_of_the_rows() {
    let server = Postgres::start();
    let columns = "k = \"text\", n = \"int64\"";
    let make = "create table t (n bigint generated always as identity primary key, k text)";
    server.sql(make);
    let rows = "[[\"a\",1],[\"b\",7],[\"c\",1]]\n[[\"d\",7]]\n";
    let trial = job_at(&server.url(), columns, "table = \"t\"\nmode = \"upsert\"\nkey = \"n\"");
    trial.write("input.jsonl", rows);
    run_ok(&trial);
    assert_eq!(server.sql("select n, k from t order by n"), "1|c\n7|d");
    // Copied, and cast.
    for kind in ["text", "jsonb"] {
        server.sql(&format!("drop table t; create table t (n bigint generated always as identity, k {kind})"));
        let trial = job_at(&server.url(), columns, "table = \"t\"");
        trial.write("input.jsonl", "[[\"1\",5],[\"2\",5]]\n");
        run_ok(&trial);
        assert_eq!(server.sql("select n, k from t order by k::text"), "5|1\n5|2");
    }
    server.sql("drop table t; create table t (k text primary key, n bigint generated always as identity)");
    let output = rejection(&job_at(&server.url(), columns, "table = \"t\"\nmode = \"upsert\"\nkey = \"k\""), 2);
    assert!(output.contains("column `n` is numbered by the table (`generated always`)"), "{output}");
    assert!(output.contains("alter table \"t\" alter column \"n\" set generated by default"), "{output}");
}
