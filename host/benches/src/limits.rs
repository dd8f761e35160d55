//! The cost of limits, how fast they take effect, and the cost of finding a row that makes a plugin fail.

use crate::measure::{component, figure, in_turn, median, quantile, seconds};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Schema;
use millstream::ids::{BatchId, BatchTime};
use millstream::internals::batch::types::{ColumnType, schema_of};
use millstream::internals::context::CallContext;
use millstream::internals::plugin::{Caller, LoadOptions, PluginHost, StageUse};
use millstream::job::spec::{InstanceSpec, OnError, PluginLimits, PluginSpec};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

const POINTS: usize = 2_000;
const LINES: usize = 10_000;
const SMALL_CALLS: usize = 2_000;
const LOOPS: usize = 20;

/// Runs this part.
pub fn run() {
    let host = PluginHost::new().expect("the plugin host");
    println!(
        "  Caller::process; without limits: time = \"0s\", so that code looks at nothing; epochs: on_error = \"fail\";"
    );
    println!("  fuel: on_error = \"reject\". All other limits are on in all three.");
    compared(&host, "compute-bound", "host/benches/compute", &points(POINTS, &[]), 1.3);
    compared(&host, "word splitting", "plugins/split-words", &lines(), 1.1);
    instances(&host);
    deadlines(&host);
    search(&host);
}

/// Compares the same calls without limits, with epochs and with fuel.
fn compared(host: &PluginHost, what: &str, plugin: &str, rows: &RecordBatch, target: f64) {
    let mut none = caller(host, plugin, &stage(Duration::ZERO, OnError::Fail), rows);
    let mut epochs = caller(host, plugin, &stage(Duration::from_secs(10), OnError::Fail), rows);
    let mut fuel = caller(host, plugin, &stage(Duration::from_secs(10), OnError::Reject), rows);
    let process = |caller: &mut Caller, batch: &mut u64| {
        *batch += 1;
        seconds(|| _ = black_box(caller.process(context(*batch), rows).expect("the plugin works").rows.num_rows()))
    };
    let (mut a, mut b, mut c) = (0, 0, 0);
    let ns = |calls: f64| calls * 1e9 / rows.num_rows() as f64;
    let times = in_turn(&mut [
        &mut || ns((0..10).map(|_| process(&mut none, &mut a)).sum::<f64>() / 10.0),
        &mut || ns((0..10).map(|_| process(&mut epochs, &mut b)).sum::<f64>() / 10.0),
        &mut || ns((0..10).map(|_| process(&mut fuel, &mut c)).sum::<f64>() / 10.0),
    ]);
    let [none_ns, epochs_ns, fuel_ns] = times[..] else { return };
    figure(&format!("{what}, no limit of time, ns a row"), format!("{none_ns:.1}"), "");
    figure(&format!("{what}, all limits by epochs, ns a row"), format!("{epochs_ns:.1}"), "");
    figure("  ratio to no limit", format!("{:.2}", epochs_ns / none_ns), &format!("target: at most {target}"));
    figure(&format!("{what}, all limits by fuel, ns a row"), format!("{fuel_ns:.1}"), "");
    figure("  ratio to no limit", format!("{:.2}", fuel_ns / none_ns), "");
    figure("  ratio of fuel to epochs", format!("{:.2}", fuel_ns / epochs_ns), "");
}

/// Compares a new instance per call with one that is kept, with calls of one row.
fn instances(host: &PluginHost) {
    for plugin in ["plugins/split-words", "host/benches/identity"] {
        let rows = lines().slice(0, 1);
        let small = |instance| {
            let stage = StageUse { instance, ..stage(Duration::from_secs(10), OnError::Fail) };
            let mut caller = caller(host, plugin, &stage, &rows);
            let mut batch = 0;
            move |rows: &RecordBatch| {
                let all = seconds(|| {
                    for _ in 0..SMALL_CALLS {
                        batch += 1;
                        black_box(caller.process(context(batch), rows).expect("the plugin works").rows.num_rows());
                    }
                });
                all * 1e6 / SMALL_CALLS as f64
            }
        };
        let (mut fresh, mut kept) = (small(InstanceSpec::Batch), small(InstanceSpec::Worker));
        let times = in_turn(&mut [&mut || fresh(&rows), &mut || kept(&rows)]);
        let [fresh_us, kept_us] = times[..] else { return };
        figure(&format!("{plugin}, one row a call, fresh instance, µs"), format!("{fresh_us:.1}"), "");
        figure("  kept instance, µs", format!("{kept_us:.1}"), "");
        figure("  what the instance costs, µs", format!("{:.1}", fresh_us - kept_us), "target: at most 25");
    }
}

/// Measures how long after its deadline a loop is stopped.
fn deadlines(host: &PluginHost) {
    let rows = points(1, &[(0, -2)]);
    let limit = Duration::from_millis(100);
    let mut caller = caller(host, "host/benches/compute", &stage(limit, OnError::Fail), &rows);
    let late = |batch| {
        let began = Instant::now();
        assert!(caller.process(context(batch), &rows).is_err(), "it loops for ever");
        (began.elapsed().as_secs_f64() - limit.as_secs_f64()) * 1e3
    };
    let mut late: Vec<f64> = (1..=LOOPS as u64).map(late).collect();
    figure("a loop with a limit of 100 ms is stopped late by, ms, median", format!("{:.1}", median(late.clone())), "");
    figure("  at most", format!("{:.1}", quantile(&mut late, 1.0)), "target: at most 20");
}

/// Counts the calls needed to find rows that make a call fail.
fn search(host: &PluginHost) {
    for (what, poison) in [("first", vec![0]), ("middle", vec![4_999]), ("last", vec![9_999]), ("ten", tens())] {
        let poison: Vec<(usize, i64)> = poison.into_iter().map(|row| (row, -1)).collect();
        let rows = points(10_000, &poison);
        let mut caller = caller(host, "host/benches/compute", &stage(Duration::from_secs(10), OnError::Reject), &rows);
        let took = seconds(|| {
            let processed = caller.process(context(1), &rows).expect("rows are rejected");
            assert_eq!((processed.rejections.len(), processed.rows.num_rows()), (poison.len(), 10_000 - poison.len()));
        });
        let extra = caller.account().costs().calls - 1;
        let target = if poison.len() == 1 { "target: at most 20" } else { "" };
        figure(&format!("poison in 10,000 rows ({what}): extra calls"), format!("{extra}"), target);
        figure("  time of all calls, ms", format!("{:.1}", took * 1e3), "");
    }
}

fn tens() -> Vec<usize> {
    (0..10).map(|tenth| tenth * 1_000 + 137 * tenth % 1_000).collect()
}

fn stage(time_max: Duration, on_error: OnError) -> StageUse {
    let limits = PluginLimits { time_max, ..PluginLimits::default() };
    StageUse { limits, on_error, ..StageUse::new("bench") }
}

fn caller(host: &PluginHost, plugin: &str, stage: &StageUse, rows: &RecordBatch) -> Caller {
    let spec = PluginSpec::new(plugin).limits(stage.limits).on_error(stage.on_error);
    let plugin = host.load(&component(plugin), &LoadOptions::new(&spec)).expect("the plugin loads");
    let description = plugin.describe("{}", rows.schema_ref(), &Schema::empty()).expect("the plugin describes itself");
    plugin.caller(stage.clone(), &description)
}

fn context(batch: u64) -> CallContext {
    CallContext { batch: BatchId(batch), time: BatchTime(0), watermark: None }
}

/// Returns points, with some special ones.
fn points(count: usize, others: &[(usize, i64)]) -> RecordBatch {
    let mut points: Vec<i64> = (0..count as i64).map(|n| n * 37).collect();
    for (row, point) in others {
        points[*row] = *point;
    }
    batch("n", ColumnType::Int64, Arc::new(Int64Array::from(points)))
}

/// Returns lines of ten words.
fn lines() -> RecordBatch {
    let words = ["to", "be", "or", "not", "whether", "nobler", "suffer", "slings", "arrows", "outrageous", "fortune"];
    let line = |i: usize| (0..10).map(|j| words[(i * 7 + j * 3) % words.len()]).collect::<Vec<_>>().join(" ");
    batch("value", ColumnType::Text, Arc::new((0..LINES).map(|i| Some(line(i))).collect::<StringArray>()))
}

fn batch(name: &str, kind: ColumnType, column: ArrayRef) -> RecordBatch {
    RecordBatch::try_new(schema_of(&[(name.to_owned(), kind)]), vec![column]).expect("one column")
}
