//! TLS towards servers: sockets, and a real PostgreSQL.

use millstream_tests::{Certificates, Expected, Postgres, Process, Trial, free_port, passing, wait_until};
use std::path::PathBuf;

fn job(port: u16, tls: &str) -> Trial {
    passing("batch = \"0s\"", &format!("kind = \"socket\"\naddress = \"localhost:{port}\"\ntls = {tls}"), "")
}

fn serve(port: u16, made: &(PathBuf, PathBuf)) -> Process {
    Process::start(&mut Certificates::server(port, made, &[]))
}

#[test]
fn lines_arrive_over_tls_and_a_connection_is_reopened() {
    let (made, port) = (Certificates::make(), free_port());
    let good = made.of("good", "DNS:localhost", 2);
    let trial = job(port, &format!("{{ ca = \"{}\" }}", made.ca().display()));
    let job = trial.start(&[]);
    for round in 1..=2 {
        let mut server = serve(port, &good);
        wait_until("it is connected", || job.stderr().matches("connected to localhost").count() == round);
        server.say(&format!("line {round}\n"));
        wait_until("the line is there", || trial.values("out.jsonl").len() == round);
        server.kill();
    }
    assert_eq!(trial.values("out.jsonl"), ["line 1", "line 2"]);
}

#[test]
fn each_server_of_a_list_is_read_over_tls() {
    let (made, ports) = (Certificates::make(), [free_port(), free_port()]);
    let good = made.of("good", "DNS:localhost", 2);
    let addresses = ports.map(|port| format!("\"localhost:{port}\"")).join(", ");
    let source = format!("kind = \"socket\"\naddress = [{addresses}]\ntls = {{ ca = \"{}\" }}", made.ca().display());
    let trial = passing("batch = \"0s\"", &source, "");
    let mut servers = ports.map(|port| serve(port, &good));
    let mut job = trial.start(&[]);
    for (port, server) in ports.iter().zip(&mut servers) {
        job.wait_for_stderr(&format!("connected to localhost:{port}"));
        server.say(&format!("line of {port}\n"));
    }
    job.wait_until("the lines are there", |_| trial.values("out.jsonl").len() == 2);
    let mut came = trial.values("out.jsonl");
    came.sort();
    let mut sent = ports.map(|port| format!("line of {port}")).to_vec();
    sent.sort();
    assert_eq!(came, sent);
}

#[test]
fn a_server_with_a_wrong_certificate_is_rejected_and_reported() {
    let (made, others) = (Certificates::make(), Certificates::make());
    let ca = format!("ca = \"{}\"", made.ca().display());
    let cases = [
        (
            made.of("old", "DNS:localhost", -1),
            ca.clone(),
            "the server's certificate has expired; renew it on the \
                                                          server",
        ),
        (made.of("other", "DNS:example.org", 2), ca.clone(), "not for the name `localhost` but for"),
        (
            others.of("foreign", "DNS:localhost", 2),
            ca.clone(),
            "issued by a CA that this job does not trust; name a file",
        ),
        (others.of("unknown", "DNS:localhost", 2), String::new(), "issued by a CA that this job does not trust"),
    ];
    for (certificate, tls, text) in cases {
        let port = free_port();
        let trial = job(port, &format!("{{ {tls} }}"));
        let mut server = serve(port, &certificate);
        let mut job = trial.start(&[]);
        job.wait_for_stderr(text);
        server.say("secret\n");
        assert_eq!(trial.values("out.jsonl").len(), 0);
        assert!(job.stderr().contains(&format!("cannot connect to localhost:{port} (TLS: ")), "{}", job.stderr());
    }
    // The name of the certificate can be configured.
    let port = free_port();
    let trial = job(port, &format!("{{ {ca}, name = \"example.org\" }}"));
    let mut server = serve(port, &made.of("named", "DNS:example.org", 2));
    let mut job = trial.start(&[]);
    job.wait_for_stderr("connected to localhost");
    server.say("a line\n");
    wait_until("the line is there", || trial.values("out.jsonl").len() == 1);
    // A client that does not use TLS.
    let port = free_port();
    let trial = self::job(port, "true");
    let mut server = Process::nc(port);
    let mut job = trial.start(&[]);
    wait_until("it listens", || !job.stderr().is_empty());
    server.say("hello, this is plain text\n");
    job.wait_for_stderr("the server does not use TLS; turn TLS on in the server, or off in the job");
}

#[test]
fn a_server_may_require_a_client_certificate() {
    let made = Certificates::make();
    let (good, own) = (made.of("good", "DNS:localhost", 2), made.of("own", "DNS:job", 2));
    let port = free_port();
    let mut server = Process::start(&mut Certificates::server(port, &good, &[&made.ca()]));
    let ca = made.ca().display().to_string();
    let without = job(port, &format!("{{ ca = \"{ca}\" }}"));
    let mut refused = without.start(&[]);
    refused.wait_for_stderr("it may require a client certificate; set `cert` and `key`");
    refused.kill();
    let with = format!("{{ ca = \"{ca}\", cert = \"{}\", key = \"{}\" }}", own.0.display(), own.1.display());
    let trial = job(port, &with);
    let mut job = trial.start(&[]);
    job.wait_for_stderr("connected to localhost");
    server.say("a line\n");
    wait_until("the line is there", || trial.values("out.jsonl") == ["a line"]);
}

#[test]
fn files_that_cannot_be_used_are_told_with_their_line() {
    let trial = job(1, "{ ca = \"none.pem\" }");
    assert!(
        trial.rejected_message(&["validate", "job.toml"]).contains("tls cannot be used: `./none.pem` cannot be read")
    );
    trial.write("none.pem", "nothing");
    let output = trial.rejected_message(&["validate", "job.toml"]);
    assert!(output.contains("job.toml:") && output.contains("does not contain a certificate in PEM"), "{output}");
    let mut expected = Expected::of(file!(), "files_that_cannot_be_used_are_told_with_their_line");
    for tls in ["{ cert = \"a.pem\" }", "{ verify = false }", "\"yes\""] {
        expected.add(tls, &job(1, tls).rejected_message(&["validate", "job.toml"]));
    }
    expected.check_parts();
}

/// A job that writes a row into a table of the database at this URL.
fn table(url: &str) -> Trial {
    let trial = Trial::new(&format!(
        "clock = \"manual\"\n[sources.in]\nkind = \"queue\"\npath = \"input.jsonl\"\nschema = {{ n = \"int64\" }}\n\
         [sinks.out]\nfrom = \"in\"\nkind = \"postgres\"\nurl = \"{url}\"\ntable = \"t\"\nwait = \"1s\"\n"
    ));
    trial.write("input.jsonl", "[[1]]\n");
    trial
}

fn run(url: &str) -> (Option<i32>, String) {
    let trial = table(url);
    let ended = Process::start(trial.command(&["run", "job.toml"]).env("PW", Postgres::PASSWORD)).wait();
    (ended.code, ended.stderr)
}

#[test]
fn a_database_is_reached_with_tls_as_sslmode_says() {
    let made = Certificates::make();
    let mut server = Postgres::start();
    let url = |host: &str, more: &str| format!("{}{more}", server.url().replace("127.0.0.1", host));
    let (plain, full) = (url("localhost", "?sslmode=require"), |ca: &PathBuf| {
        format!("?sslmode=verify-full&sslrootcert={}", ca.display())
    });
    let (code, output) = run(&plain);
    assert!(
        code == Some(1) && output.contains("TLS: the server does not support it; turn it on there (`ssl = on`)"),
        "{output}"
    );
    assert_eq!(run(&url("localhost", "")).0, Some(0), "without TLS nobody asks for it");
    let urls = [
        ("localhost", String::new(), None),
        ("localhost", "?sslmode=disable".into(), None),
        ("localhost", "?sslmode=require".into(), None),
        ("localhost", full(&made.ca()), None),
        ("127.0.0.1", format!("?sslmode=verify-ca&sslrootcert={}", made.ca().display()), None),
        ("127.0.0.1", full(&made.ca()), Some("not for the name `127.0.0.1` but for")),
        ("localhost", "?sslmode=verify-full".into(), Some("that this job does not trust")),
        ("localhost", "?sslmode=verify-ca&sslrootcert=/none.pem".into(), Some("`/none.pem` cannot be read")),
    ];
    let urls = urls.map(|(host, more, text)| (url(host, &more), text));
    let expired = url("localhost", &full(&made.ca()));
    server.speak_tls(&made.of("server", "DNS:localhost", 2));
    for (url, text) in urls {
        let (code, output) = run(&url);
        match text {
            None => assert_eq!(code, Some(0), "{url}: {output}"),
            Some(text) => assert!(code == Some(1) && output.contains(text), "{url}: {code:?} {output}"),
        }
    }
    let count = server.sql("select count(*) from t");
    assert_eq!(count, "6");
    server.sql("alter system set log_connections = on");
    server.speak_tls(&made.of("expired", "DNS:localhost", -1));
    let (code, output) = run(&expired);
    assert!(code == Some(1) && output.contains("the server's certificate has expired"), "{output}");
}
