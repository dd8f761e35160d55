//! Errors in windows and event time.

use super::Cases;

/// The keys of `[stages.words]` after its header and its `from`, lines 1 and 2. The batch interval is 1s.
pub(super) const STAGE: Cases = &[
    (
        r#"window = "30s""#,
        r#"job.toml:3: stage `words`: `window` is text, needs a table; write window = { size = "30s", slide = "10s" }, window = { gap = "30s" } for sessions, or window = "all" for running totals"#,
    ),
    (
        "window = \"all\"\naggregate = { n = \"count(*)\" }\ntime = \"ts\"",
        r#"job.toml:5: stage `words`: `time` does nothing here: window = "all" holds all rows, whatever their time; remove it"#,
    ),
    (
        "window = \"all\"\naggregate = { n = \"count(*)\" }\nemit = \"update\"",
        r#"job.toml:5: stage `words`: `emit` is for windows that end, but window = "all" never ends; remove it"#,
    ),
    (
        "window = \"all\"\ndistinct = \"n\"",
        r#"job.toml:3: stage `words`: `window = "all"` is for aggregates, queries, `join`, `latest` and `top`, because other operators would keep every row indefinitely; write aggregate = { n = "count(*)" }, or window = { size = "30s" }"#,
    ),
    (
        "op = \"op\"\ntop = { n = 3, by = \"n\" }",
        r#"job.toml:3: stage `words`: `op` is for `aggregate`, `join`, `sql` and `top` over all rows, which can remove rows; write window = "all", or remove it"#,
    ),
    (
        "window = \"all\"\nop = \"op\"\nplugin = \"p\"",
        r#"job.toml:4: stage `words`: `op` is for `aggregate`, `join`, `sql` and `top` over all rows, which can remove rows; write window = "all", or remove it"#,
    ),
    (
        "top = { n = 3, by = \"n\", rank = \"place\" }",
        r#"job.toml:3: stage `words`: `top.rank` is for a ranking of all rows; write window = "all", or remove it"#,
    ),
    (
        r#"window = {}"#,
        r#"job.toml:3: stage `words`: `window.size` is missing; write size = "30s", or gap = "30s" for sessions"#,
    ),
    (
        r#"window = { size = "-30s" }"#,
        r#"job.toml:3: stage `words`: `window.size = "-30s"` is not a time; write an integer and one of us, ms, s, m, h, d, for example "1s""#,
    ),
    (r#"window = { size = "0s" }"#, r#"job.toml:3: stage `words`: `window.size` is zero; write a time such as "30s""#),
    (
        r#"window = { size = "30s", slide = "0s" }"#,
        r#"job.toml:3: stage `words`: `window.slide` is zero; write a time such as "10s""#,
    ),
    (
        r#"window = { size = "2500ms" }"#,
        r#"job.toml:3: stage `words`: `window.size` is 2500ms, which is not a multiple of the batch interval, 1s, and a window of processing time consists of complete batches; write "2s" or "3s""#,
    ),
    (
        r#"window = { size = "300ms" }"#,
        r#"job.toml:3: stage `words`: `window.size` is 300ms, which is not a multiple of the batch interval, 1s, and a window of processing time consists of complete batches; write "1s""#,
    ),
    (
        r#"window = { size = "30s", slide = "1500ms" }"#,
        r#"job.toml:3: stage `words`: `window.slide` is 1500ms, which is not a multiple of the batch interval, 1s, and a window of processing time consists of complete batches; write "1s" or "2s""#,
    ),
    (
        r#"window = { size = "1d", slide = "1h", zone = "Europe/Berlin" }"#,
        r#"job.toml:3: stage `words`: `window.zone` is for windows of event time; write time = "…" with a timestamp column, or remove it"#,
    ),
    (
        r#"window = { size = "1d", offset = "1d", time = "at" }"#,
        r#"job.toml:3: stage `words`: `window.offset` must be shorter than the slide, 24h; write the remainder"#,
    ),
    (
        r#"window = { size = "90m", zone = "Europe/Berlin", time = "at" }"#,
        r#"job.toml:3: stage `words`: `window.zone` is for windows that are multiples of one hour; remove it, or write size = "1h""#,
    ),
    (
        r#"window = { gap = "90m", zone = "Europe/Berlin", time = "at" }"#,
        r#"job.toml:3: stage `words`: `window.zone` and `window.gap` cannot be combined: a window has `size` and `slide`, or `gap` for sessions; remove one"#,
    ),
    (
        r#"window = { slide = "10s" }"#,
        r#"job.toml:3: stage `words`: `window.size` is missing; write size = "30s", or gap = "30s" for sessions"#,
    ),
    (
        r#"window = { size = "30s", slde = "10s" }"#,
        r#"job.toml:3: stage `words`: unknown key `window.slde`; did you mean `slide`?"#,
    ),
    (
        r#"window = { size = "30s", gap = "10s" }"#,
        r#"job.toml:3: stage `words`: `window.size` and `window.gap` cannot be combined: a window has `size` and `slide`, or `gap` for sessions; remove one"#,
    ),
    (
        r#"window = { gap = "30s" }"#,
        r#"job.toml:3: stage `words`: `window.gap`: sessions need event time; write time = "…" with a timestamp column"#,
    ),
    (
        "window = { gap = \"0s\" }\ntime = \"ts\"",
        r#"job.toml:3: stage `words`: `window.gap` is zero; write a time such as "30s""#,
    ),
    (
        "window = { length_max = \"1h\" }\ntime = \"ts\"",
        r#"job.toml:3: stage `words`: `window.gap` is missing; write gap = "30s""#,
    ),
    (
        "window = { gap = \"2h\", length_max = \"1h\", time = \"ts\" }",
        r#"job.toml:3: stage `words`: `window.length_max` is 1h, and a session of a single row lasts its `gap`, 2h; write a longer time"#,
    ),
    (
        r#"window = { size = "48h" }"#,
        r#"job.toml:3: stage `words`: a window would have 172800 slides of 1s, more than 100000; write slide = "2s" or longer, or a shorter `size`"#,
    ),
    (
        r#"window = { size = "1h", slide = "1ms", time = "ts" }"#,
        r#"job.toml:3: stage `words`: a window would have 3600000 slides of 1ms, more than 100000; write slide = "36ms" or longer, or a shorter `size`"#,
    ),
    (
        r#"size = "30s""#,
        r#"job.toml:3: stage `words`: `size` belongs inside `window`; write window = { size = "30s" }"#,
    ),
    // Event time.
    (
        r#"time = "ts""#,
        r#"job.toml:3: stage `words`: `time` does nothing here: event time is for windows, joins with `within`, `deduplicate`, `pattern` and plugins; add window = { size = "30s" }, or remove it"#,
    ),
    (
        "sql = \"select 1\"\ntime = \"ts\"",
        r#"job.toml:4: stage `words`: `time` does nothing here: event time is for windows, joins with `within`, `deduplicate`, `pattern` and plugins; add window = { size = "30s" }, or remove it"#,
    ),
    (
        r#"lateness = "5s""#,
        r#"job.toml:3: stage `words`: `lateness` is for event time; write time = "…" with a timestamp column, or remove it"#,
    ),
    (
        r#"window = { size = "30s", idle = "5s" }"#,
        r#"job.toml:3: stage `words`: `window.idle` is for event time; write time = "…" with a timestamp column, or remove it"#,
    ),
    (
        "window = { size = \"30s\" }\nahead_max = \"1h\"\nemit = \"update\"",
        r#"job.toml:4: stage `words`: `ahead_max` is for event time; write time = "…" with a timestamp column, or remove it
job.toml:5: stage `words`: `emit = "update"` is for windows of event time; write time = "…" with a timestamp column, or remove it"#,
    ),
    (
        "window = { size = \"30s\", time = \"ts\" }\ntime = \"at\"",
        r#"job.toml:3: stage `words`: `time` is set in `window` and in the stage; remove one"#,
    ),
    (
        "window = { size = \"30s\", time = \"ts\", emit = \"close\" }\nemit = \"update\"",
        r#"job.toml:3: stage `words`: `emit` is set in `window` and in the stage; remove one"#,
    ),
    (
        "window = { size = \"30s\", time = \"ts\", emit = \"rows\" }",
        r#"job.toml:3: stage `words`: `window.emit = "rows"` is unknown; write one of: `close`, `update`"#,
    ),
    (
        "window = { size = \"30s\", time = \"ts\", emit = \"update\" }",
        r#"job.toml:3: stage `words`: `emit = "update"` is for aggregates, whose results of a window can be refined; remove it"#,
    ),
    (
        "window = { size = \"30s\" }\ntime = 5",
        r#"job.toml:4: stage `words`: `time` is an integer, needs a string or a list of strings; write time = "ts" with a timestamp column"#,
    ),
    (
        "window = { size = \"30s\" }\ntime = \" \"",
        r#"job.toml:4: stage `words`: `time` is empty; write the name of a timestamp column"#,
    ),
    (
        "window = { size = \"30s\" }\ntime = [\"a\", \"b\"]",
        r#"job.toml:4: stage `words`: `time` names 2 times, and this stage works on one stream of rows; write one"#,
    ),
    (
        "window = { size = \"30s\" }\ntime = \"ts\"\nidle = \"0s\"",
        r#"job.toml:5: stage `words`: `idle` is zero; write a time such as "30s""#,
    ),
    (
        "plugin = \"p\"\ntime = \"ts\"\nemit = \"close\"",
        r#"job.toml:5: stage `words`: `emit = "close"` is for windows of event time; write window = { size = "30s" }, or remove it"#,
    ),
    // The inverse.
    (
        "aggregate = { n = \"count(*)\" }\ninverse = true",
        r#"job.toml:4: stage `words`: `inverse` subtracts rows that leave a sliding window, and this stage has no such window; add window = { size = "30s", slide = "10s" }, or remove it"#,
    ),
    (
        "aggregate = { n = \"count(*)\" }\ninverse = \"yes\"",
        r#"job.toml:4: stage `words`: `inverse` is text, needs true or false; write inverse = true"#,
    ),
    (
        "aggregate = { n = \"count(*)\", top = \"max(price)\", u = \"count(distinct user)\" }\nwindow = { size = \"30s\" }\ninverse = true",
        r#"job.toml:3: stage `words`: `inverse` is for `count` and `sum`, which can subtract what leaves a window, but `top` cannot; remove `inverse`, or compute this column in a separate stage
job.toml:3: stage `words`: `inverse` is for `count` and `sum`, which can subtract what leaves a window, but `u` cannot; remove `inverse`, or compute this column in a separate stage"#,
    ),
    (
        "aggregate = { n = \"count(*)\" }\nwindow = { gap = \"30s\", time = \"ts\" }\ninverse = true",
        r#"job.toml:5: stage `words`: `inverse` subtracts rows that leave a sliding window, and this stage has no such window; add window = { size = "30s", slide = "10s" }, or remove it"#,
    ),
    (
        "plugin = \"p\"\ninverse = false",
        r#"job.toml:4: stage `words`: `inverse` subtracts rows that leave a sliding window, and this stage has no such window; add window = { size = "30s", slide = "10s" }, or remove it"#,
    ),
    (
        "inverse = true",
        r#"job.toml:3: stage `words`: `inverse` is for stages with `aggregate` or a plugin of world aggregate; remove it"#,
    ),
];

/// Complete files except for a source and a sink.
pub(super) const COMPLETE: Cases = &[
    (
        "batch = \"0s\"\n[stages.words]\nfrom = \"lines\"\nwindow = { size = \"30s\" }",
        r#"job.toml:4: stage `words`: a window of processing time consists of batches, which have no length with batch = "0s"; write batch = "1s" at the top, or time = "…" with a timestamp column for windows of event time"#,
    ),
    (
        "batch = \"1 s\"\n[stages.words]\nfrom = \"lines\"\nwindow = { size = \"2500ms\" }",
        r#"job.toml:1: `batch = "1 s"` is not a time; write an integer and one of us, ms, s, m, h, d, for example "1s""#,
    ),
    (
        "batch = \"700ms\"\n[stages.words]\nfrom = \"lines\"\nwindow = { size = \"30s\" }",
        r#"job.toml:4: stage `words`: `window.size` is 30s, which is not a multiple of the batch interval, 700ms, and a window of processing time consists of complete batches; write "29400ms" or "30100ms""#,
    ),
    (
        "[sources.more]\nkind = \"socket\"\naddress = \"h:1\"\ntime = \"ts\"\nlateness = \"5s\"",
        r#"job.toml:4: source `more`: `time` is for the stage that has the window; write it there
job.toml:5: source `more`: `lateness` is for the stage that has the window; write it there"#,
    ),
    (
        "[stages.a]\nfrom = \"b.late\"\n[stages.b]\nfrom = \"lines\"\n[stages.c]\nfrom = \"d.lat\"\n[stages.d]\nfrom = \"lines\"\ntime = \"ts\"\nwindow = { size = \"30s\" }\n[stages.e]\nfrom = \"d.late\"",
        r#"job.toml:2: stage `a`: `from` names `b.late`, but the stage `b` has no late rows: late rows need event time; write time = "…" with a timestamp column there, or remove it here
job.toml:6: stage `c`: `from` names `d.lat`, which the stage `d` does not emit; did you mean `d.late`?"#,
    ),
];
