//! Errors in `syslog` sources.

use super::{Cases, SCREEN, differing};

const SOURCE: Cases = &[
    ("", r#"job.toml:1: source `lines`: `listen` is missing; write listen = "0.0.0.0:5514""#),
    (
        "listen = \"5514\"",
        r#"job.toml:3: source `lines`: `listen = "5514"` is not host and port; write it as "127.0.0.1:9999" or "[::1]:9999""#,
    ),
    (
        "listen = \"h:1\"\nprotocol = \"tls\"",
        r#"job.toml:4: source `lines`: `protocol = "tls"` is not available in this version; write one of: `both`, `udp`, `tcp`"#,
    ),
    (
        "listen = \"h:1\"\nformat = \"text\"",
        "job.toml:4: source `lines`: `format` is not for kind `syslog` but for `socket`, `raw-socket`, `http`, `directory`, `file`, `kafka`, \
         `redis`, `mqtt`, `nats`, `rabbitmq`, `zeromq`, `flight`, `kinesis`, `postgres-changes`, `queue`; remove it",
    ),
];

#[test]
fn mistakes_about_syslog_are_told() {
    let wrong = differing("SOURCE", SOURCE, "[sources.lines]\nkind = \"syslog\"\n", SCREEN);
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n\n"));
}
