use super::*;
use millstream_plugins::plugin::World;
use serde_json::json;

fn facts() -> PackageFacts {
    let columns = |name: &str| json!([{ "name": name, "type": "text", "nullable": false }]);
    PackageFacts {
        name: "shout".into(),
        version: "1.0.0".into(),
        metadata: Default::default(),
        interface: "0.1.1".into(),
        world: World::Update,
        migrates: false,
        imports: vec!["millstream:plugin/log@0.1.1".into()],
        exports: vec!["millstream:plugin/updater@0.1.1".into()],
        permissions: vec!["the log".into()],
        is_described: true,
        schemas: vec![
            json!({ "config": {}, "given": [], "by": [], "inputs": [columns("word")], "output": columns("word"),
                    "state": columns("last"), "key": null }),
            json!({ "config": { "loud": true }, "given": [columns("word")], "by": columns("word"),
                    "inputs": [columns("word")], "output": columns("word"), "state": columns("last"), "key": null }),
        ],
        config_schema: json!({ "type": "object", "title": "Shouting",
                               "properties": { "loud": { "type": "boolean" }, "by": { "type": "integer" } } }),
        grants: json!({ "files": { "lexicon": "words" }, "http": { "hosts": ["a.example.com"] } }),
        functions_and_modules: (1, 1),
    }
}

/// The differences after a change; those that must be accepted begin with `!`.
fn after(change: impl FnOnce(&mut PackageFacts)) -> Vec<String> {
    let mut new = facts();
    change(&mut new);
    let described =
        |difference: Difference| (if difference.needs_accept { "! " } else { "" }).to_owned() + &difference.message;
    compare(&facts(), &new).into_iter().map(described).collect()
}

#[test]
fn what_needs_no_consent() {
    assert!(after(|_| {}).is_empty());
    let described = after(|new| {
        new.version = "1.1.0".into();
        new.interface = "0.1.2".into();
        new.imports = vec!["millstream:plugin/log@0.1.2".into()];
        new.migrates = true;
        new.metadata.license = "MIT".into();
        new.config_schema["title"] = json!("Something else");
        new.config_schema["properties"]["by"]["description"] = json!("How much louder");
        new.config_schema["properties"]["pitch"] = json!({ "type": "number" });
        new.grants = json!({ "files": { "lexicon": "the words to shout" } });
        new.schemas.push(json!({ "config": { "by": 2 }, "given": [], "inputs": [], "output": [], "state": [] }));
    });
    assert_eq!(
        described,
        [
            "it no longer requests the grant http.hosts a.example.com",
            "its config may now have `pitch`",
            "it can take over states of other versions",
            "version of millstream:plugin: 0.1.2; previously 0.1.1",
            "licence: MIT; previously (none)",
        ]
    );
    assert_eq!(
        after(|new| {
            new.imports.clear();
            new.permissions.clear();
        }),
        ["it no longer imports the log (millstream:plugin/log)"]
    );
}

#[test]
fn what_needs_consent() {
    let http = after(|new| {
        new.imports.push("wasi:http/outgoing-handler@0.2.6".into());
        new.permissions.push("HTTP requests (need a grant)".into());
        new.grants["http"]["hosts"] = json!(["a.example.com", "b.example.com"]);
    });
    assert_eq!(
        http,
        [
            "! it now imports HTTP requests (need a grant) (wasi:http/outgoing-handler)",
            "! it now requests the grant http.hosts b.example.com"
        ]
    );
    assert_eq!(after(|new| new.name = String::new()), ["! it is another package: (none), not shout"]);
    assert_eq!(after(|new| new.world = World::Transform), ["! it is of world transform; previously of update"]);
    assert_eq!(after(|new| new.is_described = false), ["! it no longer describes its columns"]);
}

#[test]
fn columns_are_compared_by_what_was_asked() {
    let number = json!([{ "name": "last", "type": "int64", "nullable": true }]);
    assert_eq!(
        after(|new| new.schemas.iter_mut().for_each(|entry| entry["state"] = number.clone())),
        ["! its state is last int64; previously last text not null"]
    );
    assert_eq!(
        after(|new| new.schemas[1]["output"] = json!([])),
        [
            "! it returns no columns; previously word text not null (with config {\"loud\":true} and input word text not \
             null)"
        ]
    );
    assert_eq!(after(|new| new.schemas[0]["key"] = number.clone()), ["! its key must be last int64; previously any"]);
    let gone = after(|new| drop(new.schemas.pop()));
    assert_eq!(gone.len(), 1);
    assert!(gone[0].starts_with("! it no longer describes its columns (with config {\"loud\""), "{gone:?}");
}

#[test]
fn a_config_that_was_right_must_stay_right() {
    let properties = |change: fn(&mut Value)| after(move |new| change(&mut new.config_schema));
    assert_eq!(
        properties(|schema| drop(schema["properties"].as_object_mut().unwrap().remove("by"))),
        ["! its config no longer has `by`"]
    );
    assert_eq!(
        properties(|schema| schema["properties"]["by"] = json!({ "type": "string" })),
        ["! its config's `by` is {\"type\":\"string\"}; previously {\"type\":\"integer\"}"]
    );
    assert_eq!(properties(|schema| schema["required"] = json!(["by"])), ["! its config must now have `by`"]);
    assert_eq!(
        properties(|schema| {
            schema["properties"]["new"] = json!({});
            schema["required"] = json!(["new"]);
        }),
        ["! its config must now have `new`"]
    );
    let closed = properties(|schema| schema["additionalProperties"] = json!(false));
    assert!(closed.len() == 1 && closed[0].starts_with("! the schema of its config is"), "{closed:?}");
    assert_eq!(properties(|schema| *schema = Value::Null).len(), 1);
}

#[test]
fn there_is_an_end_to_what_is_told() {
    let described = after(|new| {
        let many = (0..1000).map(|key| (format!("k{key}"), json!({})));
        new.config_schema["properties"] = many.collect();
    });
    assert_eq!((described.len(), described[50].as_str()), (51, "! and 952 more differences"));
}

#[test]
fn words_of_authors_steer_nothing() {
    let described = after(|new| {
        new.name = "a\u{1b}[2K\nb".repeat(1000);
        new.schemas[0]["output"] = json!([{ "name": "x\u{202e}y", "type": { "deep": "\n" } }]);
    });
    for message in described {
        assert!(message.len() < 5000 && !message.contains(['\u{1b}', '\n', '\u{202e}']), "{message:?}");
    }
}
