//! TLS that the host provides for source and sink plugins: the plugin does not know about it.

use millstream_tests::{Certificates, Process, Trial, free_port, plugin, wait_until};
use std::path::PathBuf;

/// A job with `acked-lines`, which reads from this port with TLS.
fn job(port: u16, ca: &str) -> Trial {
    let plugin = plugin("acked-lines").display().to_string();
    Trial::new(&format!(
        r#"
        name = "secured"
        batch = "50ms"
        [sources.in]
        kind = "plugin"
        plugin = "{plugin}"
        config = {{ addresses = ["localhost:{port}"] }}
        grant = {{ tcp = ["tls://localhost:{port}"]{ca} }}
        [sinks.out]
        from = "in"
        kind = "queue"
        path = "out.jsonl"
        "#
    ))
}

fn trusting(port: u16, made: &Certificates) -> Trial {
    job(port, &format!(", ca = \"{}\"", made.ca().display()))
}

fn serve(port: u16, own: &(PathBuf, PathBuf)) -> Process {
    Process::start(&mut Certificates::server(port, own, &[]))
}

#[test]
fn a_plugin_reads_and_writes_plain_text_inside_tls() {
    let (made, port) = (Certificates::make(), free_port());
    let mut server = serve(port, &made.of("good", "DNS:localhost", 2));
    let trial = trusting(port, &made);
    let job = trial.start(&[]);
    server.wait_until("the plugin asks", |server| server.stdout().contains("FROM 0\n"));
    server.say("0 to\n1 be\n");
    wait_until("the lines are there", || trial.rows("out.jsonl").len() == 2);
    // Over the same connection.
    server.wait_until("the plugin acknowledges", |server| server.stdout().contains("ACK 2\n"));
    // After the server has exited, the source reconnects at its position.
    server.kill();
    let mut server = serve(port, &made.of("again", "DNS:localhost", 2));
    server.wait_until("the plugin is back", |server| server.stdout().contains("FROM 2\n"));
    server.say("2 or\nEND\n");
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let strings: Vec<String> = trial.rows("out.jsonl").iter().map(|row| row["text"].as_str().unwrap().into()).collect();
    assert_eq!(strings, ["to", "be", "or"]);
}

#[test]
fn a_server_with_a_wrong_certificate_ends_the_job() {
    let (made, others, port) = (Certificates::make(), Certificates::make(), free_port());
    for (own, text) in [
        (others.of("theirs", "DNS:localhost", 2), "was issued by a CA that this job does not trust"),
        (made.of("elsewhere", "DNS:elsewhere.example", 2), "is not for the name `localhost` but for "),
        (made.of("old", "DNS:localhost", -1), "has expired; renew it on the server"),
    ] {
        let server = serve(port, &own);
        let trial = trusting(port, &made);
        let ended = trial.run(&[]);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(text) && ended.stderr.contains("source `in`"), "{text}: {}", ended.stderr);
        server.kill();
    }
}

#[test]
fn errors_of_the_job_are_reported() {
    let trial = job(7000, ", ca = \"nowhere.pem\"");
    let output = trial.rejected_message(&["validate", "job.toml"]);
    assert!(output.contains("`./nowhere.pem` cannot be read"), "{output}");
    trial.change("tls://localhost", "localhost");
    let output = trial.rejected_message(&["validate", "job.toml"]);
    assert!(
        output.contains("`grant.ca` is for servers with TLS, for example tcp = [\"tls://feed.example.com:7000\"]"),
        "{output}"
    );
    trial.change("tcp = [\"localhost:7000\"], ca = \"nowhere.pem\"", "udp = [\"tls://localhost:7000\"]");
    let output = trial.rejected_message(&["validate", "job.toml"]);
    assert!(output.contains("`tls://localhost:7000` is not host:port"), "{output}");
}
