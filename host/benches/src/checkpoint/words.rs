//! Word count of a text with a checkpoint every second, compared with none: the stage keeps a count of every word.

use crate::measure::{dir_on_disk, figure, in_turn_rounds, job, job_seconds, root, show_command};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Enough for a few checkpoints.
const BYTES: usize = 400_000_000;
const ROUNDS: usize = 3;
const KEPT: &str = "[checkpoint]\ndir = \"kept\"\nevery = \"1s\"\n";

/// Runs this part.
pub fn run() {
    let dir = dir_on_disk();
    super::show_disk(dir.path());
    println!("  process start included; alternating, medians of {ROUNDS}");
    let plugin = |name: &str| root().join("plugins").join(name).display().to_string();
    let counts = "aggregate = { n = \"count(*)\" }".to_owned();
    let totals = format!("plugin = \"{}\"", plugin("running-count"));
    write_text(&dir.path().join("text.txt"));
    for (what, operator) in [("as in `words`", counts), ("with state", totals)] {
        let text = job_text(&plugin("split-words"), &operator);
        show_command("millstream run job.toml --workers 2", &text);
        let [without_s, with_s] = measure(dir.path(), &text)[..] else { return };
        figure(&format!("{} MB, {what}, without [checkpoint], s", BYTES / 1_000_000), format!("{without_s:.2}"), "");
        figure("  with a checkpoint every second, s", format!("{with_s:.2}"), "");
        figure("  ratio", format!("{:.3}", with_s / without_s), "target: at most 1.10");
    }
}

fn write_text(path: &Path) {
    let text = std::fs::read(root().join("demo/text.txt")).expect("the text of the demo");
    let mut file = std::fs::File::create(path).expect("the text file");
    for _ in 0..BYTES.div_ceil(text.len()) {
        file.write_all(&text).expect("the text is written");
    }
    file.sync_all().expect("it is durable");
}

/// Returns the seconds without and with checkpoints.
fn measure(dir: &Path, text: &str) -> Vec<f64> {
    let of = |name: &str, text: &str| -> PathBuf {
        let path = dir.join(name);
        std::fs::create_dir_all(&path).expect("a directory");
        job(&path, text)
    };
    let without = of("without", text);
    let with = of("with", &text.replacen("[sources", &format!("{KEPT}[sources"), 1));
    let mut plain = || job_seconds(&without, 2);
    let mut kept = || {
        // Each run begins at the first batch.
        let _ = std::fs::remove_dir_all(dir.join("with/kept"));
        job_seconds(&with, 2)
    };
    in_turn_rounds(ROUNDS, &mut [&mut plain, &mut kept])
}

fn job_text(split_words: &str, operator: &str) -> String {
    format!(
        r#"name = "words"
batch = "0s"
[sources.lines]
kind = "file"
path = "../text.txt"
[stages.words]
from = "lines"
plugin = "{split_words}"
[stages.counts]
from = "words"
key = "word"
{operator}
[sinks.screen]
from = "counts"
kind = "print"
rows = 1
"#
    )
}
