//! Errors in `clickhouse` sinks.

use super::{Cases, LINES, differing};

const SINK: Cases = &[
    ("table = \"t\"", r#"job.toml:5: sink `screen`: `url` is missing; write url = "https://host:8443""#),
    ("url = \"https://h\"", r#"job.toml:5: sink `screen`: `table` is missing; write table = "counts""#),
    (
        "url = \"https://h/?query=x\"\ntable = \"t\"",
        r#"job.toml:8: sink `screen`: `url` must have only the server's address; write it as "https://host:8443""#,
    ),
    (
        "url = \"clickhouse://h\"\ntable = \"t\"",
        r#"job.toml:8: sink `screen`: `url` begins with neither http:// nor https://; write it as "https://host/path""#,
    ),
    (
        "url = \"https://h\"\ntable = \"a.b.c\"",
        r#"job.toml:9: sink `screen`: `table = "a.b.c"` is not a table; write it as "counts" or "database.counts""#,
    ),
    (
        "url = \"https://h\"\ntable = \"a`; drop table x\"",
        r#"job.toml:9: sink `screen`: `table = "a`; drop table x"` is not a table; write it as "counts" or "database.counts""#,
    ),
    (
        "url = \"https://h\"\ntable = \"t\"\npassword = \"x\"",
        r#"job.toml:10: sink `screen`: `password` needs `user`; write user = "…""#,
    ),
];

#[test]
fn mistakes_about_tables_of_clickhouse_are_told() {
    let wrong =
        differing("SINK", SINK, &format!("{LINES}[sinks.screen]\nfrom = \"lines\"\nkind = \"clickhouse\"\n"), "");
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n\n"));
}
