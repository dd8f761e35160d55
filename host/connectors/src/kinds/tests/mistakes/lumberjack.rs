//! Errors in `lumberjack` sources.

use super::{Cases, SCREEN, differing};

const SOURCE: Cases = &[
    ("", r#"job.toml:1: source `lines`: `listen` is missing; write listen = "0.0.0.0:5044""#),
    (
        "listen = \"5044\"",
        r#"job.toml:3: source `lines`: `listen = "5044"` is not host and port; write it as "127.0.0.1:9999" or "[::1]:9999""#,
    ),
    (
        "listen = \"h:1\"\nwindow_time_max = \"2h\"",
        "job.toml:4: source `lines`: `window_time_max` is 2h; write a time from 1ms to 1h",
    ),
    (
        "listen = \"h:1\"\ntls = { ca = \"ca.pem\" }",
        "job.toml:4: source `lines`: `tls` needs a server certificate; write tls = { cert = \"own.pem\", key = \
         \"own.key\" }",
    ),
    (
        "listen = \"h:1\"\ntls = { cert = \"own.pem\", key = \"own.key\", name = \"x\" }",
        "job.toml:4: source `lines`: `tls.name` is for connections to a server; write tls = { cert = \"own.pem\", key = \"own.key\" }",
    ),
    (
        "listen = \"h:1\"\ntoken = \"x\"",
        "job.toml:4: source `lines`: `token` is not for kind `lumberjack` but for `http`, `flight`, `otlp`; remove it",
    ),
];

#[test]
fn mistakes_about_lumberjack_are_told() {
    let wrong = differing("SOURCE", SOURCE, "[sources.lines]\nkind = \"lumberjack\"\n", SCREEN);
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n\n"));
}
