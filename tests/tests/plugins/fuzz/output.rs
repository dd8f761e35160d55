//! A guest whose every byte comes from the input. Its component is built once per world: it reads its memory from a granted file.

use super::calls;
use super::checked;
use super::driver::Run;
use super::image::{self, BASE, Image};
use arbitrary::{Result as Arbitrary, Unstructured};
use arrow::datatypes::{Schema, SchemaRef};
use millstream::internals::plugin::{Description, Granted, Plugin, PluginHost, StageUse, World};
use millstream::job::spec::{OnError, PluginLimits};
use millstream_tests::fault::plugin_with;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Rows that every call is given.
const ROWS: usize = 4;
/// The maximum number of positions that one input changes.
const MUTATIONS_MAX: usize = 8;

/// Plugins of every world, built for both kinds of calls.
pub fn target() -> Run {
    let host = PluginHost::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let worlds = ["transform", "update", "aggregate", "cogroup"].map(|world| {
        let path = dir.path().join(format!("{world}.wasm"));
        std::fs::write(&path, plugin(world)).unwrap();
        [OnError::Fail, OnError::Reject]
            .map(|on_error| (on_error, host.load(&path, &calls::options(on_error)).unwrap()))
    });
    Box::new(move |bytes| {
        let _kept = &dir;
        let mut u = Unstructured::new(bytes);
        // Input that is too short for what it began is as good as any.
        step(&worlds, &mut u).unwrap_or(Ok(()))
    })
}

/// Every function returns what the file contains, which fills the memory.
fn plugin(world: &str) -> Vec<u8> {
    let functions = match world {
        "aggregate" => [("lift", "process"), ("combine", "pair"), ("lower", "pair"), ("inverse", "pair")].as_slice(),
        "update" => &[("update", "update")],
        "cogroup" => &[("cogroup", "cogroup")],
        _ => &[("process", "process")],
    };
    let exports = [&[("describe", "describe")], functions].concat();
    let exports = exports.iter().map(|(name, kind)| format!("(func (export \"{name}\") (type ${kind}) (call $image))"));
    plugin_with(
        world,
        &format!(
            r#"
            (import "files" "read" (func $read (param i32 i32 i64 i32 i32)))
            (memory (export "memory") 16)
            (data (i32.const 4096) "image")
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const {BASE}))
            (func $image (result i32)
              (call $read (i32.const 4096) (i32.const 5) (i64.const 0) (i32.const 900000) (i32.const 4112))
              (if (i32.load8_u (i32.const 4112)) (then (unreachable)))
              (i32.load (i32.const {BASE})))
            {}
            "#,
            exports.collect::<Vec<_>>().join("\n")
        ),
    )
}

type Plugins = [[(OnError, Plugin); 2]; 4];

fn step(worlds: &Plugins, u: &mut Unstructured<'_>) -> Arbitrary<Result<(), String>> {
    let kinds = u.choose(worlds)?;
    let (on_error, plugin) = &kinds[usize::from(u.ratio(1, 4)?)];
    let mutations = u.int_in_range(0..=MUTATIONS_MAX)?;
    let mut image = Image::new();
    let described = if u.ratio(1, 4)? {
        describe(&mut image, u, plugin.world())?;
        None
    } else {
        Some(returns(&mut image, u, plugin.world())?)
    };
    for _ in 0..mutations {
        image.mutate(u)?;
    }
    let limits = PluginLimits {
        memory_bytes_max: 2 << 20,
        output_bytes_max: 8 << 20,
        time_max: Duration::from_secs(10),
        fuel_max: Some(1_000_000),
        ..PluginLimits::default()
    };
    let files = BTreeMap::from([("image".to_owned(), image.bytes.into())]);
    let grant = Granted { files, ..Granted::default() };
    let stage = StageUse { limits, grant, on_error: *on_error, ..StageUse::new("fuzzed") };
    let came = match described {
        None => calls::describe(plugin, &stage).map(|description| checked::description(&description)),
        Some(description) => {
            let mut caller = plugin.caller(stage, &description);
            let outcome = calls::call(plugin, &mut caller, &description, &calls::text());
            outcome.map(|outcome| checked::outcome(&outcome, ROWS))
        }
    };
    Ok(match came {
        Ok(checked) => checked,
        Err(error) if mutations == 0 => Err(format!("it was valid: {error}")),
        Err(error) => checked::error(&error),
    })
}

/// The result of `describe`.
fn describe(image: &mut Image, u: &mut Unstructured<'_>, world: World) -> Arbitrary<()> {
    let (name, version, doc) = (image.list(b"fuzzed"), image.list(b"1.2.3"), image.list("Worte ü".as_bytes()));
    let (input, output) = (image::schema(u)?, image::schema(u)?);
    let (input, output) = (image.schema(&input), image.schema(&output));
    let state = if world == World::Transform { Arc::new(Schema::empty()) } else { image::schema(u)? };
    let state = image.schema(&state);
    let config = image.list(b"{\"type\":\"object\"}");
    let mut words = [[0].as_slice(), &name, &version, &doc].concat();
    if world == World::Cogroup {
        let inputs = image.words(&[input, output].concat());
        words.extend([[inputs, 2], output].concat());
    } else {
        words.extend([input, output, state].concat());
    }
    // A key of any columns, or none.
    words.extend(if u.arbitrary()? { [1, input[0], input[1]] } else { [0, 0, 0] });
    if world != World::Cogroup {
        words.push(u32::from(world == World::Aggregate));
    }
    words.extend(config);
    image.returns(&words);
    Ok(())
}

/// The results of the world's functions, and a matching description.
fn returns(image: &mut Image, u: &mut Unstructured<'_>, world: World) -> Arbitrary<Description> {
    let (output, state) = (image::schema(u)?, image::schema(u)?);
    // The functions of an aggregate return the same, so it is both accumulators and rows.
    let state = if world == World::Aggregate { output.clone() } else { state };
    let rows = if world == World::Aggregate { ROWS } else { u.int_in_range(0..=20)? };
    let batch = image.batch(u, &output, rows)?;
    let refused = rejections(image, u)?;
    let words = match world {
        World::Transform => [[0].as_slice(), &batch, &refused].concat(),
        World::Aggregate => [[0].as_slice(), &batch].concat(),
        World::Update => {
            let states = image.batch(u, &state, ROWS)?;
            let kept = image.list(&[u.arbitrary()?]);
            [[0].as_slice(), &states, &kept, &batch, &refused].concat()
        }
        World::Cogroup => {
            let lists = image.words(&[refused, [0, 0]].concat());
            [[0].as_slice(), &batch, &[lists, 2]].concat()
        }
        // None of the worlds that are fuzzed here.
        World::Source | World::Sink => return Err(arbitrary::Error::IncorrectFormat),
    };
    image.returns(&words);
    let input: SchemaRef = calls::text().schema();
    let inputs = vec![input.clone(); if world == World::Cogroup { 2 } else { 1 }];
    Ok(Description {
        name: "fuzzed".into(),
        version: "1.2.3".into(),
        doc: String::new(),
        input,
        inputs,
        output,
        state,
        key: None,
        written: Arc::default(),
        inverse: world == World::Aggregate,
        exactly_once: false,
        config_schema: String::new(),
    })
}

/// Some of the rows, each once: address and length of the list.
fn rejections(image: &mut Image, u: &mut Unstructured<'_>) -> Arbitrary<[u32; 2]> {
    let mut words = Vec::new();
    for row in 0..ROWS as u32 {
        if u.ratio(1, 3)? {
            let reason = image.list(u.choose(&["odd", "", "nö", "\u{1b}[2J"])?.as_bytes());
            words.extend([row, reason[0], reason[1]]);
        }
    }
    Ok([image.words(&words), words.len() as u32 / 3])
}
