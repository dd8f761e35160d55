//! Complete calls, of guests that behave and guests that do not.

use super::hand::{self, Body, Image};
use crate::plugin::{Caller, Cogroups, Groups, LoadOptions, Plugin, StageUse};
use arrow::array::*;
use arrow::datatypes::{DataType, Field, Schema};
use millstream_base::context::CallContext;
use millstream_base::error::{Error, Kind};
use millstream_base::ids::{BatchId, BatchTime};
use millstream_job::spec::{InstanceSpec, PluginLimits};
use millstream_rows::batch::rejected::RejectedRow;
use std::sync::Arc;
use std::time::{Duration, Instant};

const CONTEXT: CallContext = CallContext { batch: BatchId(12), time: BatchTime(1), watermark: None };
const TEXT: u32 = 3;

fn load(component: &[u8]) -> Plugin {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hand.wasm");
    std::fs::write(&file, component).unwrap();
    hand::host().load(&file, &LoadOptions::default()).unwrap()
}

fn text_schema() -> Schema {
    Schema::new(vec![Field::new("value", DataType::Utf8, true)])
}

fn caller(component: &[u8], instance: InstanceSpec) -> Caller {
    let plugin = load(component);
    let description = plugin.describe("{}", &text_schema(), &Schema::empty()).unwrap();
    let limits = PluginLimits {
        memory_bytes_max: 1 << 20,
        time_max: Duration::from_millis(50),
        output_bytes_max: 1 << 12,
        ..PluginLimits::default()
    };
    let stage = StageUse { instance, limits, ..StageUse::new("words") };
    plugin.caller(stage, &description)
}

fn rows() -> RecordBatch {
    let values: ArrayRef = Arc::new(StringArray::from(vec!["a b", "c"]));
    RecordBatch::try_new(Arc::new(text_schema()), vec![values]).unwrap()
}

fn failure(make: impl FnOnce(&mut Image) -> Body) -> Error {
    caller(&hand::transform(TEXT, make), InstanceSpec::Batch).process(CONTEXT, &rows()).map(drop).unwrap_err()
}

#[test]
fn a_call_returns_rows_and_refused_rows() {
    let guest = hand::transform(TEXT, |image| {
        let column = image.column(Some(&[0b101]), Some(&[0, 2, 2, 3]), b"abc");
        image.output(3, &column, &[1])
    });
    let processed = caller(&guest, InstanceSpec::Batch).process(CONTEXT, &rows()).unwrap();
    let expected: ArrayRef = Arc::new(StringArray::from(vec![Some("ab"), None, Some("c")]));
    assert_eq!(processed.rows.column(0), &expected);
    assert_eq!(processed.rejections, [RejectedRow::new(1, "odd")]);
}

#[test]
fn a_panic_names_everything_and_repeats_the_guests_words() {
    let error = failure(|image| {
        let expected = image.list(b"panicked at src/lib.rs:10:5: index out of bounds");
        Body::Panic(expected[0], expected[1])
    });
    assert_eq!(error.kind, Kind::Plugin);
    let start =
        "stage `words`: plugin hand-made 1.2.3 failed in batch 12: panicked at src/lib.rs:10:5: index out of bounds";
    assert!(error.message.starts_with(start), "{error}");
    assert!(error.message.contains("transformer@0.1.3#process"), "the backtrace names the function: {error}");
    assert!(failure(|_| Body::Trap).message.contains("failed in batch 12: it trapped: `unreachable`"));
}

#[test]
fn limits_stop_a_call_and_say_which() {
    let begun = Instant::now();
    let error = failure(|_| Body::Loop);
    assert!(error.message.contains("longer than its time limit of 50ms"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(20), "it was stopped: {:?}", begun.elapsed());
    let error = failure(|image| Body::Grow(64, image.put(&[])));
    assert!(error.message.contains("more memory than its limit of 1 MiB"), "{error}");
    let error = failure(|image| {
        let column = image.column(None, Some(&[0, 5000]), &[b'x'; 5000]);
        image.output(1, &column, &[])
    });
    assert!(error.message.contains("more than its output limit of 4 KiB"), "{error}");
}

#[test]
fn invalid_output_is_an_error_not_a_panic() {
    let error = failure(|image| {
        let column = image.column(None, Some(&[0, 1]), b"\xff");
        image.output(1, &column, &[])
    });
    let expected = "returned invalid output in batch 12: the rows: column `value`, 1 rows: row 0 is not UTF-8";
    assert!(error.message.contains(expected), "{error}");
    // Lists that lie beyond the guest's memory.
    let error = failure(|image| image.output(1, &[0, 0, 0, 1, u32::MAX - 8, 8, 0, 0], &[]));
    assert!(error.message.contains("broke the component model's rules"), "{error}");
    let error = failure(|image| Body::Return(image.words(&[7])));
    assert!(error.message.contains("broke the component model's rules"), "{error}");
    assert!(failure(|_| Body::Return(u32::MAX - 3)).message.contains("broke the component model's rules"));
}

#[test]
fn returned_errors_say_who_can_mend_them() {
    let error = failure(|image| image.error(0, "no separator"));
    assert_eq!(error.kind, Kind::Job);
    assert_eq!(error.message, "stage `words`: plugin hand-made 1.2.3 rejects its config in batch 12: no separator");
    let error = failure(|image| image.error(2, "out of luck"));
    assert_eq!((error.kind, error.message.contains("failed in batch 12: out of luck")), (Kind::Plugin, true));
}

#[test]
fn instances_live_as_long_as_they_are_told() {
    let guest = hand::transform(TEXT, |image| {
        let column = image.column(None, Some(&[0, 1]), b"x");
        let Body::Return(at) = image.output(1, &column, &[]) else { unreachable!() };
        Body::Once(image.words(&[0]), at)
    });
    let mut fresh = caller(&guest, InstanceSpec::Batch);
    assert!((0..3).all(|_| fresh.process(CONTEXT, &rows()).is_ok()), "each call finds memory as it was at first");
    let mut kept = caller(&guest, InstanceSpec::Worker);
    assert!(kept.process(CONTEXT, &rows()).is_ok());
    assert!(kept.process(CONTEXT, &rows()).is_err(), "the second call finds what the first one left");
    assert!(kept.process(CONTEXT, &rows()).is_ok(), "an instance that failed is not used again");
}

#[test]
fn update_checks_every_part() {
    let mut image = Image::default();
    let describe = image.description(&[("value", TEXT)], &[("count", 1)]);
    let state = image.column(None, None, &[5, 0, 0, 0, 0, 0, 0, 0]);
    let (states, rows, kept) = (image.words(&state), image.column(None, Some(&[0, 1]), b"x"), image.list(&[0b1]));
    let rows = image.words(&rows);
    let update = Body::Return(image.words(&[0, 1, states, 1, kept[0], kept[1], 1, rows, 1, 0, 0]));
    let guest = hand::of_world("update", &image, &[("updater#describe", describe), ("updater#update", update)]);
    let mut caller = caller(&guest, InstanceSpec::Batch);
    let groups = |count: usize| {
        let keys: ArrayRef = Arc::new(StringArray::from(vec!["k"; count]));
        let old: ArrayRef = Arc::new(Int64Array::from(vec![4; count]));
        Groups {
            keys: RecordBatch::try_from_iter([("key", keys)]).unwrap(),
            rows: rows_of(count),
            ends: UInt32Array::from_iter_values(1..=count as u32),
            states: RecordBatch::try_from_iter([("count", old)]).unwrap(),
            known: BooleanArray::from(vec![true; count]),
            timed_out: BooleanArray::from(vec![false; count]),
            overdue: BooleanArray::from(vec![false; count]),
            timers: Vec::new(),
            due: Default::default(),
            all: false,
        }
    };
    let updated = caller.update(CONTEXT, &groups(1)).unwrap();
    assert_eq!(updated.states.column(0).as_ref(), &Int64Array::from(vec![5]) as &dyn Array);
    assert_eq!((updated.kept, updated.output.num_rows()), (BooleanArray::from(vec![true]), 1));
    let error = caller.update(CONTEXT, &groups(2)).map(drop).unwrap_err();
    assert!(error.message.contains("the new states: 1 rows instead of 2"), "{error}");
}

#[test]
fn cogroup_checks_every_part() {
    let mut image = Image::default();
    let (name, version, doc) = (image.list(b"hand-made"), image.list(b"1.2.3"), image.list(b"Made by hand."));
    let schema = image.schema(&[("value", TEXT)]);
    let inputs = image.words(&[schema, schema].concat());
    let mut expected = vec![0];
    for pair in [name, version, doc, [inputs, 2], schema] {
        expected.extend(pair);
    }
    expected.extend([0, 0, 0, 0, 0]);
    let describe = Body::Return(image.words(&expected));
    let rows = image.column(None, Some(&[0, 1]), b"x");
    let (rows, reason) = (image.words(&rows), image.list(b"odd"));
    let rejected = image.words(&[1, reason[0], reason[1]]);
    let lists = image.words(&[0, 0, rejected, 1]);
    let cogroup = Body::Return(image.words(&[0, 1, rows, 1, lists, 2]));
    let guest = hand::of_world("cogroup", &image, &[("cogrouper#describe", describe), ("cogrouper#cogroup", cogroup)]);
    let mut caller = caller(&guest, InstanceSpec::Batch);
    let groups = |counts: &[usize]| {
        let keys: ArrayRef = Arc::new(StringArray::from(vec!["k"]));
        let inputs = counts.iter().map(|count| (rows_of(*count), UInt32Array::from(vec![*count as u32])));
        Cogroups { keys: RecordBatch::try_from_iter([("key", keys)]).unwrap(), inputs: inputs.collect() }
    };
    let cogrouped = caller.cogroup(CONTEXT, &groups(&[0, 2])).unwrap();
    assert_eq!(
        (cogrouped.rows.num_rows(), &cogrouped.rejections[..]),
        (1, &[vec![], vec![RejectedRow::new(1, "odd")]][..])
    );
    let message =
        |counts: &[usize], caller: &mut Caller| caller.cogroup(CONTEXT, &groups(counts)).map(drop).unwrap_err();
    let error = message(&[2, 1], &mut caller);
    assert!(error.message.contains("input 1: row 1 is rejected, but only 1 rows were given"), "{error}");
    let error = message(&[2, 2, 2], &mut caller);
    assert!(error.message.contains("`rejections` has 2 lists for 3 inputs"), "{error}");
    let error = caller.process(CONTEXT, &rows_of(1)).map(drop).unwrap_err();
    assert!(error.message.contains("implements world `cogroup`, which has no `process`"), "{error}");
}

fn rows_of(count: usize) -> RecordBatch {
    let values: ArrayRef = Arc::new(StringArray::from(vec!["v"; count]));
    RecordBatch::try_new(Arc::new(text_schema()), vec![values]).unwrap()
}
