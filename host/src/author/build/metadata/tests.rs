use super::*;
use crate::author::language::Language;
use crate::author::project::{Code, Http, ProjectFacts};
use millstream_plugins::sections::{Declarations, PackageSections, Producer, list_producers};
use serde_json::json;
use std::fs;
use std::path::Path;

fn project(dir: &Path) -> Project {
    let about = ProjectFacts {
        name: "shout".into(),
        version: "1.2.3".into(),
        description: "Puts text in upper case: Ä".into(),
        license: "MIT OR Apache-2.0".into(),
        authors: vec!["Ann <ann@example.org>".into(), "Bob".into()],
    };
    let http = Http { hosts: vec!["api.example.com".into()], methods: Vec::new() };
    let grants = Grants { http: Some(http), ..Grants::default() };
    Project { dir: dir.into(), about, world: None, migrates: false, grants, code: Code::Go }
}

/// Embeds the metadata of the project. It could not be queried.
fn embed(component: &[u8], project: &Project) -> Result<Vec<u8>> {
    super::embed(component, project, &DescribedPlugin::default())
}

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("a component")
}

#[test]
fn what_is_put_in_is_read_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("a file");
    write("README.md", "# shout\n\nLoud.\n");
    fs::create_dir(dir.path().join("sdk")).expect("a directory");
    write("sdk/VERSION", "0.7.0\n");
    let bare = component("(component (core module (@custom \"version\" \"of the module\")))");
    let made = embed(&bare, &project(dir.path())).expect("it can be embedded");
    let package = PackageSections::parse(&made);
    assert_eq!((package.name.as_str(), package.version.as_str()), ("shout", "1.2.3"));
    assert_eq!(package.description, "Puts text in upper case: Ä");
    assert_eq!(package.license, "MIT OR Apache-2.0");
    assert_eq!(package.authors, "Ann <ann@example.org>, Bob");
    assert_eq!(package.readme, "# shout\n\nLoud.\n");
    assert_eq!(list_producers(&package.language), Language::Go.to_string());
    assert_eq!(list_producers(&package.sdk), "millstream Go 0.7.0");
    let host = Producer { name: "millstream".into(), version: env!("CARGO_PKG_VERSION").into() };
    assert_eq!(package.made_by, [host]);

    // Read in the same way as by component tools.
    let producers = wasm_metadata::Producers::from_wasm(&made).expect("it can be read").expect("producers");
    assert!(producers.get("language").is_some_and(|languages| languages.get("Go").is_some()));

    assert_eq!(embed(&bare, &project(dir.path())).expect("again"), made, "it is the same each time");
    let twice = embed(&made, &project(dir.path())).expect("it can be embedded again");
    assert_eq!(twice.len(), made.len(), "nothing is in it twice");
}

#[test]
fn what_it_answered_is_read_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let responses = |name: &str| {
        let entry = json!({ "config": {}, "output": [{ "name": name, "type": "text", "nullable": false }] });
        DescribedPlugin { schemas: Some(vec![entry]), config_schema: "{ \"type\" : \"object\" }".into() }
    };
    let bare = component("(component)");
    let made = super::embed(&bare, &project(dir.path()), &responses("word")).expect("it can be embedded");
    let declared = Declarations::parse(&made);
    assert_eq!(declared.schemas, responses("word").schemas);
    assert_eq!(declared.config_schema, json!({ "type": "object" }));
    assert_eq!(declared.grants, json!({ "http": { "hosts": ["api.example.com"] } }));
    let again = super::embed(&made, &project(dir.path()), &responses("wort")).expect("it can be embedded again");
    assert_eq!(Declarations::parse(&again).schemas, responses("wort").schemas);
    assert_eq!(again.len(), made.len(), "nothing is in it twice");
    assert_eq!(Declarations::parse(&bare), Declarations { grants: json!({}), ..Declarations::default() });
}

#[test]
fn what_a_tool_has_written_is_replaced() {
    let dir = tempfile::tempdir().expect("a directory");
    let old = component(
        "(component (@custom \"version\" \"9\") (@custom \"licenses\" \"GPL-3.0-only\") (@custom \"x\" \"y\"))",
    );
    let made = embed(&old, &project(dir.path())).expect("it can be embedded");
    let package = PackageSections::parse(&made);
    assert_eq!((package.version.as_str(), package.license.as_str()), ("1.2.3", "MIT OR Apache-2.0"));
    let count = |name: &[u8]| made.windows(name.len()).filter(|window| *window == name).count();
    assert_eq!((count(b"GPL-3.0-only"), count(b"\x01xy")), (0, 1));
}

#[test]
fn a_readme_that_is_too_large_is_left_out() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("README.md"), "a".repeat(README_BYTES_MAX + 1)).expect("a file");
    let made = embed(&component("(component)"), &project(dir.path())).expect("it can be embedded");
    assert_eq!(PackageSections::parse(&made).readme, "");
}

#[test]
fn hostile_sections_do_no_harm() {
    let strings = PackageSections::parse(&component(
        "(component (@custom \"version\" \"1\\1b[31m\\e2\\80\\ae\") (@custom \"authors\" \"\\ff\\fe\")
         (@custom \"component-name\" \"\\00\\ff\\ff\\ff\\ff\\0f\") (@custom \"producers\" \"\\ff\\ff\\ff\\ff\\0f\"))",
    ));
    assert_eq!(strings, PackageSections { version: "1 [31m ".into(), ..PackageSections::default() });

    // A million producers, of which only some are shown.
    let mut data = vec![1, 8];
    data.extend(b"language");
    data.extend([0xc0, 0x84, 0x3d]);
    data.extend([1, b'a', 0].repeat(1_000_000));
    let mut bytes = component("(component)");
    CustomSection { name: "producers".into(), data: data.into() }.append_to_component(&mut bytes);
    assert_eq!(PackageSections::parse(&bytes).language.len(), 50);

    let declared = Declarations::parse(&component(
        "(component (@custom \"millstream:schemas\" \"[1, 2]\") (@custom \"millstream:grants\" \"[]\")
         (@custom \"millstream:config-schema\" \"{\\22a\\22: \\22\\5cu202e\\5cu001b[2J\\22}\"))",
    ));
    let printed = json!({ "a": "  [2J" });
    assert_eq!(declared, Declarations { schemas: None, config_schema: printed, grants: json!({}) });
    let deep = "[".repeat(DECLARED_BYTES_MAX);
    for text in ["", "{", "\u{1b}", &deep, &("\"".to_owned() + &"a".repeat(DECLARED_BYTES_MAX) + "\"")] {
        let mut bytes = component("(component)");
        for name in [section::SCHEMAS, section::CONFIG_SCHEMA, section::GRANTS] {
            CustomSection { name: name.into(), data: text.as_bytes().into() }.append_to_component(&mut bytes);
        }
        assert_eq!(Declarations::parse(&bytes), Declarations { grants: json!({}), ..Declarations::default() });
    }

    for end in 0..bytes.len().min(64) {
        PackageSections::parse(&bytes[..end]);
    }
    assert_eq!(PackageSections::parse(b""), PackageSections::default());
    assert_eq!(PackageSections::parse(b"\0asm\x01\0\0\0"), PackageSections::default());
}
