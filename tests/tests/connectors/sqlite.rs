//! Sink `sqlite` and tables of `enrich` in files of SQLite, as Python's own library finds them.

use millstream_tests::{Process, Trial};
use serde_json::json;
use std::process::Command;

/// The result of a query: one line per row, with `|` between values as Python prints them.
fn rows(trial: &Trial, query: &str) -> Vec<String> {
    const PROGRAM: &str = "import sqlite3, sys\n\
        for row in sqlite3.connect(sys.argv[1]).execute(sys.argv[2]): print('|'.join(map(repr, row)))";
    let read =
        Process::start(Command::new("python3").args(["-c", PROGRAM]).arg(trial.path("shop.db")).arg(query)).wait();
    assert_eq!(read.code, Some(0), "{}", read.stderr);
    read.stdout.lines().map(str::to_owned).collect()
}

fn execute(trial: &Trial, script: &str) {
    const PROGRAM: &str = "import sqlite3, sys\nsqlite3.connect(sys.argv[1]).executescript(sys.argv[2])";
    let done =
        Process::start(Command::new("python3").args(["-c", PROGRAM]).arg(trial.path("shop.db")).arg(script)).wait();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
}

/// A job with virtual time that writes rows with these columns; `sink` are more keys of it.
fn job(columns: &str, sink: &str, input: &str) -> Trial {
    let trial = Trial::new(&format!(
        "clock = \"manual\"\ncheckpoint = {{ dir = \"kept\", every = 2 }}\n[sources.in]\nkind = \"queue\"\npath = \"in.jsonl\"\n\
         schema = {{ {columns} }}\n[sinks.out]\nfrom = \"in\"\nkind = \"sqlite\"\npath = \"shop.db\"\ntable = \"stock\"\n{sink}"
    ));
    trial.write("in.jsonl", input);
    trial
}

fn run_ok(trial: &Trial) {
    let ended = Process::start(&mut trial.command(&["run", "job.toml"])).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

fn rejection(trial: &Trial, code: i32) -> String {
    let ended = Process::start(trial.command(&["run", "job.toml"]).env("MILLSTREAM_LOG", "off")).wait();
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    ended.stderr.trim_start_matches("error: ").trim_end().to_owned()
}

#[test]
fn every_type_and_unusual_value_arrives() {
    let columns = "yes = \"bool\", n = \"int64\", x = \"float64\", \"größe \\\"q\\\"\" = \"text\", raw = \"binary\", ts = \"timestamp\", \
                   day = \"date\", d = \"decimal(20,2)\", l = \"list<int64>\"";
    let rows_in = [
        r#"[true,-9223372036854775808,"NaN","zw\u0000ölf 🙂","é","2026-11-20T08:30:01.000001Z","2026-11-20","123456789012345678.90",[1,null]]"#,
        r#"[false,-1,1e300,"","","1969-12-31T23:59:59.999999Z","0001-01-01","0.10",[]]"#,
        "[null,null,null,null,null,null,null,null,null]",
    ];
    let trial = job(columns, "", &format!("[{}]\n", rows_in.join(",")));
    run_ok(&trial);
    assert_eq!(
        rows(&trial, "select * from stock order by rowid"),
        [
            "1|-9223372036854775808|'NaN'|'zw\\x00ölf 🙂'|b'\\xc3\\xa9'|'2026-11-20T08:30:01.000001Z'|'2026-11-20'|\
             '123456789012345678.90'|'[1,null]'",
            "0|-1|1e+300|''|b''|'1969-12-31T23:59:59.999999Z'|'0001-01-01'|'0.10'|'[]'",
            "None|None|None|None|None|None|None|None|None",
        ]
    );
}

#[test]
fn rows_are_stored_once_after_a_kill_at_any_point() {
    let (columns, sink) =
        ("op = \"text\", k = \"text\", n = \"int64\"", "mode = \"upsert\"\nkey = \"k\"\nop = \"op\"\n");
    let batch = |number: i64| {
        let rows = (0..6).map(|row| {
            let op = if (number + row) % 5 == 0 { "delete" } else { "upsert" };
            format!(r#"["{op}","k{}",{}]"#, (number * 3 + row) % 7, number * 10 + row)
        });
        format!("[{}]\n", rows.collect::<Vec<_>>().join(","))
    };
    let input: String = (0..12).map(batch).collect();
    let complete = job(columns, sink, &input);
    run_ok(&complete);
    let (every, marker) = ("select k, n from stock order by k", "select sink, batch from millstream_commits");
    let (expected, last) = (rows(&complete, every), rows(&complete, marker));
    assert!(expected.len() > 2, "{expected:?}");
    for point in ["start.sink", "commit.before", "commit.part", "commit.after"] {
        let trial = job(columns, sink, &input);
        for (start, at) in [1, 3, 2, 4].into_iter().enumerate() {
            if point == "start.sink" && start > 1 {
                break;
            }
            let mut command = trial.command(&["run", "job.toml", "--unsupervised"]);
            let at = if point == "start.sink" { 1 } else { at };
            let ended = Process::start(command.env("MILLSTREAM_TEST_FAULT", format!("kill@{point}:{at}"))).wait();
            assert_eq!(ended.code, None, "{point}: {}", ended.stderr);
        }
        run_ok(&trial);
        assert_eq!((rows(&trial, every), rows(&trial, marker)), (expected.clone(), last.clone()), "{point}");
    }
}

#[test]
fn appended_rows_are_stored_once_after_kills() {
    let input: String = (0..9).map(|number| format!("[[{number},\"a\"],[{number},\"b\"]]\n")).collect();
    let trial = job("n = \"int64\", k = \"text\"", "", &input);
    for (point, at) in [("commit.part", 2), ("commit.after", 3), ("commit.before", 1)] {
        let mut command = trial.command(&["run", "job.toml", "--unsupervised", "--workers", "2"]);
        let ended = Process::start(command.env("MILLSTREAM_TEST_FAULT", format!("kill@{point}:{at}"))).wait();
        assert_eq!(ended.code, None, "{point}: {}", ended.stderr);
    }
    run_ok(&trial);
    assert_eq!(rows(&trial, "select count(*), count(distinct n || k), sum(n) from stock"), ["18|18|72"]);
}

#[test]
fn mistakes_say_what_to_do() {
    let output = |sink: &str, script: &str| {
        let trial = job("k = \"text\", n = \"int64\"", sink, "[[\"a\",1]]\n");
        if !script.is_empty() {
            execute(&trial, script);
        }
        rejection(&trial, 2)
    };
    let upsert = "mode = \"upsert\"\nkey = \"k\"\n";
    assert_eq!(
        output("", "create table stock (k text)"),
        "job.toml:11: sink `out`: table `stock` has no column `n`; it has k"
    );
    assert_eq!(
        output(upsert, "create table stock (k text, n int)"),
        "job.toml:11: sink `out`: table `stock` may have two rows with the same key: create a unique index on \
        exactly k, or name another table"
    );
    assert_eq!(
        output("mode = \"upsert\"\nkey = \"user\"\n", ""),
        "job.toml:13: sink `out`: `key` names `user`, and the rows have k text, n int64; write one of these"
    );
    let trial = job("k = \"text\", n = \"int64\"", "", "");
    trial.write("shop.db", "this is no database, and it is longer than the head of one would be");
    assert_eq!(rejection(&trial, 2), "job.toml:10: sink `out`: `shop.db` cannot be used: file is not a database");
    let trial = job("k = \"text\", n = \"int64\"", upsert, "[[null,1]]\n");
    assert_eq!(rejection(&trial, 1), "sink `out`: batch 1: row 1: column `k` is null, and it is the key");
}

#[test]
fn a_table_that_others_write_to_is_waited_for() {
    let trial = job("k = \"text\", n = \"int64\"", "wait = \"30s\"\n", "[[\"a\",1]]\n[[\"b\",2]]\n");
    execute(&trial, "create table stock (k text, n int)");
    // It prints a line when it holds the file, and releases it when its input ends.
    const PROGRAM: &str = "import sqlite3, sys\nfile = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
        file.execute('begin immediate')\nprint('held', flush=True)\nsys.stdin.read()\nfile.execute('commit')";
    let mut holder = Command::new("python3")
        .args(["-c", PROGRAM])
        .arg(trial.path("shop.db"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(holder.stdout.take().unwrap()), &mut line).unwrap();
    assert_eq!(line, "held\n");
    let mut job = Process::start(&mut trial.command(&["run", "job.toml"]));
    job.wait_for_stderr("the job waits and retries until it works");
    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(rows(&trial, "select * from stock order by k"), ["'a'|1", "'b'|2"]);
}

#[test]
fn a_stage_reads_the_rows_of_a_query() {
    let trial = Trial::new(
        "clock = \"manual\"\n[sources.in]\nkind = \"queue\"\npath = \"in.jsonl\"\nschema = { sku = \"text\", n = \"int64\" }\n\
         [stages.priced]\nfrom = \"in\"\n[stages.priced.enrich]\nurl = \"sqlite:shop.db\"\n\
         query = \"select sku, price, since, price * 2 as twice from prices where price > 0\"\non = \"sku\"\n\
         [sinks.out]\nfrom = \"priced\"\nkind = \"queue\"\npath = \"out.jsonl\"\n",
    );
    trial.write("in.jsonl", "[[\"a\",1],[\"b\",2],[\"c\",3]]\n");
    execute(
        &trial,
        "create table prices (sku varchar(10) primary key, price real, since timestamp);
         insert into prices values ('a', 1, '2026-11-20T08:30:01Z'), ('b', 0.5, null), ('c', -1, null)",
    );
    run_ok(&trial);
    let mut found = trial.rows("out.jsonl");
    found.sort_by_key(|row| row["sku"].to_string());
    assert_eq!(
        found,
        [
            json!({ "sku": "a", "n": 1, "price": 1.0, "since": "2026-11-20T08:30:01.000000Z", "twice": 2.0 }),
            json!({ "sku": "b", "n": 2, "price": 0.5, "since": null, "twice": 1.0 }),
            json!({ "sku": "c", "n": 3, "price": null, "since": null, "twice": null }),
        ]
    );
    trial.change("from prices", "from price");
    assert_eq!(rejection(&trial, 2), "job.toml:8: stage `priced`: enrich: `shop.db`: no such table: price");
}
