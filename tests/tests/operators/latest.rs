//! Tables that stages keep of the changes of a real database: what they hold is what the database holds, whatever dies.

use millstream_tests::{HttpClient, Postgres, Process, Random, Trial, free_port, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const IDS: u64 = 60;

/// Clicks that are joined with the rows of a table.
fn job(url: &str, port: u16) -> Trial {
    let trial = Trial::new(&format!(
        r#"
        name = "clicks"
        batch = "20ms"
        [checkpoint]
        dir = "checkpoint"
        every = 4
        [sources.clicks]
        kind = "http"
        listen = "127.0.0.1:{port}"
        format = "json"
        schema = {{ n = "int64", id = "int64" }}
        [sources.t]
        kind = "postgres-changes"
        url = "{url}"
        table = "t"
        schema = {{ op = {{ type = "text", from = "op" }}, id = "int64", s = "text", d = "text" }}
        [stages.seen]
        from = "clicks"
        enrich = {{ stream = "t", on = "id", op = "op" }}
        [stages.known]
        from = "clicks"
        enrich = {{ stream = "t", on = "id", op = "op", type = "inner" }}
        [sinks.out]
        from = "seen"
        kind = "queue"
        path = "out.jsonl"
        [sinks.known]
        from = "known"
        kind = "queue"
        path = "known.jsonl"
        "#
    ));
    trial.write("pw", Postgres::PASSWORD);
    trial
}

/// A sender whose clicks count once, as it numbers them.
struct Clicks {
    port: u16,
    sent: u64,
}

impl Clicks {
    /// Sends clicks on these rows, and repeats them until they are durable. Returns the number of the first.
    fn send(&mut self, ids: impl Iterator<Item = i64>) -> u64 {
        let first = self.sent;
        let body: Vec<String> = ids.zip(first..).map(|(id, n)| format!("{}\n", json!({ "n": n, "id": id }))).collect();
        self.sent += body.len() as u64;
        let sequence = format!("Millstream-Sequence: {first}");
        wait_until("the clicks are safe", || {
            let Ok(mut client) = HttpClient::connect(self.port) else { return false };
            let reply = client.post(&["Millstream-Producer: tests", &sequence], body.concat());
            reply.is_ok_and(|reply| reply.status == 200)
        });
        first
    }
}

/// The rows of a sink by the numbers of their clicks: each is there once.
#[track_caller]
fn by_number(trial: &Trial, file: &str) -> BTreeMap<u64, Value> {
    let rows = if trial.path(file).exists() { trial.rows(file) } else { Vec::new() };
    let count = rows.len();
    let rows: BTreeMap<u64, Value> = rows.into_iter().map(|row| (row["n"].as_u64().unwrap(), row)).collect();
    assert_eq!(rows.len(), count, "a click came twice");
    rows
}

fn change(server: &Postgres, random: &mut Random, round: u64) {
    for _ in 0..random.from(1, 8) {
        let (id, other) = (random.from(0, IDS), random.from(0, IDS));
        let text = match random.from(0, 12) {
            0 if round % 2 == 1 => "truncate t".to_owned(),
            1..=3 => format!("delete from t where id = {id}"),
            4 => format!("update t set id = {other} where id = {id} and not exists (select from t where id = {other})"),
            5 => format!("update t set s = s || '!', d = d + 0.25 where id % 3 = {}", id % 3),
            _ => format!(
                "insert into t values ({id}, 's{other}', {other}.5) on conflict (id) do update set s = excluded.s, d = null"
            ),
        };
        server.sql(&text);
    }
}

/// Rows go to the workers of the keys that they look up, and return: rows of any other key stay in order.
#[test]
fn rows_keep_their_order() {
    for arguments in [&["--workers", "1"][..], &["--workers", "3"], &["--workers", "2", "--processes", "2"]] {
        let trial = Trial::new(
            r#"
            name = "orders"
            batch = "20ms"
            [checkpoint]
            dir = "checkpoint"
            [sources.orders]
            kind = "queue"
            path = "orders.jsonl"
            schema = { n = "int64", k = "int64", customer = "int64" }
            [sources.customers]
            kind = "queue"
            path = "customers.jsonl"
            schema = { customer = "int64", name = "text" }
            [stages.named]
            from = "orders"
            enrich = { stream = "customers", on = "customer" }
            [stages.known]
            from = "orders"
            enrich = { stream = "customers", on = "customer", type = "inner" }
            [stages.last]
            from = "named"
            key = "k"
            aggregate = { first = "first(n)", last = "last(n)" }
            [sinks.out]
            from = "named"
            kind = "queue"
            path = "out.jsonl"
            [sinks.known]
            from = "known"
            kind = "queue"
            path = "known.jsonl"
            [sinks.last]
            from = "last"
            kind = "queue"
            path = "last.jsonl"
            "#,
        );
        // Some orders have no customer, and some an unknown one.
        let customer = |n: i64| (n % 11 != 0).then_some(n * 7 % 40);
        let order = |n: i64| json!({ "n": n, "k": n % 7, "customer": customer(n) });
        let known = |n: &i64| customer(*n).is_some_and(|customer| customer < 30);
        trial.write("orders.jsonl", format!("{}\n", Value::Array((0..2000).map(order).collect())));
        let customers = (0..30).map(|id| json!({ "customer": id, "name": format!("c{id}") }));
        trial.write("customers.jsonl", format!("{}\n", Value::Array(customers.collect())));
        trial.run_ok(arguments);
        let numbers = |file: &str| trial.rows(file).iter().map(|row| row["n"].as_i64().unwrap()).collect::<Vec<_>>();
        assert_eq!(numbers("out.jsonl"), (0..2000).collect::<Vec<_>>(), "{arguments:?}");
        assert_eq!(numbers("known.jsonl"), (0..2000).filter(known).collect::<Vec<_>>(), "{arguments:?}");
        let named = |row: &Value| row["name"].as_str().map(str::to_owned);
        let name = |n: i64| customer(n).filter(|_| known(&n)).map(|id| format!("c{id}"));
        assert_eq!(
            trial.rows("out.jsonl").iter().map(named).collect::<Vec<_>>(),
            (0..2000).map(name).collect::<Vec<_>>()
        );
        let mut ends: Vec<_> =
            trial.rows("last.jsonl").iter().map(|row| (row["first"].clone(), row["last"].clone())).collect();
        ends.sort_by_key(|(first, _)| first.as_i64());
        let expected: Vec<_> =
            (0..7).map(|key| (json!(key), json!((0..2000).filter(|n| n % 7 == key).max()))).collect();
        assert_eq!(ends, expected, "{arguments:?}");
    }
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn a_table_of_changes_equals_the_database_after_any_kill() {
        let server = Postgres::start_with(&["wal_level=logical"]);
        server.sql("create table t (id bigint primary key, s text, d numeric(8,2))");
        server.sql("insert into t select g, 'first', g from generate_series(0, 40) g");
        let port = free_port();
        let trial = job(&server.url().replace("${PW}", "${file:pw}"), port);
        let mut clicks = Clicks { port, sent: 0 };
        let mut random = Random::new(11);
        for (round, arguments) in
            (1..).zip([&["--unsupervised"][..], &["--workers", "3"], &["--processes", "2"], &["--workers", "2"]])
        {
            let start = || Process::start(&mut trial.command(&[&["run", "job.toml"], arguments].concat()));
            let mut running = start();
            for _ in 0..2 {
                for _ in 0..random.from(1, 5) {
                    change(&server, &mut random, round);
                    clicks.send((0..3).map(|_| random.from(0, IDS) as i64).collect::<Vec<_>>().into_iter());
                }
                running.kill();
                running = start();
            }
            // The last change shows that those before it are in the table.
            let last = -(round as i64);
            server.sql(&format!("insert into t values ({last}, 'last', 0)"));
            wait_until("the last change is in the table", || {
                let number = clicks.send([last].into_iter());
                wait_until("the click has come", || by_number(&trial, "out.jsonl").contains_key(&number));
                by_number(&trial, "out.jsonl")[&number]["s"] == "last"
            });
            let first = clicks.send((0..IDS as i64).chain([-99]));
            wait_until("all clicks have come", || by_number(&trial, "out.jsonl").len() as u64 == clicks.sent);
            let known_ids = format!("select count(*) from t where id between 0 and {}", IDS - 1);
            let known: usize = server.sql(&known_ids).trim().parse().unwrap();
            wait_until("all of those that are known have come", || {
                by_number(&trial, "known.jsonl").range(first..).count() == known
            });
            let (seen, known) = (by_number(&trial, "out.jsonl"), by_number(&trial, "known.jsonl"));
            for (number, id) in (first..).zip((0..IDS as i64).chain([-99])) {
                let has = server.sql(&format!("select s || ' ' || coalesce(d::text, 'none') from t where id = {id}"));
                let output = &seen[&number];
                let text = |value: &Value| value.as_str().map_or("none".to_owned(), str::to_owned);
                let holds = if output["s"].is_null() {
                    String::new()
                } else {
                    format!("{} {}", text(&output["s"]), text(&output["d"]))
                };
                assert_eq!(holds, has.trim(), "round {round}, id {id}");
                assert_eq!(
                    known.get(&number),
                    if has.trim().is_empty() { None } else { Some(output) },
                    "round {round}, id {id}"
                );
            }
            running.stop();
        }
    }
}
