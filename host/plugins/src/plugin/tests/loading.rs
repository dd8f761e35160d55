//! Files that are plugins, and files that are not.

use super::hand::{self, Body, Image};
use crate::limits::PLUGINS_UNUSED_MAX;
use crate::plugin::cache::{Cache, DigestBytes};
use crate::plugin::code_kind::{CodeKind, Metering};
use crate::plugin::engine::Machine;
use crate::plugin::load::Loader;
use crate::plugin::load_options::LoadOptions;
use crate::plugin::world::World;
use arrow::datatypes::Schema;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Weak};

fn error_of(name: &str, bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(name);
    fs::write(&file, bytes).unwrap();
    let error = hand::host().load(&file, &LoadOptions::default()).map(drop).unwrap_err();
    assert!(error.message.contains(name), "the file is named: {error}");
    error.message
}

fn identity() -> Vec<u8> {
    hand::transform(3, |image| {
        let column = image.column(None, Some(&[0]), b"");
        image.output(0, &column, &[])
    })
}

#[test]
fn files_that_are_no_plugin_are_told_apart() {
    let empty_component = b"\0asm\x0d\0\x01\0";
    let with_function = |wit: &str, name: &str| hand::of_text(wit, &Image::default(), &[(name, Body::Trap)]);
    let foreign = with_function("package a:b; interface i { f: func() -> s32; } world w { export i; }", "a:b/i#f");
    let newer = with_function(
        "package millstream:plugin@0.2.0; interface updater { f: func() -> s32; } world w { export updater; }",
        "millstream:plugin/updater@0.2.0#f",
    );
    let changed = with_function(
        "package millstream:plugin@0.1.1; interface transformer { describe: func(a: s32, b: s32, c: s32, d: s32) -> s32; } world w { export transformer; }",
        "millstream:plugin/transformer@0.1.1#describe",
    );
    let cases: [(&[u8], &str); 8] = [
        (b"", "is empty"),
        (b"name = \"x\"\n", "is text, not a component"),
        (&[0xfe, 0xff, 0, 1], "is not WebAssembly"),
        (b"\0asm\x01\0\0\0", "is a core WebAssembly module, not a component. `millstream build` creates"),
        (b"\0asm\x0d\0\x01\0\xff\xff", "does not compile"),
        (empty_component, "not a Millstream plugin: it exports nothing"),
        (&foreign, "not a Millstream plugin: it exports a:b/i"),
        (&newer, "needs millstream:plugin@0.2.0, and this host supports 0.1.3"),
    ];
    for (bytes, expected) in cases {
        let message = error_of("odd.wasm", bytes);
        assert!(message.contains(expected), "expected {expected:?}, found {message:?}");
    }
    let message = error_of("odd.wasm", &changed);
    assert!(message.contains("describe of millstream:plugin/transformer@0.1.1 has another type"), "{message}");
}

#[test]
fn imports_that_are_not_offered_are_named() {
    let wit = "package a:b@1.2.3; interface clock { now: func(x: s32, y: s32, z: s32); } world w { import clock; }";
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("hand.wit", wit).unwrap();
    let world = resolve.select_world(&[package], Some("w")).unwrap();
    let (mut types, mut imports) = (wasm_encoder::TypeSection::new(), wasm_encoder::ImportSection::new());
    types.ty().function([wasm_encoder::ValType::I32; 3], []);
    imports.import("a:b/clock@1.2.3", "now", wasm_encoder::EntityType::Function(0));
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&imports);
    let mut module = module.finish();
    wit_component::embed_component_metadata(&mut module, &resolve, world, wit_component::StringEncoding::UTF8).unwrap();
    let component = wit_component::ComponentEncoder::default().module(&module).unwrap().encode().unwrap();
    let message = error_of("odd.wasm", &component);
    assert!(message.contains("does not have: a:b/clock@1.2.3\n"), "{message}");
}

#[test]
fn dirs_are_looked_into() {
    let dir = tempfile::tempdir().unwrap();
    let host = hand::host();
    let load = |path: &Path| host.load(path, &LoadOptions::default()).map(drop).map_err(|error| error.message);
    let missing = dir.path().join("missing");
    assert!(load(&missing).unwrap_err().contains(&format!("plugin not found at {}", missing.display())));
    assert!(load(dir.path()).unwrap_err().contains("it has no Cargo.toml"));
    fs::write(dir.path().join("Cargo.toml"), "[package]\nname = \"split-words\"\n").unwrap();
    let message = load(dir.path()).unwrap_err();
    assert!(message.contains(&format!("Run `millstream build {}`", dir.path().display())), "{message}");
    fs::write(dir.path().join("split-words.wasm"), identity()).unwrap();
    load(dir.path()).unwrap();
}

#[test]
fn descriptions_are_checked() {
    let describe = |make: fn(&mut Image) -> Body| {
        let mut image = Image::default();
        let body = make(&mut image);
        let guest =
            hand::of_world("transform", &image, &[("transformer#describe", body), ("transformer#process", Body::Trap)]);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hand.wasm");
        fs::write(&file, guest).unwrap();
        let plugin = hand::host().load(&file, &LoadOptions::default()).unwrap();
        assert_eq!(plugin.world(), World::Transform);
        plugin.describe("{}", &Schema::empty(), &Schema::empty()).map_err(|error| error.message)
    };
    let good = describe(|image| image.description(&[("a", 0), ("b", 5)], &[])).unwrap();
    assert_eq!((good.name.as_str(), good.version.as_str(), good.output.fields().len()), ("hand-made", "1.2.3", 2));
    type Make = fn(&mut Image) -> Body;
    let cases: [(Make, &str); 5] = [
        (|image| image.description(&[("a", 0), ("a", 1)], &[]), "`input` names column `a` twice"),
        (|image| image.description(&[("", 0)], &[]), "a column of `input` is empty"),
        (|image| image.description(&[], &[("n", 1)]), "world `transform` has no state"),
        (|image| image.description(&[("a", 6)], &[]), "its Arrow type is empty"),
        (|_| Body::Trap, "failed in `describe`: it trapped"),
    ];
    for (make, expected) in cases {
        let message = describe(make).unwrap_err();
        assert!(message.contains(expected), "expected {expected:?}, found {message:?}");
    }
}

#[test]
fn compiled_code_is_kept_and_damage_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hand.wasm");
    fs::write(&file, identity()).unwrap();
    let compiled = dir.path().join("cache").join("compiled");
    let key = dir.path().join("state").join("cache.key");
    let load = || {
        let loader = Loader::new(Some(Cache::open(&compiled, &key).unwrap()));
        loader.load(&file, &LoadOptions::default()).unwrap().cached
    };
    assert!(!load(), "compiled at first");
    assert!(load(), "found the second time");
    let code = fs::read_dir(&compiled).unwrap().map(|entry| entry.unwrap().path());
    let code = code.into_iter().find(|path| path.extension().is_some_and(|e| e == "code")).unwrap();
    let mut bytes = fs::read(&code).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&code, bytes).unwrap();
    assert!(!load(), "damaged code is not run");
    assert!(load(), "and has been replaced");
    assert_eq!(fs::metadata(&compiled).unwrap().permissions().mode() & 0o777, 0o700);
    fs::set_permissions(&compiled, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(Cache::open(&compiled, &key).is_err(), "a directory that others can write to is not used");
    let engine =
        |metering| Machine::new(CodeKind { metering, stack_bytes_max: 1 << 20, compact: false }).unwrap().engine;
    let (engine, other) = (engine(Metering::Epochs), engine(Metering::None));
    let digest: DigestBytes = [7; 32];
    assert_ne!(Cache::key(&engine, &digest), Cache::key(&other, &digest), "other settings, other code");
}

#[test]
fn what_nobody_uses_any_more_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let loader = Loader::new(None);
    let version = |number: u8| {
        let file = dir.path().join("hand.wasm");
        let mut component = identity();
        // A custom section without a name, whose content differs.
        component.extend([0, 2, 0, number]);
        fs::write(&file, component).unwrap();
        loader.load(&file, &LoadOptions::default()).unwrap()
    };
    let used = version(0);
    assert!(Arc::ptr_eq(&used, &version(0)), "each file once");
    let others: Vec<Weak<_>> = (1..20).map(|number| Arc::downgrade(&version(number))).collect();
    let kept = others.iter().filter(|other| other.strong_count() > 0).count();
    assert_eq!(kept, PLUGINS_UNUSED_MAX);
    let last = others.last().and_then(Weak::upgrade).unwrap();
    assert!(Arc::ptr_eq(&last, &version(19)), "who looked at its world does not load it twice");
    assert!(Arc::ptr_eq(&used, &version(0)), "what is in use is loaded once, whatever came since");
}
