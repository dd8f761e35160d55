//! The plugin interface is frozen: released versions never change. `compat` tests that plugins built for them still run.

use millstream_tests::root;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The WIT files of a directory, by name.
fn interface(dir: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.extension().is_some_and(|ending| ending == "wit"));
    files.map(|path| (path.file_name().unwrap().to_str().unwrap().into(), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn a_released_version_is_kept_as_it_was() {
    let wit = root().join("wit");
    let now = interface(&wit);
    let mut versions = Vec::new();
    for entry in fs::read_dir(wit.join("released")).unwrap() {
        let path = entry.unwrap().path();
        let version = path.file_name().unwrap().to_str().unwrap().to_owned();
        let package = format!("package millstream:plugin@{version};\n");
        let released = interface(&path);
        assert!(!released.is_empty(), "{}", path.display());
        assert!(released.values().all(|text| text.starts_with(&package)), "{} is of one version", path.display());
        if now.values().any(|text| text.starts_with(&package)) {
            for (name, text) in &now {
                let then = released.get(name).map(String::as_str);
                assert_eq!(
                    Some(text.as_str()),
                    then,
                    "{version} is released: {name} can change under a new version only"
                );
            }
            assert_eq!(now.len(), released.len(), "{version} is released: no file of it may go");
        }
        versions.push(version);
    }
    for version in ["0.1.0", "0.1.1", "0.1.2", "0.1.3"] {
        assert!(versions.contains(&version.to_string()), "a released version may not go: {versions:?}");
    }
}
