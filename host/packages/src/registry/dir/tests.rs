use super::*;
use crate::trust::signature::MEDIA_TYPE;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

const COMPONENT: &[u8] = b"a component";

/// A package with this text in its config. The manifest has everything that is read.
fn encoded_package(config: &str) -> EncodedPackage {
    let blob = |media_type: &str, content: &[u8]| {
        format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#, Digest::compute(content), content.len())
    };
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[{}],"annotations":{{"org.opencontainers.image.description":"Cuts lines into words"}}}}"#,
        blob("application/vnd.wasm.config.v0+json", config.as_bytes()),
        blob("application/wasm", COMPONENT)
    );
    EncodedPackage { manifest: manifest.into(), config: config.into(), component: COMPONENT.into() }
}

fn name() -> PackageName {
    "split-words".parse().unwrap()
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

/// A registry with one package.
fn registry() -> (TempDir, PathBuf, EncodedPackage) {
    let dir = tempfile::tempdir().unwrap();
    let (path, made) = (dir.path().to_owned(), encoded_package("one"));
    push(&path, &name(), &version("0.1.0"), &made).unwrap();
    (dir, path, made)
}

fn blob(registry: &Path, content: &[u8]) -> PathBuf {
    registry.join("split-words/blobs/sha256").join(Digest::compute(content).hex())
}

#[test]
fn what_was_pushed_is_found_and_fetched() {
    let (_dir, registry, one) = registry();
    let two = encoded_package("two");
    push(&registry, &name(), &version("0.2.0"), &two).unwrap();
    let find = |wanted: &str| find(&registry, &wanted.parse().unwrap()).unwrap();
    assert_eq!(find("split-words@0.1.0"), (version("0.1.0"), one.digest()));
    assert_eq!(find("split-words"), (version("0.2.0"), two.digest()));
    let fetched = fetch(&registry, &name(), &one.digest()).unwrap();
    assert_eq!((fetched.manifest, fetched.component), (one.manifest, one.component));
    let hits = search(&registry, &["WORDS".into()]).unwrap();
    assert_eq!(hits[0].versions, [version("0.2.0"), version("0.1.0")]);
    assert_eq!(hits[0].description, "Cuts lines into words");
    assert_eq!(search(&registry, &["other".into()]).unwrap(), []);
}

#[test]
fn a_version_never_changes() {
    let (_dir, registry, one) = registry();
    push(&registry, &name(), &version("0.1.0"), &one).unwrap();
    let rejected = push(&registry, &name(), &version("0.1.0"), &encoded_package("two")).unwrap_err().message;
    assert!(rejected.contains("split-words already has version 0.1.0, with other bytes"), "{rejected}");
    assert_eq!(find(&registry, &"split-words".parse().unwrap()).unwrap().1, one.digest());
}

#[test]
fn pushing_at_the_same_time_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let registry = dir.path();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let version = version(&format!("0.{number}.0"));
            scope.spawn(move || push(registry, &name(), &version, &encoded_package(&number.to_string())).unwrap());
        }
    });
    assert_eq!(search(registry, &[]).unwrap()[0].versions.len(), 8);
}

#[test]
fn damage_is_told() {
    let (_dir, registry, made) = registry();
    let fetch = || fetch(&registry, &name(), &made.digest()).unwrap_err().message;
    let component = blob(&registry, COMPONENT);
    fs::write(&component, b"a_component").unwrap();
    assert!(fetch().contains("is damaged: its content has another digest"), "{}", fetch());
    fs::write(&component, b"a component and more").unwrap();
    assert!(fetch().contains("it has more than 11 bytes"), "{}", fetch());
    // Pushing again repairs it.
    push(&registry, &name(), &version("0.1.1"), &made).unwrap();
    super::fetch(&registry, &name(), &made.digest()).unwrap();
    fs::remove_file(&component).unwrap();
    assert!(fetch().contains("has no sha256:"), "{}", fetch());
    fs::create_dir(&component).unwrap();
    assert!(fetch().contains("it is not a regular file"), "{}", fetch());
    fs::write(registry.join("split-words/index.json"), "{").unwrap();
    let text = find(&registry, &"split-words".parse().unwrap()).unwrap_err().message;
    assert!(text.contains("index.json is damaged"), "{text}");
}

#[test]
fn a_pipe_in_place_of_a_file_does_not_hold_us_up() {
    let (_dir, registry, made) = registry();
    let component = blob(&registry, COMPONENT);
    fs::remove_file(&component).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&component).status().unwrap().success());
    assert!(fetch(&registry, &name(), &made.digest()).unwrap_err().message.contains("it is not a regular file"));
}

#[test]
fn signatures_belong_to_one_package() {
    let (_dir, registry, one) = registry();
    let two = encoded_package("two");
    push(&registry, &name(), &version("0.2.0"), &two).unwrap();
    attach(&registry, &name(), &one, b"by alice").unwrap();
    attach(&registry, &name(), &one, b"by alice").unwrap();
    attach(&registry, &name(), &one, b"by bob").unwrap();
    let signatures = |made: &EncodedPackage| signatures(&registry, &name(), &made.digest()).unwrap();
    assert_eq!(signatures(&one), [b"by alice".to_vec(), b"by bob".to_vec()]);
    assert_eq!(signatures(&two), Vec::<Vec<u8>>::new());
    let index = fs::read_to_string(registry.join("split-words/index.json")).unwrap();
    assert_eq!(index.matches(MEDIA_TYPE).count(), 2, "{index}");
    assert_eq!(search(&registry, &[]).unwrap()[0].versions.len(), 2, "a signature is no version");
}

#[test]
fn a_dir_of_something_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = dir.path().join("split-words");
    fs::create_dir(&plugin).unwrap();
    fs::write(plugin.join("Cargo.toml"), "[package]").unwrap();
    let text = push(dir.path(), &name(), &version("0.1.0"), &encoded_package("one")).unwrap_err().message;
    assert!(text.contains("split-words holds other data"), "{text}");
    assert_eq!(fs::read_dir(&plugin).unwrap().count(), 1);
    let text = find(&dir.path().join("nowhere"), &"split-words".parse().unwrap()).unwrap_err().message;
    assert!(text.contains("nowhere is not an existing directory"), "{text}");
}
