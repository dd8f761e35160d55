//! The page for other machines: with TLS, and a token created as for this one.

use millstream_tests::{Certificates, Process, Trial, free_port};
use std::path::Path;
use std::process::Command;

/// Runs curl on the page at a name of its certificate; returns the status and the complete output.
fn curl(ca: &Path, port: u16, path: &str, headers: &[&str]) -> (String, String) {
    let mut command = Command::new("curl");
    command.args(["-sS", "-i", "--max-time", "20", "-w", "\n%{http_code}", "--resolve"]);
    command.arg(format!("stream.example:{port}:127.0.0.1")).arg("--cacert").arg(ca);
    headers.iter().for_each(|header| {
        command.args(["-H", header]);
    });
    let ended = command.arg(format!("https://stream.example:{port}{path}")).output().unwrap();
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    let (told, status) = text.rsplit_once('\n').unwrap_or((&text, ""));
    (status.to_owned(), told.to_owned())
}

#[test]
fn other_machines_may_connect_if_the_page_has_a_certificate() {
    let (made, port) = (Certificates::make(), free_port());
    let (cert, key) = made.of("own", "DNS:stream.example", 2);
    let trial = Trial::new(
        "name = \"simple\"\nbatch = \"20ms\"\n[sources.in]\nkind = \"rate\"\nrows_per_second = 200\n\
         [sinks.out]\nfrom = \"in\"\nkind = \"nothing\"\n",
    );
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    let refused = |arguments: &[&str]| trial.run_command(&[&["run", "job.toml"], arguments].concat());
    let ended = refused(&["--ui-cert", &cert]);
    assert!(ended.code == Some(2) && ended.stderr.contains("--ui-key"), "{}", ended.stderr);
    trial.write("no.pem", "no certificate");
    let ended = refused(&["--ui-cert", "no.pem", "--ui-key", &key]);
    assert!(
        ended.code == Some(2) && ended.stderr.contains("the page cannot use TLS (--ui-cert, --ui-key): "),
        "{}",
        ended.stderr
    );

    let address = format!("0.0.0.0:{port}");
    let arguments = ["run", "job.toml", "--ui", &address, "--ui-cert", &cert, "--ui-key", &key];
    let mut job = Process::start(&mut trial.isolated_command(&arguments));
    job.wait_for_stderr(&format!("page: https://0.0.0.0:{port}/?token="));
    let printed = job.stderr();
    let token = printed.split_once("?token=").unwrap().1.split_once('\n').unwrap().0;
    let bearer = format!("Authorization: Bearer {token}");
    let ca = made.ca();
    assert_eq!(curl(&ca, port, "/metrics", &[]).0, "401");
    let (status, told) = curl(&ca, port, "/metrics", &[&bearer]);
    assert!(status == "200" && told.contains("millstream_up"), "{status}: {told}");
    let (status, told) = curl(&ca, port, &format!("/?token={token}"), &[]);
    assert!(status == "303" && told.contains("; HttpOnly; SameSite=Strict; Secure"), "{status}: {told}");
    for (origin, status) in [("https", "200"), ("http", "403")] {
        let origin = format!("Origin: {origin}://stream.example:{port}");
        assert_eq!(curl(&ca, port, "/api/v1/jobs", &[&bearer, &origin]).0, status, "{origin}");
    }
    // A client that does not trust the CA, or that does not use TLS, sees nothing.
    let (status, told) = curl(Certificates::make().ca().as_path(), port, "/healthz", &[]);
    assert!(status == "000" && told.trim().is_empty(), "{status}: {told}");
    let plain =
        Command::new("curl").args(["-sS", "--max-time", "20", &format!("http://127.0.0.1:{port}/healthz")]).output();
    assert!(plain.unwrap().stdout.is_empty());
    assert!(!job.stop().contains("panicked"));
}
