//! The cost of a query per batch, and the cost of planning it.

use crate::measure::{dir, figure, in_turn, job, job_seconds, show};
use std::fmt::Write as _;
use std::io::{BufWriter, Write};
use std::path::Path;

const BATCHES: usize = 2_000;
const BATCH_ROWS: usize = 1_000;
const WORDS: usize = 200;
/// Queries of the job that does nothing but plan.
const QUERIES: usize = 200;
/// Each is planned when the job is checked, and by its one worker.
const PLANS_A_QUERY: usize = 2;

/// Runs this part.
pub fn run() {
    let dir = dir();
    let job_at = |name: &str, batches: usize, text: &str| {
        let inner = dir.path().join(name);
        std::fs::create_dir_all(&inner).expect("a directory");
        write_batches(&inner.join("words.jsonl"), batches);
        job(&inner, text)
    };
    let grouped = grouped("grouped");
    show(&job_text(&grouped, "grouped"));
    let mut many = String::new();
    for query in 0..QUERIES {
        many.push_str(&self::grouped(&format!("grouped{query}")));
    }
    let jobs = [
        job_at("plain", BATCHES, &job_text("", "words")),
        job_at("sql", BATCHES, &job_text(&grouped, "grouped")),
        job_at("one", 1, &job_text("", "words")),
        job_at("many", 1, &job_text(&many, "words")),
    ];
    let [mut plain, mut sql, mut one, mut many] = jobs.each_ref().map(|job| move || job_seconds(job, 1));
    let [plain_s, sql_s, one_s, many_s] = in_turn(&mut [&mut plain, &mut sql, &mut one, &mut many])[..] else { return };
    let query_ms = (sql_s - plain_s) / BATCHES as f64 * 1e3;
    let plan_ms = (many_s - one_s) / (QUERIES * PLANS_A_QUERY) as f64 * 1e3;
    println!(
        "  {BATCHES} batches of {BATCH_ROWS} rows, {WORDS} words, one worker; above the same job without the stage"
    );
    figure("group by in SQL, ms a batch", format!("{query_ms:.3}"), "target: under 1");
    figure("planning a query, ms", format!("{plan_ms:.3}"), "");
    figure("  a batch, were it planned each time", format!("{:.3}", query_ms + plan_ms), "");
}

fn grouped(name: &str) -> String {
    let mut text = String::new();
    let _ = write!(
        text,
        "[stages.{name}]\nfrom = \"words\"\nkey = \"word\"\nsql = \"select word, count(*) as n from words group by word\"\n"
    );
    text
}

fn job_text(stages: &str, from: &str) -> String {
    format!(
        r#"name = "sql"
clock = "manual"
[sources.words]
kind = "queue"
path = "words.jsonl"
schema = {{ word = "text" }}
{stages}[sinks.screen]
from = "{from}"
kind = "print"
rows = 1
"#
    )
}

fn write_batches(path: &Path, batches: usize) {
    let mut file = BufWriter::new(std::fs::File::create(path).expect("the rows"));
    for batch in 0..batches {
        let word = |row: usize| format!("[\"word-{}\"]", (batch + row).wrapping_mul(7_919) % WORDS);
        let rows: Vec<String> = (0..BATCH_ROWS).map(word).collect();
        writeln!(file, "[{}]", rows.join(",")).expect("a batch is written");
    }
}
