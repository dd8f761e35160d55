//! Windows whose keys have running totals, which may lie in files with the panes that leave them.

use super::{KEEPS, check_spills, into_queues, state};
use millstream_tests::{Trial, plugin};

/// Of built-in functions and of a plugin; with filters that remove keys whose rows are gone, and windows with gaps between them.
const TOTALS: &str = r#"
[stages.timed]
from = "orders"
select = "k, todo, second, second * length(k) as half"
[stages.filtered]
from = "timed"
key = "k"
window = { size = "7s", slide = "2s" }
inverse = true
filter = "n > 0"
aggregate = { n = "count(*)", total = "sum(second)", half = "sum(half)" }
[stages.staying]
from = "timed"
key = ["k", "todo"]
window = { size = "5s", slide = "5s" }
inverse = true
aggregate = { n = "count(*)", seconds = "sum(second)" }
[stages.apart]
from = "timed"
key = "k"
window = { size = "2s", slide = "5s" }
inverse = true
filter = "n > 1"
aggregate = { n = "count(*)" }
[stages.all]
from = "timed"
window = { size = "6s", slide = "1s" }
inverse = true
aggregate = { n = "count(*)", total = "sum(second)" }
[stages.reduced]
from = "timed"
key = "k"
window = { size = "12s", slide = "3s" }
plugin = "SUM"
config = { column = "second" }
filter = "sum > 20"
"#;

const NAMES: [&str; 5] = ["filtered", "staying", "apart", "all", "reduced"];

/// The result of such a job.
fn totalled(trial: &Trial) -> Vec<String> {
    let mut all: Vec<String> = NAMES.map(|name| trial.text(&format!("{name}.jsonl"))).into();
    for (table, key) in [("filtered", "k"), ("staying", "k, todo"), ("apart", "k"), ("reduced", "k")] {
        all.push(state(trial, &format!("select * from {table} order by {key}, millstream_pane")));
    }
    all
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn windows_with_running_totals_may_spill() {
        let stages = TOTALS.replace("SUM", &plugin("sum").display().to_string());
        check_spills(23, (KEEPS, &into_queues(&stages, &NAMES)), 300, totalled);
    }
}
