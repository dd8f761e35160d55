//! From `millstream run` to the first batch, with a warm cache.

use crate::measure::{RUNS, dir, figure, job, median, millstream, root};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;

/// Runs this part.
pub fn run() {
    let dir = dir();
    std::fs::write(dir.path().join("text.txt"), "to be or not to be\n").expect("the text is written");
    let text = format!(
        r#"name = "start"
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
plugin = "{}"
[sinks.screen]
from = "counts"
kind = "print"
"#,
        root().join("plugins/split-words").display(),
        root().join("plugins/running-count").display()
    );
    crate::measure::show(&text);
    let path = job(dir.path(), &text);
    let first_line = || {
        let start = Instant::now();
        let mut child =
            millstream(&["run", &path.to_string_lossy()]).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("output")).read_line(&mut line).expect("a line");
        let took = start.elapsed().as_secs_f64() * 1e3;
        child.kill().ok();
        child.wait().expect("it ends");
        assert!(!line.is_empty(), "the job printed nothing");
        took
    };
    first_line();
    let took = median((0..RUNS).map(|_| first_line()).collect());
    figure("from start to the first batch, ms", format!("{took:.0}"), "target: at most 100");
}
