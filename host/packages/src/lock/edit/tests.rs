use super::*;

#[test]
fn all_else_stays_as_it_was() {
    let text = "# my job\n[stages.words]  # splits\nfrom = \"lines\"\nplugin = 'old/one'   # the old one\n\n[sinks]\n";
    let expected =
        "# my job\n[stages.words]  # splits\nfrom = \"lines\"\nplugin = \"a@1.0.0\"   # the old one\n\n[sinks]\n";
    assert_eq!(with_plugin(text, "words", "a@1.0.0").unwrap(), expected);
}

#[test]
fn every_way_to_write_a_stage() {
    for (text, expected) in [
        ("[stages]\nw = { from = \"l\", plugin = \"x\" }", "[stages]\nw = { from = \"l\", plugin = \"a@1.0.0\" }"),
        ("stages.w.plugin = \"x\" # c\n", "stages.w.plugin = \"a@1.0.0\" # c\n"),
        ("[stages.w]\nplugin = \"\"\"\nx\"\"\"\n", "[stages.w]\nplugin = \"a@1.0.0\"\n"),
        ("\u{feff}[stages.w]\r\nplugin = \"x\"\r\n", "\u{feff}[stages.w]\r\nplugin = \"a@1.0.0\"\r\n"),
        (
            "[stages.w]\nfrom = \"l\"   # c\nkey = \"k\"",
            "[stages.w]\nfrom = \"l\"   # c\nplugin = \"a@1.0.0\"\nkey = \"k\"",
        ),
        ("[stages.w]\n  from = [\n \"l\",\n  ]", "[stages.w]\n  from = [\n \"l\",\n  ]\n  plugin = \"a@1.0.0\""),
        ("[stages.w]\r\nfrom = \"l\"\r\n", "[stages.w]\r\nfrom = \"l\"\r\nplugin = \"a@1.0.0\"\r\n"),
        ("[stages]\nw = { from = \"l\" }", "[stages]\nw = { from = \"l\", plugin = \"a@1.0.0\" }"),
        ("stages.w.from = \"l\"\nname = \"j\"", "stages.w.from = \"l\"\nstages.w.plugin = \"a@1.0.0\"\nname = \"j\""),
        ("[stages]\nw.from = \"l\"", "[stages]\nw.from = \"l\"\nw.plugin = \"a@1.0.0\""),
        ("[stages.\"w\"]\n\"plugin\" = \"x\"", "[stages.\"w\"]\n\"plugin\" = \"a@1.0.0\""),
    ] {
        assert_eq!(with_plugin(text, "w", "a@1.0.0").as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn what_cannot_be_changed_is_said() {
    for (text, expected) in [
        ("[stages.other]\nfrom = \"l\"", "no such stage"),
        ("stages = 5", "no such stage"),
        ("[stages.w]", "cannot be changed in this text"),
        ("stages = { w.from = \"l\" }", "cannot be changed in this text"),
        ("[stages.w\n", "not TOML"),
    ] {
        let message = with_plugin(text, "w", "a@1.0.0").unwrap_err();
        assert!(message.contains(expected), "{text}: {message}");
    }
}

#[test]
fn any_text_is_kept_whole_as_a_value() {
    for plugin in ["", "a\"b", "a\\b", "ü\n\t'''\"\"\""] {
        let changed = with_plugin("[stages.w]\nplugin = 'x'\n", "w", plugin).unwrap();
        let table: toml::Table = toml::from_str(&changed).unwrap();
        assert_eq!(table["stages"]["w"]["plugin"].as_str(), Some(plugin));
    }
}

#[test]
fn stages_that_are_set_at_the_same_time_do_not_undo_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let job = dir.path().join("job.toml");
    let stage = |name: &str| format!("[stages.{name}]\nfrom = \"in\"\nplugin = \"old.wasm\"\n");
    std::fs::write(&job, stage("a") + &stage("b")).unwrap();
    for round in 0..50 {
        std::thread::scope(|scope| {
            for stage in ["a", "b"] {
                let job = &job;
                scope.spawn(move || set_plugin(job, stage, &format!("{stage}-{round}.wasm")).unwrap());
            }
        });
        for stage in ["a", "b"] {
            assert_eq!(plugin_of(&job, stage).unwrap(), Some(format!("{stage}-{round}.wasm")));
        }
    }
}

#[test]
fn a_part_is_found_by_its_name_or_behind_its_section() {
    let dir = tempfile::tempdir().unwrap();
    let job = dir.path().join("job.toml");
    let text = "[sources.in]\nplugin = \"a\"\n[stages.out]\nfilter = \"n > 0\"\n[stages.both]\nplugin = \"b\"\n\
                [sinks.out]\nplugin = \"c\" # why\n[sinks.both]\nplugin = \"d\"\n[sinks.plain]\npath = \"p\"\n";
    std::fs::write(&job, text).unwrap();
    let found = |named: &str| part_of(&job, named).unwrap();
    // Of several parts with one name, the one with a plugin is chosen, or else the first.
    assert_eq!(
        ["in", "out", "both", "plain", "none"].map(found),
        ["sources.in", "sinks.out", "both", "sinks.plain", "none"]
    );
    assert_eq!(["stages.out", "sinks.both", "sources.in"].map(found), ["out", "sinks.both", "sources.in"]);
    assert_eq!(plugin_of(&job, "sinks.both").unwrap().as_deref(), Some("d"));
    set_plugin(&job, "sinks.out", "e").unwrap();
    assert_eq!(std::fs::read_to_string(&job).unwrap(), text.replace("\"c\"", "\"e\""));
    let wrong = plugin_of(&job, "sinks.none").unwrap_err().message;
    assert!(wrong.ends_with("sink `none`: no such sink"), "{wrong}");
}
