//! The guest boundary: a plugin call against the same loop in native code, and a batch of one row through the graph.

use crate::measure::{component, dir, figure, in_turn, job, job_seconds, median, root, seconds};
use crate::native;
use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::datatypes::Schema;
use millstream::ids::{BatchId, BatchTime};
use millstream::internals::batch::types::{ColumnType, schema_of};
use millstream::internals::context::CallContext;
use millstream::internals::plugin::{Caller, LoadOptions, PluginHost, StageUse};
use millstream::job::spec::{PluginLimits, PluginSpec};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

const LINES: usize = 10_000;
const CALLS: usize = 30;
const SMALL_BATCHES: usize = 20_000;

/// Runs this part.
pub fn run() {
    let lines = lines();
    let text = lines.column(0).as_string::<i32>().clone();
    let host = PluginHost::new().expect("the plugin host");
    let mut limited = caller(&host, "plugins/split-words", Duration::from_secs(10), &lines);
    let mut unlimited = caller(&host, "plugins/split-words", Duration::ZERO, &lines);
    let mut identity = caller(&host, "host/benches/identity", Duration::from_secs(10), &lines);
    let process = |caller: &mut Caller, rows: &RecordBatch| {
        let calls = seconds(|| {
            for _ in 0..CALLS {
                black_box(caller.process(context(), rows).expect("the plugin works").rows.num_rows());
            }
        });
        calls * 1e9 / (LINES * CALLS) as f64
    };
    let mut native = || {
        let calls = seconds(|| {
            for _ in 0..CALLS {
                black_box(native::split(text.offsets(), text.values()).0.len());
            }
        });
        calls * 1e9 / (LINES * CALLS) as f64
    };
    let mut with_limits = || process(&mut limited, &lines);
    let [native_ns, with_ns] = in_turn(&mut [&mut native, &mut with_limits])[..] else { return };
    let mut without_limits = || process(&mut unlimited, &lines);
    let [native_again_ns, without_ns] = in_turn(&mut [&mut native, &mut without_limits])[..] else { return };
    let words = words(&text);
    let mut long = || process(&mut identity, &lines);
    let identity_ns = in_turn(&mut [&mut long])[0];
    let mut short = || process(&mut identity, &words);
    let identity_word_ns = in_turn(&mut [&mut short])[0];
    println!("  Caller::process with plugins/split-words, {LINES} lines of 10 words a call, an instance a call");
    figure("split, native loop, ns a line", format!("{native_ns:.0}"), "");
    figure("split, plugin with time limits, ns a line", format!("{with_ns:.0}"), "");
    figure("  ratio to native", format!("{:.2}", with_ns / native_ns), "target: at most 1.25");
    figure("split, plugin without time limits, ns a line", format!("{without_ns:.0}"), "");
    figure("  ratio to native", format!("{:.2}", without_ns / native_again_ns), "target: at most 1.10");
    for (rows, ns) in [(&words, identity_word_ns), (&lines, identity_ns)] {
        let width = rows.column(0).as_string::<i32>().values().len() / LINES;
        figure(&format!("identity, ns a row of {width} bytes"), format!("{ns:.1}"), "target: at most 5");
    }
    one_row();
}

/// A batch of one row: queue, plugin, keyed count, queue; one batch at a time.
fn one_row() {
    let dir = dir();
    let rows = "[{\"value\":\"word\"}]\n".repeat(SMALL_BATCHES);
    std::fs::write(dir.path().join("input.jsonl"), rows).expect("the input is written");
    let text = format!(
        r#"name = "one-row"
batch = "1ms"
clock = "manual"
in_flight_max = 1
[sources.lines]
kind = "queue"
path = "input.jsonl"
schema = {{ value = "text" }}
[stages.words]
from = "lines"
plugin = "{}"
[stages.counts]
from = "words"
key = "word"
aggregate = {{ n = "count(*)" }}
[sinks.out]
from = "counts"
kind = "queue"
path = "out.jsonl"
"#,
        root().join("plugins/split-words").display()
    );
    let path = job(dir.path(), &text);
    crate::measure::show(&text);
    let runs = (0..crate::measure::RUNS).map(|_| job_seconds(&path, 1) * 1e6 / SMALL_BATCHES as f64).collect();
    figure("a batch of one row through the graph, µs", format!("{:.0}", median(runs)), "target: at most 60");
}

fn caller(host: &PluginHost, plugin: &str, time_max: Duration, rows: &RecordBatch) -> Caller {
    let spec = PluginSpec::new(plugin).limits(PluginLimits { time_max, ..PluginLimits::default() });
    let plugin = host.load(&component(plugin), &LoadOptions::new(&spec)).expect("the plugin loads");
    let description = plugin.describe("{}", rows.schema_ref(), &Schema::empty()).expect("the plugin describes itself");
    let limits = PluginLimits { time_max, ..PluginLimits::default() };
    plugin.caller(StageUse { limits, ..StageUse::new("bench") }, &description)
}

fn context() -> CallContext {
    CallContext { batch: BatchId(1), time: BatchTime(0), watermark: None }
}

/// Returns the first word of each line.
fn words(lines: &StringArray) -> RecordBatch {
    let words: StringArray = lines.iter().map(|line| line.and_then(|line| line.split(' ').next())).collect();
    let schema = schema_of(&[("value".to_owned(), ColumnType::Text)]);
    RecordBatch::try_new(schema, vec![Arc::new(words)]).expect("one text column")
}

/// Returns lines of ten words of 2 to 9 characters.
fn lines() -> RecordBatch {
    let mut state = 7_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let mut line = move |_| {
        let words: Vec<String> = (0..10)
            .map(|_| (0..2 + random() % 8).map(|_| char::from(b'a' + (random() % 26) as u8)).collect())
            .collect();
        words.join(" ")
    };
    let text: StringArray = (0..LINES).map(|i| Some(line(i))).collect();
    let schema = schema_of(&[("value".to_owned(), ColumnType::Text)]);
    RecordBatch::try_new(schema, vec![Arc::new(text)]).expect("one text column")
}
