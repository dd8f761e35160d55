//! The examples that need a server, or a program of others that sends: each with the real one.

use super::example;
use millstream_tests::kafka::Record;
use millstream_tests::{
    Broker, Browser, Hdfs, HttpClient, Kinesis, Postgres, Process, Trial, free_port, jars, java, root, wait_until,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

/// The job of an example in its own directory, with some texts replaced.
fn job_of(path: &str, changes: &[(&str, String)]) -> Trial {
    let text = fs::read_to_string(example(path)).unwrap();
    let changed = changes.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from} in {path}");
        text.replace(from, to)
    });
    Trial::new(&changed)
}

/// A sink that keeps a stream of the example, in addition to the existing ones.
fn kept(from: &str) -> String {
    format!("\n[sinks.kept]\nfrom = \"{from}\"\nkind = \"queue\"\npath = \"out.jsonl\"\n")
}

fn append(trial: &Trial, text: &str) {
    let job = fs::read_to_string(trial.path("job.toml")).unwrap();
    trial.write("job.toml", job + text);
}

#[test]
fn lines_that_a_flume_agent_delivers() {
    let port = free_port();
    let here = format!("127.0.0.1:{port}");
    let trial = job_of("flume/job.toml", &[("127.0.0.1:8080", here.clone())]);
    append(&trial, &kept("levels"));
    let agent = fs::read_to_string(example("flume/agent.conf")).unwrap();
    trial.write("agent.conf", agent.replace("127.0.0.1:8080", &here));
    let line = |n: usize| {
        let (level, service) = (["INFO", "WARN", "ERROR"][n % 3], ["payments", "search"][n % 2]);
        format!("2026-11-22 12:00:{:02} {level} {service}: message {n}\n", n % 60)
    };
    trial.write("spool/app.log", (0..120).map(line).collect::<String>());
    let mut job = trial.start(&[]);
    job.wait_for_stderr("listening on http");
    let mut flume = java(&jars("flume.sh"));
    flume.args(["org.apache.flume.node.Application", "-n", "agent", "-f", "agent.conf"]).current_dir(trial.dir());
    let mut flume = Process::start(&mut flume);
    let count = |service: &str, level: &str| -> i64 {
        let rows = trial.rows("out.jsonl").into_iter();
        rows.filter(|row| row["service"] == service && row["level"] == level)
            .filter_map(|row| row["lines"].as_i64())
            .sum()
    };
    flume.wait_until("all lines are counted", |_| {
        let all = ["payments", "search"]
            .into_iter()
            .flat_map(|service| ["INFO", "WARN", "ERROR"].map(|level| (service, level)));
        all.map(|(service, level)| count(service, level)).collect::<Vec<_>>() == [20; 6]
    });
    flume.kill();
    job.stop();
}

#[test]
fn readings_that_sensors_publish() {
    let address = format!("tcp://127.0.0.1:{}", free_port());
    let trial = job_of("zeromq/job.toml", &[("tcp://127.0.0.1:5556", address.clone())]);
    append(&trial, &kept("means"));
    let mut feed = Command::new(root().join("scripts/zeromq.sh"));
    let feed = Process::start(feed.arg(example("zeromq/feed.py")).arg(&address));
    let mut job = trial.start(&[]);
    let last = |place: &str| trial.rows("out.jsonl").into_iter().rfind(|row| row["place"] == place);
    job.wait_until("readings of both places came", |_| {
        ["kitchen", "cellar"].iter().all(|place| last(place).is_some_and(|row| row["readings"].as_i64() > Some(3)))
    });
    let mean = |place: &str| last(place).unwrap()["mean"].as_f64().unwrap();
    assert!((20.0..=22.0).contains(&mean("kitchen")) && (12.0..=14.0).contains(&mean("cellar")));
    job.stop();
    feed.kill();
}

#[test]
fn fraud_alerts_from_a_topic_into_a_topic() {
    let broker = Broker::shared();
    let (from, to) = ("example-transactions".to_owned(), "example-alerts".to_owned());
    broker.topic(&from, 1, &[]);
    let changes = [
        ("127.0.0.1:9092", broker.address()),
        ("topic = \"transactions\"", format!("topic = \"{from}\"")),
        ("topic = \"alerts\"", format!("topic = \"{to}\"")),
        ("batch = \"5s\"", "batch = \"200ms\"".into()),
    ];
    let trial = job_of("fraud/kafka.toml", &changes);
    let row = |name: &str, amount: f64, flag: i64| {
        Record::at(
            0,
            &json!({ "name": name, "surname": "Lee", "amount": amount, "delta_t": 1.5, "flag": flag }).to_string(),
        )
    };
    let rows =
        [row("Bob", 9.5, 1), row("Ann", 20.0, 1), row("Bob", 1.0, 0), row("Ann", 30.5, 1), Record::at(0, "none")];
    broker.produce(&from, &rows);
    let ended = Process::start(&mut trial.command(&["run", "job.toml", "--until-idle"])).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("none"), "{}", ended.stdout);
    let alerts: Vec<Value> =
        broker.read(&to).iter().map(|record| serde_json::from_str(&record.text()).expect("JSON")).collect();
    let alert = json!({ "name": "Ann", "surname": "Lee", "transactions": 2, "amount": 50.5, "quickest": 1.5 });
    assert_eq!(alerts, [alert]);
}

#[test]
fn a_page_shows_live_rows_of_a_job() {
    let port = free_port();
    let trial = job_of("dashboard/job.toml", &[("127.0.0.1:8090", format!("127.0.0.1:{port}"))]);
    let page = free_port();
    let mut served = Command::new("python3");
    served.args(["-m", "http.server", &page.to_string(), "--bind", "127.0.0.1", "-d"]).arg(example("dashboard"));
    let _served = Process::start(&mut served);
    wait_until("it serves", || std::net::TcpStream::connect(("127.0.0.1", page)).is_ok());
    let url = format!("http://localhost:{page}/index.html?job=ws://127.0.0.1:{port}");
    let mut job = trial.start(&[]);
    job.wait_for_stderr("listening on ws");
    let mut browser = Browser::start();
    browser.send_command("visit", json!({ "url": url }));
    let shown = browser.wait_for_text("#shops", "Bergen[^]*Troms");
    assert!(shown.contains("Oslo"), "{shown}");
    let first = browser.text("#state");
    browser.wait_for_text("#state", "^live: ");
    wait_until("it goes on", || browser.text("#state") != first);
    job.stop();
    browser.wait_for_text("#state", "the job is unreachable");
}

#[test]
fn clicks_of_a_kinesis_stream_are_counted_into_another() {
    let server = Kinesis::start();
    server.create("clicks", 2);
    server.create("pages", 1);
    let changes = [
        ("batch = \"1s\"", "batch = \"100ms\"".to_owned()),
        ("size = \"10s\", slide = \"10s\"", "size = \"1s\", slide = \"1s\"".into()),
        ("eu-west-1", "us-east-1".into()),
    ];
    let trial = job_of("kinesis/job.toml", &changes);
    let click = |n: usize| (format!("user {}", n % 7), json!({ "page": (["/", "/shop"][n % 2]) }).to_string());
    let clicks: Vec<(String, String)> = (0..90).map(click).collect();
    let put = |range: std::ops::Range<usize>| {
        let records: Vec<(&str, &String)> = clicks[range].iter().map(|(user, click)| (user.as_str(), click)).collect();
        server.put("clicks", &records);
    };
    put(0..45);
    let start = || Process::start(trial.command(&["run", "job.toml"]).envs(Kinesis::settings(server.port())));
    let counted = || -> BTreeMap<String, i64> {
        let mut sums = BTreeMap::new();
        for (key, record) in server.records("pages") {
            let row: Value = serde_json::from_str(&record).expect("JSON");
            assert_eq!(row["page"], json!(key));
            *sums.entry(key).or_default() += row["clicks"].as_i64().unwrap();
        }
        sums
    };
    let mut job = start();
    job.wait_until("those that were there are counted", |_| counted().values().sum::<i64>() == 45);
    job.stop();
    put(45..90);
    let mut job = start();
    job.wait_until("all are counted", |_| counted() == BTreeMap::from([("/".into(), 45), ("/shop".into(), 45)]));
    job.stop();
}

#[test]
fn clicks_are_joined_with_the_products_of_the_database() {
    let server = Postgres::start_with(&["wal_level=logical"]);
    server.sql(&fs::read_to_string(example("shop/tables.sql")).unwrap());
    let port = free_port();
    let changes = [
        ("postgres://shop:${SHOP_PASSWORD}@127.0.0.1/shop", server.url()),
        ("127.0.0.1:8080", format!("127.0.0.1:{port}")),
        ("batch = \"100ms\"", "batch = \"20ms\"".into()),
    ];
    let trial = job_of("shop/job.toml", &changes);
    append(&trial, &kept("seen"));
    let start = || Process::start(trial.command(&["run", "job.toml"]).env("PW", Postgres::PASSWORD));
    // Sends clicks on a product until the job has this data about it.
    let until_it_is = |product: i64, name: Value, price: Value| {
        wait_until("the change has come", || {
            let click = json!({ "user": "ann", "product": product }).to_string();
            let sent = HttpClient::connect(port).and_then(|mut client| client.post(&[], click));
            let rows = if trial.path("out.jsonl").exists() { trial.rows("out.jsonl") } else { Vec::new() };
            let last = rows.into_iter().rfind(|row| row["product"] == product);
            sent.is_ok() && last.is_some_and(|row| row["name"] == name && row["price"] == price)
        });
    };
    let job = start();
    until_it_is(1, json!("tea"), json!(4.5));
    server.sql("update products set price = 5 where id = 1; insert into products values (3, 'pot', 30)");
    until_it_is(1, json!("tea"), json!(5.0));
    job.kill();
    server.sql("delete from products where id = 2");
    let mut job = start();
    until_it_is(2, Value::Null, Value::Null);
    until_it_is(3, json!("pot"), json!(30.0));
    job.wait_until("the table of interest is shown", |job| job.stdout().contains("pot"));
    job.stop();
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn directories_of_hdfs_are_summed_up_into_directories() {
        let hdfs = Hdfs::start();
        let trial = job_of("hdfs/job.toml", &[("batch = \"5s\"", "batch = \"200ms\"".into())]);
        let namenode = hdfs.url("").trim_start_matches("hdfs://").to_owned();
        let line = |day: &str, page: &str, bytes: u32| {
            format!("{{\"day\":\"{day}\",\"page\":\"{page}\",\"bytes\":{bytes}}}\n")
        };
        hdfs.put("/logs/2026-11-21/a.jsonl", line("2026-11-21", "/", 5) + &line("2026-11-21", "/", 6));
        hdfs.put("/logs/2026-11-22/a.jsonl", line("2026-11-22", "/shop", 7));
        let run = || {
            let mut command = trial.command(&["run", "job.toml", "--until-idle"]);
            let ended = Process::start(command.env("NAMENODE", &namenode)).wait();
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        };
        run();
        hdfs.put("/logs/2026-11-22/b.jsonl", line("2026-11-22", "/", 1));
        run();
        let paths = hdfs.paths("/sums").expect("the cluster answers");
        let parts = |day: &str| paths.iter().filter(|path| path.starts_with(&format!("/sums/day={day}/part-"))).count();
        assert_eq!((parts("2026-11-21"), parts("2026-11-22")), (1, 2), "{paths:?}");
    }

    #[test]
    fn readings_sent_by_a_pekko_actor() {
        let port = free_port();
        let here = format!("127.0.0.1:{port}");
        let trial = job_of("pekko/job.toml", &[("127.0.0.1:8080", here.clone())]);
        append(&trial, &kept("highest"));
        let jars = jars("pekko.sh");
        let compiled = Command::new("javac")
            .args(["-cp", &jars, "-d"])
            .arg(trial.dir())
            .arg(example("pekko/Thermometer.java"))
            .output();
        let compiled = compiled.expect("there is a javac; scripts/setup.sh tests installs it");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        let path = format!("{}:{jars}", trial.dir().display());
        let mut actor = Process::start(java(&path).args(["Thermometer", &format!("http://{here}/in"), "200"]));
        // The job is killed in the middle, and comes back.
        let job = trial.start(&["--unsupervised"]);
        let readings = || {
            let rows = trial.rows("out.jsonl").into_iter();
            rows.map(|row| (row["room"].as_str().unwrap().to_owned(), row)).collect::<BTreeMap<_, _>>()
        };
        actor.wait_until("some readings are there", |_| readings().len() == 2);
        job.kill();
        let mut job = trial.start(&[]);
        actor.wait_until("all are sent", |actor| actor.stdout().contains("sent 200 readings"));
        let last = |room: &str| readings().get(room).map(|row| (row["readings"].clone(), row["celsius"].clone()));
        job.wait_until("each reading counts once", |_| {
            ["kitchen", "cellar"].iter().all(|room| last(room).is_some_and(|(readings, _)| readings == 100))
        });
        assert_eq!(last("kitchen"), Some((json!(100), json!(19.0))));
        assert_eq!(last("cellar"), Some((json!(100), json!(19.5))));
        job.stop();
    }
}
