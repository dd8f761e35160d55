//! Errors in the operators of stages.

use super::Cases;

/// The keys of `[stages.words]` after its header and its `from`, lines 1 and 2.
pub(super) const STAGE: Cases = &[
    (
        "aggregate = { n = \"count(*)\" }\nsql = \"select 1\"\ntop = { n = 1, by = \"a\" }",
        r#"job.toml:4: stage `words`: a stage has one operator, and this one has `aggregate` and `sql`; make two stages of it
job.toml:5: stage `words`: a stage has one operator, and this one has `aggregate` and `top`; make two stages of it"#,
    ),
    (
        "cogroup = true\nplugin = \"p\"\nkey = \"k\"\njoin = { with = \"x\", on = \"k\" }",
        r#"job.toml:6: stage `words`: a stage has one operator, and this one has `cogroup` and `join`; make two stages of it"#,
    ),
    (
        r#"filter = """#,
        r#"job.toml:3: stage `words`: `filter` is empty; write an SQL expression, for example filter = "n > 0""#,
    ),
    (r#"filter = " ""#, r#"job.toml:3: stage `words`: `filter` is empty; write an SQL expression, or remove it"#),
    (
        r#"select = ["a", "b"]"#,
        r#"job.toml:3: stage `words`: `select` is a list, needs text; write the columns of the rows, for example select = "word, n * 2 as double""#,
    ),
    (r#"where = "a > 5""#, r#"job.toml:3: stage `words`: unknown key `where`; did you mean `filter`?"#),
    (r#"branch = { a = "b" }"#, r#"job.toml:3: stage `words`: `branch` is not available in this version; remove it"#),
    // sql
    (
        r#"sql = """#,
        r#"job.toml:3: stage `words`: `sql` is empty; write sql = "select word, count(*) as n from words group by word""#,
    ),
    (r#"functions = { f = "p" }"#, r#"job.toml:3: stage `words`: `functions` is for stages with `sql`; remove it"#),
    (
        "sql = \"select 1\"\nfunctions = \"p\"",
        r#"job.toml:4: stage `words`: `functions` is text, needs a table; write functions = { sentiment = "plugins/sentiment" }"#,
    ),
    (
        "sql = \"select 1\"\nfunctions = { Mood = \"p\", mood = 5, a = {}, b = { plugin = \"\" }, c = { plugin = \"p\", on = \"all\" } }",
        r#"job.toml:4: stage `words`: `functions.mood` is an integer, needs text; write mood = "plugins/mood"
job.toml:4: stage `words`: `functions.a.plugin` is missing; write plugin = "plugins/a"
job.toml:4: stage `words`: `functions.b.plugin` is empty; write plugin = "plugins/split-words"
job.toml:4: stage `words`: unknown key `functions.c.on`; these keys fit: `config`, `instance`, `limits`, `grant`"#,
    ),
    (
        "sql = \"select 1\"\nfunctions.f = { plugin = \"p\", on_error = \"reject\", max_rejected = 5, replayable = false }",
        r#"job.toml:4: stage `words`: `functions.f.on_error` is for stages with a plugin; a call of a function that fails stops the job. Remove it, or call the plugin in a stage of its own, with plugin = "…"
job.toml:4: stage `words`: `functions.f.max_rejected` is for stages with a plugin; a call of a function that fails stops the job. Remove it, or call the plugin in a stage of its own, with plugin = "…"
job.toml:4: stage `words`: `functions.f.replayable` is for stages with a plugin; a call of a function that fails stops the job. Remove it, or call the plugin in a stage of its own, with plugin = "…""#,
    ),
    (
        "sql = \"select 1\"\nfunctions.f = { plugin = \"p\", limits = { fuel = 5, memory = 5 }, grant = { http = { hosts = \"h\" } } }",
        r#"job.toml:4: stage `words`: `functions.f.limits.memory = 5` is out of range; write 64KiB to 4GiB"#,
    ),
    (
        "sql = \"select 1\"\nfunctions.f = { plugin = \"p\", limits = { fuel = 5, attempts = 5 }, grant = { http = { hosts = \"h\" } } }",
        r#"job.toml:4: stage `words`: `functions.f.grant.http`: functions of `sql` cannot call HTTP; use the plugin in a separate stage
job.toml:4: stage `words`: `functions.f.limits.fuel` is for stages with on_error = "reject"; remove it
job.toml:4: stage `words`: `functions.f.limits.attempts` is for stages with on_error = "reject"; remove it"#,
    ),
    (
        "sql = \"select 1\"\nfunctions = { f = \"p\" }\non_error = \"reject\"\ninstance = \"worker\"",
        r#"job.toml:5: stage `words`: `on_error` is for stages with a plugin; remove it
job.toml:6: stage `words`: `instance` belongs to the plugin of a function; write `functions.<name>.instance`"#,
    ),
    (
        "sql = \"select 1\"\nfunctions = { \"my mood\" = \"p\", mood = \"oci://x\" }",
        r#"job.toml:4: stage `words`: `functions.mood.plugin = "oci://x"`: a job names a package by name and version, and millstream.lock has its registry; write functions.mood.plugin = "name@1.2.3", and pin it with `millstream add name@1.2.3 --registry oci://…`
job.toml:4: stage `words`: `my mood` is not a valid function name; use a-z, 0-9 and `_`, with a letter first, at most 64 bytes"#,
    ),
    (
        "sql = \"select 1\"\nconfig = {}",
        r#"job.toml:4: stage `words`: `config` is for stages with a plugin; remove it"#,
    ),
    // join
    (
        r#"join = "orders""#,
        r#"job.toml:3: stage `words`: `join` is text, needs a table; write join = { with = "orders", on = "user" }"#,
    ),
    (
        r#"join = { with = "lines", on = "user" }"#,
        r#"job.toml:3: stage `words`: `lines` is an input twice; to use it twice, add a stage that only has `from`, and name that"#,
    ),
    (
        r#"join = { with = "lines.rejected" }"#,
        r#"job.toml:3: stage `words`: `join.on` is missing; write on = "user", with a column of both inputs"#,
    ),
    (
        r#"join = { on = "user" }"#,
        r#"job.toml:3: stage `words`: a join has two inputs, but this one has 1; write from = "a" and join = { with = "b", on = … }"#,
    ),
    (
        r#"join = { with = "linse", on = "user" }"#,
        r#"job.toml:3: stage `words`: `join.with` names `linse`, which is neither a source nor a stage; did you mean `lines`?"#,
    ),
    (
        "join = { with = \"lines.rejected\" }\non = \"user\"",
        r#"job.toml:3: stage `words`: `join.on` is missing; write on = "user", with a column of both inputs
job.toml:4: stage `words`: `on` belongs inside `join`; write it there, for example join = { …, on = "user" }"#,
    ),
    (
        r#"join = { with = "lines.rejected", on = {} }"#,
        r#"job.toml:3: stage `words`: `join.on` is empty; write on = "user", on = ["user", "day"], or on = { user = "user_id" }"#,
    ),
    (
        r#"join = { with = "lines.rejected", on = { a = "b", c = 5 } }"#,
        r#"job.toml:3: stage `words`: `join.on.c` is an integer, needs text; write on = { user = "user_id" }"#,
    ),
    (
        r#"join = { with = "lines.rejected", on = ["a", "a"] }"#,
        r#"job.toml:3: stage `words`: `join.on` names `a` twice; remove one"#,
    ),
    (
        r#"join = { with = "lines.rejected", on = "a", type = "outer" }"#,
        r#"job.toml:3: stage `words`: `join.type = "outer"` is unknown; did you mean `full`?"#,
    ),
    (
        r#"join = { with = "lines.rejected", on = "a", within = "10s" }"#,
        r#"job.toml:3: stage `words`: `join.within` needs event time, or the join would keep all rows; write time = "…" with a timestamp column (or a list, one per input), or remove `within` to join the rows of each batch"#,
    ),
    (
        "time = \"ts\"\njoin = { with = \"lines.rejected\", on = \"a\" }",
        r#"job.toml:3: stage `words`: a join with `time` but without a bound would keep all rows indefinitely; write within = "10s" in `join`, or window = { size = "30s" }, or remove `time` to join the rows of each batch"#,
    ),
    (
        "time = \"ts\"\njoin = { with = \"lines.rejected\", on = \"a\", within = 10 }",
        r#"job.toml:4: stage `words`: `join.within` is an integer, needs a time or a list of two; write within = "10s", or from and to, for example within = ["-5s", "10s"]"#,
    ),
    (
        "time = \"ts\"\njoin = { with = \"lines.rejected\", on = \"a\", within = [\"1s\"] }",
        r#"job.toml:4: stage `words`: `join.within` is a list, needs a time or a list of two; write within = "10s", or from and to, for example within = ["-5s", "10s"]"#,
    ),
    (
        "time = \"ts\"\njoin = { with = \"lines.rejected\", on = \"a\", within = [\"1s\", \"soon\"] }",
        r#"job.toml:4: stage `words`: `join.within`: `soon` is not a time; write an integer and one of us, ms, s, m, h, d, for example "1s""#,
    ),
    (
        "time = \"ts\"\njoin = { with = \"lines.rejected\", on = \"a\", within = \"-5s\" }",
        r#"job.toml:4: stage `words`: `join.within = "-5s"` is not a time; write an integer and one of us, ms, s, m, h, d, for example "1s""#,
    ),
    (
        "time = \"ts\"\njoin = { with = \"lines.rejected\", on = \"a\", within = [\"10s\", \"-5s\"] }",
        r#"job.toml:4: stage `words`: `join.within` is from 10s to -5s, which is an empty range; write ["-5s", "10s"]"#,
    ),
    (
        "time = \"ts\"\njoin = { with = \"lines.rejected\", on = \"a\", within = \"10s\", window = { size = \"30s\" } }",
        r#"job.toml:4: stage `words`: `join.within` and `window` both say which rows can be partners; remove one"#,
    ),
    (
        "time = [\"a\", \"b\", \"c\"]\njoin = { with = \"lines.rejected\", on = \"a\", within = \"10s\" }",
        r#"job.toml:3: stage `words`: `time` names 3 times for 2 inputs; write one for each, or one for all of them"#,
    ),
    (
        "window = { size = \"30s\" }\njoin = { with = \"lines.rejected\", on = \"a\", window = { size = \"30s\" } }",
        r#"job.toml:4: stage `words`: `window` is set in `join` and in the stage; remove one"#,
    ),
    (
        "join = { with = \"lines.rejected\", on = \"a\", window = { size = \"1ms\" } }",
        r#"job.toml:3: stage `words`: `join.window.size` is 1ms, which is not a multiple of the batch interval, 1s, and a window of processing time consists of complete batches; write "1s""#,
    ),
    (
        "key = \"a\"\njoin = { with = \"lines.rejected\", on = \"a\" }",
        r#"job.toml:3: stage `words`: `key` does nothing in a join, which partitions its rows by the columns of `on`; remove it"#,
    ),
    (
        "with = \"a\"\nwithin = \"10s\"",
        r#"job.toml:3: stage `words`: `with` belongs inside `join`; write join = { with = "orders", on = "user" }
job.toml:4: stage `words`: `within` belongs inside `join`, `deduplicate` or `pattern`; write join = { with = "orders", on = "user", within = "10s" }, or deduplicate = { within = "10m" }"#,
    ),
    // cogroup
    (
        "cogroup = [\"lines.rejected\"]\nkey = \"a\"",
        r#"job.toml:1: stage `words`: `plugin` is missing; write plugin = "…" with a plugin of world cogroup"#,
    ),
    (
        "cogroup = [\"lines.rejected\"]\nplugin = \"p\"",
        r#"job.toml:1: stage `words`: `cogroup` needs `key`; write key = "user" with a column that all inputs have"#,
    ),
    (
        "cogroup = true\nplugin = \"p\"\nkey = \"a\"",
        r#"job.toml:3: stage `words`: a cogroup has two or more inputs, but this one has 1; write cogroup = ["orders", "clicks"] in addition to `from`, or cogroup = true with all inputs in `from`"#,
    ),
    (
        "cogroup = false\nplugin = \"p\"\nkey = \"a\"",
        r#"job.toml:3: stage `words`: `cogroup = false` does nothing; remove it, or write cogroup = "orders""#,
    ),
    (
        "cogroup = 5\nplugin = \"p\"\nkey = \"a\"",
        r#"job.toml:3: stage `words`: `cogroup` is an integer, needs a string or a list of strings; write cogroup = "orders", or cogroup = true with all inputs in `from`"#,
    ),
    (
        "cogroup = [\"lines\", \"nose\"]\nplugin = \"p\"\nkey = \"a\"",
        r#"job.toml:3: stage `words`: `lines` is an input twice; to use it twice, add a stage that only has `from`, and name that
job.toml:3: stage `words`: `cogroup` names `nose`, which is neither a source nor a stage; there are `lines`"#,
    ),
    // enrich
    (
        r#"enrich = { on = "sku" }"#,
        r#"job.toml:3: stage `words`: `enrich.file` is missing; write file = "inventory.csv", or url = "postgres://…" and query = "select …", or stream = "customers""#,
    ),
    (
        r#"enrich = { file = "a.csv" }"#,
        r#"job.toml:3: stage `words`: `enrich.on` is missing; write on = "sku", with a column of the stage's input and of the table"#,
    ),
    (
        r#"enrich = { file = "a.xlsx", on = "sku" }"#,
        r#"job.toml:3: stage `words`: the name of `enrich.file = "a.xlsx"` does not show its format; write format = "csv", "json" or "parquet""#,
    ),
    (
        r#"enrich = { file = "https://h/a.csv", on = "sku" }"#,
        r#"job.toml:3: stage `words`: `enrich.file = "https://h/a.csv"` is a URL, which is not available in this version; write a local path"#,
    ),
    (
        r#"enrich = { file = "a.csv", url = "postgres://h/d", query = "select 1", on = "sku" }"#,
        r#"job.toml:3: stage `words`: `enrich.url` cannot be combined with `enrich.file`; remove one
job.toml:3: stage `words`: `enrich.query` cannot be combined with `enrich.file`; remove one"#,
    ),
    (
        r#"enrich = { url = "postgres://h/d", on = "sku" }"#,
        r#"job.toml:3: stage `words`: `enrich.query` is missing; write query = "select …""#,
    ),
    (
        r#"enrich = { url = "mysql://h/d", query = "select 1", on = "sku" }"#,
        r#"job.toml:3: stage `words`: `url` is not that of a PostgreSQL database; write it as "postgres://user:${PGPASSWORD}@host/database""#,
    ),
    (
        r#"enrich = { url = "postgres://h/d", query = "select 1", format = "csv", on = "sku" }"#,
        r#"job.toml:3: stage `words`: `enrich.format` cannot be combined with `enrich.url`; remove one"#,
    ),
    (
        r#"enrich = { file = "a.csv", on = "sku", type = "full", poll = "0s", schema = { sku = "txt" } }"#,
        r#"job.toml:3: stage `words`: `enrich.type = "full"` is unknown; write one of: `left`, `inner`
job.toml:3: stage `words`: column `sku`: unknown type `txt`; did you mean `text`?"#,
    ),
    (
        r#"enrich = { file = "a.csv", on = "sku", poll = "2h" }"#,
        r#"job.toml:3: stage `words`: `poll` is 2h; write a time from 1ms to 1h"#,
    ),
    (
        "enrich = { file = \"a.csv\", on = \"sku\" }\nkey = \"sku\"",
        r#"job.toml:4: stage `words`: `key` does nothing in a stage with `enrich`; remove it"#,
    ),
    (
        r#"enrich = { stream = "lines", file = "a.csv", poll = "1s", on = { sku = "id" }, op = "id" }"#,
        r#"job.toml:3: stage `words`: `enrich.file` cannot be combined with `enrich.stream`; remove one
job.toml:3: stage `words`: `enrich.poll` cannot be combined with `enrich.stream`; remove one
job.toml:3: stage `words`: `lines` is an input twice; to use it twice, add a stage that only has `from`, and name that"#,
    ),
    (
        r#"enrich = { file = "a.csv", on = "sku", op = "op" }"#,
        r#"job.toml:3: stage `words`: `enrich.op` is for tables from a stream; write enrich.stream, or remove it"#,
    ),
    (
        r#"file = "a.csv""#,
        r#"job.toml:3: stage `words`: `file` belongs inside `enrich`; write enrich = { file = "inventory.csv", on = "sku" }"#,
    ),
    (
        r#"enrich = { file = "a.csv", query = "select 1", on = "sku" }"#,
        r#"job.toml:3: stage `words`: `enrich.query` cannot be combined with `enrich.file`; remove one
job.toml:3: stage `words`: `enrich.url` is missing; write url = "postgres://user:${PGPASSWORD}@127.0.0.1/database""#,
    ),
    // top
    (
        r#"top = 10"#,
        r#"job.toml:3: stage `words`: `top` is an integer, needs a table; write top = { n = 10, by = "total" }"#,
    ),
    (
        r#"top = { n = 0 }"#,
        r#"job.toml:3: stage `words`: `top.by` is missing; write by = "total"
job.toml:3: stage `words`: `top.n` is 0; write a number of at least 1"#,
    ),
    (
        r#"top = { n = 5, by = "a", order = "up" }"#,
        r#"job.toml:3: stage `words`: `top.order = "up"` is unknown; write one of: `desc`, `asc`"#,
    ),
    (
        "top = { n = 5, by = \"a\", key = \"b\" }\nkey = \"c\"",
        r#"job.toml:3: stage `words`: `key` is set in `top` and in the stage; remove one"#,
    ),
    (
        "top = { n = 5, by = \"a\", key = [\"b\", \"b\"] }",
        r#"job.toml:3: stage `words`: `top.key` names `b` twice; remove one"#,
    ),
    (
        "n = 10\nby = \"total\"",
        r#"job.toml:3: stage `words`: `n` belongs inside `top`; write top = { n = 10, by = "total" }
job.toml:4: stage `words`: `by` belongs inside `top`; write top = { n = 10, by = "total" }"#,
    ),
    // distinct, deduplicate, sample
    (
        r#"distinct = false"#,
        r#"job.toml:3: stage `words`: `distinct = false` does nothing; write distinct = true, or remove it"#,
    ),
    (
        r#"distinct = []"#,
        r#"job.toml:3: stage `words`: `distinct` is empty; write distinct = true, or the columns to compare, for example distinct = "user""#,
    ),
    (
        r#"distinct = 1"#,
        r#"job.toml:3: stage `words`: `distinct` is an integer, needs a string or a list of strings; write distinct = true, or the columns to compare, for example distinct = "user""#,
    ),
    (
        "distinct = true\nkey = \"a\"",
        r#"job.toml:4: stage `words`: `key` does nothing in a stage with `distinct`; name the columns there, for example distinct = "user""#,
    ),
    (r#"distinct = ["a", "a"]"#, r#"job.toml:3: stage `words`: `distinct` names `a` twice; remove one"#),
    (
        "deduplicate = { within = \"10m\" }",
        r#"job.toml:1: stage `words`: `deduplicate` needs `key`: which columns make two rows the same; write key = "id""#,
    ),
    (
        "deduplicate = { within = \"0s\" }\nkey = \"a\"",
        r#"job.toml:3: stage `words`: `deduplicate.within` is zero; write a time such as "10m""#,
    ),
    (
        "deduplicate = {}\nkey = \"a\"",
        r#"job.toml:3: stage `words`: `deduplicate.within` is missing; write within = "10m""#,
    ),
    (
        "deduplicate = \"10m\"\nkey = \"a\"",
        r#"job.toml:3: stage `words`: `deduplicate` is text, needs a table; write deduplicate = { within = "10m" }"#,
    ),
    (
        r#"sample = 1.5"#,
        r#"job.toml:3: stage `words`: `sample` is 1.5; write a number from 0 to 1, for example sample = 0.1"#,
    ),
    (
        r#"sample = -1"#,
        r#"job.toml:3: stage `words`: `sample` is -1; write a number from 0 to 1, for example sample = 0.1"#,
    ),
    (
        r#"sample = nan"#,
        r#"job.toml:3: stage `words`: `sample` is NaN; write a number from 0 to 1, for example sample = 0.1"#,
    ),
    (
        r#"sample = "10%""#,
        r#"job.toml:3: stage `words`: `sample` is text, needs a number from 0 to 1; write sample = 0.1"#,
    ),
    (
        "sample = 0.5\nkey = \"a\"",
        r#"job.toml:4: stage `words`: `key` does nothing in a stage with `sample`; remove it"#,
    ),
    // split, repartition
    (
        r#"split = {}"#,
        r#"job.toml:3: stage `words`: `split` has no branches; write at least one, for example split = { errors = "level = 'ERROR'" }"#,
    ),
    (
        r#"split = "level = 'ERROR'""#,
        r#"job.toml:3: stage `words`: `split` is text, needs a table; write split = { errors = "level = 'ERROR'" }"#,
    ),
    (
        r#"split = { rejected = "a", late = "b", "my errors" = "c", d = " ", e = 5 }"#,
        r#"job.toml:3: stage `words`: `split.e` is an integer, needs text; write an SQL expression, for example e = "level = 'ERROR'""#,
    ),
    (
        r#"split = { rejected = "a", late = "b", "my errors" = "c", d = " " }"#,
        r#"job.toml:3: stage `words`: branch of `split`: a branch must not be named `rejected`, which means rejected rows; write another name
job.toml:3: stage `words`: branch of `split`: a branch must not be named `late`, which means late rows; write another name
job.toml:3: stage `words`: branch of `split`: `my errors` is not a valid name: use a-z, A-Z, 0-9, `-` and `_`, with a letter first; write `my-errors`
job.toml:3: stage `words`: `split.d` is empty; write an SQL expression, for example d = "level = 'ERROR'""#,
    ),
    (
        r#"repartition = 4"#,
        r#"job.toml:3: stage `words`: `repartition` is an integer, needs a table; write repartition = { partitions = 4 }"#,
    ),
    (
        r#"repartition = { partitions = 0 }"#,
        r#"job.toml:3: stage `words`: `repartition.partitions` is 0; write a number of 1 to 1024"#,
    ),
    (
        r#"repartition = { partitions = 2000 }"#,
        r#"job.toml:3: stage `words`: `repartition.partitions` is 2000; write a number of 1 to 1024"#,
    ),
    (
        r#"partitions = 4"#,
        r#"job.toml:3: stage `words`: `partitions` belongs inside `repartition`; write repartition = { partitions = 4 }"#,
    ),
];

/// Complete files except for a source and a sink.
pub(super) const COMPLETE: Cases = &[
    (
        "[stages.a]\nfrom = \"lines\"\nsplit = { errors = \"x\" }\n[stages.b]\nfrom = [\"a.errors\", \"a.error\", \"a.late\", \"aa.errors\"]",
        r#"job.toml:5: stage `b`: `from` names `a.error`, which the stage `a` does not emit; did you mean `a.errors`?
job.toml:5: stage `b`: `from` names `a.late`, but the stage `a` has no late rows: late rows need event time; write time = "…" with a timestamp column there, or remove it here
job.toml:5: stage `b`: `from` names `aa`, which is neither a source nor a stage; there are `lines`, `a`"#,
    ),
    (
        "[stages.a]\nfrom = [\"lines\", \"lines.rejected\", \"a.rejected\"]\njoin = { on = \"x\" }",
        r#"job.toml:2: stage `a`: it reads its own rows, which would circulate indefinitely; remove its name from its `from`
job.toml:3: stage `a`: a join has two inputs, but this one has 3; write from = "a" and join = { with = "b", on = … }"#,
    ),
    (
        "[stages.a]\nfrom = \"lines\"\njoin = { with = \"b\", on = \"x\" }\n[stages.b]\nfrom = \"a\"",
        r#"job.toml:2: stage `a`: a cycle, in which rows would circulate indefinitely: `a` → `b` → `a`; remove one of these from a `from`"#,
    ),
    (
        "[stages.a]\nfrom = [\"lines\", \"lines\"]\nsql = \"select 1\"",
        r#"job.toml:2: stage `a`: `lines` is an input twice; to use it twice, add a stage that only has `from`, and name that"#,
    ),
];
