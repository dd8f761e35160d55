//! Stages between changes and sinks that apply them: rejected if they select by columns that changes do not carry.

use super::read;
use crate::postgres_changes::settings::ChangesReads;
use millstream_job::spec::SourceKind;
use std::any::Any;

const SOURCES: &str = r#"
[sources.orders]
kind = "postgres-changes"
url = "postgres://h/d"
table = "orders"
schema = { op = { type = "text", from = "op" }, place = { type = "text", from = "table" }, id = "int64", price = "int64", customer = "text", items = "list<text>" }

[sources.said]
kind = "queue"
path = "said"
schema = { op = "text", place = "text", id = "int64", price = "int64", customer = "text", kind = "text" }

[sources.clicks]
kind = "queue"
path = "clicks"
schema = { id = "int64", price = "int64", page = "text", at = "timestamp(s)" }
"#;

const LATEST: &str = "\n[stages.kept]\nfrom = \"IN\"\nkey = \"id\"\nlatest = true\nop = \"op\"\n";

/// Returns the error of a stage `s` between a stream and a sink that keeps rows by `id`.
fn stage_error(stage: &str, reads: &str, input: &str) -> Option<String> {
    let sink =
        "kind = \"postgres\"\nurl = \"postgres://h/d\"\ntable = \"t\"\nmode = \"upsert\"\nkey = \"id\"\nop = \"op\"\n";
    let stage = stage.replace("IN", input);
    let table = LATEST.replace("IN", "orders");
    job_error(&format!("{table}\n[stages.s]\nfrom = \"{input}\"\n{stage}\n[sinks.copy]\nfrom = \"{reads}\"\n{sink}"))
}

fn job_error(text: &str) -> Option<String> {
    read(&format!("{SOURCES}{text}")).err().map(|error| error.message)
}

/// Stages, their readers, and why they are rejected after raw changes.
const CHOOSES: &[(&str, &str, &str)] = &[
    (
        "filter = \"price < 10\"",
        "s",
        "stage `s`: `filter`: the rows are changes of source `X`, and sink `copy` would keep deleted rows: it drops changes by `price`",
    ),
    ("filter = \"op = 'delete' or price < 10\"", "s", "`price`"),
    ("split = { cheap = \"price < 10\" }", "s.cheap", "stage `s`: `split.cheap`:"),
    ("split = { cheap = \"price < 10\" }", "s", "stage `s`: `split.cheap`:"),
    ("split = { a = \"id < 5\", b = \"price < 10\" }", "s.b", "stage `s`: `split.b`:"),
    ("split = { a = \"price < 5\", b = \"id < 10\" }", "s.b", "stage `s`: `split.a`:"),
    ("sql = \"select id, price, op from IN where price < 10\"", "s", "stage `s`: `sql`:"),
    ("sql = \"select t.id, t.op from IN t where t.price < 10\"", "s", "by `price`"),
    ("select = \"id * 2 as id, op, price\"\nfilter = \"id > 5\"", "s", "by `id`"),
];

/// Stages that select changes by columns that every change carries.
const BREAKS: &[(&str, &str)] = &[
    ("key = \"id\"\ndeduplicate = { within = \"1m\" }", "`deduplicate`"),
    ("distinct = true", "`distinct`"),
    ("distinct = \"customer\"", "`distinct`"),
    ("sample = 0.5", "`sample`"),
    ("top = { n = 3, by = \"price\" }", "`top`"),
    ("sql = \"select id, op, max(price) as price from IN group by id, op\"", "it has `group by`"),
    ("sql = \"select id, op from IN limit 5\"", "it has `limit`"),
    ("sql = \"select id, op from IN order by price\"", "it has `order by`"),
    ("sql = \"select distinct id, op from IN\"", "it is not a plain `select"),
    ("window = { size = \"10s\" }", "`window`"),
    ("key = \"customer\"\nrepartition = { partitions = 2 }", "`key`"),
    ("key = [\"id\", \"op\"]\naggregate = { price = \"max(price)\" }", "`aggregate`"),
    ("filter = \"random() < 0.5\"", "`random`"),
];

/// Stages that select only by the key, or not at all.
const PASSES: &[(&str, &str)] = &[
    ("filter = \"id > 5\"", "s"),
    ("filter = \"op <> 'truncate' and id % 2 = 0\"", "s"),
    ("select = \"id, price * 2 as price, op\"", "s"),
    ("select = \"id, case when price >= 10 then 'delete' else op end as op\"", "s"),
    ("select = \"customer as id, id as number, op\"\nfilter = \"customer is not null\"", "s"),
    ("split = { low = \"id < 10\" }", "s.low"),
    ("split = { low = \"id < 10\" }", "s"),
    ("sql = \"select * from IN where id > 5\"", "s"),
    ("key = \"id\"\nrepartition = { partitions = 2 }", "s"),
    ("repartition = { partitions = 2 }", "s"),
    ("enrich = { file = \"a.csv\", on = \"customer\" }", "s"),
];

#[test]
fn a_stage_that_chooses_among_raw_changes_by_their_values_is_refused() {
    let mut wrong = Vec::new();
    for input in ["orders", "said"] {
        for (stage, reads, why) in CHOOSES {
            let job_error = stage_error(stage, reads, input).unwrap_or_default();
            let why = why.replace('X', input);
            if !job_error.contains(&why) || !job_error.contains("latest = true, ") || !job_error.contains("op = \"op\"")
            {
                wrong.push(format!("{input}: {stage}: {job_error}"));
            }
        }
        for (stage, why) in BREAKS {
            let job_error = stage_error(stage, "s", input).unwrap_or_default();
            if !job_error.contains(why) {
                wrong.push(format!("{input}: {stage}: {job_error}"));
            }
        }
        for (stage, reads) in PASSES {
            wrong.extend(stage_error(stage, reads, input).map(|job_error| format!("{input}: {stage}: {job_error}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn complete_changes_may_be_chosen_by_their_values_but_not_one_by_one() {
    let mut wrong = Vec::new();
    for (stage, reads, _) in CHOOSES {
        wrong.extend(stage_error(stage, reads, "kept").map(|job_error| format!("{stage}: {job_error}")));
    }
    for (stage, reads) in PASSES {
        wrong.extend(stage_error(stage, reads, "kept").map(|job_error| format!("{stage}: {job_error}")));
    }
    for (stage, why) in BREAKS {
        let job_error = stage_error(stage, "s", "kept").unwrap_or_default();
        if !job_error.contains(why) || job_error.contains("latest = true") {
            wrong.push(format!("{stage}: {job_error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_who_keep_rows_by_changes_are_asked() {
    let cheap = "[stages.cheap]\nfrom = \"IN\"\nfilter = \"price < 10\"\n";
    let readers = [
        "[stages.t]\nfrom = \"cheap\"\nkey = \"id\"\nlatest = true\nop = \"op\"\n",
        "[stages.e]\nfrom = \"clicks\"\nenrich = { stream = \"cheap\", on = \"id\", op = \"op\" }\n",
        "[sinks.k]\nfrom = \"cheap\"\nkind = \"kafka\"\nbrokers = \"h:1\"\ntopic = \"t\"\nkey = \"id\"\nop = \"op\"\n",
        "[sinks.d]\nfrom = \"cheap\"\nkind = \"delta\"\npath = \"d\"\nmode = \"upsert\"\nkey = \"id\"\nop = \"op\"\n",
        "[sinks.h]\nfrom = \"cheap\"\nkind = \"http\"\nurl = \"http://h/i/_bulk\"\nbody = \"bulk\"\nkey = \"id\"\nop = \"op\"\n",
        "[stages.gone]\nfrom = \"cheap\"\nselect = \"id, op = 'delete' as gone\"\n[sinks.k]\nfrom = \"gone\"\nkind = \"kafka\"\nbrokers = \"h:1\"\n\
         topic = \"t\"\nkey = \"id\"\ntombstones = \"gone\"\n",
        "[stages.more]\nfrom = [\"cheap\", \"other\"]\nselect = \"id as number, op\"\n[stages.other]\nfrom = \"IN\"\n\
         [stages.t]\nfrom = \"more\"\nkey = \"number\"\nlatest = true\nop = \"op\"\n",
        "[stages.p]\nfrom = \"IN\"\nfilter = \"price < 10\"\n[stages.q]\nfrom = \"p\"\nplugin = \"p\"\n\
         [stages.t]\nfrom = \"q\"\nkey = \"id\"\nlatest = true\nop = \"op\"\n",
    ];
    let screen = "[sinks.screen]\nfrom = \"clicks\"\nkind = \"print\"\n";
    for reader in readers {
        for input in ["orders", "said"] {
            let job_error = job_error(&format!("{cheap}{reader}{screen}").replace("IN", input)).unwrap_or_default();
            // A plugin may turn arbitrary rows into anything.
            let expected = !(reader.contains("plugin") && input == "said");
            assert_eq!(
                job_error.contains("`filter`: the rows are changes of"),
                expected,
                "{input}: {reader}: {job_error}"
            );
        }
        let job = format!("{cheap}{reader}{screen}").replace("IN", "kept");
        assert_eq!(job_error(&format!("{}{job}", LATEST.replace("IN", "orders"))), None, "{reader}");
    }
}

#[test]
fn who_takes_each_change_as_a_row_may_choose() {
    let cheap = "[stages.cheap]\nfrom = \"orders\"\nfilter = \"price < 10\"\n";
    for reader in [
        "[sinks.a]\nfrom = \"cheap\"\nkind = \"print\"\n",
        "[sinks.a]\nfrom = \"cheap\"\nkind = \"files\"\npath = \"out\"\nchanges = \"rows\"\n",
        "[stages.n]\nfrom = \"cheap\"\nkey = \"op\"\naggregate = { n = \"count(*)\" }\nwindow = { size = \"10s\" }\n\
         [sinks.a]\nfrom = \"n\"\nkind = \"files\"\npath = \"out\"\n",
    ] {
        assert_eq!(job_error(&format!("{cheap}{reader}")), None, "{reader}");
    }
    // Rows of a pure insert stream replace earlier ones; the job decides which of them are valid.
    let latest = "[stages.valid]\nfrom = \"clicks\"\nfilter = \"price is not null\"\n\
                  [stages.t]\nfrom = \"valid\"\nkey = \"id\"\nlatest = true\n[sinks.a]\nfrom = \"t\"\nkind = \"print\"\n";
    assert_eq!(job_error(latest), None);
    let upserts = latest.replace("latest = true", "latest = true\nop = \"op\"").replace(
        "filter = \"price is not null\"",
        "filter = \"price is not null\"\nselect = \"id, price, 'upsert' as op\"",
    );
    assert_eq!(job_error(&upserts), None);
    // The name of an event is the operation in another spelling.
    let events = "[stages.named]\nfrom = \"said\"\nfilter = \"kind in ('made', 'gone')\"\n\
                  select = \"id, price, case kind when 'gone' then 'delete' else 'upsert' end as op\"\n\
                  [stages.t]\nfrom = \"named\"\nkey = \"id\"\nlatest = true\nop = \"op\"\n[sinks.a]\nfrom = \"t\"\nkind = \"print\"\n";
    assert_eq!(job_error(events), None);
    let tombstones = events
        .replace("case kind when 'gone'", "case when price is null")
        .replace("kind in ('made', 'gone')", "price < 10");
    assert!(job_error(&tombstones).is_some_and(|job_error| job_error.contains("it drops changes by `price`")));
}

#[test]
fn all_changes_of_a_row_are_of_one_table_and_record_key() {
    for stage in [
        "filter = \"place = 'orders' and id > 5\"",
        "split = { some = \"place = 'orders'\" }",
        "select = \"id, op, upper(place) as place, price\"\nfilter = \"place like 'o%'\"",
        "key = [\"place\", \"id\"]\nrepartition = { partitions = 2 }",
    ] {
        assert_eq!(stage_error(stage, "s", "orders"), None, "{stage}");
    }
    let split = stage_error("select = \"id, op, concat(place, customer) as place\"", "s", "orders");
    assert_eq!(split, None);
    // The meaning of such a column is unknown for other sources.
    assert!(stage_error("filter = \"place = 'orders'\"", "s", "said").is_some());
    let kafka = "[sources.topic]\nkind = \"kafka\"\nbrokers = \"h:1\"\ntopic = \"t\"\nformat = \"json\"\n\
                 schema = { id = \"int64\", v = \"int64\", op = \"text\", k = { type = \"text\", from = \"key\" } }\n\
                 [stages.s]\nfrom = \"topic\"\nfilter = \"CONDITION\"\n[stages.t]\nfrom = \"s\"\nkey = \"id\"\nlatest = true\nop = \"op\"\n\
                 [sinks.a]\nfrom = \"t\"\nkind = \"print\"\n";
    assert_eq!(job_error(&kafka.replace("CONDITION", "k like 'a%'")), None);
    assert!(job_error(&kafka.replace("CONDITION", "v < 10")).is_some_and(|job_error| job_error.contains("by `v`")));
}

#[test]
fn columns_that_an_enrich_adds_are_not_those_that_a_row_was_inserted_with() {
    let table = LATEST.replace("IN", "orders");
    let of = |column: &str| {
        let stages = format!(
            "{table}[stages.e]\nfrom = \"kept\"\nenrich = {{ stream = \"clicks\", on = \"id\" }}\n[stages.f]\nfrom = \"e\"\nfilter = \"{column} = 'x'\"\n\
             [stages.best]\nfrom = \"f\"\ntop = {{ n = 1, by = \"price\" }}\nop = \"op\"\nwindow = \"all\"\n[sinks.a]\nfrom = \"best\"\nkind = \"print\"\n"
        );
        job_error(&stages)
    };
    assert_eq!(of("customer"), None);
    assert!(of("page").is_some_and(|job_error| job_error.contains("`page` comes from the table of an `enrich`")));
    let old = format!(
        "{table}[stages.f]\nfrom = \"kept\"\nfilter = \"price > 5 and now() > to_timestamp(0)\"\n\
         [stages.n]\nfrom = \"f\"\naggregate = {{ n = \"count(*)\" }}\nop = \"op\"\nwindow = \"all\"\n[sinks.a]\nfrom = \"n\"\nkind = \"print\"\n"
    );
    assert!(
        job_error(&old)
            .is_some_and(|job_error| job_error.contains("`now` may differ between the insert and the delete"))
    );
}

#[test]
fn latest_without_op_would_keep_what_was_deleted() {
    for from in ["orders", "parts", "parts.low"] {
        let text = format!(
            "[stages.parts]\nfrom = \"orders\"\nsplit = {{ low = \"id < 5\" }}\n[stages.t]\nfrom = \"{from}\"\nkey = \"id\"\nlatest = true\n\
             [sinks.a]\nfrom = \"t\"\nkind = \"print\"\n"
        );
        assert!(job_error(&text).is_some_and(|job_error| job_error.contains("write op = \"op\"")), "{from}");
    }
}

/// Stages `s` over changes, and the error if a sink keeps rows by `id`.
const WITH_ERROR: &[(&str, &str, &str)] = &[
    // An expression that cannot be parsed reads every column; brackets within strings do not count.
    ("orders", "filter = \"price < 10 and customer <> '(((((((((((((('\"", "stage `s`: `filter`: the rows are changes"),
    ("orders", "filter = \"((((((((((((((price < 10))))))))))))))\"", "its input columns are unknown"),
    ("orders", "filter = \"price < 10\"\nselect = \"id, op, DEEP as customer\"", "by `price`"),
    ("kept", "filter = \"length(replace(DEEP, cast(now() as text), '')) > 1\"", "`now` may differ between"),
    // Computed from the operation and other columns.
    (
        "orders",
        "select = \"id, case when price < 10 then op else 'skip' end as op\"\n[stages.t]\nfrom = \"s\"\nfilter = \"op <> 'skip'\"",
        "`op` is computed",
    ),
    (
        "said",
        "select = \"id, case when price < 10 then op else 'skip' end as op\"\n[stages.t]\nfrom = \"s\"\nfilter = \"op <> 'skip'\"",
        "`op` is computed",
    ),
    (
        "orders",
        "select = \"id, case when price < 10 then op else 'skip' end as op\"\n[stages.t]\nfrom = \"s\"\nsplit = { a = \"op <> 'skip'\" }",
        "`split.a`",
    ),
    (
        "orders",
        "filter = \"customer <> 'x'\"\nselect = \"id, case customer when 'a' then 'upsert' else 'delete' end as op\"",
        "by `customer`",
    ),
    // An operation other than that of the source.
    (
        "orders",
        "select = \"id, price, 'upsert' as op\"",
        "sink `copy`: the rows are changes of source `orders`, whose column `op` says what they do",
    ),
    ("kept", "select = \"id, price, 'upsert' as op\"", "changes of stage `kept`, whose column `op`"),
    (
        "kept",
        "select = \"id, case when price > 5 then 'upsert' else 'delete' end as op\"",
        "`op` is not computed from it",
    ),
    // The last of several changes, which is not always the latest.
    (
        "orders",
        "key = \"id\"\naggregate = { op = \"last(op) filter (where price < 10)\" }\nfilter = \"op is not null\"",
        "`aggregate`",
    ),
    ("orders", "key = \"id\"\naggregate = { op = \"first(op)\" }", "`aggregate`"),
    ("said", "key = \"id\"\naggregate = { op = \"first(op)\" }", "`aggregate`"),
    ("orders", "key = \"customer\"\naggregate = { op = \"last(op)\", id = \"last(id)\" }", "`aggregate`"),
    ("kept", "key = \"id\"\naggregate = { op = \"last(op)\" }\nwindow = { size = \"10s\" }", "`aggregate`"),
    (
        "orders",
        "key = \"id\"\naggregate = { does = \"max(op)\" }\n[stages.t]\nfrom = \"s\"\nselect = \"id, does as op\"",
        "`aggregate`",
    ),
    (
        "orders",
        "key = \"id\"\naggregate = { op = \"last(op)\", price = \"last(price)\" }\nfilter = \"price < 10\"",
        "by `price`",
    ),
    // A different time for each row.
    (
        "kept",
        "select = \"*, now() as r\"\n[stages.t]\nfrom = \"s\"\nfilter = \"r < timestamp '1970-01-01T00:00:02Z'\"",
        "`now` may differ between",
    ),
    (
        "orders",
        "select = \"*, random() as r\"\n[stages.t]\nfrom = \"s\"\nselect = \"id, op, r * 2 as q\"\n[stages.u]\nfrom = \"t\"\nfilter = \"q < 1\"",
        "`random` may differ between",
    ),
    // Single changes.
    (
        "orders",
        "time = \"to_timestamp_seconds(price)\"\nwindow = { size = \"1s\" }\naggregate = { n = \"count(*)\" }\n[stages.t]\nfrom = \"s.late\"",
        "`s.late` has only the late changes",
    ),
];

/// Stages without an error.
const WITHOUT_ERROR: &[&str] = &[
    "select = \"*, id % 2 as par, op as o1, id as a, upper(op) as what\"\n[stages.t]\nfrom = \"s\"\nfilter = \"par = 0 and o1 <> 'truncate' and a > 5 and what <> 'X'\"",
    "sql = \"select id, op, id % 2 as par from IN\"\n[stages.t]\nfrom = \"s\"\nsplit = { a = \"par = 0\" }",
    "select = \"id * 2 as id, op\"\n[stages.t]\nfrom = \"s\"\nfilter = \"id > 4\"",
    "select = \"id, op, DEEP as customer\"",
    "key = \"id\"\naggregate = { op = \"last(op)\", price = \"last(price)\" }\nfilter = \"op <> 'truncate'\"",
    "select = \"id, op, now() as at\"\n[stages.t]\nfrom = \"s\"\nfilter = \"id > 5\"",
    "select = \"op, id\"\n[stages.t]\nfrom = \"s\"\nselect = \"id, case op when 'delete' then 'delete' else 'upsert' end as op\"\n[stages.u]\nfrom = \"t\"\nfilter = \"op <> 'x'\"",
];

/// The last of several stages, of which `s` is the first.
fn last_of(stages: &str) -> &'static str {
    match (stages.contains("[stages.u]"), stages.contains("[stages.t]")) {
        (true, _) => "u",
        (false, true) if stages.contains("split = { a") => "t.a",
        (false, true) => "t",
        (false, false) => "s",
    }
}

#[test]
fn columns_are_known_by_what_they_are_computed_of() {
    let deep = format!("{}customer{}", "replace(".repeat(13), ", 'a', '')".repeat(13));
    let mut wrong = Vec::new();
    for (input, stages, why) in WITH_ERROR {
        let stages = stages.replace("DEEP", &deep);
        let job_error = stage_error(&stages, last_of(&stages), input).unwrap_or_default();
        if !job_error.contains(why) {
            wrong.push(format!("{input}: {stages}: {job_error}"));
        }
    }
    for stages in WITHOUT_ERROR {
        let stages = stages.replace("DEEP", &deep);
        for input in ["orders", "said", "kept"] {
            wrong.extend(
                stage_error(&stages, last_of(&stages), input)
                    .map(|job_error| format!("{input}: {stages}: {job_error}")),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let over_all = "key = \"id\"\naggregate = { op = \"last(op)\", price = \"last(price)\" }\nwindow = \"all\"";
    assert_eq!(stage_error(over_all, "s", "said"), None);
    let parts = "select = \"*, id % 2 as par\"\n[stages.t]\nfrom = \"s\"\nkey = [\"par\", \"COLUMN\"]\nrepartition = { partitions = 2 }";
    assert_eq!(stage_error(&parts.replace("COLUMN", "id"), "t", "orders"), None);
    assert!(
        stage_error(&parts.replace("COLUMN", "op"), "t", "orders").is_some_and(|job_error| job_error.contains("`key`"))
    );
}

/// Returns the error of a stage `s` over changes whose reader is a sink without `op`.
fn error_without_op(stage: &str, input: &str, sink: &str) -> Option<String> {
    let table = LATEST.replace("IN", "orders");
    let stage = stage.replace("IN", input);
    job_error(&format!("{table}\n[stages.s]\nfrom = \"{input}\"\n{stage}\n[sinks.copy]\nfrom = \"s\"\n{sink}"))
}

#[test]
fn changes_that_do_not_say_what_they_do_are_still_changes() {
    let upsert = "kind = \"postgres\"\nurl = \"postgres://h/d\"\ntable = \"t\"\nmode = \"upsert\"\nkey = \"id\"\n";
    for (input, stage) in [
        ("orders", "sql = \"select id, price from IN where op <> 'delete'\""),
        ("orders", "select = \"id, price, op as what\""),
        ("kept", "sql = \"select id, price from IN where op = 'insert'\""),
        ("kept", "sql = \"select id, price, op as what from IN\""),
        ("orders", "key = \"id\"\nlatest = true\nop = \"op\"\nselect = \"id, price\""),
    ] {
        let job_error = error_without_op(stage, input, upsert).unwrap_or_default();
        assert!(job_error.contains("it would keep deleted rows"), "{input}: {stage}: {job_error}");
    }
    let renamed = error_without_op("sql = \"select id, op as what from IN\"", "kept", upsert);
    assert!(renamed.is_some_and(|job_error| job_error.contains("write op = \"what\"")));
    let lost = error_without_op("select = \"id, price\"", "orders", upsert);
    assert!(lost.is_some_and(|job_error| job_error.contains("put `op` among the columns of each stage on the way")));
    // A history of some changes.
    let files = "kind = \"files\"\npath = \"out\"\n";
    assert_eq!(error_without_op("sql = \"select id from IN where op = 'insert'\"", "orders", files), None);
}

#[test]
fn totals_of_all_changes_need_op() {
    let screen = "kind = \"print\"\n";
    for stage in [
        "window = \"all\"\nsql = \"select customer, sum(price) as s, count(*) as n from IN group by customer\"",
        "window = \"all\"\nsql = \"select customer, sum(price) as s from IN where op <> 'delete' group by customer\"",
        "window = \"all\"\nkey = \"customer\"\naggregate = { s = \"sum(price)\" }",
        "window = \"all\"\nkey = \"customer\"\naggregate = { s = \"sum(price)\" }\nemit = \"changes\"",
    ] {
        let raw = error_without_op(stage, "orders", screen).unwrap_or_default();
        assert!(raw.contains("put a stage in front with latest = true") && raw.contains("write op = \"op\""), "{raw}");
        let job = error_without_op(stage, "kept", screen).unwrap_or_default();
        assert!(job.contains("changes of stage `kept`") && job.contains("write op = \"op\""), "{stage}: {job}");
        assert!(!job.contains("latest = true"), "{job}");
    }
    let renamed = "[stages.r]\nfrom = \"kept\"\nselect = \"customer, price, op as what\"\n";
    let totals = |more: &str| {
        job_error(&format!(
            "{}{renamed}[stages.s]\nfrom = \"r\"\nkey = \"customer\"\naggregate = {{ s = \"sum(price)\" }}\nwindow = \"all\"\n{more}\n\
             [sinks.a]\nfrom = \"s\"\nkind = \"print\"\n",
            LATEST.replace("IN", "orders")
        ))
    };
    assert!(totals("").is_some_and(|job_error| job_error.contains("write op = \"what\"")));
    assert_eq!(totals("op = \"what\""), None);
    // Changes may be counted.
    for stage in [
        "window = \"all\"\nkey = [\"customer\", \"op\"]\naggregate = { n = \"count(*)\" }",
        "window = \"all\"\nsql = \"select op as what, count(*) as n from IN group by op\"",
        "window = \"all\"\nkey = \"customer\"\naggregate = { n = \"count(*) filter (where op = 'delete')\" }",
        "key = \"customer\"\naggregate = { n = \"count(*)\" }\nwindow = { size = \"10s\" }",
    ] {
        assert_eq!(error_without_op(stage, "orders", screen), None, "{stage}");
    }
}

#[test]
fn a_key_that_is_computed_is_one_of_the_columns_that_it_is_computed_of() {
    let text = format!(
        "{SOURCES}[stages.s]\nfrom = \"orders\"\nselect = \"upper(customer) as cust, op, price\"\n[sinks.copy]\nfrom = \"s\"\nkind = \"postgres\"\n\
         url = \"postgres://h/d\"\ntable = \"t\"\nmode = \"upsert\"\nkey = \"cust\"\nop = \"op\"\n"
    );
    let mut job = read(&text).unwrap();
    millstream_job::note_keys_of_changes(&mut job);
    let keys = job.sources.iter().find_map(|source| match &source.kind {
        SourceKind::Declared(config) => {
            (&**config as &dyn Any).downcast_ref::<ChangesReads>().map(|reads| reads.keys.clone())
        }
        _ => None,
    });
    let columns: Vec<Vec<String>> = keys.unwrap().into_iter().map(|key| key.columns).collect();
    assert_eq!(columns, [["customer"]]);
}
