//! Errors in the permissions and error handling of plugins.

use super::Cases;

/// The keys of `[stages.words]` after its header and its `from`, lines 1 and 2.
pub(super) const STAGE: Cases = &[
    // on_error
    (
        "plugin = \"p\"\non_error = \"rejct\"",
        r#"job.toml:4: stage `words`: `on_error = "rejct"` is unknown; did you mean `reject`?"#,
    ),
    (
        "plugin = \"p\"\non_error = \"skip\"",
        r#"job.toml:4: stage `words`: `on_error = "skip"` is unknown; did you mean `reject`?"#,
    ),
    (
        "plugin = \"p\"\non_error = \"dunno\"",
        r#"job.toml:4: stage `words`: `on_error = "dunno"` is unknown; write one of: `fail`, `reject`"#,
    ),
    (
        "plugin = \"p\"\non_error = true",
        r#"job.toml:4: stage `words`: `on_error` is true or false, needs one of `fail`, `reject`; write on_error = "fail""#,
    ),
    (
        "on_error = \"reject\"\nmax_rejected = 5\nreplayable = false\ngrant = {}\nlimits = {}",
        r#"job.toml:3: stage `words`: `on_error` is for stages with a plugin; add plugin = "…", or remove it
job.toml:4: stage `words`: `max_rejected` is for stages with a plugin; add plugin = "…", or remove it
job.toml:5: stage `words`: `replayable` is for stages with a plugin; add plugin = "…", or remove it
job.toml:6: stage `words`: `grant` is for stages with a plugin; add plugin = "…", or remove it
job.toml:7: stage `words`: `limits` is for stages with a plugin; add plugin = "…", or remove it"#,
    ),
    (
        "aggregate = { n = \"count(*)\" }\non_error = \"reject\"",
        r#"job.toml:4: stage `words`: `on_error` is for stages with a plugin; remove it"#,
    ),
    (
        "plugin = \"p\"\non_error = \"reject\"\ninstance = \"worker\"",
        r#"job.toml:5: stage `words`: `instance = "worker"` cannot be combined with on_error = "reject": whether a row is rejected must not depend on previous calls, so each call has a new instance; remove `instance`"#,
    ),
    (
        "plugin = \"p\"\ninstance = \"forever\"",
        r#"job.toml:4: stage `words`: `instance = "forever"` is unknown; write one of: `batch`, `worker`"#,
    ),
    // max_rejected
    (
        "plugin = \"p\"\nmax_rejects = 5",
        r#"job.toml:4: stage `words`: unknown key `max_rejects`; did you mean `max_rejected`?"#,
    ),
    (
        "plugin = \"p\"\nmax_rejected = -1",
        r#"job.toml:4: stage `words`: `max_rejected = -1` must be a number of rows or a share of them; write max_rejected = 100, or max_rejected = "10%""#,
    ),
    (
        "plugin = \"p\"\nmax_rejected = 1.5",
        r#"job.toml:4: stage `words`: `max_rejected = 1.5` must be a number of rows or a share of them; write max_rejected = 100, or max_rejected = "10%""#,
    ),
    (
        "plugin = \"p\"\nmax_rejected = nan",
        r#"job.toml:4: stage `words`: `max_rejected = nan` must be a number of rows or a share of them; write max_rejected = 100, or max_rejected = "10%""#,
    ),
    (
        "plugin = \"p\"\nmax_rejected = \"10\"",
        r#"job.toml:4: stage `words`: `max_rejected = "10"` must be a number of rows or a share of them; write max_rejected = 100, or max_rejected = "10%""#,
    ),
    (
        "plugin = \"p\"\nmax_rejected = \"101%\"",
        r#"job.toml:4: stage `words`: `max_rejected = "101%"` must be a number of rows or a share of them; write max_rejected = 100, or max_rejected = "10%""#,
    ),
    (
        "plugin = \"p\"\nmax_rejected = \"inf%\"",
        r#"job.toml:4: stage `words`: `max_rejected = "inf%"` must be a number of rows or a share of them; write max_rejected = 100, or max_rejected = "10%""#,
    ),
    (
        "plugin = \"p\"\nmax_rejected = [5]",
        r#"job.toml:4: stage `words`: `max_rejected` is a list, needs a number of rows or a share of them; write max_rejected = 100, or max_rejected = "10%""#,
    ),
    // replayable
    (
        "plugin = \"p\"\nreplayable = \"no\"",
        r#"job.toml:4: stage `words`: `replayable` is text, needs true or false; write replayable = true"#,
    ),
    (
        "plugin = \"p\"\nreplayable = false",
        r#"job.toml:4: stage `words`: `replayable = false` is for stages whose plugin sends HTTP requests, and this one has no `grant.http`; remove it"#,
    ),
    // limits
    (
        "plugin = \"p\"\nlimits = \"64MiB\"",
        r#"job.toml:4: stage `words`: `limits` is text, needs a table; write limits = { memory = "64MiB", time = "2s" }"#,
    ),
    (
        "plugin = \"p\"\nlimits = { memory = \"1KiB\" }",
        r#"job.toml:4: stage `words`: `limits.memory = "1KiB"` is out of range; write 64KiB to 4GiB"#,
    ),
    (
        "plugin = \"p\"\nlimits = { memry = \"1MiB\", time = \"2 s\", cpu = 3 }",
        r#"job.toml:4: stage `words`: unknown key `limits.memry`; did you mean `memory`?
job.toml:4: stage `words`: unknown key `limits.cpu`; did you mean `time`, which is already set?
job.toml:4: stage `words`: `limits.time = "2 s"` is not a time; write an integer and one of us, ms, s, m, h, d, for example "1s""#,
    ),
    (
        "plugin = \"p\"\nlimits = { files = 3 }",
        r#"job.toml:4: stage `words`: unknown key `limits.files`; these keys fit: `memory`, `tables`, `stack`, `time`, `fuel`, `output`, `rows`, `expansion`, `batch_output`, `rejected`, `backtrace`, `timers_per_key`, `timers`, `state_per_key`, `state`, `log_lines`, `log`, `counters`, `handles`, `instances`, `attempts`, `compile`"#,
    ),
    (
        "plugin = \"p\"\n[stages.words.limits]\ntables = 2_000_000\nstack = \"1KiB\"\noutput = 0\nrows = 0\nexpansion = -1\nlog_lines = \"ten\"\nlog = \"1 KiB\"\ncounters = 20_000\nhandles = 1.5\ninstances = 0",
        r#"job.toml:5: stage `words`: `limits.tables` is 2000000; write a number of 0 to 1000000
job.toml:6: stage `words`: `limits.stack = "1KiB"` is out of range; write 64KiB to 8MiB
job.toml:7: stage `words`: `limits.output = 0` is out of range; write 1B to 4GiB
job.toml:8: stage `words`: `limits.rows` is 0; write a number of at least 1
job.toml:9: stage `words`: `limits.expansion` is -1; write a number of at least 1
job.toml:10: stage `words`: `limits.log_lines` is text, needs an integer; write log_lines = 10
job.toml:11: stage `words`: `limits.log = "1 KiB"` is not a size; write bytes as a number, or with one of B, KB, MB, GB, KiB, MiB, GiB, for example "64MiB"
job.toml:12: stage `words`: `limits.counters` is 20000; write a number of 0 to 10000
job.toml:13: stage `words`: `limits.handles` is a number, needs an integer; write handles = 10
job.toml:14: stage `words`: `limits.instances` is 0; write a number of 1 to 128"#,
    ),
    (
        "plugin = \"p\"\non_error = \"reject\"\nlimits = { fuel = 0, attempts = 0, compile = 5 }",
        r#"job.toml:5: stage `words`: `limits.attempts` is 0; write a number of at least 1
job.toml:5: stage `words`: `limits.fuel` is 0; write a number of at least 1
job.toml:5: stage `words`: `limits.compile` is an integer, needs a time; write an integer and one of us, ms, s, m, h, d, for example "1s""#,
    ),
    (
        "plugin = \"p\"\nlimits = { fuel = 1_000, attempts = 10, compile = \"0s\" }",
        r#"job.toml:4: stage `words`: `limits.compile` is zero; write a time such as "2m"
job.toml:4: stage `words`: `limits.fuel` is for stages with on_error = "reject"; add that, or remove it
job.toml:4: stage `words`: `limits.attempts` is for stages with on_error = "reject"; add that, or remove it"#,
    ),
    // grant
    (
        "plugin = \"p\"\ngrant = \"all\"",
        r#"job.toml:4: stage `words`: `grant` is text, needs a table; write grant = { files = { stopwords = "stopwords.txt" } }"#,
    ),
    (
        "plugin = \"p\"\ngrant = { ca = \"c.pem\" }",
        r#"job.toml:4: stage `words`: `grant.ca` is for plugins that are sources or sinks (kind = "plugin"); remove it"#,
    ),
    (
        "plugin = \"p\"\ngrant = { network = true, sockets = true }",
        r#"job.toml:4: stage `words`: unknown key `grant.network`; did you mean `http`?
job.toml:4: stage `words`: unknown key `grant.sockets`; these keys fit: `files`, `env`, `http`, `tcp`, `ca`, `udp`"#,
    ),
    (
        "plugin = \"p\"\ngrant = { files = { words = 3 } }",
        r#"job.toml:4: stage `words`: `grant.files.words` is an integer, needs text; write the path of a file, for example words = "words.txt""#,
    ),
    (
        "plugin = \"p\"\ngrant = { env = [\"PATH\"] }",
        r#"job.toml:4: stage `words`: `grant.env` is a list, needs a table; write env = { REGION = "eu" }"#,
    ),
    (
        "plugin = \"p\"\ngrant = { env = { PORT = 80 } }",
        r#"job.toml:4: stage `words`: `grant.env.PORT` is an integer, needs text; write its value, for example PORT = "…""#,
    ),
    (
        "plugin = \"p\"\ngrant = { env = { \"A=B\" = \"c\", ZERO = \"a\\u0000\" } }",
        r#"job.toml:4: stage `words`: `A=B` is not a valid variable name; write one such as REGION, without `=` and spaces
job.toml:4: stage `words`: `grant.env.ZERO` must not contain NUL; remove it"#,
    ),
    (
        "plugin = \"p\"\ngrant = { http = true }",
        r#"job.toml:4: stage `words`: `grant.http` is true or false, needs a table; write http = { hosts = ["api.example.com"] }"#,
    ),
    (
        "plugin = \"p\"\nreplayable = false\ngrant = { http = { methods = [\"GET\"], host = \"h\" } }",
        r#"job.toml:5: stage `words`: unknown key `grant.http.host`; did you mean `hosts`?"#,
    ),
    (
        "plugin = \"p\"\nreplayable = false\ngrant = { http = {} }",
        r#"job.toml:5: stage `words`: `grant.http.hosts` is missing; write hosts = ["api.example.com"]"#,
    ),
    (
        "plugin = \"p\"\nreplayable = false\ngrant = { http = { hosts = [], methods = 5 } }",
        r#"job.toml:5: stage `words`: `grant.http.hosts` is empty; write hosts = ["api.example.com"]
job.toml:5: stage `words`: `grant.http.methods` is an integer, needs a string or a list of strings; write methods = ["GET"]"#,
    ),
    (
        "plugin = \"p\"\ngrant = { http = { hosts = \"api.example.com\" } }",
        r#"job.toml:4: stage `words`: `grant.http`: HTTP calls may get other responses when a batch is replayed after a failure; write replayable = false in the stage to accept that"#,
    ),
    (
        "plugin = \"p\"\non_error = \"reject\"\nreplayable = false\ngrant = { http = { hosts = \"api.example.com\" } }",
        r#"job.toml:6: stage `words`: `grant.http` cannot be combined with on_error = "reject": other rows could fail when a batch is replayed. Remove `on_error`; the plugin can reject rows itself."#,
    ),
];
