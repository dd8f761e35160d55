//! Errors in lists of servers of `socket` and `raw-socket` sources.

use super::{Cases, SCREEN, differing, read};

const SOURCE: Cases = &[
    (
        "address = []",
        r#"job.toml:3: source `lines`: `address` is empty; write address = ["127.0.0.1:9998", "127.0.0.1:9999"]"#,
    ),
    (
        r#"address = ["a:1", ""]"#,
        r#"job.toml:3: source `lines`: `address` is empty; write address = ["127.0.0.1:9998", "127.0.0.1:9999"]"#,
    ),
    (
        r#"address = ["a:1", 2]"#,
        r#"job.toml:3: source `lines`: `address` is a list, needs a string or a list of strings; write address = ["127.0.0.1:9998", "127.0.0.1:9999"]"#,
    ),
    (
        r#"address = ["a:1", "nowhere"]"#,
        r#"job.toml:3: source `lines`: `nowhere` in `address` is not host and port; write it as "127.0.0.1:9999" or "[::1]:9999""#,
    ),
    (
        r#"address = ["Host:1", "b:1", "host:1"]"#,
        "job.toml:3: source `lines`: `address` names `host:1` twice, but each server is its own partition; write it \
        once",
    ),
];

#[test]
fn mistakes_in_lists_of_servers_are_told() {
    for kind in ["socket", "raw-socket"] {
        let wrong = differing("SOURCE", SOURCE, &format!("[sources.lines]\nkind = \"{kind}\"\n"), SCREEN);
        assert!(wrong.is_empty(), "{kind}: {} differ\n{}", wrong.len(), wrong.join("\n\n"));
    }
}

#[test]
fn a_list_has_a_limit() {
    let check_count = |count: usize| {
        let addresses: Vec<String> = (1..=count).map(|port| format!("\"h:{port}\"")).collect();
        let source = format!("[sources.lines]\nkind = \"socket\"\naddress = [{}]\n", addresses.join(", "));
        read(&format!("{source}{SCREEN}")).map_err(|error| error.message)
    };
    assert!(check_count(256).is_ok());
    let message = check_count(257).unwrap_err();
    assert!(
        message.contains("`address` has 257 servers, but one source reads at most 256; write another source"),
        "{message}"
    );
}
