//! Limits while a plugin runs: each stops a call, names itself, and leaves the next call alone.

use super::hand::{self, Body, Image};
use crate::plugin::Plugin;
use crate::plugin::allowance::InputSize;
use crate::plugin::caller::Caller;
use crate::plugin::clock::EpochClock;
use crate::plugin::code_kind::Metering;
use crate::plugin::current_call::{fuel, time};
use crate::plugin::load_options::LoadOptions;
use crate::plugin::stage::StageUse;
use arrow::array::*;
use arrow::datatypes::{DataType, Field, Schema};
use millstream_base::context::CallContext;
use millstream_base::error::{Error, Kind};
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::limits::PLUGIN_CALL_ROWS_MAX;
use millstream_job::spec::{InstanceSpec, PluginLimits};
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

const TEXT: u32 = 3;

fn context(batch: u64) -> CallContext {
    CallContext { batch: BatchId(batch), time: BatchTime(1), watermark: None }
}

fn load(component: &[u8], metering: Metering, stack_bytes_max: u64) -> Plugin {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hand.wasm");
    std::fs::write(&file, component).unwrap();
    let options = LoadOptions { metering, stack_bytes_max, ..LoadOptions::default() };
    hand::host().load(&file, &options).unwrap()
}

fn schema() -> Schema {
    Schema::new(vec![Field::new("value", DataType::Utf8, true)])
}

fn rows() -> RecordBatch {
    let values: ArrayRef = Arc::new(StringArray::from(vec!["a b", "c"]));
    RecordBatch::try_new(Arc::new(schema()), vec![values]).unwrap()
}

fn limits() -> PluginLimits {
    PluginLimits { memory_bytes_max: 1 << 20, time_max: Duration::from_millis(50), ..PluginLimits::default() }
}

fn caller(plugin: &Plugin, limits: PluginLimits, instance: InstanceSpec) -> Caller {
    let stage = StageUse { limits, instance, ..StageUse::new("words") };
    let description = plugin.describe_for(&stage, &[Arc::new(schema())]).unwrap();
    plugin.caller(stage, &description)
}

fn failure(caller: &mut Caller, batch: u64) -> Error {
    caller.process(context(batch), &rows()).map(drop).unwrap_err()
}

/// A call that returns one row.
fn valid_result(image: &mut Image) -> u32 {
    let column = image.column(None, Some(&[0, 1]), b"x");
    match image.output(1, &column, &[]) {
        Body::Return(at) => at,
        _ => unreachable!(),
    }
}

#[test]
fn each_call_has_its_time_however_many_there_were() {
    let plugin = load(&hand::transform(TEXT, |_| Body::Loop), Metering::Epochs, 1 << 20);
    let mut caller = caller(&plugin, limits(), InstanceSpec::Batch);
    for before in ["It was the first of the batch on this worker.", "The previous calls, with 2 rows of the batch"] {
        let error = failure(&mut caller, 1).message;
        assert!(error.contains("it ran longer than its time limit of 50ms\n"), "{error}");
        assert!(error.contains("backtrace"), "it was called: {error}");
        assert!(error.contains(&format!("The call had 2 rows. {before}")), "{error}");
    }
    assert!(failure(&mut caller, 2).message.contains("It was the first"), "another batch");
}

#[test]
fn a_call_that_one_key_makes_longer_has_as_many_times_more() {
    let limits = PluginLimits { fuel_max: None, ..limits() };
    let given = |longest: usize| InputSize { longest: longest as u64, ..InputSize::default() };
    for (rows, times) in [(0, 1), (PLUGIN_CALL_ROWS_MAX, 1), (PLUGIN_CALL_ROWS_MAX + 1, 2), (1_000_000, 62)] {
        assert_eq!(given(rows).times(), times);
        assert_eq!(time(&limits, times), Duration::from_millis(50 * times));
        assert_eq!(fuel(&limits, times), 50_000_000 * times);
    }
    assert_eq!(time(&PluginLimits { time_max: Duration::ZERO, ..limits }, 62), Duration::ZERO, "no limit");
    assert_eq!(fuel(&PluginLimits { fuel_max: Some(7), ..limits }, 2), 14);
}

#[test]
fn a_clock_that_stands_still_lets_nothing_begin() {
    let mut plugin = load(&hand::transform(TEXT, |_| Body::Loop), Metering::Epochs, 1 << 20);
    let mut description = None;
    for stands_still in [false, true] {
        if stands_still {
            let machine = &mut Arc::get_mut(&mut plugin.loaded).unwrap().machine;
            Arc::get_mut(machine).unwrap().clock = Some(Arc::new(EpochClock::stopped(Duration::from_secs(9))));
        }
        let stage = StageUse { limits: limits(), ..StageUse::new("words") };
        let description =
            description.get_or_insert_with(|| plugin.describe("{}", &schema(), &Schema::empty()).unwrap());
        let error = failure(&mut plugin.caller(stage, description), 1);
        let kind = if stands_still { Kind::Environment } else { Kind::Plugin };
        assert_eq!((error.kind, error.message.contains("does not run")), (kind, stands_still), "{error}");
    }
}

#[test]
fn fuel_stops_loops_and_bulk_copies_alike_each_time() {
    for body in [Body::Loop, Body::Copy] {
        let plugin = load(&hand::transform(TEXT, |_| body), Metering::Fuel, 1 << 20);
        let mut caller = caller(&plugin, limits(), InstanceSpec::Batch);
        let error = failure(&mut caller, 1);
        let expected = "it ran more than 50000000 instructions, the limit of one call";
        assert!(error.message.contains(expected) && error.message.contains("`limits.fuel`"), "{error}");
        assert_eq!(failure(&mut caller, 1).message, error.message, "the next call has its own fuel");
    }
}

#[test]
fn where_fuel_decides_no_call_sees_the_one_before() {
    let once = hand::transform(TEXT, |image| Body::Once(image.words(&[0]), valid_result(image)));
    for (metering, again) in [(Metering::Fuel, true), (Metering::Epochs, false)] {
        let mut caller = caller(&load(&once, metering, 1 << 20), limits(), InstanceSpec::Worker);
        assert!(caller.process(context(1), &rows()).is_ok());
        assert_eq!(caller.process(context(1), &rows()).is_ok(), again);
    }
}

#[test]
fn imports_cost_fuel_by_what_the_host_does() {
    let chatty = hand::transform(TEXT, |image| {
        let text = image.list(&[b'x'; 1000]);
        Body::Log(text[0], text[1], 100, valid_result(image))
    });
    let plugin = load(&chatty, Metering::Fuel, 1 << 20);
    let run = |fuel: u64| {
        let limits = PluginLimits { fuel_max: Some(fuel), ..limits() };
        caller(&plugin, limits, InstanceSpec::Batch).process(context(1), &rows()).map(drop)
    };
    assert!(run(200_000).is_ok());
    let error = run(100_000).unwrap_err();
    assert!(error.message.contains("it ran more than 100000 instructions"), "{error}");
}

#[test]
fn tables_and_memory_have_limits_also_from_the_start() {
    let plugin =
        load(&hand::transform(TEXT, |image| Body::GrowTable(5_000, valid_result(image))), Metering::Epochs, 1 << 20);
    let mut enough = caller(&plugin, PluginLimits { table_elements_max: 5_000, ..limits() }, InstanceSpec::Worker);
    assert!(enough.process(context(1), &rows()).is_ok());
    let error = failure(&mut enough, 1);
    let expected = "its tables need more elements than their limit of 5000";
    assert!(error.message.contains(expected), "all elements count: {error}");
    // The handwritten module has half a MiB of memory from the beginning, and one table.
    for (limits, expected) in [
        (PluginLimits { memory_bytes_max: 1 << 18, ..limits() }, "it needs more memory than its limit of 256 KiB"),
        (PluginLimits { instances_max: 0, ..limits() }, "it has more than 0 core instances"),
    ] {
        let stage = StageUse { limits, ..StageUse::new("words") };
        let error = plugin.describe_for(&stage, &[Arc::new(schema())]).unwrap_err();
        assert!(error.message.contains(expected) && error.kind == Kind::Plugin, "{error}");
    }
}

#[test]
fn rows_without_columns_are_counted_before_anything_is_made_of_them() {
    let mut image = Image::default();
    let describe = image.description(&[], &[]);
    let process = Body::Return(image.words(&[0, u32::MAX, 0, 0, 0, 0]));
    let guest =
        hand::of_world("transform", &image, &[("transformer#describe", describe), ("transformer#process", process)]);
    let mut caller = caller(&load(&guest, Metering::Epochs, 1 << 20), limits(), InstanceSpec::Batch);
    let error = failure(&mut caller, 7);
    let expected =
        "stage `words`: plugin hand-made 1.2.3 failed in batch 7: it returned 4294967295 rows, more than the 16000";
    assert!(error.message.starts_with(expected) && error.message.contains("`limits.expansion`"), "{error}");
}

#[test]
fn a_long_text_is_cut_before_the_host_looks_at_it() {
    let error = failure(
        &mut caller(
            &load(&hand::transform(TEXT, |_| Body::Panic(0, 500_000)), Metering::Epochs, 1 << 20),
            limits(),
            InstanceSpec::Batch,
        ),
        1,
    );
    assert!(error.message.len() < 10_000, "{} bytes", error.message.len());
    assert!(error.message.contains("…"), "{error}");
    // A string beyond the guest's memory ends the call.
    let beyond = hand::transform(TEXT, |_| Body::Panic(8 << 16, 1));
    let error = failure(&mut caller(&load(&beyond, Metering::Epochs, 1 << 20), limits(), InstanceSpec::Batch), 1);
    assert!(error.message.contains("out of bounds"), "{error}");
}

#[test]
fn a_large_stack_is_used_where_the_thread_has_one_and_overflows_without_harm() {
    // The stack size of one recursion level is unknown; the smallest depth that overflows 1 MiB shows it.
    let component =
        |depth: u32| hand::transform(TEXT, |image| Body::Recurse(image.words(&[depth]), valid_result(image)));
    let call = |depth: u32, stack_bytes_max: u64| {
        let limits = PluginLimits { stack_bytes_max, time_max: Duration::ZERO, ..limits() };
        let plugin = load(&component(depth), Metering::None, stack_bytes_max);
        caller(&plugin, limits, InstanceSpec::Batch).process(context(1), &rows()).map(drop)
    };
    let in_thread = |bytes: usize, depth: u32, stack: u64| {
        std::thread::scope(|scope| {
            Builder::new().stack_size(bytes).spawn_scoped(scope, || call(depth, stack)).unwrap().join().unwrap()
        })
    };
    let overflows = |depth: &u32| in_thread(8 << 20, *depth, 1 << 20).is_err();
    let depth = (10..30).map(|power| 1 << power).find(overflows).unwrap();
    let error = in_thread(8 << 20, depth, 1 << 20).unwrap_err();
    assert!(error.message.contains("its call stack overflowed"), "{error}");
    in_thread(8 << 20, depth, 4 << 20).unwrap();
    assert!(in_thread(8 << 20, depth * 8, 4 << 20).unwrap_err().message.contains("its call stack overflowed"));
    let error = in_thread(2 << 20, 1, 4 << 20).unwrap_err();
    assert_eq!(error.kind, Kind::Job);
    assert!(error.message.contains("RUST_MIN_STACK"), "{error}");
}
