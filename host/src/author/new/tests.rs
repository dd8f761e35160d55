use super::*;

const WORLDS: [&str; 6] = ["transform", "update", "aggregate", "cogroup", "source", "sink"];
/// Returns every file of a directory with its text.
fn files(dir: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("entries") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let content = std::fs::read(&path).expect("a file");
            found.push((path, String::from_utf8_lossy(&content).into_owned()));
        }
    }
    found
}

#[test]
fn a_project_bears_its_name_and_needs_nothing_above_it() {
    let parent = tempfile::tempdir().expect("a directory");
    let mut made = 0;
    for language in Language::ALL.into_iter().filter(|language| TEMPLATES.get_dir(language.keyword()).is_some()) {
        for world in WORLDS {
            let name = format!("tally-{}-{world}", language.keyword());
            let dir = create(parent.path(), &name, world, language).expect("a project");
            made += 1;
            for (path, text) in files(&dir) {
                let lower = text.to_lowercase();
                let placeholder = ["my-plugin", "my_plugin", "myplugin"].into_iter().find(|word| lower.contains(word));
                let of_sdk = path.strip_prefix(&dir).expect("inside").starts_with("sdk");
                assert!(of_sdk || placeholder.is_none(), "{}: {placeholder:?}", path.display());
                assert!(of_sdk || !text.contains("../.."), "{} leads out of the project", path.display());
                let name = path.to_string_lossy();
                for left_out in ["node_modules", "/template/", "__pycache__", "/target/", "/bindgen/"] {
                    assert!(!name.contains(left_out), "{name}");
                }
            }
            let read = |file: &str| std::fs::read_to_string(dir.join(file)).expect(file);
            let (file, begin) = match world {
                "source" => ("expected.jsonl", "{\"rows\":[{\"number\":0"),
                "sink" => ("expected-server.txt", "OPEN "),
                _ => ("expected.jsonl", "{\"batch\":1"),
            };
            assert!(read(&format!("cases/example/{file}")).starts_with(begin), "{name}");
            assert!(read(".gitignore").contains("*.wasm"), "{name}");
            assert!(read("README.md").contains(&name), "{name}");
            assert_eq!(read(SDK_VERSION).trim(), env!("CARGO_PKG_VERSION"));
            read("sdk/README.md");
            let again = create(parent.path(), &name, world, language).expect_err("it is there already");
            assert!(again.message.contains("already exists"), "{again}");
        }
    }
    assert!(made >= WORLDS.len());
    assert_eq!(std::fs::read_dir(parent.path()).expect("entries").count(), made, "nothing else is left behind");
}

/// The manifest of a project in a language other than Rust is parsed directly. cargo is tested elsewhere.
#[test]
fn the_manifest_of_a_project_is_complete() {
    let parent = tempfile::tempdir().expect("a directory");
    let others = Language::ALL.into_iter().filter(|language| *language != Language::Rust);
    for language in others.filter(|language| TEMPLATES.get_dir(language.keyword()).is_some()) {
        for world in WORLDS {
            let name = format!("tally-{}-{world}", language.keyword());
            let dir = create(parent.path(), &name, world, language).expect("a project");
            let project = crate::author::project::Project::read(&dir).expect("a manifest");
            assert_eq!(project.about.name, name);
            assert_eq!(project.about.version, "0.1.0", "{name}");
            assert!(!project.about.license.is_empty(), "{name}");
            assert_eq!(project.about.description, "", "{name}: the example's description is not the plugin's");
            assert_eq!(project.world.map(|world| world.to_string()).as_deref(), Some(world), "{name}");
            assert_eq!(project.language(), language);
        }
    }
}

#[test]
fn a_rust_project_does_not_lean_on_our_workspace() {
    let parent = tempfile::tempdir().expect("a directory");
    let dir = create(parent.path(), "tally", "update", Language::Rust).expect("a project");
    let read = |file: &str| std::fs::read_to_string(dir.join(file)).expect(file);
    assert!(read("Cargo.toml").contains("path = \"sdk\""));
    assert!(read("Cargo.toml").contains("name = \"tally\""));
    assert!(read("Cargo.toml").contains("\ndescription = \"\"\n"), "{}", read("Cargo.toml"));
    for manifest in ["sdk/Cargo.toml", "sdk/macros/Cargo.toml"] {
        assert!(!read(manifest).contains("workspace"), "{manifest} leans on our workspace");
    }
    read("sdk/src/bindings/update.rs");
}

#[test]
fn wrong_names_and_worlds_are_refused() {
    let parent = tempfile::tempdir().expect("a directory");
    let rejection = |name: &str, world: &str, language: Language| {
        create(parent.path(), name, world, language).expect_err("must be refused").message
    };
    for name in ["", "Split", "split_words", "-a", "a-", "a--b", "1st", "../up", "ü", &"a".repeat(65)] {
        for language in Language::ALL {
            let message = rejection(name, "transform", language);
            assert!(message.contains("is not a valid plugin name"), "{name}: {message}");
        }
    }
    use Language::{C, Go, JavaScript, Python, Rust};
    let names = [("fn", Rust), ("core", Rust), ("json", Python), ("class", Python), ("sre-parse", Python)];
    let others = [("delete", JavaScript), ("fs", JavaScript), ("func", Go), ("fmt", Go), ("printf", C), ("union", C)];
    for (name, language) in names.into_iter().chain(others) {
        let message = rejection(name, "transform", language);
        assert!(message.contains("is a reserved word of"), "{name} in {language}: {message}");
    }
    // The plugin's struct would have the name of its rows' struct.
    let twice = rejection("sale", "aggregate", Rust);
    assert!(twice.contains("the example uses the name `sale`"), "{twice}");
    // The demo suggests the name of the template.
    for language in Language::ALL {
        let named = tempfile::tempdir().expect("a directory");
        let made = create(named.path(), "my-plugin", "transform", language);
        assert!(made.is_ok(), "my-plugin in {language}: {made:?}");
    }
    assert!(
        rejection("a", "transfrom", Rust).contains("worlds are aggregate, cogroup, sink, source, transform, update")
    );
    assert!(rejection("a", "sinks", Go).contains("worlds are aggregate, cogroup, sink, source, transform, update"));
    assert_eq!(std::fs::read_dir(parent.path()).expect("entries").count(), 0);
}
