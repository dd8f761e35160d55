//! Folders as registries that lie: somebody else may have written them.

use super::case::{Place, WAYS};
use super::goods::{Goods, NAME, digest};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// What an attacker does to a folder that was in order.
type Harm = fn(&Path, &Goods);

fn blob(folder: &Path, bytes: &[u8]) -> std::path::PathBuf {
    folder.join("blobs/sha256").join(&digest(bytes)["sha256:".len()..])
}

fn in_place_of(path: &Path, make: impl FnOnce(&Path)) {
    std::fs::remove_file(path).expect("it was there");
    make(path);
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
}

fn edit_index(folder: &Path, from: &str, to: &str) {
    let path = folder.join("index.json");
    let text = std::fs::read_to_string(&path).expect("an index");
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replace(from, to)).expect("a file");
}

#[test]
fn folders_lie() {
    let attacks: [(&str, &str, Harm); 15] = [
        ("a component with one other bit", "its content has another digest", |folder, goods| {
            let mut bytes = goods.component.clone();
            bytes[100] ^= 1;
            std::fs::write(blob(folder, &goods.component), bytes).expect("a file");
        }),
        ("a component that is short", "its content has another digest", |folder, goods| {
            std::fs::write(blob(folder, &goods.component), &goods.component[1..]).expect("a file");
        }),
        ("a component that is not there", "has no sha256:", |folder, goods| {
            std::fs::remove_file(blob(folder, &goods.component)).expect("a file");
        }),
        ("a component that is a pipe", "it is not a regular file", |folder, goods| {
            in_place_of(&blob(folder, &goods.component), pipe)
        }),
        ("a component without an end", "it is not a regular file", |folder, goods| {
            in_place_of(&blob(folder, &goods.component), |path| symlink("/dev/zero", path).expect("a link"));
        }),
        ("a component that is somebody's file", "its content has another digest", |folder, goods| {
            in_place_of(&blob(folder, &goods.component), |path| symlink("/etc/passwd", path).expect("a link"));
        }),
        ("a component that is a folder", "it is not a regular file", |folder, goods| {
            in_place_of(&blob(folder, &goods.component), |path| std::fs::create_dir(path).expect("a folder"));
        }),
        ("a manifest with more in it", "its content has another digest", |folder, goods| {
            let more = [goods.manifest.as_slice(), b" "].concat();
            std::fs::write(blob(folder, &goods.manifest), more).expect("a file");
        }),
        ("a manifest that is a pipe", "it is not a regular file", |folder, goods| {
            in_place_of(&blob(folder, &goods.manifest), pipe)
        }),
        ("an index that is a pipe", "it is not a regular file", |folder, _| {
            in_place_of(&folder.join("index.json"), pipe)
        }),
        ("an index without an end", "it is not a regular file", |folder, _| {
            in_place_of(&folder.join("index.json"), |path| symlink("/dev/zero", path).expect("a link"));
        }),
        ("an index that is none", "index.json is damaged", |folder, _| {
            std::fs::write(folder.join("index.json"), "\u{1b}[2J").expect("a file")
        }),
        ("a deep index", "index.json is damaged", |folder, _| {
            std::fs::write(folder.join("index.json"), "[".repeat(100_000)).expect("a file")
        }),
        ("a digest that is a path", "has no package `split-words`", |folder, goods| {
            edit_index(folder, &digest(&goods.manifest), "sha256:../../../../../../etc/passwd");
        }),
        ("another version", "has no version 0.1.0", |folder, _| edit_index(folder, "0.1.0", "0.0.9")),
    ];
    for (name, says, harm) in attacks {
        let goods = Goods::honest();
        for way in WAYS {
            let place = Place::new("");
            let registry = place.trial.path("registry");
            goods.write(&registry);
            harm(&registry.join(NAME), &goods);
            let went = place.goes(way, &registry.display().to_string(), &goods);
            if let Err(told) = went.refused(says) {
                panic!("{name}: {way:?}: {told}");
            }
        }
    }
}
