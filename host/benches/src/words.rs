//! Word count of a 100 MB text file, end to end.

use crate::measure::{dir, figure, in_turn, job, job_seconds, millstream, peak_memory, root, seconds};
use crate::native;
use std::hint::black_box;
use std::io::Write;

const BYTES: usize = 100_000_000;

/// Runs this part.
pub fn run() {
    let dir = dir();
    let path = dir.path().join("text.txt");
    let text = std::fs::read(root().join("demo/text.txt")).expect("the text of the demo");
    let mut file = std::fs::File::create(&path).expect("the text file");
    for _ in 0..BYTES.div_ceil(text.len()) {
        file.write_all(&text).expect("the text is written");
    }
    drop(file);
    let text = format!(
        r#"name = "words"
batch = "0s"
[sources.lines]
kind = "file"
path = "text.txt"
[stages.words]
from = "lines"
plugin = "{}"
[stages.counts]
from = "words"
key = "word"
aggregate = {{ n = "count(*)" }}
[sinks.screen]
from = "counts"
kind = "print"
rows = 1
"#,
        root().join("plugins/split-words").display()
    );
    let job = job(dir.path(), &text);
    crate::measure::show(&text);
    let (words, distinct) = native::word_count(&path);
    let mut native = || seconds(|| _ = black_box(native::word_count(&path)));
    let mut one = || job_seconds(&job, 1);
    let mut two = || job_seconds(&job, 2);
    let [native_s, one_s, two_s] = in_turn(&mut [&mut native, &mut one, &mut two])[..] else { return };
    let rate = |seconds: f64| format!("{:.1}", words as f64 / seconds / 1e6);
    println!("  {} MB, {words} words, {distinct} different ones; process start included", BYTES / 1_000_000);
    figure("native loop, million words a second", rate(native_s), "");
    figure("one worker", rate(one_s), "");
    figure("  ratio to native", format!("{:.2}", native_s / one_s), "target: at least 0.55, aim 0.67");
    figure("two workers", rate(two_s), "");
    figure("  ratio to one worker", format!("{:.2}", one_s / two_s), "target: at least 1.7");
    let run = millstream(&["run", &job.to_string_lossy(), "--workers", "2"]).spawn().expect("the job starts");
    figure("resident memory, MB", format!("{:.0}", peak_memory(run) / 1e6), "target: at most 80");
}
