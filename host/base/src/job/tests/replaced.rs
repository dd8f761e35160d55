//! Who reads sessions that are put out with every batch.

use super::read;

const SESSIONS: &str = r#"
[sources.clicks]
kind = "queue"
path = "clicks"
schema = { k = "text", t = "timestamp(s)" }
[stages.open]
from = "clicks"
key = "k"
time = "t"
window = { gap = "10s", emit = "update" }
aggregate = { n = "count(*)" }
[sinks.screen]
from = "open"
kind = "print"
"#;

fn said(text: &str) -> Option<String> {
    read(&format!("{SESSIONS}{text}")).err().map(|error| error.message)
}

#[test]
fn latest_by_the_start_reads_the_sessions_themselves() {
    let latest = |from: &str, key: &str| format!("[stages.known]\nfrom = \"{from}\"\nkey = {key}\nlatest = true\n");
    let (by_start, by_key) = ("[\"k\", \"window_start\"]", "\"k\"");
    assert_eq!(said(&latest("open", by_start)), None);
    assert_eq!(said(&latest("open", by_key)), None, "the latest result of each key");
    let some = "[stages.some]\nfrom = \"open\"\nfilter = \"n > 1\"\n";
    assert_eq!(said(&format!("{some}{}", latest("some", by_key))), None);
    let refused = said(&format!("{some}{}", latest("some", by_start))).unwrap_or_default();
    assert!(refused.contains("stage `known`: `latest`: the start of a session of `open` changes"), "{refused}");
    assert!(refused.contains("key = [\"k\", \"window_start\"]"), "{refused}");
    let by_end = said(&latest("open", "[\"k\", \"window_end\"]")).unwrap_or_default();
    assert!(by_end.contains("read `open` itself"), "{by_end}");
    let own = SESSIONS.replace("aggregate =", "filter = \"n > 1\"\naggregate =");
    let own = read(&format!("{own}{}", latest("open", by_start)));
    assert!(
        own.is_err_and(|error| error.message.contains("put `filter` and `select` into a stage that reads this one"))
    );
}

#[test]
fn a_table_by_the_start_needs_to_know_what_goes() {
    let table = |from: &str, more: &str| {
        format!(
            "[sinks.table]\nfrom = \"{from}\"\nkind = \"postgres\"\nurl = \"postgres://h/d\"\ntable = \"t\"\nmode = \"upsert\"\n\
             key = [\"k\", \"window_start\"]\n{more}"
        )
    };
    let refused = said(&table("open", "")).unwrap_or_default();
    assert!(refused.contains("sink `table`: `key`: the start of a session of `open` changes"), "{refused}");
    let known = "[stages.known]\nfrom = \"open\"\nkey = [\"k\", \"window_start\"]\nlatest = true\n";
    assert_eq!(said(&format!("{known}{}", table("known", "op = \"op\"\n"))), None);
    // Windows stay where they are.
    let windows = SESSIONS.replace("gap =", "size =");
    assert!(read(&format!("{windows}{}", table("open", ""))).is_ok());
}
