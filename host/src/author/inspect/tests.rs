//! Tests of the description of a plugin, as text and as JSON.

#[allow(dead_code)]
#[path = "../../../plugins/src/plugin/tests/hand.rs"]
mod hand;

use super::of_loaded;
use millstream_plugins::plugin::{LoadOptions, PluginHost, VERSION};
use std::fs;

fn identity() -> Vec<u8> {
    hand::transform(3, |image| {
        let column = image.column(None, Some(&[0]), b"");
        image.output(0, &column, &[])
    })
}

#[test]
fn inspect_shows_what_a_plugin_is() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hand.wasm");
    fs::write(&file, identity()).unwrap();
    let (text, _) = of_loaded(&hand::host().load(&file, &LoadOptions::default()).unwrap()).unwrap();
    for expected in [
        "plugin:        hand-made 1.2.3",
        "world:         transform of millstream:plugin@0.1.3",
        "returns:       value text",
        "grants:        nothing",
        "imports:       nothing",
        "3 functions, 1 modules",
        "digest:        sha256:",
    ] {
        assert!(text.contains(expected), "expected {expected:?} in\n{text}");
    }
}

#[test]
fn inspect_says_it_to_programs_too() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hand.wasm");
    fs::write(&file, identity()).unwrap();
    let (_, metadata) = of_loaded(&hand::host().load(&file, &LoadOptions::default()).unwrap()).unwrap();
    assert_eq!(
        (&metadata["name"], &metadata["version"], &metadata["world"]),
        (&"hand-made".into(), &"1.2.3".into(), &"transform".into())
    );
    assert_eq!(metadata["output"], serde_json::json!([{ "name": "value", "type": "text", "nullable": true }]));
    assert_eq!((&metadata["imports"], &metadata["functions"]), (&serde_json::json!([]), &3.into()));
}
