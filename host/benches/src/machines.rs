//! The cost of distributing a job: processor time per row of four processes, as on four machines, compared with one process. On a machine with few
//! cores this is how the scaling of a job can be measured: cores that wait for each other cost time, but no processor time.

use crate::measure::{children_cpu, dir, figure, in_turn_rounds, job, millstream, root, show_command};
use millstream_tests::hosts;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Child;

/// Each process has one worker.
const PROCESSES: usize = 4;
/// Shared by the processes.
const FILES: usize = 128;
const ROUNDS: usize = 5;
/// Enough that the cost of new memory in each process hardly matters.
const WORD_BYTES: usize = 500_000_000;
const ROWS: usize = 15_000_000;
const KEYS: usize = 20_000;

/// Runs this part.
pub fn run() {
    let text = fs::read(root().join("demo/text.txt")).expect("the text of the demo");
    let per_file = WORD_BYTES / FILES / text.len() + 1;
    let words = String::from_utf8_lossy(&text).split_whitespace().count() * per_file * FILES;
    compare("word count", "words", words, &words_text(), |dir| {
        (0..FILES).for_each(|file| fs::write(dir.join(format!("{file}.txt")), text.repeat(per_file)).expect("a file"));
    });
    compare("keyed job", "rows", ROWS, &totals_text(), |dir| {
        for number in 0..FILES {
            let mut file = BufWriter::new(fs::File::create(dir.join(format!("{number}.json"))).expect("a file"));
            for row in (number..ROWS).step_by(FILES) {
                let user = row.wrapping_mul(7_919) % KEYS;
                let written = writeln!(file, r#"{{"user":"user-{user:011}","amount":{}}}"#, row % 1000);
                written.expect("a row is written");
            }
        }
    });
}

/// Runs a job over the files that `write` creates, in one process and in several.
fn compare(what: &str, rows: &str, count: usize, text: &str, write: impl Fn(&Path)) {
    let dir = dir();
    let path = job(dir.path(), text);
    let input = dir.path().join("in");
    let processes = PROCESSES.to_string();
    let commands = format!(
        "millstream run job.toml --workers 1 --until-idle; the same with --processes {processes} --hosts … --process 0 to {}",
        PROCESSES - 1
    );
    show_command(&commands, text);
    let cpu = |processes: usize| {
        let before = children_cpu();
        run_all(&path, processes);
        children_cpu() - before
    };
    // With almost no input: the cost of starting.
    fs::create_dir(&input).expect("a directory");
    fs::write(input.join("0.none"), "").expect("a file");
    let [one_start, all_start] = in_turn_rounds(ROUNDS, &mut [&mut || cpu(1), &mut || cpu(PROCESSES)])[..] else {
        return;
    };
    write(&input);
    let [one, all] = in_turn_rounds(ROUNDS, &mut [&mut || cpu(1), &mut || cpu(PROCESSES)])[..] else { return };
    let ns = |cpu: f64, start: f64| (cpu - start) / count as f64 * 1e9;
    let (one, all) = (ns(one, one_start), ns(all, all_start));
    println!(
        "  {what}, {count} {rows} in {FILES} files; without what it takes to start, {one_start:.2} and {all_start:.2} s"
    );
    figure(&format!("{what}: processor time for one of the {rows}, one process, ns"), format!("{one:.0}"), "");
    figure(&format!("{PROCESSES} processes, ns"), format!("{all:.0}"), "");
    figure("  ratio to one process", format!("{:.2}", all / one), "target: at most 1.25");
}

/// Runs a job to its end in this number of processes with one worker each.
fn run_all(job: &Path, processes: usize) {
    for mut process in start_all(job, processes, &["--until-idle"]) {
        assert!(process.wait().is_ok_and(|status| status.success()), "the job failed");
    }
}

/// Starts a job in this number of processes with one worker each, with additional arguments.
pub fn start_all(job: &Path, processes: usize, more: &[&str]) -> Vec<Child> {
    let (addresses, count) = (hosts(processes), processes.to_string());
    let start = |number: usize| {
        let (job, number) = (job.to_string_lossy(), number.to_string());
        let alone = ["run", &job, "--workers", "1", "--no-ui"];
        let together = ["--processes", &count, "--process", &number, "--hosts", &addresses];
        let arguments = [&alone[..], if processes > 1 { &together } else { &[] }, more].concat();
        millstream(&arguments).spawn().expect("the job starts")
    };
    (0..processes).map(start).collect()
}

fn words_text() -> String {
    format!(
        r#"name = "words"
batch = "200ms"
[sources.lines]
kind = "directory"
path = "in"
pattern = "*.txt"
spread = true
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
    )
}

fn totals_text() -> String {
    format!(
        r#"name = "totals"
batch = "200ms"
[sources.payments]
kind = "directory"
path = "in"
pattern = "*.json"
spread = true
format = "json"
schema = {{ user = "text", amount = "int64" }}
[stages.totals]
from = "payments"
key = "user"
plugin = "{}"
[sinks.screen]
from = "totals"
kind = "print"
rows = 1
"#,
        root().join("plugins/running-total").display()
    )
}
