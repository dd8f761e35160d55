//! Readers of sessions that are emitted with every batch.

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

fn job_error(text: &str) -> Option<String> {
    read(&format!("{SESSIONS}{text}")).err().map(|error| error.message)
}

#[test]
fn latest_by_the_start_reads_the_sessions_themselves() {
    let latest = |from: &str, key: &str| format!("[stages.known]\nfrom = \"{from}\"\nkey = {key}\nlatest = true\n");
    let (by_start, by_key) = ("[\"k\", \"window_start\"]", "\"k\"");
    assert_eq!(job_error(&latest("open", by_start)), None);
    assert_eq!(job_error(&latest("open", by_key)), None, "the latest result of each key");
    let some = "[stages.some]\nfrom = \"open\"\nfilter = \"n > 1\"\n";
    assert_eq!(job_error(&format!("{some}{}", latest("some", by_key))), None);
    let error = job_error(&format!("{some}{}", latest("some", by_start))).unwrap_or_default();
    assert!(error.contains("stage `known`: `latest`: sessions of `open` start earlier"), "{error}");
    assert!(error.contains("key = [\"k\", \"window_start\"]"), "{error}");
    let by_end = job_error(&latest("open", "[\"k\", \"window_end\"]")).unwrap_or_default();
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
    let error = job_error(&table("open", "")).unwrap_or_default();
    assert!(error.contains("sink `table`: `key`: sessions of `open` start earlier"), "{error}");
    let known = "[stages.known]\nfrom = \"open\"\nkey = [\"k\", \"window_start\"]\nlatest = true\n";
    assert_eq!(job_error(&format!("{known}{}", table("known", "op = \"op\"\n"))), None);
    // Windows do not move.
    let windows = SESSIONS.replace("gap =", "size =");
    assert!(read(&format!("{windows}{}", table("open", ""))).is_ok());
}

#[test]
fn the_start_alone_is_no_key_where_sessions_have_one() {
    let latest = |from: &str, key: &str| format!("[stages.known]\nfrom = \"{from}\"\nkey = {key}\nlatest = true\n");
    for key in ["\"window_start\"", "[\"k\", \"window_start\", \"n\"]"] {
        let error = job_error(&latest("open", key)).unwrap_or_default();
        assert!(error.contains("with key = [\"k\", \"window_start\"]"), "{key}: {error}");
    }
    let of_all = SESSIONS.replace("key = \"k\"\n", "");
    assert!(read(&format!("{of_all}{}", latest("open", "\"window_start\""))).is_ok());
    let renamed = "[stages.some]\nfrom = \"open\"\nselect = \"k as visitor, window_start as ws, n\"\n";
    assert_eq!(job_error(&format!("{renamed}{}", latest("some", "\"visitor\""))), None);
    let error = job_error(&format!("{renamed}{}", latest("some", "[\"visitor\", \"ws\"]"))).unwrap_or_default();
    assert!(error.contains("stage `known`: `latest`: sessions of `open` start earlier"), "{error}");
}

#[test]
fn stages_over_all_rows_need_to_know_what_goes() {
    for stage in [
        "key = [\"k\", \"window_start\"]\ntop = { n = 1, by = \"n\" }\nwindow = \"all\"",
        "aggregate = { clicks = \"sum(n)\" }\nwindow = \"all\"",
        "sql = \"select k, sum(n) as clicks from READ group by k\"\nwindow = \"all\"",
        "sql = \"select k, sum(n) as clicks from READ group by k order by clicks desc nulls last limit 3\"\nwindow = \"all\"",
        "join = { with = \"clicks\", on = \"k\" }\nwindow = \"all\"",
    ] {
        let of = |from: &str| format!("[stages.q]\nfrom = \"{from}\"\n{}\n", stage.replace("READ", from));
        let some = "[stages.some]\nfrom = \"open\"\nfilter = \"n > 1\"\n";
        for text in [of("open"), format!("{some}{}", of("some"))] {
            let error = job_error(&text).unwrap_or_default();
            assert!(error.contains("stage `q`: `window`: sessions of `open` start earlier"), "{stage}: {error}");
            assert!(error.contains("with latest = true and key = [\"k\", \"window_start\"], in front"), "{error}");
        }
        let known = "[stages.known]\nfrom = \"open\"\nkey = [\"k\", \"window_start\"]\nlatest = true\n";
        assert_eq!(job_error(&format!("{known}{}op = \"op\"\n", of("known"))), None, "{stage}");
        // Sessions that are emitted once.
        let once = SESSIONS.replace(", emit = \"update\"", "");
        assert!(read(&format!("{once}{}", of("open"))).is_ok(), "{stage}");
    }
}

#[test]
fn a_table_beside_rows_is_by_the_key_of_sessions_alone() {
    let enrich = |on: &str| format!("[stages.e]\nfrom = \"clicks\"\nenrich = {{ stream = \"open\", on = {on} }}\n");
    assert_eq!(job_error(&enrich("\"k\"")), None);
    let error = job_error(&enrich("{ k = \"k\", t = \"window_start\" }")).unwrap_or_default();
    assert!(error.contains("stage `e`: `enrich.stream`: sessions of `open` start earlier"), "{error}");
}

#[test]
fn a_start_is_known_by_any_name() {
    let sink = |from: &str, kind: &str, key: &str| format!("[sinks.table]\nfrom = \"{from}\"\n{kind}\nkey = {key}\n");
    let postgres = "kind = \"postgres\"\nurl = \"postgres://h/d\"\ntable = \"t\"\nmode = \"upsert\"";
    for list in [
        "select = \"k, window_start as ws, n\"",
        "select = \"k, cast(window_start as text) as ws, n\"",
        "sql = \"select k, window_start as ws, n from open\"",
    ] {
        let some = format!("[stages.some]\nfrom = \"open\"\n{list}\n");
        let error = job_error(&format!("{some}{}", sink("some", postgres, "[\"k\", \"ws\"]"))).unwrap_or_default();
        assert!(error.contains("sink `table`: `key`: sessions of `open` start earlier"), "{list}: {error}");
        assert_eq!(job_error(&format!("{some}{}", sink("some", postgres, "\"k\""))), None, "{list}");
    }
    let bulk = "kind = \"http\"\nurl = \"http://h/\"\nbody = \"bulk\"\nindex = \"i\"";
    let error = job_error(&sink("open", bulk, "\"window_start\"")).unwrap_or_default();
    assert!(error.contains("sink `table`: `key`: sessions of `open` start earlier"), "{error}");
}
